package infer

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// The rules of the deploy form. A value of the graph is asked for in a target:
// as codes of a grid, or as floats. A request goes back through the graph:
//
//   - relu and relu6 narrow the target's range and pass on;
//   - max pooling, slices, padding, concatenation and reshapes pass on: they
//     commute with rounding to a grid;
//   - a quantizer asks for its own codes and turns them into the target;
//   - batch norms, biases and factors per channel over an integer sum (a
//     convolution or product of codes, a mean of codes) are folded with the
//     target's step into one multiplier and one bias a channel, an int32 for codes
//     and a float32 for floats;
//   - anything else is a float operation, rounded where codes are wanted.
//
// So one value may be computed twice, with two foldings, where a quantizer and
// a float operation read it.

// target is the form in which a value is wanted.
type target struct {
	codes    bool
	step     float32 // of codes
	bits     int
	signed   bool
	offset   int32   // what stands for code 0 in memory
	lo, hi   int32   // least and greatest code that may occur
	min, max float32 // of floats
}

// floats is the target of unlimited floats.
func floats() target { return target{min: float32(math.Inf(-1)), max: float32(math.Inf(1))} }

// gridTarget is the whole grid of a quantizer.
func gridTarget(s quant.Spec, step float32) target {
	t := target{codes: true, step: step, bits: s.Bits, signed: s.Signed, offset: int32(s.Zero), lo: int32(-s.Qn()), hi: int32(s.Qp())}
	if s.Signed {
		t.offset = 128
	}
	return t
}

// within returns the target narrowed to values from lo to hi.
func (t target) within(lo, hi float32) target {
	if t.codes {
		l, h := t.code(lo), t.code(hi)
		t.lo, t.hi = max(t.lo, l), min(t.hi, h)
		return t
	}
	t.min, t.max = max(t.min, lo), min(t.max, hi)
	return t
}

// code returns the code of a real value: rne(clip(v/step, lo, hi)).
func (t target) code(v float32) int32 {
	return int32(quant.RoundEven(quant.Clip(v/t.step, float32(t.lo), float32(t.hi))))
}

// zero is the number that stands for code 0 in memory.
func (t target) zero() int32 { return t.offset }

// sameGrid reports whether two targets of codes have one grid.
func (t target) sameGrid(o target) bool {
	return t.codes && o.codes && t.step == o.step && t.bits == o.bits && t.signed == o.signed && t.offset == o.offset
}

// String names the target in reports: "u4", "s8", "float".
func (t target) String() string {
	if !t.codes {
		return "float"
	}
	s := quant.Spec{Bits: t.bits, Signed: t.signed}
	if !s.Signed {
		s.Zero = int(t.offset)
	}
	return s.String()
}

// rules answers questions about a prepared graph and its parameters.
type rules struct {
	g      *graph.Graph
	params source
	roots  map[*graph.Node]*root // made so far
}

func newRules(g *graph.Graph, params source) rules {
	return rules{g: g, params: params, roots: map[*graph.Node]*root{}}
}

// source gives parameters: floats, and the codes of weights.
type source interface {
	// floats returns a parameter's values, nil if there is none of that name.
	floats(name string) []float32
	// codes returns, of a weight whose codes are stored instead of floats, what
	// gives them, the caller's own: row-major in its logical shape, or with the second axis, the
	// input channels, last. nil: they are not.
	codes(name string) func() (w []int8, last bool)
}

// storeSource is a Store of floats.
type storeSource struct{ s *tensor.Store }

func (s storeSource) codes(string) func() ([]int8, bool) { return nil }

func (s storeSource) floats(name string) []float32 {
	t := s.s.Get(name)
	if t == nil || t.DType() != tensor.F32 {
		return nil
	}
	return t.Float32s()
}

// prepare returns the part of an inference graph that its result needs, for one
// example, and the node of the result.
func prepare(g *graph.Graph) (*graph.Graph, error) {
	if err := g.Err(); err != nil {
		return nil, err
	}
	if n := len(g.Nodes()); n > maxNodes {
		return nil, fmt.Errorf("%d nodes, want at most %d", n, maxNodes)
	}
	result := g.OutputNode(outputName)
	if result == nil && len(g.Outputs()) == 1 {
		result = g.Outputs()[0].Node
	}
	if result == nil {
		return nil, fmt.Errorf("the graph has no output %q and not one alone", outputName)
	}
	one, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if _, ok := n.Op().(graph.Dropout); ok {
			return in[0]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if one, err = graph.WithBatch(one, 1); err != nil {
		return nil, err
	}
	if one, err = only(one, result.ID(), g); err != nil {
		return nil, err
	}
	inputs := one.Inputs()
	if len(inputs) != 1 || inputs[0].Type().DType != tensor.F32 || len(inputs[0].Shape()) < 2 {
		return nil, fmt.Errorf("%d inputs, want one of f32 with a batch and channels", len(inputs))
	}
	return one, nil
}

// only keeps what the output whose node had that position in the original needs.
func only(g *graph.Graph, id int, original *graph.Graph) (*graph.Graph, error) {
	to := graph.New()
	var keep *graph.Node
	for i, o := range original.Outputs() {
		if o.Node.ID() == id {
			keep = g.Outputs()[i].Node
		}
	}
	live := make([]bool, len(g.Nodes()))
	live[keep.ID()] = true
	for i := len(live) - 1; i >= 0; i-- {
		for _, x := range g.Nodes()[i].In() {
			live[x.ID()] = live[x.ID()] || live[i]
		}
	}
	at := make([]*graph.Node, len(live))
	for i, n := range g.Nodes() {
		if !live[i] {
			continue
		}
		in := make([]*graph.Node, len(n.In()))
		for j, x := range n.In() {
			in[j] = at[x.ID()]
		}
		at[i] = to.Copy(n, in)
	}
	to.Output(outputName, at[keep.ID()])
	return to, to.Err()
}

// constant returns the values of a parameter or constant, also through
// reshapes.
func (r *rules) constant(n *graph.Node) ([]float32, bool) {
	switch o := n.Op().(type) {
	case graph.Param:
		v := r.params.floats(o.Name)
		return v, len(v) == n.Shape().Size()
	case graph.Const:
		return o.Values, true
	case graph.Reshape:
		return r.constant(n.In()[0])
	}
	return nil, false
}

// quantizer returns the grid of an activation quantizer with one step.
func (r *rules) quantizer(n *graph.Node) (target, error) {
	o := n.Op().(graph.FakeQuant)
	if o.Spec.Granularity != quant.PerTensor || o.Spec.Bits > 8 {
		return target{}, fmt.Errorf("quantizer of %v, want one step and at most 8 bits", o.Spec)
	}
	step, ok := r.constant(n.In()[1])
	if !ok || len(step) != 1 {
		return target{}, fmt.Errorf("its step is not one stored number")
	}
	if s := step[0]; !(s > 0) || math.IsInf(float64(s), 0) {
		return target{}, fmt.Errorf("step %g, want positive", s)
	}
	return gridTarget(o.Spec, step[0]), nil
}

// gridOf returns the grid on which the values of n lie, if the graph shows one.
func (r *rules) gridOf(n *graph.Node) (target, bool) {
	switch o := n.Op().(type) {
	case graph.FakeQuant:
		t, err := r.quantizer(n)
		return t, err == nil
	case graph.Reshape, graph.Slice:
		return r.gridOf(n.In()[0])
	case graph.Unary:
		if t, ok := r.gridOf(n.In()[0]); ok && isRelu(o) {
			return t.within(reluRange(o)), true
		}
	case graph.Pool:
		if o.F == graph.MaxPool {
			return r.gridOf(n.In()[0])
		}
	case graph.Pad:
		if t, ok := r.gridOf(n.In()[0]); ok && o.Value == 0 && t.lo <= 0 && t.hi >= 0 {
			return t, true
		}
	}
	return target{}, false
}

func isRelu(o graph.Unary) bool { return o.F == graph.Relu || o.F == graph.Relu6 }

func reluRange(o graph.Unary) (lo, hi float32) {
	if o.F == graph.Relu6 {
		return 0, 6
	}
	return 0, float32(math.Inf(1))
}

// affine returns, where n applies a function a*x+b per channel to one computed
// operand x, that operand and the functions.
func (r *rules) affine(n *graph.Node) (x *graph.Node, fs []quant.Affine, ok bool) {
	in := n.In()
	switch o := n.Op().(type) {
	case graph.BatchNorm:
		var v [4][]float32
		for i := range v {
			if v[i], ok = r.constant(in[i+1]); !ok {
				return nil, nil, false
			}
		}
		fs, err := quant.BatchNormAffine(v[0], v[1], v[2], v[3], o.Eps)
		return in[0], fs, err == nil
	case graph.Binary:
		if c, ok := r.perChannel(n, in[1]); ok {
			return in[0], affines(o.F, c, false), supportedAffine(o.F, false)
		}
		if c, ok := r.perChannel(n, in[0]); ok {
			return in[1], affines(o.F, c, true), supportedAffine(o.F, true)
		}
	}
	return nil, nil, false
}

func supportedAffine(f graph.BinaryKind, constantFirst bool) bool {
	switch f {
	case graph.Add, graph.Sub, graph.Mul:
		return true
	}
	return f == graph.Div && !constantFirst
}

// affines are the functions of one operation with a constant.
func affines(f graph.BinaryKind, c []float32, constantFirst bool) []quant.Affine {
	fs := make([]quant.Affine, len(c))
	for i, v := range c {
		k := float64(v)
		switch {
		case f == graph.Add:
			fs[i] = quant.Affine{Scale: 1, Shift: k}
		case f == graph.Sub && constantFirst:
			fs[i] = quant.Affine{Scale: -1, Shift: k}
		case f == graph.Sub:
			fs[i] = quant.Affine{Scale: 1, Shift: -k}
		case f == graph.Mul:
			fs[i] = quant.Affine{Scale: k}
		case f == graph.Div:
			fs[i] = quant.Affine{Scale: 1 / k}
		}
	}
	return fs
}

// perChannel returns one value for each channel of n if c is a constant that
// broadcasts along n's channels alone.
func (r *rules) perChannel(n, c *graph.Node) ([]float32, bool) {
	v, ok := r.constant(c)
	if !ok || len(n.Shape()) < 2 {
		return nil, false
	}
	channels, rank := n.Shape()[1], len(n.Shape())
	if len(v) == 1 {
		all := make([]float32, channels)
		for i := range all {
			all[i] = v[0]
		}
		return all, true
	}
	s := c.Shape()
	if at := rank - len(s); len(v) != channels || at > 1 || s[1-at] != channels {
		return nil, false
	}
	return v, true
}
