package infer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"lowbit/tensor"
)

func smallModel(t testing.TB) *Model {
	t.Helper()
	_, _, m := benchModel(t, "resnet20", 4, false)
	return m
}

func TestThreadsAndBatchesGiveTheSameBits(t *testing.T) {
	m := smallModel(t)
	const n = 7
	in := randomInput(append([]int{n}, m.InputShape()...), 3)
	size, classes := len(in)/n, product(m.OutputShape())
	want := make([]float32, n*classes)
	one := m.NewSession(Options{Threads: 1})
	for i := range n {
		if err := one.Run(in[i*size:][:size], want[i*classes:][:classes]); err != nil {
			t.Fatal(err)
		}
	}
	for _, threads := range []int{1, 2, 3, 5} {
		s := m.NewSession(Options{Threads: threads})
		for _, batch := range []int{1, 2, n} {
			got := make([]float32, batch*classes)
			if err := s.Run(in[:batch*size], got); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want[:batch*classes]) {
				t.Errorf("%d threads, batch %d: other results", threads, batch)
			}
		}
		s.Close()
	}
}

func TestSessionsShareAModel(t *testing.T) {
	m := smallModel(t)
	in := randomInput(m.InputShape(), 4)
	want := make([]float32, product(m.OutputShape()))
	if err := m.NewSession(Options{Threads: 1}).Run(in, want); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s := m.NewSession(Options{Threads: 1 + rand.IntN(2)})
			defer s.Close()
			got := make([]float32, len(want))
			for range 3 {
				if err := s.Run(in, got); err != nil || !slices.Equal(got, want) {
					t.Error("another result, or", err)
				}
			}
		})
	}
	all.Wait()
}

func TestRunsAllocateNothing(t *testing.T) {
	m := smallModel(t)
	for _, threads := range []int{1, 2} {
		s := m.NewSession(Options{Threads: threads})
		const batch = 2
		in := randomInput(append([]int{batch}, m.InputShape()...), 5)
		out := make([]float32, batch*product(m.OutputShape()))
		for _, n := range []int{1, batch} {
			run := func() {
				if err := s.Run(in[:len(in)/batch*n], out[:len(out)/batch*n]); err != nil {
					t.Fatal(err)
				}
			}
			run()
			if got := testing.AllocsPerRun(3, run); got != 0 {
				t.Errorf("%d threads, batch %d: %g allocations a call", threads, n, got)
			}
		}
		s.Close()
	}
}

func TestRunErrors(t *testing.T) {
	m := smallModel(t)
	s := m.NewSession(Options{Threads: 1})
	in, out := randomInput(m.InputShape(), 6), make([]float32, product(m.OutputShape()))
	for name, err := range map[string]error{
		"no input":     s.Run(nil, nil),
		"half input":   s.Run(in[:len(in)/2], out),
		"short output": s.Run(in, out[1:]),
	} {
		if !errors.Is(err, tensor.ErrShape) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.RunContext(ctx, in, out); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := s.Run(in, out); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := s.Run(in, out); err == nil {
		t.Error("a closed session ran")
	}
}

func TestProfileTimesEveryInstruction(t *testing.T) {
	m := smallModel(t)
	s := m.NewSession(Options{Threads: 1})
	list, err := s.Profile(randomInput(m.InputShape(), 6), 2)
	if err != nil || len(list) != len(m.Explain()) {
		t.Fatal(len(list), err)
	}
	for _, l := range list {
		if !(l.Seconds > 0) {
			t.Errorf("%s: %g seconds", l.Name, l.Seconds)
		}
	}
}

func TestExplainNamesFloatIslands(t *testing.T) {
	for _, residual := range []bool{true, false} {
		_, _, m := benchModel(t, "resnet20", 4, residual)
		islands := 0
		for _, i := range m.Explain() {
			if !i.Integer {
				islands++
				if i.Why == "" {
					t.Errorf("%s %s: no reason", i.Kind, i.Name)
				}
			}
		}
		if residual != (islands == 0) {
			t.Errorf("8-bit residuals %v: %d float islands", residual, islands)
		}
	}
}
