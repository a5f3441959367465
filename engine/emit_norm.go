package engine

import (
	"fmt"
	"math"

	"lowbit/graph"
)

// perChannel returns a tile with a derived value for each channel (axis 1).
func (f *fuser) perChannel(i *inst, what string, fill func(dst []float32)) operand {
	count, inner := f.channels()
	if inner == 1 {
		return f.tile(fmt.Sprintf("%p/%s", i, what), count, fill)
	}
	v := &value{phys: []int{count}, data: make([]float32, count), place: external, name: i.name + "." + what}
	f.p.tiles = append(f.p.tiles, &tile{count: count, fill: fill, buf: v.data})
	o := f.temp()
	f.code(instr{op: opExpand, dst: o, a: operand{v: v}, pat: pattern{inner, count}})
	return o
}

// channels returns the pattern of axis 1 over the domain.
func (f *fuser) channels() (count, inner int) {
	p := channelPattern(f.phys, f.last, 1)
	return p.count, p.inner
}

// channelPattern returns the pattern of a vector along a logical axis.
func channelPattern(phys []int, last bool, axis int) pattern {
	if last {
		axis = []int{0, 3, 1, 2}[axis]
	}
	p := pattern{1, phys[axis]}
	for _, d := range phys[axis+1:] {
		p.inner *= d
	}
	return p
}

func (f *fuser) affine(i *inst, x operand, d operand, scale, shift operand) {
	f.code(instr{op: opMulAdd, dst: d, a: x, b: scale, c: shift})
}

func (f *fuser) batchNorm(i *inst, o graph.BatchNorm) {
	gamma, beta, mean, variance := i.in[1], i.in[2], i.in[3], i.in[4]
	x := f.src(i, 0)
	scale := f.perChannel(i, "scale", func(dst []float32) {
		for c := range dst {
			dst[c] = float32(float64(gamma.root().data[c]) / math.Sqrt(float64(variance.root().data[c])+o.Eps))
		}
	})
	shift := f.perChannel(i, "shift", func(dst []float32) {
		for c := range dst {
			s := float64(gamma.root().data[c]) / math.Sqrt(float64(variance.root().data[c])+o.Eps)
			dst[c] = float32(float64(beta.root().data[c]) - float64(mean.root().data[c])*s)
		}
	})
	f.affine(i, x, f.dst(i.out), scale, shift)
}

func (f *fuser) batchNormTrain(i *inst, o graph.BatchNormTrain) {
	gamma, beta, mom := i.in[1], i.in[2], i.in[3]
	x := f.src(i, 0)
	scale := f.perChannel(i, "scale", func(dst []float32) {
		m, n := mom.root().data, len(dst)
		for c := range dst {
			dst[c] = float32(float64(gamma.root().data[c]) / math.Sqrt(float64(m[n+c])+o.Eps))
		}
	})
	shift := f.perChannel(i, "shift", func(dst []float32) {
		m, n := mom.root().data, len(dst)
		for c := range dst {
			s := float64(gamma.root().data[c]) / math.Sqrt(float64(m[n+c])+o.Eps)
			dst[c] = float32(float64(beta.root().data[c]) - float64(m[c])*s)
		}
	})
	f.affine(i, x, f.dst(i.out), scale, shift)
}

// batchNormGradInput computes dx = dy*k1 + (x*k2 + k3) with per-channel
// constants.
func (f *fuser) batchNormGradInput(i *inst, o graph.BatchNormGradInput) {
	gamma, mom, sums := i.in[2], i.in[3], i.in[4]
	x, dy := f.src(i, 0), f.src(i, 1)
	count, _ := f.channels()
	m := float64(i.out.size() / count)
	terms := func(c, n int) (k1, k2, k3 float64) {
		md, s := mom.root().data, sums.root().data
		inv := 1 / math.Sqrt(float64(md[n+c])+o.Eps)
		k1 = float64(gamma.root().data[c]) * inv
		k2 = -k1 * inv * float64(s[n+c]) / m
		k3 = -k1*float64(s[c])/m - k2*float64(md[c])
		return k1, k2, k3
	}
	k1 := f.perChannel(i, "k1", func(dst []float32) {
		for c := range dst {
			k, _, _ := terms(c, len(dst))
			dst[c] = float32(k)
		}
	})
	k2 := f.perChannel(i, "k2", func(dst []float32) {
		for c := range dst {
			_, k, _ := terms(c, len(dst))
			dst[c] = float32(k)
		}
	})
	k3 := f.perChannel(i, "k3", func(dst []float32) {
		for c := range dst {
			_, _, k := terms(c, len(dst))
			dst[c] = float32(k)
		}
	})
	t := f.temp()
	f.code(instr{op: opMulAdd, dst: t, a: x, b: k2, c: k3})
	f.code(instr{op: opMulAdd, dst: f.dst(i.out), a: dy, b: k1, c: t})
	f.drop(t)
}

func (f *fuser) moments(i *inst) {
	x := f.src(i, 0)
	count, inner := f.channels()
	m := float64(i.in[0].size() / count)
	out := i.out
	var mean []float64
	a := f.sum(pattern{inner, count}, func(s []float64) {
		for c, v := range s {
			s[c] = v / m
			out.data[c] = float32(s[c])
		}
		mean = s
	})
	b := f.sum(pattern{inner, count}, func(s []float64) {
		for c, v := range s {
			out.data[count+c] = float32(max(0, v/m-mean[c]*mean[c]))
		}
	})
	f.code(instr{op: opAcc, a: x, acc: a})
	f.code(instr{op: opAccMul, a: x, b: x, acc: b})
}

func (f *fuser) batchNormGradSums(i *inst, o graph.BatchNormGradSums) {
	mom := i.in[2]
	x, dy := f.src(i, 0), f.src(i, 1)
	count, inner := f.channels()
	out := i.out
	inv := f.perChannel(i, "inv", func(dst []float32) {
		for c := range dst {
			dst[c] = float32(1 / math.Sqrt(float64(mom.root().data[len(dst)+c])+o.Eps))
		}
	})
	shift := f.perChannel(i, "shift", func(dst []float32) {
		for c := range dst {
			dst[c] = float32(-float64(mom.root().data[c]) / math.Sqrt(float64(mom.root().data[len(dst)+c])+o.Eps))
		}
	})
	a := f.sum(pattern{inner, count}, func(s []float64) { toFloat32(out.data[:count], s, 1) })
	b := f.sum(pattern{inner, count}, func(s []float64) { toFloat32(out.data[count:], s, 1) })
	t := f.temp()
	f.code(instr{op: opMulAdd, dst: t, a: x, b: inv, c: shift})
	f.code(instr{op: opAcc, a: dy, acc: a})
	f.code(instr{op: opAccMul, a: dy, b: t, acc: b})
	f.drop(t)
}
