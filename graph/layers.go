package graph

// FloatBits is the width of a value that no quantizer rounds.
const FloatBits = 32

// Widths of the values that Ternary and Spike give.
const (
	ternaryBits = 2 // -1, 0, 1
	spikeBits   = 1
)

// Layer describes one node that has parameters of its own: a convolution, a
// matrix product, a batch norm, with the bias that is added to it.
type Layer struct {
	Name        string `json:"name"`
	Op          string `json:"op"`           // kind of the node
	MACs        int64  `json:"macs"`         // of one example
	Params      int64  `json:"params"`       // learned ones; no steps, no running statistics
	WeightBits  int    `json:"weight_bits"`  // FloatBits if not quantized; 2 if ternary
	ActBits     int    `json:"act_bits"`     // of the input; FloatBits if not quantized; 1 for spikes
	OutputShape []int  `json:"output_shape"` // of one example

	Node *Node `json:"-"`
	// Weight is the parameter that the node multiplies its input with, nil for
	// a batch norm; WeightQuant and InputQuant are the quantizers in front of
	// the node, nil where there is none; Bias is the parameter added to the
	// result, or nil. Ternary is the Ternary node in front of the weight, nil
	// where there is none: it has no step, so it is no WeightQuant.
	Weight, Bias, WeightQuant, InputQuant, Ternary *Node `json:"-"`
}

// Layers lists the layers of a forward graph in order. The parameters of a
// layer that another one also uses (tied weights) are counted in the first.
func Layers(g *Graph) []Layer {
	seen := make([]bool, len(g.nodes))
	users := g.Uses()
	batch := int64(max(g.Batch(), 1))
	var layers []Layer
	for _, n := range g.nodes {
		l := Layer{Name: n.Name(), Op: n.op.Kind(), WeightBits: FloatBits, ActBits: FloatBits, Node: n}
		switch n.op.(type) {
		case Conv2D, MatMul:
			l.weigh(n)
			if l.Weight == nil { // a product of two activations: attention
				break
			}
			l.Bias = addedBias(n, users[n.id])
		case BatchNorm, BatchNormTrain:
		default:
			continue
		}
		for _, p := range append([]*Node{l.Weight, l.Bias}, n.in...) {
			if p != nil && !seen[p.id] && learned(p) {
				seen[p.id] = true
				l.Params += int64(p.Shape().Size())
			}
		}
		if c, ok := n.op.(Coster); ok {
			l.MACs = c.MACs(n) / batch
		}
		if s := n.Shape(); len(s) > 0 {
			l.OutputShape = s[1:].Clone()
		}
		layers = append(layers, l)
	}
	return layers
}

// weigh finds the quantizers and the weight among the operands.
func (l *Layer) weigh(n *Node) {
	x, w := n.in[0], n.in[1]
	if q, ok := x.op.(FakeQuant); ok {
		l.InputQuant, l.ActBits = x, q.Spec.Bits
	} else if _, ok := arranged(x).op.(Spike); ok {
		l.ActBits = spikeBits
	}
	switch q := w.op.(type) {
	case FakeQuant:
		l.WeightQuant, l.WeightBits = w, q.Spec.Bits
		w = w.in[0]
	case Ternary:
		l.Ternary, l.WeightBits = w, ternaryBits
		w = w.in[0]
	}
	if _, ok := w.op.(Param); ok {
		l.Weight = w
	}
}

// arranged follows a tensor back through ops that only arrange its values.
func arranged(n *Node) *Node {
	for {
		switch n.op.(type) {
		case Reshape, Transpose:
			n = n.in[0]
		default:
			return n
		}
	}
}

// addedBias returns the parameter that the only user of n adds to it.
func addedBias(n *Node, users []*Node) *Node {
	if len(users) != 1 {
		return nil
	}
	if o, ok := users[0].op.(Binary); !ok || o.F != Add {
		return nil
	}
	for _, x := range users[0].in {
		base := x
		if _, ok := x.op.(Reshape); ok { // [c] to [c 1 1]
			base = x.in[0]
		}
		if p, ok := base.op.(Param); ok && p.Role == Bias {
			return base
		}
	}
	return nil
}

func learned(n *Node) bool {
	p, ok := n.op.(Param)
	return ok && p.Role != Stat && p.Role != Step
}

// ParamCount returns the number of learned parameters: weights, biases, norms;
// no running statistics and no quantizer steps.
func ParamCount(g *Graph) int64 {
	var sum int64
	for _, n := range g.nodes {
		if learned(n) {
			sum += int64(n.Shape().Size())
		}
	}
	return sum
}
