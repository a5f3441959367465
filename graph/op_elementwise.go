package graph

import (
	"fmt"

	"lowbit/tensor"
)

// BinaryKind names an element-wise function of two values.
type BinaryKind string

// Binary functions. Greater is 1 where a > b, else 0, and has no gradient.
const (
	Add     BinaryKind = "add"
	Sub     BinaryKind = "sub"
	Mul     BinaryKind = "mul"
	Div     BinaryKind = "div"
	Max     BinaryKind = "max"
	Min     BinaryKind = "min"
	Greater BinaryKind = "greater"
)

// Binary applies a function element by element; shapes broadcast from the
// right as in NumPy.
type Binary struct {
	F BinaryKind `json:"f"`
}

// Kind implements Op.
func (o Binary) Kind() string { return string(o.F) }

// Infer implements Op.
func (o Binary) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	s, err := broadcast(in[0].Shape, in[1].Shape)
	return Type{tensor.F32, s}, err
}

func broadcast(a, b tensor.Shape) (tensor.Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := a.Clone()
	for i := range b {
		j := len(a) - len(b) + i
		switch {
		case a[j] == b[i] || b[i] == 1:
		case a[j] == 1:
			out[j] = b[i]
		default:
			return nil, fmt.Errorf("%w: %v does not broadcast with %v", tensor.ErrShape, a, b)
		}
	}
	return out, nil
}

// Gradient implements Differentiable.
func (o Binary) Gradient(g *Graph, n, dy *Node) []*Node {
	a, b := n.in[0], n.in[1]
	var da, db *Node
	switch o.F {
	case Add:
		da, db = dy, dy
	case Sub:
		da, db = dy, g.Neg(dy)
	case Mul:
		da, db = g.Mul(dy, b), g.Mul(dy, a)
	case Div:
		da = g.Div(dy, b)
		db = g.Neg(g.Mul(da, n))
	case Max: // ties pass the gradient to b, as VMAXPS chooses it
		m := g.Apply(Binary{Greater}, a, b)
		da = g.Mul(dy, m)
		db = g.Sub(dy, da)
	case Min:
		m := g.Apply(Binary{Greater}, b, a)
		da = g.Mul(dy, m)
		db = g.Sub(dy, da)
	default:
		return []*Node{nil, nil}
	}
	return []*Node{g.SumTo(da, a.Shape()), g.SumTo(db, b.Shape())}
}

// Add returns a + b with broadcasting.
func (g *Graph) Add(a, b *Node) *Node { return g.Apply(Binary{Add}, a, b) }

// Sub returns a - b with broadcasting.
func (g *Graph) Sub(a, b *Node) *Node { return g.Apply(Binary{Sub}, a, b) }

// Mul returns a * b with broadcasting.
func (g *Graph) Mul(a, b *Node) *Node { return g.Apply(Binary{Mul}, a, b) }

// Div returns a / b with broadcasting.
func (g *Graph) Div(a, b *Node) *Node { return g.Apply(Binary{Div}, a, b) }

// Max returns the larger of a and b with broadcasting.
func (g *Graph) Max(a, b *Node) *Node { return g.Apply(Binary{Max}, a, b) }

// Min returns the smaller of a and b with broadcasting.
func (g *Graph) Min(a, b *Node) *Node { return g.Apply(Binary{Min}, a, b) }

// UnaryKind names an element-wise function of one value.
type UnaryKind string

// Unary functions.
const (
	Neg     UnaryKind = "neg"
	Abs     UnaryKind = "abs"
	Sign    UnaryKind = "sign" // -1, 0 or 1; no gradient
	Sqrt    UnaryKind = "sqrt"
	Exp     UnaryKind = "exp"
	Log     UnaryKind = "log"
	Relu    UnaryKind = "relu"
	Relu6   UnaryKind = "relu6"
	Sigmoid UnaryKind = "sigmoid"
	Tanh    UnaryKind = "tanh"
	Erf     UnaryKind = "erf"
)

// Unary applies a function to every element.
type Unary struct {
	F UnaryKind `json:"f"`
}

// Kind implements Op.
func (o Unary) Kind() string { return string(o.F) }

// Infer implements Op.
func (o Unary) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 1); err != nil {
		return Type{}, err
	}
	return Type{tensor.F32, in[0].Shape.Clone()}, nil
}

// Gradient implements Differentiable.
func (o Unary) Gradient(g *Graph, n, dy *Node) []*Node {
	x := n.in[0]
	switch o.F {
	case Neg:
		return []*Node{g.Neg(dy)}
	case Abs:
		return []*Node{g.Mul(dy, g.Apply(Unary{Sign}, x))}
	case Sqrt:
		return []*Node{g.Div(g.Mul(dy, g.Scalar(0.5)), n)}
	case Exp:
		return []*Node{g.Mul(dy, n)}
	case Log:
		return []*Node{g.Div(dy, x)}
	case Relu, Relu6:
		return []*Node{g.Apply(ReluGrad{Six: o.F == Relu6}, dy, n)}
	case Sigmoid:
		return []*Node{g.Mul(dy, g.Mul(n, g.Sub(g.Scalar(1), n)))}
	case Tanh:
		return []*Node{g.Mul(dy, g.Sub(g.Scalar(1), g.Mul(n, n)))}
	case Erf: // 2/sqrt(pi) * exp(-x^2)
		e := g.Exp(g.Neg(g.Mul(x, x)))
		return []*Node{g.Mul(dy, g.Mul(e, g.Scalar(1.1283791670955126)))}
	}
	return []*Node{nil}
}

// Neg returns -x.
func (g *Graph) Neg(x *Node) *Node { return g.Apply(Unary{Neg}, x) }

// Exp returns e^x.
func (g *Graph) Exp(x *Node) *Node { return g.Apply(Unary{Exp}, x) }

// Log returns the natural logarithm.
func (g *Graph) Log(x *Node) *Node { return g.Apply(Unary{Log}, x) }

// Sqrt returns the square root.
func (g *Graph) Sqrt(x *Node) *Node { return g.Apply(Unary{Sqrt}, x) }

// Relu returns max(x, 0).
func (g *Graph) Relu(x *Node) *Node { return g.Apply(Unary{Relu}, x) }

// Relu6 returns min(max(x, 0), 6).
func (g *Graph) Relu6(x *Node) *Node { return g.Apply(Unary{Relu6}, x) }

// Sigmoid returns 1/(1+e^-x).
func (g *Graph) Sigmoid(x *Node) *Node { return g.Apply(Unary{Sigmoid}, x) }

// Tanh returns the hyperbolic tangent.
func (g *Graph) Tanh(x *Node) *Node { return g.Apply(Unary{Tanh}, x) }

// ReluGrad passes dy where y = relu(x) is above 0 (and below 6 if Six).
// Operands: dy, y.
type ReluGrad struct {
	Six bool `json:"six,omitempty"`
}

// Kind implements Op.
func (ReluGrad) Kind() string { return "relu_grad" }

// Infer implements Op.
func (ReluGrad) Infer(in []Type) (Type, error) { return sameShapes(in, 2) }

// sameShapes requires n float32 operands of one shape and returns it.
func sameShapes(in []Type, n int) (Type, error) {
	if err := wantF32(in, n); err != nil {
		return Type{}, err
	}
	for i := 1; i < n; i++ {
		if !in[i].Shape.Equal(in[0].Shape) {
			return Type{}, fmt.Errorf("%w: %v and %v", tensor.ErrShape, in[0].Shape, in[i].Shape)
		}
	}
	return Type{tensor.F32, in[0].Shape.Clone()}, nil
}

// Dropout zeroes each element with probability Rate and scales the others by
// 1/(1-Rate). Operands: x, rng (i64 [2]: seed, step of the run). The mask is a
// function of (seed, step, Key, element), so recomputation, resume and the
// gradient see the same one.
type Dropout struct {
	Rate float64 `json:"rate"`
	Key  uint64  `json:"key"`
}

// Kind implements Op.
func (Dropout) Kind() string { return "dropout" }

// Infer implements Op.
func (o Dropout) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 2); err != nil {
		return Type{}, err
	}
	if o.Rate < 0 || o.Rate >= 1 {
		return Type{}, fmt.Errorf("rate %g outside [0, 1)", o.Rate)
	}
	if in[0].DType != tensor.F32 || in[1].DType != tensor.I64 || in[1].Shape.Size() != 2 {
		return Type{}, fmt.Errorf("want f32 and i64[2], got %v and %v", in[0], in[1])
	}
	return Type{tensor.F32, in[0].Shape.Clone()}, nil
}

// Gradient implements Differentiable.
func (o Dropout) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(o, dy, n.in[1]), nil}
}
