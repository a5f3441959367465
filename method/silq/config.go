package silq

import (
	"context"
	"errors"
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/optim"
	"lowbit/train"
)

// Config is a quantization of a language model: which quantizers, how their
// steps begin, and how the whole is trained.
type Config struct {
	Quantizers
	Start Start `json:"start"`
	// Epochs is the number of passes over the text; 0: no training, the quantized
	// model as the start made it.
	Epochs int `json:"epochs"`
	// Batch is the windows of a step.
	Batch int `json:"batch"`
	// Accumulate is the parts of a batch that run one after the other to need less
	// memory, see train.Config; 0: 1.
	Accumulate int `json:"accumulate,omitempty"`
	// Recompute computes the values inside blocks again for the backward pass, to
	// need less memory, see train.Config.
	Recompute bool `json:"recompute,omitempty"`
	// LR is the highest learning rate; it falls to zero along a cosine. SiLQ
	// trains 8 billion parameters at 5e-6; small models want more.
	LR float64 `json:"lr"`
	// StepLR is the factor of LR for steps of activations, keys and values; SiLQ's
	// is 50 at its LR. Steps of weights have LR.
	StepLR float64 `json:"step_lr"`
	// Warmup is the number of steps over which the rate rises.
	Warmup int `json:"warmup"`
	// WeightDecay of weights (AdamW); steps and norms have none.
	WeightDecay float64 `json:"weight_decay"`
	// Distill weighs KL(teacher || model) over the whole vocabulary at temperature
	// 1, the teacher being the model in full precision; CrossEntropy that with the
	// text's next tokens. SiLQ: 1 and 0.
	Distill      float64 `json:"distill"`
	CrossEntropy float64 `json:"cross_entropy,omitempty"`
	// Scored counts the tokens alone that have a target, of chats those of the
	// answers. See train.Loss.
	Scored bool `json:"scored,omitempty"`
}

// DefaultConfig is SiLQ's recipe at the size of small models: AdamW (0.9, 0.95,
// 1e-10), decay 0.1, distillation alone, one pass. LR 1e-4 did best of 1e-5, 3e-5
// and 1e-4 in ten-step probes of a PyTorch version on 135 million parameters; with
// StepLR 2.5 activation steps learn at SiLQ's 50 * 5e-6.
func DefaultConfig(q Quantizers) Config {
	return Config{
		Quantizers: q, Start: DefaultStart(), Epochs: 1, Batch: 4, LR: 1e-4, StepLR: 2.5, Warmup: 10, WeightDecay: 0.1, Distill: 1,
	}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	if err := errors.Join(c.Quantizers.Validate(), c.Start.Validate()); err != nil {
		return err
	}
	switch {
	case c.Epochs < 0 || c.Batch < 1 || c.Warmup < 0:
		return fmt.Errorf("silq: %d epochs in batches of %d, warm-up %d: want none negative, a batch of at least 1", c.Epochs, c.Batch, c.Warmup)
	case c.Accumulate < 0 || c.Accumulate > c.Batch:
		return fmt.Errorf("silq: a batch of %d accumulated in %d parts: want 1 to %d", c.Batch, c.Accumulate, c.Batch)
	case !(c.LR > 0) || math.IsInf(c.LR, 0) || !(c.StepLR > 0) || !(c.WeightDecay >= 0):
		return fmt.Errorf("silq: lr %g, step lr %g, weight decay %g: want them positive", c.LR, c.StepLR, c.WeightDecay)
	case !(c.Distill >= 0) || !(c.CrossEntropy >= 0) || c.Distill+c.CrossEntropy == 0:
		return fmt.Errorf("silq: loss weights %g and %g: want one above 0, none negative", c.Distill, c.CrossEntropy)
	}
	return nil
}

// ActivationSteps matches the steps of activations, keys and values.
const ActivationSteps = `\.(input|key|value|query)_step$`

// Recipe is the training that c asks for, on epochs of so many windows.
func (c Config) Recipe(seed uint64, windows int) train.Config {
	o := optim.DefaultConfig(optim.AdamW, c.WeightDecay)
	o.Beta2, o.Eps = 0.95, 1e-10
	o.Groups = append([]optim.Group{{
		Name: "activation steps", Roles: []graph.Role{graph.Step}, Pattern: ActivationSteps, LR: c.StepLR, Floor: minStep,
	}}, o.Groups...)
	for i := range o.Groups {
		if o.Groups[i].Name == "steps" {
			o.Groups[i].Floor = minStep
		}
	}
	t := train.Config{
		Epochs: c.Epochs, Batch: c.Batch, Accumulate: c.Accumulate, Recompute: c.Recompute, DropLast: true, Seed: seed, Optim: o,
		Loss:     train.Loss{CrossEntropy: c.CrossEntropy, Distill: c.Distill, Scored: c.Scored},
		Schedule: optim.Schedule{Kind: optim.Cosine, LR: c.LR},
	}
	if c.Distill > 0 {
		t.Loss.Temperature = 1
	}
	if steps := windows / c.Batch; steps > 0 {
		t.Schedule.Warmup = float64(min(c.Warmup, steps*c.Epochs/2)) / float64(steps)
	}
	return t
}

// Train quantizes the decoder job.Graph, whose weights job.Store holds, and
// trains it on job.Source; the text of calibration finds the first steps. It
// returns the quantized graph, whose parameters then stand in job.Store. Errors
// as train.Run's.
func Train(ctx context.Context, c Config, seed uint64, job train.Job, calibration Calibration) (*graph.Graph, train.Result, error) {
	if err := c.Validate(); err != nil {
		return nil, train.Result{}, err
	}
	g, err := Insert(job.Graph, c.Quantizers)
	if err != nil {
		return nil, train.Result{}, err
	}
	if c.Distill > 0 && c.Epochs > 0 {
		if calibration.Store == nil {
			calibration.Store = job.Store.Clone()
		}
		job.Teacher = &train.Teacher{Name: "full precision", Graph: job.Graph, Store: calibration.Store}
	} else {
		if calibration.Store == nil {
			calibration.Store = job.Store
		}
		c.Distill, c.CrossEntropy = 0, 1
	}
	if err := Init(ctx, c.Quantizers, job.Store, c.Start, calibration); err != nil {
		return nil, train.Result{}, err
	}
	if calibration.Calibrated != nil {
		if err := calibration.Calibrated(); err != nil {
			return nil, train.Result{}, err
		}
	}
	job.Graph = g
	recipe := c.Recipe(seed, job.Source.Len())
	last := job.Source.Len()/c.Batch*c.Epochs - 1
	job.Hooks.AfterStep = func(s train.StepInfo) error {
		if s.Step == last {
			roundSteps(g, s.Store)
		}
		return nil
	}
	r, err := train.Run(ctx, recipe, job)
	return g, r, err
}
