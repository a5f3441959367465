package engine

import (
	"fmt"
	"unsafe"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/tensor"
)

// Plan is a compiled graph.
type Plan struct {
	engine  *Engine
	bf16    bool // products of floats may round their operands
	frozen  bool // parameters stay as they are
	began   bool // a run has ended: what is kept stands
	k       *kernel.Table
	inputs  map[string]*input
	outputs map[string]*tensor.Tensor
	stages  []*stage
	copies  []copyBack
	workers []*worker
	arena   []float32
	current *stage
	tasksOf *inst
	part    int // of tasksOf in a profile
	foldBuf foldState

	// The loop bodies, made once so that a run allocates nothing.
	body, side, tasksBody func(worker, lo, hi int)
}

// copyBack stores the new value of a parameter when a run has ended.
type copyBack struct{ dst, src *value }

// worker is the memory of one thread.
type worker struct {
	row0    int
	slots   []float32
	scratch []float32
	acc     []float32
	kernel  []float32
	args    [3][]float32 // operands of a row loop, and of one row
	row     [3][]float32
	loss    lossRow
	clock   *clock // nil: not measured
}

// rows returns rows r0 to r1 of a value.
func (w *worker) rows(v *value, r0, r1 int) []float32 {
	n := v.rowSize()
	root := v.root()
	if root.place == inScratch {
		return root2scratch(w, root, (r1-r0)*n)
	}
	return root.data[r0*n : r1*n]
}

func root2scratch(w *worker, v *value, n int) []float32 { return w.scratch[v.off:][:n] }

// rowsOf is rows for a domain that may be the whole value at once.
func (w *worker) rowsOf(v *value, domain, r0, r1 int) []float32 {
	if domain == 1 && v.rows() != 1 {
		return v.root().data[:v.size()]
	}
	return w.rows(v, r0, r1)
}

func int8s(b []byte) []int8 {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

// input is a graph input and the tensor that it reads.
type input struct {
	value *value
	own   *tensor.Tensor
}

func (in *input) bind(t *tensor.Tensor) {
	v := in.value
	switch v.dtype {
	case tensor.F32:
		v.data = t.Float32s()
	case tensor.I32:
		v.i32 = t.Int32s()
	case tensor.I64:
		v.i64 = t.Int64s()
	default:
		v.bytes = t.Bytes()
	}
}

// Memory is storage that several plans use in turn, such as those of one graph
// for batches of several shapes: what a plan has computed, its outputs too, is
// gone when another plan of the same Memory runs. Outputs of one name share their
// storage. Compile the plan that needs most first.
type Memory struct {
	arena   []float32
	outputs map[string][]float32
}

// output returns the storage of an output.
func (m *Memory) output(name string, n int) []float32 {
	if m == nil {
		return tensor.New(tensor.F32, n).Float32s()
	}
	if len(m.outputs[name]) < n {
		if m.outputs == nil {
			m.outputs = map[string][]float32{}
		}
		m.outputs[name] = tensor.New(tensor.F32, n).Float32s()
	}
	return m.outputs[name][:n:n]
}

// floats returns the arena's first n values.
func (m *Memory) floats(n int) []float32 {
	if m == nil {
		return largeFloats(n)
	}
	if len(m.arena) < n {
		m.arena = largeFloats(n)
	}
	return m.arena[:n:n]
}

// Compile prepares a graph to run. Every Param of the graph must be in the
// store with its shape; the plan reads and updates that storage.
func (e *Engine) Compile(g *graph.Graph, store *tensor.Store) (*Plan, error) {
	return e.CompileIn(nil, g, store)
}

// CompileIn is Compile with values in m, if it is not nil.
func (e *Engine) CompileIn(m *Memory, g *graph.Graph, store *tensor.Store) (p *Plan, err error) {
	return e.compile(m, g, store, &Plan{})
}

// CompileFrozen is Compile for a plan during whose life nobody changes the
// parameters: the codes of quantized linear layers are computed by its first run and
// kept. A graph that changes parameters itself is an error.
func (e *Engine) CompileFrozen(g *graph.Graph, store *tensor.Store) (p *Plan, err error) {
	if n := len(g.Updates()); n > 0 {
		return nil, fmt.Errorf("engine: the graph of a frozen plan updates %d parameters, want none", n)
	}
	return e.compile(nil, g, store, &Plan{frozen: true})
}

// CompileRounded is CompileIn for a plan whose products of floats may round their
// operands to bfloat16, where the kernel row has such products (HasBF16): each loses
// at most 2^-9 of itself. FloatGradients turns this off, too.
func (e *Engine) CompileRounded(m *Memory, g *graph.Graph, store *tensor.Store) (p *Plan, err error) {
	return e.compile(m, g, store, &Plan{bf16: !e.FloatGradients})
}

// compile fills in p.
func (e *Engine) compile(m *Memory, g *graph.Graph, store *tensor.Store, p *Plan) (_ *Plan, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("engine: compile: %v", r)
		}
	}()
	if err := g.Err(); err != nil {
		return nil, err
	}
	if g, err = graph.Prune(g); err != nil {
		return nil, err
	}
	p.engine, p.k, p.inputs, p.outputs = e, kernel.Active(), map[string]*input{}, map[string]*tensor.Tensor{}
	b := &builder{g: g, store: store, plan: p, memory: m, converted: map[*value]*value{}, packs: map[packKey]*value{}}
	if err := b.build(); err != nil {
		return nil, err
	}
	b.finish()
	return p, nil
}

// build lowers all nodes, sharing equal ones.
func (b *builder) build() error {
	b.at = make([]*value, len(b.g.Nodes()))
	seen := map[string]*value{}
	for _, n := range b.g.Nodes() {
		key := b.identity(n)
		if v := seen[key]; v != nil {
			b.at[n.ID()] = v
			continue
		}
		v, err := b.lower(n)
		if err != nil {
			return err
		}
		if c, ok := n.Op().(graph.Coster); ok && v.def != nil {
			v.def.macs = c.MACs(n)
		}
		seen[key] = v
		b.at[n.ID()] = v
		if pr, ok := n.Op().(graph.Param); ok && pr.Name != "" {
			v.param = true
		}
	}
	return nil
}

// identity is equal for nodes that compute the same value.
func (b *builder) identity(n *graph.Node) string {
	s := fmt.Sprintf("%T%+v", n.Op(), n.Op())
	for _, x := range n.In() {
		s += fmt.Sprintf("|%p", b.at[x.ID()])
	}
	return s
}

// finish schedules, places and fuses.
func (b *builder) finish() {
	p := b.plan
	for _, o := range b.g.Outputs() {
		v := b.plain(b.at[o.Node.ID()])
		r := v.root()
		r.pinned = true
		if r.def == nil { // a source: hand out a view of it
			p.outputs[o.Name] = sourceTensor(v, p)
			continue
		}
		p.outputs[o.Name] = b.outputTensor(o.Name, v, r)
	}
	b.updateTargets()
	levels(b.insts)
	b.insts = prune(rematerialise(prune(b.insts)))
	sink(b.insts)
	if p.frozen {
		keep(b.insts)
	}
	p.stages = stages(b.insts)
	pl := &placement{stages: p.stages, insts: b.insts}
	for _, s := range p.stages {
		var groups [][]*inst
		if !s.global {
			s.cut()
			groups = s.order()
		}
		pl.groups = append(pl.groups, groups)
	}
	b.inPlaceUpdates(pl)
	pl.decide()
	b.link(pl)
}

func (b *builder) outputTensor(name string, v, root *value) *tensor.Tensor {
	if root.bytes != nil {
		t, _ := tensor.FromBytes(v.dtype, v.shape, root.bytes)
		return t
	}
	if root.place != external {
		root.place = external
		root.data = b.memory.output(name, root.size())
	}
	return viewTensor(root.data, v.shape)
}

func viewTensor(data []float32, shape tensor.Shape) *tensor.Tensor {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data))
	t, _ := tensor.FromBytes(tensor.F32, shape, b)
	return t
}

// sourceTensor serves an output that is an input, parameter or constant.
func sourceTensor(v *value, p *Plan) *tensor.Tensor {
	r := v.root()
	t := tensor.New(tensor.F32, v.shape...)
	dst := &value{dtype: tensor.F32, phys: v.phys, place: external, data: t.Float32s()}
	p.copies = append(p.copies, copyBack{dst: dst, src: r})
	return t
}

// inPlaceUpdates lets elementwise results overwrite the parameters they
// replace, where nobody reads the old value later.
func (b *builder) inPlaceUpdates(pl *placement) {
	group := map[*inst]*inst{} // to the first of its group
	for _, gs := range pl.groups {
		for _, g := range gs {
			for _, i := range g {
				group[i] = g[0]
			}
		}
	}
	var copies []copyBack
	for _, u := range b.g.Updates() {
		old, v := b.paramOf(u), b.at[u.Value.ID()]
		ok := v.alias == nil && v.def != nil && v.def.class == elementwise && v.place == unplaced && !v.pinned
		for _, r := range old.uses {
			if !ok {
				break
			}
			ok = r.stage < v.def.stage || group[r] != nil && group[r] == group[v.def]
		}
		if ok {
			v.place, v.data = external, old.data
			continue
		}
		copies = append(copies, copyBack{dst: old, src: v.root()})
	}
	// Source outputs are read before parameters change.
	b.plan.copies = append(b.plan.copies, copies...)
}

// link compiles the groups, lays out memory and makes the workers.
func (b *builder) link(pl *placement) {
	p := b.plan
	slots, scratch, accs, kern := 0, 0, 0, 0
	for n, s := range p.stages {
		lanes := 0
		for _, g := range pl.groups[n] {
			lead := g[0]
			if lead.class == elementwise || lead.class == tail {
				prog := newFuser(g, s.chunks, p.k).compile()
				for _, ac := range prog.accs {
					ac.off = lanes
					lanes += (ac.lanes + 15) &^ 15
				}
				slots = max(slots, prog.slots+1)
				s.members = append(s.members, member{prog: prog})
				continue
			}
			if lead.class == partial {
				buf := &value{name: lead.name, phys: []int{s.chunks * padTo16(lead.extra)}, place: inArena}
				s.parts = append(s.parts, part{lead, buf})
			}
			s.members = append(s.members, member{inst: lead})
		}
		for at, i := range s.insts {
			kern = max(kern, i.scratch)
			if i.parallel {
				s.parallel, s.sideOf = append(s.parallel, i), append(s.sideOf, at)
			}
		}
		accs = max(accs, lanes)
		scratch = max(scratch, s.scratch())
	}
	total := pl.arena()
	p.arena = b.memory.floats(total + 16)
	for _, i := range b.insts {
		if v := i.out; v.place == inArena {
			v.data = p.arena[v.off : v.off+v.size()]
		}
	}
	for _, s := range p.stages {
		for _, pt := range s.parts {
			pt.buf.data = p.arena[pt.buf.off : pt.buf.off+pt.buf.size()]
		}
	}
	for range p.engine.Threads() {
		p.workers = append(p.workers, &worker{
			slots:   tensor.New(tensor.F32, slots*blockFloats).Float32s(),
			scratch: tensor.New(tensor.F32, scratch).Float32s(),
			acc:     tensor.New(tensor.F32, accs).Float32s(),
			kernel:  tensor.New(tensor.F32, kern).Float32s(),
		})
	}
	p.body, p.side, p.tasksBody = p.runChunks, p.runSide, p.runTasks
	p.foldBuf.body = p.foldBuf.run
}

// largeFloats returns n zeros that runs pass through again and again.
func largeFloats(n int) []float32 {
	b := tensor.LargeBytes(4 * n)
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

func padTo16(n int) int { return (n + 15) &^ 15 }
