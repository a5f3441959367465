package quant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
)

// Width is the bits of one layer: its weights and its input activations; 0
// leaves them in float32.
type Width struct {
	Weight int `json:"w"`
	Act    int `json:"a"`
}

// String returns such as "w4a8", or "fp32".
func (w Width) String() string {
	if w == (Width{}) {
		return "fp32"
	}
	return fmt.Sprintf("w%da%d", w.Weight, w.Act)
}

// Residual tells what happens to the operands of an add.
type Residual string

// Policies of residual adds. ResidualFloat leaves them unquantized, as the
// papers do; Residual8 puts 8-bit quantizers on both operands and the result.
const (
	ResidualFloat Residual = "float"
	Residual8     Residual = "8"
)

// BitPlan says how many bits each layer of a network gets. It is the content of
// a bits file.
type BitPlan struct {
	Default  Width            `json:"default"`            // of every layer not named below
	First    *Width           `json:"first,omitempty"`    // of the layers that read the network's input; nil: Default
	Last     *Width           `json:"last,omitempty"`     // of the layer that makes the network's output; nil: Default
	Layers   map[string]Width `json:"layers,omitempty"`   // by layer name; wins over all others
	Residual Residual         `json:"residual,omitempty"` // "" means float
}

// Layer returns the bits of a layer.
func (p BitPlan) Layer(name string, first, last bool) Width {
	if w, ok := p.Layers[name]; ok {
		return w
	}
	switch {
	case first && p.First != nil:
		return *p.First
	case last && p.Last != nil:
		return *p.Last
	}
	return p.Default
}

// Validate returns an error that names a width which does not exist.
func (p BitPlan) Validate() error {
	check := func(what string, w Width) error {
		if w.Weight != 0 && (w.Weight < 2 || w.Weight > 8) && w.Weight != 16 {
			return fmt.Errorf("quant: %s: weight bits %d outside 0, 2..8, 16", what, w.Weight)
		}
		if w.Act != 0 && (w.Act < 2 || w.Act > 8) {
			return fmt.Errorf("quant: %s: activation bits %d outside 0, 2..8", what, w.Act)
		}
		return nil
	}
	errs := []error{check("default", p.Default)}
	if p.First != nil {
		errs = append(errs, check("first layer", *p.First))
	}
	if p.Last != nil {
		errs = append(errs, check("last layer", *p.Last))
	}
	for name, w := range p.Layers {
		errs = append(errs, check("layer "+name, w))
	}
	switch p.Residual {
	case "", ResidualFloat, Residual8:
	default:
		errs = append(errs, fmt.Errorf("quant: residual %q, want float or 8", p.Residual))
	}
	return errors.Join(errs...)
}

// Uniform returns the plan of the papers: w.Weight and w.Act bits everywhere,
// outer bits for weights and input of the first and of the last layer.
func Uniform(w Width, outer int) BitPlan {
	o := Width{outer, outer}
	return BitPlan{Default: w, First: &o, Last: &o}
}

var bitsForm = regexp.MustCompile(`^w([0-9]{1,2})a([0-9]{1,2})$`)

// ParseBits reads "fp32" or "wXaY", with 8 bits in the first and last layer.
func ParseBits(s string) (BitPlan, error) {
	if s == "fp32" {
		return BitPlan{}, nil
	}
	m := bitsForm.FindStringSubmatch(s)
	if m == nil {
		return BitPlan{}, fmt.Errorf("quant: bits %q, want fp32 or such as w4a4", s)
	}
	w, _ := strconv.Atoi(m[1])
	a, _ := strconv.Atoi(m[2])
	p := Uniform(Width{w, a}, 8)
	return p, p.Validate()
}

// maxBitsFile bounds what ReadBitPlan reads: a thousand layers are 60 kB.
const maxBitsFile = 16 << 20

// ReadBitPlan reads a bits file: the JSON form of BitPlan, unknown fields being
// ignored (a selection's bits file holds more), and validates it.
func ReadBitPlan(r io.Reader) (BitPlan, error) {
	var p BitPlan
	b, err := io.ReadAll(io.LimitReader(r, maxBitsFile))
	if err != nil {
		return p, fmt.Errorf("quant: bits file: %w", err)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&p); err != nil {
		return p, fmt.Errorf("quant: bits file: %w", err)
	}
	return p, p.Validate()
}
