package oracle

import (
	"errors"
	"fmt"
	"math"

	"lowbit/mixed"
)

// fit explains y, the metrics of all configurations and then of the repeated
// ones, by the choices.
func fit(p *mixed.Problem, c Config, choices [][]int, y []float64) (*Fit, error) {
	n := len(choices)
	x := make([][]float64, n)
	for i, choice := range choices {
		x[i] = indicators(p, choice)
	}
	beta, err := leastSquares(x, y[:n])
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	f := &Fit{Metric: c.Metric, Intercept: beta[0], Configurations: n}
	narrow := len(p.Widths) - 1
	for i := range p.Select {
		f.Gains = append(f.Gains, append([]float64{0}, beta[1+i*narrow:1+(i+1)*narrow]...))
	}
	if err := f.leaveOneOut(x, y[:n]); err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	if c.Repeats > 0 {
		sum := 0.0
		for i, again := range y[n:] {
			sum += (again - y[i]) * (again - y[i])
		}
		noise := sum / float64(2*c.Repeats) // of a difference: twice the variance
		f.Noise = math.Sqrt(noise)
		if _, variance := moments(y[:n]); variance > noise {
			f.Ceiling = math.Sqrt(1 - noise/variance)
		}
	}
	return f, nil
}

// indicators is a configuration's row: 1, then 1 at the width of each group.
func indicators(p *mixed.Problem, choice []int) []float64 {
	narrow := len(p.Widths) - 1
	row := make([]float64, coefficients(p))
	row[0] = 1
	for i, k := range choice {
		if k > 0 {
			row[1+i*narrow+k-1] = 1
		}
	}
	return row
}

// leaveOneOut fills Correlation and R2.
func (f *Fit) leaveOneOut(x [][]float64, y []float64) error {
	n := len(y)
	said := make([]float64, n)
	rest, yRest := make([][]float64, n-1), make([]float64, n-1)
	for i := range x {
		copy(rest, x[:i])
		copy(rest[i:], x[i+1:])
		copy(yRest, y[:i])
		copy(yRest[i:], y[i+1:])
		beta, err := leastSquares(rest, yRest)
		if err != nil {
			return err
		}
		for j, b := range beta {
			said[i] += b * x[i][j]
		}
	}
	meanY, varY := moments(y)
	meanS, varS := moments(said)
	if varY == 0 || varS == 0 {
		return nil
	}
	both, wrong := 0.0, 0.0
	for i := range y {
		both += (y[i] - meanY) * (said[i] - meanS)
		wrong += (y[i] - said[i]) * (y[i] - said[i])
	}
	f.Correlation = both / float64(n-1) / math.Sqrt(varY*varS)
	f.R2 = 1 - wrong/(float64(n-1)*varY)
	return nil
}

// moments returns mean and unbiased variance.
func moments(v []float64) (mean, variance float64) {
	for _, x := range v {
		mean += x
	}
	mean /= float64(len(v))
	for _, x := range v {
		variance += (x - mean) * (x - mean)
	}
	return mean, variance / float64(max(len(v)-1, 1))
}

// errSingular: the configurations do not determine the model.
var errSingular = errors.New("the configurations drawn do not tell all groups apart, want more of them")

// singular is the least diagonal of R, relative to the column's norm, that
// counts as independent: columns are 0 and 1, so true ones are above 0.01.
const singular = 1e-9

// leastSquares returns the b of least |x*b - y|, by Householder's reflections.
func leastSquares(x [][]float64, y []float64) ([]float64, error) {
	n, k := len(x), len(x[0])
	if n < k {
		return nil, errSingular
	}
	a := make([][]float64, n) // [x | y]
	for i := range a {
		a[i] = append(append(make([]float64, 0, k+1), x[i]...), y[i])
	}
	for j := range k {
		whole, norm := 0.0, 0.0
		for i := range a {
			whole += a[i][j] * a[i][j]
			if i >= j {
				norm += a[i][j] * a[i][j]
			}
		}
		norm = math.Sqrt(norm)
		if !(norm > singular*math.Sqrt(whole)) {
			return nil, errSingular
		}
		reflect(a, j, norm)
	}
	b := make([]float64, k)
	for j := k - 1; j >= 0; j-- {
		b[j] = a[j][k]
		for c := j + 1; c < k; c++ {
			b[j] -= a[j][c] * b[c]
		}
		b[j] /= a[j][j]
	}
	return b, nil
}

// reflect makes column j of a zero below row j, where its norm is norm.
func reflect(a [][]float64, j int, norm float64) {
	n := len(a)
	v := make([]float64, n-j)
	for i := range v {
		v[i] = a[j+i][j]
	}
	v[0] += math.Copysign(norm, v[0])
	vv := 0.0
	for _, x := range v {
		vv += x * x
	}
	for c := j; c < len(a[0]); c++ {
		dot := 0.0
		for i, x := range v {
			dot += x * a[j+i][c]
		}
		for i, x := range v {
			a[j+i][c] -= 2 * dot / vv * x
		}
	}
}
