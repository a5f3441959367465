package infer

import (
	"fmt"

	"lowbit/graph"
)

// moved lowers a slice, padding or concatenation: parts of other values at
// places of a new one.
func (l *lowering) moved(n *graph.Node, to target) *value {
	v := newValue(n, to)
	op := &moveOp{out: v, pad: floats().max}
	var in []*value
	at := [3]int{}
	switch o := n.Op().(type) {
	case graph.Slice:
		if o.Axis == 0 {
			return l.fail(n, to, fmt.Errorf("it slices the batch"))
		}
	case graph.Concat:
		if o.Axis == 0 {
			return l.fail(n, to, fmt.Errorf("it joins along the batch"))
		}
	case graph.Pad:
		if o.Before[0]+o.After[0] > 0 {
			return l.fail(n, to, fmt.Errorf("it pads the batch"))
		}
		for i := range o.Before[1:] {
			at[i] = o.Before[1+i]
		}
		op.pad = o.Value
	}
	if o, ok := n.Op().(graph.Slice); ok {
		p := l.view(n.In()[0], to).slice(o)
		op.parts, in = append(op.parts, p), append(in, p.src)
	} else {
		for _, x := range n.In() {
			p := l.view(x, to)
			p.at = at
			if c, ok := n.Op().(graph.Concat); ok {
				at[c.Axis-1] += p.size[c.Axis-1]
			}
			op.parts, in = append(op.parts, p), append(in, p.src)
		}
	}
	for _, p := range op.parts {
		if p.step[0] != 1 {
			return l.fail(n, to, fmt.Errorf("it takes every %d. channel", p.step[0]))
		}
	}
	l.emit(op, l.info(n, to), v.h, in, v)
	return v
}

// part is some of the elements of a value, and where they go. Axes are channel,
// row, column.
type part struct {
	src                   *value
	start, step, size, at [3]int
}

// view returns n as a part of the value that it is sliced from.
func (l *lowering) view(n *graph.Node, to target) part {
	if o, ok := n.Op().(graph.Slice); ok && o.Axis > 0 {
		return l.view(n.In()[0], to).slice(o)
	}
	v := l.value(n, to)
	return part{src: v, step: [3]int{1, 1, 1}, size: [3]int{v.c, v.h, v.w}}
}

func (p part) slice(o graph.Slice) part {
	a := o.Axis - 1
	start, end, step := o.Bounds(p.size[a])
	p.start[a] += start * p.step[a]
	p.step[a] *= step
	p.size[a] = (end - start + step - 1) / step
	return p
}

// reshape is free where the order of elements stays, and a change from
// channels-last to logical order where an image is flattened.
func (l *lowering) reshape(n *graph.Node, to target) *value {
	x := n.In()[0]
	from, into := x.Shape(), n.Shape()
	if len(from) != 2 && len(from) != 4 || from[0] != 1 {
		return l.fail(n, to, fmt.Errorf("it reshapes %v", from))
	}
	v, src := newValue(n, to), l.value(x, to)
	switch {
	case v.c == src.c && v.h == src.h && v.w == src.w:
		return src
	case v.h*v.w == 1 && v.c == src.c*src.h*src.w:
		l.emit(&moveOp{out: v, flatten: true, parts: []part{{src: src}}}, l.info(n, to), 1, []*value{src}, v)
		return v
	}
	return l.fail(n, to, fmt.Errorf("it reshapes %v to %v, want a flattened image", from, into))
}
