// Package safetensors reads and writes the safetensors format: a length, a
// JSON header and the raw little-endian values of named tensors.
//
//	u64 n | n bytes of JSON, padded with spaces | data
//	{"__metadata__": {"key": "value", …},
//	 "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
//
// Offsets count from the end of the header. The reader demands what the
// reference implementation (huggingface/safetensors, Rust) demands: the
// tensors cover the data without a hole or an overlap, and each size is that
// of its dtype and shape. It is stricter on JSON: a name or key that appears
// twice and a field that the format does not define are errors.
//
// The writer's bytes depend on the content alone, and equal the reference's
// for at most one metadata key (the reference leaves the order of several
// open; here they are sorted).
package safetensors

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"lowbit/format/internal/mapfile"
	"lowbit/tensor"
)

// MaxHeaderBytes is the longest JSON header that is read or written, the
// reference implementation's limit.
const MaxHeaderBytes = 100_000_000

// ErrNotFound is wrapped by the error for a tensor that the file lacks.
var ErrNotFound = errors.New("no such tensor")

// Info describes one tensor of a file.
type Info struct {
	DType     string       // the file's own name, such as "BF16"
	Shape     tensor.Shape // [] for a scalar
	SizeBytes int
}

// dtypes maps the file's names to ours, and ours to the file's.
var dtypes = map[string]tensor.DType{
	"F64": tensor.F64, "F32": tensor.F32, "F16": tensor.F16, "BF16": tensor.BF16,
	"I64": tensor.I64, "I32": tensor.I32, "I16": tensor.I16, "I8": tensor.I8,
	"U8": tensor.U8, "BOOL": tensor.Bool,
}

// File is an open safetensors file. It is safe for concurrent readers.
type File struct {
	path     string
	mapped   *mapfile.File
	data     []byte // the part behind the header
	entries  map[string]entry
	metadata map[string]string
}

// Open maps a file into memory and checks its header; the values are not
// read yet. The caller closes it. Every error names the path.
func Open(path string) (*File, error) {
	m, err := mapfile.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	h, data, err := parse(m.Bytes())
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("safetensors: %s: %w", path, err)
	}
	return &File{path: path, mapped: m, data: data, entries: h.entries, metadata: h.metadata}, nil
}

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.entries)) }

// Metadata returns a copy of the file's metadata, empty if it has none.
func (f *File) Metadata() map[string]string {
	m := make(map[string]string, len(f.metadata))
	maps.Copy(m, f.metadata)
	return m
}

// Info describes a tensor of any dtype; false if the file has none of that
// name.
func (f *File) Info(name string) (Info, bool) {
	e, ok := f.entries[name]
	return Info{DType: e.dtype, Shape: e.shape.Clone(), SizeBytes: e.end - e.begin}, ok
}

// Tensor returns a tensor whose storage is the mapped file itself where its
// address suits the element type, else a copy. It must not be used after
// Close. Writing to it changes neither the file nor other readers' view.
//
// A dtype that package tensor lacks (such as F8_E4M3) is an error here, and
// not before.
func (f *File) Tensor(name string) (*tensor.Tensor, error) {
	e, ok := f.entries[name]
	if !ok {
		return nil, fmt.Errorf("safetensors: %s: tensor %q: %w", f.path, name, ErrNotFound)
	}
	t, err := e.view(f.data)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: tensor %q: %w", f.path, name, err)
	}
	return t, nil
}

// Store returns copies of all tensors. They outlive Close.
func (f *File) Store() (*tensor.Store, error) {
	s, err := copyAll(f.entries, f.data)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", f.path, err)
	}
	return s, nil
}

// Close unmaps the file: tensors from Tensor are invalid from then on. A
// second Close does nothing.
func (f *File) Close() error {
	f.data, f.entries = nil, nil
	if err := f.mapped.Close(); err != nil {
		return fmt.Errorf("safetensors: %s: %w", f.path, err)
	}
	return nil
}

// Read returns copies of all tensors of a file, and its metadata.
func Read(path string) (*tensor.Store, map[string]string, error) {
	f, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	s, err := f.Store()
	if err != nil {
		return nil, nil, err
	}
	return s, f.Metadata(), nil
}

// Decode returns copies of all tensors of a file's content, and its metadata.
// It allocates at most a small multiple of len(b).
func Decode(b []byte) (*tensor.Store, map[string]string, error) {
	h, data, err := parse(b)
	if err == nil {
		var s *tensor.Store
		if s, err = copyAll(h.entries, data); err == nil {
			return s, h.metadata, nil
		}
	}
	return nil, nil, fmt.Errorf("safetensors: %w", err)
}

func copyAll(entries map[string]entry, data []byte) (*tensor.Store, error) {
	s := tensor.NewStore()
	for name, e := range entries {
		t, err := e.view(data)
		if err == nil {
			err = s.Put(name, t.Clone())
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return s, nil
}

// view wraps the entry's part of data.
func (e entry) view(data []byte) (*tensor.Tensor, error) {
	d, ok := dtypes[e.dtype]
	if !ok {
		return nil, fmt.Errorf("dtype %q is not supported, want one of %v", e.dtype, slices.Sorted(maps.Keys(dtypes)))
	}
	return tensor.FromBytes(d, e.shape, data[e.begin:e.end:e.end])
}
