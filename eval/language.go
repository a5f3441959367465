package eval

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// Decoder is a causal language model. Build makes its graph for one sequence of
// a length: input "input", i32 [1, length]; output "logits", f32 [length, vocab].
type Decoder struct {
	Build func(length int) (*graph.Graph, error)
	Store *tensor.Store
}

// LanguageConfig says on what a language model is measured.
type LanguageConfig struct {
	// Length is the number of tokens of a window; each window is read by itself,
	// so its first token is not predicted.
	Length int
	// Windows is how many are taken from the start of the text; 0: all whole
	// ones.
	Windows int
	// Teacher, if not nil, is what the divergence is measured from.
	Teacher *Decoder
	// Progress is called after each window; it may be nil.
	Progress func(done, of int)
}

// LanguageResult is how well a language model predicts a text.
type LanguageResult struct {
	// Perplexity is exp(Loss); Loss the mean cross entropy of a predicted token
	// in nats, summed in float64. StandardError is that of Loss, from the spread
	// of the windows' means; 0 for a single window.
	Perplexity    float64 `json:"perplexity"`
	Loss          float64 `json:"loss"`
	StandardError float64 `json:"standard_error"`
	// Tokens is the number of predicted tokens: Windows*(Length-1).
	Tokens  int `json:"tokens"`
	Windows int `json:"windows"`
	Length  int `json:"window_length"`
	// KL is the mean of KL(teacher || model) in nats over all positions, Top1 the
	// share of those where both name the same token; absent without a teacher.
	KL   *float64 `json:"kl,omitempty"`
	Top1 *float64 `json:"top1_agreement,omitempty"`
	// TokensPerS counts the tokens read, teacher's time included.
	TokensPerS float64 `json:"tokens_per_s"`
}

// teacherName is the input of the teacher's logits in a graph with divergence.
const teacherName = "teacher"

// Perplexity measures how well a decoder predicts a text of tokens.
func Perplexity(ctx context.Context, e *engine.Engine, m Decoder, ids []int32, c LanguageConfig) (LanguageResult, error) {
	windows, err := c.windows(len(ids))
	if err != nil {
		return LanguageResult{}, err
	}
	s, err := newWindowScorer(e, m, c)
	if err != nil {
		return LanguageResult{}, err
	}
	began := time.Now()
	means := make([]float64, windows)
	for i := range windows {
		if err := ctx.Err(); err != nil {
			return LanguageResult{}, err
		}
		sum, err := s.window(ids[i*c.Length:][:c.Length])
		if err != nil {
			return LanguageResult{}, fmt.Errorf("eval: window %d: %w", i, err)
		}
		means[i] = sum / float64(c.Length-1)
		if c.Progress != nil {
			c.Progress(i+1, windows)
		}
	}
	r := LanguageResult{Windows: windows, Length: c.Length, Tokens: windows * (c.Length - 1)}
	r.TokensPerS = float64(windows*c.Length) / time.Since(began).Seconds()
	r.Loss, r.StandardError = meanAndError(means)
	r.Perplexity = math.Exp(r.Loss)
	if c.Teacher != nil {
		n := float64(windows * c.Length)
		kl, top1 := s.kl/n, float64(s.agreed)/n
		r.KL, r.Top1 = &kl, &top1
	}
	return r, nil
}

func (c LanguageConfig) windows(tokens int) (int, error) {
	if c.Length < 2 || c.Windows < 0 {
		return 0, fmt.Errorf("eval: %d windows of %d tokens, want windows of at least 2", c.Windows, c.Length)
	}
	have := tokens / c.Length
	if have == 0 || have < c.Windows {
		return 0, fmt.Errorf("eval: the text has %d tokens, want %d windows of %d", tokens, max(1, c.Windows), c.Length)
	}
	if c.Windows > 0 {
		have = c.Windows
	}
	return have, nil
}

// meanAndError returns the mean of x and its standard error.
func meanAndError(x []float64) (mean, se float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	if len(x) < 2 {
		return mean, 0
	}
	var square float64
	for _, v := range x {
		square += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(square / float64(len(x)-1) / float64(len(x)))
}

// windowScorer holds the plans of Perplexity.
type windowScorer struct {
	model, teacher *engine.Plan
	vocab          int
	kl             float64
	agreed         int
}

func newWindowScorer(e *engine.Engine, m Decoder, c LanguageConfig) (*windowScorer, error) {
	s := &windowScorer{}
	var err error
	if c.Teacher != nil {
		g, err := c.Teacher.Build(c.Length)
		if err != nil {
			return nil, err
		}
		if s.teacher, err = e.CompileFrozen(g, c.Teacher.Store); err != nil {
			return nil, fmt.Errorf("eval: the teacher: %w", err)
		}
	}
	if s.model, err = scoring(e, m, c.Length, c.Teacher != nil); err != nil {
		return nil, err
	}
	if s.teacher == nil {
		return s, nil
	}
	logits := s.teacher.Output(nn.LogitsName)
	s.vocab = logits.Shape()[1]
	if err := s.model.SetInput(teacherName, logits); err != nil {
		return nil, fmt.Errorf("eval: the teacher's vocabulary is another: %w", err)
	}
	return s, nil
}

// scoring compiles a decoder with each token's loss, and with the divergence
// from a teacher's logits.
func scoring(e *engine.Engine, m Decoder, length int, divergence bool) (*engine.Plan, error) {
	g, err := m.Build(length)
	if err != nil {
		return nil, err
	}
	logits := g.OutputNode(nn.LogitsName)
	if logits == nil || len(logits.Shape()) != 2 || logits.Shape()[0] != length {
		return nil, fmt.Errorf("eval: the graph has no output %q of [%d vocabulary]", nn.LogitsName, length)
	}
	labels := nn.Rows(g, g.Input(nn.LabelsName, tensor.I32, 1, length))
	g.Output("losses", g.Apply(graph.CrossEntropy{}, logits, labels))
	outputs := []string{"losses"}
	if divergence {
		g.Output("kl", g.Apply(graph.KLDivergence{T: 1}, logits, g.Input(teacherName, tensor.F32, logits.Shape()...)))
		outputs = append(outputs, "kl", nn.LogitsName)
	}
	if err := g.Err(); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	if g, err = graph.Select(g, outputs...); err != nil {
		return nil, fmt.Errorf("eval: %w", err)
	}
	return e.CompileFrozen(g, m.Store)
}

// window reads one window and returns the sum of its tokens' losses.
func (s *windowScorer) window(ids []int32) (float64, error) {
	if s.teacher != nil {
		copy(s.teacher.Input(nn.InputName).Int32s(), ids)
		if err := s.teacher.Run(); err != nil {
			return 0, err
		}
	}
	copy(s.model.Input(nn.InputName).Int32s(), ids)
	labels := s.model.Input(nn.LabelsName).Int32s()
	copy(labels, ids[1:])
	labels[len(labels)-1] = -1
	if err := s.model.Run(); err != nil {
		return 0, err
	}
	if s.teacher != nil {
		s.kl += sum(s.model.Output("kl").Float32s())
		a, b := s.model.Output(nn.LogitsName).Float32s(), s.teacher.Output(nn.LogitsName).Float32s()
		for i := 0; i < len(a); i += s.vocab {
			if best(a[i:][:s.vocab]) == best(b[i:][:s.vocab]) {
				s.agreed++
			}
		}
	}
	return sum(s.model.Output("losses").Float32s()), nil
}

func sum(v []float32) float64 {
	var s float64
	for _, x := range v {
		s += float64(x)
	}
	return s
}

func best(v []float32) int { return slices.Index(v, slices.Max(v)) }
