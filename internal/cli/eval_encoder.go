package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/load"
	"lowbit/model"
	"lowbit/text"
)

// encoderKinds are the kinds of data that an encoder reads.
const encoderKinds = "sst2:PATH, stsb:PATH, mrpc:PATH or squad:FILE"

// taskResult is the verb's result for a task of texts.
type taskResult struct {
	eval.Scores
	languageRun
	Weights string `json:"weights"`
	File    string `json:"file"`
}

// taskSpec cuts KIND:PATH.
func taskSpec(s string) (kind, path string, err error) {
	kind, path, ok := strings.Cut(s, ":")
	if !ok || path == "" || kind != "squad" && !slices.Contains(data.SentenceTasks(), kind) {
		return "", "", usagef("data %q: an encoder reads %s", s, encoderKinds)
	}
	return kind, path, nil
}

// encoder measures a BERT on a task.
func (v *evalFlags) encoder(a *app) error {
	kind, path, err := taskSpec(v.data.data)
	if err != nil {
		return err
	}
	if v.engine != "float" {
		return usagef("--engine %q: encoders run on the float engine", v.engine)
	}
	if v.data.limit < 0 {
		return usagef("--limit %d, want 0 or more", v.data.limit)
	}
	n, err := load.OpenEncoder(v.model.model)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	out := taskResult{Weights: n.Source, File: path}
	out.languageRun = languageRun{Model: v.model.model, Data: v.data.data, Engine: "float", Kernel: engine.KernelRow(), Threads: e.Threads()}
	p := a.progress()
	read := func(texts []text.Encoding) ([][]float32, error) {
		m := eval.Encoder{Build: n.Graph, Store: n.Store, Longest: n.Config.Positions}
		return eval.Outputs(a.ctx, e, m, texts, min(v.batch, encoderBatch), counted(p, v.model.model, "texts"))
	}
	if kind == "squad" {
		out.Scores, err = v.squad(n, path, read)
	} else {
		out.Scores, out.File, err = v.sentences(n, kind, path, read)
	}
	p.clear()
	if err != nil {
		return err
	}
	return a.print(out, true, func(w io.Writer) { taskText(w, out) })
}

func (v *evalFlags) sentences(n *load.Encoder, task, path string, read func([]text.Encoding) ([][]float32, error)) (s eval.Scores, file string, err error) {
	parts, err := data.ReadSentences(task, path)
	if err != nil {
		return s, "", err
	}
	all := parts.Test
	if len(all) == 0 {
		return s, "", fmt.Errorf("%s in %s has no test part", task, path)
	}
	if v.data.limit > 0 {
		all = all[:min(v.data.limit, len(all))]
	}
	if parts.Classes == 0 && n.Config.Head == model.BertSentence {
		values, err := eval.Similarities(n.Tokenizer, n.MaxTokens, all, read)
		if err != nil {
			return s, "", err
		}
		s, err = eval.SimilarityScores(values, all, v.metric)
		return s, parts.TestFile, err
	}
	if want := max(parts.Classes, 1); n.Config.Head != model.BertClassify || n.Config.Classes != want {
		return s, "", fmt.Errorf("%s has no classifier of %d outputs for %s, it gives %s: want a BertForSequenceClassification",
			n.Spec, want, task, n.Gives())
	}
	texts, err := eval.EncodeSentences(n.Tokenizer, n.MaxTokens, all)
	if err != nil {
		return s, "", err
	}
	logits, err := read(texts)
	if err != nil {
		return s, "", err
	}
	s, err = eval.SentenceScores(logits, parts.Task, all, v.metric)
	return s, parts.TestFile, err
}

// The windows of SQuAD, as Devlin et al. 2018 cut them.
const squadLength, squadStride = 384, 128

func (v *evalFlags) squad(n *load.Encoder, path string, read func([]text.Encoding) ([][]float32, error)) (s eval.Scores, err error) {
	if n.Config.Head != model.BertSpan {
		return s, fmt.Errorf("%s answers no questions: it gives %s, want a BertForQuestionAnswering", n.Spec, n.Gives())
	}
	questions, err := data.ReadSQuAD(path)
	if err != nil {
		return s, err
	}
	if v.data.limit > 0 {
		questions = questions[:min(v.data.limit, len(questions))]
	}
	features, err := data.SpanFeatures(n.Tokenizer, questions, min(squadLength, n.MaxTokens), squadStride)
	if err != nil {
		return s, err
	}
	texts := make([]text.Encoding, len(features))
	for i, f := range features {
		texts[i] = f.Encoding
	}
	logits, err := read(texts)
	if err != nil {
		return s, err
	}
	return eval.SpanScores(logits, features, questions, v.metric)
}

func taskText(w io.Writer, r taskResult) {
	for _, k := range slices.Sorted(maps.Keys(r.Values)) {
		fmt.Fprintf(w, "%-9s %.4f\n", k, r.Values[k])
	}
	fmt.Fprintf(w, "examples  %s of %s\nweights   %s\nengine    %s, %d threads (%s)\n",
		thousands(int64(r.Examples)), r.File, r.Weights, r.Engine, r.Threads, r.Kernel)
}
