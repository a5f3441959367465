// Package gguf reads and writes GGUF, the model format of llama.cpp: typed
// metadata, and tensors of plain numbers or of blocks that share scales.
//
// It reads versions 2 and 3, little endian, gives block types as float32 a row
// at a time (DequantizeRow), and writes codes of a uniform grid of 2 to 8 bits
// into the block type that holds them without loss (Home, AppendCodes). The
// layouts are ggml's; the arithmetic is that of its Python reference (package
// gguf 0.19.0), bit for bit.
package gguf

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"lowbit/format/internal/mapfile"
	"lowbit/tensor"
)

// ErrNotFound is wrapped by the error for a tensor or a metadata key that the
// file lacks.
var ErrNotFound = errors.New("not found")

// File is an open GGUF file. It is safe for concurrent readers.
type File struct {
	path   string
	mapped *mapfile.File // nil after Parse
	data   []byte        // the tensors' part
	values map[string]any
	order  []string // keys in the file's order
	infos  []Info
	byName map[string]int // index in infos
}

// Open maps a file into memory and checks its head; values are not read yet.
// The caller closes it. Every error names the path.
func Open(path string) (*File, error) {
	m, err := mapfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	f := &File{path: path, mapped: m}
	if err := f.parse(m.Bytes()); err != nil {
		m.Close()
		return nil, fmt.Errorf("gguf: %s: %w", path, err)
	}
	return f, nil
}

// Parse does the same for a file's content, which the File keeps. It allocates
// at most a small multiple of the bytes before the tensors' values.
func Parse(b []byte) (*File, error) {
	f := &File{path: "content"}
	if err := f.parse(b); err != nil {
		return nil, fmt.Errorf("gguf: %w", err)
	}
	return f, nil
}

// Close unmaps the file: bytes and tensors that share its storage are invalid
// from then on. A second Close does nothing.
func (f *File) Close() error {
	f.data, f.infos, f.byName = nil, nil, nil
	if f.mapped == nil {
		return nil
	}
	if err := f.mapped.Close(); err != nil {
		return fmt.Errorf("gguf: %s: %w", f.path, err)
	}
	return nil
}

// Metadata returns all pairs in the file's order. The caller must not change
// the slices in it.
func (f *File) Metadata() []KV {
	kv := make([]KV, len(f.order))
	for i, k := range f.order {
		kv[i] = KV{k, f.values[k]}
	}
	return kv
}

// Value returns the value of a key with its type as KV describes; false if the
// file lacks the key.
func (f *File) Value(key string) (any, bool) {
	v, ok := f.values[key]
	return v, ok
}

// Get returns the value of a key that must have exactly type T, such as
// []string. A missing key is ErrNotFound.
func Get[T any](f *File, key string) (T, error) {
	v, ok := f.values[key]
	t, fits := v.(T)
	switch {
	case !ok:
		return t, fmt.Errorf("gguf: %s: metadata %q: %w", f.path, key, ErrNotFound)
	case !fits:
		return t, fmt.Errorf("gguf: %s: metadata %q is %T, want %T", f.path, key, v, t)
	}
	return t, nil
}

// Int returns a whole number of any width, since writers differ in theirs.
func (f *File) Int(key string) (int, error) {
	var n int64
	switch v := f.values[key].(type) {
	case uint8:
		n = int64(v)
	case int8:
		n = int64(v)
	case uint16:
		n = int64(v)
	case int16:
		n = int64(v)
	case uint32:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	case uint64:
		if v > math.MaxInt64 {
			return 0, fmt.Errorf("gguf: %s: metadata %q is %d, which no int holds", f.path, key, v)
		}
		n = int64(v)
	default:
		_, err := Get[int64](f, key)
		return 0, err
	}
	if int64(int(n)) != n {
		return 0, fmt.Errorf("gguf: %s: metadata %q is %d, which no int holds", f.path, key, n)
	}
	return int(n), nil
}

// Float returns a floating-point number of either width.
func (f *File) Float(key string) (float64, error) {
	if v, ok := f.values[key].(float32); ok {
		return float64(v), nil
	}
	return Get[float64](f, key)
}

// Infos describes all tensors, in the file's order.
func (f *File) Infos() []Info { return slices.Clone(f.infos) }

// Info describes one tensor; false if the file has none of that name.
func (f *File) Info(name string) (Info, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Info{}, false
	}
	return f.infos[i], true
}

// Bytes returns a tensor's values as the file holds them: the mapped file
// itself, not a copy. Row i of a matrix [out, in] begins at i times
// Type.RowBytes(in); DequantizeRow reads it.
func (f *File) Bytes(name string) ([]byte, error) {
	info, ok := f.Info(name)
	if !ok {
		return nil, fmt.Errorf("gguf: %s: tensor %q: %w", f.path, name, ErrNotFound)
	}
	if _, known := traits[info.Type]; !known {
		return nil, fmt.Errorf("gguf: %s: tensor %q: %v is not known, nor then its size", f.path, name, info.Type)
	}
	end := info.begin + info.SizeBytes
	return f.data[info.begin:end:end], nil
}

// plain gives the types whose values package tensor holds as they are.
var plain = map[Type]tensor.DType{
	F32: tensor.F32, F64: tensor.F64, F16: tensor.F16, BF16: tensor.BF16,
	I8: tensor.I8, I16: tensor.I16, I32: tensor.I32, I64: tensor.I64,
}

// Tensor returns a tensor: plain numbers in their own type, with the mapped
// file as storage where its address suits (so not to be used after Close), and
// block types as F32. Types without a float32 form here are an error.
func (f *File) Tensor(name string) (*tensor.Tensor, error) {
	b, err := f.Bytes(name)
	if err != nil {
		return nil, err
	}
	info, _ := f.Info(name)
	var t *tensor.Tensor
	if d, ok := plain[info.Type]; ok {
		t, err = tensor.FromBytes(d, info.Shape, b)
	} else if traits[info.Type].dequantize == nil {
		err = fmt.Errorf("%v cannot be turned into float32", info.Type)
	} else {
		t = tensor.New(tensor.F32, info.Shape...)
		err = DequantizeRow(info.Type, t.Float32s(), b)
	}
	if err != nil {
		return nil, fmt.Errorf("gguf: %s: tensor %q: %w", f.path, name, err)
	}
	return t, nil
}
