package onnx

import (
	"encoding/binary"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"lowbit/tensor"
)

// tensorReader reads a tensor whose elements stand in one of several fields.
type tensorReader struct {
	Tensor
	raw      []byte
	hasRaw   bool
	floats   []float32
	ints     []int64
	doubles  []byte
	external bool
}

func (t *tensorReader) decode(f field) (err error) {
	switch f.number {
	case 1:
		t.Dims, err = f.ints(t.Dims)
	case 2:
		t.Type = DataType(f.value)
	case 3:
		return fmt.Errorf("tensor %q is in segments", t.Name)
	case 4:
		t.floats, err = f.floats(t.floats)
	case 5, 7, 11:
		t.ints, err = f.ints(t.ints)
	case 8:
		t.Name = string(f.bytes)
	case 9:
		t.raw, t.hasRaw = f.bytes, true
	case 10:
		if f.kind == protowire.Fixed64Type {
			t.doubles = binary.LittleEndian.AppendUint64(t.doubles, f.value)
		} else {
			t.doubles = append(t.doubles, f.bytes...)
		}
	case 13:
		if t.External == nil {
			t.External = map[string]string{}
		}
		return f.pair(t.External)
	case 14:
		t.external = f.value == 1
	}
	return err
}

// finish brings the elements into Data and compares them with the dimensions.
func (t *tensorReader) finish() error {
	n, err := t.Size()
	if err != nil {
		return err
	}
	size := t.Type.Size()
	switch {
	case size == 0:
		return fmt.Errorf("tensor %q is of %v, which is not supported", t.Name, t.Type)
	case t.external:
		if t.External["location"] == "" {
			return fmt.Errorf("tensor %q lies outside the model, but the place is not named", t.Name)
		}
		return nil
	}
	t.External = nil
	switch {
	case t.hasRaw:
		t.Data = t.raw
	case t.floats != nil:
		for _, v := range t.floats {
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
		}
	case t.doubles != nil:
		t.Data = t.doubles
	default:
		for _, v := range t.ints {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], uint64(v))
			t.Data = append(t.Data, b[:size]...)
		}
	}
	if len(t.Data) != n*size {
		return fmt.Errorf("tensor %q has %d bytes, want %d for %v of %v", t.Name, len(t.Data), n*size, t.Dims, t.Type)
	}
	return nil
}

// Float32s returns the elements of a tensor of floating-point or whole numbers as
// float32.
func (t Tensor) Float32s() ([]float32, error) {
	n, err := t.Size()
	if err != nil {
		return nil, err
	}
	if t.Data == nil && n > 0 {
		return nil, fmt.Errorf("onnx: tensor %q: its data lie outside the model", t.Name)
	}
	out := make([]float32, n)
	switch t.Type {
	case Float32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case Float64:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:])))
		}
	case Float16:
		for i := range out {
			out[i] = tensor.Float16ToFloat32(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	default:
		ints, err := t.Ints()
		if err != nil {
			return nil, err
		}
		for i, v := range ints {
			out[i] = float32(v)
		}
	}
	return out, nil
}

// Ints returns the elements of a tensor of whole numbers.
func (t Tensor) Ints() ([]int64, error) {
	n, err := t.Size()
	if err != nil {
		return nil, err
	}
	if t.Data == nil && n > 0 {
		return nil, fmt.Errorf("onnx: tensor %q: its data lie outside the model", t.Name)
	}
	out := make([]int64, n)
	for i := range out {
		switch t.Type {
		case Uint8, Bool:
			out[i] = int64(t.Data[i])
		case Int8:
			out[i] = int64(int8(t.Data[i]))
		case Int32:
			out[i] = int64(int32(binary.LittleEndian.Uint32(t.Data[4*i:])))
		case Int64:
			out[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
		default:
			return nil, fmt.Errorf("onnx: tensor %q is of %v, want whole numbers", t.Name, t.Type)
		}
	}
	return out, nil
}
