package eval

import (
	"fmt"
	"math"
	"slices"
)

// pairUp checks two lists of numbers.
func pairUp(metric string, x, y []float64, least int) error {
	if len(x) != len(y) || len(x) < least {
		return fmt.Errorf("eval: %s of %d and %d values, want equally many, at least %d", metric, len(x), len(y), least)
	}
	for i := range x {
		if math.IsNaN(x[i]) || math.IsNaN(y[i]) || math.IsInf(x[i], 0) || math.IsInf(y[i], 0) {
			return fmt.Errorf("eval: %s: values %v and %v at %d, want finite numbers", metric, x[i], y[i], i)
		}
	}
	return nil
}

// Pearson returns the correlation of two lists:
//
//	Σ (x-x̄)(y-ȳ) / sqrt(Σ (x-x̄)² · Σ (y-ȳ)²)
//
// in -1..1. It fails for lists of unlike or less than two values, for values
// that are not finite and for a list that is constant.
func Pearson(x, y []float64) (float64, error) {
	if err := pairUp("pearson", x, y, 2); err != nil {
		return 0, err
	}
	if slices.Min(x) == slices.Max(x) || slices.Min(y) == slices.Max(y) {
		return 0, fmt.Errorf("eval: pearson of a list that is constant is not defined")
	}
	mx, my := mean(x), mean(y)
	var xx, yy, xy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		xx += float64(dx * dx)
		yy += float64(dy * dy)
		xy += float64(dx * dy)
	}
	return max(-1, min(1, xy/(math.Sqrt(xx)*math.Sqrt(yy)))), nil
}

func mean(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s / float64(len(x))
}

// Spearman returns the correlation of the ranks of two lists; equal values
// share the mean of their ranks. It fails where Pearson does.
func Spearman(x, y []float64) (float64, error) {
	if err := pairUp("spearman", x, y, 2); err != nil {
		return 0, err
	}
	r, err := Pearson(ranks(x), ranks(y))
	if err != nil {
		return 0, fmt.Errorf("eval: spearman of a list that is constant is not defined")
	}
	return r, nil
}

// ranks numbers values from 1, smallest first.
func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case x[a] < x[b]:
			return -1
		case x[a] > x[b]:
			return 1
		}
		return 0
	})
	r := make([]float64, len(x))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && x[order[j]] == x[order[i]] {
			j++
		}
		for _, k := range order[i:j] {
			r[k] = float64(i+j+1) / 2 // the mean of i+1 … j
		}
		i = j
	}
	return r
}

// Confusions counts the outcomes of a task with the classes 0 and 1.
type Confusions struct{ TruePositives, FalsePositives, TrueNegatives, FalseNegatives int }

// Count compares predicted classes with labels, both 0 or 1.
func Count(predicted, labels []int32) (Confusions, error) {
	var c Confusions
	if len(predicted) != len(labels) || len(labels) == 0 {
		return c, fmt.Errorf("eval: %d predictions for %d labels, want equally many, at least 1", len(predicted), len(labels))
	}
	for i, p := range predicted {
		switch y := labels[i]; {
		case p == 1 && y == 1:
			c.TruePositives++
		case p == 1 && y == 0:
			c.FalsePositives++
		case p == 0 && y == 0:
			c.TrueNegatives++
		case p == 0 && y == 1:
			c.FalseNegatives++
		default:
			return c, fmt.Errorf("eval: prediction %d and label %d at %d, want 0 or 1", p, y, i)
		}
	}
	return c, nil
}

// Accuracy is the share of right predictions.
func (c Confusions) Accuracy() float64 {
	n := c.TruePositives + c.TrueNegatives + c.FalsePositives + c.FalseNegatives
	return ratio(float64(c.TruePositives+c.TrueNegatives), float64(n))
}

// F1 is the harmonic mean of precision and recall of class 1,
// 2TP/(2TP+FP+FN); 0 where there is neither.
func (c Confusions) F1() float64 {
	return ratio(float64(2*c.TruePositives), float64(2*c.TruePositives+c.FalsePositives+c.FalseNegatives))
}

// Matthews is the correlation of predictions and labels (Matthews 1975),
//
//	(TP·TN - FP·FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN))
//
// in -1..1; 0 where a row or column is empty.
func (c Confusions) Matthews() float64 {
	tp, fp, tn, fn := float64(c.TruePositives), float64(c.FalsePositives), float64(c.TrueNegatives), float64(c.FalseNegatives)
	return ratio(tp*tn-fp*fn, math.Sqrt(tp+fp)*math.Sqrt(tp+fn)*math.Sqrt(tn+fp)*math.Sqrt(tn+fn))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Matches returns the share of predictions that equal their label, for any
// number of classes.
func Matches(predicted, labels []int32) (float64, error) {
	if len(predicted) != len(labels) || len(labels) == 0 {
		return 0, fmt.Errorf("eval: %d predictions for %d labels, want equally many, at least 1", len(predicted), len(labels))
	}
	n := 0
	for i, p := range predicted {
		if p == labels[i] {
			n++
		}
	}
	return float64(n) / float64(len(labels)), nil
}
