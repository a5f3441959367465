package quant

import (
	"fmt"
	"math"

	"lowbit/tensor"
)

// The functions of this file are the definition of what a quantizer computes:
// plain loops in float32 that the fast kernels are held against. Steps must be
// positive; values may not be NaN.

// Layout tells which step an element of a tensor uses: element i in row-major
// order has step (i/run) % count. For PerTensor count is 1.
//
// It returns an error that wraps tensor.ErrShape if the shape has no such axis
// or group.
func (s Spec) Layout(shape tensor.Shape) (count, run int, err error) {
	size, r := shape.Size(), len(shape)
	switch s.Granularity {
	case PerTensor:
		return 1, max(size, 1), nil
	case PerChannel:
		if s.Axis < 0 || s.Axis >= r {
			return 0, 0, fmt.Errorf("quant: %w: channel axis %d of %v", tensor.ErrShape, s.Axis, shape)
		}
		return shape[s.Axis], max(shape[s.Axis+1:].Size(), 1), nil
	case PerGroup, PerToken:
		if r == 0 {
			return 0, 0, fmt.Errorf("quant: %w: a scalar has no last axis", tensor.ErrShape)
		}
		run = shape[r-1]
		if s.Granularity == PerGroup {
			run = s.Group
		}
		if run < 1 || shape[r-1]%run != 0 {
			return 0, 0, fmt.Errorf("quant: %w: runs of %d along the last axis of %v", tensor.ErrShape, run, shape)
		}
		return size / run, run, nil
	}
	return 0, 0, fmt.Errorf("quant: unknown granularity %d", s.Granularity)
}

// RoundEven rounds to the nearest integer, ties to even.
func RoundEven(x float32) float32 { return float32(math.RoundToEven(float64(x))) }

// Clip limits z to [lo, hi].
func Clip(z, lo, hi float32) float32 {
	if z < lo {
		return lo
	}
	if z > hi {
		return hi
	}
	return z
}

// Code returns round(clip(v/step, -Qn, Qp)), ties to even. LSQ eq. 1 (arXiv
// 1902.08153v3); the paper leaves ties open, we follow PyTorch.
func (s Spec) Code(v, step float32) int32 {
	return int32(RoundEven(Clip(v/step, -float32(s.Qn()), float32(s.Qp()))))
}

// Quantize sets dst to the codes of v; see Spec.Code.
//
//	v     any shape, float32
//	step  [count] of s.Layout(shape), float32, > 0
//	dst   as v, int32 in [-Qn, Qp]
//
// It returns an error if the spec does not exist or the lengths disagree.
func Quantize(dst []int32, v, step []float32, shape tensor.Shape, s Spec) error {
	return each(s, shape, step, len(dst), len(v), func(i int, st float32) { dst[i] = s.Code(v[i], st) })
}

// Dequantize sets dst to step*code, in one float32 multiplication. Arguments
// and errors as Quantize's.
func Dequantize(dst []float32, codes []int32, step []float32, shape tensor.Shape, s Spec) error {
	return each(s, shape, step, len(dst), len(codes), func(i int, st float32) { dst[i] = float32(codes[i]) * st })
}

// FakeQuant sets dst to step*round(clip(v/step, -Qn, Qp)): the values of the
// grid. LSQ eq. 1 and 2. dst may be v. Arguments and errors as Quantize's.
func FakeQuant(dst, v, step []float32, shape tensor.Shape, s Spec) error {
	return each(s, shape, step, len(dst), len(v), func(i int, st float32) { dst[i] = float32(s.Code(v[i], st)) * st })
}

// GradInput returns d(FakeQuant)/d(v) of the straight-through estimator: 1 if
// -Qn < v/step < Qp, else 0. Both borders count as clipped (LSQ eq. 5);
// PyTorch's clamp passes the gradient there.
func (s Spec) GradInput(v, step float32) float32 {
	if z := v / step; z > -float32(s.Qn()) && z < float32(s.Qp()) {
		return 1
	}
	return 0
}

// GradStep returns d(FakeQuant)/d(step), LSQ eq. 3: round(z)-z with z = v/step
// inside the clip range, -Qn or Qp outside.
func (s Spec) GradStep(v, step float32) float32 {
	lo, hi := -float32(s.Qn()), float32(s.Qp())
	z := v / step
	if z > lo && z < hi {
		return RoundEven(z) - z
	}
	return Clip(z, lo, hi)
}

// Gradients is the backward pass of FakeQuant: dv = dy*GradInput, and dstep[j]
// = scale * the sum of dy*GradStep over the elements of step j, summed in
// float64. dv may be dy. Other arguments and errors as Quantize's.
func Gradients(dv, dstep, dy, v, step []float32, shape tensor.Shape, s Spec, scale float64) error {
	if len(dstep) != len(step) || len(dv) != len(dy) {
		return fmt.Errorf("quant: %w: %d step gradients for %d steps, %d gradients for %d", tensor.ErrShape, len(dstep), len(step), len(dv), len(dy))
	}
	count, run, err := s.Layout(shape)
	if err != nil {
		return err
	}
	sums := make([]float64, count)
	err = each(s, shape, step, len(dv), len(v), func(i int, st float32) {
		sums[i/run%count] += float64(dy[i]) * float64(s.GradStep(v[i], st))
		dv[i] = dy[i] * s.GradInput(v[i], st)
	})
	for j := range sums {
		if err == nil {
			dstep[j] = float32(scale * sums[j])
		}
	}
	return err
}

// each checks the lengths and calls f with each element and its step.
func each(s Spec, shape tensor.Shape, step []float32, nDst, nSrc int, f func(i int, step float32)) error {
	if err := s.Validate(); err != nil {
		return err
	}
	count, run, err := s.Layout(shape)
	if err != nil {
		return err
	}
	if size := shape.Size(); nDst != size || nSrc != size || len(step) != count {
		return fmt.Errorf("quant: %w: shape %v of %v: %d and %d elements, %d steps, want %d", tensor.ErrShape, shape, s, nDst, nSrc, len(step), count)
	}
	for i := 0; i < nSrc; i += run {
		st := step[i/run%count]
		for j := i; j < i+run; j++ {
			f(j, st)
		}
	}
	return nil
}
