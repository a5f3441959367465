// Package onnx reads and writes ONNX models, and turns them into graphs.
//
// The bytes are protobuf. The eight messages that a model needs are read and
// written here, field by field (wire.go): a generated reader would bring a
// dependency ten times the size of this package, allocate for every field that
// nobody wants, and leave the bounds to be checked afterwards.
//
// Everything read is hostile until checked. Decode allocates at most MaxMultiple
// times the content and 1 MiB; values stay where they are in the content until
// somebody asks for them. Values outside the file (external data) are read from
// the model's own folder alone.
//
// # What maps to what
//
// Import makes a graph of: Conv, ConvInteger, MatMul, MatMulInteger, Gemm,
// BatchNormalization, LayerNormalization, Relu, Clip, Sigmoid, Tanh, Erf, Gelu,
// HardSigmoid, HardSwish, Softmax, LogSoftmax, Add, Sub, Mul, Div, Min, Max, Sum,
// Neg, Abs, Sqrt, Exp, Log, Pow (3, 2 and 0.5), Reciprocal, MaxPool, AveragePool,
// GlobalAveragePool, ReduceMean, ReduceSum, Reshape, Flatten, Transpose, Pad,
// Slice, Split, Gather, GatherND (of all elements), Concat, Squeeze, Unsqueeze,
// Expand, Identity, Dropout, QuantizeLinear, DequantizeLinear; of masks, which are
// floats of 0 and 1, Where, And, Or, Not; and works out, where all operands are
// known, Shape, Constant, ConstantOfShape, Range, Cast, Equal, Less,
// LessOrEqual, Greater, GreaterOrEqual and the above.
//
//	QuantizeLinear, [Clip,] DequantizeLinear  FakeQuant with that step, zero point and range
//	DequantizeLinear of a stored tensor       FakeQuant of a parameter that holds step*code
//	scales below 0, of a channel              positive steps, and a factor of -1 behind the layer
//	INT32 bias through DequantizeLinear       a bias in float32
//	batch norm, relu, adds                    the graph's own
//
// A graph's grids are whole powers of two wide: a stored weight gets the least
// width that holds its codes.
package onnx

import (
	"errors"
	"fmt"
)

// MaxMultiple bounds the memory that Decode takes, as a multiple of the content.
const MaxMultiple = 128

// Type is an element type, with the numbers of ONNX.
type Type int32

// Element types.
const (
	Float    Type = 1
	Uint8    Type = 2
	Int8     Type = 3
	Uint16   Type = 4
	Int16    Type = 5
	Int32    Type = 6
	Int64    Type = 7
	String   Type = 8
	Bool     Type = 9
	Float16  Type = 10
	Double   Type = 11
	Uint32   Type = 12
	Uint64   Type = 13
	BFloat16 Type = 16
	Uint4    Type = 21
	Int4     Type = 22
	Uint2    Type = 25
	Int2     Type = 26
)

var typeNames = map[Type]string{
	Float: "float", Uint8: "uint8", Int8: "int8", Uint16: "uint16", Int16: "int16", Int32: "int32", Int64: "int64",
	String: "string", Bool: "bool", Float16: "float16", Double: "double", Uint32: "uint32", Uint64: "uint64",
	BFloat16: "bfloat16", Uint4: "uint4", Int4: "int4", Uint2: "uint2", Int2: "int2",
}

var typeBits = map[Type]int{
	Float: 32, Uint8: 8, Int8: 8, Uint16: 16, Int16: 16, Int32: 32, Int64: 64, Bool: 8, Float16: 16, Double: 64,
	Uint32: 32, Uint64: 64, BFloat16: 16, Uint4: 4, Int4: 4, Uint2: 2, Int2: 2,
}

// String returns ONNX's name in small letters.
func (t Type) String() string {
	if n := typeNames[t]; n != "" {
		return n
	}
	return fmt.Sprintf("type %d", int32(t))
}

// Model is a file.
type Model struct {
	IRVersion       int64
	Producer        string
	ProducerVersion string
	Doc             string
	Opset           int64            // of the default domain
	Domains         map[string]int64 // versions of other domains
	Metadata        []Entry          // metadata_props
	Functions       int              // model-local functions: counted, not read
	Graph           Graph
}

// Entry is a pair of strings.
type Entry struct{ Key, Value string }

// Meta returns the metadata of that key.
func (m *Model) Meta(key string) string {
	for _, e := range m.Metadata {
		if e.Key == key {
			return e.Value
		}
	}
	return ""
}

// Graph is the network: nodes in topological order.
type Graph struct {
	Name         string
	Nodes        []Node
	Initializers []*Tensor
	Inputs       []Value
	Outputs      []Value
	Sparse       int // sparse initializers: counted, not read
}

// Value is the name and type of an input or output.
type Value struct {
	Name string
	Type Type
	Dims []Dim // nil: not known
}

// Dim is a dimension: a size, or a name (or nothing) where it is free.
type Dim struct {
	Size int64
	Name string
}

// Node is an operation.
type Node struct {
	Op, Domain, Name string
	Inputs, Outputs  []string
	Attributes       []Attribute
}

// Attribute is a named setting of a node.
type Attribute struct {
	Name    string
	F       float32
	I       int64
	S       []byte
	T       *Tensor
	Floats  []float32
	Ints    []int64
	Strings []string
	Graphs  int // subgraphs: counted, not read
	kind    int64
}

// errTruncated is wrapped where the content ends too early.
var errTruncated = errors.New("the content ends early")

// Attr returns the attribute of that name, or nil.
func (n *Node) Attr(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// label names a node in messages: its op, and its name or first result.
func (n *Node) label() string {
	name := n.Name
	if name == "" && len(n.Outputs) > 0 {
		name = n.Outputs[0]
	}
	op := n.Op
	if n.Domain != "" && n.Domain != "ai.onnx" {
		op = n.Domain + "." + op
	}
	return fmt.Sprintf("%s %q", op, name)
}
