package silq

import (
	"fmt"
	"math"

	"lowbit/quant"
)

// WeightRule names how the first step of each row of weights is found.
type WeightRule string

// Weight rules. Max: max|w|/Qp, nothing is clipped. MSE: least squared error of
// the row. Weighted: least squared error with each weight's error times the mean
// square of the input that it meets, which is the error of the layer's output
// for independent inputs. Convex: SiLQ's objective, see StepConvex. GPTQ: the
// steps of Weighted, and the weights themselves moved onto the grid, see GPTQ.
// LSQ: 2*mean|w|/sqrt(Qp), the rule of that method, which SiLQ replaces.
// On a real model Max beats plain MSE, and Weighted both (README.md).
const (
	RuleMax      WeightRule = "max"
	RuleMSE      WeightRule = "mse"
	RuleWeighted WeightRule = "weighted"
	RuleConvex   WeightRule = "convex"
	RuleGPTQ     WeightRule = "gptq"
	RuleLSQ      WeightRule = "lsq"
)

// WeightRules are all of them.
var WeightRules = []WeightRule{RuleMax, RuleMSE, RuleWeighted, RuleConvex, RuleGPTQ, RuleLSQ}

// observes reports whether the rule needs the inputs' mean squares.
func (r WeightRule) observes() bool { return r == RuleWeighted || r == RuleGPTQ }

// minStep is the step of a row of zeros: the least float16 above 0.
const minStep = 1.0 / (1 << 24)

// StepMax returns max|w|/Qp.
func StepMax(w []float32, bits int) float32 {
	return max(quant.StepMax(w, signed(bits)), minStep)
}

// StepLSQ returns 2*mean|w|/sqrt(Qp).
func StepLSQ(w []float32, bits int) float32 {
	return max(quant.StepLSQ(w, signed(bits)), minStep)
}

func signed(bits int) quant.Spec { return quant.Spec{Bits: bits, Signed: true} }

// searched is how many steps between the least and max|w|/Qp are tried, and
// refined how often the best one is replaced by the least-squares step of its
// own codes.
const (
	searched = 48
	refined  = 4
)

// StepMSE returns a step of little error sum h*(w - s*rne(clip(w/s)))^2 for a
// row: the best of a search from a share of max|w|/Qp upwards, then refined.
//
//	w  [n]  weights
//	h  [n]  weight of each error, not negative; nil: all 1
func StepMSE(w, h []float32, bits int) float32 {
	top := StepMax(w, bits)
	low := map[int]float32{2: 0.15, 3: 0.25, 4: 0.35, 5: 0.45, 6: 0.55, 7: 0.6}[bits]
	if low == 0 {
		low = 0.7
	}
	best, err := top, math.Inf(1)
	try := func(s float32) {
		if e := rowError(w, h, s, bits); e < err {
			best, err = s, e
		}
	}
	for i := range searched {
		try(top * (low + (1.02-low)*float32(i)/(searched-1)))
	}
	for range refined {
		try(leastSquares(w, h, best, bits))
	}
	return best
}

// round is rne for |x| below 2^22, as float32 additions do it.
func round(x float32) float32 {
	const c = 3 << 22
	return float32(x+c) - c
}

// rowError is the sum of h*(w - s*code)^2.
func rowError(w, h []float32, s float32, bits int) float64 {
	lo, hi := limits(bits)
	var sum float64
	for i, v := range w {
		d := v - s*min(max(round(v/s), lo), hi)
		e := d * d
		if h != nil {
			e *= h[i]
		}
		sum += float64(e)
	}
	return sum
}

func limits(bits int) (lo, hi float32) {
	return -float32(int(1) << (bits - 1)), float32(int(1)<<(bits-1) - 1)
}

// leastSquares returns the step that fits the codes of s best.
func leastSquares(w, h []float32, s float32, bits int) float32 {
	lo, hi := limits(bits)
	var top, bottom float64
	for i, v := range w {
		q := float64(min(max(round(v/s), lo), hi))
		k := 1.0
		if h != nil {
			k = float64(h[i])
		}
		top += k * q * float64(v)
		bottom += k * q * q
	}
	if bottom == 0 || !(top > 0) {
		return s
	}
	return max(float32(top/bottom), minStep)
}

// StepConvex minimises, after SiLQ,
//
//	sum_w max(s^2/12, H(|w| - b*s)*(|w| - b*s)^2),  b = 2^(bits-1) - 1/2
//
// with the step function H: rounding noise of weights inside, squared error of
// those that are clipped. Each term is convex in s, so that the golden section
// finds the minimum.
func StepConvex(w []float32, bits int) float32 {
	b := float64(int(1)<<(bits-1)) - 0.5
	cost := func(s float64) float64 {
		var sum float64
		for _, v := range w {
			e := s * s / 12
			if out := math.Abs(float64(v)) - b*s; out > 0 {
				e = max(e, out*out)
			}
			sum += e
		}
		return sum
	}
	lo, hi := 0.0, 0.0
	for _, v := range w {
		hi = max(hi, math.Abs(float64(v)))
	}
	ratio := (math.Sqrt(5) - 1) / 2
	x1, x2 := hi-ratio*(hi-lo), lo+ratio*(hi-lo)
	c1, c2 := cost(x1), cost(x2)
	for hi-lo > 1e-6*hi {
		if c1 < c2 {
			hi, x2, c2 = x2, x1, c1
			x1 = hi - ratio*(hi-lo)
			c1 = cost(x1)
		} else {
			lo, x1, c1 = x1, x2, c2
			x2 = lo + ratio*(hi-lo)
			c2 = cost(x2)
		}
	}
	return max(float32((lo+hi)/2), minStep)
}

// step applies a rule to a row.
func (r WeightRule) step(w, h []float32, bits int) (float32, error) {
	switch r {
	case RuleMax:
		return StepMax(w, bits), nil
	case RuleMSE:
		return StepMSE(w, nil, bits), nil
	case RuleWeighted, RuleGPTQ:
		return StepMSE(w, h, bits), nil
	case RuleConvex:
		return StepConvex(w, bits), nil
	case RuleLSQ:
		return StepLSQ(w, bits), nil
	}
	return 0, fmt.Errorf("silq: weight rule %q, want one of %v", r, WeightRules)
}
