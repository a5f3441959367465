package safetensors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lowbit/format/formattest"
	"lowbit/internal/testenv"
	"lowbit/tensor"
)

type goldenFile struct {
	Metadata map[string]string
	Tensors  map[string]struct {
		DType string
		Shape []int
		Hex   string
	}
}

// golden returns what the reference implementation read from testdata.
func golden(t *testing.T) map[string]goldenFile {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct{ Files map[string]goldenFile }
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g.Files
}

func TestReadEqualsReference(t *testing.T) {
	for name, want := range golden(t) {
		path := filepath.Join("testdata", name)
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := f.Metadata(); fmt.Sprint(got) != fmt.Sprint(want.Metadata) {
			t.Errorf("%s: metadata %q, want %q", name, got, want.Metadata)
		}
		if len(f.Names()) != len(want.Tensors) {
			t.Errorf("%s: names %q, want %d", name, f.Names(), len(want.Tensors))
		}
		store, _, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		for key, w := range want.Tensors {
			view, err := f.Tensor(key)
			if err != nil {
				t.Fatal(err)
			}
			info, _ := f.Info(key)
			if info.DType != w.DType || info.SizeBytes != len(w.Hex)/2 || !info.Shape.Equal(w.Shape) {
				t.Errorf("%s: %q: %+v, want %s%v", name, key, info, w.DType, w.Shape)
			}
			for _, got := range []*tensor.Tensor{view, store.Get(key)} {
				if strings.ToUpper(got.DType().String()) != w.DType || !got.Shape().Equal(w.Shape) || hex.EncodeToString(got.Bytes()) != w.Hex {
					t.Errorf("%s: %q: %v %x, want %s%v %s", name, key, got, got.Bytes(), w.DType, w.Shape, w.Hex)
				}
			}
		}
	}
}

func TestWriteGivesReferenceBytes(t *testing.T) {
	for name := range golden(t) {
		path := filepath.Join("testdata", name)
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		store, meta, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), name)
		if err := Write(out, store, meta); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(out); !bytes.Equal(got, want) {
			t.Errorf("%s: wrote %q, want %q", name, got, want)
		}
	}
}

func TestEncodeSortsMetadata(t *testing.T) {
	meta := map[string]string{"c": "3", "a": "1", "b": "2"}
	var b bytes.Buffer
	if err := Encode(&b, tensor.NewStore(), meta); err != nil {
		t.Fatal(err)
	}
	if want := `{"__metadata__":{"a":"1","b":"2","c":"3"}}`; !strings.HasPrefix(b.String()[8:], want) {
		t.Errorf("header %q, want %q", b.String()[8:], want)
	}
	if b.Len()%8 != 0 {
		t.Errorf("%d bytes, want a multiple of 8", b.Len())
	}
	s, got, err := Decode(b.Bytes())
	if err != nil || s.Len() != 0 || fmt.Sprint(got) != fmt.Sprint(meta) {
		t.Errorf("decoded %v, %v, %v; want no tensors and %v", s, got, err, meta)
	}
}

func TestForeignDTypeIsErrorOnlyWhenAsked(t *testing.T) {
	f, err := Open("testdata/foreign.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if w, err := f.Tensor("w"); err != nil || !slices.Equal(w.Float32s(), []float32{1, 1}) {
		t.Errorf("w: %v, %v", w, err)
	}
	_, err = f.Tensor("f8")
	formattest.WantError(t, "f8", err, "foreign.safetensors", `"f8"`, `"F8_E4M3"`, "F32")
	_, err = f.Tensor("u16")
	formattest.WantError(t, "u16", err, `"U16"`)
	_, err = f.Tensor("none")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v, want ErrNotFound", err)
	}
	if _, _, err := Read("testdata/foreign.safetensors"); err == nil {
		t.Error("Read accepts a dtype it cannot give")
	}
}

func TestTensorIsViewAndOutlivesNothing(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	s := tensor.NewStore()
	s.Put("w", tensor.FromFloat32s([]float32{1, 2}, 2))
	if err := Write(p, s, nil); err != nil {
		t.Fatal(err)
	}
	f, err := Open(p)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := f.Tensor("w")
	b, _ := f.Tensor("w")
	if &a.Bytes()[0] != &b.Bytes()[0] {
		t.Error("two views have different storage: the values were copied")
	}
	a.Float32s()[0] = 5 // the view is private
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if again, _, _ := Read(p); again.Get("w").Float32s()[0] != 1 {
		t.Error("a write to a view reached the file")
	}
	if _, err := f.Tensor("w"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after Close: %v, want an error", err)
	}
}

// content builds a file from a header's text.
func content(header string, dataBytes int) []byte {
	b := []byte{byte(len(header)), byte(len(header) >> 8), 0, 0, 0, 0, 0, 0}
	return append(append(b, header...), make([]byte, dataBytes)...)
}

func TestDecodeRefuses(t *testing.T) {
	one := func(fields string) string { return `{"a":{` + fields + `}}` }
	ok := `"dtype":"F32","shape":[2],"data_offsets":[0,8]`
	cases := []struct {
		what    string
		content []byte
		parts   []string
	}{
		{"no length", []byte{1, 2}, []string{"header length", "2 bytes"}},
		{"huge length", []byte{0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}'}, []string{"header length", "at most 100000000"}},
		{"length over the file", []byte{9, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, []string{"9 bytes", "2 left"}},
		{"not an object", content(`[]`, 0), []string{"'{'"}},
		{"space first", content(` {}`, 0), []string{"'{'"}},
		{"not UTF-8", content("{\"\xff\":1}", 0), []string{"UTF-8"}},
		{"two values", content(`{} {}`, 0), []string{"follows"}},
		{"open object", content(`{"a":`, 0), []string{"JSON at byte"}},
		{"comma at the end", content(`{`+`"a":{`+ok+`},}`, 8), []string{"JSON"}},
		{"tensor twice", content(`{"a":{`+ok+`},"a":{`+ok+`}}`, 8), []string{`"a"`, "twice"}},
		{"escaped name twice", content(`{"a":{`+ok+`},"\u0061":{`+ok+`}}`, 8), []string{`"a"`, "twice"}},
		{"metadata twice", content(`{"__metadata__":{},"__metadata__":{}}`, 0), []string{"__metadata__", "twice"}},
		{"metadata key twice", content(`{"__metadata__":{"k":"","k":""}}`, 0), []string{`"k"`, "twice"}},
		{"metadata number", content(`{"__metadata__":{"k":1}}`, 0), []string{`"k"`, "want a string"}},
		{"field twice", content(one(ok+`,"dtype":"F32"`), 8), []string{"dtype", "twice"}},
		{"field unknown", content(one(ok+`,"more":1`), 8), []string{`"more"`}},
		{"field missing", content(one(`"dtype":"F32","shape":[]`), 4), []string{`"a"`, "missing"}},
		{"negative size", content(one(`"dtype":"F32","shape":[-2],"data_offsets":[0,8]`), 8), []string{"shape", "-2"}},
		{"fractional size", content(one(`"dtype":"F32","shape":[2.0],"data_offsets":[0,8]`), 8), []string{"shape", "2.0"}},
		{"huge shape", content(one(`"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]`), 8), []string{`"a"`, "overflows"}},
		{"shape that wraps", content(one(`"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]`), 0), []string{`"a"`}},
		{"offset beyond 63 bits", content(one(`"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775808]`), 8), []string{"data_offsets"}},
		{"three offsets", content(one(`"dtype":"F32","shape":[2],"data_offsets":[0,8,8]`), 8), []string{"3 values, want 2"}},
		{"size differs", content(one(`"dtype":"F32","shape":[3],"data_offsets":[0,8]`), 8), []string{`"a"`, "F32[3]", "8 bytes"}},
		{"beyond the end", content(one(`"dtype":"F32","shape":[2],"data_offsets":[0,8]`), 7), []string{`"a"`, "[0, 8]", "at most 7"}},
		{"reversed", content(one(`"dtype":"F32","shape":[0],"data_offsets":[0,-8]`), 8), []string{"data_offsets"}},
		{"hole at the start", content(one(`"dtype":"F32","shape":[2],"data_offsets":[4,12]`), 12), []string{`"a"`, "start of 0"}},
		{"bytes behind", content(one(ok), 9), []string{"cover 8", "has 9"}},
		{"overlap", content(`{"a":{`+ok+`},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12), []string{`"b"`, "start of 8"}},
		{"hole", content(`{"a":{`+ok+`},"b":{"dtype":"F32","shape":[1],"data_offsets":[9,13]}}`, 13), []string{`"b"`, "start of 8"}},
		{"nested without end", content(`{"__metadata__":`+strings.Repeat(`[`, 60000)+`}`, 0), nil},
	}
	for _, c := range cases {
		_, _, err := Decode(c.content)
		formattest.WantError(t, c.what, err, append(c.parts, "safetensors: ")...)
	}
	if _, _, err := Decode(content(one(ok)+"   ", 8)); err != nil {
		t.Errorf("a padded header: %v", err)
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "bad.safetensors")
	if err := os.WriteFile(p, content(`{"a":1}`, 0), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Open(p)
	formattest.WantError(t, "bad", err, p, `"a"`, "got 1")
	_, _, err = Read(p + ".none")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want ErrNotExist", err)
	}
	formattest.WantError(t, "missing", err, p+".none")
}

func decodeOnly(b []byte) error {
	_, _, err := Decode(b)
	return err
}

func TestDamagedContent(t *testing.T) {
	b, err := os.ReadFile("testdata/dtypes.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	formattest.Truncated(t, b, decodeOnly)
	if refused := formattest.BitFlips(t, b, decodeOnly); refused < len(b) {
		t.Errorf("only %d damaged inputs refused of %d", refused, 8*len(b))
	}
	formattest.Bytes(t, b[:64], 64, 1<<16, decodeOnly)
	formattest.Bytes(t, b, 64, 1<<16, decodeOnly)
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		n := w.left
		w.left = 0
		return n, syscall.ENOSPC
	}
	w.left -= len(b)
	return len(b), nil
}

func TestEncodeReportsFullDiskAtEveryByte(t *testing.T) {
	s := tensor.NewStore()
	s.Put("w", tensor.FromFloat32s([]float32{1, 2}, 2))
	var b bytes.Buffer
	if err := Encode(&b, s, nil); err != nil {
		t.Fatal(err)
	}
	for n := range b.Len() {
		if err := Encode(&failingWriter{n}, s, nil); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("disk full after %d bytes: %v", n, err)
		}
	}
}

func TestWriteRefusesBadNames(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	for name, meta := range map[string]map[string]string{
		"__metadata__": nil, "bad\xff": nil, "ok": {"bad\xff": ""}, "fine": {"k": "bad\xff"},
	} {
		s := tensor.NewStore()
		s.Put(name, tensor.Scalar(1))
		if err := Write(p, s, meta); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%q, %q: %v, want an error with the path", name, meta, err)
		}
	}
	if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused write left a file")
	}
}

// Every published file that the project uses opens and survives a round trip.
func TestSharedModelsRoundTrip(t *testing.T) {
	dir := testenv.Shared(t, "models")
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	deeper, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*.safetensors"))
	paths = append(paths, deeper...)
	if len(paths) == 0 {
		t.Fatalf("no safetensors files under %s", dir)
	}
	for _, p := range paths {
		store, meta, err := Read(p)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := Encode(&got, store, meta); err != nil {
			t.Fatal(err)
		}
		again, _, err := Decode(got.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range store.Names() {
			if !bytes.Equal(again.Get(name).Bytes(), store.Get(name).Bytes()) {
				t.Errorf("%s: %q changed in a round trip", p, name)
			}
		}
		if len(meta) <= 1 && !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: written anew it differs from the reference's bytes", p)
		}
		t.Logf("%s: %d tensors, %d bytes", filepath.Base(p), store.Len(), len(want))
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range []string{"dtypes", "bare", "foreign"} {
		b, err := os.ReadFile("testdata/" + name + ".safetensors")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		store, meta, err := Decode(b)
		if err != nil {
			return
		}
		if store.SizeBytes() > len(b) {
			t.Fatalf("%d bytes of tensors from %d", store.SizeBytes(), len(b))
		}
		var out, again bytes.Buffer
		if err := Encode(&out, store, meta); err != nil {
			t.Fatal(err)
		}
		s2, m2, err := Decode(out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if err := Encode(&again, s2, m2); err != nil || !bytes.Equal(out.Bytes(), again.Bytes()) {
			t.Fatalf("a second round trip differs (%v)", err)
		}
	})
}
