package onnx

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// Names of an encoder's free dimensions and of its inputs, as Hugging Face's
// exports have them.
const (
	batchDim    = "batch"
	sequenceDim = "sequence"
	inputIDs    = "input_ids"
	inputMask   = "attention_mask"
	inputTypes  = "token_type_ids"
)

// EncoderInputs are the names of an encoder's inputs in its graph.
type EncoderInputs struct{ IDs, Types, Lengths string }

// sequences is what an exporter knows of an encoder: its graph is made for one
// batch and length, the file has both free.
type sequences struct {
	EncoderInputs
	batch, length int
	activations   bool // quantizers of activations are written
	mask          string
	bias          string // 0 where a token is, the lowest float where padding is: [batch, 1, 1, sequence]
	size          string // the length, as a list of one
}

// lengthDim stands for the length in a list of dimensions.
const lengthDim = -2

// ExportEncoder makes a model of an encoder's graph (model.Bert), made for a
// batch of sequences, with inputs as Hugging Face's exports have them: input_ids,
// attention_mask and token_type_ids, int64 [batch, sequence], both free. A result
// of one row a token is [batch, sequence, ...].
//
// With activations, quantizers of activations are QuantizeLinear, a Clip where
// they have fewer than 8 bits, and DequantizeLinear, signed ones around 128, and
// weights are INT8 codes (opset 17); without, they are left out and weights are
// written as Export writes them.
func ExportEncoder(g *graph.Graph, store *tensor.Store, in EncoderInputs, activations bool, info string) (*Model, error) {
	g, err := graph.Inference(g)
	if err == nil {
		g, err = graph.Prune(g)
	}
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	ids := g.InputNode(in.IDs)
	if ids == nil || len(ids.Shape()) != 2 {
		return nil, fmt.Errorf("onnx: no input %q of [batch, tokens]", in.IDs)
	}
	opset := opsetFor(g)
	if activations {
		opset = 17
	}
	e := newExporter(store, opset)
	e.seq = &sequences{EncoderInputs: in, batch: ids.Shape()[0], length: ids.Shape()[1], activations: activations}
	e.tokens()
	return e.model(g, info)
}

// tokens declares the inputs and what is made of the mask and the length.
func (e *exporter) tokens() {
	q := e.seq
	for _, name := range []string{inputIDs, inputMask, inputTypes} {
		e.used[name] = true
		e.g.Inputs = append(e.g.Inputs, Value{Name: name, Type: Int64, Dims: []Dim{{Name: batchDim}, {Name: sequenceDim}}})
	}
	shape := e.step("shape", "Shape", []string{inputIDs})
	q.size = e.step("length", "Slice", []string{shape, e.numbers(1), e.numbers(2)})
	q.mask = e.step("mask", "Cast", []string{inputMask}, IntAttr("to", int(Float)))
	one, low := e.tensor(FloatTensor("one", []float32{1})), e.tensor(FloatTensor("lowest", []float32{-math.MaxFloat32}))
	hidden := e.step("padding", "Sub", []string{one, q.mask})
	hidden = e.step("padding_bias", "Mul", []string{hidden, low})
	q.bias = e.step("attention_bias", "Unsqueeze", []string{hidden, e.numbers(1, 2)})
}

// dims returns a list of dimensions, with the length where lengthDim stands.
func (q *sequences) dims(e *exporter, dims ...int) string {
	var parts []string
	for from, i := 0, 0; i <= len(dims); i++ {
		if i < len(dims) && dims[i] != lengthDim {
			continue
		}
		if from < i {
			parts = append(parts, e.numbers(dims[from:i]...))
		}
		if from = i + 1; i < len(dims) {
			parts = append(parts, q.size)
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return e.step("dims", "Concat", parts, IntAttr("axis", 0))
}

// sequence writes what an encoder has and networks of images have not; done is
// false for all else.
func (e *exporter) sequence(n *graph.Node, in []string) (done bool, err error) {
	q := e.seq
	switch o := n.Op().(type) {
	case graph.Input:
		name, ok := map[string]string{q.IDs: inputIDs, q.Types: inputTypes, q.Lengths: inputMask}[n.Name()]
		if !ok {
			return true, fmt.Errorf("an encoder has no such input")
		}
		e.at[n] = name
	case graph.LengthMask:
		e.at[n] = q.mask
	case graph.Reshape:
		if o.Length == 0 {
			return false, nil
		}
		dims := append([]int(nil), o.Dims...)
		dims[o.Length] = lengthDim
		return true, e.op(n, "Reshape", []string{in[0], q.dims(e, dims...)})
	case graph.Slice:
		if !o.Length {
			return false, nil
		}
		return true, e.op(n, "Slice", []string{in[0], e.numbers(o.Start), q.size, e.numbers(o.Axis), e.numbers(max(o.Step, 1))})
	case graph.Attention:
		return true, e.attention(n, o, in)
	case graph.FakeQuant:
		if _, weight := n.In()[0].Op().(graph.Param); weight || !q.activations {
			return false, nil
		}
		return true, e.rounded(n, o, in)
	default:
		return false, nil
	}
	return true, nil
}

// attention writes softmax(scale*q*kT + bias)*v, the bias hiding padding.
func (e *exporter) attention(n *graph.Node, o graph.Attention, in []string) error {
	if o.Heads != o.KVHeads || o.Causal || o.Position || o.Starts || !o.Lengths {
		return fmt.Errorf("%d heads on %d, mask %+v: want an encoder's, as many heads on both sides", o.Heads, o.KVHeads, o.Mask)
	}
	d := n.Shape()[1] / o.Heads
	split := func(what, x string, perm ...int) string { // [batch, heads, sequence, d], or the last two swapped
		x = e.step(n.Name()+what+"_heads", "Reshape", []string{x, e.seq.dims(e, -1, lengthDim, o.Heads, d)})
		return e.step(n.Name()+what, "Transpose", []string{x}, IntsAttr("perm", perm...))
	}
	query, key, value := split("_q", in[0], 0, 2, 1, 3), split("_k", in[1], 0, 2, 3, 1), split("_v", in[2], 0, 2, 1, 3)
	scores := e.step(n.Name()+"_scores", "MatMul", []string{query, key})
	scores = e.step(n.Name()+"_scaled", "Mul", []string{scores, e.tensor(FloatTensor("scale", []float32{float32(o.Factor(d))}))})
	scores = e.step(n.Name()+"_masked", "Add", []string{scores, e.seq.bias})
	probs := e.step(n.Name()+"_softmax", "Softmax", []string{scores}, IntAttr("axis", -1))
	y := e.step(n.Name()+"_sum", "MatMul", []string{probs, value})
	y = e.step(n.Name()+"_tokens", "Transpose", []string{y}, IntsAttr("perm", 0, 2, 1, 3))
	return e.op(n, "Reshape", []string{y, e.numbers(-1, n.Shape()[1])})
}

// rounded writes a quantizer of activations.
func (e *exporter) rounded(n *graph.Node, o graph.FakeQuant, in []string) error {
	step := e.store.Get(n.In()[1].Name())
	if o.Spec.Bits > 8 || o.Spec.Granularity != quant.PerTensor || step == nil || step.Len() != 1 {
		return fmt.Errorf("activations of %v, want at most 8 bits and one stored step", o.Spec)
	}
	zero, lowest, highest := o.Spec.Zero, o.Spec.Zero-o.Spec.Qn(), o.Spec.Zero+o.Spec.Qp()
	if o.Spec.Signed {
		zero, lowest, highest = 128, 128-o.Spec.Qn(), 128+o.Spec.Qp()
	}
	scale := e.tensor(FloatTensor(n.Name()+"_scale", step.Float32s()))
	point := e.byte(n.Name()+"_zero", zero)
	x := e.step(n.Name()+"_quantized", "QuantizeLinear", []string{in[0], scale, point})
	if lowest > 0 || highest < 255 {
		x = e.step(n.Name()+"_clipped", "Clip", []string{x, e.byte(n.Name()+"_min", lowest), e.byte(n.Name()+"_max", highest)})
	}
	return e.op(n, "DequantizeLinear", []string{x, scale, point})
}

func (e *exporter) byte(name string, v int) string {
	return e.tensor(IntTensor(name, Uint8, []int32{int32(v)}))
}
