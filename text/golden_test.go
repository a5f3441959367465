package text

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/text/unicode/norm"

	"lowbit/internal/testenv"
)

type answer struct {
	IDs     []int32 `json:"ids"`
	Offsets []int   `json:"offsets"`
	Decoded *string `json:"decoded"`
	Plain   *string `json:"plain"`
}

type golden struct {
	Samples []string            `json:"samples"`
	Answers map[string][]answer `json:"answers"`
	Pairs   map[string][]struct {
		A, B, Max  int
		IDs, Types []int32
	} `json:"pairs"`
	SPM struct {
		Tokens []string
		Scores []float32
		Types  []int32
	} `json:"spm"`
}

func loadGolden(tb testing.TB, name string, into any) {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// composes names the tokenizers that join characters. What was joined has the
// offsets of all of them here; the reference gives those of the first.
var composes = map[string]bool{"qwen2": true, "unigram": true}

// checkAnswers compares everything the reference said of the samples.
func checkAnswers(t *testing.T, name string, k *Tokenizer, samples []string, want []answer) {
	t.Helper()
	for i, a := range want {
		if t.Failed() {
			break
		}
		s := samples[i]
		if got := k.Encode(s); !slices.Equal(got, a.IDs) {
			t.Errorf("sample %d %q:\n got %v\nwant %v\n got %q\nwant %q", i, s, got, a.IDs, names(k, got), names(k, a.IDs))
			continue
		}
		e := k.Tokenize(s)
		if !slices.Equal(e.IDs, a.IDs) {
			t.Errorf("sample %d %q: with offsets %v, want %v", i, s, e.IDs, a.IDs)
		} else if a.Offsets != nil {
			for n, o := range e.Offsets {
				if composes[name] && !norm.NFC.IsNormalString(s) {
					break
				}
				if w := (Span{a.Offsets[2*n], a.Offsets[2*n+1]}); o != w && e.Sources[n] >= 0 {
					t.Errorf("sample %d %q: token %d %q at %v, want %v", i, s, n, k.Token(e.IDs[n]), o, w)
				}
			}
		}
		if a.Decoded != nil {
			if got := k.Decode(a.IDs, false); got != *a.Decoded {
				t.Errorf("sample %d: decoded %q, want %q", i, got, *a.Decoded)
			}
		}
		if a.Plain != nil {
			if got := k.Decode(a.IDs, true); got != *a.Plain {
				t.Errorf("sample %d: decoded without specials %q, want %q", i, got, *a.Plain)
			}
		}
	}
}

func names(k *Tokenizer, ids []int32) (s []string) {
	for _, id := range ids {
		s = append(s, k.Token(id))
	}
	return s
}

// jsonNames are the tokenizers in testdata.
var jsonNames = []string{"gpt2", "smollm", "llama3", "qwen2", "o200k", "prefixed", "bert", "cased", "llama", "metaspace", "unigram"}

func openGolden(tb testing.TB, name string) *Tokenizer {
	tb.Helper()
	k, err := Open(filepath.Join("testdata", name+".json"))
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestTokenizerGivesTheReferencesIDs(t *testing.T) {
	var g golden
	loadGolden(t, "golden.json", &g)
	for _, name := range jsonNames {
		t.Run(name, func(t *testing.T) {
			if len(g.Answers[name]) < len(g.Samples)/2 {
				t.Fatalf("%d answers", len(g.Answers[name]))
			}
			checkAnswers(t, name, openGolden(t, name), g.Samples, g.Answers[name])
		})
	}
	t.Run("spm", func(t *testing.T) { checkAnswers(t, "spm", spmGolden(t, &g), g.Samples, g.Answers["spm"]) })
}

// spmGolden reads the sentencepiece table as a GGUF file has it.
func spmGolden(tb testing.TB, g *golden) *Tokenizer {
	tb.Helper()
	kv := map[string]any{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": g.SPM.Tokens, "tokenizer.ggml.scores": g.SPM.Scores,
		"tokenizer.ggml.token_type": g.SPM.Types, "tokenizer.ggml.unknown_token_id": uint32(0),
		"tokenizer.ggml.add_bos_token": false,
	}
	for i, k := range g.SPM.Types { // sentencepiece does not read control tokens in a text
		if k == typeControl || k == typeUnknown {
			g.SPM.Types[i] = typeUnused + 100
		}
	}
	k, err := FromGGUF(func(key string) (any, bool) { v, ok := kv[key]; return v, ok })
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestPairsAreCutAsTheReferenceDoes(t *testing.T) {
	var g golden
	loadGolden(t, "golden.json", &g)
	for name, list := range g.Pairs {
		k := openGolden(t, name)
		for _, p := range list {
			e, err := k.Pair(g.Samples[p.A], g.Samples[p.B], p.Max)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(e.IDs, p.IDs) || !slices.Equal(e.Types, p.Types) {
				t.Errorf("%s: samples %d, %d within %d:\n got %v %v\nwant %v %v", name, p.A, p.B, p.Max, e.IDs, e.Types, p.IDs, p.Types)
			}
		}
	}
}

func TestLlama2CTableGivesTheReferencesIDs(t *testing.T) {
	var g golden
	loadGolden(t, "golden.json", &g)
	b, err := os.ReadFile(testenv.Shared(t, "models", "llm", "stories260K", "tok512.bin"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := ParseLlama2C(bytes.NewReader(b), 0)
	if err != nil {
		t.Fatal(err)
	}
	if k.Size() != 512 {
		t.Fatalf("%d tokens, want 512", k.Size())
	}
	story, err := os.ReadFile(testenv.Shared(t, "data", "text", "tinystories-sample.txt"))
	if err != nil {
		t.Fatal(err)
	}
	samples := append(slices.Clone(g.Samples), string([]rune(string(story))[:1500]))
	checkAnswers(t, "tok512", k, samples, g.Answers["tok512"])
	for _, s := range samples {
		if got := k.Decode(k.Encode(s), true); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
}
