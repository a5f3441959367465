// Package alps scores layers by training: ALPS of Bablani et al., arXiv
// 2301.13330v2, lowers one group of layers at a time, trains one epoch from the
// same checkpoint and the same order of data, and looks at what was lost.
package alps

import (
	"context"
	"fmt"

	"lowbit/method/lsq"
	"lowbit/mixed"
	"lowbit/quant"
)

// Config is ALPS.
type Config struct {
	// LSQ is the recipe of a trial; its Bits are replaced by each trial's. Its
	// Start finds steps of quantizers whose width is new; all others go on from
	// the checkpoint's. Default: LSQ's, one epoch, warmed up over its first
	// tenth and then falling along half a cosine to 0.
	LSQ lsq.Config `json:"lsq"`
	// Metric that gains are differences of. All metrics are measured anyway,
	// so another one costs no further training. Default: mixed.HeldOutAccuracy.
	Metric mixed.Metric `json:"metric"`
	// HoldOut is the number of training examples that trials do not train on,
	// for the metric; default 5000. They are those that train.Config.HoldOut
	// draws with the same seed.
	HoldOut int `json:"hold_out"`
	// Limit, if positive, trains on the first so many of the others.
	Limit int `json:"limit,omitempty"`
}

// DefaultConfig is one epoch of LSQ's recipe.
func DefaultConfig(bits quant.BitPlan) Config {
	c := Config{LSQ: Recipe(bits), Metric: mixed.HeldOutAccuracy, HoldOut: 5000}
	c.LSQ.Epochs, c.LSQ.Warmup = 1, 0.1
	return c
}

// Recipe is LSQ's for going on from a trained network at other widths: lowered
// layers start at steps of least squared error, since LSQ's own rule costs a layer
// of 2 bits more than an epoch repairs.
func Recipe(bits quant.BitPlan) lsq.Config {
	c := lsq.DefaultConfig(bits)
	c.Start = lsq.BestStart()
	return c
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	if err := c.LSQ.Validate(); err != nil {
		return fmt.Errorf("alps: %w", err)
	}
	if err := c.Metric.Validate(); err != nil {
		return fmt.Errorf("alps: %w", err)
	}
	switch {
	case c.LSQ.Epochs < 1:
		return fmt.Errorf("alps: epochs %d, want at least 1", c.LSQ.Epochs)
	case c.HoldOut < 0 || c.Limit < 0:
		return fmt.Errorf("alps: hold out %d, limit %d: want 0 or more", c.HoldOut, c.Limit)
	case c.Metric.HeldOut() && c.HoldOut == 0:
		return fmt.Errorf("alps: %s needs examples to hold out", c.Metric)
	}
	return nil
}

// Scorer is ALPS over a Trainer.
type Scorer struct {
	Trainer *Trainer
	// Dir, if not empty, keeps the result of each trial, so that scoring can
	// be interrupted, and shared by processes; see mixed.RunTrials.
	Dir string
	// Progress is told how many trials are done; nil: nobody.
	Progress func(done, all int)
}

// Score implements mixed.Scorer: A(k) - A(narrowest) for each group, A(k) being
// the metric after training with the group at precision k and all others at the
// widest; at the widest it is that of a reference trained alike. Gains below 0
// are set to 0, and a note says how many.
func (s Scorer) Score(ctx context.Context, p *mixed.Problem) (mixed.Gains, error) {
	if err := s.Trainer.Validate(); err != nil {
		return mixed.Gains{}, err
	}
	trials := Trials(p, s.Trainer.Base.Seed)
	results, err := mixed.RunTrials(ctx, s.Dir, trials, s.Trainer, s.Progress)
	if err != nil {
		return mixed.Gains{}, fmt.Errorf("alps: %w", err)
	}
	g, err := Gains(p, results, s.Trainer.Metric)
	g.TrialSeconds = mixed.TrialSeconds(results)
	return g, err
}

// Trials are what ALPS trains: the reference, then each group at each precision
// but the widest, the narrowest first.
func Trials(p *mixed.Problem, seed uint64) []mixed.Trial {
	top := len(p.Widths) - 1
	trials := []mixed.Trial{{Key: "reference", Plan: p.Plan(p.Uniform(top)), Seed: seed}}
	for i := range p.Select {
		for k := range top {
			choice := p.Uniform(top)
			choice[i] = k
			w := p.Widths[k]
			trials = append(trials, mixed.Trial{Key: fmt.Sprintf("group%03d-%v", i, w), Plan: p.Plan(choice), Seed: seed})
		}
	}
	return trials
}

// Gains turns the results of Trials into gains.
func Gains(p *mixed.Problem, results []mixed.Metrics, m mixed.Metric) (mixed.Gains, error) {
	top := len(p.Widths) - 1
	if want := 1 + len(p.Select)*top; len(results) != want {
		return mixed.Gains{}, fmt.Errorf("alps: %d results, want %d", len(results), want)
	}
	if err := m.Validate(); err != nil {
		return mixed.Gains{}, fmt.Errorf("alps: %w", err)
	}
	g := mixed.Gains{Values: make([][]float64, len(p.Select))}
	clipped := 0
	for i := range p.Select {
		row := results[1+i*top:]
		low := m.Of(row[0])
		v := make([]float64, top+1)
		for k := 1; k <= top; k++ {
			at := m.Of(results[0])
			if k < top {
				at = m.Of(row[k])
			}
			if v[k] = at - low; v[k] < 0 {
				v[k] = 0
				clipped++
			}
		}
		g.Values[i] = v
	}
	if clipped > 0 {
		g.Notes = []string{fmt.Sprintf("%d of %d gains were below 0 and count as 0: lowering the group did not hurt", clipped, len(p.Select)*top)}
	}
	return g, nil
}
