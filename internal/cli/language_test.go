package cli

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/internal/testenv"
)

func storiesFile(t *testing.T) string {
	return testenv.Shared(t, "models", "llm", "stories260K", "stories260K.bin")
}

func TestALanguageModelIsMeasured(t *testing.T) {
	m := storiesFile(t)
	story := "text:" + testenv.Shared(t, "data", "text", "tinystories-sample.txt")
	v := object(t, "eval", "--model", m, "--data", story, "--windows", "2", "--window-length", "128", "--teacher", m)
	fields(t, v, "perplexity", "loss", "standard_error", "tokens", "windows", "engine", "kernel")
	if number(t, v, "tokens") != 254 || math.Abs(number(t, v, "kl")) > 1e-6 || number(t, v, "top1_agreement") != 1 {
		t.Errorf("%v", v)
	}
	if p := number(t, v, "perplexity"); p < 2 || p > 10 {
		t.Errorf("perplexity %g of a story", p)
	}
	questions := filepath.Join(t.TempDir(), "q.jsonl")
	if err := os.WriteFile(questions, []byte(`{"goal":"Once upon a","sol1":"time, there was a little girl","sol2":"qzx vvv kkk","label":0}
{"goal":"Lily was very","sol1":"xq zj","sol2":"happy and she smiled","label":1}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	v = object(t, "eval", "--model", m, "--data", "piqa:"+questions)
	fields(t, v, "accuracy", "normalized_accuracy", "standard_error", "metric", "value")
	if number(t, v, "accuracy") != 1 || number(t, v, "questions") != 2 {
		t.Errorf("%v", v)
	}
	v = object(t, "inspect", m)
	fields(t, v, "layers", "macs", "params", "size_bytes", "config", "types", "tokens")
}

func TestALanguageModelWrites(t *testing.T) {
	m := storiesFile(t)
	v := object(t, "run", "--model", m, "--prompt", "Once upon a time", "--tokens", "12", "--temperature", "0")
	fields(t, v, "text", "ms", "tokens", "prompt_tokens", "tokens_per_s")
	code, out, _ := callContext(context.Background(), "run", "--model", m, "Once upon a time", "--tokens", "12", "--temperature", "0")
	if text := v["text"].(string); code != 0 || !strings.HasPrefix(text, ", there was a") || out != text+"\n" {
		t.Errorf("%q, as text %q", v["text"], out)
	}
	again := object(t, "run", "--model", m, "--prompt", "Once", "--seed", "5", "--tokens", "20")
	if b := object(t, "run", "--model", m, "--prompt", "Once", "--seed", "5", "--tokens", "20", "--threads", "1"); again["text"] != b["text"] {
		t.Errorf("%q, then %q", again["text"], b["text"])
	}
}

func TestMistakesWithLanguageModels(t *testing.T) {
	m := storiesFile(t)
	wantFailure(t, 2, []string{"run", "--model", m}, "no text", "--prompt")
	wantFailure(t, 2, []string{"run", "--model", m, "a", "b"}, "2 arguments")
	wantFailure(t, 2, []string{"run", "--model", m, "a", "--temperature", "-1"}, "temperature -1")
	wantFailure(t, 2, []string{"run", "--model", m, "a", "--system", "b"}, "--chat")
	wantFailure(t, 1, []string{"run", "--model", m, "--chat", "--prompt", "a"}, "chat template")
	wantFailure(t, 1, []string{"run", "--model", m, strings.Repeat("Once upon a time ", 20), "--context", "16"}, "context is full", "--context 16")
	wantFailure(t, 2, []string{"eval", "--model", m, "--data", "cifar10"}, "wikitext2:PATH")
	wantFailure(t, 2, []string{"eval", "--model", m, "--data", "text:x", "--window-length", "4096"}, "at most 512")
	wantFailure(t, 1, []string{"eval", "--model", m, "--data", "text:nonesuch.txt"}, "nonesuch.txt")
	wantFailure(t, 1, []string{"eval", "--model", "../../load/testdata/language/qwen2", "--data", "text:language_test.go"}, "no tokenizer")
}
