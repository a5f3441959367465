//go:build !noasm && gc

package kernel

import (
	"bytes"
	"sync"
)

// addU8Blocks is AddU8 by blocks of 64; the last one ends with dst. Steps near
// the ends of float32's range have no exact reciprocal to divide with.
func addU8Blocks(dst, a, b []uint8, p *Addition) {
	a, b = a[:len(dst)], b[:len(dst)]
	n := len(dst) &^ 63
	if n == 0 || !ordinary(p.Step) || !ordinary(p.StepA) || !ordinary(p.StepB) {
		addU8Generic(dst, a, b, p)
		return
	}
	p.add(&dst[0], &a[0], &b[0], n)
	if n < len(dst) {
		at := len(dst) - 64
		p.add(&dst[at], &a[at], &b[at], 64)
	}
}

func (p *Addition) add(dst, a, b *uint8, n int) {
	switch {
	case !p.quick:
		addU8AVX512(dst, a, b, &p.StepA, n)
	case p.ZeroA == 0 && p.ZeroB == 0:
		addU8QuickU8U8AVX512(dst, a, b, &p.StepA, n)
	case p.ZeroA == 0:
		addU8QuickU8S8AVX512(dst, a, b, &p.StepA, n)
	case p.ZeroB == 0:
		addU8QuickS8U8AVX512(dst, a, b, &p.StepA, n)
	default:
		addU8QuickS8S8AVX512(dst, a, b, &p.StepA, n)
	}
}

// allCodes are all pairs of codes.
var allCodes = sync.OnceValue(func() (pairs [2][]uint8) {
	for i := range pairs {
		pairs[i] = make([]uint8, 1<<16)
		for k := range pairs[i] {
			pairs[i][k] = uint8(k >> (8 * i))
		}
	}
	return pairs
})

// prepareAdd takes the quick sum if it is right for every pair of codes.
func prepareAdd(p *Addition) {
	usual := func(zero float32) bool { return zero == 0 || zero == 128 }
	if !ordinary(p.Step) || !ordinary(p.StepA) || !ordinary(p.StepB) || !usual(p.ZeroA) || !usual(p.ZeroB) {
		return
	}
	inverse := 1 / float64(p.Step)
	p.high = float32(inverse)
	p.low = float32(inverse - float64(p.high))
	c := allCodes()
	want, got := make([]uint8, len(c[0])), make([]uint8, len(c[0]))
	addU8Blocks(want, c[0], c[1], p)
	p.quick = true
	addU8Blocks(got, c[0], c[1], p)
	p.quick = bytes.Equal(got, want)
}

func ordinary(step float32) bool { return step > 1e-25 && step < 1e25 }

func mapU8Blocks(dst, src []uint8, table *[256]uint8) {
	src = src[:len(dst)]
	n := len(dst) &^ 63
	if n > 0 {
		mapU8AVX512(&dst[0], &src[0], &table[0], n)
	}
	if n > 0 && n < len(dst) && &dst[0] != &src[0] {
		at := len(dst) - 64
		mapU8AVX512(&dst[at], &src[at], &table[0], 64)
		return
	}
	mapU8Generic(dst[n:], src[n:], table)
}

func quantStepBlocks(dst []uint8, v []float32, step float32, q *Clamp) {
	v = v[:len(dst)]
	n := len(dst) &^ 15
	if n == 0 || !ordinary(step) {
		quantStepU8Generic(dst, v, step, q)
		return
	}
	// Values beyond a thousand steps are beyond the bounds, and stay there.
	const far = 1 << 10
	p := [6]float32{step, q.Lo, q.Hi, float32(q.Zero), -far * step, far * step}
	quantStepU8AVX512(&dst[0], &v[0], &p[0], n)
	if n < len(dst) {
		at := len(dst) - 16
		quantStepU8AVX512(&dst[at], &v[at], &p[0], 16)
	}
}

func interleaveU8Blocks(dst, src []uint8) {
	n := len(dst) / 3
	src = src[:3*n]
	if n < 16 {
		interleaveU8Generic(dst, src)
		return
	}
	interleaveU8AVX512(&dst[0], &src[0], n, n&^15)
	if n&15 > 0 {
		interleaveU8AVX512(&dst[3*(n-16)], &src[n-16], n, 16)
	}
}
