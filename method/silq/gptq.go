package silq

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// damping is the share of the Hessian's mean diagonal that GPTQ adds to it.
const damping = 0.01

// compensated is the rows that GPTQ works on at a time: they stay in the
// second-level cache while the Hessian's rows stream by.
const compensated = 16

// GPTQ moves the weights w [rows, in] onto the grids of their rows' steps, one
// input after the other, those with the largest diagonal first; what rounding
// one costs is made up for by those that are not yet rounded (Frantar et al.,
// arXiv 2210.17323). With H = hessian + damping and inv(H) = U'U, U upper,
//
//	e = (w_j - wq_j) / U_jj,   w_k -= e * U_jk  for k > j.
//
//	w        [rows, in]  changed
//	hessian  [in, in]    sum of x x' of the layer's inputs; changed
//	steps    [rows]      above 0
//
// It returns an error if the Hessian is not positive definite.
func GPTQ(w []float32, hessian []float64, steps []float32, bits int) error {
	n := len(w) / max(len(steps), 1)
	if len(steps) == 0 || len(w) != n*len(steps) || len(hessian) != n*n {
		return fmt.Errorf("silq: gptq: %d weights, %d steps, a Hessian of %d elements", len(w), len(steps), len(hessian))
	}
	order, u, err := compensation(hessian, n)
	if err != nil {
		return err
	}
	compensate(w, u, order, steps, bits)
	return nil
}

// compensation returns the order of the inputs and U (rows of n elements, upper)
// in that order. H = R R' with R upper gives inv(H) = U'U with U = inv(R): one
// factorisation from the last row upwards, and one triangular inverse.
func compensation(h []float64, n int) (order []int, u []float64, err error) {
	var mean float64
	for i := range n {
		mean += h[i*n+i] / float64(n)
	}
	order = make([]int, n)
	for i := range order {
		order[i] = i
		h[i*n+i] += float64(damping*mean) + 1e-30 // inputs that are all 0 leave the weights alone
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := h[a*n+a], h[b*n+b]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	r := make([]float64, n*n)
	for j := n - 1; j >= 0; j-- {
		for i := j; i >= 0; i-- {
			sum := h[order[i]*n+order[j]] - dot(r[i*n+j+1:(i+1)*n], r[j*n+j+1:(j+1)*n])
			if i < j {
				r[i*n+j] = sum / r[j*n+j]
			} else if !(sum > 0) || math.IsInf(sum, 0) {
				return nil, nil, errors.New("silq: gptq: the inputs' Hessian is not positive definite")
			} else {
				r[j*n+j] = math.Sqrt(sum)
			}
		}
	}
	u = h // H is not read again
	clear(u)
	for i := n - 1; i >= 0; i-- {
		row := u[i*n : (i+1)*n]
		for k := i + 1; k < n; k++ {
			subtract(row[k:], u[k*n+k:(k+1)*n], r[i*n+k])
		}
		row[i] = 1
		for k := i; k < n; k++ {
			row[k] /= r[i*n+i]
		}
	}
	return order, u, nil
}

// dot sums a*b in four partial sums, in a fixed order.
func dot(a, b []float64) float64 {
	var s0, s1, s2, s3 float64
	for len(a) >= 4 && len(b) >= 4 {
		s0, s1, s2, s3 = s0+float64(a[0]*b[0]), s1+float64(a[1]*b[1]), s2+float64(a[2]*b[2]), s3+float64(a[3]*b[3])
		a, b = a[4:], b[4:]
	}
	for i, v := range a {
		s0 += float64(v * b[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// subtract takes f*x from y.
func subtract(y, x []float64, f float64) {
	x = x[:len(y)]
	for i := range y {
		y[i] -= float64(f * x[i])
	}
}

// compensate rounds w [rows, n] with U in the order of the inputs.
func compensate(w []float32, u []float64, order []int, steps []float32, bits int) {
	n, spec := len(order), signed(bits)
	tile := make([]float64, compensated*n)
	for first := 0; first < len(steps); first += compensated {
		rows := min(compensated, len(steps)-first)
		for r := range rows {
			for k, j := range order {
				tile[r*n+k] = float64(w[(first+r)*n+j])
			}
		}
		for k, j := range order {
			for r := range rows {
				v, s := tile[r*n+k], steps[first+r]
				q := s * float32(spec.Code(float32(v), s))
				w[(first+r)*n+j] = q
				subtract(tile[r*n+k+1:(r+1)*n], u[k*n+k+1:(k+1)*n], (v-float64(q))/u[k*n+k])
			}
		}
	}
}
