package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/load"
	"lowbit/model"
	"lowbit/train"
)

// modelFlags name a network.
type modelFlags struct {
	model, weights string
	width          float64
}

func (m *modelFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.model, "model", "", "zoo name, run directory or weights file")
	m.addWeights(cmd)
}

func (m *modelFlags) addWeights(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.weights, "weights", "", "weights file (.safetensors, .pth, .pt, .th) to put onto the network")
	cmd.Flags().Float64Var(&m.width, "width", 0, "factor on all channel numbers of a zoo network")
}

// check finds names that are wrong on any machine.
func (m *modelFlags) check() error {
	if m.model == "" {
		return usagef("no model: --model NAME or --model PATH")
	}
	if _, ok := model.Lookup(m.model); ok {
		return nil
	}
	if _, err := os.Stat(m.model); errors.Is(err, fs.ErrNotExist) {
		near := didYouMean(m.model, model.Names())
		if near == "" {
			near = "; the zoo has " + strings.Join(model.Names(), ", ")
		}
		return usagef("model %q is neither in the zoo nor a file%s", m.model, near)
	}
	return nil
}

// config is the zoo network's config for images of a dataset, which may be nil.
func (m *modelFlags) config(ds *data.Dataset) model.Config {
	c := model.Config{Width: m.width}
	info, ok := model.Lookup(m.model)
	if !ok || ds == nil {
		return c
	}
	if shape := []int{ds.Channels, ds.Height, ds.Width}; !slices.Equal(shape, info.InputShape) {
		c.InputShape = shape
	}
	if len(ds.Classes) > 0 && len(ds.Classes) != info.Classes {
		c.Classes = len(ds.Classes)
	}
	return c
}

// load loads the network with its weights.
func (m *modelFlags) load(ds *data.Dataset) (*load.Loaded, error) {
	return load.Model(m.model, load.Options{Weights: m.weights, Config: m.config(ds)})
}

// dataFlags name a dataset and how much of it is used.
type dataFlags struct {
	data              string
	limit, trainLimit int
}

func (d *dataFlags) add(cmd *cobra.Command, training bool) {
	f := cmd.Flags()
	f.StringVar(&d.data, "data", "", "data set: "+strings.Join(data.Names(), ", ")+" or imagefolder:PATH; encoders: sst2:PATH, mrpc:PATH")
	f.IntVar(&d.limit, "limit", 0, "use the first N test examples; 0: all")
	if training {
		f.IntVar(&d.trainLimit, "train-limit", 0, "use the first N training examples; 0: all")
	}
}

// sets are the parts of a dataset: images, or sentences and the encoder that
// they are for.
type sets struct {
	train, test *data.Dataset
	report      data.Report

	encoder *load.Encoder
	text    *train.Sentences
}

// open reads the dataset; a missing part is told on stderr.
func (d *dataFlags) open(a *app) (s sets, err error) {
	if d.limit < 0 || d.trainLimit < 0 {
		return s, usagef("--limit %d, --train-limit %d: want 0 or more", d.limit, d.trainLimit)
	}
	kind, _, isPath := strings.Cut(d.data, ":")
	switch {
	case d.data == "":
		return s, usagef("no data set: --data NAME")
	case isPath && kind != "imagefolder":
		return s, usagef("data %q: unknown kind %q, want imagefolder:PATH", d.data, kind)
	case !isPath && !slices.Contains(data.Names(), d.data):
		return s, usagef("data set %q is unknown, have %s and imagefolder:PATH%s", d.data, strings.Join(data.Names(), ", "), didYouMean(d.data, data.Names()))
	}
	dir, err := a.dataFolder()
	if err != nil {
		return s, err
	}
	s.train, s.test, s.report, err = data.Open(d.data, dir)
	if errors.Is(err, data.ErrNotFound) {
		return s, fmt.Errorf("%w\nFetch it with: lowbit data get %s", err, d.data)
	}
	if err != nil {
		return s, err
	}
	for i, p := range []data.Found{s.report.Train, s.report.Test} {
		if p.Found < p.Want {
			a.warn(fmt.Sprintf("%s, %s: %s of %s examples found", d.data, [2]string{"train", "test"}[i], thousands(int64(p.Found)), thousands(int64(p.Want))))
		}
	}
	s.train, s.test = s.train.Limit(d.trainLimit), s.test.Limit(d.limit)
	return s, nil
}

// needs demands parts that are not empty.
func (s sets) needs(training, test bool) error {
	if s.encoder != nil {
		switch {
		case training && s.text == nil:
			return fmt.Errorf("data %s in %s has no training examples", s.report.Name, s.report.Path)
		case test && (s.text == nil || s.text.Test == nil):
			return fmt.Errorf("data %s in %s has no test examples", s.report.Name, s.report.Path)
		}
		return nil
	}
	if training && s.train.Len() == 0 {
		return fmt.Errorf("data %s in %s has no training examples", s.report.Name, s.report.Path)
	}
	if test && s.test.Len() == 0 {
		return fmt.Errorf("data %s in %s has no test examples", s.report.Name, s.report.Path)
	}
	return nil
}

// dataFolder returns the folder of data sets.
func (a *app) dataFolder() (string, error) {
	if a.dataDir != "" {
		return a.dataDir, nil
	}
	if d := os.Getenv("LOWBIT_DATA"); d != "" {
		return d, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for data sets: %w; name one with --data-dir or $LOWBIT_DATA", err)
	}
	return filepath.Join(cache, "lowbit"), nil
}

// normalization is the network's if it fits the images, else the dataset's.
func normalization(info model.Info, ds *data.Dataset) data.Normalization {
	if len(info.Mean) == ds.Channels && len(info.Std) == ds.Channels {
		return data.Normalization{Mean: info.Mean, Std: info.Std}
	}
	return ds.Normalize
}

// augment is the usual change of training images of a dataset.
func augment(ds *data.Dataset) data.Augment {
	switch ds.Name {
	case "cifar10":
		return data.CIFARAugment
	case "fashion-mnist":
		return data.Augment{Pad: 2, Flip: true}
	}
	return data.Augment{}
}

// runDir returns the run directory: --out, or a free name below runs/.
func (a *app) runDir(name string, resume bool) (string, error) {
	if a.out != "" {
		return a.out, nil
	}
	if resume {
		return "", usagef("--resume needs --out RUN: the run to go on with")
	}
	base := filepath.Join("runs", name)
	if a.force {
		return base, nil
	}
	dir := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return dir, nil
		} else if err != nil {
			return "", err
		}
		dir = fmt.Sprintf("%s-%d", base, i)
	}
}

// shortName makes a model's name fit for a folder.
func shortName(spec string) string {
	s := filepath.Base(filepath.Clean(spec))
	return strings.TrimSuffix(s, filepath.Ext(s))
}

// command is what run.json keeps of this call.
func (a *app) command() []string { return append([]string{"lowbit"}, a.args...) }

// describe puts what run.json keeps beside the config into a job.
func (a *app) describe(j *train.Job, modelName string) {
	j.Model, j.Command, j.Kernel = modelName, a.command(), engine.KernelRow()
	j.Versions = map[string]string{"lowbit": Version}
	j.Force, j.Warn = a.force, a.warn
}

// hint explains a training error that the user can act on.
func hint(err error, dir string) error {
	switch {
	case errors.Is(err, train.ErrExists):
		return fmt.Errorf("%w\n--force starts over in %s, --resume goes on with its run", err, dir)
	case errors.Is(err, train.ErrInterrupted):
		return fmt.Errorf("%w\nGo on with the same command and --resume --out %s", err, dir)
	}
	return err
}

// wait runs work that cannot be stopped and returns early, with an interrupt,
// when the context ends: the process is about to exit.
func wait[T any](ctx context.Context, work func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := work()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var zero T
		return zero, fmt.Errorf("%w: %w", train.ErrInterrupted, context.Cause(ctx))
	}
}
