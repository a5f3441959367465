package distill

import (
	"context"

	"lowbit/rl"
)

// Acting is a way to act, and what the student returned with it on held-out
// seeds.
type Acting struct {
	Mode rl.ActMode `json:"mode"`
	// Temperature divides the outputs that Sample draws from; 0 where Greedy takes
	// the best.
	Temperature float64 `json:"temperature,omitempty"`
	Return      float64 `json:"return"`
	ReturnSE    float64 `json:"return_se"`
}

// temperatures are tried by BestMode, beside the best action. A student draws
// from outputs that err: drawn as they are its actions are worse than its
// teacher's, and always the best one can be caught in a loop.
var temperatures = []float64{1, 0.5, 0.25}

// chooseActing takes the way to act in which the kept weights play best on
// held-out seeds, the first of equals, that of the training first; it returns
// all that were tried.
func (d *distiller) chooseActing(ctx context.Context) ([]Acting, error) {
	best := Acting{Mode: d.acts, Return: d.at.Best.Return, ReturnSE: d.at.Best.SE}
	if d.acts == rl.Sample {
		best.Temperature = 1
	}
	held := []Acting{best}
	if d.Mode != BestMode {
		return held, nil
	}
	others := []Acting{{Mode: rl.Greedy}}
	for _, t := range temperatures {
		others = append(others, Acting{Mode: rl.Sample, Temperature: t})
	}
	for _, o := range others {
		if o.Mode == held[0].Mode && o.Temperature == held[0].Temperature {
			continue
		}
		a := d.kept()
		a.Info.Mode, a.Info.Temperature = o.Mode, o.Temperature
		s, err := d.evalPlay(ctx, a)
		if err != nil {
			return nil, err
		}
		o.Return, o.ReturnSE = s.Mean, s.SE
		if held = append(held, o); o.Return > best.Return {
			best = o
		}
	}
	d.student.Info.Mode, d.student.Info.Temperature = best.Mode, best.Temperature
	return held, d.run.Weights(true, d.best, d.at)
}
