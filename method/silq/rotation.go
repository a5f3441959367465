package silq

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Rotation says how far training moved a weight matrix, and how much of that a
// rotation would have done: methods that rotate weights before they round them
// (SpinQuant, QuaRot) can reach no more of the change than that.
type Rotation struct {
	// Change is |after - before| / |before|, in Frobenius norms.
	Change float64 `json:"change"`
	// Input and Output are the shares of |after - before|^2 that the best rotation
	// of the matrix's inputs, or outputs, takes away: the orthogonal Procrustes
	// problem, min over orthogonal R of |after - before R|. From 0 to 1.
	Input  float64 `json:"input_rotation"`
	Output float64 `json:"output_rotation"`
}

// Procrustes compares a weight matrix [out, in] before and after training. The
// least distance follows from the singular values s of before' after (Schönemann
// 1966): |before|^2 + |after|^2 - 2 sum(s). Equal matrices have zeros. Errors:
// sizes that differ, values that are not finite.
func Procrustes(before, after []float32, out, in int) (Rotation, error) {
	if out < 1 || in < 1 || len(before) != out*in || len(after) != out*in {
		return Rotation{}, fmt.Errorf("silq: matrices of %d and %d values, want [%d, %d]", len(before), len(after), out, in)
	}
	a, b := mat.NewDense(out, in, nil), mat.NewDense(out, in, nil)
	var change, size, after2 float64
	for i, v := range before {
		x, y := float64(v), float64(after[i])
		a.Set(i/in, i%in, x)
		b.Set(i/in, i%in, y)
		change, size, after2 = change+(y-x)*(y-x), size+x*x, after2+y*y
	}
	if math.IsNaN(change+size) || math.IsInf(change+size, 0) {
		return Rotation{}, fmt.Errorf("silq: a matrix [%d, %d] has values that are not finite", out, in)
	}
	if change == 0 || size == 0 {
		return Rotation{}, nil
	}
	share := func(a, b mat.Matrix) (float64, error) {
		s, err := nuclear(a, b)
		return min(max(1-(size+after2-2*s)/change, 0), 1), err
	}
	r := Rotation{Change: math.Sqrt(change / size)}
	var err error
	if r.Input, err = share(a, b); err != nil {
		return r, err
	}
	r.Output, err = share(a.T(), b.T())
	return r, err
}

// nuclear returns the sum of the singular values of a' b, both [m, n]. Where m is
// below n, a' b has the singular values of the smaller Ra Rb', of a' = Qa Ra and
// b' = Qb Rb.
func nuclear(a, b mat.Matrix) (float64, error) {
	m, n := a.Dims()
	var p mat.Dense
	if m < n {
		p.Mul(triangle(a.T()), triangle(b.T()).T())
	} else {
		p.Mul(a.T(), b)
	}
	var d mat.SVD
	if !d.Factorize(&p, mat.SVDNone) {
		return 0, fmt.Errorf("silq: the singular values of a matrix of %d do not converge", min(m, n))
	}
	var sum float64
	for _, s := range d.Values(nil) {
		sum += s
	}
	return sum, nil
}

// triangle is the upper triangle R of x = Q R, x [m, n] with m >= n.
func triangle(x mat.Matrix) *mat.Dense {
	_, n := x.Dims()
	var qr mat.QR
	qr.Factorize(x)
	var r mat.Dense
	qr.RTo(&r)
	return mat.DenseCopyOf(r.Slice(0, n, 0, n))
}
