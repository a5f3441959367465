package quant

import (
	"fmt"
	"math"

	"lowbit/tensor"
)

// StepFunc finds the step of values that share one. The result is positive.
type StepFunc func(v []float32, s Spec) float32

// Fallback is the step of values that determine none (all zero): the one whose
// highest code stands for 1.
func Fallback(s Spec) float32 { return 1 / float32(max(s.Qp(), 1)) }

// positive returns step, or Fallback(s) if no float32 step can be made of it.
func positive(step float64, s Spec) float32 {
	f := float32(step)
	if !(f > 0) || math.IsInf(float64(f), 0) {
		return Fallback(s)
	}
	return f
}

// StepLSQ returns 2*mean|v|/sqrt(Qp): LSQ section 2.1. On normal weights it is
// about 1.5 times wider than the step of least squared error at 2 to 4 bits,
// 4.6 times at 8.
func StepLSQ(v []float32, s Spec) float32 {
	sum := 0.0
	for _, x := range v {
		sum += math.Abs(float64(x))
	}
	return LSQStep(sum/float64(max(len(v), 1)), s)
}

// LSQStep is StepLSQ for a known mean of |v|.
func LSQStep(meanAbs float64, s Spec) float32 {
	return positive(2*meanAbs/math.Sqrt(float64(s.Qp())), s)
}

// StepMSE returns the step of least squared error; see Distribution.MSEStep.
func StepMSE(v []float32, s Spec) float32 {
	return positive(NewDistribution(v).MSEStep(s), s)
}

// StepMax returns the smallest step with which no value is clipped: max|v|/Qp,
// or max(v)/Qp if unsigned. The lowest code of a signed grid stays unused.
func StepMax(v []float32, s Spec) float32 {
	m := float32(0)
	for _, x := range v {
		if s.Signed && -x > m {
			m = -x
		}
		if x > m {
			m = x
		}
	}
	return positive(float64(m)/float64(s.Qp()), s)
}

// StepMaxPow2 returns StepMax rounded up to a power of two (FAQ's 8-bit
// weights).
func StepMaxPow2(v []float32, s Spec) float32 { return Pow2Up(StepMax(v, s)) }

// StepSigma returns k standard deviations divided by Qp: FAQ's weight step. The
// deviation is taken around the mean.
func StepSigma(k float64) StepFunc {
	return func(v []float32, s Spec) float32 {
		var sum, sq float64
		for _, x := range v {
			sum += float64(x)
		}
		mean := sum / float64(max(len(v), 1))
		for _, x := range v {
			d := float64(x) - mean
			sq += d * d
		}
		return positive(k*math.Sqrt(sq/float64(max(len(v), 1)))/float64(s.Qp()), s)
	}
}

// StepPercentile returns the p-th percentile (0..100) of |v|, or of v if
// unsigned, divided by Qp; zeros count. See Percentile.
func StepPercentile(p float64) StepFunc {
	return func(v []float32, s Spec) float32 {
		t, err := NewTop(p, len(v))
		if err != nil {
			return Fallback(s)
		}
		if err := t.Add(v, s.Signed); err != nil {
			return Fallback(s)
		}
		return positive(float64(t.Percentile())/float64(s.Qp()), s)
	}
}

// Pow2Up returns the smallest power of two that is not below x > 0.
func Pow2Up(x float32) float32 {
	frac, exp := math.Frexp(float64(x)) // x = frac*2^exp, 0.5 <= frac < 1
	if frac == 0.5 {
		exp--
	}
	return float32(math.Ldexp(1, exp))
}

// RangeStep returns FAQ's activation step for a largest value: yMax rounded up
// to a power of two, divided by 2^Bits (2^(Bits-1) if signed), so l =
// log2(yMax) - Bits. With pow2 false it is yMax/Qp, neither rounded.
func RangeStep(yMax float32, s Spec, pow2 bool) float32 {
	if !(yMax > 0) {
		yMax = 1
	}
	if !pow2 {
		return positive(float64(yMax)/float64(s.Qp()), s)
	}
	return positive(float64(Pow2Up(yMax))/float64(s.Qp()+1), s)
}

// Steps returns the steps of a tensor, one for each set of elements that shares
// one: as long as s.Layout(shape) says. Errors: see Spec.Validate and Layout.
func Steps(v []float32, shape tensor.Shape, s Spec, f StepFunc) ([]float32, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	count, run, err := s.Layout(shape)
	if err != nil {
		return nil, err
	}
	if len(v) != shape.Size() {
		return nil, fmt.Errorf("quant: %w: %d values of shape %v", tensor.ErrShape, len(v), shape)
	}
	steps := make([]float32, count)
	if count*run == len(v) { // each step's elements stand together
		for j := range steps {
			steps[j] = f(v[j*run:(j+1)*run], s)
		}
		return steps, nil
	}
	part := make([]float32, 0, len(v)/max(count, 1))
	for j := range steps {
		part = part[:0]
		for i := j * run; i < len(v); i += count * run {
			part = append(part, v[i:i+run]...)
		}
		steps[j] = f(part, s)
	}
	return steps, nil
}
