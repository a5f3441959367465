// Package rng is counter-based randomness: every number is a pure function of
// its keys, so that a value drawn for (seed, epoch, example) or (seed, step,
// node, element) is the same on any number of threads and after any resume.
// It keeps no state between calls and there is nothing to save in a
// checkpoint.
//
// The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random
// Numbers: As Easy as 1, 2, 3; SC 2011). It is no cryptographic generator.
package rng

import "math"

const (
	mul0  = 0xD2511F53 // Philox4x32 multipliers and Weyl increments, SC 2011 table 2
	mul1  = 0xCD9E8D57
	weyl0 = 0x9E3779B9
	weyl1 = 0xBB67AE85
)

// Philox is the bijection Philox4x32-10: 128 counter bits under a 64-bit key.
func Philox(ctr [4]uint32, key [2]uint32) [4]uint32 {
	c0, c1, c2, c3 := ctr[0], ctr[1], ctr[2], ctr[3]
	k0, k1 := key[0], key[1]
	for range 10 {
		p0 := uint64(mul0) * uint64(c0)
		p1 := uint64(mul1) * uint64(c2)
		c0, c1, c2, c3 = uint32(p1>>32)^c1^k0, uint32(p1), uint32(p0>>32)^c3^k1, uint32(p0)
		k0 += weyl0
		k1 += weyl1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// The last counter word keeps the two uses of the bijection apart: folding
// keys together, and drawing.
const (
	foldDomain = 0x666f6c64
	drawDomain = 0x64726177
)

// fold makes one 64-bit Philox key of any number of keys. Order and number
// matter: (1), (1, 0) and (0, 1) are unrelated.
func fold(keys []uint64) [2]uint32 {
	state := [2]uint32{uint32(len(keys)), 0}
	for i, k := range keys {
		b := Philox([4]uint32{uint32(k), uint32(k >> 32), uint32(i), foldDomain}, state)
		state = [2]uint32{b[0], b[1]}
	}
	return state
}

// Stream is the unbounded sequence of random numbers that belongs to one list
// of keys. It is a small value: make it where it is needed. A Stream is not
// safe for concurrent use; At is.
type Stream struct {
	key  [2]uint32
	next uint64 // the block that refill takes
	buf  [4]uint32
	left int // unused words at the end of buf
}

// New returns the stream of the keys, at its start.
func New(keys ...uint64) Stream { return Stream{key: fold(keys)} }

// Uint64 returns 64 bits that depend on the keys alone: the first draw of
// New(keys...).
func Uint64(keys ...uint64) uint64 {
	s := New(keys...)
	return s.Uint64()
}

// At returns block i of the stream, four words, without moving it: the way to
// give element i of a tensor its own randomness in any order. Draws take the
// words of block 0, 1, 2… in turn.
func (s *Stream) At(i uint64) [4]uint32 {
	return Philox([4]uint32{uint32(i), uint32(i >> 32), 0, drawDomain}, s.key)
}

// Uint32 returns the next 32 bits.
func (s *Stream) Uint32() uint32 {
	if s.left == 0 {
		s.buf = s.At(s.next)
		s.next++
		s.left = 4
	}
	v := s.buf[4-s.left]
	s.left--
	return v
}

// Uint64 returns the next 64 bits: two words, the low one first.
func (s *Stream) Uint64() uint64 {
	lo := s.Uint32()
	return uint64(s.Uint32())<<32 | uint64(lo)
}

// Float32 returns a number in [0, 1): a multiple of 2^-24.
func (s *Stream) Float32() float32 { return Unit32(s.Uint32()) }

// Unit32 maps 32 random bits to [0, 1), a multiple of 2^-24; the low eight
// bits are not used.
func Unit32(bits uint32) float32 { return float32(bits>>8) * 0x1p-24 }

// Float64 returns a number in [0, 1): a multiple of 2^-53.
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// Intn returns an integer in [0, n), without bias (Lemire's multiplication
// with rejection, ACM TOMACS 2019). It panics if n is outside 1..2^31-1.
func (s *Stream) Intn(n int) int {
	if n < 1 || n > math.MaxInt32 {
		panic("rng: Intn outside 1..2^31-1")
	}
	m := uint64(s.Uint32()) * uint64(n)
	if uint32(m) < uint32(n) {
		for reject := -uint32(n) % uint32(n); uint32(m) < reject; {
			m = uint64(s.Uint32()) * uint64(n)
		}
	}
	return int(m >> 32)
}

// Normal returns a standard normal number (Box-Muller in float64, the cosine
// branch alone, so that a draw always takes four words).
func (s *Stream) Normal() float64 {
	u := 1 - s.Float64() // (0, 1]: the logarithm is finite
	v := s.Float64()
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

// Perm fills p with a uniform permutation of 0..len(p)-1 (Fisher-Yates from
// the end, Durstenfeld 1964).
func (s *Stream) Perm(p []int32) {
	for i := range p {
		p[i] = int32(i)
	}
	for i := len(p) - 1; i > 0; i-- {
		j := s.Intn(i + 1)
		p[i], p[j] = p[j], p[i]
	}
}
