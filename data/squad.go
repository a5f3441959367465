package data

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"lowbit/text"
)

// Answer is one accepted answer: a part of the context.
type Answer struct {
	Text  string
	Start int // its first byte in the context
}

// Question is one question of SQuAD 1.1.
type Question struct {
	ID       string
	Title    string
	Question string
	Context  string
	Answers  []Answer // at least one
}

// maxSquadBytes bounds a file; the training set has 30 MB.
const maxSquadBytes = 512 << 20

type squadFile struct {
	Data []struct {
		Title      string
		Paragraphs []struct {
			Context string
			QAs     []struct {
				ID         string
				Question   string
				Impossible bool `json:"is_impossible"`
				Answers    []struct {
					Text  string
					Start int `json:"answer_start"`
				}
			}
		}
	}
}

// ReadSQuAD reads a file of SQuAD 1.1. The file counts answers in characters;
// here they are in bytes, and each must stand where it says.
func ReadSQuAD(path string) ([]Question, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxSquadBytes {
		err = fmt.Errorf("%s: %d bytes, want at most %d", path, info.Size(), maxSquadBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("data: squad: %w", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("data: squad: %w", err)
	}
	all, err := parseSQuAD(b)
	if err != nil {
		return nil, fmt.Errorf("data: squad: %s: %w", path, err)
	}
	return all, nil
}

func parseSQuAD(b []byte) ([]Question, error) {
	var f squadFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	var all []Question
	for _, article := range f.Data {
		for _, p := range article.Paragraphs {
			at := runeOffsets(p.Context)
			for _, q := range p.QAs {
				one := Question{ID: q.ID, Title: article.Title, Question: q.Question, Context: p.Context}
				if q.Impossible || len(q.Answers) == 0 {
					return nil, fmt.Errorf("question %q has no answer; unanswerable questions (SQuAD 2.0) are not supported", q.ID)
				}
				for _, a := range q.Answers {
					if a.Start < 0 || a.Start >= len(at) || a.Text == "" || !strings.HasPrefix(p.Context[at[a.Start]:], a.Text) {
						return nil, fmt.Errorf("question %q: the context does not have %q at character %d", q.ID, a.Text, a.Start)
					}
					one.Answers = append(one.Answers, Answer{a.Text, at[a.Start]})
				}
				all = append(all, one)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no questions")
	}
	return all, nil
}

// runeOffsets returns the byte at which each character begins.
func runeOffsets(s string) []int {
	at := make([]int, 0, len(s))
	for i := range s {
		at = append(at, i)
	}
	return at
}

// SpanFeature is one window of a question's context, ready for a network.
type SpanFeature struct {
	text.Encoding
	Question int // index of the question
	// Start and End are the first and last token of the first answer; both 0,
	// the token [CLS], where this window does not hold all of it.
	Start, End int32
}

// SpanFeatures cuts questions into windows of at most maxLength tokens whose
// contexts overlap by stride tokens (Devlin et al. 2018 use 384 and 128).
func SpanFeatures(t *text.Tokenizer, questions []Question, maxLength, stride int) ([]SpanFeature, error) {
	var all []SpanFeature
	for i, q := range questions {
		windows, err := t.Windows(q.Question, q.Context, maxLength, stride)
		if err != nil {
			return nil, fmt.Errorf("data: squad: question %q: %w", q.ID, err)
		}
		for _, w := range windows {
			f := SpanFeature{Encoding: w, Question: i}
			f.locate(q.Answers[0])
			all = append(all, f)
		}
	}
	return all, nil
}

// locate finds the tokens of an answer.
func (f *SpanFeature) locate(a Answer) {
	start, end := int32(-1), int32(-1)
	last := a.Start + len(a.Text)
	for n, o := range f.Offsets {
		if f.Sources[n] != 1 {
			continue
		}
		if o.Start <= a.Start && a.Start < o.End {
			start = int32(n)
		}
		if o.Start < last && last <= o.End {
			end = int32(n)
		}
	}
	if start >= 0 && end >= start {
		f.Start, f.End = start, end
	}
}
