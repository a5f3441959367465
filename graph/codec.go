package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"unicode/utf8"

	"lowbit/tensor"
)

// CodecVersion is the version of the form that Encode writes. Decode reads
// this one.
const CodecVersion = 1

// Limits of Decode: far above any network of this kind, low enough that a
// hostile file cannot make a reader allocate without bound.
const (
	MaxEncodedBytes = 256 << 20
	maxNodes        = 1 << 20
	maxRank         = 16
	maxInt          = math.MaxInt32 // of any attribute or dimension
)

// ops makes the op of each kind from its attributes. It is the one list of all
// ops: a type that is missing here cannot be stored.
var ops = map[string]func(attrs []byte) (Op, error){
	"input": decodeInput,
	"param": decodeOp[Param],
	"const": decodeOp[Const],

	"add": decodeOp[Binary], "sub": decodeOp[Binary], "mul": decodeOp[Binary], "div": decodeOp[Binary],
	"max": decodeOp[Binary], "min": decodeOp[Binary], "greater": decodeOp[Binary],
	"neg": decodeOp[Unary], "abs": decodeOp[Unary], "sign": decodeOp[Unary], "sqrt": decodeOp[Unary],
	"exp": decodeOp[Unary], "log": decodeOp[Unary], "relu": decodeOp[Unary], "relu6": decodeOp[Unary],
	"sigmoid": decodeOp[Unary], "tanh": decodeOp[Unary], "erf": decodeOp[Unary],
	"relu_grad": decodeOp[ReluGrad],
	"dropout":   decodeOp[Dropout],

	"conv2d":             decodeOp[Conv2D],
	"conv2d_grad_input":  decodeOp[Conv2DGradInput],
	"conv2d_grad_weight": decodeOp[Conv2DGradWeight],
	"matmul":             decodeOp[MatMul],

	"max_pool": decodeOp[Pool], "avg_pool": decodeOp[Pool],
	"max_pool_grad": decodeOp[PoolGrad], "avg_pool_grad": decodeOp[PoolGrad],
	"reduce_sum": decodeOp[Reduce], "reduce_mean": decodeOp[Reduce],
	"broadcast_to": decodeOp[BroadcastTo],

	"after":      decodeOp[After],
	"reshape":    decodeOp[Reshape],
	"transpose":  decodeOp[Transpose],
	"slice":      decodeOp[Slice],
	"slice_grad": decodeOp[SliceGrad],
	"pad":        decodeOp[Pad],
	"concat":     decodeOp[Concat],

	"batch_norm":            decodeOp[BatchNorm],
	"moments":               decodeOp[Moments],
	"batch_norm_train":      decodeOp[BatchNormTrain],
	"batch_norm_grad_sums":  decodeOp[BatchNormGradSums],
	"batch_norm_grad_input": decodeOp[BatchNormGradInput],
	"running_stat":          decodeOp[RunningStat],

	"fake_quant":            decodeOp[FakeQuant],
	"fake_quant_grad_input": decodeOp[FakeQuantGradInput],
	"fake_quant_grad_step":  decodeOp[FakeQuantGradStep],
	"quant_codes":           decodeOp[QuantCodes],

	"softmax": decodeOp[Softmax], "log_softmax": decodeOp[Softmax],
	"softmax_grad": decodeOp[SoftmaxGrad], "log_softmax_grad": decodeOp[SoftmaxGrad],
	"cross_entropy":      decodeOp[CrossEntropy],
	"cross_entropy_grad": decodeOp[CrossEntropyGrad],
	"kl_divergence":      decodeOp[KLDivergence],
	"kl_divergence_grad": decodeOp[KLDivergenceGrad],

	"embedding":      decodeOp[Embedding],
	"embedding_grad": decodeOp[EmbeddingGrad],
	"layer_norm":     decodeOp[RowNorm], "rms_norm": decodeOp[RowNorm],
	"layer_norm_grad": decodeOp[RowNormGrad], "rms_norm_grad": decodeOp[RowNormGrad],
	"layer_norm_grad_params": decodeOp[RowNormGradParams], "rms_norm_grad_params": decodeOp[RowNormGradParams],
	"gelu": decodeOp[Activation], "gelu_tanh": decodeOp[Activation], "silu": decodeOp[Activation], "elu": decodeOp[Activation],
	"gelu_grad": decodeOp[ActivationGrad], "gelu_tanh_grad": decodeOp[ActivationGrad],
	"silu_grad": decodeOp[ActivationGrad], "elu_grad": decodeOp[ActivationGrad],
	"rope":           decodeOp[RoPE],
	"attention":      decodeOp[Attention],
	"attention_grad": decodeOp[AttentionGrad],
	"masked_softmax": decodeOp[MaskedSoftmax],
	"cache_append":   decodeOp[CacheAppend],
	"dynamic_step":   decodeOp[DynamicStep],
	"length_mask":    decodeOp[LengthMask],

	"spike": decodeOp[Spike], "spike_grad": decodeOp[SpikeGrad], "ternary": decodeOp[Ternary],
}

// encodedInput is Input with its element type in words.
type encodedInput struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Fixed bool   `json:"fixed,omitempty"`
}

type encodedNode struct {
	Op    string          `json:"op"`
	Name  string          `json:"name,omitempty"` // of inputs and params it stands in attrs
	In    []int           `json:"in,omitempty"`   // positions in the list
	Attrs json.RawMessage `json:"attrs,omitempty"`
}

type encodedOutput struct {
	Name string `json:"name"`
	Node int    `json:"node"`
}

type encodedUpdate struct {
	Param int `json:"param"`
	Value int `json:"value"`
}

type encodedGraph struct {
	Version int             `json:"version"`
	Nodes   []encodedNode   `json:"nodes"`
	Outputs []encodedOutput `json:"outputs"`
	Updates []encodedUpdate `json:"updates,omitempty"`
}

// Encode returns the graph as JSON: a version, the nodes in order (kind, name,
// positions of the operands, attributes), outputs and updates; one node a line.
// Equal graphs give equal bytes. Types are not stored: Decode infers them.
//
// It is an error if the graph has one, or holds a number or a name that JSON
// cannot (infinity, NaN, a name that is not UTF-8).
func Encode(g *Graph) ([]byte, error) {
	if g.err != nil {
		return nil, fmt.Errorf("graph: encode: %w", g.err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\":%d,\n\"nodes\":[", CodecVersion)
	for i, n := range g.nodes {
		e, err := encodeNode(n)
		if err != nil {
			return nil, fmt.Errorf("graph: encode node %s: %w", n.Name(), err)
		}
		writeLine(&b, i, e)
	}
	b.WriteString("],\n\"outputs\":[")
	for i, o := range g.outputs {
		if !utf8.ValidString(o.Name) {
			return nil, fmt.Errorf("graph: encode output %q: the name is not UTF-8", o.Name)
		}
		e, err := json.Marshal(encodedOutput{o.Name, o.Node.id})
		if err != nil {
			return nil, fmt.Errorf("graph: encode output %q: %w", o.Name, err)
		}
		writeLine(&b, i, e)
	}
	b.WriteString("]")
	if len(g.updates) > 0 {
		b.WriteString(",\n\"updates\":[")
		for i, u := range g.updates {
			writeLine(&b, i, fmt.Appendf(nil, `{"param":%d,"value":%d}`, u.Param.id, u.Value.id))
		}
		b.WriteString("]")
	}
	b.WriteString("}\n")
	return b.Bytes(), nil
}

func writeLine(b *bytes.Buffer, i int, line []byte) {
	if i > 0 {
		b.WriteByte(',')
	}
	b.WriteByte('\n')
	b.Write(line)
}

func encodeNode(n *Node) ([]byte, error) {
	e := encodedNode{Op: n.op.Kind(), Name: n.name}
	if ops[e.Op] == nil {
		return nil, fmt.Errorf("op %q is not in the list of ops", e.Op)
	}
	for _, x := range n.in {
		e.In = append(e.In, x.id)
	}
	attrs := any(n.op)
	name := n.name
	switch o := n.op.(type) {
	case Input:
		attrs, e.Name, name = encodedInput{o.Name, o.DType.String(), o.Shape, o.Fixed}, "", o.Name
	case Param:
		e.Name, name = "", o.Name
	}
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("name %q is not UTF-8", name)
	}
	a, err := json.Marshal(attrs)
	if err != nil {
		return nil, err
	}
	if string(a) != "{}" {
		e.Attrs = a
	}
	return json.Marshal(e)
}

// Decode reads what Encode wrote. The bytes may come from anywhere: sizes are
// bounded, every reference is checked, and all types are inferred again, so a
// graph that Decode returns is as well formed as one that was built.
func Decode(b []byte) (*Graph, error) {
	g, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("graph: decode: %w", err)
	}
	return g, nil
}

func decode(b []byte) (*Graph, error) {
	if len(b) > MaxEncodedBytes {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(b), MaxEncodedBytes)
	}
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, err
	}
	switch {
	case head.Version == nil:
		return nil, errors.New("no version: not a stored graph")
	case *head.Version != CodecVersion:
		return nil, fmt.Errorf("version %d, want %d", *head.Version, CodecVersion)
	}
	var e encodedGraph
	if err := decodeStrict(b, &e); err != nil {
		return nil, err
	}
	if len(e.Nodes) > maxNodes {
		return nil, fmt.Errorf("%d nodes, want at most %d", len(e.Nodes), maxNodes)
	}
	g := New()
	for i, n := range e.Nodes {
		if err := g.decodeNode(n); err != nil {
			return nil, fmt.Errorf("node %d %q (%s): %w", i, n.Name, n.Op, err)
		}
	}
	return g, g.decodeResults(e)
}

func (g *Graph) decodeNode(e encodedNode) error {
	build := ops[e.Op]
	if build == nil {
		return errors.New("no such op")
	}
	op, err := build(e.Attrs)
	if err != nil {
		return err
	}
	if op.Kind() != e.Op {
		return fmt.Errorf("attributes are those of %q", op.Kind())
	}
	if err := boundedInts(reflect.ValueOf(op)); err != nil {
		return err
	}
	var in []*Node
	for _, id := range e.In {
		if id < 0 || id >= len(g.nodes) {
			return fmt.Errorf("operand %d, want an earlier node", id)
		}
		in = append(in, g.nodes[id])
	}
	n := g.Apply(op, in...)
	if g.err != nil {
		return g.err
	}
	if err := boundedShape(n.typ.Shape); err != nil {
		return err
	}
	switch o := op.(type) {
	case Param:
		if g.params[o.Name] != nil {
			return fmt.Errorf("a second param %q", o.Name)
		}
		g.params[o.Name] = n.Named(o.Name)
	case Input:
		if g.inputs[o.Name] != nil {
			return fmt.Errorf("a second input %q", o.Name)
		}
		g.inputs[o.Name] = n.Named(o.Name)
	default:
		n.Named(e.Name)
		return nil
	}
	if e.Name != "" || len(in) > 0 {
		return errors.New("a source with a second name or operands")
	}
	return nil
}

func (g *Graph) decodeResults(e encodedGraph) error {
	node := func(id int) (*Node, error) {
		if id < 0 || id >= len(g.nodes) {
			return nil, fmt.Errorf("node %d of %d", id, len(g.nodes))
		}
		return g.nodes[id], nil
	}
	for _, o := range e.Outputs {
		n, err := node(o.Node)
		if err != nil {
			return fmt.Errorf("output %q: %w", o.Name, err)
		}
		g.Output(o.Name, n)
	}
	for _, u := range e.Updates {
		p, err := node(u.Param)
		if err != nil {
			return fmt.Errorf("update: %w", err)
		}
		v, err := node(u.Value)
		if err != nil {
			return fmt.Errorf("update of %q: %w", p.Name(), err)
		}
		g.Update(p, v)
	}
	return g.err
}

func decodeOp[T Op](attrs []byte) (Op, error) {
	var o T
	if len(attrs) == 0 {
		return o, nil
	}
	err := decodeStrict(attrs, &o)
	return o, err
}

func decodeInput(attrs []byte) (Op, error) {
	var e encodedInput
	if err := decodeStrict(attrs, &e); err != nil {
		return nil, err
	}
	d, err := tensor.ParseDType(e.DType)
	return Input{Name: e.Name, DType: d, Shape: e.Shape, Fixed: e.Fixed}, err
}

// decodeStrict reads one JSON value into v; unknown fields are an error.
func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// boundedInts checks that no integer attribute is so large that shape rules
// could overflow.
func boundedInts(v reflect.Value) error {
	switch v.Kind() {
	case reflect.Int:
		if n := v.Int(); n > maxInt || n < -maxInt {
			return fmt.Errorf("attribute %d, want at most %d", n, maxInt)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := boundedInts(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := boundedInts(v.Index(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func boundedShape(s tensor.Shape) error {
	if len(s) > maxRank {
		return fmt.Errorf("rank %d, want at most %d", len(s), maxRank)
	}
	for _, d := range s {
		if d < 1 || d > maxInt {
			return fmt.Errorf("dimension %d of %v, want 1 to %d", d, s, maxInt)
		}
	}
	_, err := s.CheckedSize()
	return err
}
