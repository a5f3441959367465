package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"lowbit/tensor"
)

// metadataKey is the header's one key that is not a tensor's name.
const metadataKey = "__metadata__"

// lengthBytes is the size of the length in front of the header.
const lengthBytes = 8

// entry is one tensor of the header; begin and end count from the data's
// start.
type entry struct {
	dtype      string
	shape      tensor.Shape
	begin, end int
}

type header struct {
	entries  map[string]entry
	metadata map[string]string
}

// parse checks the content of a file and splits it into header and data.
func parse(b []byte) (*header, []byte, error) {
	if len(b) < lengthBytes {
		return nil, nil, fmt.Errorf("header length: file of %d bytes, want at least %d", len(b), lengthBytes)
	}
	n := binary.LittleEndian.Uint64(b)
	if n > MaxHeaderBytes {
		return nil, nil, fmt.Errorf("header length: %d bytes, want at most %d", n, MaxHeaderBytes)
	}
	if have := len(b) - lengthBytes; n > uint64(have) {
		return nil, nil, fmt.Errorf("header: length says %d bytes, the file has %d left", n, have)
	}
	text, data := b[lengthBytes:lengthBytes+n], b[lengthBytes+n:]
	h, err := parseHeader(text)
	if err != nil {
		return nil, nil, fmt.Errorf("header: %w", err)
	}
	if err := h.check(len(data)); err != nil {
		return nil, nil, err
	}
	return h, data, nil
}

// check demands that the tensors cover the data exactly and that sizes follow
// from dtype and shape.
func (h *header) check(dataBytes int) error {
	names := slices.SortedFunc(maps.Keys(h.entries), func(a, b string) int {
		x, y := h.entries[a], h.entries[b]
		return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end), cmp.Compare(a, b))
	})
	at := 0
	for _, name := range names {
		e := h.entries[name]
		if e.begin != at || e.end < e.begin || e.end > dataBytes {
			return fmt.Errorf("tensor %q: data_offsets [%d, %d], want a start of %d and an end of at most %d", name, e.begin, e.end, at, dataBytes)
		}
		at = e.end
		n, err := e.shape.CheckedSize()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if d, ok := dtypes[e.dtype]; ok && (int64(n) > int64(dataBytes) || int64(n)*int64(d.Size()) != int64(e.end-e.begin)) {
			return fmt.Errorf("tensor %q: %s%v in %d bytes, want %d elements of %d bytes", name, e.dtype, e.shape, e.end-e.begin, n, d.Size())
		}
	}
	if at != dataBytes {
		return fmt.Errorf("data: tensors cover %d bytes, the file has %d behind its header", at, dataBytes)
	}
	return nil
}

// parser reads the header token by token: the JSON package's own decoding
// into a map would let a repeated key pass.
type parser struct{ dec *json.Decoder }

func parseHeader(text []byte) (*header, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	if len(text) == 0 || text[0] != '{' {
		return nil, errors.New("it does not begin with '{'")
	}
	p := parser{json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	h := &header{entries: map[string]entry{}, metadata: map[string]string{}}
	seenMetadata := false
	err := p.object(func(name string) error {
		if name == metadataKey {
			if seenMetadata {
				return fmt.Errorf("%s appears twice", metadataKey)
			}
			seenMetadata = true
			return p.metadata(h.metadata)
		}
		if _, twice := h.entries[name]; twice {
			return fmt.Errorf("tensor %q appears twice", name)
		}
		e, err := p.entry()
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		h.entries[name] = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object, want spaces")
	}
	return h, nil
}

func (p parser) metadata(m map[string]string) error {
	return p.object(func(key string) error {
		if _, twice := m[key]; twice {
			return fmt.Errorf("%s: key %q appears twice", metadataKey, key)
		}
		v, err := p.text()
		if err != nil {
			return fmt.Errorf("%s: key %q: %w", metadataKey, key, err)
		}
		m[key] = v
		return nil
	})
}

func (p parser) entry() (entry, error) {
	var e entry
	seen := map[string]bool{}
	err := p.object(func(key string) (err error) {
		if seen[key] {
			return fmt.Errorf("field %q appears twice", key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			e.dtype, err = p.text()
		case "shape":
			var dims []int
			dims, err = p.ints()
			e.shape = dims
		case "data_offsets":
			var o []int
			if o, err = p.ints(); err == nil && len(o) != 2 {
				err = fmt.Errorf("%d values, want 2", len(o))
			}
			if err == nil {
				e.begin, e.end = o[0], o[1]
			}
		default:
			return fmt.Errorf("unknown field %q, want dtype, shape and data_offsets", key)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
	if err == nil && len(seen) != 3 {
		err = errors.New("a field is missing, want dtype, shape and data_offsets")
	}
	return e, err
}

// object reads "{", calls value behind each key, and reads "}".
func (p parser) object(value func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.dec.More() {
		key, err := p.text()
		if err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
	}
	return p.delim('}')
}

func (p parser) ints() ([]int, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	var v []int
	for p.dec.More() {
		tok, err := p.token()
		if err != nil {
			return nil, err
		}
		num, ok := tok.(json.Number)
		if !ok {
			return nil, fmt.Errorf("got %v, want a number", tok)
		}
		n, err := strconv.ParseUint(num.String(), 10, strconv.IntSize-1)
		if err != nil {
			return nil, fmt.Errorf("got %v, want a whole number from 0", num)
		}
		v = append(v, int(n))
	}
	return v, p.delim(']')
}

func (p parser) text() (string, error) {
	tok, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := tok.(string)
	if !ok {
		return "", fmt.Errorf("got %v, want a string", tok)
	}
	return s, nil
}

func (p parser) delim(want json.Delim) error {
	tok, err := p.token()
	if err == nil && tok != want {
		err = fmt.Errorf("got %v, want %v", tok, want)
	}
	return err
}

func (p parser) token() (json.Token, error) {
	tok, err := p.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("JSON at byte %d: %w", p.dec.InputOffset(), err)
	}
	return tok, nil
}
