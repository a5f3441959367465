package infer

import (
	"fmt"

	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/quant"
)

// logicalWeights returns a copy of a sum's weight codes in [O, C/Groups, KH, KW].
func logicalWeights(t *root) []int8 {
	s, w := t.shape, t.weights()
	taps, c := s.KH*s.KW, s.C/s.Groups
	out := make([]int8, len(w))
	for o := range s.O {
		src, dst := w[o*taps*c:][:taps*c], out[o*taps*c:][:taps*c]
		for k := range c {
			for tap := range taps {
				dst[k*taps+tap] = src[tap*c+k]
			}
		}
	}
	return out
}

// plainMean reports whether nothing but the division by the count stands behind
// a mean.
func plainMean(t *root, post []quant.Affine) bool {
	want := t.post()
	for i, f := range post {
		if f != want[i] {
			return false
		}
	}
	return true
}

// mean is an average pooling.
func (x *onnxWriter) mean(t *root, in string) string {
	s, base := t.shape, t.node.Name()
	if s.KH == s.H && s.KW == s.W && s.PT+s.PL+s.PB+s.PR == 0 {
		y := x.node("GlobalAveragePool", base, []string{in})
		if len(t.node.Shape()) == 2 {
			y = x.node("Flatten", base+".flat", []string{y}, onnx.IntAttr("axis", 1))
		}
		return y
	}
	return x.node("AveragePool", base, []string{in}, onnx.IntAttr("count_include_pad", 1), onnx.IntsAttr("kernel_shape", s.KH, s.KW),
		onnx.IntsAttr("pads", s.PT, s.PL, s.PB, s.PR), onnx.IntsAttr("strides", s.SH, s.SW))
}

// pool is a pooling of windows.
func (x *onnxWriter) pool(op string, n *graph.Node, in string, o graph.Pool) string {
	attrs := []onnx.Attribute{
		onnx.IntsAttr("kernel_shape", o.Kernel[0], o.Kernel[1]), onnx.IntsAttr("pads", o.Pad[:]...), onnx.IntsAttr("strides", o.Stride[0], o.Stride[1]),
	}
	if op == "AveragePool" && o.CountPad {
		attrs = append(attrs, onnx.IntAttr("count_include_pad", 1))
	}
	return x.node(op, n.Name(), []string{in}, attrs...)
}

// moved is a slice, padding or concatenation.
func (x *onnxWriter) moved(n *graph.Node, to target) string {
	base := n.Name()
	var in []string
	for _, s := range n.In() {
		in = append(in, x.value(s, to))
	}
	ints := func(what string, v ...int) string { return x.constant(onnx.Int64s(base+what, v, len(v))) }
	switch o := n.Op().(type) {
	case graph.Slice:
		if o.Axis == 0 {
			return x.fail(n, fmt.Errorf("it slices the batch"))
		}
		start, end, step := o.Bounds(n.In()[0].Shape()[o.Axis])
		return x.node("Slice", base, append(in, ints(".starts", start), ints(".ends", end), ints(".axes", o.Axis), ints(".steps", step)))
	case graph.Pad:
		value := x.constant(onnx.Floats(base+".value", []float32{o.Value}))
		return x.node("Pad", base, append(in, ints(".pads", append(append([]int(nil), o.Before...), o.After...)...), value))
	case graph.Concat:
		return x.node("Concat", base, in, onnx.IntAttr("axis", int64(o.Axis)))
	}
	return x.fail(n, fmt.Errorf("it moves nothing"))
}

// onnxBinary are the float operations of two activations.
var onnxBinary = map[graph.BinaryKind]string{graph.Add: "Add", graph.Sub: "Sub", graph.Mul: "Mul"}

// float is an operation in floats, or an error.
func (x *onnxWriter) float(n *graph.Node) string {
	if in, fs, ok := x.rules.affine(n); ok {
		return x.affine(n, x.source(in), fs)
	}
	switch o := n.Op().(type) {
	case graph.Binary:
		if op, ok := onnxBinary[o.F]; ok && sameShape(n) {
			return x.node(op, n.Name(), []string{x.source(n.In()[0]), x.source(n.In()[1])})
		}
	case graph.Reduce:
		if isGlobalMean(n, o) {
			y := x.node("GlobalAveragePool", n.Name(), []string{x.value(n.In()[0], floats())})
			if len(n.Shape()) == 2 {
				y = x.node("Flatten", n.Name()+".flat", []string{y}, onnx.IntAttr("axis", 1))
			}
			return y
		}
	case graph.Pool:
		return x.pool("AveragePool", n, x.value(n.In()[0], floats()), o)
	case graph.Softmax:
		op := "Softmax"
		if o.Log {
			op = "LogSoftmax"
		}
		return x.node(op, n.Name(), []string{x.value(n.In()[0], floats())}, onnx.IntAttr("axis", -1))
	}
	return x.fail(n, fmt.Errorf("there is no such operation on %v", n.Shape()))
}

// affine is a function per channel.
func (x *onnxWriter) affine(n *graph.Node, in string, fs []quant.Affine) string {
	scale, shift := make([]float32, len(fs)), make([]float32, len(fs))
	dims := make([]int, len(n.Shape())-1)
	for i := range dims {
		dims[i] = 1
	}
	dims[0] = len(fs)
	for i, p := range floatPairs(fs) {
		scale[i], shift[i] = p.scale, p.shift
	}
	y := x.node("Mul", n.Name()+".scaled", []string{in, x.constant(onnx.Floats(n.Name()+".factor", scale, dims...))})
	return x.node("Add", n.Name(), []string{y, x.constant(onnx.Floats(n.Name()+".shift", shift, dims...))})
}
