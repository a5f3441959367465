package infer

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// float computes a float operation: one rounding to float32 after each
// operation, sums in the order of their elements.
func (r *Reference) float(n *graph.Node) ([]float32, error) {
	if _, ok := n.Op().(graph.Input); ok {
		return r.input, nil
	}
	if x, fs, ok := r.rules.affine(n); ok {
		return r.floatAffine(n, x, floatPairs(fs))
	}
	var in [][]float32
	for _, x := range n.In() {
		v, err := r.eval(x, floats())
		if err != nil {
			return nil, err
		}
		in = append(in, v.f)
	}
	switch o := n.Op().(type) {
	case graph.Binary:
		if f := binaryFunc(o.F); f != nil && sameShape(n) {
			out := make([]float32, len(in[0]))
			for i := range out {
				out[i] = f(in[0][i], in[1][i])
			}
			return out, nil
		}
	case graph.Reduce:
		if isGlobalMean(n, o) {
			s := n.In()[0].Shape()
			return windowMeans(graph.Pool{Kernel: [2]int{s[2], s[3]}, Stride: [2]int{1, 1}}, in[0], s, tensor.Shape{1, s[1], 1, 1}), nil
		}
	case graph.Pool:
		return windowMeans(o, in[0], n.In()[0].Shape(), n.Shape()), nil
	case graph.Softmax:
		if len(n.Shape()) == 2 {
			out := make([]float32, len(in[0]))
			softmax(out, in[0], o.Log)
			return out, nil
		}
	}
	return nil, fmt.Errorf("%s %q: the runtime has no such operation on %v", n.Op().Kind(), n.Name(), n.Shape())
}

func sameShape(n *graph.Node) bool {
	return n.In()[0].Shape().Equal(n.In()[1].Shape())
}

func isGlobalMean(n *graph.Node, o graph.Reduce) bool {
	x := n.In()[0].Shape()
	m, err := o.Mask(len(x))
	return o.F == graph.Mean && err == nil && len(x) == 4 && !m[0] && !m[1] && m[2] && m[3]
}

// binaryFunc returns the float operations that the runtime has.
func binaryFunc(f graph.BinaryKind) func(a, b float32) float32 {
	switch f {
	case graph.Add:
		return func(a, b float32) float32 { return a + b }
	case graph.Sub:
		return func(a, b float32) float32 { return a - b }
	case graph.Mul:
		return func(a, b float32) float32 { return float32(a * b) }
	}
	return nil
}

func (r *Reference) floatAffine(n, x *graph.Node, fs []affine32) ([]float32, error) {
	v, err := r.eval(x, floats())
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(v.f))
	run := n.Shape()[2:].Size()
	for i, a := range v.f {
		f := fs[i/run%len(fs)]
		out[i] = float32(a*f.scale) + f.shift
	}
	return out, nil
}

// affine32 is a float operation a*scale+shift, rounded after each step.
type affine32 struct{ scale, shift float32 }

func floatPairs(fs []quant.Affine) []affine32 {
	out := make([]affine32, len(fs))
	for i, f := range fs {
		out[i] = affine32{float32(f.Scale), float32(f.Shift)}
	}
	return out
}

// windowMeans adds up each window in row-major order, then divides by the
// number of its elements.
func windowMeans(o graph.Pool, x []float32, in, out tensor.Shape) []float32 {
	y := make([]float32, 0, out.Size())
	for c := range out[1] {
		eachWindow(o, in, out, func(plane []int) {
			sum := float32(0)
			for _, i := range plane {
				sum += x[c*in[2]*in[3]+i]
			}
			count := len(plane)
			if o.CountPad {
				count = o.Kernel[0] * o.Kernel[1]
			}
			y = append(y, sum/float32(count))
		})
	}
	return y
}

// softmax: dst[i] = e^(x[i]-max) / sum, or its logarithm; in float64, rounded
// once. dst may be x.
func softmax(dst, x []float32, log bool) {
	most, sum := math.Inf(-1), 0.0
	for _, v := range x {
		most = max(most, float64(v))
	}
	for _, v := range x {
		sum += math.Exp(float64(v) - most)
	}
	for i, v := range x {
		if log {
			dst[i] = float32(float64(v) - most - math.Log(sum))
		} else {
			dst[i] = float32(math.Exp(float64(v)-most) / sum)
		}
	}
}
