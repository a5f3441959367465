package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// KV is one pair of a file's metadata. The Go type of the value is the file's:
//
//	uint8 int8 uint16 int16 uint32 int32 uint64 int64 float32 float64 bool
//	string, slices of all these, and Arrays
type KV struct {
	Key   string
	Value any
}

// Arrays is an array of arrays; its elements are slices or Arrays.
type Arrays []any

// The file's numbers of two value types that are not plain numbers.
const (
	stringID = 8
	arrayID  = 9
)

// maxNest bounds arrays inside arrays; no known writer nests any.
const maxNest = 4

// kind reads and recognises one plain value type and slices of it.
type kind struct {
	name  string
	bytes int
	one   func(b []byte) any
	many  func(b []byte, n int) any
	// is tells whether v is of this type, and whether it is a slice.
	is func(v any) (scalar, slice bool)
}

func kindOf[T any](name string, size int) kind {
	return kind{
		name: name, bytes: size,
		one: func(b []byte) any {
			var v T
			decodeFixed(b, &v)
			return v
		},
		many: func(b []byte, n int) any {
			v := make([]T, n)
			decodeFixed(b, v)
			return v
		},
		is: func(v any) (bool, bool) {
			_, scalar := v.(T)
			_, slice := v.([]T)
			return scalar, slice
		},
	}
}

// decodeFixed cannot fail: the caller has cut b to the size of v.
func decodeFixed(b []byte, v any) {
	if _, err := binary.Decode(b, binary.LittleEndian, v); err != nil {
		panic(err)
	}
}

// kinds gives the plain value types by the file's number.
var kinds = map[uint32]kind{
	0: kindOf[uint8]("uint8", 1), 1: kindOf[int8]("int8", 1),
	2: kindOf[uint16]("uint16", 2), 3: kindOf[int16]("int16", 2),
	4: kindOf[uint32]("uint32", 4), 5: kindOf[int32]("int32", 4),
	6: kindOf[float32]("float32", 4), boolID: kindOf[bool]("bool", 1),
	10: kindOf[uint64]("uint64", 8), 11: kindOf[int64]("int64", 8),
	12: kindOf[float64]("float64", 8),
}

const boolID = 7

// cursor reads the head of a file.
type cursor struct {
	b  []byte
	at int
}

var errTruncated = fmt.Errorf("the file ends too early: %w", io.ErrUnexpectedEOF)

func (c *cursor) left() int { return len(c.b) - c.at }

func (c *cursor) take(n int) ([]byte, error) {
	if n < 0 || n > c.left() {
		return nil, errTruncated
	}
	b := c.b[c.at : c.at+n]
	c.at += n
	return b, nil
}

func (c *cursor) u32() (uint32, error) {
	b, err := c.take(4)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) u64() (uint64, error) {
	b, err := c.take(8)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// count reads a number of things that take at least size bytes each, and
// refuses one that the rest of the file cannot hold.
func (c *cursor) count(what string, size int) (int, error) {
	n, err := c.u64()
	if err != nil {
		return 0, err
	}
	if n > uint64(c.left()/size) {
		return 0, fmt.Errorf("%d %s, the %d bytes left hold at most %d", n, what, c.left(), c.left()/size)
	}
	return int(n), nil
}

func (c *cursor) text() (string, error) {
	n, err := c.count("bytes of text", 1)
	if err != nil {
		return "", err
	}
	b, err := c.take(n)
	return string(b), err
}

// value reads a value of a type, or an array of them.
func (c *cursor) value(id uint32, depth int) (any, error) {
	switch id {
	case stringID:
		return c.text()
	case arrayID:
		return c.array(depth + 1)
	}
	k, ok := kinds[id]
	if !ok {
		return nil, fmt.Errorf("value type %d is not known", id)
	}
	b, err := c.take(k.bytes)
	if err == nil && id == boolID {
		err = checkBools(b)
	}
	if err != nil {
		return nil, err
	}
	return k.one(b), nil
}

func (c *cursor) array(depth int) (any, error) {
	if depth > maxNest {
		return nil, fmt.Errorf("arrays nest more than %d deep", maxNest)
	}
	id, err := c.u32()
	if err != nil {
		return nil, err
	}
	switch id {
	case stringID:
		n, err := c.count("strings", 8)
		if err != nil {
			return nil, err
		}
		v := make([]string, n)
		for i := range v {
			if v[i], err = c.text(); err != nil {
				return nil, err
			}
		}
		return v, nil
	case arrayID:
		n, err := c.count("arrays", 12)
		if err != nil {
			return nil, err
		}
		v := make(Arrays, n)
		for i := range v {
			if v[i], err = c.array(depth + 1); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	k, ok := kinds[id]
	if !ok {
		return nil, fmt.Errorf("value type %d is not known", id)
	}
	n, err := c.count(k.name+" values", k.bytes)
	if err != nil {
		return nil, err
	}
	b, err := c.take(n * k.bytes)
	if err == nil && id == boolID {
		err = checkBools(b)
	}
	if err != nil {
		return nil, err
	}
	return k.many(b, n), nil
}

func checkBools(b []byte) error {
	for _, v := range b {
		if v > 1 {
			return fmt.Errorf("a bool of %d, want 0 or 1", v)
		}
	}
	return nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends the type number and the value.
func appendValue(b []byte, v any) ([]byte, error) {
	le := binary.LittleEndian
	if s, ok := v.(string); ok {
		return appendText(le.AppendUint32(b, stringID), s), nil
	}
	for id, k := range kinds {
		if scalar, _ := k.is(v); scalar {
			return binary.Append(le.AppendUint32(b, id), le, v)
		}
	}
	return appendArray(le.AppendUint32(b, arrayID), v, 1)
}

func appendArray(b []byte, v any, depth int) (_ []byte, err error) {
	if depth > maxNest {
		return nil, fmt.Errorf("arrays nest more than %d deep", maxNest)
	}
	le := binary.LittleEndian
	switch a := v.(type) {
	case []string:
		b = le.AppendUint64(le.AppendUint32(b, stringID), uint64(len(a)))
		for _, s := range a {
			b = appendText(b, s)
		}
		return b, nil
	case Arrays:
		b = le.AppendUint64(le.AppendUint32(b, arrayID), uint64(len(a)))
		for _, e := range a {
			if b, err = appendArray(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	for id, k := range kinds {
		if _, slice := k.is(v); slice {
			n := binary.Size(v) / k.bytes
			return binary.Append(le.AppendUint64(le.AppendUint32(b, id), uint64(n)), le, v)
		}
	}
	if v == nil {
		return nil, errors.New("no value")
	}
	return nil, fmt.Errorf("a value of %T, want a number, bool, string or a slice of one", v)
}
