package lsq

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/quant"
)

// GradScale names the factor of a step's gradient, N being the number of
// weights, or of activation features, that share the step.
type GradScale string

// Gradient scales. LSQ section 2.2 and its table 3: the first is the paper's,
// the others serve to repeat its ablation.
const (
	ScaleNQp GradScale = "1/sqrt(n*qp)"
	ScaleN   GradScale = "1/sqrt(n)"
	ScaleOne GradScale = "1"
)

// Quantizers says which quantizers a network gets and how their steps learn.
type Quantizers struct {
	// Bits is the width of each layer's weights and input. Weights are signed
	// with the lowest code -2^(b-1); inputs are unsigned where the graph shows
	// that they cannot be negative, else signed.
	Bits quant.BitPlan `json:"bits"`
	// Granularity of the weights: PerTensor (the paper) or PerChannel, one step
	// an output channel. Activations have one step a tensor.
	Granularity quant.Granularity `json:"granularity"`
	// StepGrad is the gradient of the steps; default StepLSQ.
	StepGrad graph.StepGrad `json:"step_grad"`
	// GradScale is its factor; default ScaleNQp.
	GradScale GradScale `json:"grad_scale"`
	// ScaleBatch, if positive, counts N of activations over so many examples;
	// 0, the default and the paper's wording, over one. Well-known code counts
	// the batch.
	ScaleBatch int `json:"scale_batch,omitempty"`
}

// DefaultQuantizers is the paper's choice for a bit plan.
func DefaultQuantizers(bits quant.BitPlan) Quantizers {
	return Quantizers{Bits: bits, StepGrad: graph.StepLSQ, GradScale: ScaleNQp}
}

// Validate returns an error that names the first setting that makes no sense.
func (q Quantizers) Validate() error {
	if err := q.Bits.Validate(); err != nil {
		return fmt.Errorf("lsq: %w", err)
	}
	if q.Granularity != quant.PerTensor && q.Granularity != quant.PerChannel {
		return fmt.Errorf("lsq: granularity of weights %v, want tensor or channel", q.Granularity)
	}
	switch q.StepGrad {
	case graph.StepLSQ, graph.StepPACT, graph.StepFrozen:
	default:
		return fmt.Errorf("lsq: step gradient %q, want lsq, pact or frozen", q.StepGrad)
	}
	switch q.GradScale {
	case ScaleNQp, ScaleN, ScaleOne:
	default:
		return fmt.Errorf("lsq: gradient scale %q, want %s, %s or %s", q.GradScale, ScaleNQp, ScaleN, ScaleOne)
	}
	if q.ScaleBatch < 0 {
		return fmt.Errorf("lsq: scale batch %d, want 0 or more", q.ScaleBatch)
	}
	return nil
}

// scale returns the factor of the gradient of a step that n elements share.
func (q Quantizers) scale(n int, s quant.Spec) float64 {
	switch q.GradScale {
	case ScaleN:
		return 1 / math.Sqrt(float64(n))
	case ScaleOne:
		return 1
	}
	return Scale(n, s)
}

// Scale returns the paper's factor of the gradient of a step that n elements
// share: 1/sqrt(n*Qp).
func Scale(n int, s quant.Spec) float64 { return 1 / math.Sqrt(float64(n)*float64(s.Qp())) }

// residualBits is the width of residual adds under quant.Residual8.
const residualBits = 8

// Names of a layer's quantizers: parameter and node.
const (
	weightStep, weightQuant = ".weight_step", ".weight_quant"
	inputStep, inputQuant   = ".input_step", ".input_quant"
)

// Insert returns the inference graph g with quantizers: on the weight and the
// input of each convolution and matrix product that has a weight, on each table
// of embeddings, which counts as a first layer, and, under quant.Residual8, on
// both operands and the result of each residual add (behind its relu, if nothing
// else reads it).
//
// A tensor that feeds several layers of one width has one quantizer, named
// after the first layer in graph order. The new parameters are
// "<layer>.weight_step" [1] or [out], "<layer>.input_step" [1], and
// "<add>.left_step", "<add>.right_step", "<add>.output_step" [1]; the
// quantizers are nodes of the same names with _quant for _step. Steps start at
// 0, which no trainer accepts: call Init.
//
// Errors: settings that make no sense, a graph that has quantizers already, a
// name in q.Bits.Layers that is no such layer, a graph without layers.
func Insert(g *graph.Graph, q Quantizers) (*graph.Graph, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	first, last := ends(g)
	known := map[string]bool{}
	for _, n := range g.Nodes() {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			return nil, fmt.Errorf("lsq: node %q: the graph is quantized already", n.Name())
		}
		if isLayer(n) || isTable(n) {
			known[n.Name()] = true
		}
	}
	if len(known) == 0 {
		return nil, fmt.Errorf("lsq: the graph has no layer with a weight")
	}
	for name := range q.Bits.Layers {
		if !known[name] {
			return nil, fmt.Errorf("lsq: bits for %q, which is no layer of the graph", name)
		}
	}
	in := inserter{q: q, uses: g.Uses(), first: first, last: last, done: map[site]*graph.Node{}, positive: map[*graph.Node]bool{}}
	out, err := graph.Rewrite(g, in.node)
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	return out, nil
}

// isLayer reports whether n multiplies its input with a weight parameter.
func isLayer(n *graph.Node) bool {
	switch n.Op().(type) {
	case graph.Conv2D, graph.MatMul:
		return isWeight(n.In()[1])
	}
	return false
}

func isWeight(n *graph.Node) bool {
	p, ok := n.Op().(graph.Param)
	return ok && p.Role == graph.Weight
}

// isTable reports whether n picks rows of a weight parameter.
func isTable(n *graph.Node) bool {
	_, ok := n.Op().(graph.Embedding)
	return ok && isWeight(n.In()[0])
}

// ends returns the layers that no other layer and no table of embeddings stands
// before, and those that none stands behind.
func ends(g *graph.Graph) (first, last map[*graph.Node]bool) {
	nodes := g.Nodes()
	before, behind := make([]bool, len(nodes)), make([]bool, len(nodes))
	first, last = map[*graph.Node]bool{}, map[*graph.Node]bool{}
	for i, n := range nodes {
		for _, x := range n.In() {
			before[i] = before[i] || before[x.ID()] || isLayer(x) || isTable(x)
		}
		if isLayer(n) && !before[i] {
			first[n] = true
		}
	}
	for i := len(nodes) - 1; i >= 0; i-- {
		n := nodes[i]
		if isLayer(n) && !behind[i] {
			last[n] = true
		}
		for _, x := range n.In() {
			if behind[i] || isLayer(n) {
				behind[x.ID()] = true
			}
		}
	}
	return first, last
}

// site is a tensor and the width it is quantized to.
type site struct {
	x    *graph.Node
	bits int
}

// inserter is the state of one Insert.
type inserter struct {
	q           Quantizers
	uses        [][]*graph.Node
	first, last map[*graph.Node]bool
	done        map[site]*graph.Node
	positive    map[*graph.Node]bool
}

// node is the function that graph.Rewrite calls.
func (s *inserter) node(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
	switch {
	case isLayer(n):
		w := s.q.Bits.Layer(n.Name(), s.first[n], s.last[n])
		x, weight := in[0], in[1]
		if w.Act > 0 {
			x = s.activation(to, x, w.Act, n.Name()+inputStep, n.Name()+inputQuant)
		}
		if w.Weight > 0 {
			weight = s.weight(to, n, weight, w.Weight)
		}
		return to.Copy(n, []*graph.Node{x, weight})
	case isTable(n):
		w := s.q.Bits.Layer(n.Name(), true, false)
		if w.Weight == 0 {
			return nil
		}
		return to.Copy(n, []*graph.Node{s.weight(to, n, in[0], w.Weight), in[1]})
	case s.q.Bits.Residual != quant.Residual8:
		return nil
	case isResidual(n):
		a := s.activation(to, in[0], residualBits, n.Name()+".left_step", n.Name()+".left_quant")
		b := s.activation(to, in[1], residualBits, n.Name()+".right_step", n.Name()+".right_quant")
		sum := to.Copy(n, []*graph.Node{a, b})
		if s.reluBehind(n) != nil {
			return sum
		}
		return s.activation(to, sum, residualBits, n.Name()+".output_step", n.Name()+".output_quant")
	case isRelu(n) && isResidual(n.In()[0]) && s.reluBehind(n.In()[0]) == n:
		add := n.In()[0].Name()
		return s.activation(to, to.Copy(n, in), residualBits, add+".output_step", add+".output_quant")
	}
	return nil
}

// isResidual reports whether n adds two activations of one shape.
func isResidual(n *graph.Node) bool {
	o, ok := n.Op().(graph.Binary)
	return ok && o.F == graph.Add && computed(n.In()[0]) && computed(n.In()[1]) &&
		len(n.Shape()) > 1 && n.In()[0].Shape().Equal(n.In()[1].Shape())
}

// computed reports whether a value comes from an input.
func computed(n *graph.Node) bool {
	switch n.Op().(type) {
	case graph.Input:
		return true
	case graph.Param, graph.Const:
		return false
	}
	for _, x := range n.In() {
		if computed(x) {
			return true
		}
	}
	return false
}

func isRelu(n *graph.Node) bool {
	o, ok := n.Op().(graph.Unary)
	return ok && (o.F == graph.Relu || o.F == graph.Relu6)
}

// reluBehind returns the relu that alone reads n, or nil.
func (s *inserter) reluBehind(n *graph.Node) *graph.Node {
	if u := s.uses[n.ID()]; len(u) == 1 && isRelu(u[0]) {
		return u[0]
	}
	return nil
}

// activation returns x on a grid of that width: the quantizer that x has
// already or, if it is one of that width itself, x.
func (s *inserter) activation(to *graph.Graph, x *graph.Node, bits int, step, name string) *graph.Node {
	if o, ok := x.Op().(graph.FakeQuant); ok && o.Spec.Bits == bits {
		return x
	}
	if y := s.done[site{x, bits}]; y != nil {
		return y
	}
	spec := quant.Spec{Bits: bits, Signed: !s.nonNegative(x)}
	n := x.Shape().Size() / max(x.Shape()[0], 1) * max(s.q.ScaleBatch, 1) // of an example, or a token
	y := s.fakeQuant(to, x, spec, n, []int{1}, step, name)
	s.done[site{x, bits}] = y
	return y
}

// weight returns the quantized weight of layer n; tied weights share it.
func (s *inserter) weight(to *graph.Graph, n, w *graph.Node, bits int) *graph.Node {
	if y := s.done[site{w, bits}]; y != nil {
		return y
	}
	spec := quant.Spec{Bits: bits, Signed: true, Granularity: s.q.Granularity}
	shape, share := []int{1}, w.Shape().Size()
	if spec.Granularity == quant.PerChannel {
		if o, ok := n.Op().(graph.MatMul); ok && !o.TransB {
			spec.Axis = len(w.Shape()) - 1 // [in, out]
		}
		shape = []int{w.Shape()[spec.Axis]}
		share /= shape[0]
	}
	y := s.fakeQuant(to, w, spec, share, shape, n.Name()+weightStep, n.Name()+weightQuant)
	s.done[site{w, bits}] = y
	return y
}

func (s *inserter) fakeQuant(to *graph.Graph, x *graph.Node, spec quant.Spec, share int, shape []int, step, name string) *graph.Node {
	p := to.Param(graph.Param{Name: step, Shape: shape, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst}})
	return to.FakeQuant(x, p, graph.FakeQuant{Spec: spec, StepGrad: s.q.StepGrad, GradScale: s.q.scale(share, spec)}).Named(name)
}

// nonNegative reports whether the graph shows that no element of x is below 0.
func (s *inserter) nonNegative(x *graph.Node) bool {
	v, ok := s.positive[x]
	if !ok {
		v = s.showNonNegative(x)
		s.positive[x] = v
	}
	return v
}

func (s *inserter) showNonNegative(x *graph.Node) bool {
	in := x.In()
	switch o := x.Op().(type) {
	case graph.Unary:
		switch o.F {
		case graph.Relu, graph.Relu6, graph.Sigmoid, graph.Exp, graph.Abs, graph.Sqrt:
			return true
		}
		return false
	case graph.Binary:
		switch o.F {
		case graph.Add, graph.Mul, graph.Div, graph.Min:
			return s.nonNegative(in[0]) && s.nonNegative(in[1])
		case graph.Max:
			return s.nonNegative(in[0]) || s.nonNegative(in[1])
		}
		return o.F == graph.Greater
	case graph.Softmax:
		return !o.Log
	case graph.Pad:
		return o.Value >= 0 && s.nonNegative(in[0])
	case graph.Concat:
		for _, y := range in {
			if !s.nonNegative(y) {
				return false
			}
		}
		return true
	case graph.Const:
		for _, v := range o.Values {
			if v < 0 {
				return false
			}
		}
		return true
	case graph.FakeQuant, graph.Pool, graph.Reduce, graph.Reshape, graph.Transpose, graph.Slice, graph.Dropout, graph.BroadcastTo:
		return s.nonNegative(in[0])
	}
	return false
}
