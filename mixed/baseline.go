package mixed

import (
	"context"
	"fmt"
	"slices"

	"lowbit/internal/rng"
	"lowbit/quant"
)

// Uniform gives every group the same gain, so that the most groups stay wide:
// the cheap ones.
type Uniform struct{}

// Score implements Scorer: k for the k-th precision.
func (Uniform) Score(_ context.Context, p *Problem) (Gains, error) {
	values := make([][]float64, len(p.Select))
	for i := range values {
		for k := range p.Widths {
			values[i] = append(values[i], float64(k))
		}
	}
	return Gains{Values: values}, nil
}

// FirstToLast lowers groups in graph order until the budget is met.
type FirstToLast struct{}

// Score implements Scorer.
func (FirstToLast) Score(_ context.Context, p *Problem) (Gains, error) {
	order := make([]int, len(p.Select))
	for i := range order {
		order[i] = i
	}
	return Gains{Order: order}, nil
}

// LastToFirst lowers groups against graph order until the budget is met.
type LastToFirst struct{}

// Score implements Scorer.
func (LastToFirst) Score(ctx context.Context, p *Problem) (Gains, error) {
	g, err := FirstToLast{}.Score(ctx, p)
	slices.Reverse(g.Order)
	return g, err
}

// Random lowers groups in an order drawn from Seed until the budget is met: a
// random subset that meets it.
type Random struct{ Seed uint64 }

// randomDomain keeps the order's randomness apart from other uses of a seed.
const randomDomain = 0x6f726465

// Score implements Scorer.
func (r Random) Score(_ context.Context, p *Problem) (Gains, error) {
	perm := make([]int32, len(p.Select))
	s := rng.New(r.Seed, randomDomain)
	s.Perm(perm)
	order := make([]int, len(perm))
	for i, x := range perm {
		order[i] = int(x)
	}
	return Gains{Order: order}, nil
}

// Inverse turns another scorer around: the group that gained most gains least.
// A control: it should do worst.
type Inverse struct{ Of Scorer }

// Score implements Scorer: with lo and hi the least and the largest gain from
// the widest precision, a group's gains are scaled so that this one becomes
// lo+hi minus itself; groups that gain nothing get equal steps up to it.
func (s Inverse) Score(ctx context.Context, p *Problem) (Gains, error) {
	g, err := s.Of.Score(ctx, p)
	if err != nil {
		return Gains{}, err
	}
	if err := g.Check(p); err != nil {
		return Gains{}, err
	}
	if g.Values == nil {
		slices.Reverse(g.Order)
		return g, nil
	}
	top := len(p.Widths) - 1
	lo, hi := g.Values[0][top], g.Values[0][top]
	for _, v := range g.Values {
		lo, hi = min(lo, v[top]), max(hi, v[top])
	}
	values := make([][]float64, len(g.Values))
	for i, v := range g.Values {
		values[i] = make([]float64, len(v))
		for k := 1; k < len(v); k++ {
			part := float64(k) / float64(top)
			if v[top] != 0 {
				part = v[k] / v[top]
			}
			values[i][k] = (lo + hi - v[top]) * part
		}
	}
	return Gains{Values: values, Notes: append(g.Notes, "gains are turned around: a control")}, nil
}

// QuantizationError scores by how much less a wider grid rounds the weights.
type QuantizationError struct {
	// Lower finds steps that were not learned; see Problem.Weight.
	Lower quant.Rule
	// Relative divides a layer's error by the mean square of its weights.
	Relative bool
}

// Score implements Scorer: the mean of (w - Q(w))^2 at the narrowest precision
// less that at this one.
func (s QuantizationError) Score(ctx context.Context, p *Problem) (Gains, error) {
	values, err := p.PerLayer(func(l Layer, width quant.Width) (float64, error) {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		w, err := p.Weight(l, width.Weight, s.Lower)
		if err != nil {
			return 0, err
		}
		e, err := quant.SquaredError(w.Values, w.Step, w.Shape, w.Spec)
		if err != nil {
			return 0, err
		}
		if s.Relative {
			sum := 0.0
			for _, x := range w.Values {
				sum += float64(x) * float64(x)
			}
			if sum == 0 {
				return 0, nil
			}
			e /= sum / float64(len(w.Values))
		}
		return -e, nil
	})
	if err != nil {
		return Gains{}, fmt.Errorf("quantization error: %w", err)
	}
	return Gains{Values: values, Notes: p.WeightNotes()}, nil
}
