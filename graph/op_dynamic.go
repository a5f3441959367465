package graph

import (
	"fmt"

	"lowbit/quant"
	"lowbit/tensor"
)

// MinDynamicStep is the step of an all-zero token.
const MinDynamicStep = 1e-8

// DynamicStep computes a quantizer's step from the value itself: max|x|/Qp of
// each token (the last axis), or of each Spec.Group neighbours of it, at least
// MinDynamicStep. Operand: x [..., k]. Result: [..., 1] or [..., k/Group]. It
// has no gradient, and since nothing is clipped, a FakeQuant whose step it is
// passes the whole gradient to x.
type DynamicStep struct {
	Spec quant.Spec `json:"spec"`
}

// Kind implements Op.
func (DynamicStep) Kind() string { return "dynamic_step" }

// Infer implements Op.
func (o DynamicStep) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	if err := o.Spec.Validate(); err != nil {
		return Type{}, err
	}
	if s := o.Spec; !s.Signed || s.Granularity != quant.PerToken && s.Granularity != quant.PerGroup {
		return Type{}, fmt.Errorf("spec %v, want a signed one per token or per group", s)
	}
	s, err := StepShape(o.Spec, in[0].Shape)
	return Type{tensor.F32, s}, err
}

// Gradient implements Differentiable.
func (DynamicStep) Gradient(*Graph, *Node, *Node) []*Node { return []*Node{nil} }

// DynamicQuant rounds x to a grid whose step is max|x|/Qp of each token or
// group.
func (g *Graph) DynamicQuant(x *Node, s quant.Spec) *Node {
	return g.FakeQuant(x, g.Apply(DynamicStep{s}, x), FakeQuant{Spec: s, StepGrad: StepFrozen})
}
