package alps

import (
	"context"
	"fmt"
	"time"

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
	// memory is what all trials compute in, one after the other.
	memory train.Memory
}

// Trial implements mixed.TrialRunner.
func (t *Trainer) Trial(ctx context.Context, trial mixed.Trial, dir string) (mixed.Metrics, error) {
	began := time.Now()
	job, err := t.Job.HoldOut(t.HoldOut, t.Base.Seed, t.Limit)
	if err != nil {
		return mixed.Metrics{}, fmt.Errorf("alps: %w", err)
	}
	base := t.Base
	base.Seed, base.HoldOut, base.EvalEvery, base.Best = trial.Seed, 0, 0, false
	job.Hooks = train.Hooks{}
	job.Out, job.Resume, job.Force = dir, true, false
	// A trial that is killed within CheckpointSeconds is done again.
	job.Brief, job.Memory = true, &t.memory
	c := t.LSQ
	c.Bits = trial.Plan
	if c.Distill == 0 {
		job.Teacher = nil
	}
	_, r, err := Train(ctx, base, job, c)
	if err != nil {
		return mixed.Metrics{}, err
	}
	return mixed.Metrics{
		TrainAccuracy: r.TrainAccuracy, TrainLoss: r.TrainLoss, HeldOutAccuracy: r.Accuracy, HeldOutLoss: r.Loss,
		Seconds: time.Since(began).Seconds(),
	}, nil
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
	batches, err := job.Batches(base, c.Start.Batches)
	if err != nil {
		return nil, nil, fmt.Errorf("alps: %w", err)
	}
	store := job.Store.Clone()
	rules := mixed.StartRules{Weights: c.Start.Weights, Activations: c.Start.Activations}
	if _, err := mixed.Restep(job.Engine, job.Graph, g, store, batches, rules); err != nil {
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
	data, _ := t.Job.DataID()
	id := identity{
		Checkpoint: mixed.Checksum(t.Job.Store), Data: data,
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
