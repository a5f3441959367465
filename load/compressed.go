package load

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"lowbit/format/compressedtensors"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/tensor"
)

// readCompressed reads a folder that compressed-tensors describes: quantized
// weights become float32, scale times code. Where inputs are rounded, too, l gets
// the quantizers, and the store the steps that they need.
func (l *Language) readCompressed(f *safetensors.Folder, h hfConfig) (*tensor.Store, error) {
	c, err := compressedtensors.ParseConfig(h.Quantization)
	if err != nil {
		return nil, err
	}
	weights, steps, err := l.decompress(f, c)
	if err != nil || !c.Quantizes() {
		return weights, err
	}
	q, err := l.quantizersOf(c, steps, h.Own)
	if err != nil {
		return nil, fmt.Errorf("quantization_config: %w", err)
	}
	l.Quantizers = &q
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return nil, err
	}
	return weights, l.placeSteps(g, weights, steps)
}

// own is what config.json says of a model's quantizers that compressed-tensors has
// no words for: this program's own key.
type own struct {
	CacheBits int `json:"kv_cache_bits,omitempty"` // of keys and values
	QueryBits int `json:"query_bits,omitempty"`
}

// quantizersOf turns a description into the quantizers of training. All linear
// layers' inputs must be rounded in one way, and weights have a step a row.
func (l *Language) quantizersOf(c compressedtensors.Config, steps map[string]*tensor.Tensor, o *own) (silq.Quantizers, error) {
	q := silq.Quantizers{}
	if c.KVCache != nil {
		return q, errors.New("kv_cache_scheme is not read, want a cache without one")
	}
	if o != nil {
		q.Cache, q.Query = o.CacheBits, o.QueryBits
	}
	g, err := l.Config.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return q, err
	}
	q.Bits.Layers, q.Bits.Last = map[string]quant.Width{}, &quant.Width{}
	set := func(layer string, w quant.Width) {
		if layer == "lm_head" {
			q.Bits.Last = &w
		} else {
			q.Bits.Layers[layer] = w
		}
	}
	kind, of := "", ""
	for _, layer := range graph.Layers(g) {
		if layer.Weight == nil {
			continue
		}
		group, ok, err := c.GroupOf(layer.Name)
		if err != nil {
			return q, err
		}
		if !ok {
			set(layer.Name, quant.Width{})
			continue
		}
		if steps[layer.Name] == nil {
			return q, fmt.Errorf("%s: its weight has no scales, though a group has the layer", layer.Name)
		}
		w := quant.Width{Weight: group.Weights.Bits}
		if in := group.Inputs; in != nil {
			if w.Act = in.Bits; in.Type != "int" || !in.Symmetric || !(in.Dynamic && in.Strategy == "token" || !in.Dynamic && in.Strategy == "tensor") {
				return q, fmt.Errorf("%s: inputs of type %q, strategy %q, dynamic %v, symmetric %v: have symmetric integers, dynamic for each token or static for the tensor", layer.Name, in.Type, in.Strategy, in.Dynamic, in.Symmetric)
			}
			if kind != "" && kind != in.Strategy {
				return q, fmt.Errorf("inputs of %s are rounded for each %s, of %s for each %s: want one way", of, kind, layer.Name, in.Strategy)
			}
			kind, of = in.Strategy, layer.Name
		}
		set(layer.Name, w)
	}
	q.Static = kind == "tensor"
	return q.Compact(), q.Validate()
}

// placeSteps puts the folder's scales into weights under the names that the
// quantized graph has for them, and takes out nothing else.
func (l *Language) placeSteps(g *graph.Graph, weights *tensor.Store, steps map[string]*tensor.Tensor) error {
	take := func(name string) *tensor.Tensor {
		t := weights.Get(name)
		if t != nil {
			weights.Delete(name)
		}
		return t
	}
	shared := map[string]string{} // a step of an input, and the layer that gave it
	for _, layer := range graph.Layers(g) {
		if q := layer.WeightQuant; q != nil {
			if err := putStep(weights, q.In()[1], steps[layer.Name], layer.Name+".weight_scale"); err != nil {
				return err
			}
		}
		scale := take(layer.Name + ".input_scale")
		if layer.InputQuant == nil || !l.Quantizers.Static {
			continue
		}
		p := layer.InputQuant.In()[1]
		if first := shared[p.Name()]; first != "" {
			if scale == nil || scale.Len() != 1 || scale.Float32s()[0] != weights.Get(p.Name()).Float32s()[0] {
				return fmt.Errorf("%s and %s read one input and must have one input_scale", first, layer.Name)
			}
			continue
		}
		shared[p.Name()] = layer.Name
		if err := putStep(weights, p, scale, layer.Name+".input_scale"); err != nil {
			return err
		}
	}
	for _, p := range g.Params() {
		for ours, theirs := range cacheScales {
			if name, is := strings.CutSuffix(p.Name(), ours); is {
				if err := putStep(weights, p, take(name+theirs), name+theirs); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// cacheScales are the names that a folder has for the steps of attention's
// operands.
var cacheScales = map[string]string{".key_step": ".k_scale", ".value_step": ".v_scale", ".query_step": ".q_scale"}

// CacheScale returns the name that a folder of compressed-tensors has for a
// parameter that is the step of an operand of attention.
func CacheScale(param string) (string, bool) {
	for ours, theirs := range cacheScales {
		if name, is := strings.CutSuffix(param, ours); is {
			return name + theirs, true
		}
	}
	return "", false
}

// putStep puts a step into weights under the name of the graph's parameter.
func putStep(weights *tensor.Store, p *graph.Node, t *tensor.Tensor, name string) error {
	n := p.Shape().Size()
	if t == nil {
		return fmt.Errorf("%s is missing", name)
	}
	f, err := t.ToFloat32()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	v := f.Float32s()
	if len(v) == 1 && n > 1 {
		v = slices.Repeat(v, n)
	}
	if len(v) != n {
		return fmt.Errorf("%s has %d values, want %d, one for each row, where inputs are rounded, too", name, len(v), n)
	}
	for i, s := range v {
		if !(s > 0) || math.IsInf(float64(s), 0) {
			return fmt.Errorf("%s: scale %d is %g, want positive", name, i, s)
		}
	}
	return weights.Put(p.Name(), tensor.FromFloat32s(v, n))
}

// decompress reads weights, and their scales by layer. It leaves aside what is
// said of activations.
func (l *Language) decompress(f *safetensors.Folder, c compressedtensors.Config) (weights *tensor.Store, steps map[string]*tensor.Tensor, err error) {
	names := map[string]bool{}
	for _, name := range f.Names() {
		names[name] = true
	}
	get := func(name string) (*tensor.Tensor, error) {
		if !names[name] {
			return nil, nil
		}
		return f.Tensor(name)
	}
	quantized := map[string]bool{} // tensors that are parts of a quantized weight
	weights, steps = tensor.NewStore(), map[string]*tensor.Tensor{}
	for _, name := range f.Names() {
		layer, is := compressedtensors.Layer(name)
		if !is || quantized[layer+".weight"] {
			continue
		}
		group, ok, err := c.GroupOf(layer)
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			return nil, nil, fmt.Errorf("quantization_config: no group has the layer of %q", name)
		}
		w, _, err := compressedtensors.Read(get, layer, group.Weights.Bits)
		if err != nil {
			return nil, nil, err
		}
		v, err := w.Values()
		if err != nil {
			return nil, nil, err
		}
		if err := weights.Put(layer+".weight", v); err != nil {
			return nil, nil, err
		}
		quantized[layer+".weight"], steps[layer] = true, w.Scale
		l.Types[fmt.Sprintf("int%d", group.Weights.Bits)]++
	}
	return weights, steps, l.readPlain(f, weights, func(name string) bool {
		_, part := compressedtensors.Layer(name)
		return part || quantized[name]
	})
}
