package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxFileBytes bounds a file: protocol buffers end at 2 GiB.
const maxFileBytes = 1 << 31

// Read reads an ONNX file. Tensors whose data lie outside it keep their External.
// Every error names the path.
func Read(path string) (*Model, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	if stat.Size() > maxFileBytes {
		return nil, fmt.Errorf("onnx: %s has %d bytes, want at most %d", path, stat.Size(), maxFileBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	m, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// Decode reads a model's bytes, which the model's tensors keep.
func Decode(b []byte) (*Model, error) {
	m := &Model{Opsets: map[string]int64{}, Metadata: map[string]string{}}
	graphs := 0
	err := fields(b, func(f field) error {
		switch f.number {
		case 1:
			m.IRVersion = int64(f.value)
		case 2:
			m.Producer = string(f.bytes)
		case 3:
			m.Version = string(f.bytes)
		case 7:
			graphs++
			return f.inside("graph", m.Graph.decode)
		case 8:
			var domain string
			var version int64
			err := f.inside("opset", func(f field) error {
				switch f.number {
				case 1:
					domain = string(f.bytes)
				case 2:
					version = int64(f.value)
				}
				return nil
			})
			if domain == "ai.onnx" {
				domain = ""
			}
			m.Opsets[domain] = version
			return err
		case 14:
			return f.pair(m.Metadata)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("onnx: %w", err)
	case graphs != 1 || m.IRVersion < 1:
		return nil, fmt.Errorf("onnx: IR version %d with %d graphs: no ONNX model", m.IRVersion, graphs)
	}
	return m, nil
}

// field is one field of a message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64 // of numbers
	bytes  []byte // of strings and messages
}

// fields calls f with each field of a message.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		x := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			x.value, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			x.value = uint64(v)
		case protowire.Fixed64Type:
			x.value, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			x.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// inside reads the message in a field.
func (f field) inside(what string, each func(field) error) error {
	if f.kind != protowire.BytesType {
		return fmt.Errorf("%s: field %d is no message", what, f.number)
	}
	if err := fields(f.bytes, each); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (f field) pair(into map[string]string) error {
	var k, v string
	err := f.inside("entry", func(f field) error {
		switch f.number {
		case 1:
			k = string(f.bytes)
		case 2:
			v = string(f.bytes)
		}
		return nil
	})
	into[k] = v
	return err
}

// ints appends a repeated whole number, packed or not.
func (f field) ints(dst []int64) ([]int64, error) {
	if f.kind == protowire.VarintType {
		return append(dst, int64(f.value)), nil
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return dst, protowire.ParseError(n)
		}
		dst, b = append(dst, int64(v)), b[n:]
	}
	return dst, nil
}

// floats appends a repeated float32, packed or not.
func (f field) floats(dst []float32) ([]float32, error) {
	if f.kind == protowire.Fixed32Type {
		return append(dst, math.Float32frombits(uint32(f.value))), nil
	}
	if len(f.bytes)%4 != 0 {
		return dst, errors.New("packed floats end within a number")
	}
	for b := f.bytes; len(b) > 0; b = b[4:] {
		dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return dst, nil
}

func (g *Graph) decode(f field) error {
	switch f.number {
	case 1:
		var n Node
		err := f.inside("node", n.decode)
		g.Nodes = append(g.Nodes, n)
		return err
	case 2:
		g.Name = string(f.bytes)
	case 5:
		var t tensorReader
		err := f.inside("initializer", t.decode)
		if err == nil {
			err = t.finish()
		}
		g.Initializers = append(g.Initializers, t.Tensor)
		return err
	case 11, 12:
		v := ValueInfo{}
		err := f.inside("value", v.decode)
		if f.number == 11 {
			g.Inputs = append(g.Inputs, v)
		} else {
			g.Outputs = append(g.Outputs, v)
		}
		return err
	case 15:
		return errors.New("sparse tensors are not supported")
	}
	return nil
}

func (n *Node) decode(f field) error {
	switch f.number {
	case 1:
		n.Inputs = append(n.Inputs, string(f.bytes))
	case 2:
		n.Outputs = append(n.Outputs, string(f.bytes))
	case 3:
		n.Name = string(f.bytes)
	case 4:
		n.Op = string(f.bytes)
	case 5:
		var a Attribute
		err := f.inside("attribute", a.decode)
		n.Attributes = append(n.Attributes, a)
		return err
	case 7:
		if n.Domain = string(f.bytes); n.Domain == "ai.onnx" {
			n.Domain = ""
		}
	}
	return nil
}

func (a *Attribute) decode(f field) (err error) {
	switch f.number {
	case 1:
		a.Name = string(f.bytes)
	case 2:
		a.Float, a.kind = math.Float32frombits(uint32(f.value)), kindFloat
	case 3:
		a.Int, a.kind = int64(f.value), kindInt
	case 4:
		a.String, a.kind = string(f.bytes), kindString
	case 5:
		var t tensorReader
		if err = f.inside("tensor", t.decode); err == nil {
			err = t.finish()
		}
		a.Tensor, a.kind = &t.Tensor, kindTensor
	case 6, 11:
		a.Graph, a.kind = true, kindGraph
	case 7:
		a.Floats, err = f.floats(a.Floats)
		a.kind = kindFloats
	case 8:
		a.Ints, err = f.ints(a.Ints)
		a.kind = kindInts
	case 9:
		a.Strings, a.kind = append(a.Strings, string(f.bytes)), kindStrings
	}
	return err
}

func (v *ValueInfo) decode(f field) error {
	switch f.number {
	case 1:
		v.Name = string(f.bytes)
	case 2:
		return f.inside("type", func(f field) error {
			if f.number != 1 { // sequences, maps: not a tensor
				return nil
			}
			return f.inside("tensor type", v.tensorType)
		})
	}
	return nil
}

func (v *ValueInfo) tensorType(f field) error {
	switch f.number {
	case 1:
		v.Type = DataType(f.value)
	case 2:
		return f.inside("shape", func(f field) error {
			if f.number != 1 {
				return nil
			}
			dim, symbol := int64(-1), ""
			err := f.inside("dimension", func(f field) error {
				switch f.number {
				case 1:
					dim = int64(f.value)
				case 2:
					symbol = string(f.bytes)
				}
				return nil
			})
			v.Dims, v.Symbols = append(v.Dims, dim), append(v.Symbols, symbol)
			return err
		})
	}
	return nil
}
