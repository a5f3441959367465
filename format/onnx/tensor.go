package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"

	"lowbit/tensor"
)

// Tensor is a stored value, row-major.
type Tensor struct {
	Name string
	Type Type
	Dims []int64
	// Raw is the values in little endian, of types below 8 bits packed with the
	// first in the low bits.
	Raw []byte
	// External says where Raw lies if it is not in the file.
	External *External
}

// External is a place in another file.
type External struct {
	Location       string // relative to the model's folder
	Offset, Length int64  // Length -1: to the end
}

func decodeTensor(b []byte) (*Tensor, error) {
	t := &Tensor{}
	var numbers []int64 // of int32_data, int64_data and uint64_data
	err := fields(b, func(f field) (err error) {
		switch f.number {
		case 1:
			t.Dims, err = f.integers(t.Dims)
		case 2:
			t.Type = Type(f.v)
		case 3:
			return fmt.Errorf("it is a segment of a tensor")
		case 4, 10: // float_data, double_data: raw already
			t.Raw = append(t.Raw, f.b...)
		case 5, 7, 11:
			numbers, err = f.integers(numbers)
		case 6:
			return fmt.Errorf("it holds strings")
		case 8:
			t.Name = f.text()
		case 9:
			t.Raw = f.b
		case 13:
			var e Entry
			if e, err = decodeEntry(f.b); err == nil {
				err = t.external(e)
			}
		}
		return err
	})
	if err == nil && numbers != nil {
		err = t.pack(numbers)
	}
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
	}
	return t, nil
}

func (t *Tensor) external(e Entry) (err error) {
	if t.External == nil {
		t.External = &External{Length: -1}
	}
	switch e.Key {
	case "location":
		t.External.Location = e.Value
	case "offset":
		t.External.Offset, err = strconv.ParseInt(e.Value, 10, 64)
	case "length":
		t.External.Length, err = strconv.ParseInt(e.Value, 10, 64)
	}
	return err
}

// pack makes Raw of numbers, one for each element (for each byte of the types
// below 8 bits).
func (t *Tensor) pack(numbers []int64) error {
	bits := typeBits[t.Type]
	if bits == 0 || t.Type == Float || t.Type == Double || t.Raw != nil {
		return fmt.Errorf("%d integers for elements of %v", len(numbers), t.Type)
	}
	size := max(1, bits/8)
	t.Raw = make([]byte, len(numbers)*size)
	var eight [8]byte
	for i, v := range numbers {
		binary.LittleEndian.PutUint64(eight[:], uint64(v))
		copy(t.Raw[i*size:][:size], eight[:])
	}
	return nil
}

// check compares shape, type and values.
func (t *Tensor) check() error {
	bits := typeBits[t.Type]
	if bits == 0 {
		return fmt.Errorf("elements of %v are not read", t.Type)
	}
	n := int64(1)
	for _, d := range t.Dims {
		if d < 0 || d > 0 && n > math.MaxInt64/d/64 {
			return fmt.Errorf("dimensions %v, want none negative and fewer elements", t.Dims)
		}
		n *= d
	}
	if t.External != nil && t.Raw == nil {
		return nil
	}
	if want := (n*int64(bits) + 7) / 8; int64(len(t.Raw)) != want {
		return fmt.Errorf("%v%v in %d bytes, want %d", t.Type, t.Dims, len(t.Raw), want)
	}
	return nil
}

// Size returns the number of elements.
func (t *Tensor) Size() int {
	n := 1
	for _, d := range t.Dims {
		n *= int(d)
	}
	return n
}

// Shape returns the dimensions.
func (t *Tensor) Shape() tensor.Shape {
	s := make(tensor.Shape, len(t.Dims))
	for i, d := range t.Dims {
		s[i] = int(d)
	}
	return s
}

// Floats returns the values of a tensor of floats.
func (t *Tensor) Floats() ([]float32, error) {
	out := make([]float32, t.Size())
	switch t.Type {
	case Float:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Raw[4*i:]))
		}
	case Double:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Raw[8*i:])))
		}
	case Float16, BFloat16:
		d := tensor.F16
		if t.Type == BFloat16 {
			d = tensor.BF16
		}
		half := tensor.New(d, len(out))
		copy(half.Bytes(), t.Raw)
		f, err := half.ToFloat32()
		if err != nil {
			return nil, err
		}
		copy(out, f.Float32s())
	default:
		return nil, fmt.Errorf("tensor %q: elements of %v, want floats", t.Name, t.Type)
	}
	return out, nil
}

// Ints returns the values of a tensor of integers or truths.
func (t *Tensor) Ints() ([]int64, error) {
	bits := typeBits[t.Type]
	signed := slices.Contains([]Type{Int8, Int16, Int32, Int64, Int4, Int2}, t.Type)
	if !signed && !slices.Contains([]Type{Uint8, Uint16, Uint32, Uint64, Uint4, Uint2, Bool}, t.Type) {
		return nil, fmt.Errorf("tensor %q: elements of %v, want integers", t.Name, t.Type)
	}
	out := make([]int64, t.Size())
	for i := range out {
		var v uint64
		if bits < 8 {
			per := 8 / bits
			v = uint64(t.Raw[i/per]) >> (i % per * bits) & (1<<bits - 1)
		} else {
			var eight [8]byte
			copy(eight[:], t.Raw[i*bits/8:][:bits/8])
			v = binary.LittleEndian.Uint64(eight[:])
		}
		out[i] = int64(v)
		if signed && bits < 64 {
			out[i] = int64(v<<(64-bits)) >> (64 - bits)
		}
	}
	return out, nil
}

// FloatTensor makes a stored tensor of float32s.
func FloatTensor(name string, v []float32, dims ...int) *Tensor {
	t := newTensor(name, Float, dims)
	for _, x := range v {
		t.Raw = binary.LittleEndian.AppendUint32(t.Raw, math.Float32bits(x))
	}
	return t
}

// IntTensor makes a stored tensor of integers of a type.
func IntTensor[T ~int8 | ~int32 | ~int64 | ~int](name string, typ Type, v []T, dims ...int) *Tensor {
	t := newTensor(name, typ, dims)
	bits := typeBits[typ]
	if bits < 8 {
		per := 8 / bits
		t.Raw = make([]byte, (len(v)+per-1)/per)
		for i, x := range v {
			t.Raw[i/per] |= byte(uint64(x)&(1<<bits-1)) << (i % per * bits)
		}
		return t
	}
	var eight [8]byte
	for _, x := range v {
		binary.LittleEndian.PutUint64(eight[:], uint64(int64(x)))
		t.Raw = append(t.Raw, eight[:bits/8]...)
	}
	return t
}

func newTensor(name string, typ Type, dims []int) *Tensor {
	t := &Tensor{Name: name, Type: typ, Raw: []byte{}}
	for _, d := range dims {
		t.Dims = append(t.Dims, int64(d))
	}
	return t
}
