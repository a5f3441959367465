package onnx

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"lowbit/internal/atomicfile"
)

// Write makes path an ONNX file. On any error path keeps what it held before.
func Write(path string, m *Model) error {
	b := Encode(m)
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("onnx: %w", err)
	}
	return nil
}

// Encode returns a model's bytes: equal models give equal bytes.
func Encode(m *Model) []byte {
	var e encoder
	e.varint(1, uint64(m.IRVersion))
	e.text(2, m.Producer)
	e.text(3, m.Version)
	e.message(7, func(e *encoder) { e.graph(m.Graph) })
	for _, domain := range slices.Sorted(maps.Keys(m.Opsets)) {
		e.message(8, func(e *encoder) {
			e.text(1, domain)
			e.varint(2, uint64(m.Opsets[domain]))
		})
	}
	e.pairs(14, m.Metadata)
	return e.b
}

// encoder appends fields of a message.
type encoder struct{ b []byte }

func (e *encoder) varint(field protowire.Number, v uint64) {
	e.b = protowire.AppendVarint(protowire.AppendTag(e.b, field, protowire.VarintType), v)
}

func (e *encoder) bytes(field protowire.Number, v []byte) {
	e.b = protowire.AppendBytes(protowire.AppendTag(e.b, field, protowire.BytesType), v)
}

// text leaves out empty strings, as proto3 does.
func (e *encoder) text(field protowire.Number, v string) {
	if v != "" {
		e.bytes(field, []byte(v))
	}
}

func (e *encoder) message(field protowire.Number, fill func(*encoder)) {
	var inner encoder
	fill(&inner)
	e.bytes(field, inner.b)
}

func (e *encoder) pairs(field protowire.Number, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		e.message(field, func(e *encoder) {
			e.text(1, k)
			e.text(2, m[k])
		})
	}
}

func (e *encoder) graph(g Graph) {
	for _, n := range g.Nodes {
		e.message(1, func(e *encoder) { e.node(n) })
	}
	e.text(2, g.Name)
	for _, t := range g.Initializers {
		e.message(5, func(e *encoder) { e.tensor(t) })
	}
	for _, v := range g.Inputs {
		e.message(11, func(e *encoder) { e.valueInfo(v) })
	}
	for _, v := range g.Outputs {
		e.message(12, func(e *encoder) { e.valueInfo(v) })
	}
}

func (e *encoder) node(n Node) {
	for _, s := range n.Inputs { // an empty name counts
		e.bytes(1, []byte(s))
	}
	for _, s := range n.Outputs {
		e.bytes(2, []byte(s))
	}
	e.text(3, n.Name)
	e.text(4, n.Op)
	for _, a := range n.Attributes {
		e.message(5, func(e *encoder) { e.attribute(a) })
	}
	e.text(7, n.Domain)
}

func (e *encoder) attribute(a Attribute) {
	e.text(1, a.Name)
	switch a.kind {
	case kindFloat:
		e.b = protowire.AppendFixed32(protowire.AppendTag(e.b, 2, protowire.Fixed32Type), math.Float32bits(a.Float))
	case kindInt:
		e.varint(3, uint64(a.Int))
	case kindString:
		e.bytes(4, []byte(a.String))
	case kindTensor:
		e.message(5, func(e *encoder) { e.tensor(*a.Tensor) })
	case kindFloats:
		var b []byte
		for _, v := range a.Floats {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		e.bytes(7, b)
	case kindInts:
		e.ints(8, a.Ints)
	case kindStrings:
		for _, s := range a.Strings {
			e.bytes(9, []byte(s))
		}
	}
	e.varint(20, uint64(a.kind))
}

func (e *encoder) ints(field protowire.Number, v []int64) {
	var b []byte
	for _, x := range v {
		b = protowire.AppendVarint(b, uint64(x))
	}
	e.bytes(field, b)
}

func (e *encoder) tensor(t Tensor) {
	if len(t.Dims) > 0 {
		e.ints(1, t.Dims)
	}
	e.varint(2, uint64(t.Type))
	e.text(8, t.Name)
	e.bytes(9, t.Data)
}

func (e *encoder) valueInfo(v ValueInfo) {
	e.text(1, v.Name)
	e.message(2, func(e *encoder) {
		e.message(1, func(e *encoder) {
			e.varint(1, uint64(v.Type))
			e.message(2, func(e *encoder) {
				for i, d := range v.Dims {
					e.message(1, func(e *encoder) {
						if d >= 0 {
							e.varint(1, uint64(d))
						} else if i < len(v.Symbols) {
							e.text(2, v.Symbols[i])
						}
					})
				}
			})
		})
	})
}

// Floats makes a tensor of float32 numbers.
func Floats(name string, v []float32, dims ...int) Tensor {
	t := Tensor{Name: name, Type: Float32, Dims: wide(dims)}
	for _, x := range v {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(x))
	}
	return t
}

// Int8s makes a tensor of codes.
func Int8s(name string, v []int8, dims ...int) Tensor {
	t := Tensor{Name: name, Type: Int8, Dims: wide(dims), Data: make([]byte, len(v))}
	for i, x := range v {
		t.Data[i] = byte(x)
	}
	return t
}

// Uint8s makes a tensor of bytes.
func Uint8s(name string, v []uint8, dims ...int) Tensor {
	return Tensor{Name: name, Type: Uint8, Dims: wide(dims), Data: slices.Clone(v)}
}

// Int32s makes a tensor of 32-bit numbers.
func Int32s(name string, v []int32, dims ...int) Tensor {
	t := Tensor{Name: name, Type: Int32, Dims: wide(dims)}
	for _, x := range v {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, uint32(x))
	}
	return t
}

// Int64s makes a tensor of 64-bit numbers: shapes, axes, bounds.
func Int64s(name string, v []int, dims ...int) Tensor {
	t := Tensor{Name: name, Type: Int64, Dims: wide(dims)}
	for _, x := range v {
		t.Data = binary.LittleEndian.AppendUint64(t.Data, uint64(x))
	}
	return t
}

func wide(dims []int) (out []int64) {
	for _, d := range dims {
		out = append(out, int64(d))
	}
	return out
}
