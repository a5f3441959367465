package graph

import (
	"fmt"

	"lowbit/tensor"
)

// Conv2D is a cross-correlation: x [batch, in, h, w] with weights
// [out, in/Groups, kh, kw] gives [batch, out, oh, ow]. Pad is top, left, bottom,
// right; the padding is zero.
type Conv2D struct {
	Stride   [2]int `json:"stride"`
	Pad      [4]int `json:"pad"`
	Dilation [2]int `json:"dilation"`
	Groups   int    `json:"groups"`
}

// Kind implements Op.
func (Conv2D) Kind() string { return "conv2d" }

// Infer implements Op.
func (o Conv2D) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	return o.output(in[0].Shape, in[1].Shape)
}

func (o Conv2D) output(x, w tensor.Shape) (Type, error) {
	if len(x) != 4 || len(w) != 4 {
		return Type{}, fmt.Errorf("%w: want x [b c h w] and weights [o c/groups kh kw], got %v and %v", tensor.ErrShape, x, w)
	}
	for _, v := range []int{o.Stride[0], o.Stride[1], o.Dilation[0], o.Dilation[1], o.Groups} {
		if v < 1 {
			return Type{}, fmt.Errorf("stride %v, dilation %v, groups %d must be positive", o.Stride, o.Dilation, o.Groups)
		}
	}
	if w[1]*o.Groups != x[1] || w[0]%o.Groups != 0 {
		return Type{}, fmt.Errorf("%w: %d channels of %v, weights %v in %d groups", tensor.ErrShape, x[1], x, w, o.Groups)
	}
	oh := convOut(x[2], w[2], o.Stride[0], o.Dilation[0], o.Pad[0]+o.Pad[2])
	ow := convOut(x[3], w[3], o.Stride[1], o.Dilation[1], o.Pad[1]+o.Pad[3])
	if oh < 1 || ow < 1 || min(o.Pad[0], o.Pad[1], o.Pad[2], o.Pad[3]) < 0 {
		return Type{}, fmt.Errorf("%w: kernel %v with pad %v does not fit %v", tensor.ErrShape, w[2:], o.Pad, x)
	}
	return F32(x[0], w[0], oh, ow), nil
}

func convOut(size, kernel, stride, dilation, pad int) int {
	span := size + pad - dilation*(kernel-1) - 1
	if span < 0 {
		return 0
	}
	return span/stride + 1
}

// MACs implements Coster.
func (o Conv2D) MACs(n *Node) int64 { return convMACs(n.in[1].Shape(), n.Shape()) }

func convMACs(w, y tensor.Shape) int64 {
	return int64(y.Size()) * int64(w[1]*w[2]*w[3])
}

// Gradient implements Differentiable.
func (o Conv2D) Gradient(g *Graph, n, dy *Node) []*Node {
	x, w := n.in[0], n.in[1]
	return []*Node{
		g.Apply(Conv2DGradInput{Conv2D: o, InShape: x.Shape()}, dy, w),
		g.Apply(Conv2DGradWeight{Conv2D: o, WeightShape: w.Shape()}, x, dy),
	}
}

// Conv2D convolves x with w.
func (g *Graph) Conv2D(x, w *Node, o Conv2D) *Node { return g.Apply(o, x, w) }

// Conv2DGradInput is the gradient of Conv2D to its input, of shape InShape.
// Operands: dy, w.
type Conv2DGradInput struct {
	Conv2D
	InShape []int `json:"in_shape"`
}

// Kind implements Op.
func (Conv2DGradInput) Kind() string { return "conv2d_grad_input" }

// Infer implements Op.
func (o Conv2DGradInput) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	t, err := o.output(o.InShape, in[1].Shape)
	if err == nil && !t.Shape.Equal(in[0].Shape) {
		err = fmt.Errorf("%w: dy %v, want %v", tensor.ErrShape, in[0].Shape, t.Shape)
	}
	return F32(o.InShape...), err
}

// MACs implements Coster.
func (o Conv2DGradInput) MACs(n *Node) int64 {
	return convMACs(n.in[1].Shape(), n.in[0].Shape())
}

// Gradient implements Differentiable: the op is linear in both operands.
func (o Conv2DGradInput) Gradient(g *Graph, n, d *Node) []*Node {
	return []*Node{
		g.Apply(o.Conv2D, d, n.in[1]),
		g.Apply(Conv2DGradWeight{Conv2D: o.Conv2D, WeightShape: n.in[1].Shape()}, d, n.in[0]),
	}
}

// Conv2DGradWeight is the gradient of Conv2D to its weights, of shape
// WeightShape. Operands: x, dy.
type Conv2DGradWeight struct {
	Conv2D
	WeightShape []int `json:"weight_shape"`
}

// Kind implements Op.
func (Conv2DGradWeight) Kind() string { return "conv2d_grad_weight" }

// Infer implements Op.
func (o Conv2DGradWeight) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	t, err := o.output(in[0].Shape, o.WeightShape)
	if err == nil && !t.Shape.Equal(in[1].Shape) {
		err = fmt.Errorf("%w: dy %v, want %v", tensor.ErrShape, in[1].Shape, t.Shape)
	}
	return F32(o.WeightShape...), err
}

// MACs implements Coster.
func (o Conv2DGradWeight) MACs(n *Node) int64 {
	return convMACs(o.WeightShape, n.in[1].Shape())
}
