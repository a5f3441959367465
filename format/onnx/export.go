package onnx

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// MetaInfo is the key of metadata_props that holds what is known about a
// network, as the JSON of infer.Info: name, labels, preprocessing.
const MetaInfo = "lowbit.info"

// NewModel makes a model of a graph, with the IR version that its opset needs.
func NewModel(g Graph, opset int64, info string) *Model {
	m := &Model{IRVersion: 8, Producer: "lowbit", Opset: opset, Graph: g}
	switch {
	case opset >= 25:
		m.IRVersion = 13
	case opset >= 21:
		m.IRVersion = 10
	}
	if info != "" {
		m.Metadata = []Entry{{MetaInfo, info}}
	}
	return m
}

// exporter writes a graph of floats.
type exporter struct {
	g     Graph
	store *tensor.Store
	at    map[*graph.Node]string
	used  map[string]bool
	opset int64
	seq   *sequences // of an encoder; nil: of images
}

// Export makes a model of an inference graph, node by node, with its parameters
// of store. Quantizers of weights of up to 8 bits become DequantizeLinear of
// their codes, of up to 4 bits as INT4 (opset 21) and of 2 as INT2 (opset 25);
// quantizers of activations are left out: the file computes in floats. The
// deploy form of a quantized network is written by infer.ONNX.
func Export(g *graph.Graph, store *tensor.Store, info string) (*Model, error) {
	g, err := graph.Inference(g)
	if err == nil {
		g, err = graph.Prune(g)
	}
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	return newExporter(store, opsetFor(g)).model(g, info)
}

func newExporter(store *tensor.Store, opset int64) *exporter {
	e := &exporter{store: store, at: map[*graph.Node]string{}, used: map[string]bool{}, opset: opset}
	e.g.Name = "lowbit"
	return e
}

// model writes all of a graph.
func (e *exporter) model(g *graph.Graph, info string) (*Model, error) {
	for _, o := range g.Outputs() {
		e.used[o.Name] = true
	}
	var missing []string
	for _, n := range g.Nodes() {
		if err := e.node(n); err != nil {
			missing = append(missing, fmt.Sprintf("%s %q: %v", n.Op().Kind(), n.Name(), err))
			e.at[n] = n.Name()
		}
	}
	if missing != nil {
		return nil, fmt.Errorf("onnx: %d nodes cannot be exported: %s", len(missing), strings.Join(missing, "; "))
	}
	for _, o := range g.Outputs() {
		e.result(o)
	}
	return NewModel(e.g, e.opset, info), nil
}

// result declares an output; one with a row for each token has the axes
// [batch, sequence, ...].
func (e *exporter) result(o graph.Output) {
	from, v := e.at[o.Node], e.value(o.Name, o.Node)
	if q := e.seq; q != nil {
		v.Dims[0].Name = batchDim
		if o.Node.Shape()[0] == q.batch*q.length {
			from = e.step(o.Name+"_tokens", "Reshape", []string{from, e.seq.dims(e, -1, lengthDim, o.Node.Shape()[1])})
			v.Dims = slices.Insert(v.Dims, 1, Dim{Name: sequenceDim})
		}
	}
	e.g.Nodes = append(e.g.Nodes, Node{Op: "Identity", Name: o.Name, Inputs: []string{from}, Outputs: []string{o.Name}})
	e.g.Outputs = append(e.g.Outputs, v)
}

// opsetFor is the lowest opset from 17 on that has the types of the weights.
func opsetFor(g *graph.Graph) int64 {
	opset := int64(17)
	for _, n := range g.Nodes() {
		o, ok := n.Op().(graph.FakeQuant)
		if !ok {
			continue
		}
		if _, weight := n.In()[0].Op().(graph.Param); !weight {
			continue
		}
		switch {
		case o.Spec.Bits == 2:
			opset = 25
		case o.Spec.Bits <= 4:
			opset = max(opset, 21)
		}
	}
	return opset
}

func (e *exporter) value(name string, n *graph.Node) Value {
	v := Value{Name: name, Type: Float, Dims: []Dim{}}
	if n.Type().DType == tensor.I32 {
		v.Type = Int32
	}
	for i, d := range n.Shape() {
		if i == 0 {
			v.Dims = append(v.Dims, Dim{Name: "N"})
		} else {
			v.Dims = append(v.Dims, Dim{Size: int64(d)})
		}
	}
	return v
}

func (e *exporter) name(want string) string {
	name := want
	for i := 2; e.used[name]; i++ {
		name = fmt.Sprintf("%s@%d", want, i)
	}
	e.used[name] = true
	return name
}

// op adds a node whose result is n's.
func (e *exporter) op(n *graph.Node, op string, in []string, attributes ...Attribute) error {
	e.at[n] = e.step(n.Name(), op, in, attributes...)
	return nil
}

// step adds a node and returns its result's name.
func (e *exporter) step(name, op string, in []string, attributes ...Attribute) string {
	name = e.name(name)
	e.g.Nodes = append(e.g.Nodes, Node{Op: op, Name: name, Inputs: in, Outputs: []string{name}, Attributes: attributes})
	return name
}

func (e *exporter) tensor(t *Tensor) string {
	t.Name = e.name(t.Name)
	e.g.Initializers = append(e.g.Initializers, t)
	return t.Name
}

func (e *exporter) numbers(v ...int) string { return e.tensor(IntTensor("dims", Int64, v, len(v))) }

var unaryOps = map[graph.UnaryKind]string{
	graph.Neg: "Neg", graph.Abs: "Abs", graph.Sign: "Sign", graph.Sqrt: "Sqrt", graph.Exp: "Exp", graph.Log: "Log",
	graph.Relu: "Relu", graph.Sigmoid: "Sigmoid", graph.Tanh: "Tanh", graph.Erf: "Erf",
}

var binaryOps = map[graph.BinaryKind]string{
	graph.Add: "Add", graph.Sub: "Sub", graph.Mul: "Mul", graph.Div: "Div", graph.Max: "Max", graph.Min: "Min",
}

func (e *exporter) node(n *graph.Node) error {
	var in []string
	for _, x := range n.In() {
		in = append(in, e.at[x])
	}
	if e.seq != nil {
		if done, err := e.sequence(n, in); done || err != nil {
			return err
		}
	}
	switch o := n.Op().(type) {
	case graph.Input:
		e.at[n] = e.name(n.Name())
		e.g.Inputs = append(e.g.Inputs, e.value(e.at[n], n))
	case graph.Param:
		t := e.store.Get(o.Name)
		if t == nil || t.DType() != tensor.F32 {
			return fmt.Errorf("the store has %v, want f32%v", t, n.Shape())
		}
		if !e.floats(n) { // codes alone, or steps
			return nil
		}
		e.at[n] = e.tensor(FloatTensor(o.Name, t.Float32s(), t.Shape()...))
	case graph.Const:
		e.at[n] = e.tensor(FloatTensor("constant", o.Values, o.Shape...))
	case graph.FakeQuant:
		return e.quantizer(n, o, in)
	case graph.Unary:
		if o.F == graph.Relu6 {
			return e.op(n, "Clip", []string{in[0], e.tensor(FloatTensor("zero", []float32{0})), e.tensor(FloatTensor("six", []float32{6}))})
		}
		if unaryOps[o.F] == "" {
			return fmt.Errorf("no such operation")
		}
		return e.op(n, unaryOps[o.F], in)
	case graph.Binary:
		if binaryOps[o.F] == "" {
			return fmt.Errorf("no such operation")
		}
		return e.op(n, binaryOps[o.F], in)
	default:
		return e.layer(n, in)
	}
	return nil
}

// floats reports whether anything but a quantizer of weights reads a parameter.
func (e *exporter) floats(p *graph.Node) bool { return p.Op().(graph.Param).Role != graph.Step }

// quantizer writes the codes of a weight; activations pass.
func (e *exporter) quantizer(n *graph.Node, o graph.FakeQuant, in []string) error {
	p, ok := n.In()[0].Op().(graph.Param)
	if !ok {
		e.at[n] = in[0]
		return nil
	}
	if !o.Spec.Signed || o.Spec.Bits > 8 || o.Spec.Granularity > quant.PerChannel {
		return fmt.Errorf("weights of %v, want signed, at most 8 bits, one step a tensor or a channel", o.Spec)
	}
	step := e.store.Get(n.In()[1].Name())
	w := e.store.Get(p.Name)
	if step == nil {
		return fmt.Errorf("its step %q is not stored", n.In()[1].Name())
	}
	codes := make([]int32, w.Len())
	if err := quant.Quantize(codes, w.Float32s(), step.Float32s(), w.Shape(), o.Spec); err != nil {
		return err
	}
	typ := Int8
	switch {
	case e.seq != nil && e.seq.activations:
	case o.Spec.Bits == 2:
		typ = Int2
	case o.Spec.Bits <= 4:
		typ = Int4
	}
	e.g.Initializers = slices.DeleteFunc(e.g.Initializers, func(t *Tensor) bool { return t.Name == in[0] })
	q := e.tensor(IntTensor(p.Name+"_codes", typ, codes, w.Shape()...))
	if step.Len() == 1 {
		return e.op(n, "DequantizeLinear", []string{q, e.tensor(FloatTensor(p.Name+"_scale", step.Float32s()))})
	}
	scale := e.tensor(FloatTensor(p.Name+"_scale", step.Float32s(), step.Len()))
	return e.op(n, "DequantizeLinear", []string{q, scale}, IntAttr("axis", o.Spec.Axis))
}

// layer writes what is not element by element.
func (e *exporter) layer(n *graph.Node, in []string) error {
	x := n.In()[0].Shape()
	switch o := n.Op().(type) {
	case graph.Conv2D:
		w := n.In()[1].Shape()
		return e.op(n, "Conv", in, IntsAttr("kernel_shape", w[2:]...), IntsAttr("strides", o.Stride[:]...),
			IntsAttr("pads", o.Pad[:]...), IntsAttr("dilations", o.Dilation[:]...), IntAttr("group", o.Groups))
	case graph.MatMul:
		return e.matmul(n, o, in)
	case graph.BatchNorm:
		return e.op(n, "BatchNormalization", in, FloatAttr("epsilon", float32(o.Eps)))
	case graph.RowNorm:
		if o.F != graph.LayerNorm {
			return fmt.Errorf("no such operation")
		}
		return e.op(n, "LayerNormalization", in, IntAttr("axis", -1), FloatAttr("epsilon", float32(o.Eps)))
	case graph.Softmax:
		op := "Softmax"
		if o.Log {
			op = "LogSoftmax"
		}
		return e.op(n, op, in, IntAttr("axis", -1))
	case graph.Pool:
		attributes := []Attribute{IntsAttr("kernel_shape", o.Kernel[:]...), IntsAttr("strides", o.Stride[:]...), IntsAttr("pads", o.Pad[:]...)}
		if o.F == graph.MaxPool {
			return e.op(n, "MaxPool", in, attributes...)
		}
		count := 0
		if o.CountPad {
			count = 1
		}
		return e.op(n, "AveragePool", in, append(attributes, IntAttr("count_include_pad", count))...)
	case graph.Reduce:
		return e.reduce(n, o, in, len(x))
	case graph.Activation:
		return e.activation(n, o, in)
	case graph.Embedding:
		return e.op(n, "Gather", in, IntAttr("axis", 0))
	}
	return e.arranged(n, in)
}

func (e *exporter) matmul(n *graph.Node, o graph.MatMul, in []string) error {
	if len(n.In()[0].Shape()) == 2 && !o.TransA { // a linear layer
		trans := 0
		if o.TransB {
			trans = 1
		}
		return e.op(n, "Gemm", in, IntAttr("transB", trans))
	}
	for i, t := range []bool{o.TransA, o.TransB} {
		if !t {
			continue
		}
		rank := len(n.In()[i].Shape())
		perm := make([]int, rank)
		for k := range perm {
			perm[k] = k
		}
		perm[rank-1], perm[rank-2] = rank-2, rank-1
		in[i] = e.step(n.Name()+"_transposed", "Transpose", []string{in[i]}, IntsAttr("perm", perm...))
	}
	return e.op(n, "MatMul", in)
}

func (e *exporter) reduce(n *graph.Node, o graph.Reduce, in []string, rank int) error {
	mask, err := o.Mask(rank)
	if err != nil {
		return err
	}
	var axes []int
	for i, m := range mask {
		if m {
			axes = append(axes, i)
		}
	}
	keep := 0
	if o.KeepDims {
		keep = 1
	}
	if o.F == graph.Mean && e.opset < 18 { // axes became an operand
		return e.op(n, "ReduceMean", in, IntsAttr("axes", axes...), IntAttr("keepdims", keep))
	}
	op := "ReduceSum"
	if o.F == graph.Mean {
		op = "ReduceMean"
	}
	return e.op(n, op, append(in, e.numbers(axes...)), IntAttr("keepdims", keep))
}

func (e *exporter) activation(n *graph.Node, o graph.Activation, in []string) error {
	switch o.F {
	case graph.SiLU:
		return e.op(n, "Mul", []string{in[0], e.step(n.Name()+"_gate", "Sigmoid", in)})
	case graph.ELU:
		return e.op(n, "Elu", in)
	case graph.GELU:
		half := e.tensor(FloatTensor("half", []float32{0.5}))
		one := e.tensor(FloatTensor("one", []float32{1}))
		root := e.tensor(FloatTensor("root_of_half", []float32{math.Sqrt2 / 2}))
		y := e.step(n.Name()+"_scaled", "Mul", []string{in[0], root})
		y = e.step(n.Name()+"_erf", "Erf", []string{y})
		y = e.step(n.Name()+"_one", "Add", []string{y, one})
		y = e.step(n.Name()+"_double", "Mul", []string{in[0], y})
		return e.op(n, "Mul", []string{y, half})
	}
	return fmt.Errorf("no such operation")
}

// arranged writes what only moves values.
func (e *exporter) arranged(n *graph.Node, in []string) error {
	switch o := n.Op().(type) {
	case graph.Reshape:
		return e.op(n, "Reshape", append(in, e.numbers(o.Dims...)))
	case graph.Transpose:
		return e.op(n, "Transpose", in, IntsAttr("perm", o.Perm...))
	case graph.Slice:
		a, b, s := o.Bounds(n.In()[0].Shape()[o.Axis])
		return e.op(n, "Slice", append(in, e.numbers(a), e.numbers(b), e.numbers(o.Axis), e.numbers(s)))
	case graph.Pad:
		pads := e.numbers(append(slices.Clone(o.Before), o.After...)...)
		return e.op(n, "Pad", append(in, pads, e.tensor(FloatTensor("pad_value", []float32{o.Value}))))
	case graph.Concat:
		return e.op(n, "Concat", in, IntAttr("axis", o.Axis))
	case graph.BroadcastTo:
		return e.op(n, "Expand", append(in, e.numbers(o.Shape...)))
	}
	return fmt.Errorf("no such operation in ONNX here")
}
