package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A decoder from random weights to a file for others.
func TestALanguageModelFromScratch(t *testing.T) {
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	if err := os.WriteFile(at("book.txt"), []byte(strings.Repeat("the cat sat on the mat. ", 400)), 0o666); err != nil {
		t.Fatal(err)
	}
	text := []string{"--data", "text:" + at("book.txt"), "--text-length", "32", "--window-length", "48", "--windows", "2", "--batch", "4", "--threads", "1"}
	with := func(args ...string) []string { return append(args, text...) }
	v := object(t, with("train", "--model", "llama-tiny", "--tokens", "1536", "--lr", "3e-3", "--out", at("run"))...)
	fields(t, v, "loss", "epochs", "seconds", "run", "train_tokens_per_s")
	if p := number(t, v, "perplexity"); !(p < number(t, v, "start_perplexity")/4) || number(t, v, "train_tokens") != 1536 || v["complete"] != true {
		t.Errorf("%v", v)
	}
	if again := object(t, with("train", "--model", "llama-tiny", "--tokens", "1536", "--lr", "3e-3", "--out", at("again"))...); again["loss"] != v["loss"] {
		t.Errorf("loss %v, and %v of the same training", v["loss"], again["loss"])
	}
	in := object(t, "inspect", at("run"))
	if number(t, in, "tokens") != 257 {
		t.Errorf("%v tokens", in["tokens"])
	}
	w := object(t, with("train", "--model", at("run"), "--tokens", "256", "--out", at("on"))...)
	if d := number(t, w, "start_perplexity") / number(t, v, "perplexity"); d < 0.999 || d > 1.001 {
		t.Errorf("goes on from perplexity %v, not %v", w["start_perplexity"], v["perplexity"])
	}
	object(t, with("quantize", "--model", at("run"), "--bits", "w4a8", "--method", "ptq", "--calibration", "max", "--out", at("w4"))...)
	if e := object(t, "export", "--model", at("w4"), "--to", "gguf", "--out", at("w4.gguf")); e["verified"] != true {
		t.Errorf("%v", e)
	}
	if r := object(t, "run", "--model", at("w4.gguf"), "--prompt", "the cat", "--tokens", "5", "--temperature", "0"); len(r["text"].(string)) == 0 {
		t.Errorf("%v", r)
	}
}

func TestTrainingLanguageModelsSaysWhatIsWrong(t *testing.T) {
	book := filepath.Join(t.TempDir(), "book.txt")
	if err := os.WriteFile(book, []byte(strings.Repeat("ab ", 900)), 0o666); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"--momentum does not go":     {"--data", "text:" + book, "--momentum", "0.5"},
		"llama-tiny reads 2 to 512":  {"--data", "text:" + book, "--text-length", "600"},
		"want a batch of 16":         {"--data", "text:" + book},
		"a language model reads":     {"--data", "cifar10"},
		"want 1MiB to 1024MiB":       {"--data", "gosource:many"},
		"no such file or directory":  {"--data", "text:" + book, "--tokenizer", book + ".json"},
		"pretrain: 0 epochs":         {"--data", "text:" + book, "--epochs", "0"},
		"accumulated in 17 parts":    {"--data", "text:" + book, "--accumulate", "17"},
		"warm-up over 2 of the step": {"--data", "text:" + book, "--warmup", "2"},
	} {
		code, _, stderr := call(append([]string{"train", "--model", "llama-tiny"}, args...)...)
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%v: code %d, %q, want %q", args, code, stderr, want)
		}
	}
	wantFailure(t, 1, []string{"quantize", "--model", "llama-tiny", "--data", "text:" + book, "--bits", "w4a8"}, "lowbit train --model llama-tiny")
}

func TestBenchOfALanguageModel(t *testing.T) {
	args := []string{"bench", "train", "--model", "llama-tiny", "--batch", "1", "--text-length", "24", "--steps", "2", "--warmup", "0", "--peak-seconds", "0", "--threads", "1"}
	for _, bits := range [][]string{nil, {"--bits", "w4a8kv8"}, {"--bits", "w2a8", "--static"}} {
		v := object(t, append(args, bits...)...)
		if ms := number(t, v, "median_ms"); ms <= 0 || number(t, v, "items_per_s") != 24/ms*1000 {
			t.Errorf("%v: %v", bits, v)
		}
	}
	own := t.TempDir()
	if err := os.WriteFile(filepath.Join(own, "config.json"), []byte(`{"architectures":["LlamaForCausalLM"],"model_type":"llama","vocab_size":60,"hidden_size":32,
		"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":48,"max_position_embeddings":32,"rms_norm_eps":1e-5,"rope_theta":10000}`), 0o666); err != nil {
		t.Fatal(err)
	}
	args[3] = own
	if v := object(t, args...); number(t, v, "items_per_s") <= 0 {
		t.Errorf("%v", v)
	}
	wantFailure(t, 1, []string{"train", "--model", own, "--data", "text:" + own}, "--tokenizer FILE names one")
	args[3] = "llama-tiny"
	wantFailure(t, 2, append(args, "--bits", "w99"), "want such as w4a8kv8")
	wantFailure(t, 2, []string{"bench", "train", "--model", "llama-tiny", "--text-length", "600"}, "llama-tiny reads 2 to 512")
}
