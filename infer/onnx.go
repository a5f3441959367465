package infer

import (
	"encoding/json"
	"fmt"
	"math"

	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// onnxWriter writes a deploy form. Every value has four axes; a name is that of
// the graph's node, so that a reader's layers can be told by it.
//
// An integer sum whose result becomes codes is DequantizeLinear of both
// operands, Conv, QuantizeLinear, which runtimes fuse into one integer kernel:
// its multiplier is made of the three scales as quant.Fold makes it. One whose
// result stays in floats is ConvInteger, one multiplication and the bias in floats.
// Sums of activations are written as Sum, not Add: ONNX Runtime's integer Add works with
// ratios of scales and rounds some sums differently.
type onnxWriter struct {
	graph onnx.Graph
	used  map[string]bool
	names map[*Value]string // of the codes, or of the floats
	float map[*Value]string // of the floats of codes
	once  map[string]bool   // initializers
}

// ONNX makes a model of the deploy form of a quantized network, which other
// runtimes compute in integers, with the same codes: activations as UINT8 (signed
// ones around 128) with a Clip where they have fewer bits, weights as INT8, one
// scale a channel, those of fewer bits times a power of two (root.refine). What can
// be written is what Lower takes.
func ONNX(g *graph.Graph, store *tensor.Store, info Info) (*onnx.Model, error) {
	d, err := Deploy(g, store)
	if err != nil {
		return nil, err
	}
	w := &onnxWriter{used: map[string]bool{}, names: map[*Value]string{}, float: map[*Value]string{}, once: map[string]bool{}}
	w.graph.Name = "lowbit"
	w.graph.Inputs = []onnx.Value{{Name: "input", Type: onnx.Float, Dims: batched(d.Input)}}
	w.graph.Outputs = []onnx.Value{{Name: "logits", Type: onnx.Float, Dims: batched(d.OutputShape)}}
	w.used["input"], w.used["logits"] = true, true
	for i := range d.Instructions {
		if err := w.instruction(&d.Instructions[i]); err != nil {
			return nil, fmt.Errorf("infer: onnx: %w", err)
		}
	}
	if len(d.OutputShape) == 1 {
		w.node("Flatten", []string{w.floats(d.Output)}, "logits", onnx.IntAttr("axis", 1))
	} else {
		w.node("Identity", []string{w.floats(d.Output)}, "logits")
	}
	about, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("infer: onnx: %w", err)
	}
	return onnx.NewModel(w.graph, onnxOpset, string(about)), nil
}

// onnxOpset is read by every runtime of the last years.
const onnxOpset = 17

func batched(shape []int) []onnx.Dim {
	dims := []onnx.Dim{{Name: "N"}}
	for _, d := range shape {
		dims = append(dims, onnx.Dim{Size: int64(d)})
	}
	return dims
}

// name returns a free name: the wanted one, or with "@" and a number.
func (w *onnxWriter) name(want string) string {
	name := want
	for i := 2; w.used[name]; i++ {
		name = fmt.Sprintf("%s@%d", want, i)
	}
	w.used[name] = true
	return name
}

// node adds a node with one result and returns the result's name.
func (w *onnxWriter) node(op string, in []string, out string, attributes ...onnx.Attribute) string {
	w.graph.Nodes = append(w.graph.Nodes, onnx.Node{Op: op, Name: out, Inputs: in, Outputs: []string{out}, Attributes: attributes})
	return out
}

// init adds an initializer, once.
func (w *onnxWriter) init(t *onnx.Tensor) string {
	if !w.once[t.Name] {
		w.once[t.Name] = true
		w.graph.Initializers = append(w.graph.Initializers, t)
	}
	return t.Name
}

// numbers adds a list of integers that a node reads.
func (w *onnxWriter) numbers(name string, v ...int) string {
	return w.init(onnx.IntTensor(name, onnx.Int64, v, len(v)))
}

func (w *onnxWriter) instruction(i *Instruction) error {
	switch i.Kind {
	case InputValue:
		in := "input"
		if v := i.Out[0]; len(w.graph.Inputs[0].Dims) == 2 {
			in = w.node("Reshape", []string{in, w.numbers("input_shape", 0, -1, 1, 1)}, w.name(v.Node+"_4d"))
		}
		for _, v := range i.Out {
			w.form(v, in)
		}
	case Sum:
		for at, v := range i.Out {
			w.sum(i, v, i.Requant[at])
		}
	default:
		x, err := w.compute(i)
		if err != nil {
			return err
		}
		for _, v := range i.Out {
			w.form(v, x)
		}
	}
	return nil
}

// compute adds an operation on floats and returns its result's name.
func (w *onnxWriter) compute(i *Instruction) (string, error) {
	var in []string
	for _, v := range i.In {
		in = append(in, w.floats(v))
	}
	out := func() string { return w.name(i.Node) }
	vector := func(name string, v []float32) string {
		return w.init(onnx.FloatTensor(w.name(i.Node+name), v, 1, len(v), 1, 1))
	}
	switch i.Kind {
	case Copy: // Sum of one value: a pair of quantizers that touch would be merged
		return w.node("Sum", in, w.name(i.Node+"_copy")), nil
	case AddValues:
		return w.node("Sum", in, out()), nil
	case SubValues:
		return w.node("Sub", in, out()), nil
	case MulValues:
		return w.node("Mul", in, out()), nil
	case Scaled:
		y := w.node("Mul", []string{in[0], vector("_scale", i.Scale)}, w.name(i.Node+"_scaled"))
		return w.node("Add", []string{y, vector("_shift", i.Shift)}, out()), nil
	case MaxOf:
		return w.node("MaxPool", in, out(), window(i.Pool)...), nil
	case MeanOf:
		return w.node("AveragePool", in, out(), append(window(i.Pool), onnx.IntAttr("count_include_pad", btoi(i.Pool.CountPad)))...), nil
	case Flat:
		return w.node("Reshape", []string{in[0], w.numbers("vector_shape", 0, -1, 1, 1)}, out()), nil
	case Move:
		return w.move(i, in), nil
	case SoftmaxOf:
		op := "Softmax"
		if i.Log {
			op = "LogSoftmax"
		}
		return w.node(op, in, out(), onnx.IntAttr("axis", 1)), nil
	}
	return "", fmt.Errorf("%s %q has no form in ONNX", i.Kind, i.Node)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func window(p graph.Pool) []onnx.Attribute {
	return []onnx.Attribute{
		onnx.IntsAttr("kernel_shape", p.Kernel[:]...), onnx.IntsAttr("strides", p.Stride[:]...), onnx.IntsAttr("pads", p.Pad[:]...),
	}
}

// move slices the parts and joins or pads them.
func (w *onnxWriter) move(i *Instruction, in []string) string {
	shape := i.Out[0].Shape
	var parts []string
	axis := 0
	for k, p := range i.Parts {
		x := in[k]
		if from := i.In[k].Shape; p.Size != from {
			end := [3]int{}
			for a := range end {
				end[a] = p.Start[a] + (p.Size[a]-1)*p.Step[a] + 1
			}
			name := w.name(i.Node + "_part")
			x = w.node("Slice", []string{x, w.numbers(name+"_start", p.Start[:]...), w.numbers(name+"_end", end[:]...),
				w.numbers("slice_axes", 1, 2, 3), w.numbers(name+"_step", p.Step[:]...)}, name)
		}
		for a, at := range p.At {
			if k > 0 && at > 0 {
				axis = a
			}
		}
		parts = append(parts, x)
	}
	if len(parts) > 1 {
		return w.node("Concat", parts, w.name(i.Node), onnx.IntAttr("axis", axis+1))
	}
	if p := i.Parts[0]; p.Size != shape {
		pads := []int{0, p.At[0], p.At[1], p.At[2], 0}
		for a := range shape {
			pads = append(pads, shape[a]-p.At[a]-p.Size[a])
		}
		name := w.name(i.Node)
		return w.node("Pad", []string{parts[0], w.numbers(name+"_pads", pads...), w.init(onnx.FloatTensor(name+"_value", []float32{i.Pad}))}, name)
	}
	return parts[0]
}

// floats returns the name of a value's floats.
func (w *onnxWriter) floats(v *Value) string {
	if !v.Codes {
		return w.names[v]
	}
	name := w.float[v]
	if name == "" {
		q := w.names[v]
		name = w.node("DequantizeLinear", []string{q, q + "_scale", q + "_zero"}, w.name(q+"_dq"))
		w.float[v] = name
	}
	return name
}

// form brings floats into the form of a value.
func (w *onnxWriter) form(v *Value, x string) {
	if v.Codes {
		w.codes(v, x)
		return
	}
	if !math.IsInf(float64(v.Min), -1) || !math.IsInf(float64(v.Max), 1) {
		in := []string{x, w.bound(v.Node+"_min", v.Min), w.bound(v.Node+"_max", v.Max)}
		x = w.node("Clip", in, w.name(v.Node+"_clip"))
	}
	w.names[v] = x
}

// bound is a limit of floats; nothing where there is none.
func (w *onnxWriter) bound(name string, v float32) string {
	if math.IsInf(float64(v), 0) {
		return ""
	}
	return w.init(onnx.FloatTensor(w.name(name), []float32{v}))
}

// codes quantizes floats: UINT8 around the zero point, cut to the codes that
// occur.
func (w *onnxWriter) codes(v *Value, x string) {
	name := w.name(v.Node + "_q")
	scale := w.init(onnx.FloatTensor(name+"_scale", []float32{v.Step}))
	zero := w.init(onnx.IntTensor(name+"_zero", onnx.Uint8, []int32{v.Zero}))
	lo, hi := v.Lo+v.Zero, v.Hi+v.Zero
	w.names[v] = name
	if lo <= 0 && hi >= math.MaxUint8 {
		w.node("QuantizeLinear", []string{x, scale, zero}, name)
		return
	}
	q := w.node("QuantizeLinear", []string{x, scale, zero}, w.name(name+"8"))
	bound := func(v int32) string {
		return w.init(onnx.IntTensor(fmt.Sprintf("code_%d", v), onnx.Uint8, []int32{v}))
	}
	w.node("Clip", []string{q, bound(lo), bound(hi)}, name)
}

// sum adds an integer sum that ends in one form.
func (w *onnxWriter) sum(i *Instruction, v *Value, form []quant.Requant) {
	weights := onnx.IntTensor(i.Node+".weight", onnx.Int8, i.Weights, i.WeightShape[:]...)
	attributes := []onnx.Attribute{
		onnx.IntsAttr("kernel_shape", i.WeightShape[2:]...), onnx.IntsAttr("strides", i.Conv.Stride[:]...),
		onnx.IntsAttr("pads", i.Conv.Pad[:]...), onnx.IntsAttr("dilations", i.Conv.Dilation[:]...), onnx.IntAttr("group", i.Conv.Groups),
	}
	name := w.name(v.Node)
	x := i.In[0]
	channels := len(form)
	bias, steps := make([]int32, channels), make([]float32, channels)
	m, shift := make([]float32, channels), make([]float32, channels)
	for c, f := range form {
		bias[c], steps[c], m[c], shift[c] = f.Bias, f.Weight, f.M, f.Shift
		if f.Constant && v.Codes { // the code itself, times 1
			steps[c], bias[c] = v.Step/x.Step, f.Code(0, 0, v.Lo, v.Hi)
		}
	}
	if !v.Codes {
		zero := w.init(onnx.IntTensor("weight_zero", onnx.Int8, []int32{0}))
		acc := w.node("ConvInteger", []string{w.names[x], w.init(weights), w.names[x] + "_zero", zero}, w.name(name+"_acc"), attributes...)
		y := w.node("Cast", []string{acc}, w.name(name+"_float"), onnx.IntAttr("to", int(onnx.Float)))
		y = w.node("Mul", []string{y, w.init(onnx.FloatTensor(name+"_m", m, 1, channels, 1, 1))}, w.name(name+"_scaled"))
		w.form(v, w.node("Add", []string{y, w.init(onnx.FloatTensor(name+"_shift", shift, 1, channels, 1, 1))}, name))
		return
	}
	scale := w.init(onnx.FloatTensor(name+"_weight_scale", steps, channels))
	zero := w.init(onnx.IntTensor(fmt.Sprintf("weight_zero_%d", channels), onnx.Int8, make([]int32, channels), channels))
	wd := w.node("DequantizeLinear", []string{w.init(weights), scale, zero}, w.name(name+"_weight"), onnx.IntAttr("axis", 0))
	product := make([]float32, channels)
	for c := range product {
		product[c] = x.Step * steps[c]
	}
	b := w.init(onnx.IntTensor(name+"_bias", onnx.Int32, bias, channels))
	bs := w.init(onnx.FloatTensor(name+"_bias_scale", product, channels))
	bz := w.init(onnx.IntTensor(fmt.Sprintf("bias_zero_%d", channels), onnx.Int32, make([]int32, channels), channels))
	bd := w.node("DequantizeLinear", []string{b, bs, bz}, w.name(name+"_bias_dq"), onnx.IntAttr("axis", 0))
	w.form(v, w.node("Conv", []string{w.floats(x), wd, bd}, name, attributes...))
}
