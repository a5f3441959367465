package text

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// plainJSON reads a golden tokenizer.json and takes out what GGUF cannot say:
// tokens that are matched as single words.
func plainJSON(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var f map[string]any
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	f["added_tokens"] = slices.DeleteFunc(f["added_tokens"].([]any), func(a any) bool {
		m := a.(map[string]any)
		return m["single_word"] == true || m["lstrip"] == true || m["rstrip"] == true
	})
	if b, err = json.Marshal(f); err != nil {
		t.Fatal(err)
	}
	return b
}

// A tokenizer.json becomes GGUF's keys and a tokenizer.json again, and the ids of
// the golden texts stay what they are.
func TestTokenizersBecomeGGUFAndJSON(t *testing.T) {
	var g golden
	loadGolden(t, "golden.json", &g)
	for name, pre := range map[string]string{"gpt2": "gpt-2", "smollm": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2", "llama": "default"} {
		t.Run(name, func(t *testing.T) {
			file := plainJSON(t, name)
			k, err := Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			k.Template = "{{ messages }}"
			keys, err := k.GGUFKeys(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := lookUp(keys)("tokenizer.ggml.pre"); got != pre {
				t.Errorf("pre %v, want %s", got, pre)
			}
			there, err := FromGGUF(lookUp(keys))
			if err != nil {
				t.Fatal(err)
			}
			b, err := JSONFromGGUF(lookUp(keys))
			if err != nil {
				t.Fatal(err)
			}
			back, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range g.Samples {
				want := k.Encode(s)
				if got := there.Encode(s); !slices.Equal(got, want) {
					t.Errorf("GGUF: %q\n got %v\nwant %v", s, got, want)
				}
				if got := back.Encode(s); !slices.Equal(got, want) {
					t.Errorf("JSON again: %q\n got %v\nwant %v", s, got, want)
				}
				if a, b := k.Decode(want, true), back.Decode(want, true); a != b {
					t.Errorf("decoded %q and %q", a, b)
				}
			}
			if there.Template != k.Template {
				t.Errorf("template %q", there.Template)
			}
		})
	}
}

// A sentencepiece table of a GGUF file becomes a tokenizer.json with its ids.
func TestSentencepieceBecomesJSON(t *testing.T) {
	var g golden
	loadGolden(t, "golden.json", &g)
	types := slices.Clone(g.SPM.Types)
	kv := map[string]any{
		"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": g.SPM.Tokens, "tokenizer.ggml.scores": g.SPM.Scores,
		"tokenizer.ggml.token_type": types, "tokenizer.ggml.unknown_token_id": uint32(0), "tokenizer.ggml.add_bos_token": false,
	}
	value := func(key string) (any, bool) { v, ok := kv[key]; return v, ok }
	if _, err := JSONFromGGUF(value); err == nil || !strings.Contains(err.Error(), "is user-defined") {
		t.Errorf("%v, want the table's user-defined token in it", err)
	}
	for i, k := range types {
		if k == typeUser {
			types[i] = typeNormal
		}
	}
	want, err := FromGGUF(value)
	if err != nil {
		t.Fatal(err)
	}
	b, err := JSONFromGGUF(value)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range g.Samples {
		if a, b := want.Encode(s), k.Encode(s); !slices.Equal(a, b) {
			t.Errorf("%q\n got %v\nwant %v", s, b, a)
		}
	}
}

func TestTokenizersThatGGUFCannotSay(t *testing.T) {
	for name, want := range map[string]string{
		"bert": `model "WordPiece"`, "unigram": `model "Unigram"`, "gpt2": `token "ord" is matched as a single word`, "o200k": "has no name in GGUF",
	} {
		file, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if name == "o200k" {
			file = plainJSON(t, name)
		}
		k, err := Parse(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.GGUFKeys(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", name, err, want)
		}
	}
	if _, err := JSONFromGGUF(func(string) (any, bool) { return nil, false }); err == nil || !strings.Contains(err.Error(), "tokens") {
		t.Error(err)
	}
}
