package infer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolServesManyCallersWithFewSessions(t *testing.T) {
	m := smallModel(t)
	in, want := randomInput(m.InputShape(), 4), make([]float32, product(m.OutputShape()))
	if err := m.NewSession(Options{Threads: 1}).Run(in, want); err != nil {
		t.Fatal(err)
	}
	var calls, examples atomic.Int64
	var last atomic.Pointer[Call]
	p := m.NewPool(PoolOptions{Sessions: 2, Observe: func(c Call) {
		calls.Add(1)
		examples.Add(int64(c.Examples))
		last.Store(&c)
	}})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			got := make([]float32, len(want))
			for range 4 {
				if err := p.Run(context.Background(), in, got); err != nil || !slices.Equal(got, want) {
					t.Error("another result, or", err)
				}
			}
		})
	}
	all.Wait()
	if s := p.Stats(); s.Done != 64 || calls.Load() != 64 || examples.Load() != 64 || s.Running+s.Waiting != 0 {
		t.Errorf("%+v, %d calls, %d examples", s, calls.Load(), examples.Load())
	}
	if c := last.Load(); c.Err != nil || c.Run <= 0 || c.Wait < 0 {
		t.Errorf("observed %+v", c)
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background(), in, want); err == nil || last.Load().Err == nil {
		t.Error("a closed pool ran")
	}
}

// waitFor fails the test if a condition does not come true.
func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for ", what)
		}
	}
}

func TestPoolRefusesWhatDoesNotFitItsQueue(t *testing.T) {
	m := smallModel(t)
	p := m.NewPool(PoolOptions{Sessions: 1, Queue: 2})
	in, out := randomInput(m.InputShape(), 4), make([]float32, product(m.OutputShape()))
	busy := <-p.free // as if a call were running
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan error, 2)
	for range 2 {
		go func() { results <- p.Run(ctx, in, make([]float32, len(out))) }()
	}
	waitFor(t, "two callers in the queue", func() bool { return p.Stats().Waiting == 2 })
	if err := p.Run(context.Background(), in, out); !errors.Is(err, ErrBusy) {
		t.Errorf("a third caller: %v", err)
	}
	cancel()
	for range 2 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while waiting: %v", err)
		}
	}
	p.free <- busy
	if err := p.Run(context.Background(), in, out); err != nil {
		t.Error(err)
	}
	if err := p.Run(context.Background(), in[1:], out); err == nil {
		t.Error("an input of another shape ran")
	}
	if s := p.Stats(); s.Refused != 1 || s.Cancelled != 2 || s.Done != 1 || s.Failed != 1 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	nobody := m.NewPool(PoolOptions{Sessions: 1, Queue: -1})
	<-nobody.free
	if err := nobody.Run(context.Background(), in, out); !errors.Is(err, ErrBusy) {
		t.Errorf("without a queue: %v", err)
	}
}

func TestPoolServesInTheOrderOfArrival(t *testing.T) {
	m := smallModel(t)
	p := m.NewPool(PoolOptions{Sessions: 1})
	in := randomInput(m.InputShape(), 4)
	busy := <-p.free
	const n = 8
	var order []int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			err := p.with(context.Background(), 1, func(s *Session) error {
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				return s.Run(in, make([]float32, product(m.OutputShape())))
			})
			if err != nil {
				t.Error(err)
			}
		})
		waitFor(t, "a caller in the queue", func() bool { return p.Stats().Waiting == i+1 })
		time.Sleep(time.Millisecond) // from being counted to waiting
	}
	p.free <- busy
	all.Wait()
	if !slices.IsSorted(order) || len(order) != n {
		t.Errorf("served in the order %v", order)
	}
}

func TestPoolCloseWaitsForRunningCalls(t *testing.T) {
	p := smallModel(t).NewPool(PoolOptions{Sessions: 1})
	s := <-p.free
	waiting := make(chan error)
	go func() { waiting <- p.Run(context.Background(), nil, nil) }()
	waitFor(t, "a caller in the queue", func() bool { return p.Stats().Waiting == 1 })
	closed := make(chan error)
	go func() { closed <- p.Close(context.Background()) }()
	if err := <-waiting; err == nil {
		t.Error("a waiting call ran in a closed pool")
	}
	select {
	case err := <-closed:
		t.Error("closed during a call:", err)
	case <-time.After(10 * time.Millisecond):
	}
	p.free <- s
	if err := <-closed; err != nil {
		t.Error(err)
	}
	late := smallModel(t).NewPool(PoolOptions{Sessions: 1})
	<-late.free
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := late.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close with a call that does not end: %v", err)
	}
}
