package quant

import (
	"fmt"
	"math"

	"lowbit/tensor"
)

// Affine is y = Scale*x + Shift of one channel, in float64.
type Affine struct {
	Scale, Shift float64
}

// BatchNormAffine folds a batch norm with fixed statistics, all [c], into one
// Affine per channel: Scale = gamma/sqrt(variance+eps), Shift = beta -
// mean*Scale. Errors: lengths that disagree, variance+eps not positive.
func BatchNormAffine(gamma, beta, mean, variance []float32, eps float64) ([]Affine, error) {
	c := len(gamma)
	if len(beta) != c || len(mean) != c || len(variance) != c {
		return nil, fmt.Errorf("quant: %w: batch norm of %d, %d, %d, %d channels", tensor.ErrShape, c, len(beta), len(mean), len(variance))
	}
	out := make([]Affine, c)
	for i := range out {
		v := float64(variance[i]) + eps
		if !(v > 0) {
			return nil, fmt.Errorf("quant: batch norm channel %d: variance %g + eps %g, want positive", i, variance[i], eps)
		}
		s := float64(gamma[i]) / math.Sqrt(v)
		out[i] = Affine{s, float64(beta[i]) - float64(mean[i])*s}
	}
	return out, nil
}

// Then returns the Affine that applies a first and b afterwards.
func (a Affine) Then(b Affine) Affine { return Affine{a.Scale * b.Scale, a.Shift*b.Scale + b.Shift} }

// Requant is the deploy form of one output channel of a quantized layer: what
// stands between its integer accumulator and the next layer's code,
//
//	code = clamp(rne(float32(acc + Bias) * M) + zero)
//
// with one float32 multiplication and one rounding, ties to even. M is negative
// where the batch norm's gamma is. A Constant channel does not depend on its
// accumulator: its weight codes must be set to zero.
type Requant struct {
	M        float32
	Bias     int32 // in units of stepIn*Weight
	Constant bool
	// Shift is added to a real value; 0 where codes are made.
	Shift float32
	// Weight is the step of the weights with the layer's scale in it: M is
	// stepIn*Weight/stepOut. A Constant channel has none.
	Weight float32
}

// FoldReal makes the deploy form of a channel that stays in floats, its real value
// being post(stepIn*stepWeight*acc): float32(float32(acc)*M) + Shift, with
//
//	Weight = float32(stepWeight*post.Scale), M = float32(stepIn*Weight), Shift = float32(post.Shift)
//
// A product of steps that is 0 or not finite in float32 makes M 0. Errors: see
// Fold.
func FoldReal(post Affine, stepIn, stepWeight float32) (Requant, error) {
	if err := checkFold(post, stepIn, stepWeight, 1); err != nil {
		return Requant{}, err
	}
	weight := float32(float64(stepWeight) * post.Scale)
	m, shift := float32(stepIn*weight), float32(post.Shift)
	if m == 0 || notFinite(float64(m)) {
		m, weight = 0, 0
	}
	return Requant{M: m, Shift: shift, Weight: weight}, nil
}

// Fold makes the deploy form of a channel whose real value is
// post(stepIn*stepWeight*acc) and whose result is codes of the step stepOut: one
// step of weights rounded to float32, so that a file of steps says all, and a
// multiplier as ONNX Runtime makes it of steps:
//
//	Weight = float32(stepWeight*post.Scale)
//	M = float32(float32(stepIn*Weight)/stepOut), Bias = rne(post.Shift/(stepIn*Weight))
//
// accMax bounds |acc|. If |Bias|+accMax does not fit an int32, or post.Scale is
// 0, the channel is Constant with Bias 1 and M = post.Shift/stepOut: the
// accumulator moves such a channel by less than accMax/(2^31-accMax) of its
// value. Errors: a step that is not positive and finite, a negative accMax or
// one above 2^31-1, an Affine that is not finite.
func Fold(post Affine, stepIn, stepWeight, stepOut float32, accMax int64) (Requant, error) {
	if err := checkFold(post, stepIn, stepWeight, stepOut); err != nil {
		return Requant{}, err
	}
	if accMax < 0 || accMax > math.MaxInt32 {
		return Requant{}, fmt.Errorf("quant: accumulator up to %d does not fit 32 bits", accMax)
	}
	weight := float32(float64(stepWeight) * post.Scale)
	unit := float64(stepIn) * float64(weight)
	m := float32(stepIn*weight) / stepOut
	bias := math.RoundToEven(post.Shift / unit)
	if m == 0 || notFinite(float64(m)) || !(math.Abs(bias)+float64(accMax) <= math.MaxInt32) {
		return Requant{M: float32(post.Shift / float64(stepOut)), Bias: 1, Constant: true}, nil
	}
	return Requant{M: m, Bias: int32(bias), Weight: weight}, nil
}

func checkFold(post Affine, steps ...float32) error {
	for _, s := range steps {
		if !(s > 0) || math.IsInf(float64(s), 0) {
			return fmt.Errorf("quant: steps %g, want positive", steps)
		}
	}
	if notFinite(post.Scale) || notFinite(post.Shift) {
		return fmt.Errorf("quant: scale %g, shift %g are not finite", post.Scale, post.Shift)
	}
	return nil
}

func notFinite(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }

// Real returns float32(float32(acc+Bias)*M) + Shift: the result in units of the
// output step, or the real value where it stays in floats.
func (r Requant) Real(acc int32) float32 {
	return float32(float32(acc+r.Bias)*r.M) + r.Shift
}

// Code returns clamp(rne(Real(acc)) + zero, lo, hi).
func (r Requant) Code(acc, zero, lo, hi int32) int32 {
	x := RoundEven(r.Real(acc))
	return int32(Clip(x, float32(lo-zero), float32(hi-zero))) + zero
}
