package optim

import (
	"fmt"
	"math"
)

// ScheduleKind names how the learning rate changes.
type ScheduleKind string

// Schedules. T is the number of steps after the warm-up, t the step among
// them, from 0.
const (
	// Constant keeps LR.
	Constant ScheduleKind = "constant"
	// Cosine falls from LR to Final at t = T along half a cosine, each step:
	// torch's CosineAnnealingLR with T_max = T, eta_min = Final.
	Cosine ScheduleKind = "cosine"
	// Linear falls from LR to Final at t = T, each step.
	Linear ScheduleKind = "linear"
	// Steps multiplies by Gamma at the start of each epoch of Milestones, or
	// after every Every epochs.
	Steps ScheduleKind = "step"
	// Exponential multiplies by Gamma after each epoch (FAQ, arXiv
	// 1809.04191: 0.936 over 110 epochs).
	Exponential ScheduleKind = "exponential"
	// OneCycle rises from LR/Div to LR over the share Rise of all steps and
	// falls to LR/Div/FinalDiv, both along half a cosine: torch's OneCycleLR
	// with its defaults. The momentum does not cycle. It has no warm-up.
	OneCycle ScheduleKind = "onecycle"
)

// Schedule is the learning rate as a pure function of the step. Epochs count
// from 0 and from the start of training, warm-up included.
type Schedule struct {
	Kind ScheduleKind `json:"kind"`
	// LR is the highest learning rate.
	LR float64 `json:"lr"`
	// Warmup is the number of epochs (or a part of one) over which the rate
	// first rises linearly, to LR at the first step after them.
	Warmup float64 `json:"warmup,omitempty"`
	// Final is the last rate of Cosine and Linear; default 0.
	Final float64 `json:"final,omitempty"`
	// Gamma is the factor of Steps and Exponential.
	Gamma float64 `json:"gamma,omitempty"`
	// Milestones are the epochs of Steps, ascending.
	Milestones []int `json:"milestones,omitempty"`
	// Every is the period of Steps in epochs, if there are no Milestones.
	Every int `json:"every,omitempty"`
	// Rise, Div and FinalDiv shape OneCycle; 0 means 0.3, 25 and 10000.
	Rise     float64 `json:"rise,omitempty"`
	Div      float64 `json:"div,omitempty"`
	FinalDiv float64 `json:"final_div,omitempty"`
}

// Validate returns an error that names the first setting that makes no sense.
func (s Schedule) Validate() error {
	if !(s.LR >= 0) || badNumber(s.LR) || s.Warmup < 0 || badNumber(s.Warmup) || s.Final < 0 {
		return fmt.Errorf("optim: schedule: lr %g, warm-up %g, final %g: want finite, not negative", s.LR, s.Warmup, s.Final)
	}
	switch s.Kind {
	case Constant, Cosine, Linear:
	case Exponential:
		return s.checkGamma()
	case Steps:
		if len(s.Milestones) == 0 && s.Every < 1 {
			return fmt.Errorf("optim: schedule %s: want milestones or every", s.Kind)
		}
		for i, m := range s.Milestones {
			if m < 0 || i > 0 && m <= s.Milestones[i-1] {
				return fmt.Errorf("optim: schedule %s: milestones %v do not ascend", s.Kind, s.Milestones)
			}
		}
		return s.checkGamma()
	case OneCycle:
		if s.Warmup > 0 {
			return fmt.Errorf("optim: schedule %s has its own rise, want no warm-up", s.Kind)
		}
		if s.Rise < 0 || s.Rise >= 1 || s.Div < 0 || s.FinalDiv < 0 {
			return fmt.Errorf("optim: schedule %s: rise %g outside [0, 1) or div %g, final div %g negative", s.Kind, s.Rise, s.Div, s.FinalDiv)
		}
	default:
		return fmt.Errorf("optim: unknown schedule %q", s.Kind)
	}
	return nil
}

func (s Schedule) checkGamma() error {
	if !(s.Gamma > 0) || badNumber(s.Gamma) {
		return fmt.Errorf("optim: schedule %s: gamma %g, want above 0", s.Kind, s.Gamma)
	}
	return nil
}

// At returns the learning rate of a step, counted from 0 over the whole
// training of epochs times stepsPerEpoch steps. It depends on the arguments
// alone.
func (s Schedule) At(step, stepsPerEpoch, epochs int) float64 {
	stepsPerEpoch = max(stepsPerEpoch, 1)
	total := stepsPerEpoch * epochs
	warm := min(int(math.Round(s.Warmup*float64(stepsPerEpoch))), total)
	if step < warm {
		return s.LR * float64(step+1) / float64(warm+1)
	}
	epoch := step / stepsPerEpoch
	part := math.Min(float64(step-warm)/math.Max(float64(total-warm), 1), 1)
	switch s.Kind {
	case Cosine:
		return s.Final + (s.LR-s.Final)*(1+math.Cos(math.Pi*part))/2
	case Linear:
		return s.LR + (s.Final-s.LR)*part
	case Steps:
		return s.LR * math.Pow(s.Gamma, float64(s.drops(epoch)))
	case Exponential:
		return s.LR * math.Pow(s.Gamma, float64(epoch))
	case OneCycle:
		return s.oneCycle(step, total)
	}
	return s.LR
}

// drops returns how often Steps has multiplied by Gamma in that epoch.
func (s Schedule) drops(epoch int) int {
	if len(s.Milestones) == 0 {
		return epoch / max(s.Every, 1)
	}
	n := 0
	for n < len(s.Milestones) && s.Milestones[n] <= epoch {
		n++
	}
	return n
}

func (s Schedule) oneCycle(step, total int) float64 {
	rise, div, finalDiv := or(s.Rise, 0.3), or(s.Div, 25), or(s.FinalDiv, 1e4)
	start := s.LR / div
	top, last := rise*float64(total)-1, float64(total-1)
	t := float64(step)
	if top > 0 && t <= top {
		return halfCosine(start, s.LR, t/top)
	}
	return halfCosine(s.LR, start/finalDiv, math.Min((t-top)/math.Max(last-top, 1), 1))
}

// halfCosine goes from a to b as part goes from 0 to 1.
func halfCosine(a, b, part float64) float64 { return b + (a-b)*(1+math.Cos(math.Pi*part))/2 }

func or(v, fallback float64) float64 {
	if v == 0 {
		return fallback
	}
	return v
}
