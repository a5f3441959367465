// Package tensor holds shapes, element types and storage: the values that
// every room of lowbit passes around. It computes nothing.
//
// A Tensor is dense and row-major over its logical shape. Engines may keep
// other layouts inside; whatever crosses a package boundary is row-major.
package tensor

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unsafe"
)

// DType is an element type.
type DType uint8

// Element types. F16 and BF16 are storage only: convert with ToFloat32 before
// computing.
const (
	Invalid DType = iota
	F32
	F64
	F16
	BF16
	I8
	U8
	I16
	I32
	I64
	Bool
)

var dtypeNames = [...]string{"invalid", "f32", "f64", "f16", "bf16", "i8", "u8", "i16", "i32", "i64", "bool"}
var dtypeSizes = [...]int{0, 4, 8, 2, 2, 1, 1, 2, 4, 8, 1}

// String returns the short name, such as "f32".
func (d DType) String() string {
	if int(d) < len(dtypeNames) {
		return dtypeNames[d]
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// Size returns the bytes of one element, 0 for Invalid.
func (d DType) Size() int {
	if int(d) < len(dtypeSizes) {
		return dtypeSizes[d]
	}
	return 0
}

// ParseDType is the inverse of DType.String.
func ParseDType(s string) (DType, error) {
	for i, n := range dtypeNames {
		if i > 0 && n == s {
			return DType(i), nil
		}
	}
	return Invalid, fmt.Errorf("tensor: unknown dtype %q", s)
}

// Shape is a list of dimensions, outermost first. A nil or empty Shape is a
// scalar.
type Shape []int

// Size returns the number of elements; 1 for a scalar.
func (s Shape) Size() int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// Equal reports whether both shapes have the same dimensions.
func (s Shape) Equal(o Shape) bool {
	if len(s) != len(o) {
		return false
	}
	for i := range s {
		if s[i] != o[i] {
			return false
		}
	}
	return true
}

// Clone returns an independent copy.
func (s Shape) Clone() Shape { return append(Shape(nil), s...) }

// String returns "[2 3 4]".
func (s Shape) String() string {
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprint(&b, d)
	}
	b.WriteByte(']')
	return b.String()
}

// CheckedSize returns the number of elements, or an error if a dimension is
// negative or the product does not fit an int. Readers of foreign files call
// it before they trust a shape.
func (s Shape) CheckedSize() (int, error) {
	n := 1
	for _, d := range s {
		if d < 0 {
			return 0, fmt.Errorf("tensor: negative dimension in shape %v", s)
		}
		if d != 0 && n > math.MaxInt/d {
			return 0, fmt.Errorf("tensor: shape %v overflows", s)
		}
		n *= d
	}
	return n, nil
}

// Tensor is a dense row-major array. The zero value is not usable: make one
// with New, FromBytes or FromFloat32s.
type Tensor struct {
	dtype DType
	shape Shape
	data  []byte
}

// ErrShape is wrapped by errors that come from a shape that does not fit.
var ErrShape = errors.New("shape mismatch")

// New returns a zeroed tensor whose storage is aligned to 64 bytes.
func New(dtype DType, shape ...int) *Tensor {
	s := Shape(shape).Clone()
	return &Tensor{dtype: dtype, shape: s, data: AlignedBytes(s.Size() * dtype.Size())}
}

// AlignedBytes returns n zeroed bytes whose first byte is at a multiple of 64.
func AlignedBytes(n int) []byte {
	const align = 64
	b := make([]byte, n+align)
	off := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (align - 1))
	return b[off : off+n : off+n]
}

// FromBytes wraps data, which the tensor keeps. The length must be that of the
// shape; multi-byte elements are little endian and should be aligned to their
// size, else the bytes are copied.
func FromBytes(dtype DType, shape Shape, data []byte) (*Tensor, error) {
	n, err := shape.CheckedSize()
	if err != nil {
		return nil, err
	}
	if dtype.Size() == 0 {
		return nil, fmt.Errorf("tensor: dtype %v has no size", dtype)
	}
	if n > math.MaxInt/dtype.Size() || len(data) != n*dtype.Size() {
		return nil, fmt.Errorf("tensor: %w: shape %v of %v needs %d elements, got %d bytes", ErrShape, shape, dtype, n, len(data))
	}
	if len(data) > 0 && uintptr(unsafe.Pointer(unsafe.SliceData(data)))%uintptr(dtype.Size()) != 0 {
		data = append(AlignedBytes(len(data))[:0], data...)
	}
	return &Tensor{dtype: dtype, shape: shape.Clone(), data: data}, nil
}

// FromFloat32s copies v into a new F32 tensor. It panics if the length is not
// that of the shape: a programmer's mistake.
func FromFloat32s(v []float32, shape ...int) *Tensor {
	t := New(F32, shape...)
	if len(v) != t.Len() {
		panic(fmt.Sprintf("tensor: shape %v needs %d values, got %d", t.shape, t.Len(), len(v)))
	}
	copy(t.Float32s(), v)
	return t
}

// FromInt32s copies v into a new I32 tensor. It panics if the length is not
// that of the shape.
func FromInt32s(v []int32, shape ...int) *Tensor {
	t := New(I32, shape...)
	if len(v) != t.Len() {
		panic(fmt.Sprintf("tensor: shape %v needs %d values, got %d", t.shape, t.Len(), len(v)))
	}
	copy(t.Int32s(), v)
	return t
}

// Scalar returns a scalar F32 tensor.
func Scalar(v float32) *Tensor {
	t := New(F32)
	t.Float32s()[0] = v
	return t
}

// DType returns the element type.
func (t *Tensor) DType() DType { return t.dtype }

// Shape returns the dimensions; the caller must not change them.
func (t *Tensor) Shape() Shape { return t.shape }

// Len returns the number of elements.
func (t *Tensor) Len() int { return t.shape.Size() }

// Bytes returns the storage itself, not a copy.
func (t *Tensor) Bytes() []byte { return t.data }

// Clone returns an independent copy.
func (t *Tensor) Clone() *Tensor {
	c := New(t.dtype, t.shape...)
	copy(c.data, t.data)
	return c
}

// Reshape returns a tensor that shares the storage under another shape of the
// same size.
func (t *Tensor) Reshape(shape ...int) (*Tensor, error) {
	if Shape(shape).Size() != t.Len() {
		return nil, fmt.Errorf("tensor: %w: cannot reshape %v to %v", ErrShape, t.shape, Shape(shape))
	}
	return &Tensor{dtype: t.dtype, shape: Shape(shape).Clone(), data: t.data}, nil
}

// String describes the tensor without its values.
func (t *Tensor) String() string { return fmt.Sprintf("%v%v", t.dtype, t.shape) }

func view[T any](t *Tensor, want DType) []T {
	if t.dtype != want {
		panic(fmt.Sprintf("tensor: want %v storage, have %v", want, t.dtype))
	}
	if len(t.data) == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(t.data))), t.Len())
}

// Float32s returns the storage of an F32 tensor; it panics on another type.
func (t *Tensor) Float32s() []float32 { return view[float32](t, F32) }

// Float64s returns the storage of an F64 tensor; it panics on another type.
func (t *Tensor) Float64s() []float64 { return view[float64](t, F64) }

// Int32s returns the storage of an I32 tensor; it panics on another type.
func (t *Tensor) Int32s() []int32 { return view[int32](t, I32) }

// Int64s returns the storage of an I64 tensor; it panics on another type.
func (t *Tensor) Int64s() []int64 { return view[int64](t, I64) }

// Int8s returns the storage of an I8 tensor; it panics on another type.
func (t *Tensor) Int8s() []int8 { return view[int8](t, I8) }

// Uint8s returns the storage of a U8 tensor; it panics on another type.
func (t *Tensor) Uint8s() []uint8 { return view[uint8](t, U8) }

// Uint16s returns the raw bits of an F16 or BF16 tensor; it panics on another
// type.
func (t *Tensor) Uint16s() []uint16 {
	if t.dtype != F16 && t.dtype != BF16 {
		panic(fmt.Sprintf("tensor: want f16 or bf16 storage, have %v", t.dtype))
	}
	return view[uint16](t, t.dtype)
}

// ToFloat32 returns the values as an F32 tensor: t itself when it is one.
// Integers above 2^24 lose their low bits.
func (t *Tensor) ToFloat32() (*Tensor, error) {
	if t.dtype == F32 {
		return t, nil
	}
	o := New(F32, t.shape...)
	d := o.Float32s()
	switch t.dtype {
	case F64:
		convert(d, t.Float64s())
	case I8:
		convert(d, t.Int8s())
	case U8:
		convert(d, t.Uint8s())
	case I16:
		convert(d, view[int16](t, I16))
	case I32:
		convert(d, t.Int32s())
	case I64:
		convert(d, t.Int64s())
	case F16:
		for i, h := range t.Uint16s() {
			d[i] = Float16ToFloat32(h)
		}
	case BF16:
		for i, h := range t.Uint16s() {
			d[i] = math.Float32frombits(uint32(h) << 16)
		}
	default:
		return nil, fmt.Errorf("tensor: no float32 form of %v", t.dtype)
	}
	return o, nil
}

func convert[T int8 | uint8 | int16 | int32 | int64 | float64](dst []float32, src []T) {
	for i, v := range src {
		dst[i] = float32(v)
	}
}
