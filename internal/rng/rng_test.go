package rng

import (
	"math"
	"math/bits"
	"testing"
)

// The vectors are those of the reference implementation (Random123,
// kat_vectors, philox4x32 10): zeros, ones, and the digits of pi.
func TestPhiloxKnownVectors(t *testing.T) {
	ones := uint32(math.MaxUint32)
	for _, c := range []struct {
		ctr, want [4]uint32
		key       [2]uint32
	}{
		{want: [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{
			ctr: [4]uint32{ones, ones, ones, ones}, key: [2]uint32{ones, ones},
			want: [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
		},
		{
			ctr: [4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, key: [2]uint32{0xa4093822, 0x299f31d0},
			want: [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1},
		},
	} {
		if got := Philox(c.ctr, c.key); got != c.want {
			t.Errorf("Philox(%08x, %08x) = %08x, want %08x", c.ctr, c.key, got, c.want)
		}
	}
}

func TestStreamsOfDifferentKeysDiffer(t *testing.T) {
	seen := map[uint64][]uint64{}
	for _, keys := range [][]uint64{
		{}, {0}, {1}, {0, 0}, {0, 1}, {1, 0}, {1 << 32}, {1, 2, 3}, {3, 2, 1}, {1, 2, 3, 0}, {math.MaxUint64},
	} {
		v := Uint64(keys...)
		if old, ok := seen[v]; ok {
			t.Errorf("keys %v and %v give the same bits", old, keys)
		}
		seen[v] = keys
		if again := Uint64(keys...); again != v {
			t.Errorf("keys %v gave %x, then %x", keys, v, again)
		}
	}
	for a := range uint64(300) { // small keys, as seeds and epochs are
		for b := range uint64(300) {
			v := Uint64(7, a, b)
			if old, ok := seen[v]; ok {
				t.Fatalf("keys %v and [7 %d %d] give the same bits", old, a, b)
			}
			seen[v] = []uint64{7, a, b}
		}
	}
}

func TestOneKeyBitChangesHalfTheResult(t *testing.T) {
	for key := range 3 {
		flipped := 0
		for bit := range 64 {
			k := [3]uint64{1, 2, 3}
			a := Uint64(k[:]...)
			k[key] ^= 1 << bit
			flipped += bits.OnesCount64(a ^ Uint64(k[:]...))
		}
		// 64*64 fair bits: mean 2048, standard deviation 32; six of those.
		if flipped < 2048-192 || flipped > 2048+192 {
			t.Errorf("key %d: %d of 4096 bits flip, want about half", key, flipped)
		}
	}
}

func TestDrawsWalkTheBlocks(t *testing.T) {
	s := New(5, 6)
	fresh := New(5, 6)
	for block := range uint64(3) {
		for i, want := range fresh.At(block) {
			if got := s.Uint32(); got != want {
				t.Fatalf("block %d word %d: drew %x, At says %x", block, i, got, want)
			}
		}
	}
}

func TestUniformAndNormalMoments(t *testing.T) {
	const n = 200_000
	s := New(11)
	var sum, sum2, nsum, nsum2, nsum4 float64
	for range n {
		u := float64(s.Float32())
		if u < 0 || u >= 1 {
			t.Fatalf("Float32 gave %v, want [0, 1)", u)
		}
		if d := s.Float64(); d < 0 || d >= 1 {
			t.Fatalf("Float64 gave %v, want [0, 1)", d)
		}
		sum, sum2 = sum+u, sum2+u*u
		z := s.Normal()
		nsum, nsum2, nsum4 = nsum+z, nsum2+z*z, nsum4+z*z*z*z
	}
	near := func(name string, got, want, sd float64) {
		t.Helper()
		if math.Abs(got-want) > 6*sd/math.Sqrt(n) {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	near("uniform mean", sum/n, 0.5, math.Sqrt(1.0/12))
	near("uniform second moment", sum2/n, 1.0/3, math.Sqrt(4.0/45))
	near("normal mean", nsum/n, 0, 1)
	near("normal variance", nsum2/n, 1, math.Sqrt(2))
	near("normal fourth moment", nsum4/n, 3, math.Sqrt(96))
}

func TestIntnIsUniform(t *testing.T) {
	const draws = 90_000
	s := New(13)
	var count [9]int
	for range draws {
		count[s.Intn(9)]++
	}
	for i, c := range count { // binomial: sd = sqrt(n p (1-p)) = 94
		if c < draws/9-570 || c > draws/9+570 {
			t.Errorf("%d came %d times of %d", i, c, draws)
		}
	}
	if got := s.Intn(1); got != 0 {
		t.Errorf("Intn(1) = %d", got)
	}
	for _, n := range []int{0, -1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Intn(%d) did not panic", n)
				}
			}()
			s.Intn(n)
		}()
	}
}

func TestPermIsAUniformPermutation(t *testing.T) {
	count := map[[4]int32]int{}
	var p [4]int32
	for i := range uint64(24_000) {
		s := New(17, i)
		s.Perm(p[:])
		count[p]++
	}
	if len(count) != 24 {
		t.Fatalf("%d of 24 permutations came", len(count))
	}
	for q, c := range count { // sd = 31
		if c < 1000-190 || c > 1000+190 {
			t.Errorf("%v came %d times, want about 1000", q, c)
		}
	}
	s := New(1)
	s.Perm(nil)
}

func TestDrawingAllocatesNothing(t *testing.T) {
	var sink uint64
	if n := testing.AllocsPerRun(100, func() {
		s := New(1, 2, 3)
		sink += s.Uint64() + Uint64(4, 5)
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	_ = sink
}

func BenchmarkNewIntn(b *testing.B) {
	i := uint64(0)
	for b.Loop() {
		s := New(1, 2, i)
		i += uint64(s.Intn(9))
	}
}
