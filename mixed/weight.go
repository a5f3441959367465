package mixed

import (
	"fmt"
	"math"

	"lowbit/quant"
	"lowbit/tensor"
)

// Weight is a layer's weight with a grid.
type Weight struct {
	Values []float32
	Shape  tensor.Shape
	Spec   quant.Spec
	Step   []float32 // as Spec.Layout says
	// Learned is true if Step was trained, false if it was found here.
	Learned bool
}

// RuleKeepRange names a rule for narrower grids: the learned step grows so that
// the clip range stays, s*2^(learned bits - bits).
const RuleKeepRange quant.RuleKind = "keep-range"

// Weight returns a layer's weight on the grid of so many bits: with the step of
// the network's quantizer if it has these bits, else with a step that rule
// finds; an empty Kind is the one of least squared error. A layer without a
// quantizer gets one step for the whole tensor.
func (p *Problem) Weight(l Layer, bits int, rule quant.Rule) (Weight, error) {
	t := p.Store.Get(l.Weight)
	if t == nil || t.DType() != tensor.F32 {
		return Weight{}, fmt.Errorf("mixed: layer %s: the store lacks %q as f32", l.Name, l.Weight)
	}
	w := Weight{Values: t.Float32s(), Shape: t.Shape(), Spec: quant.Spec{Bits: bits, Signed: true}}
	var learned []float32
	if l.Quantized() {
		step := p.Store.Get(l.Step)
		if step == nil || step.DType() != tensor.F32 {
			return w, fmt.Errorf("mixed: layer %s: the store lacks %q as f32", l.Name, l.Step)
		}
		learned = step.Float32s()
		for _, s := range learned {
			if !(s > 0) || math.IsInf(float64(s), 0) {
				return w, fmt.Errorf("mixed: layer %s: step %q is %g, want positive", l.Name, l.Step, s)
			}
		}
		w.Spec = l.Spec
		w.Spec.Bits = bits
		if bits == l.Spec.Bits {
			w.Step, w.Learned = learned, true
			return w, nil
		}
	}
	switch {
	case rule.Kind == "", rule.Kind == RuleKeepRange && learned == nil:
		rule.Kind = quant.RuleMSE
	case rule.Kind == RuleKeepRange:
		for _, s := range learned {
			w.Step = append(w.Step, float32(math.Ldexp(float64(s), l.Spec.Bits-bits)))
		}
		return w, nil
	}
	if err := rule.Validate(); err != nil {
		return w, fmt.Errorf("mixed: layer %s: %w", l.Name, err)
	}
	var err error
	if w.Step, err = quant.Steps(w.Values, w.Shape, w.Spec, rule.Step); err != nil {
		return w, fmt.Errorf("mixed: layer %s: %w", l.Name, err)
	}
	return w, nil
}

// WeightNotes says which layers to be selected have no learned step at the
// widest precision.
func (p *Problem) WeightNotes() []string {
	missing, high := 0, p.Widths[len(p.Widths)-1].Weight
	for _, g := range p.Select {
		for _, l := range p.Groups[g].Layers {
			if !p.Layers[l].Quantized() || p.Layers[l].Spec.Bits != high {
				missing++
			}
		}
	}
	if missing == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d layers have no learned %d-bit step and use one found from their weights: train the network at %d bits first, learned steps tell more", missing, high, high)}
}
