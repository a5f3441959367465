package onnx_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/graph"
)

type nncfGolden struct {
	Input []float32
	Shape []int
	Float [][]float64
	Nets  map[string]struct {
		Outputs [][]float64
		Nodes   map[string]int
	}
}

func nncf(t *testing.T) nncfGolden {
	t.Helper()
	var g nncfGolden
	b, err := os.ReadFile("testdata/nncf/golden.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Nets) != 2 || len(g.Float) != g.Shape[0] {
		t.Fatalf("%d networks, %d results in floats in the golden", len(g.Nets), len(g.Float))
	}
	return g
}

// Files that NNCF quantized are computed as ONNX Runtime computes them: scales a
// tensor and a channel, of activations too, with and without zero points.
func TestNetworksOfNNCFHaveTheReferencesResults(t *testing.T) {
	want := nncf(t)
	e := engine.New(1)
	defer e.Close()
	for name, w := range want.Nets {
		g, got, err := computed(e, "testdata/nncf/"+name+".onnx", want.Input, want.Shape)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n := countQuantizers(g); n < w.Nodes["QuantizeLinear"] {
			t.Errorf("%s: %d quantizers of activations, the file has %d", name, n, w.Nodes["QuantizeLinear"])
		}
		sameResults(t, name, got, w.Outputs)
		var far float64 // of quantization from the network in floats
		for i, row := range w.Outputs {
			for k, v := range row {
				far = max(far, math.Abs(v-want.Float[i][k]))
			}
		}
		if far < 10*importTolerance {
			t.Errorf("%s: quantization moves results by %g: the golden says nothing", name, far)
		}
	}
}

func countQuantizers(g *graph.Graph) (n int) {
	for _, x := range g.Nodes() {
		if _, ok := x.Op().(graph.FakeQuant); ok {
			if _, weight := x.In()[0].Op().(graph.Param); !weight {
				n++
			}
		}
	}
	return n
}

// Scales of channels that do not fit the activations are named.
func TestScalesOfChannelsThatDoNotFit(t *testing.T) {
	scales := []float32{1, 1, 1, 1, 1, 1, 1, 1}
	negative := []float32{1, 1, 1, -1, 1, 1, 1, 1}
	for _, c := range []struct {
		what string
		edit func(q, dq *onnx.Node, add func(*onnx.Tensor) string)
	}{
		{"along axis 2", func(q, _ *onnx.Node, _ func(*onnx.Tensor) string) {
			q.Attributes = []onnx.Attribute{onnx.IntAttr("axis", 2)}
		}},
		{"with 7 scales", func(q, dq *onnx.Node, add func(*onnx.Tensor) string) {
			q.Inputs[1] = add(onnx.FloatTensor("seven", scales[:7], 7))
			q.Inputs[2] = add(onnx.IntTensor("zeros", onnx.Uint8, make([]int32, 7), 7))
		}},
		{"scale -1 of channel 3", func(q, dq *onnx.Node, add func(*onnx.Tensor) string) {
			q.Inputs[1] = add(onnx.FloatTensor("negative", negative, 8))
		}},
		{"zero points 0 and 1 of channels 0 and 2", func(q, _ *onnx.Node, add func(*onnx.Tensor) string) {
			q.Inputs[2] = add(onnx.IntTensor("points", onnx.Uint8, []int32{0, 0, 1, 0, 0, 0, 0, 0}, 8))
		}},
		{"for codes of", func(_, dq *onnx.Node, add func(*onnx.Tensor) string) {
			dq.Inputs[1] = add(onnx.FloatTensor("others", scales, 8))
		}},
	} {
		m, err := onnx.Read("testdata/nncf/mixed.onnx")
		if err != nil {
			t.Fatal(err)
		}
		c.edit(readerOf(t, m, "/block/Relu_output_0"), readerOf(t, m, "q_output_/block/Relu_output_0_1"), func(x *onnx.Tensor) string {
			m.Graph.Initializers = append(m.Graph.Initializers, x)
			return x.Name
		})
		if _, err := onnx.Import(m, onnx.Options{}); err == nil || !strings.Contains(err.Error(), c.what) {
			t.Errorf("want an error with %q: %v", c.what, err)
		}
	}
}

// readerOf is the first node that reads a value.
func readerOf(t *testing.T, m *onnx.Model, value string) *onnx.Node {
	t.Helper()
	for i := range m.Graph.Nodes {
		if n := &m.Graph.Nodes[i]; len(n.Inputs) > 0 && n.Inputs[0] == value {
			return n
		}
	}
	t.Fatalf("nothing reads %q", value)
	return nil
}
