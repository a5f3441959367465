package mixed

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// bruteForce tries every choice.
func bruteForce(groups [][]Option, capacity int64) (best float64, found bool) {
	var try func(i int, cost int64, gain float64)
	best = math.Inf(-1)
	try = func(i int, cost int64, gain float64) {
		if cost > capacity {
			return
		}
		if i == len(groups) {
			found = true
			best = max(best, gain)
			return
		}
		for _, o := range groups[i] {
			try(i+1, cost+o.Cost, gain+o.Gain)
		}
	}
	try(0, 0, 0)
	return best, found
}

// kinds of instances.
const kinds = 7

// instance draws groups of a kind: costs that rise with the width or not, gains
// that follow costs closely or not at all, a few equal ones.
func instance(r *rand.Rand, groups, options, kind int) [][]Option {
	in := make([][]Option, groups)
	for i := range in {
		base := int64(1 + r.IntN(1000))
		for k := range options {
			o := Option{Cost: base * int64(k+1), Gain: r.Float64() * float64(k)}
			switch kind {
			case 1: // gains proportional to costs: a subset sum
				o.Gain = float64(o.Cost)
			case 2: // equal gains
				o.Gain = float64(k)
			case 3: // anything, also negative and useless
				o = Option{int64(r.IntN(50)), r.NormFloat64()}
			case 4: // few distinct costs
				o.Cost = int64(k+1) * int64(1+base%3)
			case 5: // large costs, and gains that follow them but for a little
				o.Cost = int64(k+1) * r.Int64N(1e9)
				o.Gain = float64(o.Cost) * (1 + 0.01*r.Float64())
			case 6: // large costs, gains of which are those and a constant
				o.Cost = int64(k+1) * (base<<20 + r.Int64N(1<<20))
				o.Gain = float64(o.Cost + 1e8)
			}
			in[i] = append(in[i], o)
		}
	}
	return in
}

func check(t *testing.T, in [][]Option, s Solution, capacity int64) {
	t.Helper()
	var cost int64
	gain := 0.0
	for i, c := range s.Choice {
		cost += in[i][c].Cost
		gain += in[i][c].Gain
	}
	if cost != s.Cost || math.Abs(gain-s.Gain) > 1e-9*math.Max(1, math.Abs(gain)) || cost > capacity {
		t.Fatalf("the choice costs %d and gains %g, said %d and %g, capacity %d", cost, gain, s.Cost, s.Gain, capacity)
	}
}

func TestSolveEqualsBruteForce(t *testing.T) {
	const seed = 7
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range 400 {
		groups, options := 1+r.IntN(12), 2+r.IntN(2)
		if options == 3 {
			groups = min(groups, 8)
		}
		in := instance(r, groups, options, n%kinds)
		var least, most int64
		for _, os := range in {
			lo, hi := os[0].Cost, os[0].Cost
			for _, o := range os {
				lo, hi = min(lo, o.Cost), max(hi, o.Cost)
			}
			least, most = least+lo, most+hi
		}
		capacity := least + r.Int64N(most-least+2) - 1
		want, feasible := bruteForce(in, capacity)
		s, err := Solve(in, capacity)
		if !feasible {
			if !errors.Is(err, ErrInfeasible) {
				t.Fatalf("seed %d, case %d: %v, want infeasible", seed, n, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, in, s, capacity)
		if math.Abs(s.Gain-want) > 1e-9*math.Max(1, math.Abs(want)) || !s.Exact {
			t.Fatalf("seed %d, case %d: gain %g (exact %t), brute force %g", seed, n, s.Gain, s.Exact, want)
		}
	}
}

func TestSolveTwelveGroupsOfThree(t *testing.T) {
	const seed = 8
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range kinds {
		in := instance(r, 12, 3, n)
		capacity := int64(0)
		for _, os := range in {
			capacity += (os[0].Cost + os[len(os)-1].Cost) / 2
		}
		want, feasible := bruteForce(in, capacity)
		s, err := Solve(in, capacity)
		if !feasible {
			continue
		}
		if err != nil || math.Abs(s.Gain-want) > 1e-9*math.Max(1, math.Abs(want)) {
			t.Fatalf("seed %d, case %d: gain %g, brute force %g, %v", seed, n, s.Gain, want, err)
		}
	}
}

// solveLimit is the time that 200 groups of 3 precisions may take, with room
// for a loaded machine and the race detector.
const solveLimit = 5 * time.Second

func TestSolveTwoHundredGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 0))
	for kind := range kinds {
		in := instance(r, 200, 3, kind)
		capacity := int64(0)
		for _, os := range in {
			least := min(os[0].Cost, os[1].Cost, os[2].Cost)
			capacity += least + (max(os[0].Cost, os[1].Cost, os[2].Cost)-least)*2/5
		}
		began := time.Now()
		s, err := Solve(in, capacity)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		check(t, in, s, capacity)
		t.Logf("kind %d: %v, slack %d of %d", kind, took, capacity-s.Cost, capacity)
		if gap := s.Bound - s.Gain; took > solveLimit || gap > 4*coarse*s.Bound || kind != 6 && !s.Exact {
			t.Errorf("kind %d: %v, exact %t, at most %g below the best", kind, took, s.Exact, gap)
		}
	}
}

func TestSolveSaysWhenItIsNotExact(t *testing.T) {
	r := rand.New(rand.NewPCG(10, 0))
	in := instance(r, 60, 3, 0)
	capacity := int64(0)
	for _, os := range in {
		capacity += os[1].Cost
	}
	exact, err := Solve(in, capacity)
	if err != nil {
		t.Fatal(err)
	}
	s, err := solve(in, capacity, 3)
	if err != nil {
		t.Fatal(err)
	}
	check(t, in, s, capacity)
	if s.Exact || s.Gain > exact.Gain || s.Bound < exact.Gain {
		t.Errorf("gain %g, bound %g, exact %t; the best is %g", s.Gain, s.Bound, s.Exact, exact.Gain)
	}
}

func TestSolveRefuses(t *testing.T) {
	for name, in := range map[string][][]Option{
		"no options": {{}}, "NaN": {{{1, math.NaN()}}}, "infinite": {{{1, math.Inf(1)}}}, "negative cost": {{{-1, 0}}},
	} {
		if _, err := Solve(in, 10); err == nil || errors.Is(err, ErrInfeasible) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Solve([][]Option{{{5, 1}}, {{6, 1}}}, 10); !errors.Is(err, ErrInfeasible) {
		t.Errorf("%v", err)
	}
}

func BenchmarkSolve(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 0))
	in := instance(r, 200, 3, 0)
	capacity := int64(0)
	for _, os := range in {
		capacity += os[1].Cost
	}
	for b.Loop() {
		if _, err := Solve(in, capacity); err != nil {
			b.Fatal(err)
		}
	}
}
