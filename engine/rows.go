package engine

import (
	"math"

	"lowbit/graph"
	"lowbit/internal/kernel"
)

// softmaxRow writes the softmax of one row, or its logarithm.
func softmaxRow(k *kernel.Table, out, x []float32, log bool) {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max(m, v)
	}
	for i, v := range x {
		out[i] = v - m
	}
	if log {
		var sum float64
		for _, v := range out {
			sum += math.Exp(float64(v))
		}
		l := float32(math.Log(sum))
		for i := range out {
			out[i] -= l
		}
		return
	}
	k.Exp(out, out)
	inv := 1 / k.Sum(out)
	for i := range out {
		out[i] *= inv
	}
}

func softmaxGradRow(out, y, dy []float32, log bool) {
	var sum float64
	if log {
		for _, v := range dy {
			sum += float64(v)
		}
		for i, v := range y {
			out[i] = dy[i] - float32(math.Exp(float64(v))*sum)
		}
		return
	}
	for i, v := range y {
		sum += float64(v) * float64(dy[i])
	}
	for i, v := range y {
		out[i] = v * (dy[i] - float32(sum))
	}
}

// reduceRow sums one row of physical dims into sub (1 where reduced).
func reduceRow(k *kernel.Table, dst, src []float32, dims, sub []int, scale float32) {
	c := 1
	if n := len(dims); n > 0 && sub[n-1] == dims[n-1] {
		c = dims[n-1]
	}
	if len(dst) == c && c > 1 { // all but the last axis: add vectors of channels
		clear(dst)
		for ; len(src) > 0; src = src[c:] {
			k.Add(dst, dst, src[:c])
		}
		for i := range dst {
			dst[i] *= scale
		}
		return
	}
	if len(dst) == 1 {
		dst[0] = k.Sum(src) * scale
		return
	}
	if n := len(dims); n > 0 && c == 1 && len(dst) == len(src)/dims[n-1] { // the last axis alone
		for i := range dst {
			dst[i] = k.Sum(src[i*dims[n-1]:(i+1)*dims[n-1]]) * scale
		}
		return
	}
	reduceInto(dst, src, dims, sub, scale)
}

// window is the part of the input that one output place of a pooling sees.
func window(o graph.Pool, axis, at, size int) (lo, hi int) {
	lo = at*o.Stride[axis] - o.Pad[axis]
	hi = min(lo+o.Kernel[axis], size)
	return max(lo, 0), hi
}

func (b *builder) pool(n *graph.Node, x *value, o graph.Pool) *value {
	x = b.channelsLast(x)
	out := b.value(n.Name(), n.Type(), true)
	k := b.plan.k
	return b.add(&inst{
		op: o, name: n.Name(), in: []*value{x}, local: []bool{true}, out: out, class: rowwise,
		run: func(i *inst, w *worker, r0, r1 int) {
			src, dst := w.rows(i.in[0], r0, r1), w.rows(out, r0, r1)
			for r := 0; r < r1-r0; r++ {
				poolImage(k, o, dst[r*out.rowSize():], src[r*x.rowSize():], x.phys, out.phys)
			}
		},
	})
}

// poolImage pools one image: x [h, w, c] to y [oh, ow, c].
func poolImage(k *kernel.Table, o graph.Pool, y, x []float32, in, out []int) {
	h, w, c, oh, ow := in[1], in[2], in[3], out[1], out[2]
	for i := range oh {
		a0, a1 := window(o, 0, i, h)
		for j := range ow {
			b0, b1 := window(o, 1, j, w)
			d := y[(i*ow+j)*c:][:c]
			copy(d, x[(a0*w+b0)*c:])
			for a := a0; a < a1; a++ {
				for bb := b0; bb < b1; bb++ {
					if a == a0 && bb == b0 {
						continue
					}
					s := x[(a*w+bb)*c:][:c]
					if o.F == graph.MaxPool {
						k.Max(d, s, d)
					} else {
						k.Add(d, d, s)
					}
				}
			}
			if o.F == graph.AvgPool {
				inv := 1 / float32(poolCount(o, a1-a0, b1-b0))
				for q := range d {
					d[q] *= inv
				}
			}
		}
	}
}

func poolCount(o graph.Pool, a, b int) int {
	if o.CountPad {
		return o.Kernel[0] * o.Kernel[1]
	}
	return a * b
}

func (b *builder) poolGrad(n *graph.Node, x, dy *value, o graph.PoolGrad) *value {
	x, dy = b.channelsLast(x), b.channelsLast(dy)
	out := b.value(n.Name(), n.Type(), true)
	return b.add(&inst{
		op: o, name: n.Name(), in: []*value{x, dy}, local: []bool{true, true}, out: out, class: rowwise,
		run: func(i *inst, w *worker, r0, r1 int) {
			src, g, dst := w.rows(i.in[0], r0, r1), w.rows(i.in[1], r0, r1), w.rows(out, r0, r1)
			clear(dst)
			for r := 0; r < r1-r0; r++ {
				poolGradImage(o.Pool, dst[r*out.rowSize():], src[r*x.rowSize():], g[r*dy.rowSize():], x.phys, dy.phys)
			}
		},
	})
}

func poolGradImage(o graph.Pool, dx, x, dy []float32, in, out []int) {
	h, w, c, oh, ow := in[1], in[2], in[3], out[1], out[2]
	for i := range oh {
		a0, a1 := window(o, 0, i, h)
		for j := range ow {
			b0, b1 := window(o, 1, j, w)
			g := dy[(i*ow+j)*c:][:c]
			if o.F == graph.AvgPool {
				inv := 1 / float32(poolCount(o, a1-a0, b1-b0))
				for a := a0; a < a1; a++ {
					for bb := b0; bb < b1; bb++ {
						d := dx[(a*w+bb)*c:][:c]
						for q, v := range g {
							d[q] += v * inv
						}
					}
				}
				continue
			}
			for q, v := range g {
				best := (a0*w+b0)*c + q
				for a := a0; a < a1; a++ {
					for bb := b0; bb < b1; bb++ {
						if at := (a*w+bb)*c + q; x[at] > x[best] {
							best = at
						}
					}
				}
				dx[best] += v
			}
		}
	}
}
