package eval

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"lowbit/text"
)

type metricsGolden struct {
	Lists []struct {
		X, Y              []float64
		Pearson, Spearman float64
	}
	Classes []struct {
		Predicted, Labels      []int32
		Accuracy, F1, Matthews float64
	}
	Answers []struct {
		Answer    string
		Accepted  []string
		Exact, F1 float64
	}
}

// metricTolerance allows for sums in another order.
const metricTolerance = 1e-12

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > metricTolerance {
		t.Errorf("%s: %.17g, want %.17g", what, got, want)
	}
}

func TestMetricsGiveTheReferencesNumbers(t *testing.T) {
	b, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	var g metricsGolden
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Lists) < 5 || len(g.Classes) < 4 || len(g.Answers) < 10 {
		t.Fatal("the golden file is short")
	}
	for _, l := range g.Lists {
		p, err := Pearson(l.X, l.Y)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Spearman(l.X, l.Y)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "pearson", p, l.Pearson)
		near(t, "spearman", s, l.Spearman)
	}
	for _, l := range g.Classes {
		c, err := Count(l.Predicted, l.Labels)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Matches(l.Predicted, l.Labels)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "accuracy", c.Accuracy(), l.Accuracy)
		near(t, "matches", m, l.Accuracy)
		near(t, "f1", c.F1(), l.F1)
		near(t, "matthews", c.Matthews(), l.Matthews)
	}
	var answers []string
	var accepted [][]string
	var exact, f1 float64
	for _, a := range g.Answers {
		e, f := AnswerScore(a.Answer, a.Accepted)
		near(t, "exact "+a.Answer, e, a.Exact)
		near(t, "f1 "+a.Answer, f, a.F1)
		answers, accepted = append(answers, a.Answer), append(accepted, a.Accepted)
		exact, f1 = exact+a.Exact/float64(len(g.Answers)), f1+a.F1/float64(len(g.Answers))
	}
	e, f, err := AnswerScores(answers, accepted)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "mean exact", e, exact)
	near(t, "mean f1", f, f1)
}

func TestMetricsRefuseWhatIsNotDefined(t *testing.T) {
	nan := math.NaN()
	for _, l := range [][2][]float64{{{1}, {1}}, {{1, 2}, {1}}, {{1, 1}, {1, 2}}, {{1, 2}, {3, 3}}, {{1, nan}, {1, 2}}, {{1, 2}, {1, math.Inf(1)}}, {nil, nil}} {
		if _, err := Pearson(l[0], l[1]); err == nil {
			t.Errorf("pearson of %v: no error", l)
		}
		if _, err := Spearman(l[0], l[1]); err == nil {
			t.Errorf("spearman of %v: no error", l)
		}
	}
	for _, l := range [][2][]int32{{{1}, {1, 0}}, {nil, nil}, {{2}, {1}}, {{1}, {-1}}} {
		if _, err := Count(l[0], l[1]); err == nil {
			t.Errorf("counts of %v: no error", l)
		}
	}
	if _, err := Matches([]int32{1}, nil); err == nil {
		t.Error("no labels, and no error")
	}
	if _, _, err := AnswerScores([]string{"a"}, nil); err == nil {
		t.Error("no questions, and no error")
	}
}

func TestBestSpanStaysInTheContext(t *testing.T) {
	context := "one two three"
	w := text.Encoding{
		IDs: make([]int32, 6), Sources: []int8{-1, 0, -1, 1, 1, 1},
		Offsets: []text.Span{{}, {Start: 0, End: 3}, {}, {Start: 0, End: 3}, {Start: 4, End: 7}, {Start: 8, End: 13}},
	}
	start := []float32{9, 9, 9, 1, 2, 0}
	end := []float32{9, 9, 9, 5, 1, 3}
	for _, c := range []struct {
		longest int
		answer  string
		score   float32
	}{{1, "one", 6}, {30, "one", 6}} {
		if a, s, err := BestSpan(start, end, w, context, c.longest); err != nil || a != c.answer || s != c.score {
			t.Errorf("%q %v %v, want %q %v", a, s, err, c.answer, c.score)
		}
	}
	end[3] = 0
	if a, _, _ := BestSpan(start, end, w, context, 30); a != "two three" {
		t.Errorf("%q, want two tokens", a)
	}
	if a, _, _ := BestSpan(start, end, w, context, 1); a == "two three" {
		t.Errorf("%q is longer than one token", a)
	}
	w.Sources = []int8{-1, 0, -1, -1, -1, -1}
	if a, s, err := BestSpan(start, end, w, context, 30); err != nil || a != "" || !math.IsInf(float64(s), -1) {
		t.Errorf("%q %v %v", a, s, err)
	}
	if _, _, err := BestSpan(start[:2], end, w, context, 30); err == nil {
		t.Error("too few logits, and no error")
	}
}
