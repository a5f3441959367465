// Package silq is quantization-aware training of language models after SiLQ
// (Esser et al., arXiv 2507.16933): quantizers on weights, activations and the
// cache of keys and values; steps from a calibration; then training end to end
// that learns from the model as it was.
//
// In: a decoder's graph (package model), its weights and a text. Out: the graph
// with quantizers and the trained weights and steps. README.md in this folder
// has the equations, deviations and figures.
package silq

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/quant"
)

// Quantizers says which quantizers a decoder gets. Weights have a step for each
// output channel; inputs that several layers share have one quantizer.
type Quantizers struct {
	// Bits is the width of each linear layer's weights and input; Last is the
	// head. Weights and activations are signed.
	Bits quant.BitPlan `json:"bits"`
	// Cache is the bits of keys and values, 2 to 8; 0 leaves them in float32.
	// Keys are rounded behind the rotation: what the cache holds is what attention
	// reads.
	Cache int `json:"cache,omitempty"`
	// Query is the bits of queries, 16 or 0.
	Query int `json:"query,omitempty"`
	// Static gives inputs, keys and values one learned step a tensor. Otherwise
	// the step is max|x|/Qp of each token, of keys and values for each head, and
	// nothing is learned or clipped.
	Static bool `json:"static,omitempty"`
	// StepGrad is how steps learn; "": LSQ. Frozen steps stay at what the
	// calibration found.
	StepGrad graph.StepGrad `json:"step_gradient,omitempty"`
}

// headBits is the width of the head's weights and input.
const headBits = 8

var bitsForm = regexp.MustCompile(`^w([0-9]{1,2})a([0-9]{1,2})(?:kv([0-9]{1,2}))?$`)

// ParseBits reads such as "w4a8kv8" or "w4a8": the head has 8 bits.
func ParseBits(s string) (Quantizers, error) {
	m := bitsForm.FindStringSubmatch(s)
	if m == nil {
		return Quantizers{}, fmt.Errorf("silq: bits %q, want such as w4a8kv8", s)
	}
	w, _ := strconv.Atoi(m[1])
	a, _ := strconv.Atoi(m[2])
	kv, _ := strconv.Atoi(m[3])
	q := Quantizers{Bits: quant.BitPlan{Default: quant.Width{Weight: w, Act: a}, Last: &quant.Width{Weight: headBits, Act: headBits}}, Cache: kv}
	return q, q.Validate()
}

// String returns such as "w4a8kv8".
func (q Quantizers) String() string {
	s := q.Bits.Default.String()
	if q.Cache > 0 {
		s += fmt.Sprintf("kv%d", q.Cache)
	}
	return s
}

// Validate returns an error that names the first setting that makes no sense.
func (q Quantizers) Validate() error {
	if err := q.Bits.Validate(); err != nil {
		return fmt.Errorf("silq: %w", err)
	}
	switch {
	case q.Cache != 0 && (q.Cache < 2 || q.Cache > 8):
		return fmt.Errorf("silq: cache of %d bits outside 0, 2..8", q.Cache)
	case q.Query != 0 && q.Query != 16:
		return fmt.Errorf("silq: queries of %d bits, want 0 or 16", q.Query)
	case !slices.Contains([]graph.StepGrad{"", graph.StepLSQ, graph.StepPACT, graph.StepFrozen}, q.StepGrad):
		return fmt.Errorf("silq: step gradient %q, want lsq, pact or frozen", q.StepGrad)
	case q.Bits.Residual == quant.Residual8:
		return errors.New("silq: residual 8: a decoder's residual stream stays in float32")
	}
	return nil
}

// Compact returns the same quantizers with the most frequent width of the inner
// layers as the default, and without the names of the layers that have it.
func (q Quantizers) Compact() Quantizers {
	count := map[quant.Width]int{}
	for _, w := range q.Bits.Layers {
		count[w]++
	}
	most := q.Bits.Default
	for w, n := range count {
		if n > count[most] || n == count[most] && (w.Weight < most.Weight || w.Weight == most.Weight && w.Act < most.Act) {
			most = w
		}
	}
	layers := map[string]quant.Width{}
	for name, w := range q.Bits.Layers {
		if w != most {
			layers[name] = w
		}
	}
	q.Bits.Default, q.Bits.Layers = most, layers
	return q
}

// Names of a layer's quantizers: parameter and node.
const (
	weightStep, weightQuant = ".weight_step", ".weight_quant"
	inputStep, inputQuant   = ".input_step", ".input_quant"
)

// Insert returns a decoder's graph of any batch, length and use (whole, packed,
// with a cache) with quantizers. New parameters are "<layer>.weight_step" [out]
// and, if q is Static, "<layer>.input_step" [1] of the first layer that reads
// the input, "<attention>.key_step" and "<attention>.value_step" [1]; queries of
// 16 bits have "<attention>.query_step" [1]. The nodes have _quant for _step.
// Steps start at 0, which nothing accepts: see Init.
func Insert(g *graph.Graph, q Quantizers) (*graph.Graph, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	s := &inserter{q: q, done: map[site]*graph.Node{}, around: map[*graph.Node]wrap{}}
	known := map[string]bool{}
	for _, n := range g.Nodes() {
		switch o := n.Op().(type) {
		case graph.FakeQuant:
			return nil, fmt.Errorf("silq: node %q: the graph is quantized already", n.Name())
		case graph.Attention:
			s.attention(n, o)
		}
		if isLayer(n) {
			known[n.Name()], s.head = true, n
		}
	}
	if s.head == nil {
		return nil, errors.New("silq: the graph has no linear layer")
	}
	for name := range q.Bits.Layers {
		if !known[name] {
			return nil, fmt.Errorf("silq: bits for %q, which is no layer of the graph", name)
		}
	}
	out, err := graph.Rewrite(g, s.node)
	if err != nil {
		return nil, fmt.Errorf("silq: %w", err)
	}
	return out, nil
}

// isLayer reports whether n multiplies its input with a weight parameter.
func isLayer(n *graph.Node) bool {
	o, ok := n.Op().(graph.MatMul)
	if !ok || !o.TransB {
		return false
	}
	_, ok = n.In()[1].Op().(graph.Param)
	return ok
}

// site is a tensor and the width it is quantized to.
type site struct {
	x    *graph.Node
	bits int
}

// wrap is a quantizer that goes around a value of attention.
type wrap struct {
	name string // of step and node, without _step and _quant
	bits int
	head int // elements that share a dynamic step; 0: always static
}

type inserter struct {
	q      Quantizers
	head   *graph.Node // the last layer
	done   map[site]*graph.Node
	around map[*graph.Node]wrap
}

// attention notes what an attention's operands get.
func (s *inserter) attention(n *graph.Node, o graph.Attention) {
	in := n.In()
	head := in[0].Shape()[1] / o.Heads
	if s.q.Query > 0 {
		s.around[in[0]] = wrap{n.Name() + ".query", s.q.Query, 0}
	}
	if s.q.Cache > 0 {
		s.around[fresh(in[1])] = wrap{n.Name() + ".key", s.q.Cache, head}
		s.around[fresh(in[2])] = wrap{n.Name() + ".value", s.q.Cache, head}
	}
}

// fresh returns what a run appends to a cache, or x itself without one.
func fresh(x *graph.Node) *graph.Node {
	if _, ok := x.Op().(graph.Reshape); ok {
		if _, cached := x.In()[0].Op().(graph.CacheAppend); cached {
			return x.In()[0].In()[1]
		}
	}
	return x
}

// node is the function that graph.Rewrite calls.
func (s *inserter) node(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
	var y *graph.Node
	if isLayer(n) {
		w := s.q.Bits.Layer(n.Name(), false, n == s.head)
		x, weight := in[0], in[1]
		if w.Act > 0 {
			x = s.input(to, x, w.Act, n.Name())
		}
		if w.Weight > 0 {
			spec := quant.Spec{Bits: w.Weight, Signed: true, Granularity: quant.PerChannel}
			weight = s.learned(to, weight, spec, weight.Shape()[0], n.Name()+weightStep, n.Name()+weightQuant)
		}
		y = to.Copy(n, []*graph.Node{x, weight})
	}
	a, ok := s.around[n]
	if !ok {
		return y
	}
	if y == nil {
		y = to.Copy(n, in)
	}
	if a.head > 0 && !s.q.Static {
		return to.DynamicQuant(y, quant.Spec{Bits: a.bits, Signed: true, Granularity: quant.PerGroup, Group: a.head}).Named(a.name + "_quant")
	}
	return s.learned(to, y, quant.Spec{Bits: a.bits, Signed: true}, 1, a.name+"_step", a.name+"_quant")
}

// input returns x on a grid; layers that read one tensor share the quantizer.
func (s *inserter) input(to *graph.Graph, x *graph.Node, bits int, layer string) *graph.Node {
	if y := s.done[site{x, bits}]; y != nil {
		return y
	}
	var y *graph.Node
	if s.q.Static {
		y = s.learned(to, x, quant.Spec{Bits: bits, Signed: true}, 1, layer+inputStep, layer+inputQuant)
	} else {
		y = to.DynamicQuant(x, quant.Spec{Bits: bits, Signed: true, Granularity: quant.PerToken}).Named(layer + inputQuant)
	}
	s.done[site{x, bits}] = y
	return y
}

// learned quantizes x with a trained step. The gradient scale is LSQ's, with N
// of one token; Adam does not see it.
func (s *inserter) learned(to *graph.Graph, x *graph.Node, spec quant.Spec, steps int, step, name string) *graph.Node {
	share := x.Shape().Size() / steps
	if spec.Granularity == quant.PerTensor {
		share = x.Shape()[len(x.Shape())-1]
	}
	p := to.Param(graph.Param{Name: step, Shape: []int{steps}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst}})
	return to.FakeQuant(x, p, graph.FakeQuant{Spec: spec, StepGrad: cmp.Or(s.q.StepGrad, graph.StepLSQ), GradScale: lsq.Scale(share, spec)}).Named(name)
}
