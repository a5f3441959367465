// Package compressedtensors holds the layout that the Python package
// compressed-tensors and its readers (transformers, vLLM, SGLang) use for
// quantized weights in safetensors folders: the description in config.json and
// codes packed into words of 32 bits.
//
// Read and written are integer weights with a scale for each output channel or
// for groups along the rows, symmetric, formats pack-quantized and int-quantized.
package compressedtensors

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Formats of stored weights.
const (
	PackQuantized = "pack-quantized"  // codes of 1 to 8 bits in words
	IntQuantized  = "int-quantized"   // codes of 8 bits, one to a byte
	Mixed         = "mixed-precision" // of a whole config: groups have different formats
)

// Scheme describes one quantizer; fields as in config.json.
type Scheme struct {
	Bits      int    `json:"num_bits"`
	Type      string `json:"type"` // "int"
	Symmetric bool   `json:"symmetric"`
	Strategy  string `json:"strategy"` // tensor, channel, group, token
	GroupSize *int   `json:"group_size"`
	Dynamic   bool   `json:"dynamic"` // scales are computed at run time
}

// Group is a set of layers that are quantized alike.
type Group struct {
	// Targets are class names such as "Linear", names of modules, or "re:" and a
	// regular expression.
	Targets []string `json:"targets"`
	Weights *Scheme  `json:"weights"`
	Inputs  *Scheme  `json:"input_activations"`
	Outputs *Scheme  `json:"output_activations"`
	Format  string   `json:"format"`
}

// Config is config.json's quantization_config.
type Config struct {
	Method  string           `json:"quant_method"` // "compressed-tensors"
	Format  string           `json:"format"`
	Status  string           `json:"quantization_status"` // "compressed"
	Groups  map[string]Group `json:"config_groups"`
	Ignore  []string         `json:"ignore"`
	KVCache *Scheme          `json:"kv_cache_scheme"`
}

// Method is the name in Config.Method.
const Method = "compressed-tensors"

// ParseConfig reads a quantization_config and refuses what Weight cannot read.
func ParseConfig(b []byte) (Config, error) {
	var c Config
	var method struct {
		Method string `json:"quant_method"`
	}
	if err := json.Unmarshal(b, &method); err != nil {
		return c, fmt.Errorf("compressedtensors: quantization_config: %w", err)
	}
	if method.Method != Method {
		return c, fmt.Errorf("compressedtensors: quant_method %q is not read, have %s: load the original model", method.Method, Method)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("compressedtensors: quantization_config: %w", err)
	}
	for name, g := range c.Groups {
		if g.Weights == nil {
			return c, fmt.Errorf("compressedtensors: %s has no scheme for weights", name)
		}
		if err := g.check(c.Format); err != nil {
			return c, fmt.Errorf("compressedtensors: %s: %w", name, err)
		}
	}
	return c, nil
}

func (g Group) check(whole string) error {
	w, format := g.Weights, g.Format
	if format == "" {
		format = whole
	}
	switch {
	case format != PackQuantized && format != IntQuantized:
		return fmt.Errorf("format %q, have %s and %s", format, PackQuantized, IntQuantized)
	case w.Type != "int" || w.Bits < 2 || w.Bits > 8:
		return fmt.Errorf("weights of %d bits, type %q, want int of 2 to 8", w.Bits, w.Type)
	case !w.Symmetric:
		return fmt.Errorf("asymmetric weights, have symmetric ones")
	case w.Strategy != "channel" && w.Strategy != "group" && w.Strategy != "tensor":
		return fmt.Errorf("strategy %q of weights, have tensor, channel and group", w.Strategy)
	}
	return nil
}

// Quantizes reports whether inputs are quantized, too.
func (c Config) Quantizes() bool {
	for _, g := range c.Groups {
		if g.Inputs != nil {
			return true
		}
	}
	return c.KVCache != nil
}

// Words is the number of words that a row of so many codes takes.
func Words(row, bits int) int { return (row*bits + 31) / 32 }

// Pack packs codes -2^(bits-1) to 2^(bits-1)-1, [rows, row], into words [rows,
// Words(row, bits)]: code k enters as k + 2^(bits-1), element i in bits
// [i*bits, (i+1)*bits) of its row's stream.
func Pack(codes []int8, row, bits int) ([]int32, error) {
	if bits < 2 || bits > 8 || row < 1 || len(codes)%row != 0 {
		return nil, fmt.Errorf("compressedtensors: %d codes of %d bits in rows of %d", len(codes), bits, row)
	}
	offset := int32(1) << (bits - 1)
	n := Words(row, bits)
	words := make([]int32, len(codes)/row*n)
	for r := range len(codes) / row {
		to := words[r*n:][:n]
		for i, k := range codes[r*row:][:row] {
			u := int32(k) + offset
			if u < 0 || u >= 2*offset {
				return nil, fmt.Errorf("compressedtensors: code %d at %d does not fit %d bits", k, r*row+i, bits)
			}
			at := i * bits
			v := uint64(u) << (at % 32)
			to[at/32] |= int32(uint32(v))
			if hi := uint32(v >> 32); hi != 0 {
				to[at/32+1] |= int32(hi)
			}
		}
	}
	return words, nil
}

// Unpack is the inverse of Pack.
func Unpack(words []int32, row, bits int) ([]int8, error) {
	if bits < 2 || bits > 8 || row < 1 {
		return nil, fmt.Errorf("compressedtensors: codes of %d bits in rows of %d", bits, row)
	}
	n := Words(row, bits)
	if len(words)%n != 0 {
		return nil, fmt.Errorf("compressedtensors: %d words, want a multiple of %d for rows of %d codes of %d bits", len(words), n, row, bits)
	}
	codes := make([]int8, len(words)/n*row)
	offset, mask := int32(1)<<(bits-1), uint64(1)<<bits-1
	for r := range len(words) / n {
		from := words[r*n:][:n]
		for i := range row {
			at := i * bits
			v := uint64(uint32(from[at/32]))
			if at/32+1 < n {
				v |= uint64(uint32(from[at/32+1])) << 32
			}
			codes[r*row+i] = int8(int32(v>>(at%32)&mask) - offset)
		}
	}
	return codes, nil
}

// GroupOf returns the group of a linear layer: one that targets it by name or
// expression before one that targets all; false if none does, or if the layer is
// ignored.
func (c Config) GroupOf(layer string) (Group, bool, error) {
	if hit, err := matches(c.Ignore, layer); err != nil || hit {
		return Group{}, false, err
	}
	names := slices.Sorted(maps.Keys(c.Groups))
	for _, name := range names {
		if hit, err := matches(c.Groups[name].Targets, layer); err != nil || hit {
			return c.Groups[name], hit, err
		}
	}
	for _, name := range names {
		if slices.Contains(c.Groups[name].Targets, "Linear") {
			return c.Groups[name], true, nil
		}
	}
	return Group{}, false, nil
}

// matches reports whether a name or an expression of the list fits a layer.
func matches(list []string, layer string) (bool, error) {
	for _, target := range list {
		expression, is := strings.CutPrefix(target, "re:")
		if !is {
			if target == layer {
				return true, nil
			}
			continue
		}
		if len(expression) > maxExpression {
			return false, fmt.Errorf("compressedtensors: an expression of %d characters, want at most %d", len(expression), maxExpression)
		}
		re, err := regexp.Compile("^(?:" + expression + ")")
		if err != nil {
			return false, fmt.Errorf("compressedtensors: target %q: %w", target, err)
		}
		if re.MatchString(layer) {
			return true, nil
		}
	}
	return false, nil
}

// maxExpression bounds an expression that comes from a file.
const maxExpression = 1000
