package onnx

import (
	"fmt"
	"math"

	"lowbit/graph"
)

// Truth of computed values is a float, 0 or 1: of masks that are inputs, and of
// what And, Or and Not make of them. All else is worked out of constants.

var comparisons = map[string]func(x, y float64) bool{
	"Equal":          func(x, y float64) bool { return x == y },
	"Less":           func(x, y float64) bool { return x < y },
	"LessOrEqual":    func(x, y float64) bool { return x <= y },
	"Greater":        func(x, y float64) bool { return x > y },
	"GreaterOrEqual": func(x, y float64) bool { return x >= y },
}

func importComparison(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 || c.in[0].c == nil || c.in[1] == nil || c.in[1].c == nil {
		return nil, fmt.Errorf("of computed values")
	}
	f := comparisons[c.Op]
	out, err := im.foldBinary(c.Outputs[0], c.in[0].c, c.in[1].c, func(x, y float64) float64 { return float64(b2i(f(x, y))) })
	if err == nil {
		out.typ = Bool
	}
	return []*value{{c: out}}, err
}

func importLogic(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 || c.in[1] == nil {
		return nil, fmt.Errorf("%d operands, want 2", len(c.in))
	}
	a, b := c.in[0], c.in[1]
	if a.c != nil && b.c != nil {
		f := math.Min
		if c.Op == "Or" {
			f = math.Max
		}
		out, err := im.foldBinary(c.Outputs[0], a.c, b.c, f)
		return []*value{{c: out}}, err
	}
	x, err := im.truth(a)
	if err != nil {
		return nil, err
	}
	y, err := im.truth(b)
	if err != nil {
		return nil, err
	}
	if c.Op == "Or" {
		return []*value{{n: im.g.Max(x, y)}}, nil
	}
	return []*value{{n: im.g.Mul(x, y)}}, nil
}

func importNot(im *importer, c call) ([]*value, error) {
	if k := c.in[0].c; k != nil {
		out, err := im.foldUnary(c.Outputs[0], k, func(x float64) float64 { return float64(b2i(x == 0)) })
		return []*value{{c: out}}, err
	}
	x, err := im.truth(c.in[0])
	if err != nil {
		return nil, err
	}
	return []*value{{n: im.g.Sub(im.g.Scalar(1), x)}}, nil
}

// importIsNaN answers for a softmax: PyTorch asks whether all of a row was
// masked. Masks are finite here, so that it is never the case.
func importIsNaN(_ *importer, c call) ([]*value, error) {
	if x := c.in[0].n; x != nil {
		if _, ok := x.Op().(graph.Softmax); ok {
			return []*value{{c: &constant{name: c.Outputs[0], typ: Bool, v: []float64{0}}}}, nil
		}
	}
	return nil, fmt.Errorf("of other than a softmax")
}

// truth returns a condition as floats, 0 or 1.
func (im *importer) truth(v *value) (*graph.Node, error) {
	if v.c == nil {
		return im.computed(v)
	}
	f, err := v.c.floats()
	if err != nil {
		return nil, err
	}
	if len(f) > 1<<20 {
		return nil, errFold
	}
	return im.g.Apply(graph.Const{Shape: v.c.shape, Values: f}), nil
}

func importWhere(im *importer, c call) ([]*value, error) {
	if len(c.in) != 3 || c.in[1] == nil || c.in[2] == nil {
		return nil, fmt.Errorf("%d operands, want 3", len(c.in))
	}
	mask, a, b := c.in[0], c.in[1], c.in[2]
	if mask.c != nil && a.c != nil && b.c != nil {
		out, err := im.chosen(c.Outputs[0], mask.c, a.c, b.c)
		return []*value{{c: out}}, err
	}
	if k := mask.c; k != nil && k.size() == 1 { // one answer for all
		v, err := k.numbers()
		if err == nil && v[0] == 0 {
			a = b
		}
		return []*value{a}, err
	}
	m, err := im.truth(mask)
	if err != nil {
		return nil, err
	}
	x, err := im.finite(a)
	if err != nil {
		return nil, err
	}
	y, err := im.finite(b)
	if err != nil {
		return nil, err
	}
	return []*value{{n: im.g.Add(im.g.Mul(m, x), im.g.Mul(im.g.Sub(im.g.Scalar(1), m), y))}}, nil
}

// finite returns a value to be multiplied by 0 or 1: constants in it that are
// infinite, as in masks, become the largest floats.
func (im *importer) finite(v *value) (*graph.Node, error) {
	if v.c == nil || !v.c.isFloat() {
		return im.computed(v)
	}
	k, err := im.foldUnary(v.c.name, v.c, func(x float64) float64 { return min(max(x, -math.MaxFloat32), math.MaxFloat32) })
	if err != nil {
		return nil, err
	}
	return im.computed(&value{c: k})
}

// chosen is a where mask is not 0, else b; without products of 0 and infinity.
func (im *importer) chosen(name string, mask, a, b *constant) (*constant, error) {
	first, err := im.foldBinary("", a, mask, func(x, m float64) float64 {
		if m != 0 {
			return x
		}
		return math.NaN()
	})
	if err != nil {
		return nil, err
	}
	return im.foldBinary(name, first, b, func(x, y float64) float64 {
		if math.IsNaN(x) {
			return y
		}
		return x
	})
}
