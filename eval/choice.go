package eval

import (
	"context"
	"fmt"
	"math"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/nn"
)

// ChoiceResult is what a language model got right of multiple-choice questions.
type ChoiceResult struct {
	// Accuracy is the share of questions whose right ending has the highest
	// log-likelihood after the context, Normalized that whose has the highest per
	// byte of the ending (of equal ones, the first counts).
	Accuracy   float64 `json:"accuracy"`
	Normalized float64 `json:"normalized_accuracy"`
	// StandardError is that of Accuracy as a sample.
	StandardError float64 `json:"standard_error"`
	Questions     int     `json:"questions"`
	// Truncated counts endings whose context had to be cut at its beginning.
	Truncated int `json:"truncated,omitempty"`
}

// Choices asks a decoder multiple-choice questions. encode gives the tokens of a
// text, begin mark and all; a question is encoded whole, and the tokens beyond
// those of its context are the ending's. Sequences longer than context lose
// their first tokens.
func Choices(ctx context.Context, e *engine.Engine, m Decoder, encode func(string) []int32, context int,
	questions []data.Choice, progress func(done, of int)) (ChoiceResult, error) {
	if len(questions) == 0 {
		return ChoiceResult{}, fmt.Errorf("eval: no questions")
	}
	s := choiceScorer{e: e, m: m, encode: encode, context: context, plans: map[int]*engine.Plan{}}
	right, normalized := 0, 0
	for i, q := range questions {
		if err := ctx.Err(); err != nil {
			return ChoiceResult{}, err
		}
		byLikelihood, perByte, err := s.answer(q)
		if err != nil {
			return ChoiceResult{}, fmt.Errorf("eval: question %d: %w", i+1, err)
		}
		if byLikelihood == q.Answer {
			right++
		}
		if perByte == q.Answer {
			normalized++
		}
		if progress != nil {
			progress(i+1, len(questions))
		}
	}
	n := float64(len(questions))
	r := ChoiceResult{Accuracy: float64(right) / n, Normalized: float64(normalized) / n, Questions: len(questions), Truncated: s.truncated}
	r.StandardError = math.Sqrt(r.Accuracy * (1 - r.Accuracy) / n)
	return r, nil
}

// lengthStep is what lengths are rounded up to, so that few plans are compiled.
// Causal attention keeps what stands behind a token from its logits.
const lengthStep = 32

type choiceScorer struct {
	e         *engine.Engine
	m         Decoder
	encode    func(string) []int32
	context   int
	plans     map[int]*engine.Plan
	truncated int
}

// answer returns the ending of highest likelihood, and of highest per byte.
func (s *choiceScorer) answer(q data.Choice) (byLikelihood, perByte int, err error) {
	lead := s.encode(q.Context)
	top, topPerByte := math.Inf(-1), math.Inf(-1)
	for i, ending := range q.Endings {
		ids := s.encode(q.Context + ending)
		from := 0 // tokens that the context alone has, too
		for from < min(len(lead), len(ids)-1) && ids[from] == lead[from] {
			from++
		}
		l, err := s.logLikelihood(ids, max(from, 1))
		if err != nil {
			return 0, 0, err
		}
		if l > top {
			top, byLikelihood = l, i
		}
		if l /= float64(max(len(ending), 1)); l > topPerByte {
			topPerByte, perByte = l, i
		}
	}
	return byLikelihood, perByte, nil
}

// logLikelihood returns the logarithm of the probability of ids[from:] after
// those before.
func (s *choiceScorer) logLikelihood(ids []int32, from int) (float64, error) {
	if cut := len(ids) - s.context; cut > 0 {
		if from -= cut; from < 1 {
			return 0, fmt.Errorf("an ending of %d tokens, the model reads %d", len(ids), s.context)
		}
		ids = ids[cut:]
		s.truncated++
	}
	if len(ids) < 2 {
		return 0, nil
	}
	length := min((len(ids)+lengthStep-1)/lengthStep*lengthStep, s.context)
	p, err := s.plan(length)
	if err != nil {
		return 0, err
	}
	input, labels := p.Input(nn.InputName).Int32s(), p.Input(nn.LabelsName).Int32s()
	clear(input[copy(input, ids):])
	for i := range labels {
		labels[i] = data.Ignored
		if i+1 >= from && i+1 < len(ids) {
			labels[i] = ids[i+1]
		}
	}
	if err := p.Run(); err != nil {
		return 0, err
	}
	return -sum(p.Output("losses").Float32s()), nil
}

func (s *choiceScorer) plan(length int) (*engine.Plan, error) {
	if p := s.plans[length]; p != nil {
		return p, nil
	}
	p, err := scoring(s.e, s.m, length, false)
	s.plans[length] = p
	return p, err
}
