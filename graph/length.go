package graph

import (
	"fmt"

	"lowbit/tensor"
)

// sequenced is an op with an attribute that is the length of the graph's
// sequences.
type sequenced interface {
	Op
	withLength(n int) Op
}

func (o Attention) withLength(n int) Op     { o.Seq = n; return o }
func (o MaskedSoftmax) withLength(n int) Op { o.Seq = n; return o }
func (o LengthMask) withLength(n int) Op    { o.Seq = n; return o }
func (o RoPE) withLength(n int) Op          { o.Seq = n; return o }

func (o Reshape) withLength(n int) Op {
	if o.Length > 0 {
		o.Dims = append([]int(nil), o.Dims...)
		o.Dims[o.Length] = n
	}
	return o
}

func (o Slice) withLength(n int) Op {
	if o.Length {
		o.End = n
	}
	return o
}

// tokens reports whether an input holds a number for each token of a batch of
// sequences, i32 [batch, length].
func (o Input) tokens() bool { return !o.Fixed && o.DType == tensor.I32 && len(o.Shape) == 2 }

// Length returns the length of the sequences that the graph reads: the second
// dimension of its first input of tokens; 0 if it reads none.
func (g *Graph) Length() int {
	for _, n := range g.Inputs() {
		if o := n.op.(Input); o.tokens() {
			return o.Shape[1]
		}
	}
	return 0
}

// WithShape returns the same graph for batches of that size and, if length is
// not 0, sequences of that length.
func WithShape(g *Graph, batch, length int) (*Graph, error) {
	g, err := WithBatch(g, batch)
	if err != nil || length == 0 {
		return g, err
	}
	return WithLength(g, length)
}

// WithLength returns the same graph for sequences of n tokens: the second
// dimension of each input of tokens changes, and with it what the ops know of
// the length; all shapes are inferred again. It is an error if the graph reads
// no tokens, or has shapes that hold the old length and do not say so. Gradient
// nodes hold shapes, so take gradients afterwards.
func WithLength(g *Graph, n int) (*Graph, error) {
	old := g.Length()
	switch {
	case n < 1:
		return nil, fmt.Errorf("graph: length %d, want at least 1", n)
	case old == 0:
		return nil, fmt.Errorf("graph: length %d: the graph reads no sequences", n)
	case n == old:
		return g, nil
	}
	to, err := Rewrite(g, func(to *Graph, x *Node, in []*Node) *Node {
		if o, ok := x.op.(Input); ok && o.tokens() {
			o.Shape = tensor.Shape{o.Shape[0], n}
			c := to.Apply(o).Named(x.name)
			to.inputs[o.Name] = c
			return c
		}
		if o, ok := x.op.(sequenced); ok {
			return to.Apply(o.withLength(n), in...).Named(x.name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("graph: from sequences of %d tokens to %d: %w", old, n, err)
	}
	return to, nil
}
