package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/load"
	"lowbit/model"
	"lowbit/train"
)

// encoderBatch and encoderEpochs are what encoders are trained with by default.
const encoderBatch, encoderEpochs = 32, 3

// byModel sets the default of --batch by the network.
func byModel(cmd *cobra.Command, m modelFlags, batch *int) {
	if load.IsEncoder(m.model) && !cmd.Flags().Changed("batch") {
		*batch = encoderBatch
	}
}

// openFor reads the data that a network learns from: images, or sentences for an
// encoder, which gets a new classifier if newHead is set and it has none.
func (d *dataFlags) openFor(a *app, m modelFlags, batch int, newHead bool) (sets, error) {
	if !load.IsEncoder(m.model) {
		return d.open(a)
	}
	if d.limit < 0 || d.trainLimit < 0 || batch < 1 {
		return sets{}, usagef("--limit %d, --train-limit %d, --batch %d: want 0, 0 and 1 or more", d.limit, d.trainLimit, batch)
	}
	kind, path, ok := strings.Cut(d.data, ":")
	if !ok || path == "" || kind != "sst2" && kind != "mrpc" {
		return sets{}, usagef("data %q: an encoder learns from sst2:PATH or mrpc:PATH", d.data)
	}
	parts, err := data.ReadSentences(kind, path)
	if err != nil {
		return sets{}, err
	}
	n, err := load.OpenEncoder(m.model)
	if err != nil {
		return sets{}, err
	}
	if !newHead && n.Config.Head != model.BertClassify {
		return sets{}, fmt.Errorf("%s gives %s, want %d classes: lowbit train --model %s --data %s puts a classifier on it, then name that run",
			m.model, n.Gives(), parts.Classes, m.model, d.data)
	}
	if n, err = n.Classifier(parts.Classes, a.seed); err != nil {
		return sets{}, err
	}
	s := sets{encoder: n, report: data.Report{Name: kind, Path: path}}
	text := func(what string, all []data.Sentence, limit int) (*train.Sentences, error) {
		if limit > 0 {
			all = all[:min(limit, len(all))]
		}
		if len(all) == 0 {
			return nil, nil
		}
		t := &train.Sentences{Name: kind + " " + what, Classes: parts.Classes, Longest: n.Config.Positions, Batch: batch}
		for _, x := range all {
			t.Labels = append(t.Labels, x.Label)
		}
		var err error
		t.Texts, err = eval.EncodeSentences(n.Tokenizer, n.MaxTokens, all)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return t, t.Validate()
	}
	if s.text, err = text("train", parts.Train, d.trainLimit); err != nil || s.text == nil {
		return s, err
	}
	s.text.Test, err = text("test", parts.Test, d.limit)
	return s, err
}

// network loads a network: the encoder that the sentences were read for, or any
// other.
func (m *modelFlags) network(s sets) (*load.Loaded, error) {
	n := s.encoder
	if n == nil || m.model != n.Spec || m.weights != "" {
		return m.load(s.train)
	}
	l := &load.Loaded{Spec: n.Spec, Graph: n.Run, Store: n.Store, Weights: n.Source, Record: n.Record}
	if l.Graph != nil {
		return l, nil
	}
	err := s.needs(true, false) // its texts say how long the network's are
	if err == nil {
		l.Graph, err = n.Graph(1, s.text.Greatest())
	}
	return l, err
}

// examples is the number of training examples.
func (s sets) examples() int {
	switch {
	case s.text != nil:
		return s.text.Len()
	case s.train != nil:
		return s.train.Len()
	}
	return 0
}

// put gives a job the training and the test part.
func (s sets) put(j *train.Job) {
	if s.encoder != nil {
		if s.text != nil { // a nil *Sentences would be a Source
			j.Source = s.text
		}
		return
	}
	if j.Train = s.train; s.test.Len() > 0 {
		j.Test = s.test
	}
}

// look sets what a recipe needs to know of images.
func (s sets) look(c *train.Config, info model.Info) {
	if s.train != nil {
		c.Augment, c.Norm = augment(s.train), normalization(info, s.train)
	}
}

// keep makes a run directory of an encoder a model by itself.
func (s sets) keep(dir string) error {
	if s.encoder == nil || dir == "" {
		return nil
	}
	return s.encoder.Keep(dir)
}
