package sweep

import (
	"cmp"
	"math"
	"slices"
)

// Series is one method's part of the frontier.
type Series struct {
	Method string `json:"method"`
	Spots  []Spot `json:"spots"` // by rising budget
}

// Spot is a method at a budget, over seeds.
type Spot struct {
	Budget float64 `json:"budget"`
	Cost   float64 `json:"cost"` // mean
	// BitMACs is the mean cost in bit-MACs, where the sweep counts in something
	// else.
	BitMACs float64 `json:"bit_macs,omitempty"`
	// MS is the mean time of an example, where times are measured.
	MS float64 `json:"ms,omitempty"`
	// Mean accuracy, its standard deviation over seeds, and half the width of
	// the 95 % confidence interval of the mean; the last two are 0 for one seed.
	Mean float64 `json:"mean"`
	SD   float64 `json:"sd"`
	CI95 float64 `json:"ci95"`
	N    int     `json:"n"`
}

// Pair compares two methods at a budget, seed by seed.
type Pair struct {
	Method string `json:"method"`
	// Baseline is a method at the same budget, or a uniform precision.
	Baseline string `json:"baseline"`
	// Budget is 0 for the mean over Budgets, in Result.Overall.
	Budget  float64   `json:"budget,omitempty"`
	Budgets []float64 `json:"budgets,omitempty"`
	// Difference is the mean of accuracy minus the baseline's, CI95 half the
	// width of its 95 % confidence interval (Student's t over seeds).
	Difference float64 `json:"difference"`
	CI95       float64 `json:"ci95"`
	N          int     `json:"n"`
	// Separated is true if the interval leaves out 0.
	Separated bool `json:"separated"`
}

// Correlation of the methods' gains from the widest precision over groups.
type Correlation struct {
	Methods []string `json:"methods"` // those with gains
	// Spearman[i][j] is the rank correlation of two methods; equal gains share
	// their mean rank; 0 where a method's gains are all equal.
	Spearman [][]float64 `json:"spearman"`
}

// baselines are what every other method is compared with.
var baselines = []string{"random", "first-to-last", "last-to-first", "uniform"}

// t975 is the 97.5 % quantile of Student's t with 1, 2, … degrees of freedom.
var t975 = []float64{
	12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
	2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
	2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
}

// interval returns mean, standard deviation and half the width of the 95 %
// confidence interval of the mean.
func interval(v []float64) (mean, sd, half float64) {
	n := float64(len(v))
	for _, x := range v {
		mean += x / n
	}
	if len(v) < 2 {
		return mean, 0, 0
	}
	for _, x := range v {
		sd += (x - mean) * (x - mean) / (n - 1)
	}
	sd = math.Sqrt(sd)
	t := 2.0 // from 60 on; between, the last of the table errs on the wide side
	if len(v) <= 60 {
		t = t975[min(len(v)-2, len(t975)-1)]
	}
	return mean, sd, t * sd / math.Sqrt(n)
}

// analyse fills in what follows from points and gains.
func (r *Result) analyse() {
	r.Frontier, r.Pairs, r.Overall = nil, nil, nil
	var methods []string
	for _, p := range r.Points {
		if p.Done && !slices.Contains(methods, p.Method) {
			methods = append(methods, p.Method)
		}
	}
	for _, m := range methods {
		r.Frontier = append(r.Frontier, r.series(m))
	}
	uniform := make([]string, len(r.Widths))
	for i, w := range r.Widths {
		uniform[i] = w.String()
	}
	for _, m := range methods {
		if slices.Contains(uniform, m) {
			continue
		}
		for _, b := range slices.Concat(baselines, uniform) {
			if m != b {
				r.Pairs = append(r.Pairs, r.pairs(m, b, slices.Contains(uniform, b))...)
			}
		}
		for _, b := range methods {
			if p, ok := r.overall(m, b); ok && b != m && !slices.Contains(uniform, b) {
				r.Overall = append(r.Overall, p)
			}
		}
	}
	r.correlate()
}

func (r *Result) series(method string) Series {
	s := Series{Method: method}
	for _, budget := range r.budgets(method) {
		var acc []float64
		var cost, bitMACs, ms float64
		for _, p := range r.Points {
			if p.Done && p.Method == method && p.Budget == budget {
				acc = append(acc, p.Accuracy)
				cost += p.Cost
				bitMACs += p.in("bit-macs")
				ms += p.MS
			}
		}
		n := float64(len(acc))
		spot := Spot{Budget: budget, Cost: cost / n, BitMACs: bitMACs / n, MS: ms / n, N: len(acc)}
		spot.Mean, spot.SD, spot.CI95 = interval(acc)
		s.Spots = append(s.Spots, spot)
	}
	return s
}

// in is a point's cost in another model than the sweep's, 0 if it has none.
func (p Point) in(model string) float64 {
	for _, o := range p.Other {
		if o.CostModel == model {
			return o.Cost
		}
	}
	return 0
}

// budgets of a method's points that are done, rising.
func (r *Result) budgets(method string) []float64 {
	var bs []float64
	for _, p := range r.Points {
		if p.Done && p.Method == method && !slices.Contains(bs, p.Budget) {
			bs = append(bs, p.Budget)
		}
	}
	slices.Sort(bs)
	return bs
}

// pairs compares two methods at all budgets where both have two seeds at least;
// the baseline at its own budget if that is the only one it has.
func (r *Result) pairs(method, baseline string, only bool) []Pair {
	var out []Pair
	for _, budget := range r.budgets(method) {
		var diffs []float64
		for _, p := range r.Points {
			for _, q := range r.Points {
				if p.Done && q.Done && p.Method == method && q.Method == baseline &&
					p.Budget == budget && (only || q.Budget == budget) && p.Seed == q.Seed {
					diffs = append(diffs, p.Accuracy-q.Accuracy)
				}
			}
		}
		if len(diffs) < 2 {
			continue
		}
		pair := Pair{Method: method, Baseline: baseline, Budget: budget, N: len(diffs)}
		pair.Difference, _, pair.CI95 = interval(diffs)
		pair.Separated = math.Abs(pair.Difference) > pair.CI95
		out = append(out, pair)
	}
	return out
}

// overall compares two methods by their mean accuracy over all budgets that both
// have, seed by seed: a seed counts where both are done at each. It is not ok for
// fewer than two budgets or seeds.
func (r *Result) overall(method, baseline string) (pair Pair, ok bool) {
	budgets := r.budgets(method)
	other := r.budgets(baseline)
	budgets = slices.DeleteFunc(budgets, func(b float64) bool { return !slices.Contains(other, b) })
	sums := map[uint64]float64{}
	found := map[uint64]int{}
	var seeds []uint64
	for _, p := range r.Points {
		sign := 1.0
		switch {
		case !p.Done || !slices.Contains(budgets, p.Budget):
			continue
		case p.Method == baseline:
			sign = -1
		case p.Method != method:
			continue
		}
		if !slices.Contains(seeds, p.Seed) {
			seeds = append(seeds, p.Seed)
		}
		sums[p.Seed] += sign * p.Accuracy / float64(len(budgets))
		found[p.Seed]++
	}
	var diffs []float64
	for _, s := range seeds {
		if found[s] == 2*len(budgets) {
			diffs = append(diffs, sums[s])
		}
	}
	if len(budgets) < 2 || len(diffs) < 2 {
		return Pair{}, false
	}
	pair = Pair{Method: method, Baseline: baseline, Budgets: budgets, N: len(diffs)}
	pair.Difference, _, pair.CI95 = interval(diffs)
	pair.Separated = math.Abs(pair.Difference) > pair.CI95
	return pair, true
}

func (r *Result) correlate() {
	r.Correlation = Correlation{}
	var rows [][]float64
	for _, s := range r.Scored {
		if s.Gains.Values == nil {
			continue
		}
		var v []float64
		for _, g := range s.Gains.Values {
			v = append(v, g[len(g)-1])
		}
		r.Correlation.Methods = append(r.Correlation.Methods, s.Method)
		rows = append(rows, v)
	}
	for _, a := range rows {
		var row []float64
		for _, b := range rows {
			row = append(row, Spearman(a, b))
		}
		r.Correlation.Spearman = append(r.Correlation.Spearman, row)
	}
}

// Spearman is the correlation of the ranks of two lists of one length; equal
// values share their mean rank. It is 0 if a list has one value only.
func Spearman(a, b []float64) float64 {
	ra, rb := ranks(a), ranks(b)
	mean := float64(len(a)-1) / 2
	var ab, aa, bb float64
	for i := range ra {
		ab += (ra[i] - mean) * (rb[i] - mean)
		aa += (ra[i] - mean) * (ra[i] - mean)
		bb += (rb[i] - mean) * (rb[i] - mean)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// ranks from 0.
func ranks(v []float64) []float64 {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(v[i], v[j]) })
	r := make([]float64, len(v))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && v[order[j]] == v[order[i]] {
			j++
		}
		for k := i; k < j; k++ {
			r[order[k]] = float64(i+j-1) / 2
		}
		i = j
	}
	return r
}
