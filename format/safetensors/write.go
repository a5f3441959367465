package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"lowbit/internal/atomicfile"
	"lowbit/tensor"
)

// fileType is a dtype's name in the file and its place in the order of the
// data: widest first, as the reference implementation sorts.
type fileType struct {
	name string
	rank int
}

var fileTypes = map[tensor.DType]fileType{
	tensor.I64: {"I64", 0}, tensor.F64: {"F64", 1}, tensor.F32: {"F32", 2}, tensor.I32: {"I32", 3},
	tensor.BF16: {"BF16", 4}, tensor.F16: {"F16", 5}, tensor.I16: {"I16", 6},
	tensor.I8: {"I8", 7}, tensor.U8: {"U8", 8}, tensor.Bool: {"BOOL", 9},
}

// Write makes path a safetensors file with all tensors of a store. metadata
// may be nil. On any error, a full disk too, path keeps what it held before.
// Equal content gives equal bytes.
func Write(path string, store *tensor.Store, metadata map[string]string) error {
	err := atomicfile.Write(path, func(w io.Writer) error { return encode(w, store, metadata) })
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

// Encode writes the content of such a file to w.
func Encode(w io.Writer, store *tensor.Store, metadata map[string]string) error {
	if err := encode(w, store, metadata); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

func encode(w io.Writer, store *tensor.Store, metadata map[string]string) error {
	names := store.Names()
	for _, name := range names {
		if name == metadataKey {
			return fmt.Errorf("tensor %q: the name is reserved for metadata", name)
		}
		if _, ok := fileTypes[store.Get(name).DType()]; !ok {
			return fmt.Errorf("tensor %q: %v has no place in the format", name, store.Get(name))
		}
	}
	slices.SortStableFunc(names, func(a, b string) int {
		return cmp.Compare(fileTypes[store.Get(a).DType()].rank, fileTypes[store.Get(b).DType()].rank)
	})
	head, err := appendHeader(make([]byte, lengthBytes), store, names, metadata)
	if err != nil {
		return err
	}
	for len(head)%lengthBytes != 0 {
		head = append(head, ' ')
	}
	n := len(head) - lengthBytes
	if n > MaxHeaderBytes {
		return fmt.Errorf("header: %d bytes, want at most %d", n, MaxHeaderBytes)
	}
	binary.LittleEndian.PutUint64(head, uint64(n))
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := w.Write(store.Get(name).Bytes()); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return nil
}

func appendHeader(b []byte, store *tensor.Store, names []string, metadata map[string]string) ([]byte, error) {
	b = append(b, '{')
	var err error
	if len(metadata) > 0 {
		b = append(b, `"`+metadataKey+`":{`...)
		for i, k := range slices.Sorted(maps.Keys(metadata)) {
			if b, err = appendText(comma(b, i), k); err != nil {
				return nil, fmt.Errorf("metadata key %q: %w", k, err)
			}
			if b, err = appendText(append(b, ':'), metadata[k]); err != nil {
				return nil, fmt.Errorf("metadata %q: %w", k, err)
			}
		}
		b = comma(append(b, '}'), len(names))
	}
	at := 0
	for i, name := range names {
		t := store.Get(name)
		if b, err = appendText(comma(b, i), name); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		b = append(b, `:{"dtype":"`+fileTypes[t.DType()].name+`","shape":`...)
		b = appendInts(b, t.Shape()...)
		b = append(b, `,"data_offsets":`...)
		b = append(appendInts(b, at, at+len(t.Bytes())), '}')
		at += len(t.Bytes())
	}
	return append(b, '}'), nil
}

// comma separates all but the first element of a list.
func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

func appendInts(b []byte, v ...int) []byte {
	b = append(b, '[')
	for i, n := range v {
		b = strconv.AppendInt(comma(b, i), int64(n), 10)
	}
	return append(b, ']')
}

// appendText quotes s as the reference's JSON writer does: only the quote,
// the backslash and control characters are escaped.
func appendText(b []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("%q is not UTF-8", s)
	}
	short := map[byte]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		switch esc, ok := short[c]; {
		case ok:
			b = append(b, '\\', esc)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"'), nil
}
