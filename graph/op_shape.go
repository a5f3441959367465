package graph

import (
	"fmt"

	"lowbit/tensor"
)

// Reshape gives the same elements, in logical row-major order, another shape.
// In Dims, 0 keeps the operand's dimension at that place and one -1 is worked
// out, so that a graph can be made again for another batch. Dims[Length], if
// Length is positive, is the length of the graph's sequences: see WithLength.
type Reshape struct {
	Dims   []int `json:"dims"`
	Length int   `json:"length,omitempty"`
}

// Kind implements Op.
func (Reshape) Kind() string { return "reshape" }

// Infer implements Op.
func (o Reshape) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 1); err != nil {
		return Type{}, err
	}
	src := in[0].Shape
	if o.Length < 0 || o.Length > 0 && o.Length >= len(o.Dims) {
		return Type{}, fmt.Errorf("length at place %d of dims %v", o.Length, o.Dims)
	}
	out := make(tensor.Shape, len(o.Dims))
	free, size := -1, 1
	for i, d := range o.Dims {
		switch {
		case d == 0 && i < len(src):
			d = src[i]
		case d == -1 && free < 0:
			free, out[i] = i, 1
			continue
		case d < 0 || d == 0:
			return Type{}, fmt.Errorf("dims %v do not fit %v", o.Dims, src)
		}
		out[i] = d
		size *= d
	}
	if free >= 0 && size > 0 {
		out[free] = src.Size() / size
	}
	if out.Size() != src.Size() {
		return Type{}, fmt.Errorf("%w: %v to %v", tensor.ErrShape, src, tensor.Shape(o.Dims))
	}
	return Type{in[0].DType, out}, nil
}

// Gradient implements Differentiable.
func (o Reshape) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Reshape(dy, n.in[0].Shape()...)}
}

// Reshape changes the shape; see the op for 0 and -1.
func (g *Graph) Reshape(x *Node, dims ...int) *Node {
	if x.Shape().Equal(dims) && x.typ.DType != tensor.Invalid {
		return x
	}
	return g.Apply(Reshape{Dims: append([]int{}, dims...)}, x)
}

// Flatten keeps the batch and joins all other dimensions in logical order.
func (g *Graph) Flatten(x *Node) *Node { return g.Apply(Reshape{Dims: []int{0, -1}}, x) }

// Transpose permutes the axes: result axis i is operand axis Perm[i].
type Transpose struct {
	Perm []int `json:"perm"`
}

// Kind implements Op.
func (Transpose) Kind() string { return "transpose" }

// Infer implements Op.
func (o Transpose) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 1); err != nil {
		return Type{}, err
	}
	src := in[0].Shape
	out := make(tensor.Shape, len(src))
	seen := make([]bool, len(src))
	if len(o.Perm) != len(src) {
		return Type{}, fmt.Errorf("%w: perm %v for %v", tensor.ErrShape, o.Perm, src)
	}
	for i, p := range o.Perm {
		if p < 0 || p >= len(src) || seen[p] {
			return Type{}, fmt.Errorf("perm %v is no permutation", o.Perm)
		}
		seen[p] = true
		out[i] = src[p]
	}
	return Type{in[0].DType, out}, nil
}

// Gradient implements Differentiable.
func (o Transpose) Gradient(g *Graph, n, dy *Node) []*Node {
	inv := make([]int, len(o.Perm))
	for i, p := range o.Perm {
		inv[p] = i
	}
	return []*Node{g.Apply(Transpose{inv}, dy)}
}

// Transpose permutes the axes.
func (g *Graph) Transpose(x *Node, perm ...int) *Node { return g.Apply(Transpose{perm}, x) }

// Slice takes every Step-th element from Start up to, not including, End along
// one axis. End 0 means the axis' end; the batch axis cannot be sliced. With
// Length, End is the length of the graph's sequences: see WithLength.
type Slice struct {
	Axis   int  `json:"axis"`
	Start  int  `json:"start"`
	End    int  `json:"end,omitempty"`
	Step   int  `json:"step,omitempty"`
	Length bool `json:"length,omitempty"`
}

// Kind implements Op.
func (Slice) Kind() string { return "slice" }

// Bounds returns start, end and step for an axis of that size.
func (o Slice) Bounds(size int) (start, end, step int) {
	start, end, step = o.Start, o.End, o.Step
	if end == 0 {
		end = size
	}
	return start, end, max(step, 1)
}

// Infer implements Op.
func (o Slice) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 1); err != nil {
		return Type{}, err
	}
	out := in[0].Shape.Clone()
	if o.Axis < 0 || o.Axis >= len(out) {
		return Type{}, fmt.Errorf("axis %d of %v", o.Axis, out)
	}
	a, e, st := o.Bounds(out[o.Axis])
	if a < 0 || a >= e || e > out[o.Axis] {
		return Type{}, fmt.Errorf("%w: [%d:%d] of axis %d of %v", tensor.ErrShape, a, e, o.Axis, out)
	}
	out[o.Axis] = (e - a + st - 1) / st
	return Type{in[0].DType, out}, nil
}

// Gradient implements Differentiable.
func (o Slice) Gradient(g *Graph, n, dy *Node) []*Node {
	size := n.in[0].Shape()[o.Axis]
	a, _, st := o.Bounds(size)
	return []*Node{g.Apply(SliceGrad{Axis: o.Axis, Start: a, Step: st, Size: size}, dy)}
}

// Slice takes part of one axis.
func (g *Graph) Slice(x *Node, axis, start, end, step int) *Node {
	return g.Apply(Slice{Axis: axis, Start: start, End: end, Step: step}, x)
}

// SliceGrad is the adjoint of Slice: dy's elements at Start, Start+Step, ... of
// an axis of the given Size, zero elsewhere.
type SliceGrad struct {
	Axis  int `json:"axis"`
	Start int `json:"start"`
	Step  int `json:"step"`
	Size  int `json:"size"`
}

// Kind implements Op.
func (SliceGrad) Kind() string { return "slice_grad" }

// Infer implements Op.
func (o SliceGrad) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 1); err != nil {
		return Type{}, err
	}
	out := in[0].Shape.Clone()
	if o.Axis < 0 || o.Axis >= len(out) || o.Step < 1 || o.Start < 0 || o.Start+(out[o.Axis]-1)*o.Step >= o.Size {
		return Type{}, fmt.Errorf("%w: %+v of %v", tensor.ErrShape, o, out)
	}
	out[o.Axis] = o.Size
	return Type{in[0].DType, out}, nil
}

// Gradient implements Differentiable.
func (o SliceGrad) Gradient(g *Graph, n, dy *Node) []*Node {
	last := o.Start + (n.in[0].Shape()[o.Axis]-1)*o.Step
	return []*Node{g.Slice(dy, o.Axis, o.Start, last+1, o.Step)}
}

// Pad puts Before[i] and After[i] elements of Value round axis i.
type Pad struct {
	Before []int   `json:"before"`
	After  []int   `json:"after"`
	Value  float32 `json:"value,omitempty"`
}

// Kind implements Op.
func (Pad) Kind() string { return "pad" }

// Infer implements Op.
func (o Pad) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	out := in[0].Shape.Clone()
	if len(o.Before) != len(out) || len(o.After) != len(out) {
		return Type{}, fmt.Errorf("%w: pads %v, %v for %v", tensor.ErrShape, o.Before, o.After, out)
	}
	for i := range out {
		if o.Before[i] < 0 || o.After[i] < 0 {
			return Type{}, fmt.Errorf("negative pad %v, %v", o.Before, o.After)
		}
		out[i] += o.Before[i] + o.After[i]
	}
	return Type{tensor.F32, out}, nil
}

// Gradient implements Differentiable.
func (o Pad) Gradient(g *Graph, n, dy *Node) []*Node {
	for i, d := range n.in[0].Shape() {
		if o.Before[i] != 0 || o.After[i] != 0 {
			dy = g.Slice(dy, i, o.Before[i], o.Before[i]+d, 1)
		}
	}
	return []*Node{dy}
}

// Pad surrounds x with constants.
func (g *Graph) Pad(x *Node, before, after []int, value float32) *Node {
	return g.Apply(Pad{before, after, value}, x)
}

// Concat joins values along one axis.
type Concat struct {
	Axis int `json:"axis"`
}

// Kind implements Op.
func (Concat) Kind() string { return "concat" }

// Infer implements Op.
func (o Concat) Infer(in []Type) (Type, error) {
	if len(in) == 0 || o.Axis < 0 || o.Axis >= len(in[0].Shape) {
		return Type{}, fmt.Errorf("axis %d of %d operands", o.Axis, len(in))
	}
	out := in[0].Shape.Clone()
	for _, t := range in[1:] {
		if t.DType != in[0].DType || len(t.Shape) != len(out) {
			return Type{}, fmt.Errorf("%w: %v and %v", tensor.ErrShape, in[0], t)
		}
		for i, d := range t.Shape {
			if i != o.Axis && d != out[i] {
				return Type{}, fmt.Errorf("%w: %v and %v along axis %d", tensor.ErrShape, in[0], t, o.Axis)
			}
		}
		out[o.Axis] += t.Shape[o.Axis]
	}
	return Type{in[0].DType, out}, nil
}

// Gradient implements Differentiable.
func (o Concat) Gradient(g *Graph, n, dy *Node) []*Node {
	grads := make([]*Node, len(n.in))
	at := 0
	for i, x := range n.in {
		d := x.Shape()[o.Axis]
		grads[i] = g.Slice(dy, o.Axis, at, at+d, 1)
		at += d
	}
	return grads
}

// Concat joins values along one axis.
func (g *Graph) Concat(axis int, xs ...*Node) *Node { return g.Apply(Concat{axis}, xs...) }
