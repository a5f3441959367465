package infer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/format/safetensors"
)

// The words of specs that packers of other programs publish.
func TestPackedWordsAreThoseOfTheFormat(t *testing.T) {
	for _, c := range []struct {
		bits  int
		codes []int8
		want  []uint32
	}{
		{4, []int8{-8, -7, 7, 0, 1, 2, 3, 4}, []uint32{0xCBA98F10}},
		{3, []int8{
			-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3,
			-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3,
		}, []uint32{0x88FAC688, 0xC688FAC6, 0xFAC688FA}},
	} {
		dst := make([]byte, 4*packedWords(len(c.codes), c.bits))
		packCodes(dst, c.codes, len(c.codes), c.bits)
		for i, w := range c.want {
			if got := binary.LittleEndian.Uint32(dst[4*i:]); got != w {
				t.Errorf("%d bits: word %d is %#x, want %#x", c.bits, i, got, w)
			}
		}
	}
}

func TestUnpackIsTheInverseOfPack(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for bits := 2; bits <= 8; bits++ {
		for n := 1; n < 80; n++ {
			codes := make([]int8, 3*n)
			for i := range codes {
				codes[i] = int8(r.IntN(1<<bits) - 1<<(bits-1))
			}
			dst := make([]byte, 3*4*packedWords(n, bits))
			packCodes(dst, codes, n, bits)
			got := make([]int8, len(codes))
			unpackCodes(got, dst, n, bits)
			if !slices.Equal(got, codes) {
				t.Fatalf("%d bits, rows of %d: %v, want %v", bits, n, got, codes)
			}
		}
	}
}

func TestPackedFileIsTheNetwork(t *testing.T) {
	for seed := uint64(1); seed <= 40; seed++ {
		r := rand.New(rand.NewPCG(seed, 1))
		g := quantizeGraph(t, randomNet(r), r.IntN(2) == 0, r.IntN(2) == 0, func(string) (int, int) { return 2 + r.IntN(7), 2 + r.IntN(7) })
		store := randomStore(t, g, seed)
		path := filepath.Join(t.TempDir(), "net.lowbit.safetensors")
		if err := Write(path, g, store, Info{Name: "random"}); err != nil {
			t.Fatal(seed, err)
		}
		m, err := Load(path)
		if err != nil {
			t.Fatal(seed, err)
		}
		ref, err := NewReference(g, store)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Compare(ref, randomInput(m.InputShape(), seed))
		if err != nil || !c.Equal() {
			t.Fatal(seed, err, c)
		}
		checkRoundTrip(t, path, m)
	}
}

// checkRoundTrip writes what was read and wants the same bytes.
func checkRoundTrip(t *testing.T, path string, m *Model) {
	t.Helper()
	again, err := m.Parameters()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Encode(&b, m.Graph(), again, m.Info()); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Fatal("writing what was read gives other bytes")
	}
	if _, err := Decode(want); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Parameters(); err == nil {
		t.Error("parameters of a closed file")
	}
}

// Sizes of the file of ResNet-18 with its first and last layer at 8 bits,
// against 8 bits throughout.
func TestFewerBitsMakeSmallerFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("packs ResNet-18 four times: run without -short")
	}
	size := func(bits int) float64 {
		g, store, _ := benchModel(t, "resnet18", bits, true)
		var b bytes.Buffer
		if err := Encode(&b, g, store, Info{}); err != nil {
			t.Fatal(err)
		}
		return float64(b.Len())
	}
	full := size(8)
	for bits, most := range map[int]float64{4: 0.55, 3: 0.43, 2: 0.32} {
		if part := size(bits) / full; part > most {
			t.Errorf("%d bits: %.3f of the 8-bit file, want at most %.2f", bits, part, most)
		} else {
			t.Logf("%d bits: %.3f of %.0f bytes", bits, part, full)
		}
	}
}

// smallFile is the content of a packed file of a small network.
func smallFile(tb testing.TB) []byte {
	tb.Helper()
	r := rand.New(rand.NewPCG(8, 1))
	g := quantizeGraph(tb, randomNet(r), true, true, func(string) (int, int) { return 3, 4 })
	var b bytes.Buffer
	if err := Encode(&b, g, randomStore(tb, g, 8), Info{Name: "small"}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileFilesAreErrors(t *testing.T) {
	good := smallFile(t)
	store, meta, err := safetensors.Decode(good)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(f func(meta map[string]string)) []byte {
		m := map[string]string{}
		for k, v := range meta {
			m[k] = v
		}
		f(m)
		var b bytes.Buffer
		if err := safetensors.Encode(&b, store, m); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	replace := func(old, new string) []byte {
		return edit(func(m map[string]string) {
			if !strings.Contains(m[metaGraph], old) {
				t.Fatalf("the graph lacks %s", old)
			}
			m[metaGraph] = strings.Replace(m[metaGraph], old, new, 1)
		})
	}
	for name, b := range map[string][]byte{
		"empty":         nil,
		"truncated":     good[:len(good)-5],
		"no version":    edit(func(m map[string]string) { delete(m, metaVersion) }),
		"other version": edit(func(m map[string]string) { m[metaVersion] = "9" }),
		"no graph":      edit(func(m map[string]string) { m[metaGraph] = "" }),
		"bad info":      edit(func(m map[string]string) { m[metaInfo] = "[" }),
		"too many labels": edit(func(m map[string]string) {
			m[metaInfo] = `{"labels":["a","b","c","d","e","f","g","h","i","j","k","l","m"]}`
		}),
		"bad preprocess": edit(func(m map[string]string) { m[metaInfo] = `{"preprocess":{"channels":3,"height":1,"width":1}}` }),
		"huge padding":   replace(`"pad":[`, `"pad":[2000000000,2000000000,2000000000,200000000`),
		"other bits":     replace(`"bits":3`, `"bits":8`),
	} {
		if m, err := Decode(b); err == nil {
			t.Errorf("%s: accepted, %v", name, m.OutputShape())
		}
	}
	if _, err := Decode(edit(func(m map[string]string) { delete(m, metaVersion) })); !errors.Is(err, ErrNotPacked) {
		t.Errorf("a plain file of weights: %v, want ErrNotPacked", err)
	}
	if _, err := Decode(edit(func(m map[string]string) { m[metaVersion] = "9" })); err == nil || !strings.Contains(err.Error(), `version "9", want 1 or 2`) {
		t.Errorf("a file of a later version: %v", err)
	}
	if m, err := Decode(edit(func(m map[string]string) { m[metaVersion] = "1" })); err != nil || len(m.OutputShape()) != 1 {
		t.Errorf("a file of version 1: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that does not exist was loaded")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(smallFile(f))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if strings.Contains(err.Error(), "internal error") {
				t.Fatal(err)
			}
			return
		}
		if m.ArenaBytes() > 1<<22 {
			return
		}
		in := make([]float32, product(m.InputShape()))
		if err := m.NewSession(Options{Threads: 1}).Run(in, make([]float32, product(m.OutputShape()))); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range []string{"resnet18"} {
		g, store, _ := benchModel(b, name, 8, true)
		path := filepath.Join(b.TempDir(), "net.lowbit.safetensors")
		if err := Write(path, g, store, Info{}); err != nil {
			b.Fatal(err)
		}
		b.Run("model="+name, func(b *testing.B) {
			leastOf(b, func() error {
				m, err := Load(path)
				if err != nil {
					return err
				}
				return m.Close()
			})
		})
	}
}

// FuzzGraph keeps the tensors of a good file and changes what its metadata say.
func FuzzGraph(f *testing.F) {
	store, meta, err := safetensors.Decode(smallFile(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(meta[metaGraph], meta[metaInfo])
	f.Add(strings.Replace(meta[metaGraph], `"stride":[`, `"stride":[1`, 1), `{"preprocess":{"channels":1}}`)
	f.Fuzz(func(t *testing.T, text, info string) {
		m, err := open(map[string]string{metaVersion: "1", metaGraph: text, metaInfo: info}, nil, store.Get)
		if err != nil || m.ArenaBytes() > 1<<22 {
			return
		}
		in := make([]float32, product(m.InputShape()))
		if err := m.NewSession(Options{Threads: 1}).Run(in, make([]float32, product(m.OutputShape()))); err != nil {
			t.Fatal(err)
		}
	})
}

// A file that was written as version 1 is the network it was, and one of version 2
// when it is written again.
func TestFilesOfVersion1(t *testing.T) {
	m, err := Load("testdata/version1.lowbit.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	store, err := m.Parameters()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := NewReference(m.Graph(), store)
	if err != nil {
		t.Fatal(err)
	}
	c, err := m.Compare(ref, randomInput(m.InputShape(), 1))
	if err != nil || !c.Equal() || c.Layers < 2 {
		t.Errorf("%+v, %v", c, err)
	}
	var b bytes.Buffer
	if err := Encode(&b, m.Graph(), store, m.Info()); err != nil {
		t.Fatal(err)
	}
	old, oldMeta, err := safetensors.Read("testdata/version1.lowbit.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	now, meta, err := safetensors.Decode(b.Bytes())
	if err != nil || oldMeta[metaVersion] != "1" || meta[metaVersion] != "2" {
		t.Fatalf("versions %q and %q, %v", oldMeta[metaVersion], meta[metaVersion], err)
	}
	for _, name := range old.Names() {
		if got := now.Get(name); got == nil || !bytes.Equal(got.Bytes(), old.Get(name).Bytes()) {
			t.Errorf("tensor %q is another", name)
		}
	}
}
