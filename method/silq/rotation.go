package silq

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"

	"gonum.org/v1/gonum/mat"

	"lowbit/graph"
	"lowbit/tensor"
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
	// InputChance and OutputChance are the shares that the best rotation takes of
	// a small change without any direction: see chance. Only what Input and Output
	// have beyond them speaks of a rotation.
	InputChance  float64 `json:"input_chance"`
	OutputChance float64 `json:"output_chance"`
}

// chance is the share of a small random change of a matrix [out, in] of full rank
// that a rotation of its inputs takes away: the dimensions of {W R}, over those of
// all matrices. R has in(in-1)/2 of its own; where in is above out, those that
// leave the rows of W where they are do not count.
func chance(out, in int) float64 {
	if in <= out {
		return float64(in-1) / float64(2*out)
	}
	return 1 - float64(out+1)/float64(2*in)
}

// KindRotation is the mean over the layers of one kind.
type KindRotation struct {
	// Kind is the last part of the layers' names, such as q_proj.
	Kind   string `json:"kind"`
	Layers int    `json:"layers"`
	Rotation
}

// Kinds takes the layers of each kind together, in the order of the names. Layers
// that are in no rotations, and those that did not change, are left out.
func Kinds(names []string, rotations map[string]Rotation) []KindRotation {
	var kinds []KindRotation
	at := map[string]int{}
	for _, name := range names {
		r, ok := rotations[name]
		if !ok || r.Change == 0 {
			continue
		}
		kind := name[strings.LastIndexByte(name, '.')+1:]
		i, known := at[kind]
		if !known {
			i = len(kinds)
			at[kind] = i
			kinds = append(kinds, KindRotation{Kind: kind})
		}
		k := &kinds[i]
		k.Layers++
		for to, x := range map[*float64]float64{
			&k.Change: r.Change, &k.Input: r.Input, &k.Output: r.Output, &k.InputChance: r.InputChance, &k.OutputChance: r.OutputChance,
		} {
			*to += (x - *to) / float64(k.Layers)
		}
	}
	return kinds
}

// maxRotated bounds a matrix whose singular values are computed.
const maxRotated = 4 << 20

// Rotations compares each layer's weights in two stores, by the layer's name. The
// matrix of a convolution has its output channels as rows. Matrices of more than
// maxRotated values, such as large tables of embeddings, are left out. Progress is
// called after each layer and may be nil. Errors: a weight is missing or of another
// shape, is not finite, or the context ended.
func Rotations(ctx context.Context, g *graph.Graph, before, after *tensor.Store, progress func(done, of int)) (map[string]Rotation, error) {
	out := map[string]Rotation{}
	layers := graph.Layers(g)
	var lock sync.Mutex // of out and done
	done := 0
	err := each(ctx, layers, func(l graph.Layer) error {
		r, err := rotation(l, before, after)
		lock.Lock()
		defer lock.Unlock()
		if r != nil {
			out[l.Name] = *r
		}
		if done++; progress != nil {
			progress(done, len(layers))
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("silq: rotations: %w", err)
	}
	return out, nil
}

// rotation compares a layer's weights; nil if it has none, or too many.
func rotation(l graph.Layer, before, after *tensor.Store) (*Rotation, error) {
	if l.Weight == nil {
		return nil, nil
	}
	a, b := before.Get(l.Weight.Name()), after.Get(l.Weight.Name())
	if a == nil || b == nil || !a.Shape().Equal(b.Shape()) {
		return nil, fmt.Errorf("layer %s: %w: %v before, %v after", l.Name, tensor.ErrShape, a, b)
	}
	n, rows := b.Len(), b.Shape()[0]
	if n > maxRotated {
		return nil, nil
	}
	r, err := Procrustes(a.Float32s(), b.Float32s(), rows, n/rows)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.Name, err)
	}
	return &r, nil
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
	r := Rotation{Change: math.Sqrt(change / size), InputChance: chance(out, in), OutputChance: chance(in, out)}
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
