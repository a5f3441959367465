package quant

import (
	"fmt"
	"math"
)

// RuleKind names how a step is found from values.
type RuleKind string

// Rules. Each has a form for values at hand (Rule.Steps) and one for values that
// come in parts (Rule.Observer).
const (
	RuleLSQ        RuleKind = "lsq"        // 2*mean|v|/sqrt(Qp)
	RuleMSE        RuleKind = "mse"        // least squared error
	RuleMax        RuleKind = "max"        // no value clipped
	RulePercentile RuleKind = "percentile" // that percentile of |v| (v if unsigned) is the largest code
	RuleSigma      RuleKind = "sigma"      // so many standard deviations are the largest code
)

// Rule is a way to find a step.
type Rule struct {
	Kind RuleKind `json:"kind"`
	// Percentile of RulePercentile, 0..100.
	Percentile float64 `json:"percentile,omitempty"`
	// Sigma is the number of standard deviations of RuleSigma.
	Sigma float64 `json:"sigma,omitempty"`
	// Pow2 asks for a power of two: for RuleMSE the one of less error beside the
	// best step; for an Observer's RuleMax and RulePercentile the largest value
	// is rounded up, as FAQ does (see RangeStep); else the step is.
	Pow2 bool `json:"pow2,omitempty"`
}

// Validate returns an error that names what makes no sense.
func (r Rule) Validate() error {
	switch r.Kind {
	case RuleLSQ, RuleMSE, RuleMax:
	case RulePercentile:
		if !(r.Percentile > 0 && r.Percentile <= 100) {
			return fmt.Errorf("quant: rule %s: percentile %g outside (0, 100]", r.Kind, r.Percentile)
		}
	case RuleSigma:
		if !(r.Sigma > 0) || math.IsInf(r.Sigma, 0) {
			return fmt.Errorf("quant: rule %s: sigma %g, want above 0", r.Kind, r.Sigma)
		}
	default:
		return fmt.Errorf("quant: unknown rule %q, want lsq, mse, max, percentile or sigma", r.Kind)
	}
	return nil
}

// Step finds the step of v; see the rule's kind.
func (r Rule) Step(v []float32, s Spec) float32 {
	var step float32
	switch r.Kind {
	case RuleLSQ:
		step = StepLSQ(v, s)
	case RuleMSE:
		return NewDistribution(v).mseStep(s, r.Pow2)
	case RulePercentile:
		step = StepPercentile(r.Percentile)(v, s)
	case RuleSigma:
		step = StepSigma(r.Sigma)(v, s)
	default:
		step = StepMax(v, s)
	}
	if r.Pow2 {
		step = Pow2Up(step)
	}
	return step
}

// Observer sees the values of one tensor over several runs and finds its step.
// It keeps memory that does not grow with the number of values, but for
// RulePercentile, which keeps twice those above the percentile.
type Observer struct {
	rule    Rule
	spec    Spec
	n       int
	sum     float64 // of v
	sumAbs  float64
	sumSq   float64
	largest float32
	top     *Top
	hist    *Histogram
}

// NewObserver returns an observer of total values on the grid s (total matters
// for RulePercentile alone).
func (r Rule) NewObserver(s Spec, total int) (*Observer, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	o := &Observer{rule: r, spec: s}
	switch r.Kind {
	case RulePercentile:
		top, err := NewTop(r.Percentile, total)
		if err != nil {
			return nil, err
		}
		o.top = top
	case RuleMSE:
		o.hist = new(Histogram)
	}
	return o, nil
}

// Add takes the next values.
func (o *Observer) Add(v []float32) error {
	o.n += len(v)
	switch o.rule.Kind {
	case RulePercentile:
		return o.top.Add(v, o.spec.Signed)
	case RuleMSE:
		o.hist.Add(v)
	case RuleMax:
		for _, x := range v {
			if o.spec.Signed && -x > o.largest {
				o.largest = -x
			}
			if x > o.largest {
				o.largest = x
			}
		}
	default:
		for _, x := range v {
			d := float64(x)
			o.sum += d
			o.sumAbs += math.Abs(d)
			o.sumSq += d * d
		}
	}
	return nil
}

// Step returns the step of the values seen so far.
func (o *Observer) Step() float32 {
	n := float64(max(o.n, 1))
	switch o.rule.Kind {
	case RulePercentile:
		return RangeStep(o.top.Percentile(), o.spec, o.rule.Pow2)
	case RuleMax:
		return RangeStep(o.largest, o.spec, o.rule.Pow2)
	case RuleMSE:
		return o.hist.Distribution().mseStep(o.spec, o.rule.Pow2)
	}
	step := LSQStep(o.sumAbs/n, o.spec)
	if o.rule.Kind == RuleSigma {
		variance := max(o.sumSq/n-(o.sum/n)*(o.sum/n), 0)
		step = positive(o.rule.Sigma*math.Sqrt(variance)/float64(o.spec.Qp()), o.spec)
	}
	if o.rule.Pow2 {
		step = Pow2Up(step)
	}
	return step
}

// mseStep is MSEStep as a float32, or the better power of two beside it.
func (d *Distribution) mseStep(s Spec, pow2 bool) float32 {
	step := positive(d.MSEStep(s), s)
	if !pow2 {
		return step
	}
	up := Pow2Up(step)
	if down := up / 2; d.Error(float64(down), s) < d.Error(float64(up), s) {
		return down
	}
	return up
}
