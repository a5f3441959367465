package graph

import (
	"fmt"

	"lowbit/tensor"
)

// PoolKind names a pooling.
type PoolKind string

// Poolings. AvgPool divides by the number of elements inside the image, or by
// the whole window if CountPad.
const (
	MaxPool PoolKind = "max_pool"
	AvgPool PoolKind = "avg_pool"
)

// Pool combines each window of x [batch, c, h, w]. Pad is top, left, bottom,
// right; padded places never win a maximum.
type Pool struct {
	F        PoolKind `json:"f"`
	Kernel   [2]int   `json:"kernel"`
	Stride   [2]int   `json:"stride"`
	Pad      [4]int   `json:"pad"`
	CountPad bool     `json:"count_pad,omitempty"`
}

// Kind implements Op.
func (o Pool) Kind() string { return string(o.F) }

// Infer implements Op.
func (o Pool) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	return o.output(in[0].Shape)
}

func (o Pool) output(x tensor.Shape) (Type, error) {
	if len(x) != 4 {
		return Type{}, fmt.Errorf("%w: want [b c h w], got %v", tensor.ErrShape, x)
	}
	if min(o.Kernel[0], o.Kernel[1], o.Stride[0], o.Stride[1]) < 1 {
		return Type{}, fmt.Errorf("kernel %v and stride %v must be positive", o.Kernel, o.Stride)
	}
	for i, p := range o.Pad {
		if p < 0 || p >= o.Kernel[i%2] {
			return Type{}, fmt.Errorf("pad %v outside 0..kernel-1 of %v", o.Pad, o.Kernel)
		}
	}
	oh := convOut(x[2], o.Kernel[0], o.Stride[0], 1, o.Pad[0]+o.Pad[2])
	ow := convOut(x[3], o.Kernel[1], o.Stride[1], 1, o.Pad[1]+o.Pad[3])
	if oh < 1 || ow < 1 {
		return Type{}, fmt.Errorf("%w: window %v does not fit %v", tensor.ErrShape, o.Kernel, x)
	}
	return F32(x[0], x[1], oh, ow), nil
}

// Gradient implements Differentiable.
func (o Pool) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(PoolGrad{Pool: o}, n.in[0], dy)}
}

// PoolGrad is the gradient of Pool. Operands: x, dy. A maximum's gradient goes
// to the first of equal elements in row-major order of the window.
type PoolGrad struct {
	Pool
}

// Kind implements Op.
func (o PoolGrad) Kind() string { return string(o.F) + "_grad" }

// Infer implements Op.
func (o PoolGrad) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	t, err := o.output(in[0].Shape)
	if err == nil && !t.Shape.Equal(in[1].Shape) {
		err = fmt.Errorf("%w: dy %v, want %v", tensor.ErrShape, in[1].Shape, t.Shape)
	}
	return F32(in[0].Shape.Clone()...), err
}

// Gradient implements Differentiable: only of average pooling, which is linear.
func (o PoolGrad) Gradient(g *Graph, n, d *Node) []*Node {
	if o.F == AvgPool {
		return []*Node{nil, g.Apply(o.Pool, d)}
	}
	return []*Node{nil, nil}
}

// MaxPool2D takes the maximum of k x k windows.
func (g *Graph) MaxPool2D(x *Node, k, stride, pad int) *Node {
	return g.Apply(Pool{F: MaxPool, Kernel: [2]int{k, k}, Stride: [2]int{stride, stride}, Pad: [4]int{pad, pad, pad, pad}}, x)
}

// AvgPool2D averages k x k windows.
func (g *Graph) AvgPool2D(x *Node, k, stride, pad int) *Node {
	return g.Apply(Pool{F: AvgPool, Kernel: [2]int{k, k}, Stride: [2]int{stride, stride}, Pad: [4]int{pad, pad, pad, pad}}, x)
}

// GlobalAvgPool averages each channel's plane: [b, c, h, w] to [b, c].
func (g *Graph) GlobalAvgPool(x *Node) *Node { return g.Mean(x, 2, 3) }
