package engine

import (
	"lowbit/graph"
	"lowbit/quant"
)

// fakeQuantGrad emits the gradients to input and step together where the group
// has both.
func (f *fuser) fakeQuantGrad(i *inst, o graph.FakeQuant) {
	input, step := i, i
	for _, j := range f.group {
		if f.done[j] || j == i || j.in[0] != i.in[0] || len(j.in) != 3 || j.in[1] != i.in[1] || j.in[2] != i.in[2] {
			continue
		}
		switch j.op.(type) {
		case graph.FakeQuantGradInput:
			input = j
		case graph.FakeQuantGradStep:
			step = j
		}
	}
	x, s, dy := f.src(i, 0), f.src(i, 1), f.src(i, 2)
	ds := f.temp()
	dv := f.temp()
	d := dv
	if _, ok := input.op.(graph.FakeQuantGradInput); ok {
		d = f.dst(input.out)
		f.done[input] = true
	}
	lo, hi := -float32(o.Spec.Qn()), float32(o.Spec.Qp())
	st, wantStep := step.op.(graph.FakeQuantGradStep)
	if wantStep && o.StepGrad == graph.StepPACT { // 0 inside the clip range
		f.code(instr{op: opCustom, dst: ds, a: x, b: s, custom: func(dst, x, s []float32, _ int) {
			for j := range dst {
				dst[j] = pactSlope(x[j]/s[j], lo, hi)
			}
		}})
		f.code(instr{op: opMul, dst: ds, a: ds, b: dy})
		f.stepSum(step, st, ds)
		if d != dv {
			f.code(instr{op: opFakeQuantGrad, dst: d, dst2: ds, a: x, b: s, c: dy, lo: lo, hi: hi})
		}
	} else {
		f.code(instr{op: opFakeQuantGrad, dst: d, dst2: ds, a: x, b: s, c: dy, lo: lo, hi: hi})
		if wantStep {
			f.stepSum(step, st, ds)
		}
	}
	f.drop(ds)
	f.drop(dv)
}

func pactSlope(z, lo, hi float32) float32 {
	switch {
	case z <= lo:
		return lo
	case z >= hi:
		return hi
	}
	return 0
}

func (f *fuser) stepSum(i *inst, o graph.FakeQuantGradStep, ds operand) {
	out := i.out
	scale := o.GradScale
	if scale == 0 {
		scale = 1
	}
	a := f.sum(i.pats[1], func(s []float64) { toFloat32(out.data, s, scale) })
	f.code(instr{op: opAcc, a: ds, acc: a})
	f.done[i] = true
}

// stepPattern returns how a step repeats over x.
func stepPattern(s quant.Spec, x *value, step *value) pattern {
	switch {
	case s.Granularity == quant.PerChannel:
		return channelPattern(x.phys, x.last, s.Axis)
	case s.Granularity == quant.PerTensor:
		return pattern{1, 1}
	case s.Granularity == quant.PerGroup:
		return pattern{s.Group, step.size()}
	}
	return pattern{x.phys[len(x.phys)-1], step.size()}
}
