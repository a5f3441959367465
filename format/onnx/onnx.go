// Package onnx reads and writes ONNX models: the protocol buffer messages, the
// types of tensors and their packing. What nodes mean is not its business:
// packages that build or read graphs say that.
//
// The messages are those of onnx.proto that networks use, coded by hand on
// protobuf's wire format (google.golang.org/protobuf/encoding/protowire): ten
// messages, read without reflection and without a copy of the weights. Reading
// allocates at most a small multiple of the bytes; training information,
// functions, sparse tensors and subgraphs are not read.
package onnx

import (
	"fmt"

	"lowbit/tensor"
)

// Versions that the writer uses: Clip and quantization of 8-bit integers are
// complete at opset 13, and everything that reads ONNX today knows it.
const (
	IRVersion = 8
	Opset     = 13
)

// DataType is the type of a tensor's elements, with ONNX's numbers.
type DataType int32

// Types of elements.
const (
	Float32 DataType = 1
	Uint8   DataType = 2
	Int8    DataType = 3
	Int32   DataType = 6
	Int64   DataType = 7
	Bool    DataType = 9
	Float16 DataType = 10
	Float64 DataType = 11
)

var typeNames = map[DataType]string{Float32: "float", Uint8: "uint8", Int8: "int8", Int32: "int32", Int64: "int64", Bool: "bool", Float16: "float16", Float64: "double"}

// String returns ONNX's name of the type.
func (t DataType) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %d", int32(t))
}

// Size returns the bytes of an element, 0 for a type that is not read.
func (t DataType) Size() int {
	return map[DataType]int{Float32: 4, Uint8: 1, Int8: 1, Int32: 4, Int64: 8, Bool: 1, Float16: 2, Float64: 8}[t]
}

// Model is a network with what it was made by.
type Model struct {
	IRVersion int64
	Producer  string
	Version   string           // of the producer
	Opsets    map[string]int64 // version by domain; "" is ONNX's own
	Metadata  map[string]string
	Graph     Graph
}

// Graph is nodes in topological order, tensors by name, inputs and outputs.
type Graph struct {
	Name         string
	Nodes        []Node
	Initializers []Tensor
	Inputs       []ValueInfo
	Outputs      []ValueInfo
}

// Node is one operation.
type Node struct {
	Name, Op, Domain string
	Inputs, Outputs  []string // "" is an operand left out
	Attributes       []Attribute
}

// Attribute is one attribute of a node; which field counts depends on the
// operation.
type Attribute struct {
	Name    string
	Int     int64
	Float   float32
	String  string
	Ints    []int64
	Floats  []float32
	Strings []string
	Tensor  *Tensor
	// Graph tells that the attribute is a subgraph, which is not read.
	Graph bool

	kind int
}

// Numbers of attribute types in the file.
const (
	kindFloat, kindInt, kindString, kindTensor, kindGraph = 1, 2, 3, 4, 5
	kindFloats, kindInts, kindStrings                     = 6, 7, 8
)

// IntAttr makes an attribute of a whole number.
func IntAttr(name string, v int64) Attribute { return Attribute{Name: name, Int: v, kind: kindInt} }

// FloatAttr makes an attribute of a number.
func FloatAttr(name string, v float32) Attribute {
	return Attribute{Name: name, Float: v, kind: kindFloat}
}

// IntsAttr makes an attribute of whole numbers.
func IntsAttr(name string, v ...int) Attribute {
	a := Attribute{Name: name, kind: kindInts}
	for _, x := range v {
		a.Ints = append(a.Ints, int64(x))
	}
	return a
}

// Attr returns an attribute of a node; false if it has none of that name.
func (n Node) Attr(name string) (Attribute, bool) {
	for _, a := range n.Attributes {
		if a.Name == name {
			return a, true
		}
	}
	return Attribute{}, false
}

// Tensor is a named constant. Data holds its elements in row-major order, little
// endian.
type Tensor struct {
	Name string
	Type DataType
	Dims []int64
	Data []byte
	// External tells where the data lie outside the model: keys "location",
	// "offset" and "length". Data is nil then.
	External map[string]string
}

// ValueInfo describes an input or an output. A dimension that is not known is -1.
type ValueInfo struct {
	Name string
	Type DataType
	Dims []int64
	// Symbols names dimensions that are not known, "" for others.
	Symbols []string
}

// Size returns the number of elements, or an error for dimensions that make none.
func (t Tensor) Size() (int, error) {
	shape := make(tensor.Shape, len(t.Dims))
	for i, d := range t.Dims {
		if d < 0 || d > 1<<40 {
			return 0, fmt.Errorf("onnx: tensor %q has dimensions %v", t.Name, t.Dims)
		}
		shape[i] = int(d)
	}
	n, err := shape.CheckedSize()
	if err != nil {
		return 0, fmt.Errorf("onnx: tensor %q: %w", t.Name, err)
	}
	return n, nil
}
