package alps

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// Trainer does trials: short trainings from one checkpoint at other widths. It
// implements mixed.TrialRunner.
type Trainer struct {
	Config
	// Base decides what Config.LSQ does not: batch, augmentation, the seed of
	// the held-out part.
	Base train.Config
	// Job has Engine, Graph and Store of the trained network, whose quantizers
	// give the steps to go on from, the training data, the teacher if Config.LSQ
	// distils, and what goes into run records. Its Out, Test and hooks are not
	// used. Nothing of it changes.
	Job train.Job
}

// Trial implements mixed.TrialRunner.
func (t *Trainer) Trial(ctx context.Context, trial mixed.Trial, dir string) (mixed.Metrics, error) {
	began := time.Now()
	kept, held, err := t.split()
	if err != nil {
		return mixed.Metrics{}, err
	}
	base := t.Base
	base.Seed, base.HoldOut, base.EvalEvery, base.Best = trial.Seed, 0, 0, false
	job := t.Job
	job.Train, job.Test, job.Hooks = kept, nil, train.Hooks{}
	job.Out, job.Resume, job.Force = dir, true, false
	c := t.LSQ
	c.Bits = trial.Plan
	if c.Distill == 0 {
		job.Teacher = nil
	}
	job, r, err := Train(ctx, base, job, c)
	if err != nil {
		return mixed.Metrics{}, err
	}
	m := mixed.Metrics{TrainAccuracy: r.TrainAccuracy, TrainLoss: r.TrainLoss}
	if held.Len() > 0 {
		classifier, err := eval.NewClassifier(job.Engine, job.Graph, job.Store, base.Batch)
		if err != nil {
			return m, fmt.Errorf("alps: %w", err)
		}
		classifier.Norm = base.Norm
		res, err := classifier.Evaluate(held)
		if err != nil {
			return m, fmt.Errorf("alps: %w", err)
		}
		m.HeldOutAccuracy, m.HeldOutLoss = res.Accuracy, res.Loss
	}
	m.Seconds = time.Since(began).Seconds()
	return m, nil
}

// split returns the part to train on and the part to measure.
func (t *Trainer) split() (kept, held *data.Dataset, err error) {
	if t.Job.Train == nil {
		return nil, nil, fmt.Errorf("alps: the job has no training data")
	}
	kept, held, err = t.Job.Train.HoldOut(t.HoldOut, t.Base.Seed)
	if err != nil {
		return nil, nil, fmt.Errorf("alps: %w", err)
	}
	return kept.Limit(t.Limit), held, nil
}

// Train gives the job's trained network the widths of c.Bits (see Requantize)
// and trains it as c says; base decides the rest. It returns the job with the
// new network, whose parameters stand in its own store: the given one stays as
// it is. Errors as train.Run's.
func Train(ctx context.Context, base train.Config, job train.Job, c lsq.Config) (train.Job, train.Result, error) {
	var err error
	if job.Graph, job.Store, err = Requantize(base, job, c); err != nil {
		return job, train.Result{}, err
	}
	r, err := train.Run(ctx, c.Recipe(base), job)
	return job, r, err
}

// Requantize returns the job's trained network with the widths of c.Bits, and a
// copy of its store for it: weights and the steps of unchanged quantizers are
// the trained ones, other steps start as c.Start says, from the first training
// batches. The job's graph may be without quantizers; then all steps are new.
func Requantize(base train.Config, job train.Job, c lsq.Config) (*graph.Graph, *tensor.Store, error) {
	float, err := mixed.Float(job.Graph)
	if err != nil {
		return nil, nil, fmt.Errorf("alps: %w", err)
	}
	g, err := lsq.Insert(float, c.Quantizers)
	if err != nil {
		return nil, nil, fmt.Errorf("alps: %w", err)
	}
	images, err := lsq.FirstBatches(base, job, c.Start.Batches)
	if err != nil {
		return nil, nil, fmt.Errorf("alps: %w", err)
	}
	store := job.Store.Clone()
	rules := mixed.StartRules{Weights: c.Start.Weights, Activations: c.Start.Activations}
	if _, err := mixed.Restep(job.Engine, job.Graph, g, store, images, rules); err != nil {
		return nil, nil, fmt.Errorf("alps: %w", err)
	}
	return g, store, nil
}

// identity is what decides a trial's metrics besides the trial. The metric that
// is looked at is none of it.
type identity struct {
	Network    string       `json:"network"`
	Checkpoint string       `json:"checkpoint"`
	Data       string       `json:"data"`
	LSQ        lsq.Config   `json:"lsq"`
	Base       train.Config `json:"base"`
	HoldOut    int          `json:"hold_out"`
	Limit      int          `json:"limit"`
	Teacher    string       `json:"teacher,omitempty"`
}

// Identity implements mixed.TrialRunner.
func (t *Trainer) Identity() any {
	id := identity{
		Checkpoint: mixed.Checksum(t.Job.Store), Data: DataID(t.Job.Train),
		LSQ: t.LSQ, Base: t.Base, HoldOut: t.HoldOut, Limit: t.Limit,
	}
	id.LSQ.Bits = quant.BitPlan{}
	if n, err := mixed.Link(t.Job.Graph, mixed.Options{}); err == nil {
		id.Network = n.Fingerprint
	}
	if t.Job.Teacher != nil && t.LSQ.Distill > 0 {
		id.Teacher = mixed.Checksum(t.Job.Teacher.Store)
	}
	return id
}

// DataID names a dataset by name, part, length and labels.
func DataID(d *data.Dataset) string {
	if d == nil {
		return ""
	}
	h := sha256.New()
	for i := range d.Len() {
		y := d.Label(i)
		h.Write([]byte{byte(y), byte(y >> 8), byte(y >> 16), byte(y >> 24)})
	}
	return fmt.Sprintf("%s %s %d %s", d.Name, d.Split, d.Len(), hex.EncodeToString(h.Sum(nil)[:8]))
}
