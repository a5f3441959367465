package eval

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"lowbit/data"
	"lowbit/text"
)

// Scores are what a network reaches on a task, by the names of the metrics.
type Scores struct {
	// Metric is the task's own, Value what was reached; Values has all.
	Metric   string             `json:"metric"`
	Value    float64            `json:"value"`
	Values   map[string]float64 `json:"values"`
	Examples int                `json:"examples"`
}

// pick makes one of the values the result: that of metric, or, if it is empty,
// the task's own.
func (s Scores) pick(metric, own string) (Scores, error) {
	if s.Metric = metric; metric == "" {
		s.Metric = own
	}
	v, ok := s.Values[s.Metric]
	if !ok {
		return s, fmt.Errorf("eval: metric %q, have %s", metric, strings.Join(slices.Sorted(maps.Keys(s.Values)), ", "))
	}
	s.Value = v
	return s, nil
}

// ClassScores compares logits with classes: accuracy, and for two classes F1
// and Matthews' correlation.
func ClassScores(logits [][]float32, examples []data.Sentence, metric, own string) (Scores, error) {
	predicted, labels := make([]int32, len(logits)), make([]int32, len(logits))
	classes := 0
	for i, l := range logits {
		for k, v := range l {
			if math.IsNaN(float64(v)) {
				return Scores{}, fmt.Errorf("eval: the logits of example %d are not numbers", i+1)
			}
			if v > l[predicted[i]] {
				predicted[i] = int32(k)
			}
		}
		labels[i], classes = examples[i].Label, len(l)
	}
	s := Scores{Values: map[string]float64{}, Examples: len(logits)}
	var err error
	if s.Values["accuracy"], err = Matches(predicted, labels); err != nil {
		return s, err
	}
	if classes == 2 {
		c, err := Count(predicted, labels)
		if err != nil {
			return s, err
		}
		s.Values["f1"], s.Values["matthews"] = c.F1(), c.Matthews()
	}
	return s.pick(metric, own)
}

// SimilarityScores correlates numbers with the examples' scores.
func SimilarityScores(values []float64, examples []data.Sentence, metric string) (Scores, error) {
	want := make([]float64, len(examples))
	for i, x := range examples {
		want[i] = float64(x.Score)
	}
	s := Scores{Values: map[string]float64{}, Examples: len(values)}
	var err error
	if s.Values["spearman"], err = Spearman(values, want); err != nil {
		return s, err
	}
	if s.Values["pearson"], err = Pearson(values, want); err != nil {
		return s, err
	}
	return s.pick(metric, "spearman")
}

// SpanScores answers questions from the logits of their windows, [tokens, 2]
// each, and compares with what is accepted: exact and f1, in 0..1.
func SpanScores(logits [][]float32, features []data.SpanFeature, questions []data.Question, metric string) (Scores, error) {
	answers, best := make([]string, len(questions)), make([]float32, len(questions))
	for i := range best {
		best[i] = float32(math.Inf(-1))
	}
	for i, f := range features {
		tokens := len(f.Encoding.IDs)
		start, end := make([]float32, tokens), make([]float32, tokens)
		for k := range tokens {
			start[k], end[k] = logits[i][2*k], logits[i][2*k+1]
		}
		answer, score, err := BestSpan(start, end, f.Encoding, questions[f.Question].Context, longestAnswer)
		if err != nil {
			return Scores{}, err
		}
		if score > best[f.Question] {
			answers[f.Question], best[f.Question] = answer, score
		}
	}
	accepted := make([][]string, len(questions))
	for i, q := range questions {
		for _, a := range q.Answers {
			accepted[i] = append(accepted[i], a.Text)
		}
	}
	s := Scores{Values: map[string]float64{}, Examples: len(questions)}
	var err error
	if s.Values["exact"], s.Values["f1"], err = AnswerScores(answers, accepted); err != nil {
		return s, err
	}
	return s.pick(metric, "f1")
}

// longestAnswer is the most tokens of an answer, as in BERT's evaluation.
const longestAnswer = 30

// EncodeSentences tokenizes examples of one text or of pairs, each cut to
// longest tokens.
func EncodeSentences(t *text.Tokenizer, longest int, examples []data.Sentence) ([]text.Encoding, error) {
	out := make([]text.Encoding, len(examples))
	for i, x := range examples {
		var err error
		if x.B == "" {
			out[i], err = encodeOne(t, x.A, longest)
		} else {
			out[i], err = t.Pair(x.A, x.B, longest)
		}
		if err != nil {
			return nil, fmt.Errorf("eval: example %d: %w", i+1, err)
		}
	}
	return out, nil
}

// encodeOne tokenizes a text; one that is too long loses the tokens before the
// mark at its end.
func encodeOne(t *text.Tokenizer, s string, longest int) (text.Encoding, error) {
	e := t.Tokenize(s)
	marks := 0 // after the text
	for marks < len(e.IDs) && e.Sources[len(e.IDs)-1-marks] < 0 {
		marks++
	}
	n := len(e.IDs)
	if n <= longest {
		return e, nil
	}
	if marks > longest {
		return e, fmt.Errorf("at most %d tokens, the marks alone are %d", longest, marks)
	}
	keep := longest - marks
	e.IDs = append(e.IDs[:keep:keep], e.IDs[n-marks:]...)
	e.Types = append(e.Types[:keep:keep], e.Types[n-marks:]...)
	e.Sources = append(e.Sources[:keep:keep], e.Sources[n-marks:]...)
	e.Offsets = append(e.Offsets[:keep:keep], e.Offsets[n-marks:]...)
	return e, nil
}

// Similarities returns the products of the two texts' vectors, which are their
// cosines where read gives unit vectors.
func Similarities(t *text.Tokenizer, longest int, examples []data.Sentence, read func([]text.Encoding) ([][]float32, error)) ([]float64, error) {
	texts := make([]text.Encoding, 0, 2*len(examples))
	for i, x := range examples {
		for _, s := range []string{x.A, x.B} {
			e, err := encodeOne(t, s, longest)
			if err != nil {
				return nil, fmt.Errorf("eval: example %d: %w", i+1, err)
			}
			texts = append(texts, e)
		}
	}
	vectors, err := read(texts)
	if err != nil {
		return nil, err
	}
	values := make([]float64, len(examples))
	for i := range values {
		a, b := vectors[2*i], vectors[2*i+1]
		for k := range a {
			values[i] += float64(a[k]) * float64(b[k])
		}
	}
	return values, nil
}

// SentenceScores measures the logits of a task's classifier: the classes of
// SST-2 by accuracy and of MRPC by F1, the one output of STS-B by rank
// correlation. An empty metric is the task's own.
func SentenceScores(logits [][]float32, task string, examples []data.Sentence, metric string) (Scores, error) {
	switch task {
	case "stsb":
		values := make([]float64, len(logits))
		for i, l := range logits {
			values[i] = float64(l[0])
		}
		return SimilarityScores(values, examples, metric)
	case "mrpc":
		return ClassScores(logits, examples, metric, "f1")
	}
	return ClassScores(logits, examples, metric, "accuracy")
}
