package optim

import (
	"math"
	"testing"
)

// scheduleBound is relative to the highest rate: both sides compute in float64,
// PyTorch's cosine by a recursion that gathers some rounding.
const scheduleBound = 1e-9

func TestSchedulesEqualPyTorch(t *testing.T) {
	const perEpoch, epochs = 10, 3
	schedules := map[string]Schedule{
		"cosine":         {Kind: Cosine, LR: 0.1},
		"cosine_final":   {Kind: Cosine, LR: 0.1, Final: 0.01},
		"onecycle":       {Kind: OneCycle, LR: 0.4},
		"onecycle_shape": {Kind: OneCycle, LR: 0.4, Rise: 0.2, Div: 10, FinalDiv: 100},
		"step":           {Kind: Steps, LR: 0.1, Gamma: 0.1, Milestones: []int{1, 2}},
	}
	for _, g := range readGolden(t).Schedules {
		s, ok := schedules[g.Name]
		per, n := perEpoch, epochs
		if g.Name == "exponential" { // PyTorch's scheduler stepped once an epoch
			s, ok, per, n = Schedule{Kind: Exponential, LR: 0.0015, Gamma: 0.936}, true, 1, 30
		}
		if !ok {
			t.Fatalf("golden %s has no schedule here", g.Name)
		}
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
		for i, want := range g.Rates {
			if got := s.At(i, per, n); math.Abs(got-want) > scheduleBound*s.LR {
				t.Errorf("%s step %d: %g, want %g", g.Name, i, got, want)
			}
		}
	}
}

func TestScheduleShapes(t *testing.T) {
	const per, epochs = 10, 4
	warm := Schedule{Kind: Cosine, LR: 1, Warmup: 0.5}
	for i, want := range []float64{1. / 6, 2. / 6, 3. / 6, 4. / 6, 5. / 6, 1} {
		if got := warm.At(i, per, epochs); math.Abs(got-want) > 1e-12 {
			t.Errorf("warm-up step %d: %g, want %g", i, got, want)
		}
	}
	if got := warm.At(per*epochs, per, epochs); got > 1e-12 {
		t.Errorf("cosine ends at %g, want 0", got)
	}
	linear := Schedule{Kind: Linear, LR: 1, Final: 0.5}
	if a, b, c := linear.At(0, per, epochs), linear.At(20, per, epochs), linear.At(40, per, epochs); a != 1 || b != 0.75 || c != 0.5 {
		t.Errorf("linear: %g %g %g, want 1 0.75 0.5", a, b, c)
	}
	every := Schedule{Kind: Steps, LR: 1, Gamma: 0.5, Every: 2}
	for i, want := range []float64{1, 1, 0.5, 0.5} {
		if a, b := every.At(i*per, per, epochs), every.At(i*per+per-1, per, epochs); a != want || b != want {
			t.Errorf("step epoch %d: %g to %g, want %g", i, a, b, want)
		}
	}
	if got := (Schedule{Kind: Constant, LR: 0.25}).At(39, per, epochs); got != 0.25 {
		t.Errorf("constant: %g, want 0.25", got)
	}
	faq := Schedule{Kind: Exponential, LR: 0.0015, Gamma: 0.936}
	if got := faq.At(110*per, per, 111); got < 1.0e-6 || got > 1.1e-6 {
		t.Errorf("FAQ's schedule ends at %g, want about 1.04e-6", got)
	}
}

func TestScheduleIsFiniteForAnyLength(t *testing.T) {
	for _, s := range []Schedule{
		{Kind: Constant, LR: 1}, {Kind: Cosine, LR: 1, Warmup: 1}, {Kind: Linear, LR: 1, Warmup: 3},
		{Kind: Steps, LR: 1, Gamma: .1, Every: 1}, {Kind: Exponential, LR: 1, Gamma: .9}, {Kind: OneCycle, LR: 1},
	} {
		for total := 0; total < 12; total++ {
			for step := 0; step <= total; step++ {
				for _, per := range []int{0, 1, 3} {
					if v := s.At(step, per, total); badNumber(v) || v < 0 || v > 1 {
						t.Fatalf("%+v step %d of %d x %d: %g", s, step, total, per, v)
					}
				}
			}
		}
	}
}

func TestScheduleValidateRejects(t *testing.T) {
	for _, s := range []Schedule{
		{}, {Kind: "up", LR: 1}, {Kind: Constant, LR: -1}, {Kind: Constant, LR: math.NaN()},
		{Kind: Steps, LR: 1, Gamma: .1}, {Kind: Steps, LR: 1, Gamma: .1, Milestones: []int{3, 3}},
		{Kind: Exponential, LR: 1}, {Kind: OneCycle, LR: 1, Warmup: 1}, {Kind: OneCycle, LR: 1, Rise: 1},
	} {
		if s.Validate() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}
