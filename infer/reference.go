package infer

import (
	"fmt"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// Reference computes a quantized network by the definition of the deploy form:
// plain loops over the graph's logical shapes, node by node, float32 and int32
// alone, no packing and no kernel. It is slow. What it gives is what a plan, a
// packed file and an exported file must give, code for code.
type Reference struct {
	rules rules
	done  map[demand]*refValue
	input []float32
}

// demand is a node in the form in which it is wanted.
type demand struct {
	node *graph.Node
	to   target
}

// refValue is a value of one example in logical row-major order.
type refValue struct {
	shape tensor.Shape
	codes []int32
	f     []float32
}

// NewReference prepares an inference graph with quantizers, whose parameters
// store holds. Errors: see Lower; they come when a value is computed.
func NewReference(g *graph.Graph, store *tensor.Store) (r *Reference, err error) {
	defer guard("reference", &err)
	one, err := prepare(g)
	if err != nil {
		return nil, fmt.Errorf("infer: reference: %w", err)
	}
	return &Reference{rules: newRules(one, storeSource{store})}, nil
}

// Run computes the network's result for one example in, [channel, height,
// width] of the input's shape.
func (r *Reference) Run(in []float32) (out []float32, err error) {
	defer guard("reference", &err)
	if err := r.start(in); err != nil {
		return nil, err
	}
	v, err := r.eval(r.rules.g.OutputNode(outputName), floats())
	if err != nil {
		return nil, fmt.Errorf("infer: reference: %w", err)
	}
	return v.f, nil
}

func (r *Reference) start(in []float32) error {
	want := r.rules.g.Inputs()[0].Shape()
	if len(in) != want.Size() {
		return fmt.Errorf("infer: reference: input of %d values, want %d of %v", len(in), want.Size(), want)
	}
	r.done, r.input = map[demand]*refValue{}, in
	return nil
}

func (r *Reference) eval(n *graph.Node, to target) (*refValue, error) {
	key := demand{n, to}
	if v := r.done[key]; v != nil {
		return v, nil
	}
	v, err := r.compute(n, to)
	if err != nil {
		return nil, err
	}
	v.shape = n.Shape()
	r.done[key] = v
	return v, nil
}

func (r *Reference) compute(n *graph.Node, to target) (*refValue, error) {
	if o, ok := n.Op().(graph.Unary); ok && isRelu(o) {
		return r.eval(n.In()[0], to.within(reluRange(o)))
	}
	t, post, err := r.rules.chain(n)
	if err != nil {
		return nil, err
	}
	if t != nil {
		return r.sum(t, post, to)
	}
	switch o := n.Op().(type) {
	case graph.FakeQuant:
		return r.quantized(n, to)
	case graph.Reshape:
		x, err := r.eval(n.In()[0], to)
		if err != nil {
			return nil, err
		}
		return &refValue{codes: x.codes, f: x.f}, nil
	case graph.Slice, graph.Pad, graph.Concat:
		return r.moved(n, to)
	case graph.Pool:
		if o.F == graph.MaxPool {
			return r.maxPool(n, o, to)
		}
	}
	f, err := r.float(n)
	if err != nil {
		return nil, err
	}
	return to.apply(f), nil
}

// apply brings floats into the target.
func (t target) apply(f []float32) *refValue {
	if t.codes {
		codes := make([]int32, len(f))
		for i, v := range f {
			codes[i] = t.code(v)
		}
		return &refValue{codes: codes}
	}
	out := make([]float32, len(f))
	for i, v := range f {
		out[i] = quant.Clip(v, t.min, t.max)
	}
	return &refValue{f: out}
}

// quantized is a quantizer's values step*code in a target.
func (r *Reference) quantized(n *graph.Node, to target) (*refValue, error) {
	g, err := r.rules.quantizer(n)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", n.Op().Kind(), n.Name(), err)
	}
	x, err := r.eval(n.In()[0], g)
	if err != nil {
		return nil, err
	}
	f := make([]float32, len(x.codes))
	for i, c := range x.codes {
		f[i] = float32(float32(c) * g.step)
	}
	return to.apply(f), nil
}

// sum computes an integer sum and its deploy form.
func (r *Reference) sum(t *root, post []quant.Affine, to target) (*refValue, error) {
	x, err := r.eval(t.x, t.in)
	if err != nil {
		return nil, err
	}
	form, err := t.fold(post, to)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", t.node.Op().Kind(), t.node.Name(), err)
	}
	s := &t.shape
	oh, ow, cg, og := s.OH(), s.OW(), s.C/s.Groups, s.O/s.Groups
	v := &refValue{codes: make([]int32, s.O*oh*ow), f: make([]float32, s.O*oh*ow)}
	for o := range s.O {
		w := t.weights()[o*s.KH*s.KW*cg:]
		for y := range oh {
			for c := range ow {
				acc := int32(0)
				for kh := range s.KH {
					for kw := range s.KW {
						iy, ix := y*s.SH-s.PT+kh*s.DH, c*s.SW-s.PL+kw*s.DW
						if iy < 0 || iy >= s.H || ix < 0 || ix >= s.W {
							continue
						}
						for i := range cg {
							acc += x.codes[((o/og*cg+i)*s.H+iy)*s.W+ix] * int32(w[(kh*s.KW+kw)*cg+i])
						}
					}
				}
				if form[o].Constant {
					acc = 0
				}
				at := (o*oh+y)*ow + c
				v.codes[at] = form[o].Code(acc, 0, to.lo, to.hi)
				v.f[at] = quant.Clip(form[o].Real(acc), to.min, to.max)
			}
		}
	}
	if to.codes {
		v.f = nil
	} else {
		v.codes = nil
	}
	return v, nil
}

// maxPool takes the greatest code or float of each window.
func (r *Reference) maxPool(n *graph.Node, o graph.Pool, to target) (*refValue, error) {
	x, err := r.eval(n.In()[0], to)
	if err != nil {
		return nil, err
	}
	if to.codes {
		return &refValue{codes: maxima(o, x.codes, x.shape, n.Shape())}, nil
	}
	return &refValue{f: maxima(o, x.f, x.shape, n.Shape())}, nil
}

func maxima[T int32 | float32](o graph.Pool, x []T, in, out tensor.Shape) []T {
	y := make([]T, 0, out.Size())
	for c := range out[1] {
		eachWindow(o, in, out, func(plane []int) {
			best := x[c*in[2]*in[3]+plane[0]]
			for _, i := range plane[1:] {
				best = max(best, x[c*in[2]*in[3]+i])
			}
			y = append(y, best)
		})
	}
	return y
}

// eachWindow calls f for each output place, row-major, with the places of its
// window in a plane of the input, row-major.
func eachWindow(o graph.Pool, in, out tensor.Shape, f func(plane []int)) {
	var at []int
	for y := range out[2] {
		for x := range out[3] {
			at = at[:0]
			for kh := range o.Kernel[0] {
				for kw := range o.Kernel[1] {
					iy, ix := y*o.Stride[0]-o.Pad[0]+kh, x*o.Stride[1]-o.Pad[1]+kw
					if iy >= 0 && iy < in[2] && ix >= 0 && ix < in[3] {
						at = append(at, iy*in[3]+ix)
					}
				}
			}
			f(at)
		}
	}
}

// moved is a slice, padding or concatenation in a target.
func (r *Reference) moved(n *graph.Node, to target) (*refValue, error) {
	parts := make([]*refValue, len(n.In()))
	for i, x := range n.In() {
		v, err := r.eval(x, to)
		if err != nil {
			return nil, err
		}
		parts[i] = v
	}
	if to.codes {
		pad := func(v float32) int32 { return to.code(v) }
		return &refValue{codes: gather(n, parts, func(v *refValue) []int32 { return v.codes }, pad)}, nil
	}
	pad := func(v float32) float32 { return quant.Clip(v, to.min, to.max) }
	return &refValue{f: gather(n, parts, func(v *refValue) []float32 { return v.f }, pad)}, nil
}

// gather makes each element of n from the element of a part where it comes from.
func gather[T any](n *graph.Node, parts []*refValue, of func(*refValue) []T, pad func(float32) T) []T {
	shape := n.Shape()
	out := make([]T, shape.Size())
	index := make([]int, len(shape))
	for i := range out {
		for d, rest := len(shape)-1, i; d >= 0; d-- {
			index[d], rest = rest%shape[d], rest/shape[d]
		}
		if part, at, ok := comesFrom(n, parts, index); ok {
			out[i] = of(parts[part])[at]
		} else {
			out[i] = pad(n.Op().(graph.Pad).Value)
		}
	}
	return out
}

// comesFrom returns the part and the offset in it of an element; false for
// padding.
func comesFrom(n *graph.Node, parts []*refValue, index []int) (part, at int, ok bool) {
	from := append([]int(nil), index...)
	switch o := n.Op().(type) {
	case graph.Slice:
		start, _, step := o.Bounds(parts[0].shape[o.Axis])
		from[o.Axis] = start + from[o.Axis]*step
	case graph.Concat:
		for from[o.Axis] >= parts[part].shape[o.Axis] {
			from[o.Axis] -= parts[part].shape[o.Axis]
			part++
		}
	case graph.Pad:
		for d := range from {
			from[d] -= o.Before[d]
			if from[d] < 0 || from[d] >= parts[0].shape[d] {
				return 0, 0, false
			}
		}
	}
	for d, i := range from {
		at = at*parts[part].shape[d] + i
	}
	return part, at, true
}
