package quant

import (
	"fmt"
	"math"
	"slices"
)

// Top collects the largest of a known number of values, given in any number of
// parts, so that their percentile is exact in bounded memory: it keeps at most
// twice the values above the percentile.
//
// The p-th percentile of n values, sorted x[0] <= ... <= x[n-1], stands at rank
// r = p/100*(n-1) and lies on the straight line between x[floor(r)] and
// x[floor(r)+1]: NumPy's default, "linear".
type Top struct {
	p     float64
	total int
	keep  int       // values at or above the lower neighbour's rank
	kept  []float32 // the largest so far, unordered, at most 2*keep
	floor float32   // values not above it cannot matter any more
	seen  int
}

// NewTop prepares for the p-th percentile (0..100) of exactly total values.
func NewTop(p float64, total int) (*Top, error) {
	if !(p >= 0 && p <= 100) || total < 1 {
		return nil, fmt.Errorf("quant: percentile %g of %d values, want 0..100 of at least 1", p, total)
	}
	t := &Top{p: p, total: total, floor: float32(math.Inf(-1))}
	low, _ := t.rank()
	t.keep = total - low
	return t, nil
}

// rank returns the lower neighbour's rank and the upper one's weight.
func (t *Top) rank() (int, float64) {
	r := t.p / 100 * float64(t.total-1)
	low := math.Floor(r)
	return int(low), r - low
}

// Add takes the next values, or their magnitudes if abs. It returns an error if
// there are more than NewTop was told.
func (t *Top) Add(v []float32, abs bool) error {
	if t.seen += len(v); t.seen > t.total {
		return fmt.Errorf("quant: %d values given to a percentile of %d", t.seen, t.total)
	}
	for _, x := range v {
		if abs && x < 0 {
			x = -x
		}
		if x <= t.floor {
			continue
		}
		t.kept = append(t.kept, x)
		if len(t.kept) >= 2*t.keep {
			t.shrink()
		}
	}
	return nil
}

// shrink drops all but the largest keep values.
func (t *Top) shrink() {
	slices.Sort(t.kept)
	t.kept = append(t.kept[:0], t.kept[len(t.kept)-t.keep:]...)
	t.floor = t.kept[0]
}

// Seen returns the number of values taken so far.
func (t *Top) Seen() int { return t.seen }

// Percentile returns the percentile; meaningful once all values were added.
func (t *Top) Percentile() float32 {
	if len(t.kept) == 0 {
		return 0
	}
	slices.Sort(t.kept)
	at := func(fromEnd int) float64 { return float64(t.kept[max(len(t.kept)-1-fromEnd, 0)]) }
	low, w := t.rank()
	a := at(t.total - 1 - low)
	if w == 0 {
		return float32(a)
	}
	return float32(a + w*(at(t.total-2-low)-a))
}

// Percentile returns the p-th percentile (0..100) of v; see Top for the rule.
func Percentile(v []float32, p float64) (float32, error) {
	t, err := NewTop(p, len(v))
	if err != nil {
		return 0, err
	}
	if err := t.Add(v, false); err != nil {
		return 0, err
	}
	return t.Percentile(), nil
}
