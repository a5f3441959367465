// Package pretrain trains a language model in full precision on text: a new one
// from random weights, or one that is there already.
package pretrain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"lowbit/eval"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/train"
)

// Config is the recipe: AdamW with decay of matrices alone, a rate that rises and
// falls as a cosine.
type Config struct {
	Epochs      int     `json:"epochs"`
	Batch       int     `json:"batch"` // windows a step
	Accumulate  int     `json:"accumulate"`
	LR          float64 `json:"lr"`
	Warmup      float64 `json:"warmup"` // share of all steps
	WeightDecay float64 `json:"weight_decay"`
	ClipNorm    float64 `json:"clip_norm"`
	Recompute   bool    `json:"recompute,omitempty"`
	BF16        bool    `json:"bf16,omitempty"`
}

// DefaultConfig is one pass in batches of 16 windows at a rate of 1e-3, which suits
// models of some million weights.
func DefaultConfig() Config {
	return Config{Epochs: 1, Batch: 16, Accumulate: 1, LR: 1e-3, Warmup: 0.05, WeightDecay: 0.1, ClipNorm: 1}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Epochs < 1 || c.Batch < 1:
		return fmt.Errorf("pretrain: %d epochs in batches of %d, want at least 1", c.Epochs, c.Batch)
	case c.Accumulate < 1 || c.Accumulate > c.Batch:
		return fmt.Errorf("pretrain: a batch of %d accumulated in %d parts: want 1 to %d", c.Batch, c.Accumulate, c.Batch)
	case !(c.LR > 0) || math.IsInf(c.LR, 0) || !(c.WeightDecay >= 0) || !(c.ClipNorm >= 0):
		return fmt.Errorf("pretrain: lr %g, weight decay %g, bound on gradients %g: want them positive", c.LR, c.WeightDecay, c.ClipNorm)
	case !(c.Warmup >= 0 && c.Warmup <= 1):
		return fmt.Errorf("pretrain: warm-up over %g of the steps, want 0 to 1", c.Warmup)
	}
	return nil
}

func (c Config) recipe(seed uint64, scored bool) train.Config {
	o := optim.DefaultConfig(optim.AdamW, c.WeightDecay)
	o.Beta2, o.ClipNorm = 0.95, c.ClipNorm
	return train.Config{
		Epochs: c.Epochs, Batch: c.Batch, Accumulate: c.Accumulate, Recompute: c.Recompute, BF16: c.BF16, DropLast: true, Seed: seed, Optim: o,
		Loss:     train.Loss{CrossEntropy: 1, Scored: scored},
		Schedule: optim.Schedule{Kind: optim.Cosine, LR: c.LR, Warmup: c.Warmup * float64(c.Epochs)},
	}
}

// Job is a language model to train. Train has the engine, the run directory and
// what goes into its record; the rest is filled in.
type Job struct {
	Model  *load.Language
	Config Config
	Train  train.Job
	Seed   uint64
	Text   *train.Windows
	// Test is measured on: TestWindows windows of TestLength tokens, 0 for all.
	Test                    []int32
	TestWindows, TestLength int
	// Stage is called as measurements go on; it may be nil.
	Stage func(stage string, done, of int)
}

// Outcome is the result of the verb: perplexity and loss are of the test part.
type Outcome struct {
	eval.LanguageResult
	Run             string  `json:"run"`
	Model           string  `json:"model"`
	StartPerplexity float64 `json:"start_perplexity"`
	Params          int64   `json:"params"`
	Epochs          int     `json:"epochs"`
	TrainLoss       float64 `json:"train_loss"`
	TrainTokens     int     `json:"train_tokens"`
	TrainSpeed      float64 `json:"train_tokens_per_s,omitempty"`
	Seconds         float64 `json:"seconds"`
	Complete        bool    `json:"complete"`
	Config          Config  `json:"config"`
}

// Run trains and measures. The run directory is a language model by itself: its
// tokenizer stands in it.
func Run(ctx context.Context, j Job) (Outcome, error) {
	o := Outcome{Run: j.Train.Out, Model: j.Model.Spec, Config: j.Config}
	if j.Model.Quantizers != nil {
		return o, fmt.Errorf("pretrain: %s is quantized; lowbit quantize trains those", j.Model.Spec)
	}
	if err := errors.Join(j.Config.Validate(), j.Text.Validate()); err != nil {
		return o, err
	}
	began := time.Now()
	start, err := j.measure(ctx, "perplexity, before")
	if err != nil {
		return o, err
	}
	o.StartPerplexity = start.Perplexity
	length := j.Text.Sets[0].Length
	job := j.Train
	packed := len(j.Text.Sets) > 1 || j.Text.Documents()
	if job.Graph, err = j.Model.Config.Graph(model.LlamaRun{Batch: 1, Seq: length, Packed: packed}); err != nil {
		return o, fmt.Errorf("pretrain: %w", err)
	}
	o.Params = graph.ParamCount(job.Graph)
	job.Store, job.Source, job.Method = j.Model.Store, j.Text, "train"
	job.Settings = load.LanguageSettings{Llama: j.Model.Config, Source: j.Model.Spec}
	r, err := train.Run(ctx, j.Config.recipe(j.Seed, j.Text.Scored()), job)
	o.Epochs, o.Complete, o.TrainLoss = r.Epochs, r.Complete, r.TrainLoss
	o.TrainTokens = r.Steps * j.Config.Batch * length
	if r.EngineSeconds > 0 {
		o.TrainSpeed = float64(o.TrainTokens) / r.EngineSeconds
	}
	o.Seconds = time.Since(began).Seconds()
	if err != nil {
		return o, fmt.Errorf("pretrain: %w", err)
	}
	if o.LanguageResult, err = j.measure(ctx, "perplexity, trained"); err != nil {
		return o, err
	}
	o.Seconds = time.Since(began).Seconds()
	if o.Run == "" {
		return o, nil
	}
	return o, j.Model.KeepTokenizer(o.Run)
}

func (j Job) measure(ctx context.Context, what string) (eval.LanguageResult, error) {
	c := eval.LanguageConfig{Length: j.TestLength, Windows: j.TestWindows}
	if j.Stage != nil {
		c.Progress = func(done, of int) { j.Stage(what, done, of) }
	}
	m := eval.Decoder{Store: j.Model.Store, Build: func(length int) (*graph.Graph, error) {
		return j.Model.Graph(model.LlamaRun{Batch: 1, Seq: length})
	}}
	r, err := eval.Perplexity(ctx, j.Train.Engine, m, j.Test, c)
	if err != nil {
		return r, fmt.Errorf("pretrain: %w", err)
	}
	return r, nil
}
