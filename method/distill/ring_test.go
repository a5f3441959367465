package distill

import (
	"bytes"
	"strings"
	"testing"

	"lowbit/internal/rng"
	"lowbit/rl"
	"lowbit/tensor"
)

// TestRingRebuildsStacks: a ring that keeps the newest screens gives back the
// views that were pushed, through the ends of episodes, games that pause while
// their episode is held out, and its own overflow.
func TestRingRebuildsStacks(t *testing.T) {
	for _, v := range []rl.View{{C: 1, H: 3, W: 5, Stack: 4, Code: rl.Gray}, {C: 4, H: 3, W: 5, Code: rl.Gray}} {
		const size, games, frame = 61, 5, 15
		store := tensor.NewStore()
		r, err := newRing(store, "ring", size, games, v, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(r.views); got != size*frame {
			t.Fatalf("%d bytes of views, want one screen a state: %d", got, size*frame)
		}
		s := rng.New(3)
		var stacks [games][]byte
		var paused [games]bool
		for i := range stacks {
			stacks[i] = make([]byte, 4*frame)
		}
		var pushed [][]byte
		for step := range 200 {
			for i, stack := range stacks {
				if s.Float64() < 0.05 || step == 0 {
					clear(stack)
					paused[i] = s.Float64() < 0.3
				}
				copy(stack, stack[frame:])
				for k := range frame {
					stack[3*frame+k] = byte(s.Intn(256))
				}
				if paused[i] {
					continue
				}
				if err := r.push(i, stack, []float32{float32(len(pushed)), 0}); err != nil {
					t.Fatal(err)
				}
				pushed = append(pushed, bytes.Clone(stack))
			}
			checkRing(t, r, pushed, 3*games)
		}
		if states, next := r.whole(0, 1000); next != size || len(states) < size-3*games {
			t.Errorf("%d states whole, looked at %d", len(states), next)
		}
		x, q := make([]float32, 50*v.Size()), make([]float32, 100)
		r.pick(v, x, q, &s)
		want := make([]float32, v.Size())
		for i := range 50 {
			v.Floats(want, pushed[int(q[2*i])])
			for k, w := range want {
				if x[i*v.Size()+k] != w {
					t.Fatalf("pick %d, element %d: %v, want %v", i, k, x[i*v.Size()+k], w)
				}
			}
		}
		stacks[0][0]++
		if err := r.push(0, stacks[0], []float32{0, 0}); err == nil || !strings.Contains(err.Error(), "game 0") {
			t.Errorf("a stack of other screens: error %v", err)
		}
		if _, err := newRing(store, "small", 2*4*games-1, games, v, 2); err == nil || !strings.Contains(err.Error(), "want at least 40") {
			t.Errorf("a ring too small for its stacks: error %v", err)
		}
	}
}

// checkRing reads all states back; the oldest may have lost a screen.
func checkRing(t *testing.T, r *ring, pushed [][]byte, oldest int) {
	t.Helper()
	n := r.len()
	for age := range n {
		at := len(pushed) - 1 - age
		got := r.read(at % r.size)
		if got == nil && n == r.size && age >= n-oldest {
			continue
		}
		if !bytes.Equal(got, pushed[at]) {
			t.Fatalf("after %d states: state %d is %v, want %v", len(pushed), at, got, pushed[at])
		}
	}
}
