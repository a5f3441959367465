package engine

import (
	"fmt"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/tensor"
)

// lowerHeavy appends the instructions of nodes that are neither element-wise
// nor reductions of such.
func (b *builder) lowerHeavy(n *graph.Node, in []*value) (*value, error) {
	switch o := n.Op().(type) {
	case graph.Conv2D:
		if x, w, ok := b.plan.engine.quantizedOperands(n); ok {
			return b.convInteger(n, x, w, o), nil
		}
		return b.conv(n, in[0], in[1], o), nil
	case graph.Conv2DGradInput:
		return b.convGradInput(n, in[0], in[1], o), nil
	case graph.Conv2DGradWeight:
		return b.convGradWeight(n, in[0], in[1], o), nil
	case graph.MatMul:
		if x, w, ok := b.plan.engine.quantizedOperands(n); ok && integerLinear(o, x.Shape(), w.Shape()) {
			return b.linearInteger(n, x, w), nil
		}
		return b.matmul(n, in[0], in[1], o), nil
	case graph.Pool:
		return b.pool(n, in[0], o), nil
	case graph.PoolGrad:
		return b.poolGrad(n, in[0], in[1], o), nil
	case graph.Slice, graph.SliceGrad, graph.Pad, graph.Concat:
		return b.move(n, in), nil
	case graph.Transpose:
		return b.transposed(n, in[0], o), nil
	case graph.Softmax:
		return b.rowLoop(n, in, func(k *kernel.Table, out []float32, in [][]float32, _ []int32) {
			softmaxRow(k, out, in[0], o.Log)
		}), nil
	case graph.SoftmaxGrad:
		return b.rowLoop(n, in, func(_ *kernel.Table, out []float32, in [][]float32, _ []int32) {
			softmaxGradRow(out, in[0], in[1], o.Log)
		}), nil
	case graph.CrossEntropy, graph.CrossEntropyGrad, graph.KLDivergence, graph.KLDivergenceGrad:
		return b.loss(n, in), nil
	}
	return b.lowerTransformer(n, in)
}

// convShape describes one image of a convolution to the kernels.
func convShape(o graph.Conv2D, x, w tensor.Shape) *kernel.ConvShape {
	return &kernel.ConvShape{
		H: x[2], W: x[3], C: x[1], O: w[0], KH: w[2], KW: w[3],
		SH: o.Stride[0], SW: o.Stride[1], DH: o.Dilation[0], DW: o.Dilation[1],
		PT: o.Pad[0], PL: o.Pad[1], PB: o.Pad[2], PR: o.Pad[3], Groups: o.Groups,
	}
}

// pack adds, once for each weight and form, the instruction that packs it.
func (b *builder) pack(w *value, kind string, s *kernel.ConvShape, size int, pack func(dst, w []float32)) *value {
	key := packKey{w, kind, *s}
	if v := b.packs[key]; v != nil {
		return v
	}
	v := &value{name: w.name + "." + kind, dtype: tensor.F32, shape: tensor.Shape{size}, phys: []int{size}}
	b.packs[key] = v
	return b.add(&inst{op: kind, in: []*value{w}, out: v, class: global, parallel: true, all: func(*Plan) {
		pack(v.data[:size], w.root().data)
	}})
}

func (b *builder) conv(n *graph.Node, x, w *value, o graph.Conv2D) *value {
	x, w = b.channelsLast(x), b.plain(w)
	k := b.plan.k
	s := convShape(o, x.shape, w.shape)
	s.BF16 = b.plan.bf16
	packed := b.pack(w, "conv_pack", s, k.ConvPackSize(s), func(dst, w []float32) { k.ConvPack(s, dst, w) })
	out := b.value(n.Name(), n.Type(), true)
	return b.add(&inst{
		op: o, name: n.Name(), in: []*value{x, packed}, local: []bool{true, false}, out: out, class: rowwise,
		scratch: k.ConvScratch(s),
		run: func(i *inst, wk *worker, r0, r1 int) {
			k.ConvForward(s, wk.rows(out, r0, r1), wk.rows(i.in[0], r0, r1), packed.data, r1-r0, wk.kernel)
		},
	})
}

func (b *builder) convGradInput(n *graph.Node, dy, w *value, o graph.Conv2DGradInput) *value {
	dy, w = b.channelsLast(dy), b.plain(w)
	k := b.plan.k
	s := convShape(o.Conv2D, o.InShape, w.shape)
	s.BF16 = b.plan.bf16 || b.plan.engine.bf16Gradient(n)
	packed := b.pack(w, "conv_pack_grad", s, k.ConvPackGradSize(s), func(dst, w []float32) { k.ConvPackGrad(s, dst, w) })
	out := b.value(n.Name(), n.Type(), true)
	return b.add(&inst{
		op: o, name: n.Name(), in: []*value{dy, packed}, local: []bool{true, false}, out: out, class: rowwise,
		scratch: k.ConvScratch(s),
		run: func(i *inst, wk *worker, r0, r1 int) {
			k.ConvGradInput(s, wk.rows(out, r0, r1), wk.rows(i.in[0], r0, r1), packed.data, r1-r0, wk.kernel)
		},
	})
}

func (b *builder) convGradWeight(n *graph.Node, x, dy *value, o graph.Conv2DGradWeight) *value {
	x, dy = b.channelsLast(x), b.channelsLast(dy)
	k := b.plan.k
	s := convShape(o.Conv2D, x.shape, o.WeightShape)
	s.BF16 = b.plan.bf16 || b.plan.engine.bf16Gradient(n)
	out := b.value(n.Name(), n.Type(), false)
	size := k.ConvGradWeightSize(s)
	i := &inst{
		op: o, name: n.Name(), in: []*value{x, dy}, local: []bool{true, true}, out: out, class: partial,
		domain: x.rows(), scratch: k.ConvScratch(s), extra: size,
	}
	i.acc = func(wk *worker, part []float32, r0, r1 int) {
		k.ConvGradWeight(s, part, wk.rows(i.in[0], r0, r1), wk.rows(i.in[1], r0, r1), r1-r0, wk.kernel)
	}
	i.finish = func(sum []float32) { k.ConvUnpackGradWeight(s, out.data, sum) }
	return b.add(i)
}

// rowLoop adds an instruction that works on the last axis of plain operands,
// row by row. Operands of integers are labels.
func (b *builder) rowLoop(n *graph.Node, in []*value, f func(k *kernel.Table, out []float32, in [][]float32, label []int32)) *value {
	i := &inst{op: n.Op(), name: n.Name(), class: rowwise}
	for _, v := range in {
		i.in = append(i.in, b.plain(v))
		i.local = append(i.local, true)
	}
	in = i.in // shapes; operands may be replaced by equal values
	out := b.value(n.Name(), n.Type(), false)
	i.out = out
	lead := in[0].shape[:len(in[0].shape)-1].Size() / max(1, in[0].rows()) // loops a row of dimension 0
	if len(in[0].shape) == 1 {
		lead = 1
		i.local = make([]bool, len(in))
		i.domain = 1
	}
	k := b.plan.k
	i.run = func(i *inst, w *worker, r0, r1 int) {
		args, row := &w.args, &w.row
		var labels []int32
		loops := (r1 - r0) * lead
		dst := w.rowsOf(out, i.domain, r0, r1)
		for a, v := range i.in {
			if v.dtype == tensor.I32 {
				labels = v.root().i32[r0*lead : r1*lead]
			} else {
				args[a] = w.rowsOf(v, i.domain, r0, r1)
			}
		}
		for l := range loops {
			for a := range i.in {
				n := len(args[a]) / loops
				row[a] = args[a][l*n : (l+1)*n]
			}
			n := len(dst) / loops
			var lab []int32
			if labels != nil {
				lab = labels[l : l+1]
			}
			f(k, dst[l*n:(l+1)*n], row[:], lab)
		}
	}
	return b.add(i)
}

func (b *builder) transposed(n *graph.Node, x *value, o graph.Transpose) *value {
	x = b.plain(x)
	out := b.value(n.Name(), n.Type(), false)
	src := strides(x.phys)
	perm := make([]int, len(src))
	for i, p := range o.Perm {
		perm[i] = src[p]
	}
	dst := strides(out.phys)
	i := &inst{op: o, name: n.Name(), in: []*value{x}, out: out}
	if len(perm) > 1 && o.Perm[0] == 0 {
		i.class, i.local = rowwise, []bool{true}
		dims, ds, ss := merged(out.phys[1:], dst[1:], perm[1:])
		i.run = func(i *inst, w *worker, r0, r1 int) {
			s, d := w.rows(i.in[0], r0, r1), w.rows(out, r0, r1)
			for r := range r1 - r0 {
				copyND(d[r*out.rowSize():], s[r*out.rowSize():], dims, ds, ss)
			}
		}
		return b.add(i)
	}
	i.class = global
	dims, ds, ss := merged(out.phys, dst, perm)
	i.all = func(*Plan) { copyND(out.data, x.root().data, dims, ds, ss) }
	return b.add(i)
}

// move adds slice, slice_grad, pad and concat: copies between boxes.
func (b *builder) move(n *graph.Node, in []*value) *value {
	last := in[0].last
	i := &inst{op: n.Op(), name: n.Name(), class: rowwise}
	for _, v := range in {
		i.in = append(i.in, b.layout(v, last))
	}
	in = i.in
	out := b.value(n.Name(), n.Type(), last)
	i.out = out
	boxes, fill, rowwiseOK := movePlan(n.Op(), in, out)
	clearFirst := needsFill(n.Op())
	if !rowwiseOK {
		i.class = global
		i.all = func(*Plan) {
			if clearFirst {
				setAll(out.data, fill)
			}
			for a := range boxes {
				boxes[a].copy(out.data, in[a].root().data, -1)
			}
		}
		return b.add(i)
	}
	for range in {
		i.local = append(i.local, true)
	}
	i.run = func(i *inst, w *worker, r0, r1 int) {
		dst := w.rows(out, r0, r1)
		if clearFirst {
			setAll(dst, fill)
		}
		for a := range boxes {
			boxes[a].copy(dst, w.rows(i.in[a], r0, r1), r1-r0)
		}
	}
	return b.add(i)
}

func setAll(dst []float32, v float32) {
	for i := range dst {
		dst[i] = v
	}
}

// box is one operand's copy of a move: at least one dimension, dims elements from offset so with
// strides ss to offset do with strides ds.
type box struct {
	dims, ds, ss []int
	do, so       int
}

// copy runs the box on that many rows of dimension 0, or all if rows is -1.
func (x *box) copy(dst, src []float32, rows int) {
	dims := x.dims
	if rows < 0 {
		rows = dims[0]
	}
	for i := range rows {
		copyND(dst[x.do+i*x.ds[0]:], src[x.so+i*x.ss[0]:], dims[1:], x.ds[1:], x.ss[1:])
	}
}

func needsFill(op graph.Op) bool {
	switch op.(type) {
	case graph.SliceGrad, graph.Pad:
		return true
	}
	return false
}

// movePlan returns the boxes of a move in physical order and whether each row
// of dimension 0 stays in its row.
func movePlan(op graph.Op, in []*value, out *value) (boxes []box, fill float32, rowwise bool) {
	axis := func(a int) int {
		if out.last {
			return []int{0, 3, 1, 2}[a]
		}
		return a
	}
	bx := box{dims: out.phys, ds: strides(out.phys), ss: strides(in[0].phys)}
	switch o := op.(type) {
	case graph.Slice:
		a := axis(o.Axis)
		start, _, step := o.Bounds(in[0].phys[a])
		bx.so = start * bx.ss[a]
		bx.ss = scaled(bx.ss, a, step)
		return []box{bx}, 0, a != 0
	case graph.SliceGrad:
		a := axis(o.Axis)
		bx.dims = in[0].phys
		bx.do = o.Start * bx.ds[a]
		bx.ds = scaled(bx.ds, a, o.Step)
		return []box{bx}, 0, a != 0
	case graph.Pad:
		bx.dims = in[0].phys
		for l, p := range o.Before {
			bx.do += p * bx.ds[axis(l)]
		}
		return []box{bx}, o.Value, len(o.Before) > 0 && o.Before[0] == 0 && o.After[0] == 0
	case graph.Concat:
		a := axis(o.Axis)
		at := 0
		for _, v := range in {
			boxes = append(boxes, box{dims: v.phys, ds: bx.ds, ss: strides(v.phys), do: at * bx.ds[a]})
			at += v.phys[a]
		}
		return boxes, 0, a != 0
	}
	panic(fmt.Sprintf("engine: %T is no move", op))
}

func scaled(s []int, a, by int) []int {
	s = append([]int{}, s...)
	s[a] *= by
	return s
}

func strides(dims []int) []int {
	s := make([]int, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		s[i] = step
		step *= dims[i]
	}
	return s
}

// merged joins neighbouring dimensions that lie one in the other in both arrays,
// and leaves out those of one element: a shuffle of channels copies whole maps.
func merged(dims, ds, ss []int) (d, to, from []int) {
	for i, n := range dims {
		if n == 1 {
			continue
		}
		if k := len(d) - 1; k >= 0 && to[k] == n*ds[i] && from[k] == n*ss[i] {
			d[k], to[k], from[k] = d[k]*n, ds[i], ss[i]
			continue
		}
		d, to, from = append(d, n), append(to, ds[i]), append(from, ss[i])
	}
	return d, to, from
}

// copyND copies a box of up to eight dimensions between strided arrays.
func copyND(dst, src []float32, dims, ds, ss []int) {
	r := len(dims)
	if r == 0 {
		dst[0] = src[0]
		return
	}
	if r == 1 {
		n := dims[0]
		if ds[0] == 1 && ss[0] == 1 {
			copy(dst[:n], src[:n])
			return
		}
		for i := range n {
			dst[i*ds[0]] = src[i*ss[0]]
		}
		return
	}
	for i := range dims[0] {
		copyND(dst[i*ds[0]:], src[i*ss[0]:], dims[1:], ds[1:], ss[1:])
	}
}
