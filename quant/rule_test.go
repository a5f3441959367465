package quant

import (
	"math"
	"testing"
)

func TestObserversAgreeWithRulesOnAllValues(t *testing.T) {
	r := newRand(t, 29)
	v := normals(r, 5000)
	for _, rule := range []Rule{{Kind: RuleLSQ}, {Kind: RuleMSE}, {Kind: RuleMax}, {Kind: RulePercentile, Percentile: 99.9}, {Kind: RuleSigma, Sigma: 3}} {
		for _, s := range []Spec{{Bits: 4}, {Bits: 3, Signed: true}} {
			o, err := rule.NewObserver(s, len(v))
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; at < len(v); at += 1000 {
				if err := o.Add(v[at : at+1000]); err != nil {
					t.Fatal(err)
				}
			}
			// The histogram's bins are 2^-11 wide and the error is flat near its
			// minimum; the others sum in the same precision.
			tol := 1e-6
			if rule.Kind == RuleMSE {
				tol = 2e-3
			}
			if got, want := o.Step(), rule.Step(v, s); math.Abs(float64(got/want-1)) > tol {
				t.Errorf("%v of %v: %g in parts, %g at once", rule.Kind, s, got, want)
			}
			rule.Pow2 = true
			if got := rule.Step(v, s); Pow2Up(got) != got {
				t.Errorf("%v of %v: %g is no power of two", rule.Kind, s, got)
			}
			rule.Pow2 = false
		}
	}
}

// FAQ's rule: the percentile rounded up to a power of two is 2^Bits steps.
func TestPercentileObserverRoundsTheRangeUp(t *testing.T) {
	o, err := Rule{Kind: RulePercentile, Percentile: 100, Pow2: true}.NewObserver(Spec{Bits: 4}, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Add([]float32{1, 5, 2}); err != nil {
		t.Fatal(err)
	}
	if o.Step() != 0.5 {
		t.Errorf("step %g, want 8/16", o.Step())
	}
}

func TestRulesAreValidated(t *testing.T) {
	for _, r := range []Rule{{}, {Kind: "mean"}, {Kind: RulePercentile}, {Kind: RulePercentile, Percentile: 101}, {Kind: RuleSigma}, {Kind: RuleSigma, Sigma: math.Inf(1)}} {
		if _, err := r.NewObserver(Spec{Bits: 4}, 10); err == nil {
			t.Errorf("%+v accepted", r)
		}
	}
	if _, err := (Rule{Kind: RuleMax}).NewObserver(Spec{Bits: 9}, 10); err == nil {
		t.Error("9 bits accepted")
	}
}
