package graph

import (
	"fmt"

	"lowbit/tensor"
)

// ReduceKind names a reduction.
type ReduceKind string

// Reductions.
const (
	Sum  ReduceKind = "sum"
	Mean ReduceKind = "mean"
)

// Reduce combines the elements along Axes (all axes if empty); KeepDims leaves
// them with size 1.
type Reduce struct {
	F        ReduceKind `json:"f"`
	Axes     []int      `json:"axes,omitempty"`
	KeepDims bool       `json:"keep_dims,omitempty"`
}

// Kind implements Op.
func (o Reduce) Kind() string { return "reduce_" + string(o.F) }

// Mask returns, per axis of a value of that rank, whether it is reduced.
func (o Reduce) Mask(rank int) ([]bool, error) {
	m := make([]bool, rank)
	if len(o.Axes) == 0 {
		for i := range m {
			m[i] = true
		}
		return m, nil
	}
	for _, a := range o.Axes {
		if a < 0 || a >= rank || m[a] {
			return nil, fmt.Errorf("axes %v do not fit rank %d", o.Axes, rank)
		}
		m[a] = true
	}
	return m, nil
}

// Infer implements Op.
func (o Reduce) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	m, err := o.Mask(len(in[0].Shape))
	if err != nil {
		return Type{}, err
	}
	out := tensor.Shape{}
	for i, d := range in[0].Shape {
		switch {
		case !m[i]:
			out = append(out, d)
		case o.KeepDims:
			out = append(out, 1)
		}
	}
	return Type{tensor.F32, out}, nil
}

// Gradient implements Differentiable.
func (o Reduce) Gradient(g *Graph, n, dy *Node) []*Node {
	x := n.in[0]
	if o.F == Mean {
		count := float32(x.Shape().Size()) / float32(max(1, n.Shape().Size()))
		dy = g.Div(dy, g.Scalar(count))
	}
	m, _ := o.Mask(len(x.Shape()))
	kept := make([]int, len(m))
	for i, reduced := range m {
		kept[i] = x.Shape()[i]
		if reduced {
			kept[i] = 1
		}
	}
	return []*Node{g.Apply(BroadcastTo{Shape: x.Shape()}, g.Reshape(dy, kept...))}
}

// Sum reduces by addition along axes (all if none is given).
func (g *Graph) Sum(x *Node, axes ...int) *Node { return g.Apply(Reduce{F: Sum, Axes: axes}, x) }

// Mean reduces by the average along axes (all if none is given).
func (g *Graph) Mean(x *Node, axes ...int) *Node { return g.Apply(Reduce{F: Mean, Axes: axes}, x) }

// SumTo sums x down to a shape that broadcasts to x's: the gradient of
// broadcasting.
func (g *Graph) SumTo(x *Node, shape tensor.Shape) *Node {
	if x.Shape().Equal(shape) {
		return x
	}
	lead := len(x.Shape()) - len(shape)
	var axes []int
	for i, d := range x.Shape() {
		if i < lead || shape[i-lead] == 1 && d != 1 {
			axes = append(axes, i)
		}
	}
	if len(axes) > 0 {
		x = g.Apply(Reduce{F: Sum, Axes: axes, KeepDims: true}, x)
	}
	return g.Reshape(x, shape...)
}

// BroadcastTo repeats a value along its axes of size 1 (and missing leading
// axes) to a shape.
type BroadcastTo struct {
	Shape []int `json:"shape"`
}

// Kind implements Op.
func (BroadcastTo) Kind() string { return "broadcast_to" }

// Infer implements Op.
func (o BroadcastTo) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	s, err := broadcast(in[0].Shape, o.Shape)
	if err == nil && !s.Equal(o.Shape) {
		err = fmt.Errorf("%w: %v does not broadcast to %v", tensor.ErrShape, in[0].Shape, tensor.Shape(o.Shape))
	}
	return Type{tensor.F32, s}, err
}

// Gradient implements Differentiable.
func (o BroadcastTo) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.SumTo(dy, n.in[0].Shape())}
}
