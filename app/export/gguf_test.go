package export_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/app/export"
	"lowbit/engine"
	"lowbit/format/gguf"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// network is a decoder with random weights and, unless bits is 0, quantizers of
// weights alone, so that the file computes what it does.
func network(t *testing.T, c model.Llama, bits int) *load.Language {
	t.Helper()
	l := &load.Language{Spec: "random", Form: "run", Config: c, Store: tensor.NewStore()}
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 8})
	if err == nil {
		err = graph.InitParams(g, l.Store, 3)
	}
	if err != nil {
		t.Fatal(err)
	}
	if bits == 0 {
		return l
	}
	q, err := silq.ParseBits(fmt.Sprintf("w%da8", bits))
	if err != nil {
		t.Fatal(err)
	}
	q.Bits.Default.Act, q.Bits.Last.Act = 0, 0
	l.Quantizers = &q
	e := engine.New(1)
	defer e.Close()
	start := silq.Start{Weights: silq.RuleMSE, Windows: 1, Passes: 1}
	if err := silq.Init(context.Background(), q, l.Store, start, silq.Calibration{Engine: e, Graph: g, Store: l.Store}); err != nil {
		t.Fatal(err)
	}
	return l
}

func logits(t *testing.T, l *load.Language) []float32 {
	t.Helper()
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 8})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, l.Store)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Input(nn.InputName).Int32s(), []int32{3, 1, 4, 1, 5, 9, 2, 6})
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(p.Output(nn.LogitsName).Float32s())
}

func write(t *testing.T, l *load.Language) (export.Result, *load.Language) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.gguf")
	r, err := export.GGUF(path, l, export.GGUFConfig{Embedding: gguf.F32, Name: "random"})
	if err != nil {
		t.Fatal(err)
	}
	back, err := load.OpenLanguage(path)
	if err != nil {
		t.Fatal(err)
	}
	return r, back
}

// Every width finds its home by the length of the rows, and the file's logits
// are the network's: whatever the order of the rotary pairs, with biases and
// with multipliers.
func TestFilesComputeWhatTheNetworkDoes(t *testing.T) {
	wide := model.Llama{Vocab: 32, Dim: 256, Layers: 1, Heads: 4, KVHeads: 2, Hidden: 512, Context: 16, NormEps: 1e-5, Theta: 1e4}
	narrow := wide
	narrow.Dim, narrow.Hidden, narrow.Tied = 64, 96, true
	odd := narrow
	odd.Hidden = 44
	adjacent, qwen, granite, llama3 := narrow, narrow, narrow, narrow
	adjacent.Adjacent = true
	qwen.QKVBias = true
	granite.EmbeddingMultiplier, granite.AttentionMultiplier, granite.ResidualMultiplier, granite.LogitsScaling = 2, 0.3, 0.5, 4
	llama3.Theta, llama3.Scaling = 5e5, graph.RoPEScaling{Factor: 8, Low: 1, High: 4, Original: 8192}
	for _, c := range []struct {
		name string
		c    model.Llama
		bits int
		want string // type of ffn_down
	}{
		{"2 bits", wide, 2, "Q2_K"}, {"3 bits", wide, 3, "Q3_K"}, {"4 bits", wide, 4, "Q4_0"}, {"5 bits", wide, 5, "Q5_K"}, {"6 bits", wide, 6, "Q6_K"}, {"8 bits", wide, 8, "Q8_0"},
		{"2 bits in narrow rows", narrow, 2, "Q4_0"}, {"5 bits in narrow rows", narrow, 5, "Q5_0"}, {"rows of 44", odd, 4, "F32"},
		{"adjacent", adjacent, 4, "Q4_0"}, {"qwen2", qwen, 4, "Q4_0"}, {"granite", granite, 8, "Q8_0"}, {"full precision", narrow, 0, "F32"},
		{"rotary scaling", llama3, 4, "Q4_0"},
	} {
		l := network(t, c.c, c.bits)
		r, back := write(t, l)
		if !r.Verified || r.SizeBytes == 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
		for _, x := range r.Tensors {
			if x.Error != 0 {
				t.Errorf("%s: %s has error %g", c.name, x.Name, x.Error)
			}
			if x.Name == "blk.0.ffn_down.weight" && x.Type != c.want {
				t.Errorf("%s: ffn_down is %s, want %s (%s)", c.name, x.Type, c.want, x.Why)
			}
		}
		if back.Config.Scaling != l.Config.Scaling {
			t.Errorf("%s: rotary scaling %+v, want %+v", c.name, back.Config.Scaling, l.Config.Scaling)
		}
		got, want := logits(t, back), logits(t, l)
		for i, v := range want {
			if math.Abs(float64(got[i]-v)) > 1e-4 {
				t.Errorf("%s: logit %d is %g, %g in the network", c.name, i, got[i], v)
				break
			}
		}
	}
}

// A layer that was given other bits has another type: mixed precision goes
// through.
func TestMixedBitsAreMixedTypes(t *testing.T) {
	c := model.Llama{Vocab: 32, Dim: 256, Layers: 2, Heads: 4, KVHeads: 4, Hidden: 256, Context: 16, NormEps: 1e-5, Theta: 1e4}
	l := network(t, c, 4)
	w := l.Quantizers.Bits.Default
	w.Weight = 2
	l.Quantizers.Bits.Layers = map[string]quant.Width{"model.layers.1.mlp.down_proj": w}
	r, _ := write(t, l)
	types := map[string]string{}
	for _, x := range r.Tensors {
		types[x.Name] = x.Type
	}
	if types["blk.0.ffn_down.weight"] != "Q4_0" || types["blk.1.ffn_down.weight"] != "Q2_K" {
		t.Errorf("types %v", types)
	}
}

func TestEightBitEmbeddingsAreClose(t *testing.T) {
	l := network(t, model.Llama{Vocab: 32, Dim: 64, Layers: 1, Heads: 4, KVHeads: 4, Hidden: 64, Context: 16, NormEps: 1e-5, Theta: 1e4, Tied: true}, 4)
	path := filepath.Join(t.TempDir(), "m.gguf")
	r, err := export.GGUF(path, l, export.GGUFConfig{Embedding: gguf.Q8_0})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range r.Tensors {
		if x.Name == "token_embd.weight" && (x.Type != "Q8_0" || x.Error == 0 || x.Error > 1.0/200) {
			t.Errorf("%+v", x)
		}
	}
	if _, err := export.GGUF(filepath.Join(path, "below", "a", "file"), l, export.GGUFConfig{Embedding: gguf.F16}); err == nil {
		t.Error("no error for a path below a file")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d entries beside the file", len(entries)-1)
	}
	l.Config.Scaling = graph.RoPEScaling{Factor: 8, Low: 2, High: 4, Original: 16}
	if _, err := export.GGUF(path, l, export.GGUFConfig{Embedding: gguf.F16}); err == nil || !strings.Contains(err.Error(), "other rules are not supported") {
		t.Errorf("error %v, want one about the rotary scaling", err)
	}
}
