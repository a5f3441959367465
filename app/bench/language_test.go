package bench_test

import (
	"context"
	"strings"
	"testing"

	"lowbit/app/bench"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/tensor"
)

// decoder is a language model with random weights, and quantizers if bits is not
// "".
func decoder(tb testing.TB, e *engine.Engine, c model.Llama, bits string, length int) (func(model.LlamaRun) (*graph.Graph, error), *tensor.Store) {
	tb.Helper()
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: length})
	store := tensor.NewStore()
	if err == nil {
		err = graph.InitParams(g, store, 1)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if bits == "" {
		return c.Graph, store
	}
	q, err := silq.ParseBits(bits)
	if err != nil {
		tb.Fatal(err)
	}
	q.Static = true
	window := make([]int32, length)
	for i := range window {
		window[i] = int32(i * 7919 % c.Vocab)
	}
	start := silq.Start{Weights: silq.RuleMax, Windows: 1, Passes: 1}
	if err := silq.Init(context.Background(), q, store, start, silq.Calibration{Engine: e, Graph: g, Store: store, Windows: [][]int32{window}}); err != nil {
		tb.Fatal(err)
	}
	return func(r model.LlamaRun) (*graph.Graph, error) {
		g, err := c.Graph(r)
		if err != nil {
			return nil, err
		}
		return silq.Insert(g, q)
	}, store
}

func TestTrainLanguageMeasuresTokens(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	c := model.Llama{Vocab: 50, Dim: 32, Layers: 2, Heads: 2, KVHeads: 1, Hidden: 48, Context: 32, NormEps: 1e-5, Theta: 1e4}
	for _, bits := range []string{"", "w4a8kv8"} {
		build, store := decoder(t, e, c, bits, 16)
		r, err := bench.TrainLanguage(context.Background(), e, build, store, 16, bench.Config{Batch: 2, Steps: 3, Seed: 1, Explain: true})
		if err != nil {
			t.Fatal(err)
		}
		if want := 32 / r.MedianMS * 1000; r.ItemsPerS != want || r.GFLOPS <= 0 || r.Explanation == nil || len(r.Explanation.Kinds) == 0 {
			t.Errorf("%q: %g tokens/s, want %g; %+v", bits, r.ItemsPerS, want, r)
		}
	}
	build, store := decoder(t, e, c, "", 16)
	if _, err := bench.TrainLanguage(context.Background(), e, build, store, 1, bench.DefaultConfig()); err == nil || !strings.Contains(err.Error(), "at least 2") {
		t.Errorf("%v", err)
	}
}
