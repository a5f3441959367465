package onnx_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/tensor"
)

// importTolerance bounds results of size 1 to 5 after ten layers whose sums run
// in another order.
const importTolerance = 1e-4

// What PyTorch's exporters write is computed as ONNX Runtime computes it.
func TestNetworksOfPyTorchHaveTheReferencesResults(t *testing.T) {
	var want struct {
		Input   []float32
		Shape   []int
		Outputs map[string][][]float64
	}
	b, err := os.ReadFile("testdata/torch/golden.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Outputs) < 5 {
		t.Fatalf("%d networks in the golden", len(want.Outputs))
	}
	e := engine.New(1)
	defer e.Close()
	for name, rows := range want.Outputs {
		_, got, err := computed(e, "testdata/torch/"+name+".onnx", want.Input, want.Shape)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sameResults(t, name, got, rows)
	}
}

// computed imports a network and runs it on a batch.
func computed(e *engine.Engine, path string, input []float32, shape []int) (*graph.Graph, []float32, error) {
	m, err := onnx.Read(path)
	if err != nil {
		return nil, nil, err
	}
	net, err := onnx.Import(m, onnx.Options{Input: "input", Output: "logits"})
	if err != nil {
		return nil, nil, err
	}
	g, err := graph.WithBatch(net.Graph, shape[0])
	if err != nil {
		return nil, nil, err
	}
	p, err := e.Compile(g, net.Store)
	if err != nil {
		return nil, nil, err
	}
	if err := p.SetInput("input", tensor.FromFloat32s(input, shape...)); err != nil {
		return nil, nil, err
	}
	if err := p.Run(); err != nil {
		return nil, nil, err
	}
	return net.Graph, p.Output("logits").Float32s(), nil
}

func sameResults(t *testing.T, name string, got []float32, want [][]float64) {
	t.Helper()
	for i, row := range want {
		for k, v := range row {
			if d := math.Abs(float64(got[i*len(row)+k]) - v); !(d < importTolerance) {
				t.Errorf("%s, example %d: output %d is %g, want %g", name, i, k, got[i*len(row)+k], v)
			}
		}
	}
}
