package infer

import (
	"math"
	"slices"
	"testing"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/nn"
)

// Powers of two by hand: 7 bits together, and sums of up to 2^22.
func TestPowersOfTwo(t *testing.T) {
	for _, c := range []struct {
		bits, channels int
		in             target
		shift          int
		accMax         int64
	}{
		{2, 64, target{hi: 3}, 5, 64 * 9 * 2 * 3 << 5},
		{3, 64, target{hi: 7}, 4, 64 * 9 * 4 * 7 << 4},
		{4, 64, target{hi: 15}, 3, 64 * 9 * 8 * 15 << 3},
		{6, 64, target{lo: -32, hi: 31}, 1, 64 * 9 * 32 * 32 << 1},
		{7, 64, target{hi: 255}, 0, 64 * 9 * 64 * 255},
		{8, 64, target{hi: 255}, 0, 64 * 9 * 128 * 255},
		{2, 512, target{hi: 255}, 0, 512 * 9 * 2 * 255},  // 2,350,080 more than half of 2^22
		{2, 256, target{hi: 255}, 1, 256 * 9 * 2 * 510},  // 1,175,040
		{0, 64, target{hi: 255}, 0, 9 * 64 * 255},        // a mean
		{4, 1, target{lo: -8, hi: 7}, 3, 9 * 8 * 8 << 3}, // signed
	} {
		r := &root{bits: c.bits, in: c.in, steps: []float32{0.75, 1e-45},
			shape: kernel.ConvShape{C: c.channels, KH: 3, KW: 3, Groups: 1}}
		r, err := r.bounded()
		if err != nil {
			t.Fatal(err)
		}
		want := []float32{0.75 / float32(int(1)<<r.shift), math.SmallestNonzeroFloat32}
		if r.shift != c.shift || r.accMax != c.accMax || !slices.Equal(r.steps, want) {
			t.Errorf("%d bits, %d channels of %d..%d: shift %d, sums to %d, steps %v, want %d, %d, %v",
				c.bits, c.channels, c.in.lo, c.in.hi, r.shift, r.accMax, r.steps, c.shift, c.accMax, want)
		}
	}
}

func TestShiftedCodes(t *testing.T) {
	for shift := range 7 {
		for n := range 20 {
			w, want := make([]int8, n), make([]int8, n)
			for i := range w {
				w[i] = int8((i*37)%(1<<(8-shift)) - 1<<(7-shift))
				want[i] = w[i] << shift
			}
			if shiftCodes(w, shift); !slices.Equal(w, want) {
				t.Fatalf("%d codes times 2^%d: %v, want %v", n, shift, w, want)
			}
		}
	}
}

// The bias of codes is that of the graph to half a unit, which at 2 bits is a 32nd
// of the product of the steps; a bias of floats is the graph's own.
func TestBiasesAreFine(t *testing.T) {
	g := graph.New()
	x := nn.Linear(g, "first", nn.Input(g, 1, 16), nn.Dense{Out: 12})
	nn.Logits(g, nn.Linear(g, "last", x, nn.Dense{Out: 5}))
	g = quantizeGraph(t, g, false, false, func(layer string) (int, int) {
		if layer == "first" {
			return 2, 2
		}
		return 8, 8
	})
	store := randomStore(t, g, 3)
	const step, fine = 0.5, 32
	store.Get("first.weight_step").Float32s()[0] = step
	for i, w := 0, store.Get("first.weight").Float32s(); i < len(w); i++ {
		w[i] = step * float32(i%4-2)
	}
	d, err := Deploy(g, store)
	if err != nil {
		t.Fatal(err)
	}
	var sums []Instruction
	for _, i := range d.Instructions {
		if i.Kind == Sum {
			sums = append(sums, i)
		}
	}
	if len(sums) != 2 || !sums[0].Out[0].Codes || sums[1].Out[0].Codes {
		t.Fatalf("%d sums, want codes and then floats", len(sums))
	}
	if low, high := slices.Min(sums[0].Weights), slices.Max(sums[0].Weights); low != -2*fine || high != fine {
		t.Errorf("weights from %d to %d, want 2-bit codes times %d", low, high, fine)
	}
	unit, whole := float64(sums[0].In[0].Step)*step/fine, true
	bias := store.Get("first.bias").Float32s()
	for c, r := range sums[0].Requant[0] {
		if got := unit * float64(r.Bias); math.Abs(got-float64(bias[c])) > 0.5001*unit || r.Shift != 0 {
			t.Errorf("channel %d: bias %g and %g, want %g", c, got, r.Shift, bias[c])
		}
		whole = whole && r.Bias%fine == 0
	}
	if whole {
		t.Error("every bias is a whole number of the coarse units")
	}
	for c, r := range sums[1].Requant[0] {
		if want := store.Get("last.bias").Float32s()[c]; r.Shift != want || r.Bias != 0 {
			t.Errorf("channel %d of floats: bias %d and %g, want %g", c, r.Bias, r.Shift, want)
		}
	}
}
