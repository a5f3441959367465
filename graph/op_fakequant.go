package graph

import (
	"fmt"

	"lowbit/quant"
	"lowbit/tensor"
)

// StepGrad names how a quantizer's step learns.
type StepGrad string

// Step gradients. LSQ: eq. 3 of arXiv 1902.08153, rounding residual inside the
// clip range, -Qn or Qp outside. PACT: as LSQ outside, 0 inside (the clip level
// is Qp*step). Frozen: none; the straight-through gradient to x is the same in
// all three.
const (
	StepLSQ    StepGrad = "lsq"
	StepPACT   StepGrad = "pact"
	StepFrozen StepGrad = "frozen"
)

// FakeQuant rounds x to a grid and returns float32 values of it:
// step * rne(clip(x/step, -Qn, Qp)). Operands: x, step: a scalar or [1] per
// tensor, [n] per channel along Spec.Axis, x's shape with last axis 1 per
// token, with last axis k/Group per group. Steps must be positive. GradScale
// multiplies the step's gradient (LSQ section 2.2). Steps per token are
// computed values without gradient.
type FakeQuant struct {
	Spec      quant.Spec `json:"spec"`
	StepGrad  StepGrad   `json:"step_grad"`
	GradScale float64    `json:"grad_scale,omitempty"`
}

// Kind implements Op.
func (FakeQuant) Kind() string { return "fake_quant" }

// StepShape returns the shape that a step must have for x of that shape; a
// scalar also serves where it is [1].
func StepShape(s quant.Spec, x tensor.Shape) (tensor.Shape, error) {
	r := len(x)
	switch s.Granularity {
	case quant.PerTensor:
		return tensor.Shape{1}, nil
	case quant.PerChannel:
		if s.Axis < 0 || s.Axis >= r {
			return nil, fmt.Errorf("%w: channel axis %d of %v", tensor.ErrShape, s.Axis, x)
		}
		return tensor.Shape{x[s.Axis]}, nil
	case quant.PerToken, quant.PerGroup:
		if r == 0 {
			return nil, fmt.Errorf("%w: a scalar has no last axis", tensor.ErrShape)
		}
		out := x.Clone()
		out[r-1] = 1
		if s.Granularity == quant.PerGroup {
			if s.Group < 1 || x[r-1]%s.Group != 0 {
				return nil, fmt.Errorf("%w: groups of %d along the last axis of %v", tensor.ErrShape, s.Group, x)
			}
			out[r-1] = x[r-1] / s.Group
		}
		return out, nil
	}
	return nil, fmt.Errorf("unknown granularity %v", s.Granularity)
}

// Infer implements Op.
func (o FakeQuant) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	return o.check(in[0], in[1])
}

func (o FakeQuant) check(x, step Type) (Type, error) {
	if err := o.Spec.Validate(); err != nil {
		return Type{}, err
	}
	switch o.StepGrad {
	case StepLSQ, StepPACT, StepFrozen:
	default:
		return Type{}, fmt.Errorf("unknown step gradient %q", o.StepGrad)
	}
	want, err := StepShape(o.Spec, x.Shape)
	if err != nil {
		return Type{}, err
	}
	scalar := len(step.Shape) == 0 && o.Spec.Granularity == quant.PerTensor
	if !scalar && !step.Shape.Equal(want) {
		return Type{}, fmt.Errorf("%w: step %v of %v for %v, want %v", tensor.ErrShape, step.Shape, o.Spec, x.Shape, want)
	}
	return F32(x.Shape.Clone()...), nil
}

// Gradient implements Differentiable: the straight-through estimator for x
// (open interval: clip borders count as clipped) and StepGrad for the step.
func (o FakeQuant) Gradient(g *Graph, n, dy *Node) []*Node {
	x, step := n.in[0], n.in[1]
	if _, dynamic := step.op.(DynamicStep); dynamic { // nothing is clipped
		return []*Node{dy, nil}
	}
	grads := []*Node{g.Apply(FakeQuantGradInput{o}, x, step, dy), nil}
	if o.StepGrad != StepFrozen {
		grads[1] = g.Apply(FakeQuantGradStep{o}, x, step, dy)
	}
	return grads
}

// FakeQuant quantizes x with a step.
func (g *Graph) FakeQuant(x, step *Node, o FakeQuant) *Node { return g.Apply(o, x, step) }

// FakeQuantGradInput passes dy where -Qn < x/step < Qp. Operands: x, step, dy.
type FakeQuantGradInput struct {
	FakeQuant
}

// Kind implements Op.
func (FakeQuantGradInput) Kind() string { return "fake_quant_grad_input" }

// Infer implements Op.
func (o FakeQuantGradInput) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 3); err != nil {
		return Type{}, err
	}
	if !in[0].Shape.Equal(in[2].Shape) {
		return Type{}, fmt.Errorf("%w: x %v, dy %v", tensor.ErrShape, in[0].Shape, in[2].Shape)
	}
	return o.check(in[0], in[1])
}

// FakeQuantGradStep is GradScale times the sum, over the elements that share a
// step, of dy*d(result)/d(step). Operands: x, step, dy. Result: step's shape.
type FakeQuantGradStep struct {
	FakeQuant
}

// Kind implements Op.
func (FakeQuantGradStep) Kind() string { return "fake_quant_grad_step" }

// Infer implements Op.
func (o FakeQuantGradStep) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 3); err != nil {
		return Type{}, err
	}
	if o.Spec.Granularity == quant.PerToken || o.StepGrad == StepFrozen {
		return Type{}, fmt.Errorf("a %s step per %v has no gradient", o.StepGrad, o.Spec.Granularity)
	}
	if !in[0].Shape.Equal(in[2].Shape) {
		return Type{}, fmt.Errorf("%w: x %v, dy %v", tensor.ErrShape, in[0].Shape, in[2].Shape)
	}
	if _, err := o.check(in[0], in[1]); err != nil {
		return Type{}, err
	}
	return F32(in[1].Shape.Clone()...), nil
}

// QuantCodes returns the integer codes of FakeQuant: u8 for unsigned grids, i8
// for signed ones of up to 8 bits. Operands: x, step.
type QuantCodes struct {
	Spec quant.Spec `json:"spec"`
}

// Kind implements Op.
func (QuantCodes) Kind() string { return "quant_codes" }

// Infer implements Op.
func (o QuantCodes) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	t, err := FakeQuant{Spec: o.Spec, StepGrad: StepFrozen}.check(in[0], in[1])
	if err != nil {
		return t, err
	}
	if o.Spec.Bits > 8 {
		return Type{}, fmt.Errorf("codes of %d bits, want at most 8", o.Spec.Bits)
	}
	t.DType = tensor.U8
	if o.Spec.Signed {
		t.DType = tensor.I8
	}
	return t, nil
}
