package gguf

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/format/formattest"
	"lowbit/tensor"
)

var writeOurs = flag.Bool("write", false, "write testdata/ours.gguf for peer/golden_gguf.py to check")

type goldenFile struct {
	Rows, Columns int
	Values        map[string]string
	Codes         map[string]struct {
		Codes []int8
		Steps []float32
	}
	Checked struct {
		SHA256 string
		Errors map[string]float64
	}
}

func golden(t testing.TB) goldenFile {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFile
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func typeNamed(t testing.TB, name string) Type {
	t.Helper()
	for id, tr := range traits {
		if tr.name == name {
			return id
		}
	}
	t.Fatalf("no type is named %s", name)
	return 0
}

func open(t testing.TB, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestValuesEqualReference(t *testing.T) {
	g := golden(t)
	f := open(t, "testdata/types.gguf")
	if len(f.Infos()) != len(g.Values)+2 {
		t.Errorf("%d tensors, want %d", len(f.Infos()), len(g.Values)+2)
	}
	known := 0
	for id, tr := range traits {
		if tr.dequantize == nil {
			continue
		}
		known++
		info, ok := f.Info(tr.name)
		if !ok || info.Type != id || !info.Shape.Equal(tensor.Shape{g.Rows, g.Columns}) {
			t.Errorf("%s: %+v", tr.name, info)
			continue
		}
		v, err := f.Tensor(tr.name)
		if err == nil {
			v, err = v.ToFloat32()
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got := hex.EncodeToString(v.Bytes()); got != g.Values[tr.name] {
			t.Errorf("%s: %.64s…, want %.64s…", tr.name, got, g.Values[tr.name])
		}
	}
	if known != len(g.Values) {
		t.Errorf("%d types have a row function, the golden has %d", known, len(g.Values))
	}
}

// A row, or a block, alone gives the same values as the whole.
func TestDequantizeRowTakesAnyBlocks(t *testing.T) {
	f := open(t, "testdata/types.gguf")
	for name := range golden(t).Values {
		info, _ := f.Info(name)
		whole := make([]float32, info.Shape.Size())
		b, err := f.Bytes(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := DequantizeRow(info.Type, whole, b); err != nil {
			t.Fatal(err)
		}
		n := info.Type.BlockElements()
		part := make([]float32, n)
		for i := 0; i < len(whole); i += n {
			at, err := info.Type.RowBytes(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := DequantizeRow(info.Type, part, b[at:at+info.Type.BlockBytes()]); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(part, whole[i:i+n]) {
				t.Errorf("%s: block at %d differs", name, i)
			}
		}
		if a := testing.AllocsPerRun(10, func() { DequantizeRow(info.Type, whole, b) }); a != 0 {
			t.Errorf("%s: %v allocations a row", name, a)
		}
		formattest.WantError(t, name+" short", DequantizeRow(info.Type, whole, b[1:]), "need", name)
		if n > 1 {
			formattest.WantError(t, name+" ragged", DequantizeRow(info.Type, whole[1:], b), "multiple of")
		}
	}
	formattest.WantError(t, "codebook", DequantizeRow(39, make([]float32, 32), make([]byte, 17)), "MXFP4")
}

func TestMetadataOfEveryType(t *testing.T) {
	f := open(t, "testdata/types.gguf")
	want := map[string]any{
		"general.architecture": "test",
		"x.uint8":              uint8(200), "x.uint8s": []uint8{200, 200},
		"x.int8": int8(-100), "x.int8s": []int8{-100, -100},
		"x.uint16": uint16(60000), "x.uint16s": []uint16{60000, 60000},
		"x.int16": int16(-30000), "x.int16s": []int16{-30000, -30000},
		"x.uint32": uint32(4000000000), "x.uint32s": []uint32{4000000000, 4000000000},
		"x.int32": int32(-2000000000), "x.int32s": []int32{-2000000000, -2000000000},
		"x.uint64": uint64(1 << 63), "x.uint64s": []uint64{1 << 63, 1 << 63},
		"x.int64": int64(-1 << 62), "x.int64s": []int64{-1 << 62, -1 << 62},
		"x.float32": float32(0.5), "x.float32s": []float32{0.5, 0.5},
		"x.float64": 0.1, "x.float64s": []float64{0.1, 0.1},
		"x.bool": true, "x.bools": []bool{true, true},
		"x.string": "grüß", "x.strings": []string{"grüß", "grüß"},
	}
	if len(f.Metadata()) != len(want) || f.Metadata()[0].Key != "general.architecture" {
		t.Errorf("%d pairs, want %d", len(f.Metadata()), len(want))
	}
	for k, w := range want {
		if got, ok := f.Value(k); !ok || fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", w, w) {
			t.Errorf("%s: %T %v, want %T %v", k, got, got, w, w)
		}
	}
	for k, w := range map[string]int{"x.uint8": 200, "x.int8": -100, "x.uint16": 60000, "x.int16": -30000, "x.int32": -2000000000} {
		if got, err := f.Int(k); err != nil || got != w {
			t.Errorf("%s: %d, %v; want %d", k, got, err, w)
		}
	}
	for k, w := range map[string]float64{"x.float32": 0.5, "x.float64": 0.1} {
		if got, err := f.Float(k); err != nil || got != w {
			t.Errorf("%s: %v, %v; want %v", k, got, err, w)
		}
	}
	if s, err := Get[[]string](f, "x.strings"); err != nil || len(s) != 2 {
		t.Errorf("x.strings: %q, %v", s, err)
	}
	_, err := f.Int("x.uint64")
	formattest.WantError(t, "too large", err, "types.gguf", `"x.uint64"`)
	_, err = f.Int("x.string")
	formattest.WantError(t, "wrong type", err, `"x.string" is string`)
	_, err = f.Float("none")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v, want ErrNotFound", err)
	}
}

func TestTensorOfOtherTypes(t *testing.T) {
	f := open(t, "testdata/types.gguf")
	v, err := f.Tensor("I32")
	if err != nil || !v.Shape().Equal(tensor.Shape{1, 2, 3}) || !slices.Equal(v.Int32s(), []int32{-3, -2, -1, 0, 1, 2}) {
		t.Errorf("I32: %v, %v", v, err)
	}
	if b, err := f.Bytes("MXFP4"); err != nil || len(b) != 17 {
		t.Errorf("MXFP4: %d bytes, %v", len(b), err)
	}
	_, err = f.Tensor("MXFP4")
	formattest.WantError(t, "MXFP4", err, "types.gguf", `"MXFP4"`, "float32")
	_, err = f.Tensor("none")
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("none: %v, want ErrNotFound", err)
	}
}

// ourFile makes the tensors that the reference has checked.
func ourFile(t testing.TB, g goldenFile) (meta []KV, tensors []Tensor) {
	names := make([]string, 0, len(g.Codes))
	for name := range g.Codes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		given, id := g.Codes[name], typeNamed(t, name)
		var data []byte
		for r, s := range given.Steps {
			var err error
			if data, err = AppendCodes(data, id, given.Codes[r*g.Columns:(r+1)*g.Columns], s); err != nil {
				t.Fatal(err)
			}
		}
		tensors = append(tensors, Tensor{name, id, tensor.Shape{g.Rows, g.Columns}, data})
	}
	return []KV{{"general.architecture", "test"}, {"general.name", "ours"}, {"x.list", []int32{1, 2, 3}}}, tensors
}

// The reference has read the file with these bytes and found every value equal
// to step*code.
func TestWriterGivesCheckedBytes(t *testing.T) {
	g := golden(t)
	meta, tensors := ourFile(t, g)
	path := filepath.Join(t.TempDir(), "ours.gguf")
	if *writeOurs {
		path = "testdata/ours.gguf"
	}
	if err := Write(path, meta, tensors); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != g.Checked.SHA256 {
		t.Errorf("sha256 %s, the reference checked %s", got, g.Checked.SHA256)
	}
	if len(g.Checked.Errors) != len(tensors) {
		t.Errorf("the reference checked %d tensors, want %d", len(g.Checked.Errors), len(tensors))
	}
	for name, e := range g.Checked.Errors {
		if e != 0 {
			t.Errorf("%s: the reference finds an error of %v", name, e)
		}
	}
}

// Every code of every type survives with every kind of step.
func TestCodesAreExact(t *testing.T) {
	const seed = 7
	rng := rand.New(rand.NewPCG(seed, 0))
	steps := []float32{1, -0.5, 65504, 5.9604645e-08, tensor.Float16ToFloat32(0x2e66)}
	encoders := 0
	for id, tr := range traits {
		lo, hi, ok := id.CodeRange()
		if !ok {
			continue
		}
		encoders++
		codes := make([]int8, 2*256)
		for i := range codes {
			codes[i] = int8(lo + i%(hi-lo+1))
		}
		for range 20 {
			for _, s := range steps {
				b, err := AppendCodes([]byte{1}, id, codes, s)
				if err != nil {
					t.Fatal(err)
				}
				got := make([]float32, len(codes))
				if err := DequantizeRow(id, got, b[1:]); err != nil {
					t.Fatal(err)
				}
				for i, k := range codes {
					if want := s * float32(k); got[i] != want {
						t.Fatalf("%s (seed %d): code %d at step %v gives %v, want %v", tr.name, seed, k, s, got[i], want)
					}
				}
			}
			rng.Shuffle(len(codes), func(i, j int) { codes[i], codes[j] = codes[j], codes[i] })
		}
		for _, k := range []int{lo - 1, hi + 1} {
			if k < -128 || k > 127 {
				continue
			}
			codes[3] = int8(k)
			_, err := AppendCodes(nil, id, codes, 1)
			formattest.WantError(t, "code outside", err, fmt.Sprintf("code %d at 3", k), tr.name)
		}
	}
	if encoders != 9 {
		t.Errorf("%d types take codes, want 9", encoders)
	}
}

func TestAppendCodesRefuses(t *testing.T) {
	codes := make([]int8, 32)
	for what, c := range map[string]struct {
		t     Type
		codes []int8
		step  float32
		part  string
	}{
		"not float16":  {Q4_0, codes, 0.1, "float16"},
		"overflow":     {Q4_0, codes, 1e6, "float16"},
		"infinite":     {Q4_0, codes, float32(math.Inf(1)), "float16"},
		"no number":    {Q4_0, codes, float32(math.NaN()), "float16"},
		"ragged":       {Q4_0, codes[1:], 1, "multiple of 32"},
		"short for K":  {Q4_K, codes, 1, "multiple of 256"},
		"no codes":     {Q4_1, codes, 1, "takes no codes"},
		"unknown type": {77, codes, 1, "type(77)"},
	} {
		b, err := AppendCodes([]byte{9}, c.t, c.codes, c.step)
		formattest.WantError(t, what, err, c.part)
		if !bytes.Equal(b, []byte{9}) {
			t.Errorf("%s: dst became %v", what, b)
		}
	}
}

func TestHomeHoldsTheCodes(t *testing.T) {
	want := map[[2]int]Type{
		{1, 512}: TQ2_0, {2, 512}: Q2_K, {3, 512}: Q3_K, {4, 512}: Q4_0, {5, 512}: Q5_K, {6, 512}: Q6_K, {7, 512}: Q8_0, {8, 512}: Q8_0,
		{1, 576}: Q4_0, {2, 576}: Q4_0, {3, 576}: Q4_0, {4, 576}: Q4_0, {5, 576}: Q5_0, {6, 576}: Q8_0, {7, 576}: Q8_0, {8, 576}: Q8_0,
	}
	for k, w := range want {
		got, ok := Home(k[0], k[1])
		if !ok || got != w {
			t.Errorf("%d bits, rows of %d: %v, want %v", k[0], k[1], got, w)
		}
		lo, hi, ok := got.CodeRange()
		top := 1<<(k[0]-1) - 1
		if k[0] == 1 {
			top = 1
		}
		if !ok || lo > -top-1 && k[0] > 1 || lo > -1 || hi < top {
			t.Errorf("%d bits: %v takes %d..%d", k[0], got, lo, hi)
		}
	}
	for _, k := range [][2]int{{4, 172}, {4, 0}, {9, 256}, {0, 256}, {16, 256}} {
		if got, ok := Home(k[0], k[1]); ok {
			t.Errorf("%d bits, rows of %d: %v, want none", k[0], k[1], got)
		}
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "bad.gguf")
	if err := os.WriteFile(p, []byte("GGML"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := Open(p)
	formattest.WantError(t, "bad magic", err, p, `magic "GGML"`, `want "GGUF"`)
	_, err = Open(p + ".none")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), p) {
		t.Errorf("missing file: %v", err)
	}
}
