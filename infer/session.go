package infer

import (
	"context"
	"fmt"
	"time"

	"lowbit/internal/pool"
	"lowbit/tensor"
)

// Options of a session.
type Options struct {
	// Threads that work on a call, the caller's among them; 0: one for each CPU
	// that Go may use.
	Threads int
}

// Session runs a model for one caller at a time: make one for each goroutine,
// they share the weights. A call allocates nothing.
type Session struct {
	model   *Model
	pool    *pool.Pool
	frames  []frame  // one for each worker that ever ran examples of its own
	scratch [][]byte // of each worker
	closed  bool

	// The call in progress; the pool's bodies are made once.
	done     <-chan struct{}
	in, out  []float32
	current  *instruction
	rowsBody func(worker, lo, hi int)
	runsBody func(worker, lo, hi int)
	// after is called behind each instruction of a run of one example.
	after func(n int)
}

// NewSession makes a session. Close it when it is no longer needed; a session
// of one thread need not be closed.
func (m *Model) NewSession(o Options) *Session {
	s := &Session{model: m, pool: pool.New(o.Threads)}
	n := s.pool.Workers()
	s.frames, s.scratch = make([]frame, n), make([][]byte, n)
	for i := range s.scratch {
		s.scratch[i] = tensor.AlignedBytes(m.plan.scratchBytes())
	}
	s.frame(0)
	s.rowsBody = func(worker, lo, hi int) { s.current.op.run(&s.frames[0], s.scratch[worker], lo, hi) }
	s.runsBody = func(worker, lo, hi int) {
		for i := lo; i < hi && !s.cancelled(); i++ {
			s.example(worker, i)
		}
	}
	return s
}

// frame returns a worker's memory for an example.
func (s *Session) frame(worker int) *frame {
	f := &s.frames[worker]
	if f.arena == nil {
		*f = frame{plan: s.model.plan, arena: tensor.LargeBytes(s.model.plan.arenaBytes)}
		if f.plan.apart {
			for _, v := range f.plan.values {
				f.fillHalo(v)
			}
		}
	}
	return f
}

// Close ends the session's threads. A session must not be closed during a call.
func (s *Session) Close() {
	s.closed = true
	s.pool.Close()
}

// Threads returns the number of threads that work on a call.
func (s *Session) Threads() int { return s.pool.Workers() }

// Run computes the results of one or more examples.
//
//	in   [n, channel, height, width] float32, normalised, of Model.InputShape
//	out  [n, ...] float32, of Model.OutputShape; receives the results
//
// One example is divided among the threads by rows, several by example. Errors:
// lengths that are no multiple of the shapes or do not agree.
func (s *Session) Run(in, out []float32) error { return s.RunContext(context.Background(), in, out) }

// RunContext is Run that gives up between two layers when ctx ends, with its
// error. out then holds nothing of use.
func (s *Session) RunContext(ctx context.Context, in, out []float32) (err error) {
	defer guard("run", &err)
	p := s.model.plan
	one, result := tensor.Shape(p.input).Size(), tensor.Shape(p.outputShape).Size()
	n := len(in) / one
	switch {
	case s.closed:
		return errClosed
	case n == 0 || len(in) != n*one:
		return fmt.Errorf("infer: run: %w: input of %d values, want a multiple of %d, %v", tensor.ErrShape, len(in), one, p.input)
	case len(out) != n*result:
		return fmt.Errorf("infer: run: %w: output of %d values for %d examples, want %d", tensor.ErrShape, len(out), n, n*result)
	}
	s.done, s.in, s.out = ctx.Done(), in, out
	if n > 1 && s.pool.Workers() > 1 {
		s.pool.For(n, 1, s.runsBody)
	} else {
		for i := 0; i < n && !s.cancelled(); i++ {
			s.rows(i)
		}
	}
	s.done, s.in, s.out = nil, nil, nil
	return ctx.Err()
}

func (s *Session) cancelled() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// begin points a frame at example i.
func (s *Session) begin(f *frame, i int) {
	one := tensor.Shape(f.plan.input).Size()
	f.input = s.in[i*one:][:one]
}

// end copies the result of example i to out, in logical order.
func (s *Session) end(f *frame, i int) {
	v := f.plan.output
	size := v.c * v.h * v.w
	flatten(v, s.out[i*size:][:size], f.floatRow)
}

// example runs example i on one worker.
func (s *Session) example(worker, i int) {
	f := s.frame(worker)
	s.begin(f, i)
	for _, n := range f.plan.instructions {
		if s.cancelled() {
			return
		}
		f.halos(n)
		n.op.run(f, s.scratch[worker], 0, n.rows)
	}
	s.end(f, i)
}

// rows runs example i on all workers, row by row.
func (s *Session) rows(i int) {
	f := &s.frames[0]
	s.begin(f, i)
	workers := s.pool.Workers()
	for at, n := range f.plan.instructions {
		if s.cancelled() {
			return
		}
		f.halos(n)
		if workers == 1 || n.small() {
			n.op.run(f, s.scratch[0], 0, n.rows)
		} else {
			s.current = n
			s.pool.For(n.rows, (n.rows+workers-1)/workers, s.rowsBody)
		}
		if s.after != nil {
			s.after(at)
		}
	}
	s.end(f, i)
}

// halos fills the padding of what an instruction is about to write.
func (f *frame) halos(n *instruction) {
	if f.plan.apart {
		return
	}
	for _, v := range n.out {
		f.fillHalo(v)
	}
}

// small reports whether an instruction takes less time than sharing it out and
// than what the other core's cache then fetches: about two microseconds, in
// which one thread does four million multiplications on the fastest kernels or
// goes over sixteen thousand values.
func (n *instruction) small() bool {
	work := n.info.MACs / 1024
	for _, v := range n.out {
		work += int64(v.c*v.h*v.w) / 4
	}
	return work < 4096 || n.rows < 2
}

// Timing is how long one instruction took.
type Timing struct {
	OpInfo
	Seconds float64 `json:"seconds"` // least of the runs
}

// Profile runs one example so many times and returns, for each instruction, the
// least time that it took.
func (s *Session) Profile(in []float32, runs int) ([]Timing, error) {
	list := make([]Timing, len(s.model.plan.instructions))
	for i, n := range s.model.plan.instructions {
		list[i].OpInfo = n.explain(s.model.plan.k)
	}
	out := make([]float32, tensor.Shape(s.model.plan.outputShape).Size())
	if one := tensor.Shape(s.model.plan.input).Size(); len(in) != one {
		return nil, fmt.Errorf("infer: profile: %w: input of %d values, want %d", tensor.ErrShape, len(in), one)
	}
	defer func() { s.after = nil }()
	var last time.Time
	first := true
	s.after = func(n int) {
		now := time.Now()
		if d := now.Sub(last).Seconds(); first || d < list[n].Seconds {
			list[n].Seconds = d
		}
		last = time.Now()
	}
	for range max(runs, 1) {
		last = time.Now()
		if err := s.Run(in, out); err != nil {
			return nil, err
		}
		first = false
	}
	return list, nil
}
