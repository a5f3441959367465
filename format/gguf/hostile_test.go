package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lowbit/format/formattest"
	"lowbit/tensor"
)

var le = binary.LittleEndian

func u32(n uint32) string { return string(le.AppendUint32(nil, n)) }
func u64(n uint64) string { return string(le.AppendUint64(nil, n)) }
func str(s string) string { return u64(uint64(len(s))) + s }

// head begins a file with counts of tensors and pairs.
func head(tensors, pairs uint64) string { return "GGUF" + u32(3) + u64(tensors) + u64(pairs) }

// info describes a tensor with dims innermost first, as files do.
func info(name string, t Type, offset uint64, dims ...uint64) string {
	s := str(name) + u32(uint32(len(dims)))
	for _, d := range dims {
		s += u64(d)
	}
	return s + u32(uint32(t)) + u64(offset)
}

// content pads what stands before the values and adds n bytes of them.
func content(s string, n int) string {
	return s + strings.Repeat("\x00", padded(len(s), 32)-len(s)+n)
}

func parseAll(b []byte) error {
	f, err := Parse(b)
	if err != nil {
		return err
	}
	for _, i := range f.Infos() {
		if _, e := f.Tensor(i.Name); e != nil {
			err = errors.Join(err, e)
		}
	}
	return err
}

func TestParseRefuses(t *testing.T) {
	big := uint64(1) << 62
	pair := func(key, value string) string { return head(0, 1) + str(key) + value }
	cases := []struct {
		what, content string
		parts         []string
	}{
		{"nothing", "", []string{`magic ""`}},
		{"another magic", "GGJT" + u32(3) + u64(0) + u64(0), []string{`magic "GGJT"`, `"GGUF"`}},
		{"magic reversed", "FUGG" + u32(3) + u64(0) + u64(0), []string{`magic "FUGG"`}},
		{"version 1", "GGUF" + u32(1) + u64(0) + u64(0), []string{"version 1", "2 or 3"}},
		{"version 4", "GGUF" + u32(4) + u64(0) + u64(0), []string{"version 4"}},
		{"big endian", "GGUF" + u32(3<<24) + u64(0) + u64(0), []string{"big-endian"}},
		{"huge count of tensors", head(big, 0), []string{"tensors", "at most 0"}},
		{"huge count of pairs", head(0, big), []string{"metadata pairs", "at most 0"}},
		{"count that wraps", head(1<<64/24+1, 0), []string{"tensors"}},
		{"huge key", head(0, 1) + u64(big) + strings.Repeat("x", 20), []string{"pair 0", "text"}},
		{"huge text", pair("k", u32(8)+u64(big)), []string{`"k"`, "text"}},
		{"huge array", pair("k", u32(9)+u32(10)+u64(big)), []string{`"k"`, "uint64 values"}},
		{"array that wraps", pair("k", u32(9)+u32(10)+u64(1<<61)), []string{`"k"`, "uint64 values"}},
		{"huge array of texts", pair("k", u32(9)+u32(8)+u64(big)), []string{`"k"`, "strings"}},
		{"huge array of arrays", pair("k", u32(9)+u32(9)+u64(big)), []string{`"k"`, "arrays"}},
		{"arrays nested without end", pair("k", u32(9)+strings.Repeat(u32(9)+u64(1), 20)+u32(0)+u64(0)), []string{`"k"`, "nest"}},
		{"unknown value type", pair("k", u32(13)+u64(0)), []string{`"k"`, "type 13"}},
		{"unknown element type", pair("k", u32(9)+u32(99)+u64(0)), []string{`"k"`, "type 99"}},
		{"bool of two", pair("k", u32(7)+"\x02"), []string{`"k"`, "bool of 2"}},
		{"bools of two", pair("k", u32(9)+u32(7)+u64(2)+"\x01\x02"), []string{`"k"`, "bool of 2"}},
		{"key twice", head(0, 2) + str("k") + u32(0) + "\x01" + str("k") + u32(0) + "\x01", []string{`"k"`, "twice"}},
		{"alignment of zero", pair(alignmentKey, u32(4)+u32(0)), []string{"alignment", "power of two"}},
		{"alignment of 24", pair(alignmentKey, u32(4)+u32(24)), []string{"alignment", "24"}},
		{"alignment of another type", pair(alignmentKey, u32(10)+u64(32)), []string{"alignment", "uint64"}},
		{"tensor twice", content(head(2, 0)+info("a", F32, 0, 1)+info("a", F32, 32, 1), 64), []string{`"a"`, "twice"}},
		{"five dimensions", content(head(1, 0)+info("a", F32, 0, 1, 1, 1, 1, 1), 64), []string{`"a"`, "5 dimensions"}},
		{"huge count of dimensions", content(head(1, 0)+str("a")+u32(1<<31)+u32(0)+u64(0), 64), []string{`"a"`, "dimensions"}},
		{"huge dimension", content(head(1, 0)+info("a", F32, 0, 1<<63), 64), []string{`"a"`, "dimension"}},
		{"shape that wraps", content(head(1, 0)+info("a", F32, 0, 1<<33, 1<<33), 64), []string{`"a"`, "overflows"}},
		{"size that wraps", content(head(1, 0)+info("a", F32, 0, 1<<62), 64), []string{`"a"`, "overflows"}},
		{"ragged row", content(head(1, 0)+info("a", Q4_K, 0, 128, 2), 200), []string{`"a"`, "128", "256 for Q4_K"}},
		{"offset not aligned", content(head(1, 0)+info("a", F32, 4, 1), 64), []string{`"a"`, "offset 4", "multiple of 32"}},
		{"huge offset", content(head(1, 0)+info("a", F32, 1<<63, 1), 64), []string{`"a"`, "offset"}},
		{"offset beyond the end", content(head(1, 0)+info("a", F32, 64, 1), 64), []string{`"a"`, "at 64", "has 64"}},
		{"values beyond the end", content(head(1, 0)+info("a", F32, 32, 9), 64), []string{`"a"`, "36 bytes of F32[9]"}},
		{"overlap", content(head(2, 0)+info("a", F32, 0, 9)+info("b", F32, 32, 1), 96), []string{`"b"`, `overlaps "a"`, "36"}},
		{"overlap in another order", content(head(2, 0)+info("b", F32, 32, 1)+info("a", F32, 0, 9), 96), []string{`"b"`, `overlaps "a"`}},
		{"no values", head(1, 0) + info("a", F32, 0, 1), []string{"data"}},
	}
	for _, c := range cases {
		err := formattest.Bounded(t, c.what, []byte(c.content), 64, 1<<14, parseAll)
		formattest.WantError(t, c.what, err, append(c.parts, "gguf: ")...)
	}
}

func TestParseAccepts(t *testing.T) {
	for what, c := range map[string]string{
		"nothing in it":       head(0, 0),
		"version 2":           "GGUF" + u32(2) + u64(0) + u64(0),
		"a scalar":            content(head(1, 0)+info("a", F32, 0), 4),
		"a gap":               content(head(2, 0)+info("a", F32, 0, 1)+info("b", F32, 64, 1), 68),
		"no values in tensor": content(head(1, 0)+info("a", F32, 0, 0, 3), 0),
		"arrays in an array":  head(0, 1) + str("k") + u32(9) + u32(9) + u64(2) + u32(0) + u64(1) + "\x05" + u32(8) + u64(1) + str("x"),
	} {
		if err := parseAll([]byte(c)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestUnknownTypeIsErrorOnlyWhenAsked(t *testing.T) {
	f, err := Parse([]byte(content(head(2, 0)+info("new", 77, 0, 64)+info("w", F32, 32, 1), 36)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Tensor("w"); err != nil {
		t.Error(err)
	}
	_, err = f.Tensor("new")
	formattest.WantError(t, "unknown type", err, `"new"`, "type(77)")
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamagedContent(t *testing.T) {
	// The head of the file with all value types, and a whole small file whose
	// padding at the end a reader need not have.
	types := readFile(t, "types.gguf")
	f, err := Parse(types)
	if err != nil {
		t.Fatal(err)
	}
	headBytes := len(types) - len(f.data)
	codes := make([]int8, 256)
	data, err := AppendCodes(nil, Q4_K, codes, 1)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Encode(&b, f.Metadata(), []Tensor{{"a", F32, tensor.Shape{1}, make([]byte, 4)}, {"w", Q4_K, tensor.Shape{1, 256}, data}}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()[:b.Len()-(padded(len(data), 32)-len(data))]
	formattest.Truncated(t, whole, parseAll)
	formattest.BitFlips(t, whole, parseAll)
	formattest.Bytes(t, whole, 64, 1<<16, parseAll)
	formattest.Bytes(t, types[:headBytes], 64, 1<<16, parseAll)
}

// Reader to writer to reader gives the same bytes.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"types.gguf", "ours.gguf"} {
		b := readFile(t, name)
		again, err := rewrite(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%s: written anew it differs", name)
		}
	}
	nested := []KV{{"a", Arrays{[]uint8{1}, Arrays{[]string{"x", ""}}}}, {alignmentKey, uint32(64)}, {"empty", []float64{}}}
	var b bytes.Buffer
	if err := Encode(&b, nested, []Tensor{{"w", F16, tensor.Shape{3}, make([]byte, 6)}, {"v", F32, nil, make([]byte, 4)}}); err != nil {
		t.Fatal(err)
	}
	f, err := Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%#v", f.Metadata()); got != fmt.Sprintf("%#v", nested) {
		t.Errorf("metadata %s, want %#v", got, nested)
	}
	if f.infos[1].begin != 64 {
		t.Errorf("second tensor at %d, want 64", f.infos[1].begin)
	}
}

// rewrite parses a file and writes what it found.
func rewrite(b []byte) ([]byte, error) {
	f, err := Parse(b)
	if err != nil {
		return nil, err
	}
	var tensors []Tensor
	for _, i := range f.Infos() {
		data, err := f.Bytes(i.Name)
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, Tensor{i.Name, i.Type, i.Shape, data})
	}
	var out bytes.Buffer
	if err := Encode(&out, f.Metadata(), tensors); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func TestWriteRefuses(t *testing.T) {
	one := Tensor{"w", F32, tensor.Shape{1}, make([]byte, 4)}
	cases := []struct {
		what    string
		meta    []KV
		tensors []Tensor
		parts   []string
	}{
		{"key twice", []KV{{"k", true}, {"k", true}}, nil, []string{`"k"`, "twice"}},
		{"no key", []KV{{"", true}}, nil, []string{`""`}},
		{"int without width", []KV{{"k", 1}}, nil, []string{`"k"`, "a value of int"}},
		{"no value", []KV{{"k", nil}}, nil, []string{`"k"`, "no value"}},
		{"bad alignment", []KV{{alignmentKey, uint32(5)}}, nil, []string{"alignment"}},
		{"deep arrays", []KV{{"k", Arrays{Arrays{Arrays{Arrays{[]int8{1}}}}}}}, nil, []string{"nest"}},
		{"tensor twice", nil, []Tensor{one, one}, []string{`"w"`, "twice"}},
		{"no name", nil, []Tensor{{"", F32, nil, make([]byte, 4)}}, []string{"empty"}},
		{"size differs", nil, []Tensor{{"w", F32, tensor.Shape{2}, make([]byte, 4)}}, []string{`"w"`, "F32[2]", "8 bytes, got 4"}},
		{"ragged row", nil, []Tensor{{"w", Q8_0, tensor.Shape{32, 8}, nil}}, []string{`"w"`, "multiple of 32"}},
		{"unknown type", nil, []Tensor{{"w", 77, nil, nil}}, []string{"type(77)"}},
		{"five dimensions", nil, []Tensor{{"w", F32, tensor.Shape{1, 1, 1, 1, 1}, make([]byte, 4)}}, []string{"5 dimensions"}},
		{"negative dimension", nil, []Tensor{{"w", F32, tensor.Shape{-1}, make([]byte, 4)}}, []string{"negative"}},
	}
	dir := t.TempDir()
	p := filepath.Join(dir, "a.gguf")
	for _, c := range cases {
		formattest.WantError(t, c.what, Write(p, c.meta, c.tensors), append(c.parts, p)...)
	}
	if e, _ := os.ReadDir(dir); len(e) != 0 {
		t.Errorf("refused writes left %v", e)
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		return 0, syscall.ENOSPC
	}
	w.left -= len(b)
	return len(b), nil
}

func TestEncodeReportsFullDiskAtEveryByte(t *testing.T) {
	tensors := []Tensor{{"w", F32, tensor.Shape{1}, make([]byte, 4)}}
	var b bytes.Buffer
	if err := Encode(&b, nil, tensors); err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() {
		if err := Encode(&failingWriter{n}, nil, tensors); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("disk full after %d bytes: %v", n, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(readFile(f, "types.gguf"))
	f.Add(readFile(f, "ours.gguf"))
	f.Add([]byte(content(head(1, 1)+str("k")+u32(9)+u32(9)+u64(1)+u32(8)+u64(1)+str("x")+info("a", F32, 0, 1), 4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if parseAll(b) != nil {
			return
		}
		once, err := rewrite(b)
		if err != nil {
			return // an empty name or a value type that no writer makes
		}
		twice, err := rewrite(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("a second round trip differs (%v)", err)
		}
	})
}
