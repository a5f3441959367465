package graph

import (
	"fmt"
	"math"

	"lowbit/tensor"
)

// RoPE turns pairs of a head's elements by an angle that grows with the
// position (arXiv 2104.09864, eq. 34): pair i of HeadDim/2 at position p turns
// by p*f(i), f(i) = Theta^(-2i/HeadDim), changed by Scaling. The pairs are
// neighbours (2i, 2i+1) if Adjacent (Meta's and GGUF's order), else (i,
// i+HeadDim/2) (Hugging Face's). Inverse turns back: the gradient.
//
// Operands: x [batch*Seq, heads*HeadDim], rows in order of sequence and
// position; then, optionally, positions i32: one number, the position of each
// sequence's first row, or [batch*Seq], the position of each row. Positions
// must be in 0..Context-1 (an executor fails on others). Without it each
// sequence starts at 0.
type RoPE struct {
	HeadDim  int         `json:"head_dim"`
	Seq      int         `json:"seq"`
	Context  int         `json:"context"`
	Theta    float64     `json:"theta"`
	Adjacent bool        `json:"adjacent,omitempty"`
	Inverse  bool        `json:"inverse,omitempty"`
	Scaling  RoPEScaling `json:"scaling,omitzero"`
}

// RoPEScaling stretches positions for contexts longer than those of training.
// Factor 0 or 1 means none. With Original 0 every frequency is divided by
// Factor (linear). Otherwise the rule of Llama 3.1: wavelengths above
// Original/Low are divided by Factor, those below Original/High stay, and
// between the two is a linear blend in Original/wavelength.
type RoPEScaling struct {
	Factor   float64 `json:"factor,omitempty"`
	Low      float64 `json:"low,omitempty"`
	High     float64 `json:"high,omitempty"`
	Original float64 `json:"original,omitempty"`
}

// Kind implements Op.
func (RoPE) Kind() string { return "rope" }

// Infer implements Op.
func (o RoPE) Infer(in []Type) (Type, error) {
	if len(in) != 1 && len(in) != 2 {
		return Type{}, fmt.Errorf("want 1 or 2 operands, got %d", len(in))
	}
	x := in[0].Shape
	switch {
	case o.HeadDim < 2 || o.HeadDim%2 != 0 || o.Seq < 1 || o.Context < o.Seq || !(o.Theta > 0):
		return Type{}, fmt.Errorf("head of %d, sequence of %d in a context of %d, theta %g: want an even head, a sequence that fits, a positive theta", o.HeadDim, o.Seq, o.Context, o.Theta)
	case in[0].DType != tensor.F32 || len(x) != 2 || x[0]%o.Seq != 0 || x[1]%o.HeadDim != 0:
		return Type{}, fmt.Errorf("%w: %v, want f32 with rows of sequences of %d and columns of heads of %d", tensor.ErrShape, in[0], o.Seq, o.HeadDim)
	case len(in) == 2 && (in[1].DType != tensor.I32 || in[1].Shape.Size() != 1 && in[1].Shape.Size() != x[0]):
		return Type{}, fmt.Errorf("%w: positions %v, want i32, one or %d", tensor.ErrShape, in[1], x[0])
	}
	s := o.Scaling
	if s.Factor < 0 || s.Factor > 0 && s.Original > 0 && !(s.Low > 0 && s.High > s.Low) {
		return Type{}, fmt.Errorf("scaling %+v, want a positive factor and 0 < low < high", s)
	}
	return F32(x.Clone()...), nil
}

// Gradient implements Differentiable.
func (o RoPE) Gradient(g *Graph, n, dy *Node) []*Node {
	o.Inverse = !o.Inverse
	grads := make([]*Node, len(n.in))
	grads[0] = g.Apply(o, append([]*Node{dy}, n.in[1:]...)...)
	return grads
}

// Frequency returns the angle in radians that pair i turns by per position.
func (o RoPE) Frequency(i int) float64 {
	f := math.Pow(o.Theta, -2*float64(i)/float64(o.HeadDim))
	s := o.Scaling
	if s.Factor <= 0 || s.Factor == 1 {
		return f
	}
	if s.Original <= 0 {
		return f / s.Factor
	}
	turns := s.Original * f / (2 * math.Pi)
	blend := min(max((turns-s.Low)/(s.High-s.Low), 0), 1)
	return (1-blend)*f/s.Factor + blend*f
}
