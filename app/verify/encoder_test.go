package verify

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
	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// smallEncoder is a BERT of two layers with a quantizer in front of each linear
// layer and of its weights, and its parameters.
func smallEncoder(t *testing.T, head model.BertHead, weight, act int) (*graph.Graph, *tensor.Store) {
	t.Helper()
	c := model.Bert{Vocab: 30, Dim: 16, Layers: 2, Heads: 4, Hidden: 24, Positions: 12, Types: 2, NormEps: 1e-12, Dropout: 0.1, Prefix: "bert.", Head: head, Classes: 3}
	g, err := c.Graph(2, 7)
	if err != nil {
		t.Fatal(err)
	}
	random := rng.New(uint64(10*weight + act))
	store := tensor.NewStore()
	for _, p := range g.Params() {
		v := make([]float32, p.Shape().Size())
		for i := range v {
			v[i] = float32(random.Float64() - 0.5)
			if p.Op().(graph.Param).Role == graph.Norm {
				v[i]++
			}
		}
		if err := store.Put(p.Name(), tensor.FromFloat32s(v, p.Shape()...)); err != nil {
			t.Fatal(err)
		}
	}
	if weight == 0 {
		return g, store
	}
	g, err = graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if o, ok := n.Op().(graph.MatMul); !ok || !o.TransB {
			return nil
		}
		w := quant.Spec{Bits: weight, Signed: true, Granularity: quant.PerChannel}
		outs := in[1].Shape()[0]
		if err := store.Put(n.Name()+".w_step", tensor.FromFloat32s(slices.Repeat([]float32{1 / float32(int(1)<<weight)}, outs), outs)); err != nil {
			t.Fatal(err)
		}
		if err := store.Put(n.Name()+".x_step", tensor.FromFloat32s([]float32{8 / float32(int(1)<<act)}, 1)); err != nil {
			t.Fatal(err)
		}
		ws := to.Param(graph.Param{Name: n.Name() + ".w_step", Shape: []int{outs}, Role: graph.Step})
		xs := to.Param(graph.Param{Name: n.Name() + ".x_step", Shape: []int{1}, Role: graph.Step})
		x := to.FakeQuant(in[0], xs, graph.FakeQuant{Spec: quant.Spec{Bits: act, Signed: true}, StepGrad: graph.StepLSQ})
		return to.Linear(x, to.FakeQuant(in[1], ws, graph.FakeQuant{Spec: w, StepGrad: graph.StepLSQ})).Named(n.Name())
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, store
}

// encoderCases are what the golden holds: heads, and bits of weights and inputs.
var encoderCases = map[string]struct {
	head        model.BertHead
	weight, act int
	activations bool
}{
	"classes-fp32":  {model.BertClassify, 0, 0, false},
	"sentence-fp32": {model.BertSentence, 0, 0, false},
	"spans-w8a8":    {model.BertSpan, 8, 8, true},
	"classes-w4a6":  {model.BertClassify, 4, 6, true},
	"hidden-w4":     {model.BertHidden, 4, 8, false},
}

// Encoders as ONNX: the file is the one that ONNX Runtime ran, and its results are
// the engine's. With LOWBIT_ONNX_OUT set to a folder the files are written there,
// for the script that makes the golden.
func TestEncodersAreONNXRuntimes(t *testing.T) {
	var want struct {
		Shape   []int
		IDs     []int32 `json:"input_ids"`
		Types   []int32 `json:"token_type_ids"`
		Lengths []int32
		Nets    map[string]struct {
			SHA256 string
			Output []float64
		}
	}
	b, err := os.ReadFile("testdata/encoder_onnx.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	dir := os.Getenv("LOWBIT_ONNX_OUT")
	if err != nil && dir == "" {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	for name, c := range encoderCases {
		g, store := smallEncoder(t, c.head, c.weight, c.act)
		m, err := onnx.ExportEncoder(g, store, onnx.EncoderInputs{IDs: nn.InputName, Types: model.TypesName, Lengths: nn.LengthsName}, c.activations, "{}")
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
		got := encoderResult(t, e, g, store, c.activations, map[string]*tensor.Tensor{
			nn.InputName: tensor.FromInt32s(want.IDs, want.Shape...), model.TypesName: tensor.FromInt32s(want.Types, want.Shape...),
			nn.LengthsName: tensor.FromInt32s(want.Lengths, want.Shape[0]),
		})
		if len(got) != len(golden.Output) {
			t.Fatalf("%s: %d results, want %d", name, len(got), len(golden.Output))
		}
		for k, v := range got {
			if d := math.Abs(float64(v) - golden.Output[k]); !(d < 1e-4) {
				t.Errorf("%s: output %d is %g, ONNX Runtime's %g", name, k, v, golden.Output[k])
			}
		}
	}
}

// encoderResult runs an encoder; activations false takes their quantizers out.
func encoderResult(t *testing.T, e *engine.Engine, g *graph.Graph, store *tensor.Store, activations bool, in map[string]*tensor.Tensor) []float32 {
	t.Helper()
	g, err := graph.Inference(g)
	if err == nil && !activations {
		g, err = floatActivations(g)
	}
	if err == nil {
		g, err = graph.Prune(g)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range in {
		if err := p.SetInput(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return p.Output(nn.LogitsName).Float32s()
}
