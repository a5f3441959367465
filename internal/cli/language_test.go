package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/testenv"
	"lowbit/load"
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

func TestWritingIsTimed(t *testing.T) {
	m := storiesFile(t)
	for bits, args := range map[string][]string{"fp32": nil, "w4a8kv8": {"--bits", "w4a8kv8"}} {
		v := object(t, append([]string{"bench", "decode", "--model", m, "--prompt-tokens", "40", "--tokens", "6", "--peak-seconds", "0.01"}, args...)...)
		fields(t, v, "median_ms", "min_ms", "items_per_s", "peak_rss_bytes", "threads", "kernel", "peak_share", "prompt_tokens_per_s", "weight_bytes")
		if v["bits"] != bits || number(t, v, "steps") != 6 || number(t, v, "items_per_s") <= 0 {
			t.Errorf("%v", v)
		}
	}
	code, out, _ := callContext(context.Background(), "bench", "decode", "--model", m, "--prompt-tokens", "8", "--tokens", "2", "--peak-seconds", "0")
	if code != 0 || !strings.Contains(out, "writing") || strings.Contains(out, "of the measured") {
		t.Errorf("%d: %s", code, out)
	}
}

func TestMistakesWithLanguageModels(t *testing.T) {
	m := storiesFile(t)
	wantFailure(t, 2, []string{"bench", "decode"}, "no model")
	wantFailure(t, 2, []string{"bench", "decode", "--model", m, "--tokens", "0"}, "0 tokens")
	wantFailure(t, 2, []string{"bench", "decode", "--model", m, "--bits", "w4"}, "w4a8kv8")
	wantFailure(t, 1, []string{"bench", "decode", "--model", m, "--prompt-tokens", "900"}, "reads 512")
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

// The main job of a language model: quantize, measure, write, report.
func TestALanguageModelIsQuantized(t *testing.T) {
	m, base := storiesFile(t), t.TempDir()
	text := "text:" + testenv.Shared(t, "data", "text", "tinyshakespeare.txt")
	args := func(more ...string) []string {
		return append([]string{"quantize", "--model", m, "--data", text, "--bits", "w3a8kv8", "--text-length", "64", "--window-length", "64", "--windows", "8"}, more...)
	}
	trained := filepath.Join(base, "silq")
	v := object(t, args("--tokens", "16384", "--lr", "1e-3", "--out", trained)...)
	fields(t, v, "perplexity", "fp32_perplexity", "bits", "method", "epochs", "seconds", "run", "kl", "train_tokens")
	start := v["start"].(map[string]any)
	if before, after := number(t, start, "kl"), number(t, v, "kl"); v["method"] != "silq" || !(after < before) {
		t.Errorf("KL %g before training, %g after", before, after)
	}
	untrained := filepath.Join(base, "ptq")
	p := object(t, args("--method", "ptq", "--calibration", "max", "--out", untrained)...)
	if number(t, p, "epochs") != 0 || !(number(t, p, "kl") > number(t, start, "kl")) {
		t.Errorf("steps by max|w| give KL %v, weighted ones %v", p["kl"], start["kl"])
	}
	g := object(t, args("--init", "gptq", "--accumulate", "2", "--tokens", "8192", "--lr", "1e-3", "--out", filepath.Join(base, "gptq"))...)
	if begun := number(t, g["start"].(map[string]any), "kl"); !(number(t, g, "kl") < begun) || begun == number(t, start, "kl") {
		t.Errorf("from gptq: KL %g, then %v; %v with rounded weights", begun, g["kl"], start["kl"])
	}
	sm := object(t, args("--method", "ptq", "--calibration", "max", "--smooth", "0.5", "--out", filepath.Join(base, "smooth"))...)
	if number(t, sm, "kl") == number(t, p, "kl") || !(number(t, sm, "kl") > 0) {
		t.Errorf("KL %v smoothed, %v without", sm["kl"], p["kl"])
	}
	turned, file := filepath.Join(base, "turned"), filepath.Join(base, "turned.gguf")
	r := object(t, args("--rotate", "--tokens", "2048", "--out", turned)...)
	if fp, was := number(t, r, "fp32_perplexity"), number(t, v, "fp32_perplexity"); math.Abs(fp/was-1) > 1e-4 || number(t, r, "kl") == number(t, v, "kl") {
		t.Errorf("turned: perplexity %g in full precision, %g before; KL %v", fp, was, r["kl"])
	}
	if a := items(t, object(t, "analyze", "--model", turned, "--rotation"), "rotations"); !reflect.DeepEqual(a, items(t, r, "rotations")) || number(t, a[0], "change") > 0.1 {
		t.Errorf("%v, by the verb %v", r["rotations"], a)
	}
	object(t, "export", "--model", turned, "--to", "gguf", "--out", file)
	a, b := object(t, "eval", "--model", turned, "--data", text, "--window-length", "64", "--windows", "8"), object(t, "eval", "--model", file, "--data", text, "--window-length", "64", "--windows", "8")
	if x, y := number(t, a, "perplexity"), number(t, b, "perplexity"); math.Abs(x/y-1) > 0.02 {
		t.Errorf("turned: perplexity %g, %g with the weights alone rounded", x, y)
	}
	wantFailure(t, 2, args("--smooth", "2", "--out", base), "alpha 2, want 0 to 1")
	e := object(t, "eval", "--model", trained, "--data", text, "--window-length", "64", "--windows", "2", "--teacher", m)
	if kl := number(t, e, "kl"); !(kl > 0 && kl < 1) {
		t.Errorf("KL %g from the model it was made of", kl)
	}
	object(t, "run", "--model", trained, "Once upon a time", "--tokens", "5")
	object(t, "inspect", trained)
	an := object(t, "analyze", "--model", trained, "--similarity", "--rotation")
	for _, l := range items(t, an, "layers") {
		fields(t, l, "name", "weight_cosine", "quantized_cosine", "change", "input_rotation", "output_rotation", "input_chance", "output_chance")
		if change := number(t, l, "change"); l["name"] == "model.layers.0.mlp.up_proj" && (change < 1e-4 || change > 1 || number(t, l, "input_rotation") > 0.9) {
			t.Errorf("%v", l)
		}
	}
	// Of each kind of layer, in the outcome and by the verb alike; not where no weight moved.
	if r := items(t, v, "rotations"); len(r) < 7 || !reflect.DeepEqual(r, items(t, an, "rotations")) || number(t, r[0], "layers") != 5 {
		t.Errorf("%v\n%v", r, items(t, an, "rotations"))
	}
	// Keys and values of 5 layers, 4 heads of 8: codes of a byte and float16 steps.
	if c := v["cache"].(map[string]any); number(t, c, "values_per_token") != 320 || number(t, c, "bytes_per_token") != 400 || v["weight_steps"] != "weighted" {
		t.Errorf("%v, %v", c, v["weight_steps"])
	}
	if n := number(t, v["input_outliers"].(map[string]any), "model.layers.0.mlp.down_proj"); !(n > 1) || p["input_outliers"] != nil {
		t.Errorf("outliers %g; %v where nothing is observed", n, p["input_outliers"])
	}
	if p["rotations"] != nil || len(items(t, g, "rotations")) < 7 {
		t.Errorf("rotations %v of weights that stay, %v of those that GPTQ moves", p["rotations"], g["rotations"])
	}
	wantFailure(t, 2, []string{"analyze", "--model", trained, "--noise"}, "is a language model")
	wantFailure(t, 2, []string{"analyze", "--model", m}, "--reference")
	page := filepath.Join(base, "report.html")
	object(t, "report", trained, untrained, "--out", page)
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "Divergence from full precision") || !strings.Contains(string(b), "How the weights moved") {
		t.Errorf("%v, or the page lacks the divergence or the weights", err)
	}
	wantFailure(t, 1, args("--out", trained), "exists", "--resume")
	wantFailure(t, 2, args("--bits", "w4", "--out", base), "w4a8kv8")
	wantFailure(t, 2, args("--method", "lsq", "--out", base), "silq and ptq")
	wantFailure(t, 2, args("--nesterov", "--out", base), "nesterov")
	wantFailure(t, 2, args("--granularity", "channel", "--out", base), "--granularity does not go with language models")
	wantFailure(t, 2, args("--text-length", "1024", "--out", base), "reads 2 to 512")
	wantFailure(t, 1, []string{"quantize", "--model", trained, "--data", text, "--bits", "w4a8", "--text-length", "64", "--window-length", "64", "--out", filepath.Join(base, "x")}, "quantized already")
}

// The exported file is the one that package gguf read without error, and its
// logits are close to llama.cpp's, which rounds activations otherwise.
func TestAnExportedFileIsTheForeignReaders(t *testing.T) {
	var want struct {
		SHA256    string
		GGUFError float64 `json:"gguf_error"`
		IDs       []int32
		Text      string
		Every     int
		Logits    [][]float64
	}
	b, err := os.ReadFile("testdata/export.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, base := storiesFile(t), t.TempDir()
	net, path := filepath.Join(base, "stories-w4"), filepath.Join(base, "stories-w4.gguf")
	object(t, "quantize", "--model", m, "--data", "text:"+testenv.Shared(t, "data", "text", "tinystories-sample.txt"), "--method", "ptq",
		"--calibration", "max", "--bits", "w4a8kv8", "--text-length", "64", "--window-length", "32", "--windows", "1", "--out", net)
	v := object(t, "export", "--model", net, "--to", "gguf", "--out", path)
	fields(t, v, "path", "size_bytes", "verified", "tensors", "notes")
	if b, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want.SHA256 || want.GGUFError != 0 {
		t.Errorf("the file is another than the one that the foreign readers read (error %g): make the golden anew", want.GGUFError)
	}
	l, err := load.OpenLanguage(path)
	if err != nil {
		t.Fatal(err)
	}
	if ids := l.Tokenizer.Encode(want.Text); !slices.Equal(ids, want.IDs) {
		t.Fatalf("tokens %v, llama.cpp's %v", ids, want.IDs)
	}
	logits := logitsOf(t, l, want.IDs)
	for k, row := range want.Logits {
		var square, all float64
		for i, x := range row {
			d := x - float64(logits[k*want.Every*l.Config.Vocab+i])
			square, all = square+d*d, all+x*x
		}
		if r := math.Sqrt(square / all); r > foreignTolerance {
			t.Errorf("token %d: logits differ from llama.cpp's by %.3g of their norm", k*want.Every, r)
		}
	}
}

// foreignTolerance bounds what rounding activations to 8 bits in blocks, the
// embedding to float16 and the cache to float16 make of the logits' norm.
const foreignTolerance = 0.02

func TestServeAnswersUntilItIsStopped(t *testing.T) {
	m := storiesFile(t)
	ctx, stop := context.WithCancel(context.Background())
	said, stdout := io.Pipe()
	ended := make(chan int, 1)
	var stderr strings.Builder
	go func() {
		ended <- Run(ctx, []string{"serve", "--model", m, "--addr", "127.0.0.1:0", "--quiet"}, stdout, &stderr)
		stdout.Close()
	}()
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("%v, stderr %q", err, stderr.String())
	}
	url := strings.TrimSpace(line[strings.Index(line, "http://"):])
	r, err := http.Get(url + "healthz")
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", r, err)
	}
	r.Body.Close()
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("code %d, stderr %q", code, stderr.String())
	}
	wantFailure(t, 2, []string{"serve", "--model", m, "--addr", "nowhere"}, "nowhere")
	wantFailure(t, 2, []string{"serve", "--model", m, "--timeout", "-1s"}, "-1s")
	wantFailure(t, 1, []string{"serve", "--model", "language_test.go"}, "no packed file")
	wantFailure(t, 1, []string{"serve", "--model", m, "--addr", strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/") + "9999"}, "serve")
}
