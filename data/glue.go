package data

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Sentence is one labelled text or pair of texts.
type Sentence struct {
	A, B  string  // B is "" where the task has one text
	Label int32   // a class, of SST-2 and MRPC
	Score float32 // similarity 0..5, of STS-B
}

// The bounds of a table of text.
const (
	maxLineBytes = 1 << 20
	maxLines     = 16 << 20
)

// eachLine calls f with each line of a file and its number from 1. An error of
// f is returned with path and number.
func eachLine(path string, f func(n int, line string) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLineBytes)
	n := 0
	for lines.Scan() {
		if n++; n > maxLines {
			return fmt.Errorf("%s: more than %d lines", path, maxLines)
		}
		if err := f(n, lines.Text()); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", path, n+1, err)
	}
	return nil
}

// table reads tab-separated columns by their names in the first line. Where
// that line has none of the names, and fixed is not nil, columns are taken by
// these numbers and the first line is data. Quotes have no meaning.
func table(path string, names []string, fixed []int, row func(fields []string) error) error {
	var at []int
	picked := make([]string, len(names))
	return eachLine(path, func(n int, line string) error {
		fields := strings.Split(strings.TrimSuffix(line, "\r"), "\t")
		if n == 1 {
			fields[0] = strings.TrimPrefix(fields[0], "\ufeff")
			for _, name := range names {
				if i := slices.Index(fields, name); i >= 0 {
					at = append(at, i)
				}
			}
			switch {
			case len(at) == len(names):
				return nil
			case len(at) > 0 || fixed == nil:
				return fmt.Errorf("the columns are %q, want %q", fields, names)
			}
			at = fixed
		}
		if len(fields) <= slices.Max(at) {
			return fmt.Errorf("%d columns, want at least %d", len(fields), slices.Max(at)+1)
		}
		for i, k := range at {
			picked[i] = fields[k]
		}
		return row(picked)
	})
}

// class reads a label below n.
func class(s string, n int) (int32, error) {
	k, err := strconv.Atoi(s)
	if err != nil || k < 0 || k >= n {
		return 0, fmt.Errorf("label %q, want 0..%d", s, n-1)
	}
	return int32(k), nil
}

// read gathers the rows of a task.
func readSentences(task, path string, names []string, fixed []int, row func(f []string) (Sentence, error)) ([]Sentence, error) {
	var all []Sentence
	err := table(path, names, fixed, func(f []string) error {
		s, err := row(f)
		all = append(all, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", task, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("data: %s: %s has no examples", task, path)
	}
	return all, nil
}

// ReadSST2 reads a file of the Stanford Sentiment Treebank in GLUE's form: the
// columns sentence and label (0 negative, 1 positive).
func ReadSST2(path string) ([]Sentence, error) {
	return readSentences("sst2", path, []string{"sentence", "label"}, nil, func(f []string) (Sentence, error) {
		y, err := class(f[1], 2)
		return Sentence{A: f[0], Label: y}, err
	})
}

// ReadSTSB reads a file of the STS benchmark: seven or more columns without
// names (genre, file, year, number, score, two sentences), or GLUE's with the
// columns score, sentence1 and sentence2.
func ReadSTSB(path string) ([]Sentence, error) {
	names := []string{"score", "sentence1", "sentence2"}
	return readSentences("stsb", path, names, []int{4, 5, 6}, func(f []string) (Sentence, error) {
		v, err := strconv.ParseFloat(f[0], 32)
		if err != nil || math.IsNaN(v) || v < 0 || v > 5 {
			return Sentence{}, fmt.Errorf("score %q, want 0..5", f[0])
		}
		return Sentence{A: f[1], B: f[2], Score: float32(v)}, nil
	})
}

// ReadMRPC reads a file of the Microsoft paraphrase corpus: the columns
// Quality (1 for a paraphrase), #1 String and #2 String.
func ReadMRPC(path string) ([]Sentence, error) {
	return readSentences("mrpc", path, []string{"Quality", "#1 String", "#2 String"}, nil, func(f []string) (Sentence, error) {
		y, err := class(f[0], 2)
		return Sentence{A: f[1], B: f[2], Label: y}, err
	})
}
