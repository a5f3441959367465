package infer

import (
	"math"
	"slices"

	"lowbit/internal/kernel"
	"lowbit/quant"
)

// sumOp is an integer sum with its deploy forms: a convolution, a linear layer
// (a convolution of one pixel) or a mean of codes.
type sumOp struct {
	root        *root           // until the weights are packed
	form        []quant.Requant // that codes are made with; nil: all results are floats
	in          *value
	sinks       []*sink
	instruction *instruction
	layer       kernel.IntLayer
	panels      bool // its rows are panels of output channels
}

// sink is one form in which a result is kept.
type sink struct {
	out      *value
	clamp    kernel.Clamp // of codes
	min, max float32      // of floats
	form     []quant.Requant
	m        []float32 // of sums: the multiplier of each channel
	real     realSums  // of sums that become floats
	step     []float32 // of floats that become codes: a block of the step
	low      []float32 // of floats: blocks of min and max
	high     []float32
}

// realSums is what brings sums to floats, for each channel and repeated until a
// block is full: the bias that is in them for the sake of codes, the multiplier and
// what is added.
type realSums struct {
	bias     []int32
	m, shift []float32
}

// add gives the operation another sink, if its deploy form begins with the same
// sums.
func (o *sumOp) add(s *sink) bool {
	form := o.form
	if s.out.to.codes {
		form = s.form
		for c, f := range o.form {
			if f.Bias != s.form[c].Bias || f.Constant != s.form[c].Constant {
				return false
			}
		}
	}
	for _, real := range append(o.sinks, s) { // weights of constant channels are zeros
		for c, f := range form {
			if f.Constant && !real.out.to.codes && real.m[c] != 0 {
				return false
			}
		}
	}
	o.form, o.sinks = form, append(o.sinks, s)
	return true
}

// describe tells the kernels of the layer and returns the bytes of its packed
// weights, a multiple of the cache line.
func (o *sumOp) describe(k *kernel.Table) int {
	o.layer = kernel.IntLayer{ConvShape: o.root.shape, Bits: o.root.bits, Shift: o.root.shift, Zero: uint8(o.in.to.zero())}
	if o.root.bits == 0 { // a mean's weights are 1
		o.layer.Bits = 2
	}
	return (k.IntPackSize(&o.layer) + 63) &^ 63
}

// pack brings the weights into the kernel's form, those of constant channels
// as zeros.
func (o *sumOp) pack(k *kernel.Table) {
	w := o.root.weights()
	size := len(w) / o.layer.O
	bias := make([]int32, o.layer.O)
	copied := false
	for c, f := range o.form {
		bias[c] = f.Bias
		if f.Constant {
			if !copied {
				w, copied = append([]int8(nil), w...), true
			}
			clear(w[c*size:][:size])
		}
	}
	k.IntPack(&o.layer, w, bias)
}

// finish makes what the sinks need besides, and lets go of the weights' codes.
func (o *sumOp) finish(p *plan) {
	for _, s := range o.sinks {
		if s.out.to.codes {
			continue
		}
		s.low, s.high = p.constant(s.min), p.constant(s.max)
		bias, shift := make([]int32, len(s.m)), make([]float32, len(s.m))
		for c, f := range s.form {
			shift[c] = f.Shift
		}
		for c, f := range o.form {
			bias[c] = f.Bias
		}
		n := max(1, blockFloats/len(s.m))
		s.real = realSums{slices.Repeat(bias, n), slices.Repeat(s.m, n), slices.Repeat(shift, n)}
	}
	for _, s := range o.sinks {
		s.form = nil
	}
	o.root, o.form = nil, nil
	// Where there is more of weights than of the image, each thread reads its
	// part of the weights and all of the image.
	if n := o.in.sizeBytes(); o.direct() && o.layer.Groups == 1 && o.layer.O > kernel.IntPanel && len(o.layer.Packed) > n {
		o.panels = true
		o.instruction.rows = (o.layer.O + kernel.IntPanel - 1) / kernel.IntPanel
	}
}

// sumRows is how many rows of sums are kept at once: up to 64 KiB.
func (o *sumOp) sumRows(rows int) int {
	return max(1, min(rows, 16<<10/(o.layer.OW()*o.layer.O)))
}

func (o *sumOp) direct() bool { return len(o.sinks) == 1 && o.sinks[0].out.to.codes }

func (o *sumOp) scratch(p *plan, rows int) int {
	if o.panels {
		rows = o.layer.OH()
	}
	n := p.k.IntScratch(&o.layer, o.in.pitch(), rows)
	if !o.direct() {
		n += o.sumBytes(rows)
	}
	return n
}

// sumBytes is the room for a band of sums.
func (o *sumOp) sumBytes(rows int) int {
	return (4*o.sumRows(rows)*o.layer.OW()*o.layer.O + 63) &^ 63
}

func (o *sumOp) run(f *frame, scratch []byte, r0, r1 int) {
	k, l, in := f.plan.k, &o.layer, o.in
	pitch := in.pitch()
	x := f.codes(in)[in.origin()-l.PT*pitch-l.PL*in.c:]
	if o.direct() {
		part := kernel.IntPart{R0: r0, R1: r1, O1: l.O}
		if o.panels {
			part = kernel.IntPart{R1: l.OH(), O0: r0 * kernel.IntPanel, O1: min(l.O, r1*kernel.IntPanel)}
		}
		to := o.sinks[0]
		dst := f.codes(to.out)[to.out.origin():]
		k.IntConvU8(l, dst, to.out.pitch(), x, pitch, to.m, &to.clamp, part, scratch)
		return
	}
	row, band := l.OW()*l.O, o.sumRows(r1-r0)
	acc := int32sOf(scratch[:4*band*row])
	scratch = scratch[o.sumBytes(r1-r0):]
	for r := r0; r < r1; r += band {
		end := min(r1, r+band)
		k.IntConv(l, acc, x, pitch, kernel.IntPart{R0: r, R1: end, O1: l.O}, scratch)
		for y := r; y < end; y++ {
			for _, to := range o.sinks {
				to.sums(f, acc[(y-r)*row:][:row], y)
			}
		}
	}
}

// sums stores a row of integer sums.
func (s *sink) sums(f *frame, acc []int32, y int) {
	k := f.plan.k
	if s.out.to.codes {
		k.RequantU8(f.codeRow(s.out, y), acc, s.m, &s.clamp)
		return
	}
	dst := f.floatRow(s.out, y)
	for len(dst) > 0 {
		n := min(len(dst), len(s.real.m))
		k.RealI32(dst[:n], acc[:n], s.real.bias, s.real.m, s.real.shift)
		s.clip(f, dst[:n])
		dst, acc = dst[n:], acc[n:]
	}
}

// floats stores n floats at place at of row y; it may change v.
func (s *sink) floats(f *frame, v []float32, y, at int) {
	if s.out.to.codes {
		dst := f.codeRow(s.out, y)[at:][:len(v)]
		f.plan.k.QuantU8(dst, v, s.step, s.clamp.Lo, s.clamp.Hi, float32(s.clamp.Zero))
		return
	}
	dst := f.floatRow(s.out, y)[at:][:len(v)]
	copy(dst, v)
	s.clip(f, dst)
}

// clip limits floats to the sink's range, a block at a time.
func (s *sink) clip(f *frame, v []float32) {
	if math.IsInf(float64(s.min), -1) && math.IsInf(float64(s.max), 1) {
		return
	}
	k := f.plan.k
	for len(v) > 0 {
		b := v[:min(len(v), blockFloats)]
		if s.min == 0 {
			k.Relu(b, b)
		} else {
			k.Max(b, b, s.low)
		}
		if !math.IsInf(float64(s.max), 1) {
			k.Min(b, b, s.high)
		}
		v = v[len(b):]
	}
}
