package tensor

import (
	"errors"
	"math"
	"testing"
)

func TestHalfRoundTripsEveryBitPattern(t *testing.T) {
	for i := 0; i < 1<<16; i++ {
		h := uint16(i)
		f := Float16ToFloat32(h)
		if f != f {
			if g := Float32ToFloat16(f); g&0x7c00 != 0x7c00 || g&0x3ff == 0 {
				t.Fatalf("NaN %#x became %#x", h, g)
			}
			continue
		}
		if g := Float32ToFloat16(f); g != h {
			t.Fatalf("%#x -> %g -> %#x", h, f, g)
		}
	}
}

func TestHalfRoundsToNearestEven(t *testing.T) {
	for i := 0; i < 0x7bff; i++ {
		a, b := Float16ToFloat32(uint16(i)), Float16ToFloat32(uint16(i+1))
		mid := a + (b-a)/2
		want := uint16(i)
		if i&1 == 1 {
			want++
		}
		if g := Float32ToFloat16(mid); g != want {
			t.Fatalf("tie between %#x and %#x went to %#x", i, i+1, g)
		}
		if g := Float32ToFloat16(math.Nextafter32(mid, b)); g != uint16(i+1) {
			t.Fatalf("just above the tie of %#x went to %#x", i, g)
		}
	}
	if Float32ToFloat16(65520) != 0x7c00 || Float32ToFloat16(65519) != 0x7bff {
		t.Fatal("overflow border")
	}
}

func TestBFloat16TiesToEven(t *testing.T) {
	for _, c := range []struct {
		in   uint32
		want uint16
	}{{0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81}, {0x7fc00001, 0x7fc0}} {
		if g := Float32ToBFloat16(math.Float32frombits(c.in)); g != c.want {
			t.Errorf("%#x: got %#x, want %#x", c.in, g, c.want)
		}
	}
}

func TestFromBytesChecksItsInput(t *testing.T) {
	if _, err := FromBytes(F32, Shape{2, 2}, make([]byte, 15)); !errors.Is(err, ErrShape) {
		t.Errorf("short data: %v", err)
	}
	if _, err := FromBytes(F32, Shape{math.MaxInt, 4}, nil); err == nil {
		t.Error("overflow accepted")
	}
	if _, err := FromBytes(F32, Shape{-1}, nil); err == nil {
		t.Error("negative dimension accepted")
	}
	// Misaligned input is copied, not viewed.
	b := AlignedBytes(9)
	x, err := FromBytes(F32, Shape{2}, b[1:])
	if err != nil {
		t.Fatal(err)
	}
	x.Float32s()[0] = 1
	if b[4] != 0 || b[3] != 0 {
		t.Error("misaligned bytes were viewed in place")
	}
}

func TestStoreKeepsStorage(t *testing.T) {
	s := NewStore()
	a := FromFloat32s([]float32{1, 2}, 2)
	if err := s.Put("a", a); err != nil {
		t.Fatal(err)
	}
	if err := s.Put("a", FromFloat32s([]float32{3, 4}, 2)); err != nil {
		t.Fatal(err)
	}
	if s.Get("a") != a || a.Float32s()[1] != 4 {
		t.Error("Put replaced the storage")
	}
	if err := s.Put("a", New(F32, 3)); !errors.Is(err, ErrShape) {
		t.Errorf("another shape: %v", err)
	}
}
