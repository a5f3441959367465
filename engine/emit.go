package engine

import (
	"fmt"
	"math"
	"slices"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/internal/rng"
)

// fuser compiles a group of elementwise and tail instructions over one domain
// to a program.
type fuser struct {
	p      *program
	rows   int
	phys   []int
	last   bool
	regs   map[*value]int // slots in use
	free   []int
	left   map[*value]int // uses still to come inside the group
	inside map[*value]bool
	tiles  map[string]operand
	chunks int
	done   map[*inst]bool
	group  []*inst
	late   []instr // stores into storage that the program also reads
}

func newFuser(group []*inst, chunks int, k *kernel.Table) *fuser {
	lead := group[0]
	dom := domainOf(lead)
	f := &fuser{
		rows: dom.rows(), phys: dom.phys, last: dom.last, chunks: chunks, group: group,
		regs: map[*value]int{}, left: map[*value]int{}, inside: map[*value]bool{},
		tiles: map[string]operand{}, done: map[*inst]bool{},
	}
	c := 1
	if len(dom.phys) > 0 {
		c = dom.phys[len(dom.phys)-1]
	}
	p := &program{name: lead.name, group: group, rowSize: dom.rowSize(), c: c, k: k, block: blockFloats}
	if p.wide = c >= wideChannels; !p.wide {
		p.block = blockFloats / c * c
	}
	p.block = min(p.block, max(1, dom.size()))
	f.p = p
	for _, i := range group {
		f.inside[i.out] = true
		for _, v := range i.in {
			f.left[v]++
		}
	}
	return f
}

// domainOf returns the value over whose elements an instruction runs.
func domainOf(i *inst) *value {
	if i.class == tail {
		return i.in[0]
	}
	return i.out
}

func (f *fuser) compile() *program {
	for _, i := range f.group {
		if !f.done[i] {
			f.emit(i)
			f.done[i] = true
		}
		f.release(i)
	}
	f.p.code = append(f.p.code, f.late...)
	for _, c := range f.p.code {
		f.reads(c.a, c.b, c.c)
	}
	return f.p
}

// reads notes the operands that come from the arena or from outside.
func (f *fuser) reads(operands ...operand) {
	for _, o := range operands {
		if o.kind == memory && o.v.place != inScratch && !f.inside[o.v] && !slices.Contains(f.p.reads, o.v) {
			f.p.reads = append(f.p.reads, o.v)
		}
	}
}

func (f *fuser) release(i *inst) {
	for _, v := range i.in {
		f.left[v]--
		if r, ok := f.regs[v]; ok && f.left[v] <= 0 {
			f.free = append(f.free, r)
			delete(f.regs, v)
		}
	}
}

func (f *fuser) newSlot() int {
	if n := len(f.free); n > 0 {
		s := f.free[n-1]
		f.free = f.free[:n-1]
		return s
	}
	f.p.slots++
	return f.p.slots - 1
}

// temp returns a slot for use within one instruction's code.
func (f *fuser) temp() operand { return operand{kind: slot, slot: f.newSlot()} }

func (f *fuser) drop(o operand) { f.free = append(f.free, o.slot) }

// dst returns where an instruction's result goes.
func (f *fuser) dst(v *value) operand {
	switch {
	case v.place == inSlot:
		s := f.newSlot()
		f.regs[v] = s
		return operand{kind: slot, slot: s}
	case v.place == external && !v.pinned: // a parameter updated in place
		s := f.newSlot()
		f.regs[v] = s
		f.left[v] += 1 << 20 // keep the slot until the end
		f.late = append(f.late, instr{op: opCopy, dst: operand{kind: memory, v: v}, a: operand{kind: slot, slot: s}})
		return operand{kind: slot, slot: s}
	}
	return operand{kind: memory, v: v}
}

// src returns an operand of an instruction.
func (f *fuser) src(i *inst, n int) operand {
	v, pat := i.in[n], i.pats[n]
	if s, ok := f.regs[v]; ok {
		return operand{kind: slot, slot: s}
	}
	size := 1
	for _, d := range f.phys {
		size *= d
	}
	if pat.full(size) {
		if v.alias != nil {
			v = v.root()
		}
		return operand{kind: memory, v: v}
	}
	return f.spread(v, pat)
}

// spread returns an operand with fewer elements than the domain.
func (f *fuser) spread(v *value, pat pattern) operand {
	if pat.count == 1 || pat.inner == 1 && pat.count == f.p.c {
		return f.tile(fmt.Sprintf("%p/%d", v, pat.count), pat.count, func(dst []float32) {
			copy(dst, v.root().data)
		})
	}
	o := f.temp() // expanded anew in each block, for the whole group
	f.p.code = append(f.p.code, instr{op: opExpand, dst: o, a: operand{kind: none, v: v}, pat: pat})
	return o
}

// tile returns a repeated small operand; equal keys share one.
func (f *fuser) tile(key string, count int, fill func(dst []float32)) operand {
	if o, ok := f.tiles[key]; ok {
		return o
	}
	t := &tile{count: count, fill: fill}
	kind := tiled
	n := f.p.block
	if f.p.wide && count == f.p.c {
		kind, n = periodic, count
	}
	t.buf = make([]float32, max(n, count))
	f.p.tiles = append(f.p.tiles, t)
	o := operand{kind: kind, tile: t}
	f.tiles[key] = o
	return o
}

func (f *fuser) constant(v float32) operand {
	return f.tile(fmt.Sprintf("const/%x", math.Float32bits(v)), 1, func(dst []float32) { dst[0] = v })
}

func (f *fuser) code(i instr) { f.p.code = append(f.p.code, i) }

var binaryOps = map[graph.BinaryKind]opcode{
	graph.Add: opAdd, graph.Sub: opSub, graph.Mul: opMul, graph.Div: opDiv, graph.Max: opMax, graph.Min: opMin,
}

var unaryOps = map[graph.UnaryKind]opcode{
	graph.Sqrt: opSqrt, graph.Exp: opExp, graph.Log: opLog, graph.Relu: opRelu, graph.Relu6: opRelu6,
	graph.Sigmoid: opSigmoid, graph.Tanh: opTanh, graph.Erf: opErf,
}

// emit appends the code of one instruction.
func (f *fuser) emit(i *inst) {
	switch o := i.op.(type) {
	case graph.Binary:
		f.binary(i, o)
	case graph.Unary:
		f.unary(i, o)
	case graph.ReluGrad:
		op := opReluGrad
		if o.Six {
			op = opRelu6Grad
		}
		a, b := f.src(i, 0), f.src(i, 1)
		f.code(instr{op: op, dst: f.dst(i.out), a: a, b: b})
	case graph.BroadcastTo:
		a := f.src(i, 0)
		f.code(instr{op: opCopy, dst: f.dst(i.out), a: a})
	case graph.Dropout:
		f.dropout(i, o)
	case graph.Activation:
		f.activation(i, o)
	case graph.ActivationGrad:
		f.activationGrad(i, o)
	case graph.Spike, graph.SpikeGrad, graph.Ternary:
		f.spiking(i)
	case graph.BatchNorm:
		f.batchNorm(i, o)
	case graph.BatchNormTrain:
		f.batchNormTrain(i, o)
	case graph.BatchNormGradInput:
		f.batchNormGradInput(i, o)
	case graph.BatchNormGradSums:
		f.batchNormGradSums(i, o)
	case graph.Moments:
		f.moments(i)
	case graph.Reduce:
		f.reduce(i, o)
	case graph.FakeQuant:
		a, s := f.src(i, 0), f.src(i, 1)
		f.code(instr{op: opFakeQuant, dst: f.dst(i.out), a: a, b: s, lo: -float32(o.Spec.Qn()), hi: float32(o.Spec.Qp())})
	case codesOp:
		a, s := f.src(i, 0), f.src(i, 1)
		f.code(instr{op: opCodes, dst: f.dst(i.out), a: a, b: s, lo: -float32(o.Spec.Qn()), hi: float32(o.Spec.Qp()), zero: float32(o.zero())})
	case graph.FakeQuantGradInput:
		f.fakeQuantGrad(i, o.FakeQuant)
	case graph.FakeQuantGradStep:
		f.fakeQuantGrad(i, o.FakeQuant)
	default:
		panic(fmt.Sprintf("engine: no code for elementwise op %T", i.op))
	}
}

func (f *fuser) binary(i *inst, o graph.Binary) {
	a, b := f.src(i, 0), f.src(i, 1)
	d := f.dst(i.out)
	if op, ok := binaryOps[o.F]; ok {
		f.code(instr{op: op, dst: d, a: a, b: b})
		return
	}
	f.code(instr{op: opCustom, dst: d, a: a, b: b, custom: greater})
}

func greater(dst, a, b []float32, _ int) {
	for i := range dst {
		dst[i] = 0
		if a[i] > b[i] {
			dst[i] = 1
		}
	}
}

func (f *fuser) unary(i *inst, o graph.Unary) {
	a := f.src(i, 0)
	if op, ok := unaryOps[o.F]; ok {
		f.code(instr{op: op, dst: f.dst(i.out), a: a})
		return
	}
	zero := f.constant(0)
	switch o.F {
	case graph.Neg:
		f.code(instr{op: opSub, dst: f.dst(i.out), a: zero, b: a})
	case graph.Abs:
		t := f.temp()
		f.code(instr{op: opSub, dst: t, a: zero, b: a})
		f.code(instr{op: opMax, dst: f.dst(i.out), a: t, b: a})
		f.drop(t)
	case graph.Sign:
		f.code(instr{op: opCustom, dst: f.dst(i.out), a: a, custom: sign})
	default:
		panic("engine: unknown unary " + string(o.F))
	}
}

func sign(dst, a, _ []float32, _ int) {
	for i, v := range a {
		switch {
		case v > 0:
			dst[i] = 1
		case v < 0:
			dst[i] = -1
		default:
			dst[i] = 0
		}
	}
}

func (f *fuser) dropout(i *inst, o graph.Dropout) {
	keep := float32(1 / (1 - o.Rate))
	state := i.in[1]
	a := f.src(i, 0)
	f.code(instr{op: opCustom, dst: f.dst(i.out), a: a, custom: func(dst, a, _ []float32, pos int) {
		stream := rng.New(uint64(state.i64[0]), uint64(state.i64[1]), o.Key)
		var words [4]uint32 // of elements 4*k to 4*k+3
		for j := range dst {
			e := uint64(pos + j)
			if j == 0 || e%4 == 0 {
				words = stream.At(e / 4)
			}
			if rng.Unit32(words[e%4]) < float32(o.Rate) {
				dst[j] = 0
			} else {
				dst[j] = a[j] * keep
			}
		}
	}})
}

// sum adds a running sum and returns its index.
func (f *fuser) sum(pat pattern, finish func(sums []float64)) int {
	ac := &accum{pat: pat, parts: make([]float64, f.chunks*pat.count), finish: finish}
	switch {
	case pat.count == 1 || pat.inner == 1 && pat.count == f.p.c && !f.p.wide:
		ac.lanes = f.p.block
	default:
		ac.lanes = pat.count
	}
	f.p.accs = append(f.p.accs, ac)
	return len(f.p.accs) - 1
}

func toFloat32(dst []float32, s []float64, scale float64) {
	for i, v := range s {
		dst[i] = float32(v * scale)
	}
}

func (f *fuser) reduce(i *inst, o graph.Reduce) {
	x := f.src(i, 0)
	out := i.out
	scale := 1.0
	if o.F == graph.Mean {
		scale = float64(max(1, out.size())) / float64(i.in[0].size())
	}
	a := f.sum(i.pats[1], func(s []float64) { toFloat32(out.data, s, scale) })
	f.code(instr{op: opAcc, a: x, acc: a})
}
