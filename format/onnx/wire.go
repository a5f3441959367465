package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
)

// The wire format of protobuf: a field is a varint of number<<3|kind, and a
// value: a varint (0), eight bytes (1), a length and bytes (2), four bytes (5).
const (
	varintKind = 0
	eightKind  = 1
	bytesKind  = 2
	fourKind   = 5
)

// field is one field of a message.
type field struct {
	number int
	kind   int
	v      uint64 // of a number
	b      []byte // of bytes, a part of the content
}

// fields calls f for each field of a message.
func fields(b []byte, f func(field) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 || key>>3 == 0 || key>>3 > 1<<29-1 {
			return fmt.Errorf("field key %#x: %w", key, errTruncated)
		}
		b = b[n:]
		x := field{number: int(key >> 3), kind: int(key & 7)}
		switch x.kind {
		case varintKind:
			if x.v, n = binary.Uvarint(b); n <= 0 {
				return fmt.Errorf("field %d: %w", x.number, errTruncated)
			}
			b = b[n:]
		case eightKind, fourKind:
			size := 8
			if x.kind == fourKind {
				size = 4
			}
			if len(b) < size {
				return fmt.Errorf("field %d: %w", x.number, errTruncated)
			}
			x.b = b[:size:size]
			var eight [8]byte
			copy(eight[:], x.b)
			x.v, b = binary.LittleEndian.Uint64(eight[:]), b[size:]
		case bytesKind:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return fmt.Errorf("field %d: %d bytes of %d: %w", x.number, size, len(b), errTruncated)
			}
			b = b[n:]
			x.b, b = b[:size:size], b[size:]
		default:
			return fmt.Errorf("field %d of wire kind %d, which messages of ONNX do not have", x.number, x.kind)
		}
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// text is the field as a string, whatever its bytes.
func (f field) text() string { return string(f.b) }

// want returns an error if the field has another kind.
func (f field) want(kind int) error {
	if f.kind != kind {
		return fmt.Errorf("field %d of wire kind %d, want %d", f.number, f.kind, kind)
	}
	return nil
}

// integers appends the field's numbers: one, or a packed run.
func (f field) integers(to []int64) ([]int64, error) {
	switch f.kind {
	case varintKind:
		return append(to, int64(f.v)), nil
	case bytesKind:
		for b := f.b; len(b) > 0; {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return to, fmt.Errorf("field %d: %w", f.number, errTruncated)
			}
			to, b = append(to, int64(v)), b[n:]
		}
		return to, nil
	}
	return to, f.want(varintKind)
}

// floats appends the field's float32s.
func (f field) floats(to []float32) ([]float32, error) {
	if f.kind != fourKind && f.kind != bytesKind || len(f.b)%4 != 0 {
		return to, fmt.Errorf("field %d: %d bytes of wire kind %d, want float32s", f.number, len(f.b), f.kind)
	}
	for b := f.b; len(b) > 0; b = b[4:] {
		to = append(to, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return to, nil
}

// message is a message under construction.
type message []byte

func (m *message) key(number, kind int) {
	*m = binary.AppendUvarint(*m, uint64(number)<<3|uint64(kind))
}

func (m *message) int(number int, v int64) {
	m.key(number, varintKind)
	*m = binary.AppendUvarint(*m, uint64(v))
}

func (m *message) bytes(number int, b []byte) {
	m.key(number, bytesKind)
	*m = append(binary.AppendUvarint(*m, uint64(len(b))), b...)
}

func (m *message) text(number int, s string) {
	if s != "" {
		m.bytes(number, []byte(s))
	}
}

func (m *message) float(number int, v float32) {
	m.key(number, fourKind)
	*m = binary.LittleEndian.AppendUint32(*m, math.Float32bits(v))
}
