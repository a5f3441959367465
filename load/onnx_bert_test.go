package load_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/tensor"
)

const bertFiles = "../format/onnx/testdata/bert/"

// bertONNX copies a file of a small BERT into a folder, beside a tokenizer or
// below one, and returns its path.
func bertONNX(t *testing.T, name, below string) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile(bertFiles + name + ".onnx")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, below, "model.onnx")
	writeFile(t, path, string(b))
	vocab := "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"
	for i := range 35 {
		vocab += fmt.Sprintf("w%d\n", i)
	}
	writeFile(t, filepath.Join(dir, "vocab.txt"), vocab)
	return path
}

func TestBertsInONNXFilesAreEncoders(t *testing.T) {
	var want struct {
		Shape         []int
		InputIDs      []int32 `json:"input_ids"`
		AttentionMask []int32 `json:"attention_mask"`
		TokenTypeIDs  []int32 `json:"token_type_ids"`
		Outputs       map[string][]float64
	}
	b, err := os.ReadFile(bertFiles + "golden.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	lengths := []int32{0, 0}
	for i, v := range want.AttentionMask {
		lengths[i/9] += v
	}
	e := engine.New(1)
	defer e.Close()
	for name, gives := range map[string]string{
		"classes-opset11": "3 classes", "classes-opset17": "2 classes", "tanh-opset20-dynamo": "2 classes",
		"hidden-opset17": "hidden states", "spans-opset18-dynamo": "answers as spans",
	} {
		path := bertONNX(t, name, map[bool]string{true: "onnx"}[name == "hidden-opset17"])
		if !load.IsEncoder(path) {
			t.Errorf("%s is no encoder", name)
		}
		n, err := load.OpenEncoder(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := n.Config
		if n.Gives() != gives || c.Heads != 4 || c.Layers != 2 || c.Positions != 20 || c.Hidden != 24 || c.TanhGELU != strings.HasPrefix(name, "tanh") {
			t.Errorf("%s gives %s: %+v", name, n.Gives(), c)
		}
		if c.Head == model.BertClassify { // what a run of it keeps
			dir := t.TempDir()
			if err := n.Keep(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "vocab.txt")); err != nil {
				t.Error(err)
			}
		}
		g, err := n.Graph(2, 9)
		if err == nil {
			g, err = graph.Inference(g)
		}
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Compile(g, n.Store)
		if err != nil {
			t.Fatal(err)
		}
		for input, v := range map[string]*tensor.Tensor{
			"input": tensor.FromInt32s(want.InputIDs, 2, 9), "types": tensor.FromInt32s(want.TokenTypeIDs, 2, 9), "lengths": tensor.FromInt32s(lengths, 2),
		} {
			if err := p.SetInput(input, v); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		per := 1
		if gives == "answers as spans" { // the golden holds the starts
			per = 2
		}
		for i, v := range p.Output("logits").Float32s() {
			if i%per > 0 {
				continue
			}
			i /= per
			if d := math.Abs(float64(v) - want.Outputs[name][i]); !(d < 1e-4) {
				t.Errorf("%s: result %d is %g, want %g", name, i, v, want.Outputs[name][i])
			}
		}
	}
}

func TestONNXFilesThatOnlyLookLikeBertsAreRefused(t *testing.T) {
	for want, change := range map[string]func(m *onnx.Model){
		"another network": func(m *onnx.Model) { // one activation is another
			for i := range m.Graph.Nodes {
				if n := &m.Graph.Nodes[i]; n.Op == "Erf" {
					n.Op = "Sigmoid"
				}
			}
		},
		`no parameter "bert.embeddings.position_embeddings.weight"`: func(m *onnx.Model) {
			const old = "bert.embeddings.position_embeddings.weight"
			for _, x := range m.Graph.Initializers {
				if x.Name == old {
					x.Name = "table"
				}
			}
			for i := range m.Graph.Nodes {
				for k, in := range m.Graph.Nodes[i].Inputs {
					if in == old {
						m.Graph.Nodes[i].Inputs[k] = "table"
					}
				}
			}
		},
		"Gelu \"/x\": not supported": func(m *onnx.Model) {
			for i := range m.Graph.Nodes {
				if n := &m.Graph.Nodes[i]; n.Op == "Erf" {
					n.Op, n.Name, n.Domain = "Gelu", "/x", "com.microsoft"
				}
			}
		},
	} {
		path := bertONNX(t, "classes-opset17", "")
		m, err := onnx.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if err := m.Write(path); err != nil {
			t.Fatal(err)
		}
		if _, err := load.OpenEncoder(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	path := bertONNX(t, "classes-opset17", "")
	if err := os.Remove(filepath.Join(filepath.Dir(path), "vocab.txt")); err != nil {
		t.Fatal(err)
	}
	if _, err := load.OpenEncoder(path); err == nil || !strings.Contains(err.Error(), "no vocab.txt") {
		t.Errorf("no tokenizer: %v", err)
	}
	path = bertONNX(t, "classes-opset17", "")
	if _, err := load.Model(path, load.Options{}); err == nil || !strings.Contains(err.Error(), "holds a BERT, no run of one") {
		t.Errorf("as a network of images: %v", err)
	}
	if load.IsEncoder("../format/onnx/testdata/torch/opset11.onnx") {
		t.Error("a network of images is an encoder")
	}
}
