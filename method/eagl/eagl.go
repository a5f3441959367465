// Package eagl scores layers by the entropy of their quantized weights: EAGL of
// Bablani et al., arXiv 2301.13330v2. It reads the weights and the learned
// steps of a trained network, and nothing else: no data, no gradients.
package eagl

import (
	"context"
	"fmt"

	"lowbit/mixed"
	"lowbit/quant"
)

// Variant names what becomes of a layer's entropy H(b), in bits, of its b-bit
// codes.
type Variant string

// Variants. The paper's abstract says entropy of the weight distribution; which
// form is not known to us.
const (
	Entropy    Variant = "entropy"    // H(b)
	Difference Variant = "difference" // H(b) - H(narrowest)
	TotalBits  Variant = "bits"       // elements * H(b)
)

// Scorer is EAGL.
type Scorer struct {
	Variant Variant `json:"variant"`
	// Lower finds the steps of grids that were not learned; its Kind may be
	// mixed.RuleKeepRange. Default: quant.RuleLSQ, with which a lowered layer
	// starts.
	Lower quant.Rule `json:"lower"`
}

// New returns the default: the plain entropy.
func New() Scorer { return Scorer{Variant: Entropy, Lower: quant.Rule{Kind: quant.RuleLSQ}} }

// Score implements mixed.Scorer. The gain of a group is the sum over its
// layers; the narrowest precision gains 0 in every variant. With more than two
// precisions those between have the value of their own codes (the paper knows
// two).
func (s Scorer) Score(ctx context.Context, p *mixed.Problem) (mixed.Gains, error) {
	switch s.Variant {
	case Entropy, Difference, TotalBits:
	default:
		return mixed.Gains{}, fmt.Errorf("eagl: variant %q, want entropy, difference or bits", s.Variant)
	}
	low, high := p.Widths[0], p.Widths[len(p.Widths)-1]
	values, err := p.PerLayer(func(l mixed.Layer, w quant.Width) (float64, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if w == low && s.Variant != Difference {
			return 0, nil
		}
		rule := s.Lower
		if w == high { // of a network that is not trained at it
			rule = quant.Rule{Kind: quant.RuleMSE}
		}
		h, err := Of(p, l, w.Weight, rule)
		if s.Variant == TotalBits {
			h *= float64(l.Params)
		}
		return h, err
	})
	if err != nil {
		return mixed.Gains{}, fmt.Errorf("eagl: %w", err)
	}
	return mixed.Gains{Values: values, Notes: p.WeightNotes()}, nil
}

// Of returns the entropy, in bits, of a layer's weight codes at a width: -sum
// p*log2(p) over one histogram for the whole tensor, whatever shares a step.
// rule finds the step if it was not learned at that width; see
// mixed.Problem.Weight.
func Of(p *mixed.Problem, l mixed.Layer, bits int, rule quant.Rule) (float64, error) {
	w, err := p.Weight(l, bits, rule)
	if err != nil {
		return 0, err
	}
	counts, err := count(w)
	if err != nil {
		return 0, err
	}
	return quant.Entropy(counts), nil
}
