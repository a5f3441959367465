package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/app/sweep"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/tensor"
)

// smallBert writes a sentence encoder of one layer and the files of SST-2, whose
// sentences are good or bad by one word, and returns their folders.
func smallBert(t *testing.T) (encoder, sst2 string) {
	t.Helper()
	base := t.TempDir()
	encoder, sst2 = filepath.Join(base, "encoder"), filepath.Join(base, "sst2")
	for _, d := range []string{encoder, sst2} {
		if err := os.MkdirAll(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	words := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "a", "film", "the", "plot", "is", "was", "very", "cat"}
	put := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(encoder, "vocab.txt"), strings.Join(words, "\n")+"\n")
	c := model.Bert{Vocab: len(words), Dim: 16, Layers: 1, Heads: 2, Hidden: 32, Positions: 24, Types: 2, NormEps: 1e-12, Head: model.BertHidden}
	g, err := c.Graph(1, 4)
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 3); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.Write(filepath.Join(encoder, "model.safetensors"), store, nil); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architectures": []string{"BertModel"}, "model_type": "bert", "vocab_size": c.Vocab, "hidden_size": c.Dim, "num_hidden_layers": c.Layers,
		"num_attention_heads": c.Heads, "intermediate_size": c.Hidden, "max_position_embeddings": c.Positions, "type_vocab_size": c.Types,
	})
	if err != nil {
		t.Fatal(err)
	}
	put(filepath.Join(encoder, "config.json"), string(config))
	r := rng.New(9)
	for i, name := range []string{"train.tsv", "dev.tsv"} {
		n := []int{240, 60}[i]
		text := "sentence\tlabel\n"
		for range n {
			y := r.Intn(2)
			line := make([]string, 2+r.Intn(12))
			for j := range line {
				line[j] = words[7+r.Intn(8)]
			}
			line[r.Intn(len(line))] = words[6-y]
			text += fmt.Sprintf("%s\t%d\n", strings.Join(line, " "), y)
		}
		put(filepath.Join(sst2, name), text)
	}
	return encoder, sst2
}

// An encoder is fine-tuned, quantized at several widths, measured, its bits are
// selected and a frontier is drawn.
func TestAnEncoderFromTrainingToSweep(t *testing.T) {
	encoder, sst2 := smallBert(t)
	base := filepath.Dir(encoder)
	at := func(name string) string { return filepath.Join(base, name) }
	with := func(verb, model string, more ...string) []string {
		return append([]string{verb, "--model", model, "--data", "sst2:" + sst2, "--threads", "1"}, more...)
	}
	v := object(t, with("train", encoder, "--epochs", "12", "--lr", "5e-3", "--out", at("full"))...)
	full := number(t, v, "accuracy")
	if full < 0.9 || number(t, v, "examples") != 60 || v["part"] != "test" {
		t.Fatalf("%v", v)
	}
	if ev := object(t, with("eval", at("full"))...); ev["value"] != v["accuracy"] || ev["metric"] != "accuracy" {
		t.Errorf("eval gives %v, train gave %v", ev, v["accuracy"])
	}
	for _, bits := range []string{"w8a8", "w4a4", "w2a2"} {
		q := object(t, with("quantize", at("full"), "--method", "lsq", "--bits", bits, "--epochs", "4", "--lr", "2e-3", "--out", at(bits))...)
		if q["fp32_accuracy"] != v["accuracy"] || number(t, q, "accuracy") < 0.6 || number(t, q, "epochs") != 4 || q["part"] != "test" {
			t.Errorf("%s: %v", bits, q["accuracy"])
		}
		if ev := object(t, with("eval", at(bits))...); ev["value"] != q["accuracy"] {
			t.Errorf("%s: eval gives %v, quantize gave %v", bits, ev["value"], q["accuracy"])
		}
		for _, l := range items(t, q, "layers") {
			want := map[bool]float64{true: 8, false: float64(bits[1] - '0')}[l["name"] == "classifier"]
			if number(t, l, "params") > 40 && number(t, l, "weight_bits") != want {
				t.Errorf("%s: %v", bits, l)
			}
		}
	}
	object(t, with("quantize", at("full"), "--method", "ptq", "--bits", "w8a8", "--out", at("ptq"))...)
	encoderSelects(t, with, at)
	dev := at("dev")
	if err := errors.Join(os.Mkdir(dev, 0o777), os.Link(filepath.Join(sst2, "dev.tsv"), filepath.Join(dev, "dev.tsv"))); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, 1, []string{"train", "--model", encoder, "--data", "sst2:" + dev, "--out", at("y")}, "no training examples")
	object(t, "select", "--model", at("w4a4"), "--data", "sst2:"+dev, "--method", "eagl", "--budget", "0.8", "--out", at("dev.json"))
	s := object(t, with("sweep", at("w4a4"), "--methods", "eagl,random", "--budgets", "0.8", "--seeds", "1,2", "--epochs", "1", "--keep-weights",
		"--out", at("sweep"))...)
	if points := items(t, s, "points"); len(points) != 8 || s["complete"] != true {
		t.Errorf("%d points, %v", len(points), s["complete"])
	} else if svg, err := os.ReadFile(filepath.Join(at("sweep"), "frontier.svg")); err != nil || !strings.Contains(string(svg), "random") {
		t.Errorf("picture of %d bytes, %v", len(svg), err)
	} else if ev := object(t, with("eval", filepath.Join(at("sweep"), "runs", points[0]["run"].(string)))...); ev["value"] != points[0]["accuracy"] {
		t.Errorf("eval gives %v, the sweep gave %v", ev["value"], points[0]["accuracy"])
	}
}

// encoderSelects selects by all methods and trains one selection.
func encoderSelects(t *testing.T, with func(verb, model string, more ...string) []string, at func(string) string) {
	t.Helper()
	run := at("w4a4")
	for _, m := range sweep.Methods() {
		v := object(t, with("select", run, "--method", m, "--budget", "0.8", "--trial-hold-out", "40", "--probes", "2",
			"--trace-examples", "64", "--repeats", "2", "--out", at(m+".json"))...)
		if c := number(t, v, "cost"); c > 0.8 || c < 0.5 || v["calibrated"] != false {
			t.Errorf("%s: %v", m, v)
		}
		bits := map[float64]bool{}
		for _, l := range items(t, v, "layers") {
			if name := l["name"].(string); strings.Contains(name, "attention.self") {
				bits[number(t, l, "bits")] = true
			}
		}
		if len(bits) != 1 {
			t.Errorf("%s: queries, keys and values have %v bits", m, bits)
		}
	}
	v := object(t, with("quantize", run, "--method", "lsq", "--bits", at("eagl.json"), "--epochs", "2", "--out", at("mixed"))...)
	if number(t, v, "start_accuracy") == 0 || number(t, v, "fp32_accuracy") == 0 || number(t, v, "accuracy") < 0.6 {
		t.Errorf("%v", v)
	}
	if ev := object(t, with("eval", at("mixed"))...); ev["value"] != v["accuracy"] {
		t.Errorf("eval gives %v, quantize gave %v", ev["value"], v["accuracy"])
	}
	wantFailure(t, 1, with("select", run, "--method", "eagl", "--budget", "0.8", "--cost", "ms"), "integer")
	self := "bert.encoder.layer.0.attention.self."
	wantFailure(t, 1, with("select", run, "--method", "eagl", "--pin", self+"query=w8a8", "--pin", self+"key=w4a4"), "no width satisfies the group")
	wantFailure(t, 1, with("select", run, "--method", "eagl", "--budget", "0.4"), "no choice fits")
}

// Pairs of sentences, and examples held out of training.
func TestAnEncoderOnPairs(t *testing.T) {
	encoder, _ := smallBert(t)
	mrpc := t.TempDir()
	for name, n := range map[string]int{"msr_paraphrase_train.txt": 60, "msr_paraphrase_test.txt": 20} {
		text := "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
		for i := range n {
			text += fmt.Sprintf("%d\t1\t2\tthe film was %s\ta %s plot\n", i%2, []string{"good", "bad"}[i/2%2], []string{"good", "bad"}[(i/2+1+i)%2])
		}
		if err := os.WriteFile(filepath.Join(mrpc, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(mrpc, "run")
	args := []string{"--data", "mrpc:" + mrpc, "--epochs", "2", "--hold-out", "16", "--threads", "1", "--out", out}
	v := object(t, append([]string{"train", "--model", encoder}, args...)...)
	if number(t, v, "examples") != 16 || v["part"] != "train-heldout" {
		t.Errorf("%v", v)
	}
	if ev := object(t, "eval", "--model", out, "--data", "mrpc:"+mrpc); ev["metric"] != "f1" || number(t, ev, "examples") != 20 {
		t.Errorf("%v", ev)
	}
	args[len(args)-1] = out + "-w4"
	q := object(t, append([]string{"quantize", "--model", out, "--bits", "w4a4", "--best"}, args...)...)
	if number(t, q, "examples") != 20 || q["part"] != "test" {
		t.Errorf("%v", q)
	}
	args[len(args)-1] = out + "-ptq"
	q = object(t, append([]string{"quantize", "--model", out, "--bits", "w8a8", "--method", "ptq"}, slices.Concat(args[:2], args[4:])...)...)
	if number(t, q, "examples") != 16 || q["part"] != "train-heldout" {
		t.Errorf("%v", q)
	}
}

func TestEncodersAreExported(t *testing.T) {
	encoder, sst2 := smallBert(t)
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	object(t, "train", "--model", encoder, "--data", "sst2:"+sst2, "--epochs", "1", "--threads", "1", "--out", at("run"))
	v := object(t, "export", "--model", at("run"), "--to", "onnx", "--out", at("fp32/model.onnx"))
	if v["verified"] != true || number(t, v, "size_bytes") < 1000 {
		t.Errorf("%v", v)
	}
	want := object(t, "eval", "--model", at("run"), "--data", "sst2:"+sst2)
	got := object(t, "eval", "--model", at("fp32/model.onnx"), "--data", "sst2:"+sst2)
	if number(t, want, "value") != number(t, got, "value") || number(t, got, "examples") != 60 {
		t.Errorf("the file's value is %v of %v, the run's %v", got["value"], got["examples"], want["value"])
	}
	object(t, "quantize", "--model", at("run"), "--data", "sst2:"+sst2, "--method", "ptq", "--bits", "w4a8", "--threads", "1", "--out", at("w4"))
	q := object(t, "export", "--model", at("w4"), "--to", "onnx", "--out", at("w4.onnx"))
	p := object(t, "export", "--model", at("w4"), "--to", "onnx", "--onnx-style", "int4", "--out", at("int4.onnx"))
	if q["verified"] != true || p["verified"] != true || number(t, p, "size_bytes") >= number(t, q, "size_bytes") {
		t.Errorf("%v\n%v", q, p)
	}
	other := at("other")
	if err := errors.Join(os.Mkdir(other, 0o777), os.WriteFile(filepath.Join(other, "vocab.txt"), []byte("[UNK]\nother\n"), 0o666)); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, 1, []string{"export", "--model", at("w4"), "--to", "onnx", "--out", filepath.Join(other, "m.onnx")}, "vocab.txt of another tokenizer")
	if _, err := os.Stat(filepath.Join(other, "m.onnx")); err == nil {
		t.Error("a model stands beside another tokenizer")
	}
	wantFailure(t, 1, []string{"eval", "--model", at("w4.onnx"), "--data", "sst2:" + sst2}, "its weights are codes")
	wantFailure(t, 2, []string{"export", "--model", at("w4"), "--to", "packed", "--out", at("w4.lowbit.safetensors")}, "an encoder, which is exported to onnx")
}

func TestEncodersAreInspected(t *testing.T) {
	encoder, _ := smallBert(t)
	v := object(t, "inspect", encoder)
	if len(items(t, v, "layers")) != 6 || number(t, v, "max_tokens") != 24 || number(t, v, "tokens") != 15 {
		t.Errorf("%v", v)
	}
	fields(t, v, "config", "macs", "params", "size_bytes")
}

func TestEncodersSayWhatIsWrong(t *testing.T) {
	encoder, sst2 := smallBert(t)
	out := filepath.Join(t.TempDir(), "run")
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{2, []string{"train", "--model", encoder, "--data", "cifar10"}, "an encoder learns from sst2:PATH"},
		{2, []string{"train", "--model", encoder, "--data", "stsb:" + sst2}, "an encoder learns from sst2:PATH"},
		{2, []string{"train", "--model", encoder, "--data", "sst2:" + sst2, "--hold-out", "240"}, "240 of 240"},
		{1, []string{"train", "--model", encoder, "--data", "sst2:" + filepath.Join(sst2, "dev.tsv")}, "no training examples"},
		{1, []string{"train", "--model", encoder, "--data", "sst2:" + filepath.Join(sst2, "nothing")}, "nothing"},
		{1, []string{"quantize", "--model", encoder, "--data", "sst2:" + sst2, "--bits", "w4a4"}, "puts a classifier on it"},
		{1, []string{"select", "--model", encoder, "--data", "sst2:" + sst2}, "puts a classifier on it"},
		{1, []string{"bench", "infer", "--model", encoder}, "lowbit train --model"},
	} {
		args := c.args
		if args[0] == "train" {
			args = append(slices.Clone(args), "--out", out)
		}
		wantFailure(t, c.code, args, c.want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a run directory was made")
	}
}
