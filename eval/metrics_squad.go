package eval

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"lowbit/text"
)

// normalAnswer takes off what the measure of SQuAD does not look at: case,
// ASCII punctuation, the articles, and how words are spaced (Rajpurkar et al.
// 2016).
func normalAnswer(s string) []string {
	s = strings.Map(func(r rune) rune {
		if r >= '!' && r <= '/' || r >= ':' && r <= '@' || r >= '[' && r <= '`' || r >= '{' && r <= '~' {
			return -1
		}
		return r
	}, strings.ToLower(s))
	return slices.DeleteFunc(strings.Fields(s), func(w string) bool { return w == "a" || w == "an" || w == "the" })
}

// AnswerScore compares an answer with the accepted ones of a question, and
// returns the best of each: exact is 1 where they are the same, f1 the harmonic
// mean of precision and recall over their words, case, punctuation and articles
// aside.
func AnswerScore(answer string, accepted []string) (exact, f1 float64) {
	got := normalAnswer(answer)
	for _, a := range accepted {
		want := normalAnswer(a)
		if slices.Equal(got, want) {
			exact = 1
		}
		f1 = max(f1, wordF1(got, want))
	}
	return exact, f1
}

// wordF1 counts the words that two lists share.
func wordF1(got, want []string) float64 {
	if len(got) == 0 || len(want) == 0 {
		if len(got) == len(want) {
			return 1
		}
		return 0
	}
	left := map[string]int{}
	for _, w := range want {
		left[w]++
	}
	same := 0
	for _, w := range got {
		if left[w] > 0 {
			left[w]--
			same++
		}
	}
	return 2 * float64(same) / float64(len(got)+len(want))
}

// AnswerScores returns the means of AnswerScore over questions.
func AnswerScores(answers []string, accepted [][]string) (exact, f1 float64, err error) {
	if len(answers) != len(accepted) || len(answers) == 0 {
		return 0, 0, fmt.Errorf("eval: %d answers for %d questions, want equally many, at least 1", len(answers), len(accepted))
	}
	for i, a := range answers {
		e, f := AnswerScore(a, accepted[i])
		exact += e
		f1 += f
	}
	n := float64(len(answers))
	return exact / n, f1 / n, nil
}

// BestSpan returns the part of a context that a network finds most likely to
// be the answer: the largest start[i]+end[j], i <= j < i+longest, over the
// tokens of the second text of a window. start and end are its logits, one a
// token; score is the sum. Of equal sums the first counts. The result is "" with
// score -Inf where the window has no token of the context. It fails if the
// lists have unlike lengths.
func BestSpan(start, end []float32, window text.Encoding, context string, longest int) (answer string, score float32, err error) {
	if len(start) != len(window.IDs) || len(end) != len(window.IDs) {
		return "", 0, fmt.Errorf("eval: %d start and %d end logits for %d tokens", len(start), len(end), len(window.IDs))
	}
	score = float32(math.Inf(-1))
	for i, s := range start {
		if window.Sources[i] != 1 {
			continue
		}
		for j := i; j < len(end) && j < i+longest && window.Sources[j] == 1; j++ {
			if sum := s + end[j]; sum > score {
				from, to := window.Offsets[i].Start, window.Offsets[j].End
				if from < 0 || to > len(context) || from > to {
					return "", 0, fmt.Errorf("eval: tokens %d to %d stand for bytes %d to %d of a context of %d", i, j, from, to, len(context))
				}
				answer, score = context[from:to], sum
			}
		}
	}
	return answer, score, nil
}
