package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/internal/testenv"
	"lowbit/load"
	"lowbit/model"
	"lowbit/nn"
)

// logitsOf runs a sequence and returns the logits of all its tokens.
func logitsOf(t *testing.T, l *load.Language, ids []int32) []float32 {
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
	return p.Output(nn.LogitsName).Float32s()
}

// Exported folders are those that transformers and compressed-tensors read: the
// same codes without error, and the model's logits.
func TestExportedFoldersAreTheForeignReaders(t *testing.T) {
	var want struct {
		IDs     []int32
		Folders map[string]struct {
			SHA256       string
			ConfigSHA256 string  `json:"config_sha256"`
			CodesError   float64 `json:"codes_error"`
			Layers       int
			Logits       [][]float64
		}
	}
	b, err := os.ReadFile("testdata/export_folder.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, base := storiesFile(t), t.TempDir()
	net := filepath.Join(base, "stories-w4")
	object(t, "quantize", "--model", m, "--data", "text:"+testenv.Shared(t, "data", "text", "tinystories-sample.txt"), "--method", "ptq",
		"--calibration", "max", "--bits", "w4a8", "--text-length", "64", "--window-length", "32", "--windows", "1", "--out", net)
	sum := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	for form, tolerance := range map[string]float64{"safetensors": 1e-5, "serving": 1e-5, "exact": 1e-5} {
		out := filepath.Join(base, form)
		args := []string{"export", "--model", net, "--to", "compressed-tensors", "--scheme", form, "--out", out}
		if form == "safetensors" {
			args = []string{"export", "--model", net, "--to", form, "--out", out}
		}
		v := object(t, args...)
		fields(t, v, "path", "size_bytes", "verified", "tensors")
		golden := want.Folders[form]
		if sum(filepath.Join(out, "model.safetensors")) != golden.SHA256 || sum(filepath.Join(out, "config.json")) != golden.ConfigSHA256 {
			t.Errorf("%s: the folder is another than the one that the foreign readers read: make the golden anew", form)
		}
		if golden.CodesError != 0 || form != "safetensors" && golden.Layers < 25 {
			t.Errorf("%s: compressed-tensors read %d layers with an error of %g", form, golden.Layers, golden.CodesError)
		}
		l, err := load.OpenLanguage(out)
		if err != nil {
			t.Fatal(err)
		}
		var square, all float64
		for i, x := range logitsOf(t, l, want.IDs)[(len(want.IDs)-1)*l.Config.Vocab:] {
			d := float64(x) - golden.Logits[0][i]
			square, all = square+d*d, all+golden.Logits[0][i]*golden.Logits[0][i]
		}
		if r := math.Sqrt(square / all); r > tolerance {
			t.Errorf("%s: logits differ from transformers' by %.3g of their norm", form, r)
		}
		wantFailure(t, 1, args, "--force")
		object(t, append(args, "--force")...)
	}
	sameTokenizer(t, m, filepath.Join(base, "safetensors"))
	file := filepath.Join(base, "again.gguf")
	object(t, "export", "--model", filepath.Join(base, "safetensors"), "--to", "gguf", "--out", file)
	sameTokenizer(t, m, file)
	wantFailure(t, 1, []string{"export", "--model", m, "--to", "compressed-tensors", "--out", filepath.Join(base, "x")}, "full precision", "lowbit quantize")
	wantFailure(t, 2, []string{"export", "--model", net, "--to", "compressed-tensors", "--scheme", "w4", "--out", filepath.Join(base, "x")}, "serving or exact")
	wantFailure(t, 1, []string{"export", "--model", net, "--to", "safetensors", "--out", base, "--force"}, "holds other things")
}

// sameTokenizer demands that two models give the same ids, whatever the form of
// their tokenizers: those that package tokenizers gives with the translated file.
func sameTokenizer(t *testing.T, a, b string) {
	t.Helper()
	var golden struct {
		SHA256           string
		Samples, Decoded []string
		IDs              [][]int32
	}
	text, err := os.ReadFile("testdata/export_tokenizer.json")
	if err == nil {
		err = json.Unmarshal(text, &golden)
	}
	if err != nil || len(golden.Samples) == 0 {
		t.Fatalf("%d samples, %v", len(golden.Samples), err)
	}
	for _, path := range []string{a, b} {
		l, err := load.OpenLanguage(path)
		if err != nil {
			t.Fatal(err)
		}
		if l.Tokenizer == nil {
			t.Fatalf("%s has no tokenizer", path)
		}
		for i, s := range golden.Samples {
			if got := l.Tokenizer.Encode(s); !slices.Equal(got, golden.IDs[i]) {
				t.Errorf("%s: %q is %v, want %v", path, s, got, golden.IDs[i])
			}
		}
		for role, want := range map[string]int32{"bos": 1, "eos": 2} {
			if got, ok := l.Tokenizer.Special(role); !ok || got != want {
				t.Errorf("%s: %s is %d, want %d", path, role, got, want)
			}
		}
	}
	if file, err := os.ReadFile(filepath.Join(b, "tokenizer.json")); err == nil {
		if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != golden.SHA256 {
			t.Error("the tokenizer.json is another than the one that package tokenizers read: make the golden anew")
		}
	}
}
