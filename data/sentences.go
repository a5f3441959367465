package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sentenceTask is how a task's files are called and read; of several names the
// first that is there counts.
type sentenceTask struct {
	classes     int // 0: scores
	read        func(path string) ([]Sentence, error)
	train, test []string
}

var sentenceTasks = map[string]sentenceTask{
	// The labels of GLUE's test part are not public: its dev part is the test.
	"sst2": {2, ReadSST2, []string{"train.tsv", "sst2-train.tsv"}, []string{"dev.tsv", "sst2-glue-dev.tsv"}},
	"stsb": {
		0, ReadSTSB, []string{"train.tsv", "sts-train.csv", "stsb-train.csv"},
		[]string{"sts-test.csv", "stsb-test.csv", "dev.tsv", "sts-dev.csv", "stsb-dev.csv"},
	},
	"mrpc": {
		2, ReadMRPC, []string{"msr_paraphrase_train.txt", "train.tsv"},
		[]string{"msr_paraphrase_test.txt", "test.tsv", "dev.tsv"},
	},
}

// SentenceTasks are the names that ReadSentences knows, sorted.
func SentenceTasks() []string {
	var names []string
	for n := range sentenceTasks {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Sentences are the parts of a task.
type Sentences struct {
	Task        string
	Classes     int // 0: scores
	Train, Test []Sentence
	TestFile    string
}

// ReadSentences reads a task's parts from the folder of its files, each under
// its usual name; a part that is missing is empty. The path of one file makes
// that the test part.
func ReadSentences(task, path string) (Sentences, error) {
	t, ok := sentenceTasks[task]
	if !ok {
		return Sentences{}, fmt.Errorf("data: task %q, want %s", task, strings.Join(SentenceTasks(), ", "))
	}
	s := Sentences{Task: task, Classes: t.classes}
	info, err := os.Stat(path)
	if err != nil {
		return s, fmt.Errorf("data: %s: %w", task, err)
	}
	if !info.IsDir() {
		s.TestFile = path
		s.Test, err = t.read(path)
		return s, err
	}
	if _, s.Train, err = t.part(path, t.train); err != nil {
		return s, err
	}
	if s.TestFile, s.Test, err = t.part(path, t.test); err != nil {
		return s, err
	}
	if s.Train == nil && s.Test == nil {
		return s, fmt.Errorf("data: %s: %s has none of %s", task, path, strings.Join(append(slices.Clone(t.train), t.test...), ", "))
	}
	return s, nil
}

// part reads the first of a part's files that is there.
func (t sentenceTask) part(dir string, names []string) (path string, s []Sentence, err error) {
	for _, n := range names {
		path = filepath.Join(dir, n)
		if _, err := os.Stat(path); err == nil {
			s, err = t.read(path)
			return path, s, err
		} else if !errors.Is(err, fs.ErrNotExist) {
			return path, nil, fmt.Errorf("data: %w", err)
		}
	}
	return "", nil, nil
}
