package engine

import (
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// lower appends the instructions of one node and returns its value.
func (b *builder) lower(n *graph.Node) (*value, error) {
	in := make([]*value, len(n.In()))
	for i, x := range n.In() {
		in[i] = b.at[x.ID()]
	}
	switch o := n.Op().(type) {
	case graph.Input, graph.Param, graph.Const:
		return b.source(n)
	case graph.Binary, graph.Unary, graph.ReluGrad, graph.BroadcastTo, graph.Dropout, graph.Activation, graph.ActivationGrad,
		graph.Spike, graph.SpikeGrad, graph.Ternary:
		return b.elementwise(n, in), nil
	case graph.BatchNorm, graph.BatchNormTrain, graph.BatchNormGradInput:
		return b.channelwise(n, in, elementwise), nil
	case graph.Moments, graph.BatchNormGradSums:
		return b.channelwise(n, in, tail), nil
	case graph.FakeQuant:
		return b.quantizer(n, in, o.Spec, elementwise), nil
	case graph.FakeQuantGradInput:
		return b.quantizer(n, in, o.Spec, elementwise), nil
	case graph.FakeQuantGradStep:
		return b.quantizer(n, in, o.Spec, tail), nil
	case graph.QuantCodes:
		return b.quantCodes(n, in, o), nil
	case graph.Reduce:
		return b.reduce(n, in[0], o), nil
	case graph.Reshape:
		return b.reshape(n, in[0]), nil
	case graph.After:
		return b.after(n, in), nil
	case graph.RunningStat:
		return b.runningStat(n, in, o), nil
	}
	return b.lowerHeavy(n, in)
}

// source makes the value of an input, parameter or constant.
func (b *builder) source(n *graph.Node) (*value, error) {
	v := b.value(n.Name(), n.Type(), false)
	v.place = external
	switch o := n.Op().(type) {
	case graph.Input:
		in := &input{value: v, own: tensor.New(v.dtype, v.shape...)}
		b.plan.inputs[o.Name] = in
		in.bind(in.own)
	case graph.Param:
		t := b.store.Get(o.Name)
		if t == nil {
			return nil, b.errorf(n, "the store has no parameter %q", o.Name)
		}
		if t.DType() != tensor.F32 || !t.Shape().Equal(v.shape) {
			return nil, b.errorf(n, "%w: parameter %q is %v in the store, want %v", tensor.ErrShape, o.Name, t, n.Type())
		}
		v.data = t.Float32s()
	case graph.Const:
		v.data = append([]float32{}, o.Values...)
	}
	return v, nil
}

// channelwise adds an instruction whose operands after x (and dy) are small
// per-channel vectors.
func (b *builder) channelwise(n *graph.Node, in []*value, c class) *value {
	last := in[0].last
	i := &inst{op: n.Op(), name: n.Name(), class: c, domain: in[0].rows()}
	size := in[0].size()
	for k, v := range in {
		big := k == 0 || k == 1 && v.shape.Equal(in[0].shape)
		if big {
			v = b.layout(v, last)
		}
		i.in = append(i.in, v)
		i.local = append(i.local, big)
		i.pats = append(i.pats, pattern{1, size})
	}
	i.out = b.value(n.Name(), n.Type(), last && c == elementwise)
	return b.add(i)
}

// quantizer adds FakeQuant or one of its gradients: x, step, dy.
func (b *builder) quantizer(n *graph.Node, in []*value, s quant.Spec, c class) *value {
	x := in[0]
	if (s.Granularity == quant.PerToken || s.Granularity == quant.PerGroup) && x.last {
		x = b.plain(x)
	}
	i := &inst{op: n.Op(), name: n.Name(), class: c, domain: x.rows()}
	full := pattern{1, x.size()}
	pat := stepPattern(s, x, in[1])
	i.in = []*value{x, in[1]}
	i.pats = []pattern{full, pat}
	i.local = []bool{true, stepIsLocal(pat, x)}
	if len(in) == 3 {
		i.in = append(i.in, b.layout(in[2], x.last))
		i.pats = append(i.pats, full)
		i.local = append(i.local, true)
	}
	i.out = b.value(n.Name(), n.Type(), x.last && c == elementwise)
	return b.add(i)
}

// stepIsLocal reports whether rows of x have steps of their own.
func stepIsLocal(pat pattern, x *value) bool {
	return pat.count == x.size()/pat.inner && x.rows() > 1 && pat.count%x.rows() == 0 && pat.inner <= x.rowSize()
}

func (b *builder) quantCodes(n *graph.Node, in []*value, o graph.QuantCodes) *value {
	x, step := b.plain(in[0]), in[1]
	out := b.value(n.Name(), n.Type(), false)
	out.bytes = make([]byte, out.size())
	out.place = external
	pat := stepPattern(o.Spec, x, step)
	lo, hi := -float32(o.Spec.Qn()), float32(o.Spec.Qp())
	k := b.plan.k
	steps := make([]float32, blockFloats)
	return b.add(&inst{op: o, name: n.Name(), in: []*value{x, step}, out: out, class: global, all: func(*Plan) {
		src := x.root().data
		for pos := 0; pos < len(src); pos += blockFloats {
			m := min(blockFloats, len(src)-pos)
			expand(steps[:m], step.root().data, pat, pos)
			if o.Spec.Signed {
				k.QuantS8(int8s(out.bytes[pos:pos+m]), src[pos:pos+m], steps[:m], lo, hi)
			} else {
				k.QuantU8(out.bytes[pos:pos+m], src[pos:pos+m], steps[:m], lo, hi, float32(o.Spec.Zero))
			}
		}
	}})
}

// reduce chooses between a tail over the whole domain, rows of their own, and
// the general loop.
func (b *builder) reduce(n *graph.Node, x *value, o graph.Reduce) *value {
	mask, _ := o.Mask(len(x.shape))
	keptPhys := make([]int, len(x.phys)) // x's dimensions, 1 where reduced
	for i, d := range x.shape {
		p := i
		if x.last {
			p = []int{0, 3, 1, 2}[i]
		}
		keptPhys[p] = d
		if mask[i] {
			keptPhys[p] = 1
		}
	}
	out := b.value(n.Name(), n.Type(), false)
	pat, ok := broadcastPattern(x.phys, keptPhys)
	dim0 := len(mask) == 0 || mask[0]
	i := &inst{op: o, name: n.Name(), in: []*value{x}, out: out, domain: x.rows()}
	if dim0 && ok {
		i.class = tail
		i.local = []bool{true}
		i.pats = []pattern{{1, x.size()}, pat}
		return b.add(i)
	}
	scale := float32(1)
	if o.F == graph.Mean {
		scale = float32(out.size()) / float32(x.size())
	}
	if !dim0 && orderKept(x, mask) {
		i.class = rowwise
		i.local = []bool{true}
		sub := keptPhys[1:]
		dims := x.phys[1:]
		k := b.plan.k
		i.run = func(i *inst, w *worker, r0, r1 int) {
			src, dst := w.rows(i.in[0], r0, r1), w.rows(out, r0, r1)
			nx, no := x.rowSize(), out.rowSize()
			for r := 0; r < r1-r0; r++ {
				reduceRow(k, dst[r*no:(r+1)*no], src[r*nx:(r+1)*nx], dims, sub, scale)
			}
		}
		return b.add(i)
	}
	x = b.plain(x)
	i.in[0] = x
	kept := tensor.Shape(x.shape).Clone()
	for a, m := range mask {
		if m {
			kept[a] = 1
		}
	}
	i.class = global
	i.all = func(*Plan) { reduceInto(out.data, x.root().data, x.phys, kept, scale) }
	return b.add(i)
}

// orderKept reports whether the kept axes stand in the same order in both
// layouts, so that a reduction of a channels-last value is plain.
func orderKept(x *value, mask []bool) bool {
	return !x.last || mask[1] || mask[2] && mask[3]
}

// reduceInto sums src of shape dims into dst of shape kept (1 where reduced),
// in float64.
func reduceInto(dst, src []float32, dims, kept []int, scale float32) {
	acc := make([]float64, len(dst))
	stride := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		if kept[i] != 1 {
			stride[i] = step
		}
		step *= kept[i]
	}
	idx := make([]int, len(dims))
	at := 0
	for _, v := range src {
		acc[at] += float64(v)
		for i := len(dims) - 1; i >= 0; i-- {
			idx[i]++
			at += stride[i]
			if idx[i] < dims[i] {
				break
			}
			at -= stride[i] * idx[i]
			idx[i] = 0
		}
	}
	for i, v := range acc {
		dst[i] = float32(v * float64(scale))
	}
}

// reshape shares the storage: the logical order of the elements stays.
func (b *builder) reshape(n *graph.Node, x *value) *value {
	x = b.plain(x)
	v := b.value(n.Name(), n.Type(), false)
	v.alias = x
	v.def = x.def
	return v
}

// after copies a value once another is there. The copy is an instruction of its
// own, so that what reads it cannot run, or be stored, before.
func (b *builder) after(n *graph.Node, in []*value) *value {
	out := b.value(n.Name(), n.Type(), in[0].last)
	return b.add(&inst{op: n.Op(), name: n.Name(), in: in, out: out, class: global, all: func(*Plan) { copy(out.data, in[0].root().data) }})
}

func (b *builder) runningStat(n *graph.Node, in []*value, o graph.RunningStat) *value {
	old, mom := in[0], in[1]
	out := b.value(n.Name(), n.Type(), false)
	keep, mix := float32(1-o.Momentum), float32(o.Momentum*o.Correction)
	return b.add(&inst{op: o, name: n.Name(), in: in, out: out, class: global, all: func(*Plan) {
		row := mom.root().data[o.Row*len(out.data):]
		for c, v := range old.root().data {
			out.data[c] = float32(keep*v) + float32(mix*row[c])
		}
	}})
}
