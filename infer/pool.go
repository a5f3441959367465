package infer

import (
	"context"
	"errors"
	"fmt"
	"image"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBusy is returned by a pool whose queue is full: as many callers wait as
// may. An HTTP server answers it with 503.
var ErrBusy = errors.New("infer: the pool is busy: its queue is full")

// PoolOptions of a pool of sessions.
type PoolOptions struct {
	// Sessions are the calls that run at once; 0: as many as give each Threads
	// CPUs of those that Go may use.
	Sessions int
	// Threads of each session; 0: 1. One thread a session gives the most
	// calls a second and the steadiest latency under load, more of them the
	// fastest answer to a lone caller.
	Threads int
	// Queue is the most callers that wait at a time, further ones get ErrBusy;
	// 0: 64 for each session, less than 0: nobody waits.
	Queue int
	// Observe is called at the end of every call, also of refused ones, on the
	// caller's goroutine; nil: not at all. It must be safe for concurrent use.
	Observe func(Call)
}

// Call is what a pool tells of one call.
type Call struct {
	Wait     time.Duration // from the call to the start of its run, or to its end without one
	Run      time.Duration // 0 if it did not run
	Examples int
	Err      error // nil, ErrBusy, the context's, or the run's
}

// PoolStats counts a pool's calls.
type PoolStats struct {
	Sessions  int   `json:"sessions"`
	Threads   int   `json:"threads"` // of each session
	Running   int   `json:"running"` // calls now
	Waiting   int   `json:"waiting"`
	Done      int64 `json:"done"`      // since the start: without an error
	Refused   int64 `json:"refused"`   // with ErrBusy
	Cancelled int64 `json:"cancelled"` // with the context's error
	Failed    int64 `json:"failed"`    // with another
}

// Pool lets any number of goroutines run a model on a fixed number of sessions.
// Callers are served in the order in which they came, so that with C callers
// at work none waits for more than C-1 runs before its own; a call whose
// context ends stops waiting, or running, at once. It is safe for concurrent
// use.
type Pool struct {
	model   *Model
	options PoolOptions
	free    chan *Session
	waiting atomic.Int64
	running atomic.Int64
	done    atomic.Int64
	refused atomic.Int64
	gone    atomic.Int64
	failed  atomic.Int64
	quit    chan struct{}
	close   sync.Once
}

// NewPool makes a pool of sessions of m. Close it when it is no longer needed.
func (m *Model) NewPool(o PoolOptions) *Pool {
	if o.Threads <= 0 {
		o.Threads = 1
	}
	if o.Sessions <= 0 {
		o.Sessions = max(1, runtime.GOMAXPROCS(0)/o.Threads)
	}
	if o.Queue == 0 {
		o.Queue = 64 * o.Sessions
	}
	p := &Pool{model: m, options: o, free: make(chan *Session, o.Sessions), quit: make(chan struct{})}
	for range o.Sessions {
		p.free <- m.NewSession(Options{Threads: o.Threads})
	}
	return p
}

// Run computes the results of one or more examples as Session.RunContext does,
// when a session is free. Beside its errors there are ErrBusy and the one of a
// closed pool.
func (p *Pool) Run(ctx context.Context, in, out []float32) error {
	return p.with(ctx, len(in)/max(1, product(p.model.plan.input)), func(s *Session) error { return s.RunContext(ctx, in, out) })
}

// Classify is Session.Classify when a session is free. The picture is
// preprocessed before that, outside the queue.
func (p *Pool) Classify(ctx context.Context, img image.Image, k int) ([]Prediction, error) {
	in, out, err := p.model.imageInput(img)
	if err != nil {
		return nil, err
	}
	if err := p.Run(ctx, in, out); err != nil {
		return nil, err
	}
	return p.model.Top(out, k), nil
}

// with runs f on a session of its own and counts the call.
func (p *Pool) with(ctx context.Context, examples int, f func(*Session) error) error {
	start := time.Now()
	c := Call{Examples: examples}
	s, err := p.acquire(ctx)
	c.Wait = time.Since(start)
	if err == nil {
		p.running.Add(1)
		err = f(s)
		p.running.Add(-1)
		p.free <- s
		c.Run = time.Since(start) - c.Wait
	}
	c.Err = err
	p.count(c)
	return err
}

func (p *Pool) acquire(ctx context.Context) (*Session, error) {
	select {
	case <-p.quit:
		return nil, errPoolClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select { // Go serves a channel's receivers in turn: this gets none while others wait
	case s := <-p.free:
		return s, nil
	default:
	}
	if n := p.waiting.Add(1); n > int64(max(0, p.options.Queue)) {
		p.waiting.Add(-1)
		return nil, ErrBusy
	}
	defer p.waiting.Add(-1)
	select {
	case s := <-p.free:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.quit:
		return nil, errPoolClosed
	}
}

func (p *Pool) count(c Call) {
	switch {
	case c.Err == nil:
		p.done.Add(1)
	case errors.Is(c.Err, ErrBusy):
		p.refused.Add(1)
	case errors.Is(c.Err, context.Canceled) || errors.Is(c.Err, context.DeadlineExceeded):
		p.gone.Add(1)
	default:
		p.failed.Add(1)
	}
	if p.options.Observe != nil {
		p.options.Observe(c)
	}
}

// Model returns the pool's model.
func (p *Pool) Model() *Model { return p.model }

// Stats returns the counts so far.
func (p *Pool) Stats() PoolStats {
	return PoolStats{
		Sessions: p.options.Sessions, Threads: p.options.Threads,
		Running: int(p.running.Load()), Waiting: int(p.waiting.Load()),
		Done: p.done.Load(), Refused: p.refused.Load(), Cancelled: p.gone.Load(), Failed: p.failed.Load(),
	}
}

// Close refuses new and waiting calls, waits for the running ones until ctx
// ends, with its error, and gives the sessions' memory and threads back.
func (p *Pool) Close(ctx context.Context) (err error) {
	p.close.Do(func() {
		close(p.quit)
		for n := range p.options.Sessions {
			select {
			case s := <-p.free:
				s.Close()
			case <-ctx.Done():
				err = fmt.Errorf("infer: close of a pool: %d calls are still running: %w", p.options.Sessions-n, ctx.Err())
				return
			}
		}
	})
	return err
}

var errPoolClosed = errors.New("infer: the pool is closed")

// product is the number of elements of a shape.
func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
