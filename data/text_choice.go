package data

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Choice is one multiple-choice question. A language model answers with the
// ending whose log-likelihood after the context is highest.
type Choice struct {
	Context string
	Endings []string // each begins with the space that follows the context
	Answer  int      // index in Endings
}

// choiceFormats read one line of a file.
var choiceFormats = map[string]func(line []byte) (Choice, error){
	"hellaswag": hellaSwag, "arc": arc, "piqa": piqa,
}

// ReadChoices reads a file with one JSON object a line, in the format
// "hellaswag", "arc" or "piqa" as these sets are published. Labels of PIQA may
// stand in a file beside it, one a line, with the ending .lst instead of
// .jsonl, or -labels.lst.
func ReadChoices(path, format string) ([]Choice, error) {
	read := choiceFormats[format]
	if read == nil {
		return nil, fmt.Errorf("data: multiple-choice format %q, want hellaswag, arc or piqa", format)
	}
	var labels []string
	if format == "piqa" {
		labels = labelsBeside(path)
	}
	var all []Choice
	err := eachLine(path, func(n int, line string) error {
		if strings.TrimSpace(line) == "" {
			return nil
		}
		c, err := read([]byte(line))
		if err != nil {
			return err
		}
		if c.Answer == noAnswer && len(all) < len(labels) {
			if c.Answer, err = strconv.Atoi(strings.TrimSpace(labels[len(all)])); err != nil {
				return fmt.Errorf("label: %w", err)
			}
		}
		if len(c.Endings) < 2 || len(c.Endings) > 26 || c.Answer < 0 || c.Answer >= len(c.Endings) {
			return fmt.Errorf("%d endings with answer %d, want 2 to 26 and one of them", len(c.Endings), c.Answer)
		}
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", format, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("data: %s: %s has no questions", format, path)
	}
	return all, nil
}

const noAnswer = -1

// labelsBeside returns the lines of PIQA's file of labels, if there is one.
func labelsBeside(path string) []string {
	base := strings.TrimSuffix(path, ".jsonl")
	for _, p := range []string{base + "-labels.lst", base + ".lst"} {
		if b, err := os.ReadFile(p); err == nil && p != path {
			return strings.Split(strings.TrimSpace(string(b)), "\n")
		}
	}
	return nil
}

// number reads a label that is a number or a text of one.
func labelNumber(b json.RawMessage) (int, error) {
	s := strings.Trim(string(b), `"`)
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("label %q, want a number", s)
	}
	return n, nil
}

var brackets = regexp.MustCompile(`\[.*?\]`)

// wikiHow takes the marks out of HellaSwag's texts, as evaluations of language
// models do: titles become sentences, other brackets go.
func wikiHow(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), " [title]", ". ")
	return strings.ReplaceAll(brackets.ReplaceAllString(s, ""), "  ", " ")
}

func hellaSwag(line []byte) (Choice, error) {
	var q struct {
		Activity string `json:"activity_label"`
		A        string `json:"ctx_a"`
		B        string `json:"ctx_b"`
		Endings  []string
		Label    json.RawMessage
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return Choice{}, err
	}
	if r := []rune(q.B); len(r) > 0 {
		q.B = string(unicode.ToUpper(r[0])) + strings.ToLower(string(r[1:]))
	}
	n, err := labelNumber(q.Label)
	c := Choice{Context: wikiHow(q.Activity + ": " + q.A + " " + q.B), Answer: n}
	for _, e := range q.Endings {
		c.Endings = append(c.Endings, " "+wikiHow(e))
	}
	return c, err
}

func arc(line []byte) (Choice, error) {
	var q struct {
		Question json.RawMessage
		Choices  struct{ Text, Label []string }
		Key      string `json:"answerKey"`
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return Choice{}, err
	}
	var stem string
	if json.Unmarshal(q.Question, &stem) != nil { // as first published: all inside question
		var o struct {
			Stem    string
			Choices []struct{ Text, Label string }
		}
		if err := json.Unmarshal(q.Question, &o); err != nil {
			return Choice{}, fmt.Errorf("question: %w", err)
		}
		stem = o.Stem
		for _, c := range o.Choices {
			q.Choices.Text, q.Choices.Label = append(q.Choices.Text, c.Text), append(q.Choices.Label, c.Label)
		}
	}
	c := Choice{Context: "Question: " + stem + "\nAnswer:", Answer: noAnswer}
	if len(q.Choices.Label) != len(q.Choices.Text) {
		return c, fmt.Errorf("%d labels for %d choices", len(q.Choices.Label), len(q.Choices.Text))
	}
	for i, t := range q.Choices.Text {
		c.Endings = append(c.Endings, " "+t)
		if q.Choices.Label[i] == q.Key {
			c.Answer = i
		}
	}
	return c, nil
}

func piqa(line []byte) (Choice, error) {
	var q struct {
		Goal, Sol1, Sol2 string
		Label            json.RawMessage
	}
	if err := json.Unmarshal(line, &q); err != nil {
		return Choice{}, err
	}
	c := Choice{Context: "Question: " + q.Goal + "\nAnswer:", Endings: []string{" " + q.Sol1, " " + q.Sol2}, Answer: noAnswer}
	if q.Goal == "" || q.Sol1 == "" || q.Sol2 == "" {
		return c, fmt.Errorf("want goal, sol1 and sol2")
	}
	var err error
	if q.Label != nil {
		c.Answer, err = labelNumber(q.Label)
	}
	return c, err
}
