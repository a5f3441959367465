package onnx

import (
	"fmt"
	"math"
	"slices"

	"lowbit/graph"
	"lowbit/tensor"
)

// list returns operand i as stored integers.
func list(c call, i int) ([]int, error) {
	if len(c.in) <= i || c.in[i] == nil || c.in[i].c == nil {
		return nil, fmt.Errorf("operand %d is computed or missing, want stored numbers", i)
	}
	return c.in[i].c.ints()
}

func importConstant(im *importer, c call) ([]*value, error) {
	for i := range c.Attributes {
		a := &c.Attributes[i]
		k := &constant{name: c.Outputs[0]}
		switch a.Name {
		case "value":
			if a.T == nil || a.T.Raw == nil {
				return nil, fmt.Errorf("it has no value")
			}
			im.budget += 4 * a.T.Size()
			v := known(a.T)
			v.c.name = c.Outputs[0]
			return []*value{v}, nil
		case "value_float":
			k.typ, k.v = Float, []float64{float64(a.F)}
		case "value_int":
			k.typ, k.v = Int64, []float64{float64(a.I)}
		case "value_floats":
			k.typ, k.v, k.shape = Float, widen(a.Floats), tensor.Shape{len(a.Floats)}
		case "value_ints":
			k.typ, k.shape = Int64, tensor.Shape{len(a.Ints)}
			for _, x := range a.Ints {
				k.v = append(k.v, float64(x))
			}
		default:
			continue
		}
		return []*value{{c: k}}, nil
	}
	return nil, fmt.Errorf("it has no value")
}

func importConstantOfShape(im *importer, c call) ([]*value, error) {
	dims, err := list(c, 0)
	if err != nil {
		return nil, err
	}
	typ, fill := Float, 0.0
	if a := c.Attr("value"); a != nil && a.T != nil && a.T.Raw != nil {
		v, err := known(a.T).c.numbers()
		if err != nil || len(v) != 1 {
			return nil, fmt.Errorf("its value is no single number")
		}
		typ, fill = a.T.Type, v[0]
	}
	out, err := im.fold(c.Outputs[0], typ, dims)
	if err != nil {
		return nil, err
	}
	for i := range out.v {
		out.v[i] = fill
	}
	return []*value{{c: out}}, nil
}

func (im *importer) shapeOf(v *value) (tensor.Shape, error) {
	if v.c != nil {
		return v.c.shape, nil
	}
	n, err := im.computed(v)
	if err != nil {
		return nil, err
	}
	return n.Shape(), nil
}

func importShape(im *importer, c call) ([]*value, error) {
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	start, end := attrInt(c, "start", 0), attrInt(c, "end", len(s))
	if start < 0 {
		start += len(s)
	}
	if end < 0 {
		end += len(s)
	}
	start = min(max(start, 0), len(s))
	s = s[start:max(start, min(end, len(s)))]
	k := &constant{name: c.Outputs[0], typ: Int64, shape: tensor.Shape{len(s)}, v: make([]float64, len(s))}
	for i, d := range s {
		k.v[i] = float64(d)
	}
	return []*value{{c: k}}, nil
}

func importRange(im *importer, c call) ([]*value, error) {
	var v [3]float64
	for i := range v {
		if len(c.in) != 3 || c.in[i].c == nil || c.in[i].c.size() != 1 {
			return nil, fmt.Errorf("want three stored numbers")
		}
		x, err := c.in[i].c.numbers()
		if err != nil {
			return nil, err
		}
		v[i] = x[0]
	}
	n := math.Ceil((v[1] - v[0]) / v[2])
	if !(n >= 0) || n > 1<<24 {
		return nil, fmt.Errorf("from %g to %g by %g", v[0], v[1], v[2])
	}
	out, err := im.fold(c.Outputs[0], c.in[0].c.typ, tensor.Shape{int(n)})
	if err != nil {
		return nil, err
	}
	for i := range out.v {
		out.v[i] = v[0] + float64(i)*v[2]
	}
	return []*value{{c: out}}, nil
}

func importExpand(im *importer, c call) ([]*value, error) {
	dims, err := list(c, 1)
	if err != nil {
		return nil, err
	}
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	to, err := broadcast(s, dims)
	if err != nil {
		return nil, err
	}
	if k := c.in[0].c; k != nil {
		step := strides(k.shape, to)
		out, err := im.gather(c.Outputs[0], k, to, func(index []int) int {
			at := 0
			for d, i := range index {
				at += i * step[d]
			}
			return at
		})
		return []*value{{c: out}}, err
	}
	x, err := im.computed(c.in[0])
	if err != nil || to.Equal(s) {
		return []*value{{n: x}}, err
	}
	if x.Type().DType != tensor.F32 {
		return nil, fmt.Errorf("of integers")
	}
	return []*value{{n: im.g.Apply(graph.BroadcastTo{Shape: to}, x)}}, nil
}

// reshape gives a value another shape; dims may hold 0 and -1.
func (im *importer) reshape(v *value, dims []int) (*value, error) {
	if k := v.c; k != nil {
		out, err := graph.Reshape{Dims: dims}.Infer([]graph.Type{{DType: tensor.F32, Shape: k.shape}})
		if err != nil {
			return nil, err
		}
		return &value{c: k.reshaped(out.Shape)}, nil
	}
	return im.overCodes(v, func(x *graph.Node) (*graph.Node, error) {
		s := x.Shape()
		dims = slices.Clone(dims)
		out, err := graph.Reshape{Dims: dims}.Infer([]graph.Type{x.Type()})
		if err != nil {
			return nil, err
		}
		if out.Shape.Equal(s) {
			return x, nil
		}
		// The batch stays free: it is dimension 0 of both, or part of it.
		switch {
		case len(dims) == 0 || len(s) == 0:
		case out.Shape[0] == s[0]:
			dims = append([]int{0}, out.Shape[1:]...)
		case !slices.Contains(dims[1:], -1):
			dims[0] = -1
		}
		return im.g.Apply(graph.Reshape{Dims: dims}, x), nil
	})
}

func importReshape(im *importer, c call) ([]*value, error) {
	dims, err := list(c, 1)
	if err != nil {
		return nil, err
	}
	v, err := im.reshape(c.in[0], dims)
	return []*value{v}, err
}

func importFlatten(im *importer, c call) ([]*value, error) {
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	axis := attrInt(c, "axis", 1)
	if axis < 0 {
		axis += len(s)
	}
	if axis < 0 || axis > len(s) {
		return nil, fmt.Errorf("axis %d of %v", axis, s)
	}
	v, err := im.reshape(c.in[0], []int{s[:axis].Size(), s[axis:].Size()})
	return []*value{v}, err
}

func importSqueeze(im *importer, c call) ([]*value, error) {
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	axes, err := im.axes(c, len(s))
	if err != nil {
		return nil, err
	}
	dims := []int{}
	for i, d := range s {
		if drop := slices.Contains(axes, i) || len(axes) == 0 && d == 1; !drop {
			dims = append(dims, d)
		} else if d != 1 {
			return nil, fmt.Errorf("axis %d of %v", i, s)
		}
	}
	v, err := im.reshape(c.in[0], dims)
	return []*value{v}, err
}

func importUnsqueeze(im *importer, c call) ([]*value, error) {
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	count := 1
	if a := c.Attr("axes"); a != nil {
		count = len(a.Ints)
	} else if len(c.in) > 1 && c.in[1].c != nil {
		count = c.in[1].c.size()
	}
	axes, err := im.axes(c, len(s)+count)
	if err != nil {
		return nil, err
	}
	slices.Sort(axes)
	dims := slices.Clone([]int(s))
	for _, a := range axes {
		if a > len(dims) {
			return nil, fmt.Errorf("axes %v of %v", axes, s)
		}
		dims = slices.Insert(dims, a, 1)
	}
	v, err := im.reshape(c.in[0], dims)
	return []*value{v}, err
}

func importTranspose(im *importer, c call) ([]*value, error) {
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	perm := make([]int, len(s))
	for i := range perm {
		perm[i] = len(s) - 1 - i
	}
	if a := c.Attr("perm"); a != nil {
		if perm, err = attrInts(c, "perm", len(s), 0); err != nil {
			return nil, err
		}
	}
	if k := c.in[0].c; k != nil {
		out, err := graph.Transpose{Perm: perm}.Infer([]graph.Type{{DType: tensor.F32, Shape: s}})
		if err != nil {
			return nil, err
		}
		if len(s) == 2 && perm[0] == 1 {
			t, err := im.transposed(k)
			return []*value{{c: t}}, err
		}
		step := strides(s, s)
		t, err := im.gather(k.name, k, out.Shape, func(index []int) int {
			at := 0
			for d, i := range index {
				at += i * step[perm[d]]
			}
			return at
		})
		return []*value{{c: t}}, err
	}
	v, err := im.overCodes(c.in[0], func(x *graph.Node) (*graph.Node, error) { return im.g.Transpose(x, perm...), nil })
	return []*value{v}, err
}
