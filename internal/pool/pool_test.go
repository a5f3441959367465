package pool

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

func TestForCoversEachIndexOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 8} {
		p := New(workers)
		for _, n := range []int{0, 1, 2, 7, 64, 1000} {
			for _, chunk := range []int{0, 1, 3, 64} {
				hits := make([]atomic.Int32, n)
				p.For(n, chunk, func(_, lo, hi int) {
					for i := lo; i < hi; i++ {
						hits[i].Add(1)
					}
				})
				for i := range hits {
					if h := hits[i].Load(); h != 1 {
						t.Fatalf("workers %d n %d chunk %d: index %d ran %d times", workers, n, chunk, i, h)
					}
				}
			}
		}
		p.Close()
	}
}

func TestForWakesParkedWorkers(t *testing.T) {
	p := New(3)
	defer p.Close()
	for range 5 {
		time.Sleep(5 * time.Millisecond) // long enough to park
		var sum atomic.Int64
		p.For(100, 1, func(_, lo, _ int) { sum.Add(int64(lo)) })
		if sum.Load() != 4950 {
			t.Fatalf("sum %d", sum.Load())
		}
	}
}

func TestForPassesAPanicOn(t *testing.T) {
	p := New(2)
	defer p.Close()
	for i := range 20 {
		func() {
			defer func() {
				if r := recover(); r != "boom" {
					t.Fatalf("round %d: recovered %v", i, r)
				}
			}()
			p.For(10, 1, func(_, lo, _ int) {
				if lo == i%10 {
					panic("boom")
				}
			})
		}()
	}
	p.For(10, 1, func(int, int, int) {}) // still usable
}

func TestForAllocatesNothing(t *testing.T) {
	p := New(2)
	defer p.Close()
	var sum atomic.Int64
	body := func(_, lo, hi int) { sum.Add(int64(hi - lo)) }
	if a := testing.AllocsPerRun(100, func() { p.For(64, 4, body) }); a != 0 {
		t.Errorf("%g allocations a loop", a)
	}
}

func BenchmarkFor(b *testing.B) {
	for _, chunks := range []int{2, 8, 32} {
		b.Run(fmt.Sprintf("chunks=%d", chunks), func(b *testing.B) {
			p := New(0)
			defer p.Close()
			body := func(int, int, int) {}
			for b.Loop() {
				p.For(chunks, 1, body)
			}
		})
	}
}
