package train

import (
	"errors"
	"fmt"
	"io"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/tensor"
)

// HoldOut returns the job with n examples of its training part as the test
// part, and the first limit of the others, or all if it is 0, to train on. The
// draw is that of Config.HoldOut with the seed.
func (j Job) HoldOut(n int, seed uint64, limit int) (Job, error) {
	if j.Source != nil {
		kept, held, err := holdOut(j.Source, n, seed)
		if err != nil {
			return j, err
		}
		if d, ok := kept.(Divisible); ok {
			kept = d.Limit(limit)
		}
		j.Source = judged{kept, held}
		return j, nil
	}
	if j.Train == nil {
		return j, errors.New("train: the job has no training data")
	}
	kept, held, err := j.Train.HoldOut(n, seed)
	if err != nil {
		return j, fmt.Errorf("train: %w", err)
	}
	if j.Train, j.Test = kept.Limit(limit), held; n == 0 {
		j.Test = nil
	}
	return j, nil
}

// Examples is the number of examples of the training part.
func (j Job) Examples() int {
	switch {
	case j.Source != nil:
		return j.Source.Len()
	case j.Train != nil:
		return j.Train.Len()
	}
	return 0
}

// DataID names the training data by what decides the examples, and the test
// data where they are not part of the same source.
func (j Job) DataID() (training, test string) {
	if j.Source != nil {
		name, sum := j.Source.Describe()
		return name + " " + sum[:min(16, len(sum))], ""
	}
	id := func(d *data.Dataset) string {
		if d == nil {
			return ""
		}
		return fmt.Sprintf("%s %s %d %s", d.Name, d.Split, d.Len(), labelsSHA(d)[:16])
	}
	return id(j.Train), id(j.Test)
}

// Batches returns the first n batches of a training with c, or all of an epoch
// if it has fewer: the network's inputs, and "labels".
func (j Job) Batches(c Config, n int) ([]engine.Inputs, error) {
	var err error
	if j.Source != nil {
		return j.sourceBatches(c, n)
	}
	if j.Train == nil {
		return nil, errors.New("train: the job has no training data")
	}
	ds := j.Train
	if c.HoldOut > 0 {
		if ds, _, err = ds.HoldOut(c.HoldOut, c.Seed); err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
	}
	loader, err := data.NewLoader(ds, data.LoaderConfig{
		Batch: min(c.Batch, ds.Len()), Seed: c.Seed, Shuffle: true, Augment: c.Augment, Norm: c.Norm, DropLast: c.DropLast, Epochs: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	defer loader.Close()
	var all []engine.Inputs
	for len(all) < n {
		b, err := loader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		all = append(all, engine.Inputs{"input": b.Images.Clone(), "labels": b.Labels.Clone()})
	}
	return all, nil
}

func (j Job) sourceBatches(c Config, n int) ([]engine.Inputs, error) {
	s, err := j.Source, error(nil)
	if c.HoldOut > 0 {
		if s, _, err = holdOut(s, c.HoldOut, c.Seed); err != nil {
			return nil, err
		}
	}
	f := newSourceFeed(s, min(c.Batch, s.Len()), c)
	var all []engine.Inputs
	for range min(n, f.Steps()) {
		b, err := f.Next()
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		g, err := graph.WithShape(j.Graph, len(b.Index), s.Length(b.Index))
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		logits := g.OutputNode("logits")
		if logits == nil {
			return nil, errors.New("train: the graph has no output \"logits\"")
		}
		in := engine.Inputs{"labels": tensor.New(tensor.I32, logits.Shape()[0])}
		for _, x := range g.Inputs() {
			in[x.Name()] = tensor.New(x.Type().DType, x.Shape()...)
		}
		if err := s.Fill(b.Index, func(name string) *tensor.Tensor { return in[name] }); err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		all = append(all, in)
	}
	return all, nil
}

// Evaluator makes what measures the job's network on its test part with a
// training's settings; nil if it has none.
func (j Job) Evaluator(c Config) (func() (eval.Result, error), error) {
	if j.Source != nil {
		f, err := j.Source.Evaluator(j.Engine, j.Graph, j.Store)
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		return f, nil
	}
	if j.Test == nil {
		return nil, nil
	}
	k, err := eval.NewClassifier(j.Engine, j.Graph, j.Store, c.resolved().EvalBatch)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	k.Norm = c.Norm
	return func() (eval.Result, error) { return k.Evaluate(j.Test) }, nil
}
