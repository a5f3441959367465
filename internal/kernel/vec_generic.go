package kernel

import "math"

// genericVec returns the definition of VecOps in plain Go.
func genericVec() VecOps {
	return VecOps{
		Add: addGeneric, Sub: subGeneric, Mul: mulGeneric, Div: divGeneric,
		Max: maxGeneric, Min: minGeneric,
		MulAdd: mulAddGeneric, Acc: accGeneric, AccMul: accMulGeneric,
		Relu: reluGeneric, ReluGrad: reluGradGeneric,
		Relu6: relu6Generic, Relu6Grad: relu6GradGeneric,
		Sqrt: sqrtGeneric, Exp: expGeneric, Log: logGeneric, Tanh: tanhGeneric,
		Sigmoid: sigmoidGeneric, Erf: erfGeneric,
		Prefetch: func([]float32) {},
		Sum:      sumGeneric, MaxAbs: maxAbsGeneric,
		FakeQuant: fakeQuantGeneric, FakeQuantGrad: fakeQuantGradGeneric,
		QuantU8: quantU8Generic, QuantS8: quantS8Generic,
		DequantU8: dequantU8Generic, DequantS8: dequantS8Generic,
		peak: peakOps{fma: peakFMAGeneric, u8s8: peakU8S8Generic, read: readGeneric},
	}
}

func addGeneric(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func subGeneric(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

func mulGeneric(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

func divGeneric(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = a[i] / b[i]
	}
}

func maxGeneric(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		x := b[i]
		if a[i] > x {
			x = a[i]
		}
		dst[i] = x
	}
}

func minGeneric(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		x := b[i]
		if a[i] < x {
			x = a[i]
		}
		dst[i] = x
	}
}

func mulAddGeneric(dst, a, b, c []float32) {
	a, b, c = a[:len(dst)], b[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = float32(a[i]*b[i]) + c[i]
	}
}

func accGeneric(acc, a []float32) {
	a = a[:len(acc)]
	for i := range acc {
		acc[i] += a[i]
	}
}

func accMulGeneric(acc, a, b []float32) {
	a, b = a[:len(acc)], b[:len(acc)]
	for i := range acc {
		acc[i] += float32(a[i] * b[i])
	}
}

// clip bounds x; a NaN passes through.
func clip(x, lo, hi float32) float32 {
	if lo > x {
		x = lo
	}
	if hi < x {
		x = hi
	}
	return x
}

// rne rounds to the nearest integer, ties to even, keeping the sign of zero.
func rne(x float32) float32 { return float32(math.RoundToEven(float64(x))) }

func reluGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		if 0 > x {
			x = 0
		}
		dst[i] = x
	}
}

func reluGradGeneric(dst, g, y []float32) {
	g, y = g[:len(dst)], y[:len(dst)]
	for i := range dst {
		var x float32
		if y[i] > 0 {
			x = g[i]
		}
		dst[i] = x
	}
}

func relu6Generic(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = clip(x, 0, 6)
	}
}

func relu6GradGeneric(dst, g, y []float32) {
	g, y = g[:len(dst)], y[:len(dst)]
	for i := range dst {
		var x float32
		if y[i] > 0 && y[i] < 6 {
			x = g[i]
		}
		dst[i] = x
	}
}

func sqrtGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = float32(math.Sqrt(float64(x)))
	}
}

func expGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = exp32(x)
	}
}

func logGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = log32(x)
	}
}

func tanhGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = tanh32(x)
	}
}

func sigmoidGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = sigmoid32(x)
	}
}

func erfGeneric(dst, a []float32) {
	a = a[:len(dst)]
	for i, x := range a {
		dst[i] = erf32(x)
	}
}

// sumLanes is the number of partial sums of Sum: lane j adds a[j], a[j+64], …
const sumLanes = 64

func sumGeneric(a []float32) float32 {
	var lanes [sumLanes]float32
	return sumTail(&lanes, a)
}

// sumTail adds a to the lanes, beginning at lane 0, and folds the lanes: four
// groups of sixteen as (0+1) + (2+3), then halves onto halves.
func sumTail(lanes *[sumLanes]float32, a []float32) float32 {
	for ; len(a) >= sumLanes; a = a[sumLanes:] {
		for j, x := range a[:sumLanes] {
			lanes[j] += x
		}
	}
	for j, x := range a {
		lanes[j&(sumLanes-1)] += x
	}
	for j := range 16 {
		lanes[j] = (lanes[j] + lanes[j+16]) + (lanes[j+32] + lanes[j+48])
	}
	for h := 8; h > 0; h /= 2 {
		for j := range h {
			lanes[j] += lanes[j+h]
		}
	}
	return lanes[0]
}

// maxAbsJoin is the larger of two absolute values, NaN if either is.
func maxAbsJoin(a, b float32) float32 {
	return math.Float32frombits(max(math.Float32bits(a), math.Float32bits(b)))
}

func maxAbsGeneric(a []float32) float32 {
	var m uint32
	for _, x := range a {
		m = max(m, math.Float32bits(x)&^(1<<31))
	}
	return math.Float32frombits(m)
}
