// Package oracle estimates what each group of layers contributes by regression:
// many random configurations are trained, and a linear model of the metric is
// fitted to them. Far dearer than any method it judges; it also tells whether
// contributions add up at all, which selection by gains assumes.
package oracle

import (
	"context"
	"fmt"

	"lowbit/internal/rng"
	"lowbit/mixed"
)

// Config is the experiment.
type Config struct {
	// Configurations is the number of random ones; 0: twice the coefficients
	// of the model and four more.
	Configurations int `json:"configurations,omitempty"`
	// Repeats is how many of them are trained a second time, with another
	// seed, to know the noise; default 8.
	Repeats int `json:"repeats"`
	// Budget, if positive, draws only configurations that just meet it, as
	// mixed.Random does; else every width of every group is as likely.
	Budget float64 `json:"budget,omitempty"`
	// Seed of the draw and of the trainings.
	Seed uint64 `json:"seed"`
	// Metric that is explained; default mixed.HeldOutLoss, which has less noise
	// than the accuracy.
	Metric mixed.Metric `json:"metric"`
}

// DefaultConfig has the defaults.
func DefaultConfig() Config { return Config{Repeats: 8, Seed: 1, Metric: mixed.HeldOutLoss} }

// Scorer is the oracle over trials.
type Scorer struct {
	Config
	Trainer  mixed.TrialRunner
	Dir      string // of the trials; see mixed.RunTrials
	Progress func(done, all int)
}

// Fit is the linear model: metric = Intercept + sum of Gains[group][width].
type Fit struct {
	Metric    mixed.Metric `json:"metric"`
	Intercept float64      `json:"intercept"`
	// Gains of Problem.Select by width, 0 at the narrowest.
	Gains          [][]float64 `json:"gains"`
	Configurations int         `json:"configurations"`
	// Correlation between each configuration's metric and what a model fitted
	// without it says; R2 is the share of the variance it explains, negative if
	// it is worse than the mean.
	Correlation float64 `json:"correlation"`
	R2          float64 `json:"r2"`
	// Noise is the standard deviation between trainings of one configuration,
	// and Ceiling the correlation that a perfect model would have under it;
	// both 0 without repeats.
	Noise   float64 `json:"noise"`
	Ceiling float64 `json:"ceiling"`
	// TrialSeconds is the wall time of all trainings.
	TrialSeconds float64 `json:"trial_seconds"`
}

// Score implements mixed.Scorer: Fit's gains.
func (s Scorer) Score(ctx context.Context, p *mixed.Problem) (mixed.Gains, error) {
	f, err := s.Fit(ctx, p)
	if err != nil {
		return mixed.Gains{}, err
	}
	return f.Scores(), nil
}

// Scores are the model's coefficients as gains. The notes tell how well gains
// add up.
func (f *Fit) Scores() mixed.Gains {
	note := fmt.Sprintf("%d configurations, %s: correlation %.3f with what a model without them says, R2 %.3f", f.Configurations, f.Metric, f.Correlation, f.R2)
	if f.Ceiling > 0 {
		note += fmt.Sprintf("; noise allows %.3f", f.Ceiling)
	}
	return mixed.Gains{Values: f.Gains, Notes: []string{note}, TrialSeconds: f.TrialSeconds}
}

// coefficients of the model: one for each group and width but the narrowest,
// and the intercept.
func coefficients(p *mixed.Problem) int { return 1 + len(p.Select)*(len(p.Widths)-1) }

// Fit trains the configurations and fits the model. It is an error if there are
// fewer than two more configurations than coefficients, or if those drawn do
// not tell two groups apart.
func (s Scorer) Fit(ctx context.Context, p *mixed.Problem) (*Fit, error) {
	c := s.Config
	if c.Configurations == 0 {
		c.Configurations = 2*coefficients(p) + 4
	}
	if err := c.Metric.Validate(); err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	if need := coefficients(p) + 2; c.Configurations < need {
		return nil, fmt.Errorf("oracle: %d configurations for %d coefficients, want at least %d", c.Configurations, coefficients(p), need)
	}
	if c.Repeats < 0 || c.Repeats > c.Configurations {
		return nil, fmt.Errorf("oracle: %d repeats of %d configurations", c.Repeats, c.Configurations)
	}
	choices, err := c.draw(p)
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	results, err := mixed.RunTrials(ctx, s.Dir, c.trials(p, choices), s.Trainer, s.Progress)
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	y := make([]float64, len(results))
	for i, m := range results {
		y[i] = c.Metric.Of(m)
	}
	f, err := fit(p, c, choices, y)
	if err != nil {
		return nil, err
	}
	f.TrialSeconds = mixed.TrialSeconds(results)
	return f, nil
}

// drawDomain keeps the draw's randomness apart from other uses of a seed.
const drawDomain = 0x64726f72

// draw returns the widths of each configuration.
func (c Config) draw(p *mixed.Problem) ([][]int, error) {
	choices := make([][]int, c.Configurations)
	for i := range choices {
		if c.Budget > 0 {
			g, err := mixed.Random{Seed: rng.Uint64(c.Seed, drawDomain, uint64(i))}.Score(context.Background(), p)
			if err != nil {
				return nil, err
			}
			sel, err := mixed.Select(p, g, c.Budget)
			if err != nil {
				return nil, err
			}
			choices[i] = sel.Choice
			continue
		}
		s := rng.New(c.Seed, drawDomain, uint64(i))
		choices[i] = make([]int, len(p.Select))
		for j := range choices[i] {
			choices[i][j] = s.Intn(len(p.Widths))
		}
	}
	return choices, nil
}

// trials are all configurations, then the first ones again.
func (c Config) trials(p *mixed.Problem, choices [][]int) []mixed.Trial {
	var ts []mixed.Trial
	for i, choice := range choices {
		ts = append(ts, mixed.Trial{Key: fmt.Sprintf("draw%04d", i), Plan: p.Plan(choice), Seed: c.Seed})
	}
	for i, choice := range choices[:c.Repeats] {
		ts = append(ts, mixed.Trial{Key: fmt.Sprintf("again%04d", i), Plan: p.Plan(choice), Seed: c.Seed + 1})
	}
	return ts
}
