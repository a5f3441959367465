package engine

import (
	"lowbit/internal/kernel"
)

// blockFloats is the length of the runs that a block program works on: 8 KiB,
// so that five operands fit the first-level cache together.
const blockFloats = 2048

// wideChannels is the channel count from which per-channel operands are read in
// place, with blocks cut at the rows of channels, instead of being repeated
// into tiles.
const wideChannels = 512

// program is a fused chain of elementwise instructions and tails over one
// domain: an interpreter that applies vector kernels to blocks in the
// first-level cache.
type program struct {
	name    string
	group   []*inst
	rowSize int
	c       int // last physical dimension
	block   int
	wide    bool
	tiles   []*tile
	code    []instr
	slots   int
	accs    []*accum
	reads   []*value // stored values that the code reads
	k       *kernel.Table
}

type opcode uint8

const (
	opAdd opcode = iota
	opSub
	opMul
	opDiv
	opMax
	opMin
	opMulAdd
	opRelu
	opReluGrad
	opRelu6
	opRelu6Grad
	opSqrt
	opExp
	opLog
	opTanh
	opSigmoid
	opErf
	opCopy
	opExpand
	opFakeQuant
	opFakeQuantGrad
	opCodes
	opAcc
	opAccMul
	opCustom
)

// operandKind tells where an operand's block is found.
type operandKind uint8

const (
	none     operandKind = iota
	slot                 // register of the worker
	memory               // value at the block's place
	tiled                // tile, repeated to the block length
	periodic             // per-channel values at the block's channels
)

type operand struct {
	kind operandKind
	slot int
	v    *value
	tile *tile
}

// instr is one vector operation. dst2 is the second result of FakeQuantGrad.
type instr struct {
	op           opcode
	dst, dst2    operand
	a, b, c      operand
	lo, hi, zero float32
	pat          pattern
	acc          int
	custom       func(dst, a, b []float32, pos int)
}

// tile is a small operand repeated along a domain: count values, made by fill
// when a stage starts.
type tile struct {
	count int
	fill  func(dst []float32)
	buf   []float32
}

// prepare fills the tile: count values, then copies of them up to its length.
func (t *tile) prepare() {
	t.fill(t.buf[:t.count])
	for n := t.count; n < len(t.buf); n *= 2 {
		copy(t.buf[n:], t.buf[:n])
	}
}

// accum is a running sum over the domain, for each index of its pattern.
type accum struct {
	pat    pattern
	lanes  int
	off    int       // of the lanes in the worker's buffer
	parts  []float64 // [chunks, count]
	finish func(sums []float64)
}

// get returns the block of an operand at pos.
func (p *program) get(w *worker, o *operand, pos, n int) []float32 {
	switch o.kind {
	case slot:
		return w.slots[o.slot*blockFloats:][:n]
	case memory:
		if v := o.v; v.place == inScratch {
			return w.scratch[v.off+pos-w.row0*p.rowSize:][:n]
		}
		return o.v.data[pos:][:n]
	case tiled:
		return o.tile.buf[:n]
	case periodic:
		return o.tile.buf[pos%p.c:][:n]
	}
	return nil
}

// run executes the program for rows r0 to r1.
func (p *program) run(w *worker, r0, r1 int) {
	w.row0 = r0
	end := r1 * p.rowSize
	for pos := r0 * p.rowSize; pos < end; {
		n := min(p.block, end-pos)
		if p.wide {
			n = min(n, p.c-pos%p.c)
		}
		p.fetch(pos + n)
		for i := range p.code {
			p.step(w, &p.code[i], pos, n)
		}
		pos += n
	}
}

// fetch asks for the stored operands of the next block while this one is
// computed.
func (p *program) fetch(pos int) {
	for _, v := range p.reads {
		if d := v.data; pos < len(d) {
			p.k.Prefetch(d[pos:min(pos+p.block, len(d))])
		}
	}
}

func (p *program) step(w *worker, i *instr, pos, n int) {
	k := p.k
	if i.op == opCodes {
		k.QuantU8(p.codes(w, i.dst.v, pos, n), p.get(w, &i.a, pos, n), p.get(w, &i.b, pos, n), i.lo, i.hi, i.zero)
		return
	}
	dst := p.get(w, &i.dst, pos, n)
	a := p.get(w, &i.a, pos, n)
	b := p.get(w, &i.b, pos, n)
	switch i.op {
	case opAdd:
		k.Add(dst, a, b)
	case opSub:
		k.Sub(dst, a, b)
	case opMul:
		k.Mul(dst, a, b)
	case opDiv:
		k.Div(dst, a, b)
	case opMax:
		k.Max(dst, a, b)
	case opMin:
		k.Min(dst, a, b)
	case opMulAdd:
		k.MulAdd(dst, a, b, p.get(w, &i.c, pos, n))
	case opRelu:
		k.Relu(dst, a)
	case opReluGrad:
		k.ReluGrad(dst, a, b)
	case opRelu6:
		k.Relu6(dst, a)
	case opRelu6Grad:
		k.Relu6Grad(dst, a, b)
	case opSqrt:
		k.Sqrt(dst, a)
	case opExp:
		k.Exp(dst, a)
	case opLog:
		k.Log(dst, a)
	case opTanh:
		k.Tanh(dst, a)
	case opSigmoid:
		k.Sigmoid(dst, a)
	case opErf:
		k.Erf(dst, a)
	case opCopy:
		copy(dst, a)
	case opExpand:
		expand(dst, i.a.v.root().data, i.pat, pos)
	case opFakeQuant:
		k.FakeQuant(dst, a, b, i.lo, i.hi)
	case opFakeQuantGrad:
		k.FakeQuantGrad(dst, p.get(w, &i.dst2, pos, n), a, b, p.get(w, &i.c, pos, n), i.lo, i.hi)
	case opAcc:
		p.accumulate(w, i, a, nil, pos)
	case opAccMul:
		p.accumulate(w, i, a, b, pos)
	case opCustom:
		i.custom(dst, a, b, pos)
	}
}

// codes returns the bytes of a value of codes at pos.
func (p *program) codes(w *worker, v *value, pos, n int) []byte {
	if v.place == inScratch {
		return floatBytes(w.scratch[v.off:])[pos-w.row0*p.rowSize:][:n]
	}
	return floatBytes(v.data)[pos:][:n]
}

// expand writes the operand elements of a pattern for the block at pos.
func expand(dst, src []float32, p pattern, pos int) {
	if p.inner == 1 {
		for len(dst) > 0 {
			n := copy(dst, src[pos%p.count:p.count])
			dst, pos = dst[n:], pos+n
		}
		return
	}
	for len(dst) > 0 {
		n := min(len(dst), p.inner-pos%p.inner)
		v := src[pos/p.inner%p.count]
		for j := range dst[:n] {
			dst[j] = v
		}
		dst, pos = dst[n:], pos+n
	}
}

// accumulate adds a block (or the product of two) to the lanes of a sum.
func (p *program) accumulate(w *worker, i *instr, a, b []float32, pos int) {
	ac := p.accs[i.acc]
	lanes := w.acc[ac.off:][:ac.lanes]
	at := 0
	switch {
	case ac.pat.count == 1 || ac.pat.inner == 1 && ac.pat.count == p.c && !p.wide:
	case ac.pat.inner == 1 && ac.pat.count == p.c:
		at = pos % p.c
	default:
		p.accumulateRuns(w, ac, lanes, a, b, pos)
		return
	}
	if b == nil {
		p.k.Acc(lanes[at:][:len(a)], a)
	} else {
		p.k.AccMul(lanes[at:][:len(a)], a, b)
	}
}

// accumulateRuns serves patterns whose indices are constant over runs.
func (p *program) accumulateRuns(w *worker, ac *accum, lanes, a, b []float32, pos int) {
	if b != nil {
		t := w.slots[p.slots*blockFloats:][:len(a)]
		p.k.Mul(t, a, b)
		a = t
	}
	for len(a) > 0 {
		n := min(len(a), ac.pat.inner-pos%ac.pat.inner)
		idx := pos / ac.pat.inner % ac.pat.count
		lanes[idx] += p.k.Sum(a[:n])
		a, pos = a[n:], pos+n
	}
}

// begin clears the worker's lanes before a chunk.
func (p *program) begin(w *worker) {
	for _, ac := range p.accs {
		clear(w.acc[ac.off:][:ac.lanes])
	}
}

// end folds the lanes of a chunk into its partial sums.
func (p *program) end(w *worker, chunk int) {
	for _, ac := range p.accs {
		n := ac.pat.count
		lanes := w.acc[ac.off:][:ac.lanes]
		part := ac.parts[chunk*n:][:n]
		if n == 1 {
			part[0] = float64(p.k.Sum(lanes))
			continue
		}
		first := lanes[:n]
		for rest := lanes[n:]; len(rest) > 0; rest = rest[n:] {
			p.k.Acc(first, rest[:n])
		}
		for i, v := range first {
			part[i] = float64(v)
		}
	}
}

// finish adds the chunks' partial sums in order and hands them on.
func (p *program) finish(chunks int) {
	for _, ac := range p.accs {
		n := ac.pat.count
		sum := ac.parts[:n]
		for c := 1; c < chunks; c++ {
			for i, v := range ac.parts[c*n:][:n] {
				sum[i] += v
			}
		}
		ac.finish(sum)
	}
}
