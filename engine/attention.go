package engine

import (
	"math"

	"lowbit/graph"
	"lowbit/internal/kernel"
)

// Attention works on blocks of queries: the scores of a block against all keys
// that it sees stand in the worker's scratch, so memory grows with the keys and
// not with their square. Keys are packed in blocks too, so that a block beyond
// the last visible key costs nothing. Of 32, 64 and 128 both, 64 was fastest at
// 256 and 512 keys on a Zen 5 core.
const (
	queryBlock = 64
	keyBlock   = 64
	// fewQueries is the queries of a group of heads up to which keys are read
	// as they lie: decoding.
	fewQueries = 16
	// fewTasks is the tasks below which each head packs keys for itself.
	fewTasks = 8
)

// attention is the shape of one attention op and its offsets in the scratch.
type attention struct {
	graph.Attention
	k                *kernel.Table
	m                mask
	batch, keys, d   int
	group            int // query heads of a key head
	ldq, ldk         int
	scale            float32
	blocks           int // of keys
	packT, packN     int // packed block as [d, keys] and as [keys, d]
	lds              int // keys rounded up to whole blocks; floats of a row's scratch
	scratch          int // floats of Gemm's scratch
	q, kk, v, dy, to *value
}

func (b *builder) newAttention(n *graph.Node, in []*value, o graph.Attention, first int) *attention {
	a := &attention{Attention: o, k: b.plan.k, m: maskOf(o.Mask, in, first), q: in[0], kk: in[1], v: in[2]}
	a.batch, a.keys, a.d = o.Dims(in[0].shape, in[1].shape)
	a.group = o.Heads / o.KVHeads
	a.ldq, a.ldk = in[0].shape[1], in[1].shape[1]
	a.scale = float32(o.Factor(a.d))
	a.blocks = (a.keys + keyBlock - 1) / keyBlock
	a.lds = a.blocks * keyBlock
	a.packT, a.packN = a.k.PackBSize(a.d, keyBlock), a.k.PackBSize(keyBlock, a.d)
	a.scratch = max(a.k.GemmScratch(a.d, keyBlock), a.k.GemmScratch(keyBlock, a.d), a.k.GemmScratch(queryBlock, a.d), a.k.GemmScratch(a.keys, fewQueries))
	a.to = b.value(n.Name(), n.Type(), false)
	return a
}

func (b *builder) attention(n *graph.Node, in []*value, o graph.Attention) *value {
	for k := range 3 {
		in[k] = b.plain(in[k])
	}
	a := b.newAttention(n, in, o, 3)
	i := &inst{op: o, name: n.Name(), in: in, out: a.to, class: global}
	if a.group*o.Seq <= fewQueries {
		g := a.group * o.Seq
		i.scratch = 2*g*a.d + a.k.PackBSize(a.d, g) + a.keys*g + a.k.PackBSize(a.keys, g) + 2*g + a.scratch
		i.tasks = a.batch * o.KVHeads
		i.task = func(w *worker, t int) { a.few(w.kernel, t/o.KVHeads, t%o.KVHeads) }
		return b.add(i)
	}
	i.scratch = a.blocks*(a.packT+a.packN) + (queryBlock+1)*a.lds + a.scratch
	i.tasks = a.batch * o.KVHeads
	heads := a.group // of a task
	if i.tasks < fewTasks {
		i.tasks, heads = a.batch*o.Heads, 1
	}
	per := o.Heads / heads
	i.task = func(w *worker, t int) { a.forward(w.kernel, t/per, t%per*heads, heads) }
	return b.add(i)
}

// cut takes n floats off a scratch.
func cut(s *[]float32, n int) []float32 {
	head := (*s)[:n:n]
	*s = (*s)[n:]
	return head
}

// span returns the keys from a block's start to the last that queries q0..q1-1
// of a sequence see; none if from is not below to.
func (a *attention) span(seq, q0, q1 int) (from, to int) {
	from = a.keys
	for t := q0; t < q1; t++ {
		if lo, hi := a.m.visible(seq, t, a.keys); lo < hi {
			from, to = min(from, lo), max(to, hi)
		}
	}
	return from / keyBlock * keyBlock, to
}

// pack packs the blocks of keys that a sequence uses: as [d, keys] if trans,
// else as [keys, d].
func (a *attention) pack(dst []float32, x *value, seq, head, from, to int, trans bool) {
	size := a.packN
	if trans {
		size = a.packT
	}
	src := x.root().data[seq*a.keys*a.ldk+head*a.d:]
	for j := from; j < to; j += keyBlock {
		rows := min(keyBlock, a.keys-j)
		p := dst[j/keyBlock*size:][:size]
		if trans {
			a.k.PackB(p[:a.k.PackBSize(a.d, rows)], src[j*a.ldk:], a.ldk, a.d, rows, true)
		} else {
			a.k.PackB(p[:a.k.PackBSize(rows, a.d)], src[j*a.ldk:], a.ldk, rows, a.d, false)
		}
	}
}

// times computes s[:, from:to] = x times packed blocks [d, keys]: scores. x has
// m rows of stride ldx.
func (a *attention) times(s, x []float32, ldx, m int, packed []float32, from, to int, scratch []float32) {
	for j := from; j < to; j += keyBlock {
		cols := min(keyBlock, a.keys-j)
		p := packed[j/keyBlock*a.packT:][:a.k.PackBSize(a.d, cols)]
		a.k.Gemm(s[j:], x, p, m, cols, a.d, ldx, a.lds, false, false, scratch)
	}
}

// sum computes y = s[:, from:to] times packed blocks [keys, d].
func (a *attention) sum(y []float32, ldy int, s []float32, m int, packed []float32, from, to int, scratch []float32) {
	for j := from; j < to; j += keyBlock {
		rows := min(keyBlock, a.keys-j)
		p := packed[j/keyBlock*a.packN:][:a.k.PackBSize(rows, a.d)]
		a.k.Gemm(y, s[j:], p, m, a.d, rows, a.lds, ldy, false, j > from, scratch)
	}
}

// probabilities turns a block of scores into softmax over what each query
// sees; other keys between from and to (rounded up to a block) get 0.
func (a *attention) probabilities(s, scratch []float32, seq, q0, q1, from, to int) {
	end := min((to+keyBlock-1)/keyBlock*keyBlock, a.keys)
	for t := q0; t < q1; t++ {
		row := s[(t-q0)*a.lds:][:a.keys]
		lo, hi := a.m.visible(seq, t, a.keys)
		if lo >= hi {
			clear(row[from:end])
			continue
		}
		clear(row[from:lo])
		clear(row[hi:end])
		a.softmax(row[lo:hi], scratch[:hi-lo])
	}
}

// softmax turns a row of scores into softmax(scale*row); same is scratch of its
// length.
func (a *attention) softmax(row, same []float32) {
	repeat(same, a.largest(row, same))
	a.k.Sub(row, row, same)
	repeat(same, a.scale)
	a.k.Mul(row, row, same)
	a.k.Exp(row, row)
	repeat(same, 1/a.k.Sum(row))
	a.k.Mul(row, row, same)
}

// largest returns the largest of a row, by halving it.
func (a *attention) largest(row, scratch []float32) float32 {
	for len(row) > 16 {
		half := (len(row) + 1) / 2
		to := scratch[:half]
		copy(to[len(row)-half:], row[len(row)-half:half])
		a.k.Max(to[:len(row)-half], row[:len(row)-half], row[half:])
		row = to
	}
	top := float32(math.Inf(-1))
	for _, v := range row {
		top = max(top, v)
	}
	return top
}

// forward computes heads of one sequence that share a key head.
func (a *attention) forward(w []float32, seq, h0, heads int) {
	kT, vN := cut(&w, a.blocks*a.packT), cut(&w, a.blocks*a.packN)
	s, row := cut(&w, queryBlock*a.lds), cut(&w, a.lds)
	from, to := a.span(seq, 0, a.Seq)
	a.pack(kT, a.kk, seq, h0/a.group, from, to, true)
	a.pack(vN, a.v, seq, h0/a.group, from, to, false)
	for h := h0; h < h0+heads; h++ {
		for q0 := 0; q0 < a.Seq; q0 += queryBlock {
			q1 := min(q0+queryBlock, a.Seq)
			at := (seq*a.Seq+q0)*a.ldq + h*a.d
			y := a.to.data[at:]
			from, to := a.span(seq, q0, q1)
			if from >= to {
				clearRows(y, q1-q0, a.d, a.ldq)
				continue
			}
			a.times(s, a.q.root().data[at:], a.ldq, q1-q0, kT, from, to, w)
			a.probabilities(s, row, seq, q0, q1, from, to)
			a.sum(y, a.ldq, s, q1-q0, vN, from, to, w)
		}
	}
}

func clearRows(y []float32, rows, cols, ld int) {
	for r := range rows {
		clear(y[r*ld:][:cols])
	}
}

// few computes the queries of one group of heads against keys as they lie: the
// scores stand transposed, [keys, queries].
func (a *attention) few(w []float32, seq, kv int) {
	g := a.group * a.Seq
	q, yT := cut(&w, g*a.d), cut(&w, g*a.d)
	qT := cut(&w, a.k.PackBSize(a.d, g))
	s := cut(&w, a.keys*g)
	p := cut(&w, a.k.PackBSize(a.keys, g))
	top, total := cut(&w, g), cut(&w, g)
	row := func(c int) []float32 { // of query c: group member and place
		return a.q.root().data[(seq*a.Seq+c%a.Seq)*a.ldq+(kv*a.group+c/a.Seq)*a.d:][:a.d]
	}
	end := 0
	for c := range g {
		copy(q[c*a.d:(c+1)*a.d], row(c))
		_, hi := a.m.visible(seq, c%a.Seq, a.keys)
		end = max(end, hi)
	}
	s, base := s[:end*g], seq*a.keys*a.ldk+kv*a.d
	if end > 0 {
		a.k.PackB(qT, q, a.d, a.d, g, true)
		a.k.Gemm(s, a.kk.root().data[base:], qT, end, g, a.d, a.ldk, g, false, false, w)
		a.softmaxColumns(s, seq, g, end, top, total)
		p = p[:a.k.PackBSize(end, g)]
		a.k.PackB(p, s, g, end, g, false)
		a.k.Gemm(yT, a.v.root().data[base:], p, a.d, g, end, a.ldk, g, true, false, w)
	} else {
		clear(yT)
	}
	for c := range g {
		y := a.to.data[(seq*a.Seq+c%a.Seq)*a.ldq+(kv*a.group+c/a.Seq)*a.d:][:a.d]
		for e := range y {
			y[e] = yT[e*g+c]
		}
	}
}

// softmaxColumns normalises each query's column over the keys that it sees.
func (a *attention) softmaxColumns(s []float32, seq, g, end int, top, total []float32) {
	for c := range g {
		lo, hi := a.m.visible(seq, c%a.Seq, a.keys)
		top[c], total[c] = float32(math.Inf(-1)), 0
		for j := range end {
			if j >= lo && j < hi {
				top[c] = max(top[c], s[j*g+c])
			} else {
				s[j*g+c] = float32(math.Inf(-1))
			}
		}
		if lo >= hi {
			top[c] = 0
		}
		for j := range end {
			s[j*g+c] = (s[j*g+c] - top[c]) * a.scale
		}
	}
	a.k.Exp(s, s)
	for j := range end {
		for c, v := range s[j*g : (j+1)*g] {
			total[c] += v
		}
	}
	for c, v := range total {
		if v > 0 {
			total[c] = 1 / v
		}
	}
	for j := range end {
		for c, v := range total {
			s[j*g+c] *= v
		}
	}
}

func (b *builder) attentionGrad(n *graph.Node, in []*value, o graph.AttentionGrad) *value {
	for k := range 4 {
		in[k] = b.plain(in[k])
	}
	a := b.newAttention(n, in, o.Attention, 4)
	a.dy = in[3]
	i := &inst{op: o, name: n.Name(), in: in, out: a.to, class: global}
	i.scratch = a.blocks*(2*a.packT+a.packN) + (2*queryBlock+1)*a.lds + 2*a.k.PackBSize(queryBlock, a.d) + a.scratch
	i.tasks = a.batch * o.KVHeads
	i.task = func(w *worker, t int) { a.backward(w.kernel, t/o.KVHeads, t%o.KVHeads) }
	return b.add(i)
}

// backward computes the gradients of one key head and of the query heads that
// read it. One task sums them all, in order.
func (a *attention) backward(w []float32, seq, kv int) {
	kT, vT, kN := cut(&w, a.blocks*a.packT), cut(&w, a.blocks*a.packT), cut(&w, a.blocks*a.packN)
	p, ds, row := cut(&w, queryBlock*a.lds), cut(&w, queryBlock*a.lds), cut(&w, a.lds)
	pack := a.k.PackBSize(queryBlock, a.d)
	qB, dyB := cut(&w, pack), cut(&w, pack)
	ld := a.to.shape[1]
	out := a.to.data[seq*a.Seq*ld:]
	dk, dv := out[a.ldq+kv*a.d:], out[a.ldq+a.ldk+kv*a.d:]
	clearRows(dk, a.keys, a.d, ld)
	clearRows(dv, a.keys, a.d, ld)
	from, to := a.span(seq, 0, a.Seq)
	a.pack(kT, a.kk, seq, kv, from, to, true)
	a.pack(vT, a.v, seq, kv, from, to, true)
	a.pack(kN, a.kk, seq, kv, from, to, false)
	for h := kv * a.group; h < (kv+1)*a.group; h++ {
		for q0 := 0; q0 < a.Seq; q0 += queryBlock {
			q1 := min(q0+queryBlock, a.Seq)
			m := q1 - q0
			at := (seq*a.Seq+q0)*a.ldq + h*a.d
			q, dy, dq := a.q.root().data[at:], a.dy.root().data[at:], out[q0*ld+h*a.d:]
			from, to := a.span(seq, q0, q1)
			if from >= to {
				clearRows(dq, m, a.d, ld)
				continue
			}
			a.times(p, q, a.ldq, m, kT, from, to, w)
			a.probabilities(p, row, seq, q0, q1, from, to)
			a.times(ds, dy, a.ldq, m, vT, from, to, w)
			a.scoreGradient(ds, p, row, m, from, to)
			a.sum(dq, ld, ds, m, kN, from, to, w)
			size := a.k.PackBSize(m, a.d)
			a.k.PackB(qB[:size], q, a.ldq, m, a.d, false)
			a.k.PackB(dyB[:size], dy, a.ldq, m, a.d, false)
			a.k.Gemm(dk[from*ld:], ds[from:], qB[:size], to-from, a.d, m, a.lds, ld, true, true, w)
			a.k.Gemm(dv[from*ld:], p[from:], dyB[:size], to-from, a.d, m, a.lds, ld, true, true, w)
		}
	}
}

// scoreGradient turns dp, the gradient of probabilities p, into that of the
// unscaled scores: p*(dp - sum(p*dp))*scale.
func (a *attention) scoreGradient(dp, p, same []float32, rows, from, to int) {
	end := min((to+keyBlock-1)/keyBlock*keyBlock, a.keys)
	same = same[:end-from]
	for r := range rows {
		x, y := dp[r*a.lds:][from:end], p[r*a.lds:][from:end]
		a.k.Mul(x, x, y)
		repeat(same, a.k.Sum(x))
		a.k.Mul(same, same, y)
		a.k.Sub(x, x, same)
		repeat(same, a.scale)
		a.k.Mul(x, x, same)
	}
}
