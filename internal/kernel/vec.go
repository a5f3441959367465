package kernel

//go:generate go -C _gen run . -set vec -out ../vec_amd64.s -stubs ../vec_stubs_amd64.go -pkg kernel

// VecOps are element-wise loops over slices. In each, dst may be the same
// slice as an operand (not a shifted view), and all operands have at least
// len(dst) elements. All rows give the same bits, NaN payloads apart: each
// operation is the same sequence of singly rounded float32 steps everywhere.
type VecOps struct {
	// Add, Sub, Mul, Div, Max, Min: dst[i] = a[i] op b[i]. Max and Min return b
	// where either operand is NaN (the rule of VMAXPS).
	Add, Sub, Mul, Div, Max, Min func(dst, a, b []float32)
	// MulAdd: dst[i] = float32(a[i]*b[i]) + c[i], two roundings.
	MulAdd func(dst, a, b, c []float32)
	// Acc: acc[i] += a[i]. AccMul: acc[i] += float32(a[i]*b[i]).
	Acc    func(acc, a []float32)
	AccMul func(acc, a, b []float32)
	// Relu: dst[i] = max(a[i], 0), NaN and -0 pass through. ReluGrad: dst[i] =
	// g[i] where y[i] > 0, else 0. Relu6 clips to [0, 6] likewise; Relu6Grad
	// passes g where 0 < y < 6.
	Relu      func(dst, a []float32)
	ReluGrad  func(dst, g, y []float32)
	Relu6     func(dst, a []float32)
	Relu6Grad func(dst, g, y []float32)
	// Prefetch asks for a's cache lines into the second-level cache and waits
	// for none of them; it changes no result.
	Prefetch func(a []float32)
	// Sqrt: dst[i] = sqrt(a[i]), rounded once. Exp, Log, Tanh, Sigmoid, Erf:
	// within 4 ulp of float32(math.X(float64(a[i]))) on every row.
	Sqrt, Exp, Log, Tanh, Sigmoid, Erf func(dst, a []float32)
	// Sum returns the sum of a in a fixed order that depends on len(a) alone,
	// accumulated in lanes; MaxAbs the largest |a[i]|, NaN if any is NaN.
	Sum    func(a []float32) float32
	MaxAbs func(a []float32) float32
	// FakeQuant: dst[i] = rne(clip(v[i]/s[i], lo, hi)) * s[i], ties to even,
	// division not multiplication by a reciprocal; a NaN stays one. LSQ eq. 1
	// and 2.
	FakeQuant func(dst, v, s []float32, lo, hi float32)
	// QuantU8: dst[i] = uint8(rne(clip(v[i]/s[i], lo, hi)) + zero), QuantS8
	// the same as int8 without zero. The caller guarantees that it fits.
	QuantU8 func(dst []uint8, v, s []float32, lo, hi, zero float32)
	QuantS8 func(dst []int8, v, s []float32, lo, hi float32)
	// DequantU8: dst[i] = (float32(q[i]) - zero) * s[i]; DequantS8 without zero.
	DequantU8 func(dst []float32, q []uint8, s []float32, zero float32)
	DequantS8 func(dst []float32, q []int8, s []float32)
	// FakeQuantGrad is LSQ's backward with z = v/s: where lo < z < hi,
	// dv[i] = g[i] and ds[i] = g[i]*(rne(z) - z); where clipped (open interval:
	// the borders count as clipped), dv[i] = 0 and ds[i] = g[i]*lo or g[i]*hi.
	// dv may be g. LSQ eq. 3 and 5; the sum over ds and the gradient scale are
	// the caller's.
	FakeQuantGrad func(dv, ds, v, s, g []float32, lo, hi float32)

	// peak is what MeasurePeaks runs.
	peak peakOps
}
