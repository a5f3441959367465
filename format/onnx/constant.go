package onnx

import (
	"errors"
	"fmt"
	"math"

	"lowbit/quant"
	"lowbit/tensor"
)

// constant is a value that is known while a graph is made: a stored tensor, or
// what was worked out of some.
type constant struct {
	name  string
	typ   Type
	shape tensor.Shape
	t     *Tensor   // stored, or
	v     []float64 // worked out: exact for the shapes and axes that files compute
	grid  *grid     // the quantizer behind a dequantized tensor, or nil
}

// grid is the quantizer of a stored tensor of codes.
type grid struct {
	spec  quant.Spec
	steps []float32 // positive
	signs []float32 // of the scales; nil: none is negative
}

func (c *constant) size() int { return c.shape.Size() }

// numbers returns the values of a constant.
func (c *constant) numbers() ([]float64, error) {
	if c.t == nil {
		return c.v, nil
	}
	if c.isFloat() {
		f, err := c.t.Floats()
		if err != nil {
			return nil, err
		}
		v := make([]float64, len(f))
		for i, x := range f {
			v[i] = float64(x)
		}
		return v, nil
	}
	n, err := c.t.Ints()
	if err != nil {
		return nil, err
	}
	v := make([]float64, len(n))
	for i, x := range n {
		v[i] = float64(x)
	}
	return v, nil
}

func (c *constant) isFloat() bool {
	return c.typ == Float || c.typ == Double || c.typ == Float16 || c.typ == BFloat16
}

// floats returns the values of a constant as float32s.
func (c *constant) floats() ([]float32, error) {
	if c.t != nil && c.isFloat() {
		return c.t.Floats()
	}
	v, err := c.numbers()
	if err != nil {
		return nil, err
	}
	f := make([]float32, len(v))
	for i, x := range v {
		f[i] = float32(x)
	}
	return f, nil
}

// ints returns the values of a constant as integers that fit an int32; larger
// ones (ONNX writes "to the end" as the largest int64) are cut.
func (c *constant) ints() ([]int, error) {
	v, err := c.numbers()
	if err != nil {
		return nil, err
	}
	out := make([]int, len(v))
	for i, x := range v {
		if x != math.Trunc(x) {
			return nil, fmt.Errorf("%q holds %g, want whole numbers", c.name, x)
		}
		out[i] = int(min(max(x, -math.MaxInt32), math.MaxInt32))
	}
	return out, nil
}

// errFold is returned where a constant would take too much memory.
var errFold = errors.New("the constants that the file works out take too much memory")

// fold makes a constant of that many elements, within the budget.
func (im *importer) fold(name string, typ Type, shape tensor.Shape) (*constant, error) {
	n, err := shape.CheckedSize()
	if err != nil {
		return nil, err
	}
	if im.budget -= n; im.budget < 0 {
		return nil, errFold
	}
	return &constant{name: name, typ: typ, shape: shape, v: make([]float64, n)}, nil
}

// foldUnary works out a function of each element.
func (im *importer) foldUnary(name string, c *constant, f func(float64) float64) (*constant, error) {
	v, err := c.numbers()
	if err != nil {
		return nil, err
	}
	out, err := im.fold(name, c.typ, c.shape)
	if err != nil {
		return nil, err
	}
	for i, x := range v {
		out.v[i] = f(x)
		if c.isFloat() {
			out.v[i] = float64(float32(out.v[i]))
		}
	}
	return out, nil
}

// foldBinary works out a function of two constants that broadcast.
func (im *importer) foldBinary(name string, a, b *constant, f func(x, y float64) float64) (*constant, error) {
	x, err := a.numbers()
	if err != nil {
		return nil, err
	}
	y, err := b.numbers()
	if err != nil {
		return nil, err
	}
	shape, err := broadcast(a.shape, b.shape)
	if err != nil {
		return nil, err
	}
	out, err := im.fold(name, a.typ, shape)
	if err != nil {
		return nil, err
	}
	ia, ib := strides(a.shape, shape), strides(b.shape, shape)
	index := make([]int, len(shape))
	for i := range out.v {
		pa, pb := 0, 0
		for d, k := range index {
			pa, pb = pa+k*ia[d], pb+k*ib[d]
		}
		out.v[i] = f(x[pa], y[pb])
		if a.isFloat() {
			out.v[i] = float64(float32(out.v[i]))
		}
		for d := len(shape) - 1; d >= 0; d-- {
			if index[d]++; index[d] < shape[d] {
				break
			}
			index[d] = 0
		}
	}
	return out, nil
}

func broadcast(a, b tensor.Shape) (tensor.Shape, error) {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := a.Clone()
	for i, d := range b {
		j := len(a) - len(b) + i
		switch {
		case out[j] == d || d == 1:
		case out[j] == 1:
			out[j] = d
		default:
			return nil, fmt.Errorf("%w: %v does not broadcast with %v", tensor.ErrShape, a, b)
		}
	}
	return out, nil
}

// strides are the steps through a value of shape s along the axes of a shape
// that it broadcasts to: 0 where it repeats.
func strides(s, to tensor.Shape) []int {
	out := make([]int, len(to))
	step := 1
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] != 1 {
			out[len(to)-len(s)+i] = step
		}
		step *= s[i]
	}
	return out
}

// gather picks the elements of c that pick tells by their index in the result.
func (im *importer) gather(name string, c *constant, shape tensor.Shape, pick func(index []int) int) (*constant, error) {
	v, err := c.numbers()
	if err != nil {
		return nil, err
	}
	out, err := im.fold(name, c.typ, shape)
	if err != nil {
		return nil, err
	}
	index := make([]int, len(shape))
	for i := range out.v {
		at := pick(index)
		if at < 0 || at >= len(v) {
			return nil, fmt.Errorf("element %d of %d", at, len(v))
		}
		out.v[i] = v[at]
		for d := len(shape) - 1; d >= 0; d-- {
			if index[d]++; index[d] < shape[d] {
				break
			}
			index[d] = 0
		}
	}
	return out, nil
}

// reshaped is c with another shape.
func (c *constant) reshaped(shape tensor.Shape) *constant {
	d := *c
	d.shape = shape
	return &d
}
