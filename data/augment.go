package data

import "lowbit/internal/rng"

// Each use of the loader's seed has a number of its own.
const (
	orderDomain   = 0x6f726472
	augmentDomain = 0x6175676d
)

// table lists the normalised value of every pixel value by channel, as
// float32 arithmetic gives it in the order of torchvision's ToTensor and
// Normalize: p/255, minus mean, by std.
func (n Normalization) table() [][256]float32 {
	t := make([][256]float32, len(n.Mean))
	for c := range t {
		for p := range t[c] {
			t[c][p] = (float32(p)/255 - n.Mean[c]) / n.Std[c]
		}
	}
	return t
}

// move is one draw: output pixel (y, x) is input pixel (y+dy, x+dx), black
// outside; if flip, x is counted from the right edge of the output.
type move struct {
	dy, dx int
	flip   bool
}

// draw depends on the seed, the epoch and the example alone.
func (a Augment) draw(seed uint64, epoch, example int) move {
	var m move
	if a == (Augment{}) {
		return m
	}
	s := rng.New(augmentDomain, seed, uint64(epoch), uint64(example))
	if a.Pad > 0 {
		m.dy = s.Intn(2*a.Pad+1) - a.Pad
		m.dx = s.Intn(2*a.Pad+1) - a.Pad
	}
	if a.Flip {
		m.flip = s.Uint32()&1 == 1
	}
	return m
}

// apply writes the moved, normalised image to dst [channel, h, w] from src of
// the same shape, which it may not alias. What comes from outside of src is a
// black pixel, normalised like any other.
func (m move) apply(dst []float32, src []uint8, table [][256]float32, h, w int) {
	lo, hi := max(0, -m.dx), min(w, w-m.dx) // columns of the window inside src
	if lo >= hi {
		lo, hi = w, w
	}
	for c := range table {
		t := &table[c]
		black := t[0]
		for y := range h {
			out := dst[(c*h+y)*w:][:w]
			sy := y + m.dy
			if sy < 0 || sy >= h || lo == w {
				fillRow(out, black)
				continue
			}
			row := src[(c*h+sy)*w:][:w]
			in := row[lo+m.dx : hi+m.dx]
			if m.flip {
				fillRow(out[:w-hi], black)
				o := out[w-hi : w-lo]
				o = o[:len(in)]
				for x, p := range in {
					o[len(o)-1-x] = t[p]
				}
				fillRow(out[w-lo:], black)
				continue
			}
			fillRow(out[:lo], black)
			o := out[lo:hi]
			o = o[:len(in)]
			for x, p := range in {
				o[x] = t[p]
			}
			fillRow(out[hi:], black)
		}
	}
}

func fillRow(row []float32, v float32) {
	for i := range row {
		row[i] = v
	}
}
