package onnx

import (
	"fmt"
	"slices"

	"lowbit/graph"
	"lowbit/tensor"
)

func importConcat(im *importer, c call) ([]*value, error) {
	if known, err := im.concatKnown(c); known != nil || err != nil {
		return []*value{{c: known}}, err
	}
	var xs []*graph.Node
	for _, v := range c.in {
		x, err := im.computed(v)
		if err != nil {
			return nil, err
		}
		xs = append(xs, x)
	}
	axis := attrInt(c, "axis", 0)
	if axis < 0 && len(xs) > 0 {
		axis += len(xs[0].Shape())
	}
	return []*value{{n: im.g.Concat(axis, xs...)}}, nil
}

// concatKnown joins constants; nil if an operand is computed, or all are weights
// of layers, which stay as they are stored.
func (im *importer) concatKnown(c call) (*constant, error) {
	var shape tensor.Shape
	axis := attrInt(c, "axis", 0)
	for i, v := range c.in {
		if v == nil || v.c == nil || v.c.grid != nil {
			return nil, nil
		}
		s := v.c.shape
		if i == 0 {
			if shape = s.Clone(); axis < 0 {
				axis += len(s)
			}
			if axis < 0 || axis >= len(s) {
				return nil, fmt.Errorf("axis %d of %v", axis, s)
			}
			continue
		}
		if len(s) != len(shape) || !slices.Equal(s[:axis], shape[:axis]) || !slices.Equal(s[axis+1:], shape[axis+1:]) {
			return nil, fmt.Errorf("%w: %v beside %v along axis %d", tensor.ErrShape, s, shape, axis)
		}
		shape[axis] += s[axis]
	}
	if len(c.in) == 0 {
		return nil, nil
	}
	out, err := im.fold(c.Outputs[0], c.in[0].c.typ, shape)
	if err != nil {
		return nil, err
	}
	row, at := shape[axis:].Size(), 0
	for _, v := range c.in {
		x, err := v.c.numbers()
		if err != nil {
			return nil, err
		}
		n := v.c.shape[axis:].Size()
		for i := 0; n > 0 && i < len(x)/n; i++ {
			copy(out.v[i*row+at:], x[i*n:(i+1)*n])
		}
		at += n
	}
	return out, nil
}

// cut takes start, start+step, ... before end along an axis; backwards only of
// constants, such as the pads that PyTorch turns round.
func (im *importer) cut(name string, v *value, axis, start, end, step int) (*value, error) {
	s, err := im.shapeOf(v)
	if err != nil {
		return nil, err
	}
	if axis < 0 {
		axis += len(s)
	}
	if axis < 0 || axis >= len(s) || step == 0 || step < 0 && v.c == nil {
		return nil, fmt.Errorf("axis %d of %v by steps of %d", axis, s, step)
	}
	start, end, count := span(s[axis], start, end, step)
	if count == s[axis] && step == 1 {
		return v, nil
	}
	if count < 1 {
		return nil, fmt.Errorf("[%d:%d] of axis %d of %v is empty", start, end, axis, s)
	}
	if k := v.c; k != nil {
		out := s.Clone()
		out[axis] = count
		by := strides(s, s)
		c, err := im.gather(name, k, out, func(index []int) int {
			at := 0
			for d, i := range index {
				if d == axis {
					i = start + i*step
				}
				at += i * by[d]
			}
			return at
		})
		return &value{c: c}, err
	}
	return im.overCodes(v, func(x *graph.Node) (*graph.Node, error) { return im.g.Slice(x, axis, start, end, step), nil })
}

// span brings the bounds of a slice into an axis of a size, and counts what is
// between them. Backwards, the end before the first element is -1.
func span(size, start, end, step int) (from, to, count int) {
	if start < 0 {
		start += size
	}
	if end < 0 {
		end += size
	}
	if step < 0 {
		start, end = min(max(start, -1), size-1), min(max(end, -1), size-1)
		return start, end, max(0, (start-end-step-1)/-step)
	}
	start, end = min(max(start, 0), size), min(max(end, 0), size)
	return start, end, max(0, (end-start+step-1)/step)
}

func importSlice(im *importer, c call) ([]*value, error) {
	read := func(i int, attr string) ([]int, error) {
		if a := c.Attr(attr); a != nil { // before opset 10
			return attrInts(c, attr, len(a.Ints), 0)
		}
		if len(c.in) <= i || c.in[i] == nil {
			return nil, nil
		}
		return list(c, i)
	}
	var v [4][]int
	for i, attr := range []string{"starts", "ends", "axes", "steps"} {
		var err error
		if v[i], err = read(1+i, attr); err != nil {
			return nil, err
		}
	}
	if len(v[1]) != len(v[0]) || v[2] != nil && len(v[2]) != len(v[0]) || v[3] != nil && len(v[3]) != len(v[0]) {
		return nil, fmt.Errorf("starts %v, ends %v, axes %v, steps %v", v[0], v[1], v[2], v[3])
	}
	out := c.in[0]
	for i := range v[0] {
		axis, step := i, 1
		if v[2] != nil {
			axis = v[2][i]
		}
		if v[3] != nil {
			step = v[3][i]
		}
		var err error
		if out, err = im.cut(c.Outputs[0], out, axis, v[0][i], v[1][i], step); err != nil {
			return nil, err
		}
	}
	return []*value{out}, nil
}

func importSplit(im *importer, c call) ([]*value, error) {
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	axis := attrInt(c, "axis", 0)
	if axis < 0 {
		axis += len(s)
	}
	if axis < 0 || axis >= len(s) {
		return nil, fmt.Errorf("axis %d of %v", axis, s)
	}
	var sizes []int
	switch {
	case c.Attr("split") != nil:
		sizes, err = attrInts(c, "split", len(c.Outputs), 0)
	case len(c.in) > 1:
		sizes, err = list(c, 1)
	default:
		each := (s[axis] + len(c.Outputs) - 1) / len(c.Outputs)
		for i := range c.Outputs {
			sizes = append(sizes, min(each, s[axis]-i*each))
		}
	}
	if err != nil {
		return nil, err
	}
	var out []*value
	at := 0
	for _, n := range sizes {
		v, err := im.cut(c.Outputs[0], c.in[0], axis, at, at+n, 1)
		if err != nil {
			return nil, err
		}
		out, at = append(out, v), at+n
	}
	if at != s[axis] || len(out) != len(c.Outputs) {
		return nil, fmt.Errorf("parts of %v along axis %d of %v", sizes, axis, s)
	}
	return out, nil
}

// importGather picks one place of an axis, or rows of a table by computed
// numbers.
func importGather(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 {
		return nil, fmt.Errorf("%d operands, want 2", len(c.in))
	}
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	axis := attrInt(c, "axis", 0)
	if axis < 0 {
		axis += len(s)
	}
	if axis < 0 || axis >= len(s) {
		return nil, fmt.Errorf("axis %d of %v", axis, s)
	}
	if c.in[1].c == nil {
		ids, err := im.computed(c.in[1])
		if err != nil {
			return nil, err
		}
		table, err := im.computed(c.in[0])
		if err != nil {
			return nil, err
		}
		if axis != 0 {
			return nil, fmt.Errorf("by computed numbers along axis %d, want 0", axis)
		}
		return []*value{{n: im.g.Embedding(table, ids)}}, nil
	}
	places, err := c.in[1].c.ints()
	if err != nil {
		return nil, err
	}
	for i := range places {
		if places[i] < 0 {
			places[i] += s[axis]
		}
	}
	if k := c.in[0].c; k != nil {
		v, err := im.gatherKnown(c, k, places, axis)
		return []*value{v}, err
	}
	return im.gatherPlaces(c, places, axis, s)
}

func (im *importer) gatherKnown(c call, k *constant, places []int, axis int) (*value, error) {
	at := c.in[1].c.shape
	shape := append(append(k.shape[:axis].Clone(), at...), k.shape[axis+1:]...)
	by, inner := strides(k.shape, k.shape), strides(at, at)
	out, err := im.gather(c.Outputs[0], k, shape, func(index []int) int {
		p, row := 0, 0
		for d := range at {
			row += index[axis+d] * inner[d]
		}
		for d, i := range index[:axis] {
			p += i * by[d]
		}
		for d, i := range index[axis+len(at):] {
			p += i * by[axis+1+d]
		}
		if places[row] < 0 || places[row] >= k.shape[axis] {
			return -1
		}
		if k.shape[axis] == 1 {
			return p
		}
		return p + places[row]*by[axis]
	})
	return &value{c: out}, err
}

func (im *importer) gatherPlaces(c call, places []int, axis int, s tensor.Shape) ([]*value, error) {
	at := c.in[1].c.shape
	if n := len(places); n > 0 && isRun(places) && len(at) > 0 { // such as a mask that PyTorch picks element by element
		v, err := im.cut("", c.in[0], axis, places[0], places[0]+n, 1)
		if err != nil || len(at) == 1 {
			return []*value{v}, err
		}
		v, err = im.reshape(v, slices.Concat(s[:axis], at, s[axis+1:]))
		return []*value{v}, err
	}
	const most = 64
	if len(places) == 0 || len(places) > most || len(c.in[1].c.shape) > 1 {
		return nil, fmt.Errorf("of %d places, want 1 to %d", len(places), most)
	}
	var parts []*graph.Node
	for _, p := range places {
		if p < 0 || p >= s[axis] {
			return nil, fmt.Errorf("place %d of axis %d of %v", p, axis, s)
		}
		v, err := im.cut("", c.in[0], axis, p, p+1, 1)
		if err != nil {
			return nil, err
		}
		n, err := im.computed(v)
		if err != nil {
			return nil, err
		}
		parts = append(parts, n)
	}
	n := parts[0]
	if len(parts) > 1 {
		n = im.g.Concat(axis, parts...)
	}
	if len(c.in[1].c.shape) == 0 {
		dims := append(s[:axis].Clone(), s[axis+1:]...)
		v, err := im.reshape(&value{n: n}, dims)
		return []*value{v}, err
	}
	return []*value{{n: n}}, nil
}

// isRun reports whether numbers count upwards from one of at least 0.
func isRun(v []int) bool {
	for i := range v {
		if v[i] != v[0]+i || v[0] < 0 {
			return false
		}
	}
	return true
}

// importGatherND passes all elements on in their order, in another shape: so
// PyTorch indexes a mask by batch and position.
func importGatherND(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 || attrInt(c, "batch_dims", 0) != 0 {
		return nil, fmt.Errorf("want two operands and batch_dims 0")
	}
	s, err := im.shapeOf(c.in[0])
	if err != nil {
		return nil, err
	}
	index, err := list(c, 1)
	if err != nil {
		return nil, err
	}
	at := c.in[1].c.shape
	if len(at) == 0 || at[len(at)-1] != len(s) || len(s) == 0 {
		return nil, fmt.Errorf("indices %v of a value %v, want one number for each axis", at, s)
	}
	places := make([]int, len(index)/len(s))
	for i := range places {
		for d, size := range s {
			k := index[i*len(s)+d]
			if k < 0 {
				k += size
			}
			if k < 0 || k >= size {
				return nil, fmt.Errorf("place %d of axis %d of %v", k, d, s)
			}
			places[i] = places[i]*size + k
		}
	}
	if len(places) != s.Size() || !isRun(places) {
		return nil, fmt.Errorf("%d elements of %v, want all in their order", len(places), s)
	}
	v, err := im.reshape(c.in[0], at[:len(at)-1].Clone())
	return []*value{v}, err
}

func importPad(im *importer, c call) ([]*value, error) {
	if a := c.Attr("mode"); a != nil && string(a.S) != "constant" {
		return nil, fmt.Errorf("mode %q, want constant", a.S)
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	rank := len(x.Shape())
	var pads []int
	fill := 0.0
	if a := c.Attr("pads"); a != nil { // before opset 11
		if pads, err = attrInts(c, "pads", 2*rank, 0); err != nil {
			return nil, err
		}
		if v := c.Attr("value"); v != nil {
			fill = float64(v.F)
		}
	} else if pads, err = list(c, 1); err != nil {
		return nil, err
	}
	if len(c.in) > 2 && c.in[2] != nil {
		if c.in[2].c == nil || c.in[2].c.size() != 1 {
			return nil, fmt.Errorf("its value is computed, want a stored number")
		}
		v, err := c.in[2].c.numbers()
		if err != nil {
			return nil, err
		}
		fill = v[0]
	}
	if len(c.in) > 3 || len(pads) != 2*rank {
		return nil, fmt.Errorf("pads %v for %v", pads, x.Shape())
	}
	return []*value{{n: im.g.Pad(x, pads[:rank], pads[rank:], float32(fill))}}, nil
}
