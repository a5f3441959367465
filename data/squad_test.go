package data

import (
	"os"
	"strings"
	"testing"

	"lowbit/text"
)

func TestReadSQuADCountsAnswersInBytes(t *testing.T) {
	all, err := ReadSQuAD("testdata/squad.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || all[0].ID != "q1" || all[0].Title != "Tea" || len(all[0].Answers) != 2 || all[2].Question != "When does water boil?" {
		t.Fatalf("%+v", all)
	}
	for _, q := range all {
		for _, a := range q.Answers {
			if q.Context[a.Start:a.Start+len(a.Text)] != a.Text {
				t.Errorf("%s: %q at %d", q.ID, a.Text, a.Start)
			}
		}
	}
	one := func(qa string) string {
		return `{"data":[{"paragraphs":[{"context":"a bé c","qas":[` + qa + `]}]}]}`
	}
	wantErrors(t, "x.json", ReadSQuAD, map[string]string{
		"": "unexpected end", "{}": "no questions", one(`{"id":"i","answers":[]}`): "no answer",
		one(`{"id":"i","is_impossible":true,"answers":[]}`):              "2.0",
		one(`{"id":"i","answers":[{"text":"c","answer_start":4}]}`):      "does not have",
		one(`{"id":"i","answers":[{"text":"c","answer_start":-1}]}`):     "does not have",
		one(`{"id":"i","answers":[{"text":"c","answer_start":999}]}`):    "does not have",
		one(`{"id":"i","answers":[{"text":"","answer_start":0}]}`):       "does not have",
		one(`{"id":"i","answers":[{"text":"a","answer_start":"zero"}]}`): "string",
	})
}

func TestSpanFeaturesHoldTheAnswer(t *testing.T) {
	questions, err := ReadSQuAD("testdata/squad.json")
	if err != nil {
		t.Fatal(err)
	}
	k, err := text.ParseVocab(strings.NewReader(strings.Join([]string{
		"[PAD]", "[UNK]", "[CLS]", "[SEP]", "when", "did", "ships", "tea", "1610", "16", "##10", "emile", "e", "##mile", "100", "degrees", "water", "boils", "at", ".", "?", "in", "is", "it",
	}, "\n")), true)
	if err != nil {
		t.Fatal(err)
	}
	all, err := SpanFeatures(k, questions, 20, 4)
	if err != nil {
		t.Fatal(err)
	}
	found := make([]int, len(questions))
	for _, f := range all {
		q := questions[f.Question]
		if f.Start == 0 && f.End == 0 {
			continue
		}
		found[f.Question]++
		a := q.Answers[0]
		if got := q.Context[f.Offsets[f.Start].Start:f.Offsets[f.End].End]; got != a.Text || f.Sources[f.Start] != 1 {
			t.Errorf("%s: %q, want %q", q.ID, got, a.Text)
		}
	}
	for i, n := range found {
		if n == 0 {
			t.Errorf("%s: its answer is in none of %d windows", questions[i].ID, len(all))
		}
	}
	if _, err := SpanFeatures(k, questions, 10, 8); err == nil {
		t.Error("no room for the context, and no error")
	}
}

func FuzzParseSQuAD(f *testing.F) {
	b, err := os.ReadFile("testdata/squad.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseSQuAD(b)
		if err != nil {
			return
		}
		for _, q := range all {
			for _, a := range q.Answers {
				if q.Context[a.Start:a.Start+len(a.Text)] != a.Text {
					t.Fatalf("%q at %d of %q", a.Text, a.Start, q.Context)
				}
			}
		}
	})
}
