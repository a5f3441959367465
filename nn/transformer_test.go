package nn_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

type goldenValue struct {
	Shape []int
	Data  []float64
}

func (v goldenValue) tensor() *tensor.Tensor {
	f := make([]float32, len(v.Data))
	for i, x := range v.Data {
		f[i] = float32(x)
	}
	return tensor.FromFloat32s(f, v.Shape...)
}

func (v goldenValue) compare(t *testing.T, what string, got *tensor.Tensor) {
	t.Helper()
	for i, x := range got.Float32s() {
		if math.Abs(float64(x)-v.Data[i]) > 1e-5 {
			t.Fatalf("%s[%d] = %g, PyTorch's %g", what, i, x, v.Data[i])
		}
	}
}

func TestGRUCellEqualsPyTorch(t *testing.T) {
	raw, err := os.ReadFile("testdata/gru.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Values, Grads map[string]goldenValue
		Dy, Result    goldenValue
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	g, store := graph.New(), tensor.NewStore()
	for name, v := range file.Values {
		_ = store.Put(name, v.tensor())
	}
	x := g.Param(graph.Param{Name: "x", Shape: file.Values["x"].Shape})
	h := g.Param(graph.Param{Name: "h", Shape: file.Values["h"].Shape})
	y := nn.GRUCell(g, "gru", x, h)
	g.Output("y", y)
	loss := g.Sum(g.Mul(y, g.Apply(graph.Const{Shape: file.Dy.Shape, Values: file.Dy.tensor().Float32s()})))
	params := g.Params()
	grads, err := graph.Gradients(g, loss, params)
	if err != nil {
		t.Fatal(err)
	}
	if len(params) != len(file.Grads) {
		t.Fatalf("%d parameters, want %d", len(params), len(file.Grads))
	}
	for i, p := range params {
		g.Output(p.Name(), grads[i])
	}
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	file.Result.compare(t, "state", p.Output("y"))
	for name, v := range file.Grads {
		v.compare(t, "gradient of "+name, p.Output(name))
	}
}

func TestTransformerLayersNameMistakes(t *testing.T) {
	for want, build := range map[string]func(g *graph.Graph, x *graph.Node){
		"attention att": func(g *graph.Graph, x *graph.Node) {
			nn.MultiHeadAttention(g, "att", g.Reshape(x, 1, 2, 6), nn.Attention{})
		},
		"layer norm ln": func(g *graph.Graph, x *graph.Node) { nn.LayerNorm(g, "ln", nil, 1e-5) },
		"gru cell gru":  func(g *graph.Graph, x *graph.Node) { nn.GRUCell(g, "gru", x, g.Input("h", tensor.F32, 3, 4)) },
		"2 heads": func(g *graph.Graph, x *graph.Node) {
			nn.MultiHeadAttention(g, "att", x, nn.Attention{Heads: 2, KVHeads: 3, HeadDim: 3, Q: "q", K: "k", V: "v", O: "o", Mask: graph.Mask{Seq: 2}})
		},
	} {
		g := graph.New()
		build(g, g.Input("x", tensor.F32, 2, 6))
		if err := g.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %q", err, want)
		}
	}
}

// The mean counts real tokens only.
func TestMeanTokensSkipsPadding(t *testing.T) {
	g := graph.New()
	x := g.Input("x", tensor.F32, 4, 2)
	lengths := g.Input("lengths", tensor.I32, 2)
	g.Output("y", nn.MeanTokens(g, x, lengths, 2))
	g.Output("unit", nn.Unit(g, x))
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, tensor.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Input("x").Float32s(), []float32{3, 4, 5, 6, 7, 8, 9, 10})
	copy(p.Input("lengths").Int32s(), []int32{2, 1})
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{4, 5, 7, 8} {
		if got := p.Output("y").Float32s()[i]; got != want {
			t.Errorf("element %d is %g, want %g", i, got, want)
		}
	}
	if u := p.Output("unit").Float32s(); math.Abs(float64(u[0])-0.6) > 1e-6 || math.Abs(float64(u[1])-0.8) > 1e-6 {
		t.Errorf("unit %v, want .6 .8", u[:2])
	}
}
