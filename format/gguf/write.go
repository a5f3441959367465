package gguf

import (
	"encoding/binary"
	"fmt"
	"io"

	"lowbit/internal/atomicfile"
	"lowbit/tensor"
)

// Tensor is a tensor to be written.
type Tensor struct {
	Name  string
	Type  Type
	Shape tensor.Shape // outermost first; at most 4 dimensions
	Data  []byte       // encoded rows, as AppendCodes and AppendFloats make them
}

// Write makes path a GGUF file of version 3. Pairs and tensors keep the given
// order, so equal arguments give equal bytes. On any error, a full disk too,
// path keeps what it held before.
//
// Tensors are aligned to 32 bytes, or to metadata "general.alignment" (uint32).
func Write(path string, metadata []KV, tensors []Tensor) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return encodeFile(w, metadata, tensors) })
	if err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	return nil
}

// Encode writes the content of such a file to w.
func Encode(w io.Writer, metadata []KV, tensors []Tensor) error {
	if err := encodeFile(w, metadata, tensors); err != nil {
		return fmt.Errorf("gguf: %w", err)
	}
	return nil
}

func encodeFile(w io.Writer, metadata []KV, tensors []Tensor) error {
	le := binary.LittleEndian
	b := le.AppendUint32([]byte(magic), 3)
	b = le.AppendUint64(b, uint64(len(tensors)))
	b = le.AppendUint64(b, uint64(len(metadata)))
	alignment := defaultAlignment
	seen := map[string]bool{}
	for _, kv := range metadata {
		if kv.Key == "" || seen[kv.Key] {
			return fmt.Errorf("metadata %q: the key is empty or appears twice", kv.Key)
		}
		seen[kv.Key] = true
		var err error
		if kv.Key == alignmentKey {
			if alignment, err = checkAlignment(kv.Value); err != nil {
				return err
			}
		}
		if b, err = appendValue(appendText(b, kv.Key), kv.Value); err != nil {
			return fmt.Errorf("metadata %q: %w", kv.Key, err)
		}
	}
	at, err := 0, error(nil)
	clear(seen)
	for _, t := range tensors {
		if t.Name == "" || seen[t.Name] {
			return fmt.Errorf("tensor %q: the name is empty or appears twice", t.Name)
		}
		seen[t.Name] = true
		if b, err = appendInfo(b, t, at); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		at += padded(len(t.Data), alignment)
	}
	zeros := make([]byte, alignment)
	b = append(b, zeros[:padded(len(b), alignment)-len(b)]...)
	if _, err := w.Write(b); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if _, err := w.Write(zeros[:padded(len(t.Data), alignment)-len(t.Data)]); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

func padded(n, alignment int) int { return (n + alignment - 1) / alignment * alignment }

func appendInfo(b []byte, t Tensor, at int) ([]byte, error) {
	if _, ok := traits[t.Type]; !ok {
		return nil, fmt.Errorf("%v is not known", t.Type)
	}
	if len(t.Shape) > maxDims {
		return nil, fmt.Errorf("%d dimensions, want at most %d", len(t.Shape), maxDims)
	}
	size, err := sizeBytes(t.Type, t.Shape)
	if err != nil {
		return nil, err
	}
	if size != len(t.Data) {
		return nil, fmt.Errorf("%v%v takes %d bytes, got %d", t.Type, t.Shape, size, len(t.Data))
	}
	le := binary.LittleEndian
	b = le.AppendUint32(appendText(b, t.Name), uint32(len(t.Shape)))
	for i := len(t.Shape) - 1; i >= 0; i-- {
		b = le.AppendUint64(b, uint64(t.Shape[i]))
	}
	return le.AppendUint64(le.AppendUint32(b, uint32(t.Type)), uint64(at)), nil
}
