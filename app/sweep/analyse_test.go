package sweep

import (
	"math"
	"reflect"
	"testing"

	"lowbit/mixed"
)

func TestSpearman(t *testing.T) {
	for _, c := range []struct {
		a, b []float64
		want float64
	}{
		{[]float64{1, 2, 3, 4}, []float64{10, 20, 30, 1e9}, 1},
		{[]float64{1, 2, 3, 4}, []float64{4, 3, 2, 1}, -1},
		{[]float64{1, 2, 3}, []float64{5, 5, 5}, 0},
		// scipy's documentation of spearmanr has these two lists.
		{[]float64{1, 2, 3, 4, 5}, []float64{5, 6, 7, 8, 7}, 0.8207826816681233},
	} {
		if got := Spearman(c.a, c.b); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%v and %v: %g, want %g", c.a, c.b, got, c.want)
		}
	}
}

func TestIntervalIsStudents(t *testing.T) {
	mean, sd, half := interval([]float64{1, 2, 3, 4, 5})
	if mean != 3 || math.Abs(sd-math.Sqrt(2.5)) > 1e-12 || math.Abs(half-2.7764*math.Sqrt(0.5)) > 1e-4 {
		t.Errorf("%g, %g, %g", mean, sd, half)
	}
	if _, sd, half = interval([]float64{7}); sd != 0 || half != 0 {
		t.Errorf("one value: %g, %g", sd, half)
	}
}

// result has three methods at one budget, with seeds that shift all of them.
func result() *Result {
	r := &Result{Widths: mixed.Square(2, 4)}
	for seed, shift := range []float64{0, 0.1, -0.1, 0.05} {
		for method, a := range map[string]float64{"eagl": 0.8, "random": 0.7, "alps": 0.8, "w4a4": 0.85} {
			budget := 0.7
			if method == "w4a4" {
				budget = 1
			}
			if method == "alps" {
				a += 0.01 * float64(seed%2*2-1) // no better, no worse
			}
			if method == "random" {
				a += 0.001 * float64(seed)
			}
			r.Points = append(r.Points, Point{Method: method, Budget: budget, Seed: uint64(seed), Accuracy: a + shift, Cost: budget, Done: true})
		}
	}
	r.Points = append(r.Points, Point{Method: "eagl", Budget: 0.9, Seed: 0}) // not done
	r.analyse()
	return r
}

func TestPairsAreBySeed(t *testing.T) {
	r := result()
	found := 0
	for _, p := range r.Pairs {
		switch p.Method + " " + p.Baseline {
		case "eagl random": // the seeds' shifts are far above the difference
			found++
			if math.Abs(p.Difference-0.0985) > 1e-9 || !p.Separated || p.N != 4 {
				t.Errorf("%+v", p)
			}
		case "eagl w4a4":
			found++
			if math.Abs(p.Difference+0.05) > 1e-9 || p.Budget != 0.7 {
				t.Errorf("%+v", p)
			}
		case "alps w4a4":
			if !p.Separated {
				t.Errorf("%+v", p)
			}
		}
		if p.Method == "w4a4" {
			t.Errorf("%+v", p)
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 pairs in %+v", found, r.Pairs)
	}
	for _, s := range r.Frontier {
		if len(s.Spots) != 1 || s.Spots[0].N != 4 || s.Spots[0].SD < 0.05 {
			t.Errorf("%+v", s)
		}
	}
	// Without the pairing the interval of the mean alone covers the other's.
	eagl := r.series("eagl").Spots[0]
	if eagl.CI95 < 0.1 {
		t.Errorf("%+v", eagl)
	}
}

// Over budgets a seed is one figure, the mean of its differences, and counts only
// where both methods are done at each budget.
func TestOverallIsAMeanOverBudgets(t *testing.T) {
	r := &Result{Widths: mixed.Square(2, 4)}
	add := func(method string, seed uint64, accuracies ...float64) {
		for i, a := range accuracies {
			r.Points = append(r.Points, Point{Method: method, Budget: 0.6 + 0.1*float64(i), Seed: seed, Accuracy: a, Done: a > 0})
		}
	}
	add("alps", 1, 0.70, 0.80)
	add("alps", 2, 0.72, 0.84)
	add("alps", 3, 0.71, 0) // not done at the second budget
	add("random", 1, 0.69, 0.77)
	add("random", 2, 0.70, 0.80)
	add("random", 3, 0.10, 0.10)
	add("w4a4", 1, 0.9)
	add("w4a4", 2, 0.9)
	r.analyse()
	if len(r.Overall) != 2 {
		t.Fatalf("%+v", r.Overall)
	}
	// Differences 0.02 and 0.03: mean 0.025, half an interval 12.7062 * 0.005.
	p := r.Overall[0]
	if p.Method != "alps" || p.Baseline != "random" || p.N != 2 || len(p.Budgets) != 2 || math.Abs(p.Difference-0.025) > 1e-9 ||
		math.Abs(p.CI95-12.7062*0.005) > 1e-6 || p.Separated {
		t.Errorf("%+v", p)
	}
	if q := r.Overall[1]; q.Method != "random" || math.Abs(q.Difference+p.Difference) > 1e-12 {
		t.Errorf("%+v", q)
	}
	for i := range r.Points { // one budget is no mean
		r.Points[i].Budget = 0.6
	}
	if r.analyse(); len(r.Overall) != 0 {
		t.Errorf("%+v", r.Overall)
	}
}

func TestCorrelationOfGains(t *testing.T) {
	r := &Result{Scored: []Scored{
		{Method: "a", Gains: mixed.Gains{Values: [][]float64{{0, 1}, {0, 2}, {0, 3}}}},
		{Method: "order", Gains: mixed.Gains{Order: []int{0, 1, 2}}},
		{Method: "b", Gains: mixed.Gains{Values: [][]float64{{0, 3}, {0, 2}, {0, 1}}}},
	}}
	r.analyse()
	want := Correlation{Methods: []string{"a", "b"}, Spearman: [][]float64{{1, -1}, {-1, 1}}}
	if !reflect.DeepEqual(r.Correlation, want) {
		t.Errorf("%+v", r.Correlation)
	}
}
