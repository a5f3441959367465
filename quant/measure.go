package quant

import (
	"math"

	"lowbit/tensor"
)

// CodeCounts returns how often each code occurs: element q+Qn counts code q.
// One histogram with all 2^Bits bins for the whole tensor, also with steps per
// channel. Arguments and errors as Quantize's.
func CodeCounts(v, step []float32, shape tensor.Shape, s Spec) ([]int64, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	n := make([]int64, s.Levels())
	qn := int32(s.Qn())
	err := each(s, shape, step, len(v), len(v), func(i int, st float32) { n[s.Code(v[i], st)+qn]++ })
	return n, err
}

// Entropy returns the Shannon entropy of counts in bits: -sum p*log2(p); empty
// bins add nothing. EAGL's gain is the entropy of CodeCounts of the weights
// (arXiv 2301.13330v2). It lies in [0, log2(len(counts))].
func Entropy(counts []int64) float64 {
	var total int64
	for _, c := range counts {
		total += c
	}
	h := 0.0
	for _, c := range counts {
		if c > 0 {
			p := float64(c) / float64(total)
			h -= p * math.Log2(p)
		}
	}
	return max(h, 0)
}

// ClipRate returns the share of elements outside the grid's range, v/step <
// -Qn or v/step > Qp. Arguments and errors as Quantize's.
func ClipRate(v, step []float32, shape tensor.Shape, s Spec) (float64, error) {
	lo, hi := -float32(s.Qn()), float32(s.Qp())
	clipped := 0
	err := each(s, shape, step, len(v), len(v), func(i int, st float32) {
		if z := v[i] / st; z < lo || z > hi {
			clipped++
		}
	})
	if err != nil || len(v) == 0 {
		return 0, err
	}
	return float64(clipped) / float64(len(v)), nil
}

// SquaredError returns the mean of (v - FakeQuant(v))^2. Arguments and errors
// as Quantize's.
func SquaredError(v, step []float32, shape tensor.Shape, s Spec) (float64, error) {
	sum := 0.0
	err := each(s, shape, step, len(v), len(v), func(i int, st float32) {
		e := float64(v[i]) - float64(float32(s.Code(v[i], st))*st)
		sum += e * e
	})
	if err != nil || len(v) == 0 {
		return 0, err
	}
	return sum / float64(len(v)), nil
}

// Cosine returns the cosine between two vectors of one length, 0 if either is
// zero. FAQ's solution similarity (arXiv 1809.04191v2).
func Cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i, x := range a {
		ab += float64(x) * float64(b[i])
		aa += float64(x) * float64(x)
		bb += float64(b[i]) * float64(b[i])
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}
