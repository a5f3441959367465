package eagl

import (
	"fmt"
	"math"

	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/tensor"
)

// maxFastBits is the widest grid that countRun serves: its bins fit a byte.
const maxFastBits = 8

// count is quant.CodeCounts, four times as fast.
func count(w mixed.Weight) ([]int64, error) {
	if w.Spec.Bits > maxFastBits || !w.Spec.Signed {
		return quant.CodeCounts(w.Values, w.Step, w.Shape, w.Spec)
	}
	if err := w.Spec.Validate(); err != nil {
		return nil, err
	}
	n, run, err := w.Spec.Layout(w.Shape)
	if err != nil {
		return nil, err
	}
	if len(w.Values) != w.Shape.Size() || len(w.Step) != n {
		return nil, fmt.Errorf("%w: %d values and %d steps of shape %v", tensor.ErrShape, len(w.Values), len(w.Step), w.Shape)
	}
	var bins [4][256]int64
	for i := 0; i < len(w.Values); i += run {
		countRun(&bins, w.Values[i:i+run], w.Step[i/run%n], w.Spec)
	}
	counts := make([]int64, w.Spec.Levels())
	for q := range counts {
		b := uint8(q - w.Spec.Qn())
		counts[q] = bins[0][b] + bins[1][b] + bins[2][b] + bins[3][b]
	}
	return counts, nil
}

// rounder is 1.5*2^23: the float32 numbers beside it are the integers, so adding
// it rounds to the nearest one, ties to even, into the low bits.
const rounder = 12582912

// countRun adds the codes of v with step s to bins, four sets so that additions
// to one bin need not wait for each other; code q counts in bin q mod 256.
func countRun(bins *[4][256]int64, v []float32, s float32, spec quant.Spec) {
	lo, hi := -float32(spec.Qn()), float32(spec.Qp())
	for len(v) >= 4 {
		a, b, c, d := v[0]/s, v[1]/s, v[2]/s, v[3]/s
		bins[0][code(a, lo, hi)]++
		bins[1][code(b, lo, hi)]++
		bins[2][code(c, lo, hi)]++
		bins[3][code(d, lo, hi)]++
		v = v[4:]
	}
	for _, x := range v {
		bins[0][code(x/s, lo, hi)]++
	}
}

func code(z, lo, hi float32) uint8 {
	if z < lo {
		z = lo
	}
	if z > hi {
		z = hi
	}
	return uint8(math.Float32bits(z + rounder))
}
