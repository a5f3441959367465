package engine

import (
	"math"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/tensor"
)

// fillRope computes the tables in float64.
func fillRope(o graph.RoPE, positions int, cos, sin []float32) {
	half := o.HeadDim / 2
	for i := range half {
		f := o.Frequency(i)
		for p := range positions {
			s, c := math.Sincos(f * float64(p))
			cos[p*half+i], sin[p*half+i] = float32(c), float32(s)
		}
	}
}

// center writes the row x minus its mean to h (for RMSNorm x itself) and
// returns 1/sqrt(mean(h^2) + eps). t is scratch of the same length.
func center(k *kernel.Table, o graph.RowNorm, h, x, t []float32) float32 {
	d := float64(len(x))
	if o.F == graph.LayerNorm {
		mean := float32(float64(k.Sum(x)) / d)
		for i, v := range x {
			h[i] = v - mean
		}
	} else {
		copy(h, x)
	}
	k.Mul(t, h, h)
	return float32(1 / math.Sqrt(float64(k.Sum(t))/d+o.Eps))
}

func (b *builder) rowNorm(n *graph.Node, in []*value, o graph.RowNorm) *value {
	x := b.plain(in[0])
	d := x.shape[len(x.shape)-1]
	out := b.value(n.Name(), n.Type(), false)
	k := b.plan.k
	i := &inst{op: o, name: n.Name(), in: append([]*value{x}, in[1:]...), out: out, class: rowwise, scratch: d}
	whole := i.rowLocal(x)
	i.run = func(i *inst, w *worker, r0, r1 int) {
		src, dst := w.rowsOf(i.in[0], whole, r0, r1), w.rowsOf(out, whole, r0, r1)
		gamma := i.in[1].root().data[:d]
		t := w.kernel[:d]
		for ; len(src) > 0; src, dst = src[d:], dst[d:] {
			y := dst[:d]
			inv := center(k, o, y, src[:d], t)
			if o.F == graph.RMSNorm {
				for j, v := range y {
					y[j] = v * inv * gamma[j]
				}
				continue
			}
			beta := i.in[2].root().data[:d]
			for j, v := range y {
				y[j] = v*inv*gamma[j] + beta[j]
			}
		}
	}
	return b.add(i)
}

// rowLocal makes operand 0 and others of its shape local, or the whole value
// one row where it has a single axis; it returns the domain for rowsOf.
func (i *inst) rowLocal(x *value) int {
	i.local = make([]bool, len(i.in))
	if len(x.shape) == 1 {
		i.domain = 1
		return 1
	}
	i.domain = x.rows()
	for k, v := range i.in {
		i.local[k] = v.shape.Equal(x.shape)
	}
	return i.domain
}

func (b *builder) rowNormGrad(n *graph.Node, in []*value, o graph.RowNormGrad) *value {
	x, gamma, dy := b.plain(in[0]), in[1], b.plain(in[2])
	d := x.shape[len(x.shape)-1]
	out := b.value(n.Name(), n.Type(), false)
	k := b.plan.k
	i := &inst{op: o, name: n.Name(), in: []*value{x, gamma, dy}, out: out, class: rowwise, scratch: 3 * d}
	whole := i.rowLocal(x)
	i.local[1] = false
	i.run = func(i *inst, w *worker, r0, r1 int) {
		src, g, dst := w.rowsOf(i.in[0], whole, r0, r1), w.rowsOf(i.in[2], whole, r0, r1), w.rowsOf(out, whole, r0, r1)
		gamma := i.in[1].root().data[:d]
		h, t, u := w.kernel[:d], w.kernel[d:2*d], w.kernel[2*d:3*d]
		for ; len(src) > 0; src, g, dst = src[d:], g[d:], dst[d:] {
			inv := center(k, o.RowNorm, h, src[:d], u)
			k.Mul(t, g[:d], gamma)
			k.Mul(u, t, h)
			m := float32(0)
			if o.F == graph.LayerNorm {
				m = k.Sum(t) / float32(d)
			}
			slope := k.Sum(u) / float32(d) * inv * inv // h is not yet divided by the deviation
			y := dst[:d]
			for j, v := range t {
				y[j] = (v - m - h[j]*slope) * inv
			}
		}
	}
	return b.add(i)
}

// normBlocks is the most parts that a norm's rows are summed in.
const normBlocks = 32

// rowNormGradParams sums over all rows in parts that depend on their number
// alone, whatever runs at the same level: with and without recomputation it gives
// the same bits.
func (b *builder) rowNormGradParams(n *graph.Node, in []*value, o graph.RowNormGradParams) *value {
	x, dy := b.plain(in[0]), b.plain(in[1])
	d := x.shape[len(x.shape)-1]
	out := b.value(n.Name(), n.Type(), false)
	size, rows := out.size(), x.size()/d
	per := (rows + normBlocks - 1) / normBlocks
	blocks := (rows + per - 1) / per
	parts := &value{name: n.Name() + ".parts", dtype: tensor.F32, shape: tensor.Shape{blocks * size}, phys: []int{blocks * size}}
	k := b.plan.k
	sums := &inst{op: o, name: n.Name(), in: []*value{x, dy}, out: parts, class: global, scratch: 2 * d, tasks: blocks}
	sums.task = func(w *worker, t int) {
		part := parts.data[t*size : (t+1)*size]
		clear(part)
		h, u := w.kernel[:d], w.kernel[d:2*d]
		src, g := sums.in[0].root().data, sums.in[1].root().data
		for r := t * per; r < min((t+1)*per, rows); r++ {
			inv := center(k, o.RowNorm, h, src[r*d:(r+1)*d], u)
			for j, v := range h {
				u[j] = v * inv
			}
			k.AccMul(part[:d], u, g[r*d:(r+1)*d])
			if o.F == graph.LayerNorm {
				k.Acc(part[d:], g[r*d:(r+1)*d])
			}
		}
	}
	b.add(sums)
	return b.add(&inst{op: "norm_sums", name: n.Name(), in: []*value{parts}, out: out, class: global, parallel: true, all: func(*Plan) {
		copy(out.data, parts.data[:size])
		for t := 1; t < blocks; t++ {
			k.Acc(out.data, parts.data[t*size:(t+1)*size])
		}
	}})
}

// activation emits a smooth activation function: d = f(x).
func (f *fuser) activation(i *inst, o graph.Activation) {
	x := f.src(i, 0)
	t := f.temp()
	switch o.F {
	case graph.SiLU:
		f.code(instr{op: opSigmoid, dst: t, a: x})
		f.code(instr{op: opMul, dst: f.dst(i.out), a: x, b: t})
	case graph.ELU:
		f.expBelow(t, x)
		f.code(instr{op: opSub, dst: t, a: t, b: f.constant(1)})
		u := f.temp()
		f.code(instr{op: opMax, dst: u, a: x, b: f.constant(0)})
		f.code(instr{op: opAdd, dst: f.dst(i.out), a: t, b: u})
		f.drop(u)
	default:
		f.gate(t, x, o.F)
		f.code(instr{op: opMul, dst: f.dst(i.out), a: x, b: t})
	}
	f.drop(t)
}

// expBelow emits e^min(x, 0).
func (f *fuser) expBelow(d, x operand) {
	f.code(instr{op: opMin, dst: d, a: x, b: f.constant(0)})
	f.code(instr{op: opExp, dst: d, a: d})
}

// Constants of the tanh form of GELU: sqrt(2/pi) and that times 0.044715.
const (
	geluC0 = 0.7978845608028654
	geluC1 = geluC0 * 0.044715
)

// gate emits what GELU multiplies x with: Phi(x) or its tanh form.
func (f *fuser) gate(d, x operand, kind graph.ActivationKind) {
	if kind == graph.GELU {
		f.code(instr{op: opMul, dst: d, a: x, b: f.constant(math.Sqrt2 / 2)})
		f.code(instr{op: opErf, dst: d, a: d})
	} else {
		f.code(instr{op: opMul, dst: d, a: x, b: x})
		f.code(instr{op: opMulAdd, dst: d, a: d, b: f.constant(geluC1), c: f.constant(geluC0)})
		f.code(instr{op: opMul, dst: d, a: d, b: x})
		f.code(instr{op: opTanh, dst: d, a: d})
	}
	half := f.constant(0.5)
	f.code(instr{op: opMulAdd, dst: d, a: d, b: half, c: half})
}

// activationGrad emits dy*f'(x).
func (f *fuser) activationGrad(i *inst, o graph.ActivationGrad) {
	x, dy := f.src(i, 0), f.src(i, 1)
	t, u := f.temp(), f.temp()
	one := f.constant(1)
	switch o.F {
	case graph.SiLU: // s + x*(1-s)*s
		f.code(instr{op: opSigmoid, dst: t, a: x})
		f.code(instr{op: opSub, dst: u, a: one, b: t})
		f.code(instr{op: opMul, dst: u, a: u, b: x})
		f.code(instr{op: opMulAdd, dst: t, a: u, b: t, c: t})
	case graph.ELU:
		f.expBelow(t, x)
	case graph.GELU: // Phi + x*phi
		f.gate(t, x, o.F)
		f.code(instr{op: opMul, dst: u, a: x, b: x})
		f.code(instr{op: opMul, dst: u, a: u, b: f.constant(-0.5)})
		f.code(instr{op: opExp, dst: u, a: u})
		f.code(instr{op: opMul, dst: u, a: u, b: x})
		f.code(instr{op: opMulAdd, dst: t, a: u, b: f.constant(0.3989422804014327), c: t}) // 1/sqrt(2 pi)
	case graph.GELUTanh: // g + 2*g*(1-g)*x*inner'(x), since g = (1+tanh)/2
		f.gate(t, x, o.F)
		f.code(instr{op: opMul, dst: u, a: x, b: x})
		f.code(instr{op: opMulAdd, dst: u, a: u, b: f.constant(6 * geluC1), c: f.constant(2 * geluC0)})
		f.code(instr{op: opMul, dst: u, a: u, b: x})
		f.code(instr{op: opMul, dst: u, a: u, b: t})
		v := f.temp()
		f.code(instr{op: opSub, dst: v, a: one, b: t})
		f.code(instr{op: opMulAdd, dst: t, a: u, b: v, c: t})
		f.drop(v)
	}
	f.code(instr{op: opMul, dst: f.dst(i.out), a: dy, b: t})
	f.drop(t)
	f.drop(u)
}
