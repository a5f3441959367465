package engine

import (
	"fmt"

	"lowbit/tensor"
)

// SetInput makes each run read an input from t's storage, in logical row-major
// order. The tensor must have the input's type and shape.
func (p *Plan) SetInput(name string, t *tensor.Tensor) error {
	in := p.inputs[name]
	if in == nil {
		return fmt.Errorf("engine: the plan has no input %q", name)
	}
	if t.DType() != in.value.dtype || !t.Shape().Equal(in.value.shape) {
		return fmt.Errorf("engine: input %q: %w: want %v%v, got %v", name, tensor.ErrShape, in.value.dtype, in.value.shape, t)
	}
	in.bind(t)
	return nil
}

// Input returns the plan's own buffer of an input, which runs read unless
// SetInput gave another; nil if there is no such input.
func (p *Plan) Input(name string) *tensor.Tensor {
	in := p.inputs[name]
	if in == nil {
		return nil
	}
	return in.own
}

// Output returns a named result in logical row-major order: the same storage
// for each run, valid from one Run to the next; nil if there is no such output.
func (p *Plan) Output(name string) *tensor.Tensor { return p.outputs[name] }

// MemoryBytes returns the size of the plan's arena and worker buffers.
func (p *Plan) MemoryBytes() int {
	n := len(p.arena)
	for _, w := range p.workers {
		n += len(w.slots) + len(w.scratch) + len(w.acc) + len(w.kernel)
	}
	return 4 * n
}

// Run computes all outputs from the inputs and then applies the graph's
// updates to the Store. It allocates nothing.
func (p *Plan) Run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			name := "?"
			if p.current != nil && len(p.current.insts) > 0 {
				name = p.current.insts[0].name
			}
			err = fmt.Errorf("engine: in the stage of %s: %v", name, r)
		}
	}()
	for _, s := range p.stages {
		p.current = s
		if s.global {
			p.runGlobal(s)
		} else {
			p.runStage(s)
		}
	}
	for _, c := range p.copies {
		copy(c.dst.data, c.src.data)
	}
	p.began = true
	return nil
}

// runGlobal runs the instructions of a level that see whole operands: the
// parallel ones side by side, each of the others with all workers to itself.
func (p *Plan) runGlobal(s *stage) {
	if len(s.parallel) > 0 {
		p.engine.pool.For(len(s.parallel), 1, p.side)
	}
	for n, i := range s.insts {
		switch {
		case i.parallel || i.kept && p.began:
		case i.tasks > 0:
			p.tasksOf, p.part = i, s.first+n
			p.engine.pool.For(i.tasks, 1, p.tasksBody)
		default:
			c := p.workers[0].clock
			began := c.now()
			i.all(p)
			c.lap(s.first+n, began)
		}
	}
}

func (p *Plan) runSide(worker, lo, hi int) {
	s, c := p.current, p.workers[worker].clock
	for n, i := range s.parallel[lo:hi] {
		if i.kept && p.began {
			continue
		}
		began := c.now()
		i.all(p)
		c.lap(s.first+s.sideOf[lo+n], began)
	}
}

func (p *Plan) runTasks(worker, lo, hi int) {
	w := p.workers[worker]
	began := w.clock.now()
	for t := lo; t < hi; t++ {
		p.tasksOf.task(w, t)
	}
	w.clock.lap(p.part, began)
}

func (p *Plan) runStage(s *stage) {
	for i := range s.members {
		if prog := s.members[i].prog; prog != nil {
			for _, t := range prog.tiles {
				t.prepare()
			}
		}
	}
	p.engine.pool.For(s.chunks, 1, p.body)
	for i := range s.members {
		if prog := s.members[i].prog; prog != nil {
			prog.finish(s.chunks)
		}
	}
	for i := range s.parts {
		p.fold(s, &s.parts[i])
	}
}

// runChunks runs chunks lo to hi of the current stage on one worker.
func (p *Plan) runChunks(id, lo, hi int) {
	s, w := p.current, p.workers[id]
	for c := lo; c < hi; c++ {
		for i := range s.members {
			if prog := s.members[i].prog; prog != nil {
				prog.begin(w)
			}
		}
		for i := range s.parts {
			clear(s.parts[i].chunk(c))
		}
		end := min((c+1)*s.rows, s.domain)
		for r := c * s.rows; r < end; r += s.sub {
			s.runRows(w, c, r, min(r+s.sub, end))
		}
		for i := range s.members {
			if prog := s.members[i].prog; prog != nil {
				prog.end(w, c)
			}
		}
	}
}

func (s *stage) runRows(w *worker, chunk, r0, r1 int) {
	next := 0
	for i := range s.members {
		m := &s.members[i]
		began := w.clock.now()
		switch {
		case m.prog != nil:
			m.prog.run(w, r0, r1)
		case m.inst.class == partial:
			m.inst.acc(w, s.parts[next].chunk(chunk), r0, r1)
			next++
		default:
			m.inst.run(m.inst, w, r0, r1)
		}
		w.clock.lap(s.first+i, began)
	}
}

// chunk returns one chunk's buffer of a partial instruction.
func (t *part) chunk(c int) []float32 {
	n := padTo16(t.inst.extra)
	return t.buf.data[c*n:][:t.inst.extra]
}

// foldState is the loop that adds up the parts of a partial instruction.
type foldState struct {
	plan   *Plan
	part   *part
	chunks int
	body   func(worker, lo, hi int)
}

// foldFloats is the run of sums that one task adds up over all chunks.
const foldFloats = 4096

// fold adds the chunks' parts in order into the first and finishes.
func (p *Plan) fold(s *stage, t *part) {
	f := &p.foldBuf
	f.plan, f.part, f.chunks = p, t, s.chunks
	n := t.inst.extra
	p.engine.pool.For((n+foldFloats-1)/foldFloats, 1, f.body)
	t.inst.finish(t.chunk(0))
}

func (f *foldState) run(_, lo, hi int) {
	first := f.part.chunk(0)
	for t := lo; t < hi; t++ {
		a, b := t*foldFloats, min((t+1)*foldFloats, len(first))
		for c := 1; c < f.chunks; c++ {
			f.plan.k.Add(first[a:b], first[a:b], f.part.chunk(c)[a:b])
		}
	}
}
