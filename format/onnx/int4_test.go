package onnx_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/quant"
	"lowbit/tensor"
)

// weightOnly is a small network with weights of so many bits, and its parameters.
func weightOnly(t *testing.T, bits int) (*graph.Graph, *tensor.Store) {
	t.Helper()
	g, store := graph.New(), tensor.NewStore()
	random := rng.New(uint64(bits))
	param := func(name string, role graph.Role, scale float64, shape ...int) *graph.Node {
		v := make([]float32, tensor.Shape(shape).Size())
		for i := range v {
			if v[i] = float32(scale * (2*random.Float64() - 1)); role == graph.Step {
				v[i] = float32(scale * (0.5 + random.Float64()))
			}
		}
		if err := store.Put(name, tensor.FromFloat32s(v, shape...)); err != nil {
			t.Fatal(err)
		}
		return g.Param(graph.Param{Name: name, Shape: shape, Role: role})
	}
	x := g.Input("input", tensor.F32, 1, 3, 9, 9)
	channel := quant.Spec{Bits: bits, Signed: true, Granularity: quant.PerChannel}
	w := g.FakeQuant(param("conv.weight", graph.Weight, 1, 7, 3, 3, 3), param("conv.step", graph.Step, .3, 7), graph.FakeQuant{Spec: channel, StepGrad: graph.StepLSQ})
	y := g.Relu(g.Conv2D(x, w, graph.Conv2D{Stride: [2]int{2, 2}, Pad: [4]int{1, 1, 1, 1}, Dilation: [2]int{1, 1}, Groups: 1}).Named("conv"))
	whole := quant.Spec{Bits: bits, Signed: true}
	v := g.FakeQuant(param("linear.weight", graph.Weight, 1, 5, 7), param("linear.step", graph.Step, .3, 1), graph.FakeQuant{Spec: whole, StepGrad: graph.StepLSQ})
	g.Output("logits", g.Add(g.Linear(g.GlobalAvgPool(y), v).Named("linear"), param("linear.bias", graph.Bias, 1, 5)))
	if err := g.Err(); err != nil {
		t.Fatal(err)
	}
	return g, store
}

// Weights of 4 and 2 bits alone: the file is the one that ONNX Runtime ran, and its
// results are the engine's. With LOWBIT_ONNX_OUT set to a folder the files are
// written there, for the script that makes the golden.
func TestWeightsOfFewBitsAreONNXRuntimes(t *testing.T) {
	var want struct {
		Input []float32
		Nets  map[string]struct {
			SHA256 string
			Output []float64
		}
	}
	b, err := os.ReadFile("testdata/int4.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	dir := os.Getenv("LOWBIT_ONNX_OUT")
	if err != nil && dir == "" {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	for name, bits := range map[string]int{"w4": 4, "w3": 3, "w2": 2} {
		g, store := weightOnly(t, bits)
		m, err := onnx.Export(g, store, "{}")
		if err != nil {
			t.Fatal(err)
		}
		if dir != "" {
			if err := m.Write(filepath.Join(dir, name+".onnx")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		golden := want.Nets[name]
		if sum := sha256.Sum256(m.Encode()); hex.EncodeToString(sum[:]) != golden.SHA256 {
			t.Errorf("%s: the file is another than the one that ONNX Runtime ran: make the golden anew", name)
		}
		p, err := e.Compile(g, store)
		if err == nil {
			err = p.SetInput("input", tensor.FromFloat32s(want.Input, 1, 3, 9, 9))
		}
		if err == nil {
			err = p.Run()
		}
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range p.Output("logits").Float32s() {
			if d := math.Abs(float64(v) - golden.Output[k]); !(d < importTolerance) {
				t.Errorf("%s: output %d is %g, ONNX Runtime's %g", name, k, v, golden.Output[k])
			}
		}
	}
}
