// Package mapfile gives the bytes of a file without reading them first, for
// the readers of large model files.
package mapfile

import (
	"fmt"
	"io"
	"math"
	"os"
)

// File is the content of a file in memory.
type File struct {
	data   []byte
	mapped bool
}

// Open maps a regular file into memory where the system can, and reads it
// otherwise. The mapping is private: a write to its bytes is not seen by the
// file nor by others. A mapped file must not be shortened while it is open.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("open %s: it is a folder, want a file", path)
	}
	if n := info.Size(); info.Mode().IsRegular() && n > 0 && n <= math.MaxInt {
		if data, err := mapBytes(f, int(n)); err == nil {
			return &File{data: data, mapped: true}, nil
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return &File{data: data}, nil
}

// Bytes returns the content. It is gone after Close.
func (f *File) Bytes() []byte { return f.data }

// Close gives the memory back. Nothing may refer to the bytes any more. A
// second Close does nothing.
func (f *File) Close() error {
	data := f.data
	f.data = nil
	if !f.mapped || data == nil {
		return nil
	}
	return unmapBytes(data)
}
