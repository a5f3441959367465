package infer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// MetaInfo is the key of an ONNX model's metadata under which its Info stands, as
// JSON.
const MetaInfo = "lowbit.info"

// ONNX writes the deploy form of a quantized network as an ONNX model of
// QuantizeLinear and DequantizeLinear pairs, which runtimes fuse into integer
// kernels: activations are uint8 (signed ones with zero point 128), clipped where
// they have fewer than 8 bits; weights int8 with one scale a channel, which holds
// the batch norm; biases int32. Weights of fewer bits are small int8 numbers.
//
// A runtime that computes (acc + bias) * (s_x*s_w/s_y), each step rounded to
// float32, gives the codes of Reference: that is how the deploy form's multiplier
// is made (quant.Fold). Where a result stays in
// float32 (a float residual add), runtimes add in their own order.
//
// What can be written is what Lower takes; the error lists everything else.
func ONNX(g *graph.Graph, store *tensor.Store, info Info) (m *onnx.Model, err error) {
	defer guard("onnx", &err)
	one, err := prepare(g)
	if err != nil {
		return nil, fmt.Errorf("infer: onnx: %w", err)
	}
	x := onnxWriter{rules: newRules(one, storeSource{store}), made: map[demand]string{}, names: map[string]int{}}
	in, result := one.Inputs()[0], one.OutputNode(outputName)
	x.graph.Name = info.Name
	if x.graph.Name == "" {
		x.graph.Name = "network"
	}
	x.graph.Inputs = []onnx.ValueInfo{x.valueInfo(in.Name(), in.Shape())}
	x.names[in.Name()], x.names[outputName] = 1, 1
	out := x.value(result, floats())
	if len(x.problems) > 0 {
		return nil, fmt.Errorf("infer: onnx: %w", errors.Join(x.problems...))
	}
	x.graph.Nodes = append(x.graph.Nodes, onnx.Node{Name: "result", Op: "Identity", Inputs: []string{out}, Outputs: []string{outputName}})
	x.graph.Outputs = []onnx.ValueInfo{x.valueInfo(outputName, result.Shape())}
	text, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("infer: onnx: %w", err)
	}
	return &onnx.Model{
		IRVersion: onnx.IRVersion, Producer: "lowbit", Opsets: map[string]int64{"": onnx.Opset},
		Metadata: map[string]string{MetaInfo: string(text)}, Graph: x.graph,
	}, nil
}

// onnxWriter follows the rules back from the result, as lowering does; each value
// in each form is a float tensor, codes behind a pair of nodes.
type onnxWriter struct {
	rules    rules
	graph    onnx.Graph
	made     map[demand]string
	names    map[string]int
	problems []error
}

func (x *onnxWriter) valueInfo(name string, s tensor.Shape) onnx.ValueInfo {
	v := onnx.ValueInfo{Name: name, Type: onnx.Float32, Dims: []int64{-1}, Symbols: []string{"batch"}}
	for _, d := range s[1:] {
		v.Dims, v.Symbols = append(v.Dims, int64(d)), append(v.Symbols, "")
	}
	return v
}

// name returns base, with a number where it is taken.
func (x *onnxWriter) name(base string) string {
	x.names[base]++
	if n := x.names[base]; n > 1 {
		return x.name(fmt.Sprintf("%s.%d", base, n))
	}
	return base
}

// node adds a node with one output, named after base.
func (x *onnxWriter) node(op, base string, in []string, attrs ...onnx.Attribute) string {
	out := x.name(base)
	x.graph.Nodes = append(x.graph.Nodes, onnx.Node{Name: out, Op: op, Inputs: in, Outputs: []string{out}, Attributes: attrs})
	return out
}

// constant adds a tensor under a name that is free.
func (x *onnxWriter) constant(t onnx.Tensor) string {
	t.Name = x.name(t.Name)
	x.graph.Initializers = append(x.graph.Initializers, t)
	return t.Name
}

func (x *onnxWriter) fail(n *graph.Node, err error) string {
	if len(x.problems) < maxProblems {
		x.problems = append(x.problems, fmt.Errorf("%s %q: %w", n.Op().Kind(), n.Name(), err))
	}
	return n.Name()
}

// value returns the tensor that holds n in the form that is wanted.
func (x *onnxWriter) value(n *graph.Node, to target) string {
	key := demand{n, to}
	if s, ok := x.made[key]; ok {
		return s
	}
	if len(x.made) >= maxValues {
		return x.fail(n, fmt.Errorf("the network has more than %d values in different forms", maxValues))
	}
	s := x.compute(n, to)
	x.made[key] = s
	return s
}

// source returns n's values in the cheapest form: codes where it has a grid.
func (x *onnxWriter) source(n *graph.Node) string {
	if g, ok := x.rules.gridOf(n); ok {
		return x.value(n, g)
	}
	return x.value(n, floats())
}

func (x *onnxWriter) compute(n *graph.Node, to target) string {
	if o, ok := n.Op().(graph.Unary); ok && isRelu(o) {
		return x.value(n.In()[0], to.within(reluRange(o)))
	}
	t, post, err := x.rules.chain(n)
	if err != nil {
		return x.fail(n, err)
	}
	if t != nil {
		return x.sum(n, t, post, to)
	}
	switch o := n.Op().(type) {
	case graph.FakeQuant:
		g, err := x.rules.quantizer(n)
		switch {
		case err != nil:
			return x.fail(n, err)
		case to.sameGrid(g):
			return x.value(n.In()[0], to)
		}
		return x.form(x.value(n.In()[0], g), n.Name(), to)
	case graph.Input:
		return x.form(n.Name(), n.Name(), to)
	case graph.Reshape:
		return x.onGrid(x.node("Flatten", n.Name(), []string{x.value(n.In()[0], to)}, onnx.IntAttr("axis", 1)), n, to)
	case graph.Slice, graph.Pad, graph.Concat:
		return x.onGrid(x.moved(n, to), n, to)
	case graph.Pool:
		if o.F == graph.MaxPool {
			return x.onGrid(x.pool("MaxPool", n, x.value(n.In()[0], to), o), n, to)
		}
	}
	return x.form(x.float(n), n.Name(), to)
}

// form brings floats into a target: onto a grid, or between bounds.
func (x *onnxWriter) form(in, base string, to target) string {
	if to.codes {
		return x.grid(in, base, to)
	}
	low, high := !math.IsInf(float64(to.min), -1), !math.IsInf(float64(to.max), 1)
	switch {
	case low && to.min == 0 && !high:
		return x.node("Relu", base+".relu", []string{in})
	case low || high:
		bound := func(v float32, is bool, name string) string {
			if !is {
				return ""
			}
			return x.constant(onnx.Floats(base+name, []float32{v}))
		}
		return x.node("Clip", base+".clip", []string{in, bound(to.min, low, ".min"), bound(to.max, high, ".max")})
	}
	return in
}

// onGrid tells a runtime that moved values are still codes.
func (x *onnxWriter) onGrid(in string, n *graph.Node, to target) string {
	if !to.codes {
		return in
	}
	return x.grid(in, n.Name(), to)
}

// grid rounds floats to codes and gives the codes' values.
func (x *onnxWriter) grid(in, base string, to target) string {
	zero := to.zero()
	scale := x.constant(onnx.Floats(base+".scale", []float32{to.step}))
	point := x.constant(onnx.Uint8s(base+".zero_point", []uint8{uint8(zero)}))
	q := x.node("QuantizeLinear", base+".quantize", []string{in, scale, point})
	if lo, hi := to.lo+zero, to.hi+zero; lo > 0 || hi < math.MaxUint8 {
		q = x.node("Clip", base+".codes", []string{q,
			x.constant(onnx.Uint8s(base+".lowest", []uint8{uint8(lo)})), x.constant(onnx.Uint8s(base+".highest", []uint8{uint8(hi)}))})
	}
	return x.node("DequantizeLinear", base+".dequantize", []string{q, scale, point})
}

// sum is a convolution or product of codes with its batch norm, bias and factors.
func (x *onnxWriter) sum(n *graph.Node, t *root, post []quant.Affine, to target) string {
	in := x.value(t.x, t.in)
	if t.bits == 0 && plainMean(t, post) {
		return x.form(x.mean(t, in), n.Name(), to)
	}
	form, err := t.fold(post, to)
	if err != nil {
		return x.fail(t.node, err)
	}
	step := float32(1)
	if to.codes {
		step = to.step
	}
	s, c := t.shape, len(form)
	w := logicalWeights(t)
	scales, biases, biasScales := make([]float32, c), make([]int32, c), make([]float32, c)
	size := len(w) / c
	for o, f := range form {
		row := w[o*size:][:size]
		scales[o], biases[o] = f.Weight, f.Bias
		if f.Constant {
			clear(row)
			scales[o] = float32(float64(f.M) * float64(step) / float64(t.in.step))
		}
		if scales[o] < 0 { // a scale is positive: the codes change their sign
			scales[o], biases[o] = -scales[o], -biases[o]
			for i, k := range row {
				if k == math.MinInt8 {
					return x.fail(t.node, fmt.Errorf("channel %d: a weight code of -128 with a negative batch norm factor", o))
				}
				row[i] = -k
			}
		}
		if scales[o] == 0 {
			scales[o], biases[o] = 1, 0
		}
		biasScales[o] = t.in.step * scales[o]
	}
	base := t.node.Name()
	scale := x.constant(onnx.Floats(base+".weight_scale", scales, c))
	zero := x.constant(onnx.Int8s(base+".weight_zero_point", make([]int8, c), c))
	axis := onnx.IntAttr("axis", 0)
	dims := []int{s.O, s.C / s.Groups, s.KH, s.KW}
	_, linear := t.node.Op().(graph.MatMul)
	if linear {
		dims = dims[:2]
	}
	weight := x.node("DequantizeLinear", base+".weight", []string{x.constant(onnx.Int8s(base+".weight_codes", w, dims...)), scale, zero}, axis)
	bias := x.node("DequantizeLinear", base+".bias", []string{x.constant(onnx.Int32s(base+".bias_codes", biases, c)), x.constant(onnx.Floats(base+".bias_scale", biasScales, c))}, axis)
	operands := []string{in, weight, bias}
	if linear {
		return x.form(x.node("Gemm", base, operands, onnx.IntAttr("transB", 1)), n.Name(), to)
	}
	return x.form(x.node("Conv", base, operands,
		onnx.IntsAttr("dilations", s.DH, s.DW), onnx.IntAttr("group", int64(s.Groups)), onnx.IntsAttr("kernel_shape", s.KH, s.KW),
		onnx.IntsAttr("pads", s.PT, s.PL, s.PB, s.PR), onnx.IntsAttr("strides", s.SH, s.SW)), n.Name(), to)
}
