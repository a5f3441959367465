// Package ptq is quantization after training, without training: steps come from
// the weights and from a few batches of activations. It is the floor that the
// trained methods are measured against, and enough at 8 bits for most networks.
package ptq

import (
	"context"
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// Config says how steps are found.
type Config struct {
	// Bits of each layer.
	Bits quant.BitPlan `json:"bits"`
	// Granularity of weight steps: PerTensor or PerChannel.
	Granularity quant.Granularity `json:"granularity"`
	// Weights and Activations are the rules of the steps.
	Weights     quant.Rule `json:"weights"`
	Activations quant.Rule `json:"activations"`
	// Batches of training images for calibration; default 4.
	Batches int `json:"batches"`
	// Sequential takes each activation step behind quantizers that are set
	// already; see lsq.Start.
	Sequential bool `json:"sequential,omitempty"`
	// NormBatches, if positive, estimates the batch norms' statistics again on
	// so many training batches with all quantizers in place. Off by default.
	NormBatches int `json:"norm_batches,omitempty"`
}

// DefaultConfig calibrates by "max" (nothing is clipped), "percentile" (99.99
// for 8-bit activations, 99.9 below; weights by max) or "mse" (least squared
// error of both).
func DefaultConfig(bits quant.BitPlan, calibration string) (Config, error) {
	c := Config{Bits: bits, Batches: 4, Weights: quant.Rule{Kind: quant.RuleMax}}
	switch calibration {
	case "max":
		c.Activations = quant.Rule{Kind: quant.RuleMax}
	case "percentile":
		c.Activations = quant.Rule{Kind: quant.RulePercentile, Percentile: 99.99}
		if a := bits.Default.Act; a > 0 && a < 8 {
			c.Activations.Percentile = 99.9
		}
	case "mse":
		c.Weights = quant.Rule{Kind: quant.RuleMSE}
		c.Activations = quant.Rule{Kind: quant.RuleMSE}
	default:
		return c, fmt.Errorf("ptq: calibration %q, want max, percentile or mse", calibration)
	}
	return c, nil
}

// quantizers are fixed: their steps have no gradient.
func (c Config) quantizers() lsq.Quantizers {
	q := lsq.DefaultQuantizers(c.Bits)
	q.Granularity, q.StepGrad = c.Granularity, graph.StepFrozen
	return q
}

// start is the calibration as lsq takes it.
func (c Config) start() lsq.Start {
	return lsq.Start{Weights: c.Weights, Activations: c.Activations, Batches: c.Batches, Sequential: c.Sequential}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	if err := c.quantizers().Validate(); err != nil {
		return fmt.Errorf("ptq: %w", err)
	}
	if err := c.start().Validate(); err != nil {
		return fmt.Errorf("ptq: %w", err)
	}
	if c.NormBatches < 0 {
		return fmt.Errorf("ptq: norm batches %d, want 0 or more", c.NormBatches)
	}
	return nil
}

// Prepare puts quantizers on the job's full-precision graph and sets their
// steps in the job's store, from the weights and the first training batches of
// base. It returns the quantized graph.
func (c Config) Prepare(base train.Config, job train.Job) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g, err := lsq.Prepare(base, job, c.quantizers(), c.start())
	if err != nil {
		return nil, fmt.Errorf("ptq: %w", err)
	}
	if c.NormBatches == 0 {
		return g, nil
	}
	batches, err := job.Batches(base, c.NormBatches)
	if err != nil {
		return nil, fmt.Errorf("ptq: %w", err)
	}
	return g, Reestimate(job.Engine, g, job.Store, batches)
}

// Run quantizes the job's full-precision graph without training, evaluates it
// and writes the run's record. It returns the quantized graph, whose parameters
// stand in job.Store. Errors as train.Run's.
func Run(ctx context.Context, base train.Config, job train.Job, c Config) (*graph.Graph, train.Result, error) {
	g, err := c.Prepare(base, job)
	if err != nil {
		return nil, train.Result{}, err
	}
	job.Graph, job.Teacher = g, nil
	if job.Method == "" {
		job.Method = "ptq"
	}
	if job.Settings == nil {
		job.Settings = c
	}
	base.Epochs, base.HoldOut, base.Best = 0, 0, false
	base.Loss = train.Loss{CrossEntropy: 1}
	r, err := train.Run(ctx, base, job)
	return g, r, err
}

// Reestimate sets the running statistics of all batch norms of g to the means
// over the batches, each normalised by its own statistics, with the
// quantizers of g in place. The variance is the unbiased one.
func Reestimate(e *engine.Engine, g *graph.Graph, store *tensor.Store, batches []engine.Inputs) error {
	if len(batches) == 0 {
		return fmt.Errorf("ptq: no batches to estimate batch norms with")
	}
	sums := map[string][]float64{} // by parameter, over batches
	plans := map[int]*engine.Plan{}
	norms := map[int][]norm{}
	for _, in := range batches {
		b := in.Batch()
		if plans[b] == nil {
			t, ns, err := tapMoments(g, b)
			if err != nil {
				return err
			}
			if plans[b], err = e.Compile(t, store); err != nil {
				return fmt.Errorf("ptq: %w", err)
			}
			norms[b] = ns
		}
		if err := plans[b].SetInputs(in); err != nil {
			return fmt.Errorf("ptq: %w", err)
		}
		if err := plans[b].Run(); err != nil {
			return fmt.Errorf("ptq: %w", err)
		}
		for _, n := range norms[b] {
			m := plans[b].Output(n.moments).Float32s()
			c := len(m) / 2
			if sums[n.mean] == nil {
				sums[n.mean], sums[n.variance] = make([]float64, c), make([]float64, c)
			}
			for i := range c {
				sums[n.mean][i] += float64(m[i])
				sums[n.variance][i] += float64(m[c+i]) * n.unbiased
			}
		}
	}
	for name, s := range sums {
		v := store.Get(name).Float32s()
		for i := range v {
			v[i] = float32(s[i] / float64(len(batches)))
		}
	}
	return nil
}

// norm is a batch norm: the output that holds its moments and the parameters of
// its running statistics.
type norm struct {
	moments, mean, variance string
	unbiased                float64 // count/(count-1)
}

// tapMoments returns the training form of g, without updates, whose outputs are
// the moments of all batch norms.
func tapMoments(g *graph.Graph, batch int) (*graph.Graph, []norm, error) {
	t, err := graph.WithBatch(g, batch)
	if err == nil {
		t, err = graph.Inference(t)
	}
	if err == nil {
		t, err = graph.Training(t, nil)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("ptq: %w", err)
	}
	out := graph.New()
	at := make([]*graph.Node, len(t.Nodes()))
	for i, n := range t.Nodes() {
		in := make([]*graph.Node, len(n.In()))
		for j, x := range n.In() {
			in[j] = at[x.ID()]
		}
		at[i] = out.Copy(n, in)
		if _, ok := n.Op().(graph.Moments); ok {
			out.Output(n.Name(), at[i])
		}
	}
	byMoments := map[*graph.Node]*norm{}
	var order []*norm
	for _, u := range t.Updates() {
		o, ok := u.Value.Op().(graph.RunningStat)
		if !ok {
			continue
		}
		m := u.Value.In()[1]
		n := byMoments[m]
		if n == nil {
			n = &norm{moments: m.Name()}
			byMoments[m] = n
			order = append(order, n)
		}
		if o.Row == 0 {
			n.mean = u.Param.Name()
		} else {
			n.variance, n.unbiased = u.Param.Name(), o.Correction
		}
	}
	norms := make([]norm, len(order))
	for i, n := range order {
		norms[i] = *n
	}
	return out, norms, out.Err()
}
