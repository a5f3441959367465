package graph

import "fmt"

// ActivationKind names a smooth activation function.
type ActivationKind string

// Activations. GELU: x*Phi(x) = x/2*(1 + erf(x/sqrt(2))); GELUTanh its tanh
// form, x/2*(1 + tanh(sqrt(2/pi)*(x + 0.044715x^3))) (arXiv 1606.08415); SiLU:
// x*sigmoid(x); ELU: x above 0, e^x - 1 below (arXiv 1511.07289, alpha 1).
const (
	GELU     ActivationKind = "gelu"
	GELUTanh ActivationKind = "gelu_tanh"
	SiLU     ActivationKind = "silu"
	ELU      ActivationKind = "elu"
)

// Activation applies a smooth function to every element.
type Activation struct {
	F ActivationKind `json:"f"`
}

// Kind implements Op.
func (o Activation) Kind() string { return string(o.F) }

// Infer implements Op.
func (o Activation) Infer(in []Type) (Type, error) {
	switch o.F {
	case GELU, GELUTanh, SiLU, ELU:
		return sameShapes(in, 1)
	}
	return Type{}, fmt.Errorf("unknown activation %q", o.F)
}

// Gradient implements Differentiable.
func (o Activation) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(ActivationGrad{o}, n.in[0], dy)}
}

// ActivationGrad is dy times the derivative of the function at x. Operands: x,
// dy.
type ActivationGrad struct {
	Activation
}

// Kind implements Op.
func (o ActivationGrad) Kind() string { return string(o.F) + "_grad" }

// Infer implements Op.
func (o ActivationGrad) Infer(in []Type) (Type, error) {
	t, err := sameShapes(in, 2)
	if err != nil {
		return t, err
	}
	return o.Activation.Infer(in[:1])
}

// GELU returns x*Phi(x), exactly.
func (g *Graph) GELU(x *Node) *Node { return g.Apply(Activation{GELU}, x) }

// GELUTanh returns the tanh form of GELU.
func (g *Graph) GELUTanh(x *Node) *Node { return g.Apply(Activation{GELUTanh}, x) }

// SiLU returns x*sigmoid(x).
func (g *Graph) SiLU(x *Node) *Node { return g.Apply(Activation{SiLU}, x) }

// ELU returns x above 0 and e^x - 1 below.
func (g *Graph) ELU(x *Node) *Node { return g.Apply(Activation{ELU}, x) }
