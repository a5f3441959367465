//go:build !noasm && gc

package kernel

import "unsafe"

// avx2Vec overrides all of base. The loops take whole vectors of eight
// elements, Go the rest.
func avx2Vec(base VecOps) VecOps {
	base.Add = addVecAVX2
	base.Sub = subVecAVX2
	base.Mul = mulVecAVX2
	base.Div = divVecAVX2
	base.Max = maxVecAVX2
	base.Min = minVecAVX2
	base.MulAdd = mulAddVecAVX2
	base.Acc = accVecAVX2
	base.AccMul = accMulVecAVX2
	base.Relu = reluVecAVX2
	base.ReluGrad = reluGradVecAVX2
	base.Relu6 = relu6VecAVX2
	base.Relu6Grad = relu6GradVecAVX2
	base.Sqrt = sqrtVecAVX2
	base.Exp = expVecAVX2
	base.Log = logVecAVX2
	base.Tanh = tanhVecAVX2
	base.Sigmoid = sigmoidVecAVX2
	base.Erf = erfVecAVX2
	base.FakeQuant = fakeQuantVecAVX2
	base.FakeQuantGrad = fakeQuantGradVecAVX2
	base.QuantU8 = quantU8VecAVX2
	base.QuantS8 = quantS8VecAVX2
	base.DequantU8 = dequantU8VecAVX2
	base.DequantS8 = dequantS8VecAVX2
	base.Prefetch = prefetchVec
	base.Sum, base.MaxAbs = sumVecAVX2, maxAbsVecAVX2
	base.peak = peakOps{fma: peakFMAVecAVX2, u8s8: peakU8S8VecAVX2, read: readVecAVX2}
	return base
}

func addVecAVX2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		addAVX2(n, &dst[0], &a[0], &b[0])
	}
	if n < len(dst) {
		addGeneric(dst[n:], a[n:], b[n:])
	}
}

func subVecAVX2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		subAVX2(n, &dst[0], &a[0], &b[0])
	}
	if n < len(dst) {
		subGeneric(dst[n:], a[n:], b[n:])
	}
}

func mulVecAVX2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		mulAVX2(n, &dst[0], &a[0], &b[0])
	}
	if n < len(dst) {
		mulGeneric(dst[n:], a[n:], b[n:])
	}
}

func divVecAVX2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		divAVX2(n, &dst[0], &a[0], &b[0])
	}
	if n < len(dst) {
		divGeneric(dst[n:], a[n:], b[n:])
	}
}

func maxVecAVX2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		maxAVX2(n, &dst[0], &a[0], &b[0])
	}
	if n < len(dst) {
		maxGeneric(dst[n:], a[n:], b[n:])
	}
}

func minVecAVX2(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		minAVX2(n, &dst[0], &a[0], &b[0])
	}
	if n < len(dst) {
		minGeneric(dst[n:], a[n:], b[n:])
	}
}

func mulAddVecAVX2(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		mulAddAVX2(n, &dst[0], &a[0], &b[0], &c[0])
	}
	if n < len(dst) {
		mulAddGeneric(dst[n:], a[n:], b[n:], c[n:])
	}
}

func accVecAVX2(acc, a []float32) {
	a = a[:len(acc)]
	n := len(acc) &^ 7
	if n > 0 {
		accAVX2(n, &acc[0], &a[0])
	}
	if n < len(acc) {
		accGeneric(acc[n:], a[n:])
	}
}

func accMulVecAVX2(acc, a, b []float32) {
	a, b = a[:len(acc)], b[:len(acc)]
	n := len(acc) &^ 7
	if n > 0 {
		accMulAVX2(n, &acc[0], &a[0], &b[0])
	}
	if n < len(acc) {
		accMulGeneric(acc[n:], a[n:], b[n:])
	}
}

func reluVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		reluAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		reluGeneric(dst[n:], a[n:])
	}
}

func reluGradVecAVX2(dst, g, y []float32) {
	g, y = g[:len(dst)], y[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		reluGradAVX2(n, &dst[0], &g[0], &y[0])
	}
	if n < len(dst) {
		reluGradGeneric(dst[n:], g[n:], y[n:])
	}
}

func relu6VecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		relu6AVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		relu6Generic(dst[n:], a[n:])
	}
}

func relu6GradVecAVX2(dst, g, y []float32) {
	g, y = g[:len(dst)], y[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		relu6GradAVX2(n, &dst[0], &g[0], &y[0])
	}
	if n < len(dst) {
		relu6GradGeneric(dst[n:], g[n:], y[n:])
	}
}

func sqrtVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		sqrtAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		sqrtGeneric(dst[n:], a[n:])
	}
}

func expVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		expAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		expGeneric(dst[n:], a[n:])
	}
}

func logVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		logAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		logGeneric(dst[n:], a[n:])
	}
}

func tanhVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		tanhAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		tanhGeneric(dst[n:], a[n:])
	}
}

func sigmoidVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		sigmoidAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		sigmoidGeneric(dst[n:], a[n:])
	}
}

func erfVecAVX2(dst, a []float32) {
	a = a[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		erfAVX2(n, &dst[0], &a[0])
	}
	if n < len(dst) {
		erfGeneric(dst[n:], a[n:])
	}
}

func fakeQuantVecAVX2(dst, v, s []float32, lo, hi float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		fakeQuantAVX2(n, &dst[0], &v[0], &s[0], lo, hi)
	}
	if n < len(dst) {
		fakeQuantGeneric(dst[n:], v[n:], s[n:], lo, hi)
	}
}

func fakeQuantGradVecAVX2(dv, ds, v, s, g []float32, lo, hi float32) {
	ds, v, s, g = ds[:len(dv)], v[:len(dv)], s[:len(dv)], g[:len(dv)]
	n := len(dv) &^ 7
	if n > 0 {
		fakeQuantGradAVX2(n, &dv[0], &ds[0], &v[0], &s[0], &g[0], lo, hi)
	}
	if n < len(dv) {
		fakeQuantGradGeneric(dv[n:], ds[n:], v[n:], s[n:], g[n:], lo, hi)
	}
}

func quantU8VecAVX2(dst []uint8, v, s []float32, lo, hi, zero float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		quantU8AVX2(n, &dst[0], &v[0], &s[0], lo, hi, zero)
	}
	if n < len(dst) {
		quantU8Generic(dst[n:], v[n:], s[n:], lo, hi, zero)
	}
}

func quantS8VecAVX2(dst []int8, v, s []float32, lo, hi float32) {
	v, s = v[:len(dst)], s[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		quantS8AVX2(n, (*byte)(unsafe.Pointer(&dst[0])), &v[0], &s[0], lo, hi)
	}
	if n < len(dst) {
		quantS8Generic(dst[n:], v[n:], s[n:], lo, hi)
	}
}

func dequantU8VecAVX2(dst []float32, q []uint8, s []float32, zero float32) {
	q, s = q[:len(dst)], s[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		dequantU8AVX2(n, &dst[0], &q[0], &s[0], zero)
	}
	if n < len(dst) {
		dequantU8Generic(dst[n:], q[n:], s[n:], zero)
	}
}

func dequantS8VecAVX2(dst []float32, q []int8, s []float32) {
	q, s = q[:len(dst)], s[:len(dst)]
	n := len(dst) &^ 7
	if n > 0 {
		dequantS8AVX2(n, &dst[0], (*byte)(unsafe.Pointer(&q[0])), &s[0])
	}
	if n < len(dst) {
		dequantS8Generic(dst[n:], q[n:], s[n:])
	}
}

func sumVecAVX2(a []float32) float32 {
	var lanes [sumLanes]float32
	n := len(a) &^ (sumLanes - 1)
	if n > 0 {
		sumAVX2(n, &a[0], &lanes[0])
	}
	return sumTail(&lanes, a[n:])
}

func maxAbsVecAVX2(a []float32) float32 {
	var lanes [sumLanes]float32
	n := len(a) &^ (sumLanes - 1)
	if n > 0 {
		maxAbsAVX2(n, &a[0], &lanes[0])
	}
	return maxAbsJoin(maxAbsGeneric(lanes[:]), maxAbsGeneric(a[n:]))
}

func peakFMAVecAVX2(n int) int {
	peakFMAAVX2(n)
	return 12 * 8 * 2
}

func peakU8S8VecAVX2(n int) int {
	peakU8S8AVX2(n)
	return 10 * 32 * 2
}

func readVecAVX2(a []float32) {
	if n := len(a) &^ 127; n > 0 {
		readAVX2(n, &a[0])
	}
}

func prefetchVec(a []float32) {
	if len(a) > 0 {
		prefetchLines((len(a)+15)/16, &a[0])
	}
}
