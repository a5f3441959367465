package lsq

import (
	"cmp"
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/train"
)

// Config is LSQ: the quantizers, how their steps start, and how the network is
// trained with them.
type Config struct {
	Quantizers
	Start Start `json:"start"`

	// Epochs of training. Default: 1 at 8 bits, 90 below (section 3).
	Epochs int `json:"epochs"`
	// LR is the first learning rate, of weights and steps alike, falling to 0
	// along half a cosine. Default: 0.001 at 8 bits, 0.01 below.
	LR float64 `json:"lr"`
	// Optimizer, if not empty, takes the place of the paper's SGD with momentum
	// 0.9, Schedule that of the cosine; ClipNorm, if positive, bounds the norm of
	// the gradients.
	Optimizer optim.Kind         `json:"optimizer,omitempty"`
	Schedule  optim.ScheduleKind `json:"schedule,omitempty"`
	ClipNorm  float64            `json:"clip_norm,omitempty"`
	// StepLR multiplies the learning rate of the steps; default 1.
	StepLR float64 `json:"step_lr"`
	// WeightDecay of weights; steps, norms and biases have none (the paper does
	// not say). Default: 1e-4, 0.5e-4 at 3 bits, 0.25e-4 at 2 (table 2).
	WeightDecay float64 `json:"weight_decay"`
	// Warmup is the number of epochs over which the rate rises; the paper has
	// none.
	Warmup float64 `json:"warmup,omitempty"`
	// EMA, if positive, evaluates an average of the weights with this decay a
	// step; the paper has none.
	EMA float64 `json:"ema,omitempty"`
	// FrozenNorm keeps the batch norms' statistics; the paper updates them.
	FrozenNorm bool `json:"frozen_norm,omitempty"`

	// CrossEntropy and Distill weigh the two losses; Temperature is that of the
	// distillation. The paper: 1 and 0, and with distillation (section 3.7) 1,
	// 1 and temperature 1, taught by the full-precision network.
	CrossEntropy float64 `json:"cross_entropy"`
	Distill      float64 `json:"distill,omitempty"`
	Temperature  float64 `json:"temperature,omitempty"`
}

// DefaultConfig is the paper's recipe for a bit plan; what depends on the width
// follows the narrowest inner weights.
func DefaultConfig(bits quant.BitPlan) Config {
	b := narrowest(bits)
	c := Config{
		Quantizers: DefaultQuantizers(bits), Start: PaperStart(),
		Epochs: 90, LR: 0.01, StepLR: 1, WeightDecay: 1e-4, CrossEntropy: 1, Temperature: 1,
	}
	switch {
	case b >= 8:
		c.Epochs, c.LR = 1, 0.001
	case b == 3:
		c.WeightDecay = 0.5e-4
	case b == 2:
		c.WeightDecay = 0.25e-4
	}
	return c
}

// ShortConfig is a recipe for few epochs: steps of least squared error, learned
// from the full-precision network's logits as well as the labels.
func ShortConfig(bits quant.BitPlan, epochs int) Config {
	c := DefaultConfig(bits)
	c.Start = BestStart()
	c.Epochs = epochs
	c.Distill = 1
	return c
}

// EncoderConfig is a recipe for a fine-tuned BERT and few epochs: AdamW, a rate
// that rises over a tenth of them and falls linearly, gradients clipped at norm 1
// (arXiv 1810.04805 but for a higher rate), steps of least squared error, and the
// full-precision network as a teacher.
func EncoderConfig(bits quant.BitPlan, epochs int) Config {
	c := ShortConfig(bits, epochs)
	c.Optimizer, c.Schedule, c.ClipNorm = optim.AdamW, optim.Linear, 1
	c.LR, c.WeightDecay, c.Warmup = 1e-4, 0.01, 0.1*float64(epochs)
	return c
}

// narrowest returns the least weight bits of the layers, 8 if none is quantized.
func narrowest(p quant.BitPlan) int {
	least := math.MaxInt
	take := func(w quant.Width) {
		if w.Weight > 0 {
			least = min(least, w.Weight)
		}
	}
	take(p.Default)
	for _, w := range p.Layers {
		take(w)
	}
	return min(least, 8)
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	if err := c.Quantizers.Validate(); err != nil {
		return err
	}
	if err := c.Start.Validate(); err != nil {
		return err
	}
	switch {
	case c.Epochs < 0:
		return fmt.Errorf("lsq: epochs %d, want 0 or more", c.Epochs)
	case !(c.LR >= 0) || !(c.StepLR > 0) || !(c.WeightDecay >= 0) || !(c.ClipNorm >= 0):
		return fmt.Errorf("lsq: lr %g, step lr %g, weight decay %g, clip norm %g: want none negative, step lr above 0", c.LR, c.StepLR, c.WeightDecay, c.ClipNorm)
	case !(c.Distill >= 0) || !(c.CrossEntropy >= 0) || c.Distill+c.CrossEntropy == 0:
		return fmt.Errorf("lsq: loss weights %g and %g: want one above 0, none negative", c.CrossEntropy, c.Distill)
	case c.Distill > 0 && !(c.Temperature > 0):
		return fmt.Errorf("lsq: temperature %g, want above 0", c.Temperature)
	}
	return nil
}

// Recipe returns base with everything that c decides: epochs, losses, optimizer
// and schedule. Batch, seed, augmentation and selection stay base's.
func (c Config) Recipe(base train.Config) train.Config {
	base.Epochs = c.Epochs
	base.FrozenNorm = c.FrozenNorm
	base.Loss.CrossEntropy = c.CrossEntropy
	base.Loss.Distill, base.Loss.Temperature = c.Distill, 0
	if c.Distill > 0 {
		base.Loss.Temperature = c.Temperature
	}
	base.Optim = optim.DefaultConfig(cmp.Or(c.Optimizer, optim.SGD), c.WeightDecay)
	base.Optim.EMA, base.Optim.ClipNorm = c.EMA, c.ClipNorm
	for i, g := range base.Optim.Groups {
		if len(g.Roles) == 1 && g.Roles[0] == graph.Step {
			base.Optim.Groups[i].LR = c.StepLR
		}
	}
	base.Schedule = optim.Schedule{Kind: cmp.Or(c.Schedule, optim.Cosine), LR: c.LR, Warmup: c.Warmup}
	return base
}
