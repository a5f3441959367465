// Package faq is fine-tuning after quantization (McKinstry et al., 2018, arXiv
// 1809.04191v2): a trained network is calibrated once, quantized everywhere at
// once, and fine-tuned with fixed steps and a learning rate that ends very
// small. Its two analyses stand here, too: how noisy the gradients are
// (MeasureNoise) and how far the solution moved (Similarity).
package faq

import (
	"context"
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/train"
)

// Schedule names how the learning rate falls.
type Schedule string

// Schedules. Constant is the paper's for 8 bits, Exponential for fewer; Steps,
// its comparison, multiplies by 0.1 after each 3/11 of the epochs (30, 60 and 90
// of 110).
const (
	Constant    Schedule = "constant"
	Exponential Schedule = "exponential"
	Steps       Schedule = "step"
)

// The exponential schedule of the paper: so many epochs, each with this factor.
const (
	paperEpochs = 110
	paperGamma  = 0.936
)

// Config is FAQ's recipe.
type Config struct {
	// Bits of each layer; the first and last at 8 bits.
	Bits quant.BitPlan `json:"bits"`
	// Granularity of weight steps: PerTensor (the paper) or PerChannel.
	Granularity quant.Granularity `json:"granularity"`

	// Batches of training images for calibration; the paper: 5.
	Batches int `json:"batches"`
	// Percentile of an activation that becomes its range, zeros included; 0:
	// 99.99 for 8-bit grids, 99.9 below (the paper).
	Percentile float64 `json:"percentile,omitempty"`
	// ActPow2 rounds that range up to a power of two, so that steps are powers
	// of two; default true.
	ActPow2 bool `json:"act_pow2"`
	// Weights is the rule of weight steps. An empty Kind: the largest weight,
	// rounded up to a power of two, at 8 bits; a multiple of the standard
	// deviation below, the one of least squared error for a normal distribution
	// (the paper's multiple is not known).
	Weights quant.Rule `json:"weights"`

	// Epochs of fine-tuning. Default: 1 at 8 bits, 110 below.
	Epochs int `json:"epochs"`
	// LR is the first learning rate. Default: 1e-4 at 8 bits, 0.0015 below.
	LR float64 `json:"lr"`
	// Schedule of the learning rate. Exponential falls by 0.936^110 over all
	// epochs, whatever their number. Default: Constant at 8 bits.
	Schedule Schedule `json:"schedule"`
	// WeightDecay of weights alone. Default: 1e-4 at 8 bits, 0.5e-4 below
	// (ResNet-18; the paper takes 1e-4 for deeper networks).
	WeightDecay float64 `json:"weight_decay"`
	// FrozenNorm keeps the batch norms' statistics. Default: true at 8 bits,
	// where one epoch would blur them; the paper does not say.
	FrozenNorm bool `json:"frozen_norm,omitempty"`
}

// DefaultConfig is the paper's recipe for a bit plan.
func DefaultConfig(bits quant.BitPlan) Config {
	c := Config{
		Bits: bits, Batches: 5, ActPow2: true,
		Epochs: paperEpochs, LR: 0.0015, Schedule: Exponential, WeightDecay: 0.5e-4,
	}
	if w := bits.Default; w.Weight >= 8 || w.Weight == 0 {
		c.Epochs, c.LR, c.Schedule, c.WeightDecay, c.FrozenNorm = 1, 1e-4, Constant, 1e-4, true
	}
	return c
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	if err := c.quantizers().Validate(); err != nil {
		return fmt.Errorf("faq: %w", err)
	}
	if c.Weights.Kind != "" {
		if err := c.Weights.Validate(); err != nil {
			return fmt.Errorf("faq: weights: %w", err)
		}
	}
	switch {
	case c.Batches < 1:
		return fmt.Errorf("faq: %d calibration batches, want at least 1", c.Batches)
	case !(c.Percentile >= 0 && c.Percentile <= 100):
		return fmt.Errorf("faq: percentile %g outside [0, 100]", c.Percentile)
	case c.Epochs < 0:
		return fmt.Errorf("faq: epochs %d, want 0 or more", c.Epochs)
	case !(c.LR >= 0) || !(c.WeightDecay >= 0):
		return fmt.Errorf("faq: lr %g, weight decay %g: want none negative", c.LR, c.WeightDecay)
	}
	switch c.Schedule {
	case Constant, Exponential, Steps:
		return nil
	}
	return fmt.Errorf("faq: schedule %q, want constant, exponential or step", c.Schedule)
}

// quantizers are fixed: their steps have no gradient.
func (c Config) quantizers() lsq.Quantizers {
	q := lsq.DefaultQuantizers(c.Bits)
	q.Granularity, q.StepGrad = c.Granularity, graph.StepFrozen
	return q
}

// ActRule returns the rule of an activation's step on the grid s.
func (c Config) ActRule(s quant.Spec) quant.Rule {
	p := c.Percentile
	if p == 0 {
		p = 99.9
		if s.Bits >= 8 {
			p = 99.99
		}
	}
	return quant.Rule{Kind: quant.RulePercentile, Percentile: p, Pow2: c.ActPow2}
}

// sigmas is, by bits, the clip in standard deviations of least squared error on
// a normal distribution: the best step times Qp.
var sigmas = [...]float64{2: 1.05, 3: 1.81, 4: 2.37, 5: 2.83, 6: 3.23, 7: 3.58}

// WeightRule returns the rule of a weight's step on the grid s.
func (c Config) WeightRule(s quant.Spec) quant.Rule {
	if c.Weights.Kind != "" {
		return c.Weights
	}
	if s.Bits < len(sigmas) {
		return quant.Rule{Kind: quant.RuleSigma, Sigma: sigmas[s.Bits]}
	}
	return quant.Rule{Kind: quant.RuleMax, Pow2: true}
}

// Recipe returns base with everything that c decides: epochs, optimizer,
// schedule and batch norms.
func (c Config) Recipe(base train.Config) train.Config {
	base.Epochs = c.Epochs
	base.FrozenNorm = c.FrozenNorm
	base.Loss = train.Loss{CrossEntropy: 1}
	base.Optim = optim.DefaultConfig(optim.SGD, c.WeightDecay)
	base.Schedule = optim.Schedule{Kind: optim.Constant, LR: c.LR}
	epochs := max(c.Epochs, 1)
	switch c.Schedule {
	case Exponential:
		base.Schedule.Kind = optim.Exponential
		base.Schedule.Gamma = math.Pow(paperGamma, paperEpochs/float64(epochs))
	case Steps:
		base.Schedule.Kind, base.Schedule.Gamma = optim.Steps, 0.1
		for i := 1; i <= 3; i++ {
			m := int(math.Round(float64(epochs) * float64(i) * 3 / 11))
			if n := len(base.Schedule.Milestones); n == 0 || base.Schedule.Milestones[n-1] < m {
				base.Schedule.Milestones = append(base.Schedule.Milestones, m)
			}
		}
	}
	return base
}

// Prepare puts quantizers on the job's full-precision graph and sets their
// steps in the job's store: activations by the percentile of what flows through
// the full-precision network, in inference form, over the first training
// batches. It returns the quantized graph.
func (c Config) Prepare(base train.Config, job train.Job) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g, err := lsq.Insert(job.Graph, c.quantizers())
	if err != nil {
		return nil, fmt.Errorf("faq: %w", err)
	}
	batches, err := job.Batches(base, c.Batches)
	if err != nil {
		return nil, fmt.Errorf("faq: %w", err)
	}
	if err := graph.InitParams(g, job.Store, base.Seed); err != nil {
		return nil, fmt.Errorf("faq: %w", err)
	}
	if err := lsq.InitWeights(g, job.Store, c.WeightRule); err != nil {
		return nil, fmt.Errorf("faq: %w", err)
	}
	if err := lsq.Calibrate(job.Engine, g, job.Store, batches, false, c.ActRule); err != nil {
		return nil, fmt.Errorf("faq: %w", err)
	}
	return g, nil
}

// Train calibrates and quantizes the job's full-precision graph and fine-tunes
// it: c decides the recipe, base the rest (see Config.Recipe). It returns the
// quantized graph, whose parameters stand in job.Store. Errors as train.Run's.
func Train(ctx context.Context, base train.Config, job train.Job, c Config) (*graph.Graph, train.Result, error) {
	g, err := c.Prepare(base, job)
	if err != nil {
		return nil, train.Result{}, err
	}
	job.Graph, job.Teacher = g, nil
	if job.Method == "" {
		job.Method = "faq"
	}
	if job.Settings == nil {
		job.Settings = c
	}
	r, err := train.Run(ctx, c.Recipe(base), job)
	return g, r, err
}
