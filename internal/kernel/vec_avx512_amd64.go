//go:build !noasm && gc

package kernel

import "unsafe"

// avx512Vec overrides all of base. The loops mask the last vector.
func avx512Vec(base VecOps) VecOps {
	base.Add = addVecAVX512
	base.Sub = subVecAVX512
	base.Mul = mulVecAVX512
	base.Div = divVecAVX512
	base.Max = maxVecAVX512
	base.Min = minVecAVX512
	base.MulAdd = mulAddVecAVX512
	base.Acc = accVecAVX512
	base.AccMul = accMulVecAVX512
	base.Relu = reluVecAVX512
	base.ReluGrad = reluGradVecAVX512
	base.Relu6 = relu6VecAVX512
	base.Relu6Grad = relu6GradVecAVX512
	base.Sqrt = sqrtVecAVX512
	base.Exp = expVecAVX512
	base.Log = logVecAVX512
	base.Tanh = tanhVecAVX512
	base.Sigmoid = sigmoidVecAVX512
	base.Erf = erfVecAVX512
	base.FakeQuant = fakeQuantVecAVX512
	base.FakeQuantGrad = fakeQuantGradVecAVX512
	base.QuantU8 = quantU8VecAVX512
	base.QuantS8 = quantS8VecAVX512
	base.DequantU8 = dequantU8VecAVX512
	base.DequantS8 = dequantS8VecAVX512
	base.Sum, base.MaxAbs = sumVecAVX512, maxAbsVecAVX512
	base.peak = peakOps{fma: peakFMAVecAVX512, u8s8: peakU8S8VecAVX512, read: readVecAVX512}
	return base
}

func addVecAVX512(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if n := len(dst); n > 0 {
		addAVX512(n, &dst[0], &a[0], &b[0])
	}
}

func subVecAVX512(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if n := len(dst); n > 0 {
		subAVX512(n, &dst[0], &a[0], &b[0])
	}
}

func mulVecAVX512(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if n := len(dst); n > 0 {
		mulAVX512(n, &dst[0], &a[0], &b[0])
	}
}

func divVecAVX512(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if n := len(dst); n > 0 {
		divAVX512(n, &dst[0], &a[0], &b[0])
	}
}

func maxVecAVX512(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if n := len(dst); n > 0 {
		maxAVX512(n, &dst[0], &a[0], &b[0])
	}
}

func minVecAVX512(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	if n := len(dst); n > 0 {
		minAVX512(n, &dst[0], &a[0], &b[0])
	}
}

func mulAddVecAVX512(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	if n := len(dst); n > 0 {
		mulAddAVX512(n, &dst[0], &a[0], &b[0], &c[0])
	}
}

func accVecAVX512(acc, a []float32) {
	a = a[:len(acc)]
	if n := len(acc); n > 0 {
		accAVX512(n, &acc[0], &a[0])
	}
}

func accMulVecAVX512(acc, a, b []float32) {
	a, b = a[:len(acc)], b[:len(acc)]
	if n := len(acc); n > 0 {
		accMulAVX512(n, &acc[0], &a[0], &b[0])
	}
}

func reluVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		reluAVX512(n, &dst[0], &a[0])
	}
}

func reluGradVecAVX512(dst, g, y []float32) {
	g, y = g[:len(dst)], y[:len(dst)]
	if n := len(dst); n > 0 {
		reluGradAVX512(n, &dst[0], &g[0], &y[0])
	}
}

func relu6VecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		relu6AVX512(n, &dst[0], &a[0])
	}
}

func relu6GradVecAVX512(dst, g, y []float32) {
	g, y = g[:len(dst)], y[:len(dst)]
	if n := len(dst); n > 0 {
		relu6GradAVX512(n, &dst[0], &g[0], &y[0])
	}
}

func sqrtVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		sqrtAVX512(n, &dst[0], &a[0])
	}
}

func expVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		expAVX512(n, &dst[0], &a[0])
	}
}

func logVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		logAVX512(n, &dst[0], &a[0])
	}
}

func tanhVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		tanhAVX512(n, &dst[0], &a[0])
	}
}

func sigmoidVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		sigmoidAVX512(n, &dst[0], &a[0])
	}
}

func erfVecAVX512(dst, a []float32) {
	a = a[:len(dst)]
	if n := len(dst); n > 0 {
		erfAVX512(n, &dst[0], &a[0])
	}
}

func fakeQuantVecAVX512(dst, v, s []float32, lo, hi float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	if n := len(dst); n > 0 {
		fakeQuantAVX512(n, &dst[0], &v[0], &s[0], lo, hi)
	}
}

func fakeQuantGradVecAVX512(dv, ds, v, s, g []float32, lo, hi float32) {
	ds, v, s, g = ds[:len(dv)], v[:len(dv)], s[:len(dv)], g[:len(dv)]
	if n := len(dv); n > 0 {
		fakeQuantGradAVX512(n, &dv[0], &ds[0], &v[0], &s[0], &g[0], lo, hi)
	}
}

func quantU8VecAVX512(dst []uint8, v, s []float32, lo, hi, zero float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	if n := len(dst); n > 0 {
		quantU8AVX512(n, &dst[0], &v[0], &s[0], lo, hi, zero)
	}
}

func quantS8VecAVX512(dst []int8, v, s []float32, lo, hi float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	if n := len(dst); n > 0 {
		quantS8AVX512(n, (*byte)(unsafe.Pointer(&dst[0])), &v[0], &s[0], lo, hi)
	}
}

func dequantU8VecAVX512(dst []float32, q []uint8, s []float32, zero float32) {
	q, s = q[:len(dst)], s[:len(dst)]
	if n := len(dst); n > 0 {
		dequantU8AVX512(n, &dst[0], &q[0], &s[0], zero)
	}
}

func dequantS8VecAVX512(dst []float32, q []int8, s []float32) {
	q, s = q[:len(dst)], s[:len(dst)]
	if n := len(dst); n > 0 {
		dequantS8AVX512(n, &dst[0], (*byte)(unsafe.Pointer(&q[0])), &s[0])
	}
}

func sumVecAVX512(a []float32) float32 { return sumAVX512(len(a), unsafe.SliceData(a)) }

func maxAbsVecAVX512(a []float32) float32 { return maxAbsAVX512(len(a), unsafe.SliceData(a)) }

func peakFMAVecAVX512(n int) int {
	peakFMAAVX512(n)
	return 24 * 16 * 2
}

func peakU8S8VecAVX512(n int) int {
	peakU8S8AVX512(n)
	return 24 * 64 * 2
}

func readVecAVX512(a []float32) {
	if n := len(a) &^ 127; n > 0 {
		readAVX512(n, &a[0])
	}
}
