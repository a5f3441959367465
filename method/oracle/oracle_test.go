package oracle

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lowbit/internal/rng"
	"lowbit/method/lsq/lsqtest"
	"lowbit/mixed"
	"lowbit/tensor"
)

func problem(t *testing.T, bits ...int) *mixed.Problem {
	t.Helper()
	n, err := mixed.Link(lsqtest.Net(t, 1, 3), mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, tensor.NewStore(), mixed.Square(bits...), mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// additive is a world in which gains add up: minus the loss is the sum of truth
// over groups and widths, and normal noise that the key decides.
type additive struct {
	p     *mixed.Problem
	truth [][]float64
	noise float64
}

func (a additive) Identity() any { return a.noise }

func (a additive) Trial(_ context.Context, t mixed.Trial, _ string) (mixed.Metrics, error) {
	loss := 3.0
	for i, g := range a.p.Select {
		w := t.Plan.Layers[a.p.Groups[g].Name]
		for k := range a.p.Widths {
			if a.p.Widths[k] == w {
				loss -= a.truth[i][k]
			}
		}
	}
	h := uint64(t.Seed)
	for _, c := range t.Key {
		h = h*131 + uint64(c)
	}
	s := rng.New(h)
	return mixed.Metrics{HeldOutLoss: loss + a.noise*s.Normal()}, nil
}

func world(p *mixed.Problem, noise float64) additive {
	r := rand.New(rand.NewPCG(1, 1))
	a := additive{p: p, noise: noise}
	for range p.Select {
		v := make([]float64, len(p.Widths))
		for k := 1; k < len(v); k++ {
			v[k] = v[k-1] + r.Float64()
		}
		a.truth = append(a.truth, v)
	}
	return a
}

func TestFitFindsGainsThatAddUp(t *testing.T) {
	for _, bits := range [][]int{{2, 4}, {2, 4, 8}} {
		p := problem(t, bits...)
		a := world(p, 0)
		f, err := Scorer{Config: DefaultConfig(), Trainer: a}.Fit(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a.truth {
			for k, want := range a.truth[i] {
				if math.Abs(f.Gains[i][k]-want) > 1e-9 {
					t.Errorf("%v: group %d: %v, want %v", bits, i, f.Gains[i], a.truth[i])
				}
			}
		}
		if math.Abs(f.Intercept+3) > 1e-9 || math.Abs(f.Correlation-1) > 1e-9 || math.Abs(f.R2-1) > 1e-9 || f.Noise != 0 || f.Ceiling != 1 {
			t.Errorf("%v: %+v", bits, f)
		}
	}
}

func TestNoiseLimitsTheCorrelation(t *testing.T) {
	p := problem(t, 2, 4)
	a := world(p, 0.3)
	c := DefaultConfig()
	c.Configurations, c.Repeats = 400, 100
	f, err := Scorer{Config: c, Trainer: a}.Fit(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", f)
	// 100 differences know a deviation to 7 %.
	if math.Abs(f.Noise-0.3) > 0.07 || f.Correlation > f.Ceiling+0.05 || f.Correlation < f.Ceiling-0.1 || f.Ceiling > 0.95 {
		t.Errorf("noise %g, correlation %g, ceiling %g", f.Noise, f.Correlation, f.Ceiling)
	}
	g, err := Scorer{Config: c, Trainer: a}.Score(context.Background(), p)
	if err != nil || g.Check(p) != nil || !strings.Contains(strings.Join(g.Notes, ""), "noise allows") {
		t.Errorf("%+v, %v", g, err)
	}
	// Pure noise: what the model says of configurations it has not seen means
	// nothing.
	flat := additive{p: p, noise: 1, truth: make([][]float64, len(p.Select))}
	for i := range flat.truth {
		flat.truth[i] = make([]float64, len(p.Widths))
	}
	if f, err = (Scorer{Config: c, Trainer: flat}).Fit(context.Background(), p); err != nil || f.R2 > 0.05 || f.Correlation > 0.2 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestBudgetedDrawsMeetTheBudget(t *testing.T) {
	p := problem(t, 2, 4)
	c := Config{Configurations: 30, Budget: 0.8, Seed: 3}
	choices, err := c.draw(p)
	if err != nil {
		t.Fatal(err)
	}
	different := false
	for i, choice := range choices {
		if p.CostOf(choice) > 0.8 || p.CostOf(choice) < 0.5 {
			t.Errorf("draw %d costs %g", i, p.CostOf(choice))
		}
		different = different || p.CostOf(choice) != p.CostOf(choices[0])
	}
	if !different {
		t.Error("all draws cost the same")
	}
}

func TestFitRefuses(t *testing.T) {
	p := problem(t, 2, 4)
	for name, change := range map[string]func(*Config){
		"configurations for": func(c *Config) { c.Configurations = 8 }, "repeats": func(c *Config) { c.Repeats = 99 },
		"metric": func(c *Config) { c.Metric = "" }, "no choice fits": func(c *Config) { c.Budget = 0.1 },
	} {
		c := DefaultConfig()
		change(&c)
		if _, err := (Scorer{Config: c, Trainer: world(p, 0)}).Fit(context.Background(), p); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	same := [][]float64{{1, 0}, {1, 0}, {1, 0}}
	if _, err := leastSquares(same, []float64{1, 2, 3}); !errors.Is(err, errSingular) {
		t.Errorf("%v", err)
	}
	twice := [][]float64{{1, 1, 1}, {1, 0, 0}, {1, 1, 1}, {1, 0, 0}}
	if _, err := leastSquares(twice, []float64{1, 2, 3, 4}); !errors.Is(err, errSingular) {
		t.Errorf("%v", err)
	}
}
