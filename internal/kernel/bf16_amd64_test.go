//go:build !noasm && gc

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/cpu"
)

func TestBF16WordsAreRounded(t *testing.T) {
	if !cpu.X86.HasAVX512BF16 {
		t.Skip("needs a CPU with AVX512_BF16: run on an AMD Zen 4, an Intel Cooper Lake or a later one")
	}
	r := rand.New(rand.NewPCG(41, 42))
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	special := []float32{0, 1, -1, inf, -inf, nan, 1e-45, -1e-39, math.MaxFloat32,
		math.Float32frombits(0x3f808000), math.Float32frombits(0x3f818000), math.Float32frombits(0x3f808001), math.Float32frombits(0x00800000)}
	for n := 1; n < 90; n++ {
		low, high := randF32(r, n), randF32(r, n)
		for i := range low {
			if r.IntN(3) == 0 {
				low[i], high[i] = special[r.IntN(len(special))], special[r.IntN(len(special))]
			}
		}
		check := func(what string, got []float32, low, high func(i int) float32) {
			for i, w := range got {
				a, b, bits := nearestBF16(low(i)), nearestBF16(high(i)), math.Float32bits(w)
				if !sameBF16(bits<<16, a) || !sameBF16(bits&^0xffff, b) {
					t.Fatalf("%s of %d: word %d is %x, want %x and %x", what, n, i, bits, a, b)
				}
			}
		}
		words, ok := guarded(n, guardF32, 0)
		pairBF16(words, low, high)
		ok(t, "pairBF16")
		check("pairBF16", words, func(i int) float32 { return low[i] }, func(i int) float32 { return high[i] })
		words, ok = guarded((n+1)/2, guardF32, 0)
		narrowBF16(words, low)
		ok(t, "narrowBF16")
		check("narrowBF16", words, func(i int) float32 { return low[2*i] }, func(i int) float32 { return at(low, 2*i+1, n) })
	}
}

// nearestBF16 takes the nearer of the two bfloat16 around v, by float64.
func nearestBF16(v float32) uint32 {
	b := math.Float32bits(v)
	down, up := b&^0xffff, b&^0xffff+0x10000
	if v != v || math.IsInf(float64(v), 0) {
		return b
	}
	if math.Abs(float64(v)) < 0x1p-126 {
		return b & (1 << 31)
	}
	value := func(b uint32) float64 {
		if b&0x7f800000 == 0x7f800000 { // the next number if there were one
			return math.Copysign(0x1p128, float64(v))
		}
		return float64(math.Float32frombits(b))
	}
	d, u := math.Abs(value(down)-float64(v)), math.Abs(value(up)-float64(v))
	if d < u || d == u && down>>16&1 == 0 {
		return down
	}
	return up
}

// sameBF16 compares, any NaN with any.
func sameBF16(a, b uint32) bool {
	x, y := math.Float32frombits(a), math.Float32frombits(b)
	return a == b || x != x && y != y
}
