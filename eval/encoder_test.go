package eval_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/text"
)

func encoding(ids ...int32) text.Encoding {
	return text.Encoding{IDs: ids, Types: make([]int32, len(ids))}
}

// A text's logits do not depend on what else is in its batch, nor on padding.
func TestOutputsKeepTextsApart(t *testing.T) {
	c := model.Bert{Vocab: 20, Dim: 8, Layers: 2, Heads: 2, Hidden: 16, Positions: 20, Types: 2, NormEps: 1e-12, Head: model.BertSpan}
	g, err := c.Graph(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 5); err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	m := eval.Encoder{Build: c.Graph, Store: store, Longest: 20}
	texts := []text.Encoding{encoding(2, 5, 3), encoding(2, 7, 8, 9, 10, 11, 12, 13, 14, 3), encoding(2, 3)}
	together, err := eval.Outputs(context.Background(), e, m, texts, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range texts {
		alone, err := eval.Outputs(context.Background(), e, m, texts[i:i+1], 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(together[i]) != 2*len(x.IDs) || len(alone[0]) != len(together[i]) {
			t.Fatalf("%d and %d logits for %d tokens", len(together[i]), len(alone[0]), len(x.IDs))
		}
		for k, v := range alone[0] {
			if math.Abs(float64(v-together[i][k])) > 1e-5 {
				t.Errorf("text %d, logit %d: %g alone, %g in a batch", i, k, v, together[i][k])
			}
		}
	}
	long := encoding(make([]int32, 21)...)
	if _, err := eval.Outputs(context.Background(), e, m, []text.Encoding{long}, 1, nil); err == nil || !strings.Contains(err.Error(), "at most 20") {
		t.Errorf("a text that is too long: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := eval.Outputs(ctx, e, m, texts, 1, nil); err == nil {
		t.Error("an ended context: want its error")
	}
}

func TestSentenceScores(t *testing.T) {
	classes := []data.Sentence{{Label: 1}, {Label: 0}, {Label: 1}, {Label: 1}}
	logits := [][]float32{{0, 1}, {1, 0}, {1, 0}, {-1, 2}}
	s, err := eval.SentenceScores(logits, "sst2", classes, "")
	if err != nil || s.Metric != "accuracy" || s.Value != 0.75 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = eval.SentenceScores(logits, "mrpc", classes, ""); err != nil || s.Metric != "f1" || s.Value != 0.8 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err = eval.SentenceScores(logits, "sst2", classes, "bleu"); err == nil || !strings.Contains(err.Error(), "accuracy, f1, matthews") {
		t.Errorf("an unknown metric: %v", err)
	}
	if _, err = eval.SentenceScores([][]float32{{0, float32(math.NaN())}}, "sst2", classes[:1], ""); err == nil {
		t.Error("NaN: want an error")
	}
	scores := []data.Sentence{{Score: 1}, {Score: 2}, {Score: 3}}
	if s, err = eval.SentenceScores([][]float32{{.1}, {.3}, {.2}}, "stsb", scores, ""); err != nil || s.Metric != "spearman" || math.Abs(s.Value-0.5) > 1e-12 {
		t.Errorf("%+v, %v", s, err)
	}
}
