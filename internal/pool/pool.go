// Package pool runs short parallel loops: workers spin for a moment after each
// loop, because waking a parked thread costs more than most loops take, then
// park so that an idle program uses no CPU.
package pool

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// spinRounds is how often an idle worker looks for work before it parks, about
// 100 us on a 4 GHz core: longer than the gaps between loops of one training
// step, far shorter than a pause that a person or another program notices.
const spinRounds = 20000

// Pool is a fixed set of workers; the goroutine that calls For is worker 0. One
// For runs at a time.
type Pool struct {
	n       int
	workers []worker
	task    func(worker int)
	pending atomic.Int32
	next    atomic.Int64
	failure atomic.Pointer[any]
	quit    atomic.Bool
	closed  sync.Once

	// The loop in progress; For stores it here so that no closure is made.
	count, chunk int
	body         func(worker, lo, hi int)
	loop         func(worker int)
}

type worker struct {
	seq    atomic.Uint32
	parked atomic.Bool
	wake   chan struct{}
	_      [40]byte // workers on different cache lines
}

// New starts n workers, or one for each CPU that Go may use if n is 0 or less.
func New(n int) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	p := &Pool{n: n, workers: make([]worker, n)}
	p.loop = p.runChunks
	for i := 1; i < n; i++ {
		p.workers[i].wake = make(chan struct{}, 1)
		go p.serve(i)
	}
	return p
}

// Workers returns the number of workers.
func (p *Pool) Workers() int { return p.n }

// Close ends the workers; For must not be called afterwards.
func (p *Pool) Close() {
	p.closed.Do(func() {
		p.quit.Store(true)
		p.start(nil)
	})
}

func (p *Pool) serve(i int) {
	w := &p.workers[i]
	var seen uint32
	for {
		for spins := 0; w.seq.Load() == seen; spins++ {
			if spins < spinRounds {
				continue
			}
			w.parked.Store(true)
			if w.seq.Load() == seen {
				<-w.wake
			}
			w.parked.Store(false)
		}
		seen = w.seq.Load()
		if p.quit.Load() {
			return
		}
		p.guard(i)
		p.pending.Add(-1)
	}
}

// guard runs the task and keeps the first panic for the caller of For.
func (p *Pool) guard(i int) {
	defer func() {
		if r := recover(); r != nil {
			p.keep(r)
		}
	}()
	p.task(i)
}

// keep is apart from guard so that only a panic allocates.
func (p *Pool) keep(r any) { p.failure.CompareAndSwap(nil, &r) }

func (p *Pool) start(task func(int)) {
	p.task = task
	p.pending.Store(int32(p.n - 1))
	for i := 1; i < p.n; i++ {
		w := &p.workers[i]
		w.seq.Add(1)
		if w.parked.Load() {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// For calls body(worker, lo, hi) for consecutive ranges of at most chunk that
// cover [0, n), on all workers; which worker gets which range varies. It
// returns when all are done and panics with the first panic of a body. With one
// range, or one worker, everything runs on the caller.
func (p *Pool) For(n, chunk int, body func(worker, lo, hi int)) {
	if n <= 0 {
		return
	}
	chunk = max(chunk, 1)
	if p.n == 1 || n <= chunk {
		for lo := 0; lo < n; lo += chunk {
			body(0, lo, min(lo+chunk, n))
		}
		return
	}
	p.count, p.chunk, p.body = n, chunk, body
	p.next.Store(0)
	p.start(p.loop)
	p.guard(0)
	for spins := 0; p.pending.Load() != 0; spins++ {
		if spins > spinRounds { // a worker was descheduled
			runtime.Gosched()
		}
	}
	p.body = nil
	if f := p.failure.Swap(nil); f != nil {
		panic(*f)
	}
}

func (p *Pool) runChunks(worker int) {
	for {
		lo := int(p.next.Add(int64(p.chunk))) - p.chunk
		if lo >= p.count {
			return
		}
		p.body(worker, lo, min(lo+p.chunk, p.count))
	}
}
