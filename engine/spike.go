package engine

import (
	"math"

	"lowbit/graph"
)

// spiking appends the code of binary neurons and ternary weights.
func (f *fuser) spiking(i *inst) {
	run := spike
	switch o := i.op.(type) {
	case graph.SpikeGrad:
		run = spikeGrad
	case graph.Ternary:
		run = ternary(float32(0.5-o.Hysteresis), float32(0.5+o.Hysteresis))
	}
	a, b := f.src(i, 0), operand{}
	if len(i.in) > 1 {
		b = f.src(i, 1)
	}
	f.code(instr{op: opCustom, dst: f.dst(i.out), a: a, b: b, custom: run})
}

const signBit = 1 << 31

// spike writes 1 where r >= 0; -0 counts as 0, NaN gives 0.
func spike(dst, r, _ []float32, _ int) {
	for i, v := range r[:len(dst)] {
		y := uint32(0)
		if v >= 0 {
			y = 0x3f800000
		}
		dst[i] = math.Float32frombits(y)
	}
}

// spikeGrad writes dy*max(0, 1-|r|).
func spikeGrad(dst, r, dy []float32, _ int) {
	dy = dy[:len(dst)]
	for i, v := range r[:len(dst)] {
		s := 1 - math.Float32frombits(math.Float32bits(v)&^signBit)
		s = math.Float32frombits(math.Float32bits(s) &^ uint32(int32(math.Float32bits(s))>>31)) // 0 if negative
		dst[i] = dy[i] * s
	}
}

// ternary is graph.Ternary with the borders 1/2-h and 1/2+h, last being -1, 0 or
// 1: the result is v's sign where |v| is above high, or where it is not below
// low and last is that sign. Without branches, as weights are random.
func ternary(low, high float32) func(dst, v, last []float32, _ int) {
	const one = 0x3f800000
	return func(dst, v, last []float32, _ int) {
		last = last[:len(dst)]
		for i, x := range v[:len(dst)] {
			b := math.Float32bits(x)
			a, y := math.Float32frombits(b&^signBit), b&signBit|one
			var beyond, inside, same uint32
			if a > high {
				beyond = 1
			}
			if a >= low {
				inside = 1
			}
			if math.Float32bits(last[i]) == y {
				same = 1
			}
			dst[i] = math.Float32frombits(y & -(beyond | inside&same))
		}
	}
}
