package graph

import (
	"fmt"

	"lowbit/tensor"
)

// MatMul is a matrix product over the last two axes: op(a) [..., m, k] times
// op(b) [..., k, n], where op transposes them if asked. b may have rank 2 and is
// then shared by all leading axes of a; otherwise the leading axes are equal.
type MatMul struct {
	TransA bool `json:"trans_a,omitempty"`
	TransB bool `json:"trans_b,omitempty"`
	// OfGradient tells that one operand is a gradient.
	OfGradient bool `json:"of_gradient,omitempty"`
}

// Kind implements Op.
func (MatMul) Kind() string { return "matmul" }

// Dims returns m, k and n for operands of these shapes.
func (o MatMul) Dims(a, b tensor.Shape) (m, k, n int) {
	m, k = a[len(a)-2], a[len(a)-1]
	if o.TransA {
		m, k = k, m
	}
	n = b[len(b)-1]
	if o.TransB {
		n = b[len(b)-2]
	}
	return m, k, n
}

// Infer implements Op.
func (o MatMul) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	a, b := in[0].Shape, in[1].Shape
	if len(a) < 2 || len(b) < 2 || len(b) > 2 && !a[:len(a)-2].Equal(b[:len(b)-2]) {
		return Type{}, fmt.Errorf("%w: %v times %v", tensor.ErrShape, a, b)
	}
	m, k, n := o.Dims(a, b)
	kb := b[len(b)-2]
	if o.TransB {
		kb = b[len(b)-1]
	}
	if k != kb {
		return Type{}, fmt.Errorf("%w: inner dimensions %d and %d of %v and %v", tensor.ErrShape, k, kb, a, b)
	}
	return F32(append(a[:len(a)-2].Clone(), m, n)...), nil
}

// MACs implements Coster.
func (o MatMul) MACs(n *Node) int64 {
	_, k, _ := o.Dims(n.in[0].Shape(), n.in[1].Shape())
	return int64(n.Shape().Size()) * int64(k)
}

// Gradient implements Differentiable.
func (o MatMul) Gradient(g *Graph, n, dy *Node) []*Node {
	a, b := n.in[0], n.in[1]
	shared := len(b.Shape()) == 2 && len(a.Shape()) > 2
	var da, db *Node
	if o.TransA {
		da = g.Apply(MatMul{o.TransB, true, true}, b, dy)
	} else {
		da = g.Apply(MatMul{false, !o.TransB, true}, dy, b)
	}
	if shared && !o.TransA { // fold the leading axes into the rows
		_, k, cols := o.Dims(a.Shape(), b.Shape())
		a, dy = g.Reshape(a, -1, k), g.Reshape(dy, -1, cols)
	} else if shared {
		g.Fail(fmt.Errorf("graph: matmul %s: no gradient for a transposed left operand with a shared right one", n.Name()))
	}
	if o.TransB {
		db = g.Apply(MatMul{true, o.TransA, true}, dy, a)
	} else {
		db = g.Apply(MatMul{!o.TransA, false, true}, a, dy)
	}
	return []*Node{da, db}
}

// MatMul returns a times b.
func (g *Graph) MatMul(a, b *Node) *Node { return g.Apply(MatMul{}, a, b) }

// Linear returns x [..., in] times the transpose of w [out, in].
func (g *Graph) Linear(x, w *Node) *Node { return g.Apply(MatMul{TransB: true}, x, w) }
