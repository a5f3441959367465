package graph

import (
	"fmt"

	"lowbit/tensor"
)

// Role tells what a parameter is for: optimizers group by it, exporters and
// methods look for it.
type Role string

// Roles of parameters. Stat is a running statistic: it has no gradient.
const (
	Weight Role = "weight"
	Bias   Role = "bias"
	Norm   Role = "norm" // gamma and beta of normalisations
	Step   Role = "step" // of a quantizer
	Stat   Role = "stat"
)

// Input is a value given to each run. Its first dimension is the batch unless
// Fixed.
type Input struct {
	Name  string       `json:"name"`
	DType tensor.DType `json:"dtype"`
	Shape []int        `json:"shape"`
	Fixed bool         `json:"fixed,omitempty"`
}

// Kind implements Op.
func (Input) Kind() string { return "input" }

// Infer implements Op.
func (o Input) Infer([]Type) (Type, error) {
	if o.DType.Size() == 0 {
		return Type{}, fmt.Errorf("input %q has no element type", o.Name)
	}
	if _, err := tensor.Shape(o.Shape).CheckedSize(); err != nil {
		return Type{}, err
	}
	return Type{o.DType, tensor.Shape(o.Shape).Clone()}, nil
}

// InitKind names how a parameter starts.
type InitKind string

// Initialisations. Normal and Uniform scale by Init.Value: the standard
// deviation, or the half-width of the interval around 0.
const (
	InitConst   InitKind = "const"
	InitNormal  InitKind = "normal"
	InitUniform InitKind = "uniform"
)

// Init is how a parameter starts when no weights are loaded.
type Init struct {
	Kind  InitKind `json:"kind"`
	Value float64  `json:"value"`
}

// Param is a float32 value that lives in the Store under Name.
type Param struct {
	Name  string `json:"name"`
	Shape []int  `json:"shape"`
	Role  Role   `json:"role"`
	Init  Init   `json:"init"`
}

// Kind implements Op.
func (Param) Kind() string { return "param" }

// Infer implements Op.
func (o Param) Infer([]Type) (Type, error) {
	if o.Name == "" {
		return Type{}, fmt.Errorf("param without a name")
	}
	if _, err := tensor.Shape(o.Shape).CheckedSize(); err != nil {
		return Type{}, err
	}
	return Type{tensor.F32, tensor.Shape(o.Shape).Clone()}, nil
}

// Const is a fixed small value, kept in the graph itself.
type Const struct {
	Shape  []int     `json:"shape"`
	Values []float32 `json:"values"`
}

// Kind implements Op.
func (Const) Kind() string { return "const" }

// Infer implements Op.
func (o Const) Infer([]Type) (Type, error) {
	n, err := tensor.Shape(o.Shape).CheckedSize()
	if err != nil {
		return Type{}, err
	}
	if n != len(o.Values) {
		return Type{}, fmt.Errorf("%w: shape %v with %d values", tensor.ErrShape, tensor.Shape(o.Shape), len(o.Values))
	}
	return F32(tensor.Shape(o.Shape).Clone()...), nil
}

// Scalar adds a constant scalar.
func (g *Graph) Scalar(v float32) *Node { return g.Apply(Const{Values: []float32{v}}) }

// wantInputs checks the operand count and that the listed operands are float32.
func wantInputs(in []Type, n int) error {
	if len(in) != n {
		return fmt.Errorf("want %d operands, got %d", n, len(in))
	}
	return nil
}

func wantF32(in []Type, n int) error {
	if err := wantInputs(in, n); err != nil {
		return err
	}
	for i, t := range in {
		if t.DType != tensor.F32 {
			return fmt.Errorf("operand %d: want f32, got %v", i, t)
		}
	}
	return nil
}
