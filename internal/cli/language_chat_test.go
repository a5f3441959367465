package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/testenv"
	"lowbit/load"
)

// The instruct recipe: chats by the model's template and text, mixed by weight;
// the loss counts answers. Without a template, and with files that are no chats,
// there is a clear error.
func TestALanguageModelLearnsFromChats(t *testing.T) {
	m, base := storiesFile(t), t.TempDir()
	text := "text:" + testenv.Shared(t, "data", "text", "tinyshakespeare.txt")
	folder := filepath.Join(base, "stories")
	object(t, "export", "--model", m, "--to", "safetensors", "--out", folder)
	write := func(name, s string) string {
		t.Helper()
		path := filepath.Join(base, name)
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var lines strings.Builder
	for i := range 60 {
		fmt.Fprintf(&lines, `{"messages":[{"role":"user","content":"Tell me of %d cats"},{"role":"assistant","content":"Once upon a time there were %d cats who liked to play"}]}`+"\n", i, i)
	}
	chats := write("chats.jsonl", lines.String())
	args := func(data string, more ...string) []string {
		return append([]string{"quantize", "--model", folder, "--data", data, "--bits", "w3a8kv8", "--text-length", "64", "--window-length", "64", "--windows", "1"}, more...)
	}
	wantFailure(t, 1, args("chat:"+chats, "--out", filepath.Join(base, "x")), "no chat template")

	config := filepath.Join(folder, "tokenizer_config.json")
	var c map[string]any
	b, err := os.ReadFile(config)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	c["chat_template"] = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
	if b, err = json.Marshal(c); err == nil {
		err = os.WriteFile(config, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	mix := "chat:" + chats + ":0.75," + text + ":0.25"
	out := filepath.Join(base, "run")
	v := object(t, args(mix, "--tokens", "8192", "--batch", "4", "--recompute", "--lr", "1e-3", "--out", out)...)
	start := v["start"].(map[string]any)
	if n, ok := v["peak_rss_bytes"]; ok && number(t, v, "peak_rss_bytes") < 1<<20 {
		t.Errorf("at most %v bytes of memory", n)
	}
	if before, after := number(t, start, "kl"), number(t, v, "kl"); !(after < before) {
		t.Errorf("KL %g before training, %g after", before, after)
	}
	record, err := os.ReadFile(filepath.Join(out, "run.json"))
	if err != nil || !strings.Contains(string(record), `"scored": true`) || !strings.Contains(string(record), `"recompute": true`) {
		t.Errorf("%v, or the record lacks what was counted", err)
	}
	e := object(t, "eval", "--model", out, "--data", "chat:"+chats, "--window-length", "64", "--windows", "2", "--teacher", folder)
	if number(t, e, "tokens") != 126 {
		t.Errorf("%v", e)
	}
	again := filepath.Join(base, "again")
	object(t, args(mix, "--tokens", "8192", "--batch", "4", "--lr", "1e-3", "--threads", "3", "--out", again)...)
	l, err := load.OpenLanguage(out)
	if err != nil {
		t.Fatal(err)
	}
	other, err := load.OpenLanguage(again)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range l.Store.Names() {
		if !slices.Equal(l.Store.Get(n).Bytes(), other.Store.Get(n).Bytes()) {
			t.Errorf("%s differs without recomputation on three threads", n)
		}
	}
	failure := func(name, file string, want ...string) {
		t.Helper()
		wantFailure(t, 1, args("chat:"+write(name, file), "--out", filepath.Join(base, "x")), append(want, name)...)
	}
	failure("empty.jsonl", "", "has no chat")
	failure("role.jsonl", `{"messages":[{"role":"bot","content":"a"}]}`, "line 1", `role "bot"`, "want one of system, user, assistant, tool")
	wantFailure(t, 1, args("chat:nonesuch.jsonl", "--out", filepath.Join(base, "x")), "nonesuch.jsonl")
	wantFailure(t, 2, args("chats:"+chats, "--out", filepath.Join(base, "x")), "chat:FILE")
}
