package onnx

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"lowbit/internal/atomicfile"
)

// maxFileBytes is protobuf's own limit of a message.
const maxFileBytes = 1<<31 - 1

// Read reads a model file and the external data of its tensors, which must lie
// in the model's folder.
func Read(path string) (*Model, error) {
	stat, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	if stat.IsDir() || stat.Size() > maxFileBytes {
		return nil, fmt.Errorf("onnx: %s: a folder or %d bytes, want a file of at most %d", path, stat.Size(), maxFileBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("onnx: %w", err)
	}
	m, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := m.fetch(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("onnx: %s: %w", path, err)
	}
	return m, nil
}

// Write writes the model; on an error path keeps what it held before.
func (m *Model) Write(path string) error {
	b := m.Encode()
	if len(b) > maxFileBytes {
		return fmt.Errorf("onnx: %s: %d bytes, a file holds at most %d", path, len(b), maxFileBytes)
	}
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("onnx: %w", err)
	}
	return nil
}

// fetch reads external data. os.Root keeps every path, links included, inside
// the folder.
func (m *Model) fetch(folder string) error {
	var root *os.Root
	defer func() {
		if root != nil {
			root.Close()
		}
	}()
	tensors := m.Graph.Initializers
	for i := range m.Graph.Nodes {
		for _, a := range m.Graph.Nodes[i].Attributes {
			if a.T != nil {
				tensors = append(tensors[:len(tensors):len(tensors)], a.T)
			}
		}
	}
	for _, t := range tensors {
		if t.External == nil || t.Raw != nil {
			continue
		}
		if root == nil {
			var err error
			if root, err = os.OpenRoot(folder); err != nil {
				return err
			}
		}
		if err := t.fetch(root); err != nil {
			return fmt.Errorf("tensor %q: external data %q: %w", t.Name, t.External.Location, err)
		}
	}
	return nil
}

func (t *Tensor) fetch(root *os.Root) error {
	e := t.External
	if !filepath.IsLocal(filepath.FromSlash(e.Location)) {
		return fmt.Errorf("the path leaves the model's folder")
	}
	f, err := root.Open(filepath.FromSlash(e.Location))
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	size := e.Length
	if size < 0 {
		size = stat.Size() - e.Offset
	}
	want := (int64(t.Size())*int64(typeBits[t.Type]) + 7) / 8
	if !stat.Mode().IsRegular() || e.Offset < 0 || size != want || e.Offset > stat.Size()-size {
		return fmt.Errorf("%d bytes at %d of a file of %d, want %d for %v%v", size, e.Offset, stat.Size(), want, t.Type, t.Dims)
	}
	t.Raw = make([]byte, size)
	_, err = f.ReadAt(t.Raw, e.Offset)
	return err
}
