package onnx_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/tensor"
)

// bertGolden is what ONNX Runtime computes of the BERTs in testdata/bert.
type bertGolden struct {
	Shape         []int
	InputIDs      []int32   `json:"input_ids"`
	AttentionMask []float32 `json:"attention_mask"`
	TokenTypeIDs  []int32   `json:"token_type_ids"`
	Outputs       map[string][]float64
}

func readBertGolden(t *testing.T) (g bertGolden) {
	t.Helper()
	b, err := os.ReadFile("testdata/bert/golden.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Outputs) < 5 {
		t.Fatalf("%d networks in the golden", len(g.Outputs))
	}
	return g
}

func TestBertsOfPyTorchHaveTheReferencesResults(t *testing.T) {
	want := readBertGolden(t)
	e := engine.New(1)
	defer e.Close()
	for name, out := range want.Outputs {
		m, err := onnx.Read("testdata/bert/" + name + ".onnx")
		if err != nil {
			t.Fatal(err)
		}
		free := map[string]int{}
		for _, v := range m.Graph.Inputs {
			for i, d := range v.Dims {
				free[d.Name] = want.Shape[i]
			}
		}
		net, err := onnx.Import(m, onnx.Options{Free: free, Output: "logits"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := e.Compile(net.Graph, net.Store)
		if err != nil {
			t.Fatal(err)
		}
		for input, v := range map[string]*tensor.Tensor{
			"input_ids": tensor.FromInt32s(want.InputIDs, want.Shape...), "token_type_ids": tensor.FromInt32s(want.TokenTypeIDs, want.Shape...),
			"attention_mask": tensor.FromFloat32s(want.AttentionMask, want.Shape...),
		} {
			if err := p.SetInput(input, v); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		got := p.Output("logits").Float32s()
		if len(got) != len(out) {
			t.Fatalf("%s: %d results, want %d", name, len(got), len(out))
		}
		for i, v := range out {
			if d := math.Abs(float64(got[i]) - v); !(d < importTolerance) {
				t.Errorf("%s: result %d is %g, want %g", name, i, got[i], v)
			}
		}
	}
}

// Weights have PyTorch's names and shapes, those of products among them.
func TestWeightsHaveTheNamesOfPyTorch(t *testing.T) {
	for name, prefix := range map[string]string{"hidden-opset17": "", "classes-opset11": "bert.", "tanh-opset20-dynamo": "bert."} {
		m, err := onnx.Read("testdata/bert/" + name + ".onnx")
		if err != nil {
			t.Fatal(err)
		}
		store, err := m.Named()
		if err != nil {
			t.Fatal(err)
		}
		for param, shape := range map[string][]int{
			"encoder.layer.1.attention.self.key.weight": {16, 16}, "encoder.layer.0.intermediate.dense.weight": {24, 16},
			"encoder.layer.0.output.dense.weight": {16, 24}, "embeddings.word_embeddings.weight": {40, 16},
		} {
			if p := store.Get(prefix + param); p == nil || !slices.Equal(p.Shape(), shape) {
				t.Errorf("%s: %s is %v, want %v", name, param, p, shape)
			}
		}
	}
}

func TestInputsAreReadWithoutTheRest(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.onnx")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, path := range files {
		m, err := onnx.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := onnx.Inputs(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(m.Graph.Inputs) {
			t.Errorf("%s: %d inputs, want %d", path, len(got), len(m.Graph.Inputs))
			continue
		}
		for i, v := range m.Graph.Inputs {
			if got[i].Name != v.Name || got[i].Type != v.Type || !slices.Equal(got[i].Dims, v.Dims) {
				t.Errorf("%s: input %d is %v, want %v", path, i, got[i], v)
			}
		}
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short.onnx")
	if err := os.WriteFile(short, b[:len(b)-9], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := onnx.Inputs(short); err == nil || !strings.Contains(err.Error(), short) {
		t.Errorf("a short file: %v", err)
	}
}
