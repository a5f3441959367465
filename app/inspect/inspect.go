// Package inspect describes a network: its layers, what they cost, their bits
// and steps, how well the grids of their weights are used, and what it would
// take to store it.
package inspect

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// Layer is one layer. Costs are those of one example.
type Layer struct {
	Name        string `json:"name"`
	Op          string `json:"op"`
	MACs        int64  `json:"macs"`
	Params      int64  `json:"params"` // learned ones
	WeightBits  int    `json:"weight_bits"`
	ActBits     int    `json:"act_bits"` // of the layer's input
	OutputShape []int  `json:"output_shape"`
	// SizeBytes is the packed size of weight and bias; see Network.SizeBytes.
	SizeBytes int64 `json:"size_bytes"`

	// WeightStep and ActStep are the quantizers' steps, the mean of them if
	// there are several; 0 without a quantizer.
	WeightStep float64 `json:"weight_step,omitempty"`
	ActStep    float64 `json:"act_step,omitempty"`
	// Entropy is that of the weight codes in bits, at most WeightBits. Clipped
	// is the share of weights outside the grid. Both absent without a quantizer.
	Entropy *float64 `json:"entropy,omitempty"`
	Clipped *float64 `json:"clipped,omitempty"`
	// WeightPeak is the largest weight over the root mean square of its output
	// channel: 3 to 4 for normal ones. Absent without a quantizer.
	WeightPeak float64 `json:"weight_peak,omitempty"`
	// WeightCosine is the cosine between the weights as the layer uses them and
	// those of the network that it was made from, where that is known.
	WeightCosine *float64 `json:"weight_cosine,omitempty"`
}

// Network is a network and its layers.
type Network struct {
	Layers []Layer `json:"layers"`
	MACs   int64   `json:"macs"` // of one example
	Params int64   `json:"params"`
	// SizeBytes is the size with every weight packed at its bits and everything
	// else (biases, norms, running statistics, steps) in float32: the content of
	// a packed file without its header. FP32Bytes is the size with all parameters
	// in float32 and no steps.
	SizeBytes int64 `json:"size_bytes"`
	FP32Bytes int64 `json:"fp32_bytes"`
}

// Describe describes an inference graph whose parameters are in the store. With
// a reference, a store that holds the weights of the network this one was made
// from, it fills in WeightCosine. Errors: a weight or a step is missing or of
// another shape.
func Describe(g *graph.Graph, store, reference *tensor.Store) (Network, error) {
	n := Network{Params: graph.ParamCount(g), MACs: graph.MACs(g) / int64(max(g.Batch(), 1))}
	packed := map[string]int{} // bits by parameter
	for _, l := range graph.Layers(g) {
		d := Layer{
			Name: l.Name, Op: l.Op, MACs: l.MACs, Params: l.Params,
			WeightBits: l.WeightBits, ActBits: l.ActBits, OutputShape: l.OutputShape,
		}
		if l.Weight != nil {
			packed[l.Weight.Name()] = l.WeightBits
			d.SizeBytes = packedBytes(l.Weight.Shape().Size(), l.WeightBits)
			if l.Bias != nil {
				d.SizeBytes += 4 * int64(l.Bias.Shape().Size())
			}
			if err := d.weigh(l, store, reference); err != nil {
				return n, fmt.Errorf("inspect: layer %s: %w", l.Name, err)
			}
		} else {
			d.SizeBytes = 4 * l.Params
		}
		n.Layers = append(n.Layers, d)
	}
	for _, x := range g.Nodes() { // tables of embeddings
		if q, ok := x.Op().(graph.FakeQuant); ok {
			if p, ok := x.In()[0].Op().(graph.Param); ok && p.Role == graph.Weight {
				packed[p.Name] = q.Spec.Bits
			}
		}
	}
	for _, p := range g.Params() {
		size := p.Shape().Size()
		bits, ok := packed[p.Name()]
		if !ok {
			bits = graph.FloatBits
		}
		n.SizeBytes += packedBytes(size, bits)
		if p.Op().(graph.Param).Role != graph.Step {
			n.FP32Bytes += 4 * int64(size)
		}
	}
	return n, nil
}

// packedBytes is the size of n values of some bits without gaps.
func packedBytes(n, bits int) int64 { return (int64(n)*int64(bits) + 7) / 8 }

// weigh fills in what depends on the values of the weights and steps.
func (d *Layer) weigh(l graph.Layer, store, reference *tensor.Store) error {
	w, err := values(store, l.Weight)
	if err != nil {
		return err
	}
	used := w
	if q := l.WeightQuant; q != nil {
		step, err := values(store, q.In()[1])
		if err != nil {
			return err
		}
		spec, shape := q.Op().(graph.FakeQuant).Spec, l.Weight.Shape()
		counts, err := quant.CodeCounts(w, step, shape, spec)
		if err != nil {
			return err
		}
		used = make([]float32, len(w))
		if err := quant.FakeQuant(used, w, step, shape, spec); err != nil {
			return err
		}
		entropy, clipped := quant.Entropy(counts), clippedShare(w, used, step, shape, spec)
		d.WeightStep, d.Entropy, d.Clipped = mean(step), &entropy, &clipped
		d.WeightPeak = peak(w, shape[0])
	}
	if q := l.InputQuant; q != nil {
		step := q.In()[1]
		if _, learned := step.Op().(graph.Param); learned {
			v, err := values(store, step)
			if err != nil {
				return err
			}
			d.ActStep = mean(v)
		} // a step of each token is known at run time alone
	}
	if reference == nil {
		return nil
	}
	if t := reference.Get(l.Weight.Name()); t != nil && t.DType() == tensor.F32 && t.Len() == len(used) {
		c := quant.Cosine(t.Float32s(), used)
		d.WeightCosine = &c
	}
	return nil
}

// peak is the largest value over the root mean square of its row.
func peak(v []float32, rows int) float64 {
	n, top := len(v)/max(rows, 1), 0.0
	for ; len(v) >= n && n > 0; v = v[n:] {
		var most, square float64
		for _, x := range v[:n] {
			most, square = max(most, math.Abs(float64(x))), square+float64(x)*float64(x)
		}
		if square > 0 {
			top = max(top, most/math.Sqrt(square/float64(n)))
		}
	}
	return top
}

// clippedShare counts values that lie further from their grid value than half a
// step: those outside the grid.
func clippedShare(v, used, step []float32, shape tensor.Shape, s quant.Spec) float64 {
	count, run, err := s.Layout(shape)
	if err != nil {
		return 0
	}
	n := 0
	for i, x := range v {
		half := step[(i/run)%count] / 2
		if d := x - used[i]; d > half || d < -half {
			n++
		}
	}
	return float64(n) / float64(max(len(v), 1))
}

func values(s *tensor.Store, p *graph.Node) ([]float32, error) {
	if t := s.Get(p.Name()); t != nil && t.DType() == tensor.F32 && t.Shape().Equal(p.Shape()) {
		return t.Float32s(), nil
	}
	return nil, fmt.Errorf("%q: the store has %v, want f32%v", p.Name(), s.Get(p.Name()), p.Shape())
}

func mean(v []float32) float64 {
	var s float64
	for _, x := range v {
		s += float64(x)
	}
	return s / float64(max(len(v), 1))
}
