package graph

import (
	"fmt"

	"lowbit/tensor"
)

// RowNormKind names a normalisation of the last axis.
type RowNormKind string

// Normalisations of a row x with d elements. LayerNorm:
// (x - mean)/sqrt(var + eps)*gamma + beta with the biased variance (arXiv
// 1607.06450). RMSNorm: x/sqrt(mean(x^2) + eps)*gamma (arXiv 1910.07467).
const (
	LayerNorm RowNormKind = "layer_norm"
	RMSNorm   RowNormKind = "rms_norm"
)

// RowNorm normalises the last axis. Operands: x [..., d], gamma [d] and, for
// LayerNorm, beta [d].
type RowNorm struct {
	F   RowNormKind `json:"f"`
	Eps float64     `json:"eps"`
}

// Kind implements Op.
func (o RowNorm) Kind() string { return string(o.F) }

// Infer implements Op.
func (o RowNorm) Infer(in []Type) (Type, error) {
	n := 2
	if o.F == LayerNorm {
		n = 3
	}
	if err := wantF32(in, n); err != nil {
		return Type{}, err
	}
	return o.check(in[0].Shape, in[1:])
}

func (o RowNorm) check(x tensor.Shape, vectors []Type) (Type, error) {
	if o.F != LayerNorm && o.F != RMSNorm || o.Eps < 0 {
		return Type{}, fmt.Errorf("%q with eps %g, want %s or %s, eps at least 0", o.F, o.Eps, LayerNorm, RMSNorm)
	}
	if len(x) == 0 {
		return Type{}, fmt.Errorf("%w: a scalar has no last axis", tensor.ErrShape)
	}
	for _, v := range vectors {
		if len(v.Shape) != 1 || v.Shape[0] != x[len(x)-1] {
			return Type{}, fmt.Errorf("%w: x %v, want vectors of its last axis, got %v", tensor.ErrShape, x, v.Shape)
		}
	}
	return F32(x.Clone()...), nil
}

// Gradient implements Differentiable.
func (o RowNorm) Gradient(g *Graph, n, dy *Node) []*Node {
	x, gamma := n.in[0], n.in[1]
	d := x.Shape()[len(x.Shape())-1]
	dx := g.Apply(RowNormGrad{o}, x, gamma, dy)
	sums := g.Apply(RowNormGradParams{o}, x, dy)
	if o.F == RMSNorm {
		return []*Node{dx, g.Reshape(sums, d)}
	}
	return []*Node{dx, g.Reshape(g.Slice(sums, 0, 0, 1, 1), d), g.Reshape(g.Slice(sums, 0, 1, 2, 1), d)}
}

// RowNormGrad is the gradient of RowNorm to x. Operands: x, gamma, dy. With h
// the normalised row and t = dy*gamma: (t - mean(t) - h*mean(t*h))/deviation;
// RMSNorm lacks mean(t).
type RowNormGrad struct {
	RowNorm
}

// Kind implements Op.
func (o RowNormGrad) Kind() string { return string(o.F) + "_grad" }

// Infer implements Op.
func (o RowNormGrad) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 3); err != nil {
		return Type{}, err
	}
	if !in[0].Shape.Equal(in[2].Shape) {
		return Type{}, fmt.Errorf("%w: x %v, dy %v", tensor.ErrShape, in[0].Shape, in[2].Shape)
	}
	return o.check(in[0].Shape, in[1:2])
}

// RowNormGradParams is the gradient of RowNorm to gamma, the sum of dy*h over
// all rows, and below it, for LayerNorm, that to beta, the sum of dy.
// Operands: x, dy. Result: [1, d] or [2, d].
type RowNormGradParams struct {
	RowNorm
}

// Kind implements Op.
func (o RowNormGradParams) Kind() string { return string(o.F) + "_grad_params" }

// Infer implements Op.
func (o RowNormGradParams) Infer(in []Type) (Type, error) {
	t, err := sameShapes(in, 2)
	if err != nil {
		return t, err
	}
	if t, err = o.check(t.Shape, nil); err != nil {
		return t, err
	}
	rows := 1
	if o.F == LayerNorm {
		rows = 2
	}
	return F32(rows, t.Shape[len(t.Shape)-1]), nil
}

// LayerNorm normalises the last axis to mean 0 and variance 1, then scales and
// shifts.
func (g *Graph) LayerNorm(x, gamma, beta *Node, eps float64) *Node {
	return g.Apply(RowNorm{LayerNorm, eps}, x, gamma, beta)
}

// RMSNorm divides the last axis by its root mean square, then scales.
func (g *Graph) RMSNorm(x, gamma *Node, eps float64) *Node {
	return g.Apply(RowNorm{RMSNorm, eps}, x, gamma)
}
