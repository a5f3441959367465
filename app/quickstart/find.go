package quickstart

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"lowbit/data"
	"lowbit/load"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// defaultModel is the network for a dataset, and augments how its training
// images are changed.
var (
	defaultModel = map[string]string{"cifar10": "resnet20", "fashion-mnist": "fmnist-cnn"}
	augments     = map[string]data.Augment{"cifar10": data.CIFARAugment, "fashion-mnist": {Pad: 2, Flip: true}}
)

// fetch finds the data: what is in the folder if it is whole, else what can be
// fetched, else the part that is there; then the next set.
func (s *session) fetch(ctx context.Context) error {
	names := []string{s.Data}
	if s.Data == "" {
		names = []string{"cifar10", "fashion-mnist"}
	}
	var tried []string
	for _, name := range names {
		r, err := s.find(ctx, name)
		if ctx.Err() != nil {
			return fmt.Errorf("quickstart: %s: %w; the same command goes on with the download", name, train.ErrInterrupted)
		}
		if err == nil {
			s.train, s.test = s.train.Limit(s.TrainLimit), s.test.Limit(s.Limit)
			s.result.Data = name
			s.say("Data: %s, %d training and %d test images, from %s.", name, s.train.Len(), s.test.Len(), r.Path)
			return nil
		}
		tried = append(tried, failures(name, r, err)...)
	}
	return fmt.Errorf("quickstart: no data. Tried:\n%s\nPut the files of %s (in any form that is known, such as cifar-10-binary.tar.gz) into %s, or name another folder with --data-dir or $LOWBIT_DATA",
		strings.Join(tried, "\n"), names[0], filepath.Join(s.DataDir, names[0]))
}

// failures lists what was tried for a set.
func failures(name string, r data.Report, err error) []string {
	var lines []string
	for _, a := range r.Attempts {
		if a.Failure != "" {
			lines = append(lines, fmt.Sprintf("  %s, %s: %s", name, a.Source, a.Failure))
		}
	}
	if len(lines) == 0 {
		lines = append(lines, fmt.Sprintf("  %s: %v", name, err))
	}
	return lines
}

// find opens a set, fetching it if needed.
func (s *session) find(ctx context.Context, name string) (data.Report, error) {
	tr, te, here, err := data.Open(name, s.DataDir)
	if err == nil && !here.Complete() && slices.Contains(data.Names(), name) || errors.Is(err, data.ErrNotFound) {
		s.say("Fetching %s.", name)
		got, getErr := data.Get(ctx, name, s.DataDir, s.Fetching)
		switch {
		case getErr == nil:
			tr, te, here, err = data.Open(name, s.DataDir)
		case err != nil:
			return got, getErr
		default:
			s.say("The rest of %s cannot be fetched; what is there is used: %d of %d training images.", name, here.Train.Found, here.Train.Want)
		}
	}
	if err != nil {
		return here, err
	}
	if tr.Len() == 0 || te.Len() == 0 {
		return here, fmt.Errorf("%s has %d training and %d test images, want some of both", here.Path, tr.Len(), te.Len())
	}
	s.train, s.test = tr, te
	return here, nil
}

// load loads the trained network. Where no weights come with a network that
// trains in a minute, it is trained.
func (s *session) load(ctx context.Context) (*load.Loaded, error) {
	l, err := load.Model(s.Model, load.Options{Weights: s.Weights})
	if errors.Is(err, load.ErrNoWeights) && s.train.Name == "fashion-mnist" {
		if l, err = s.pretrain(ctx); err != nil {
			return nil, fmt.Errorf("quickstart: %w", err)
		}
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("quickstart: %w", err)
	}
	in := l.Info.InputShape
	if want := []int{s.train.Channels, s.train.Height, s.train.Width}; !slices.Equal(in, want) {
		return nil, fmt.Errorf("quickstart: %s takes images %v, %s has %v", s.Model, in, s.train.Name, want)
	}
	s.base.Norm = data.Normalization{Mean: l.Info.Mean, Std: l.Info.Std}
	s.say("Network: %s, trained in float32 (weights: %s).", s.Model, l.Weights)
	return l, nil
}

// pretrain trains the network in float32 for a few epochs.
func (s *session) pretrain(ctx context.Context) (*load.Loaded, error) {
	const epochs = 4
	info, _ := model.Lookup(s.Model)
	g, err := model.Build(s.Model, model.Config{})
	if err != nil {
		return nil, err
	}
	s.say("Network: %s. No weights come with it: training it in float32 for %d epochs.", s.Model, epochs)
	c := s.base
	c.Epochs = epochs
	c.Norm = data.Normalization{Mean: info.Mean, Std: info.Std}
	c.Schedule = optim.Schedule{Kind: optim.OneCycle, LR: 0.1}
	j := s.Job
	j.Engine, j.Graph, j.Store, j.Train, j.Test = s.e, g, tensor.NewStore(), s.train, s.test
	j.Out, j.Force, j.Model, j.Method = filepath.Join(s.Out, "fp32"), s.Force, s.Model, "train"
	j.Progress = s.Progress("train " + s.Model)
	if _, err := train.Run(ctx, c, j); err != nil {
		return nil, err
	}
	s.base.Norm = c.Norm
	return &load.Loaded{Spec: s.Model, Graph: g, Store: j.Store, Info: info, Weights: j.Out}, nil
}
