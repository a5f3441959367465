package graph

import (
	"fmt"

	"lowbit/tensor"
)

// Softmax normalises the last axis: exp(x - max) / sum; its logarithm if Log.
type Softmax struct {
	Log bool `json:"log,omitempty"`
}

// Kind implements Op.
func (o Softmax) Kind() string {
	if o.Log {
		return "log_softmax"
	}
	return "softmax"
}

// Infer implements Op.
func (Softmax) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	if len(in[0].Shape) == 0 {
		return Type{}, fmt.Errorf("%w: a scalar has no last axis", tensor.ErrShape)
	}
	return Type{tensor.F32, in[0].Shape.Clone()}, nil
}

// Gradient implements Differentiable.
func (o Softmax) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(SoftmaxGrad{Log: o.Log}, n, dy)}
}

// SoftmaxGrad is the gradient of Softmax from its result y: y*(dy - sum(y*dy)),
// or dy - exp(y)*sum(dy) if Log. Operands: y, dy.
type SoftmaxGrad struct {
	Log bool `json:"log,omitempty"`
}

// Kind implements Op.
func (o SoftmaxGrad) Kind() string { return Softmax{o.Log}.Kind() + "_grad" }

// Infer implements Op.
func (SoftmaxGrad) Infer(in []Type) (Type, error) { return sameShapes(in, 2) }

// CrossEntropy is -log softmax(logits)[label] of each row, with label
// smoothing: (1-Smooth) on the label plus Smooth spread over all classes.
// Operands: logits [..., c], labels i32 [...]; a negative label gives 0 loss
// and no gradient. Result: [...].
type CrossEntropy struct {
	Smooth float64 `json:"smooth,omitempty"`
}

// Kind implements Op.
func (CrossEntropy) Kind() string { return "cross_entropy" }

// Infer implements Op.
func (CrossEntropy) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 2); err != nil {
		return Type{}, err
	}
	r := len(in[0].Shape) - 1
	if r < 1 || in[0].DType != tensor.F32 || in[1].DType != tensor.I32 || !in[0].Shape[:r].Equal(in[1].Shape) {
		return Type{}, fmt.Errorf("%w: want logits f32[... c] and labels i32[...], got %v and %v", tensor.ErrShape, in[0], in[1])
	}
	return F32(in[1].Shape.Clone()...), nil
}

// Gradient implements Differentiable.
func (o CrossEntropy) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(CrossEntropyGrad{o}, n.in[0], n.in[1], dy), nil}
}

// CrossEntropyGrad is dy*(softmax(logits) - target). Operands: logits, labels,
// dy [...].
type CrossEntropyGrad struct {
	CrossEntropy
}

// Kind implements Op.
func (CrossEntropyGrad) Kind() string { return "cross_entropy_grad" }

// Infer implements Op.
func (o CrossEntropyGrad) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 3); err != nil {
		return Type{}, err
	}
	t, err := o.CrossEntropy.Infer(in[:2])
	if err == nil && !t.Shape.Equal(in[2].Shape) {
		err = fmt.Errorf("%w: dy %v, want %v", tensor.ErrShape, in[2].Shape, t.Shape)
	}
	return F32(in[0].Shape.Clone()...), err
}

// KLDivergence is the distillation loss of each row,
// T^2 * sum p_T (log p_T - log p_S) with p = softmax(logits/T). Operands:
// student logits, teacher logits, both [..., c]; the teacher gets no gradient.
// Result: [...].
type KLDivergence struct {
	T float64 `json:"t"`
}

// Kind implements Op.
func (KLDivergence) Kind() string { return "kl_divergence" }

// Infer implements Op.
func (o KLDivergence) Infer(in []Type) (Type, error) {
	t, err := sameShapes(in, 2)
	if err != nil {
		return t, err
	}
	if len(t.Shape) < 2 || o.T <= 0 {
		return Type{}, fmt.Errorf("%w: logits %v, temperature %g", tensor.ErrShape, t.Shape, o.T)
	}
	return F32(t.Shape[:len(t.Shape)-1].Clone()...), nil
}

// Gradient implements Differentiable.
func (o KLDivergence) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(KLDivergenceGrad{o}, n.in[0], n.in[1], dy), nil}
}

// KLDivergenceGrad is dy*T*(p_S - p_T). Operands: student, teacher, dy [...].
type KLDivergenceGrad struct {
	KLDivergence
}

// Kind implements Op.
func (KLDivergenceGrad) Kind() string { return "kl_divergence_grad" }

// Infer implements Op.
func (o KLDivergenceGrad) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 3); err != nil {
		return Type{}, err
	}
	t, err := o.KLDivergence.Infer(in[:2])
	if err == nil && !t.Shape.Equal(in[2].Shape) {
		err = fmt.Errorf("%w: dy %v, want %v", tensor.ErrShape, in[2].Shape, t.Shape)
	}
	return F32(in[0].Shape.Clone()...), err
}
