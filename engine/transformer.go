package engine

import (
	"fmt"

	"lowbit/graph"
)

// lowerTransformer appends the instructions of the ops that transformers add.
func (b *builder) lowerTransformer(n *graph.Node, in []*value) (*value, error) {
	switch o := n.Op().(type) {
	case graph.Embedding:
		return b.embedding(n, in[0], in[1]), nil
	case graph.EmbeddingGrad:
		return b.embeddingGrad(n, in[0], in[1]), nil
	case graph.RowNorm:
		return b.rowNorm(n, in, o), nil
	case graph.RowNormGrad:
		return b.rowNormGrad(n, in, o), nil
	case graph.RowNormGradParams:
		return b.rowNormGradParams(n, in, o), nil
	case graph.RoPE:
		return b.rope(n, in, o), nil
	case graph.Attention:
		return b.attention(n, in, o), nil
	case graph.AttentionGrad:
		return b.attentionGrad(n, in, o), nil
	case graph.MaskedSoftmax:
		return b.maskedSoftmax(n, in, o), nil
	case graph.CacheAppend:
		return b.cacheAppend(n, in, o)
	case graph.DynamicStep:
		return b.dynamicStep(n, in[0], o), nil
	case graph.LengthMask:
		return b.lengthMask(n, in[0], o), nil
	}
	return nil, b.errorf(n, "the engine cannot run this op")
}

// checkIDs panics, which Run turns into an error, on an id outside a table.
func checkIDs(ids []int32, rows int) {
	for i, id := range ids {
		if id < 0 || int(id) >= rows {
			panic(fmt.Sprintf("id %d at place %d, want 0 to %d", id, i, rows-1))
		}
	}
}

func (b *builder) embedding(n *graph.Node, table, ids *value) *value {
	table = b.plain(table)
	rows, d := table.shape[0], table.shape[1]
	out := b.value(n.Name(), n.Type(), false)
	per := out.rowSize() / d // ids of one row of dimension 0
	i := &inst{op: n.Op(), name: n.Name(), in: []*value{table, ids}, out: out, class: rowwise}
	i.run = func(i *inst, w *worker, r0, r1 int) {
		dst, src := w.rows(out, r0, r1), i.in[0].root().data
		at := ids.root().i32[r0*per : r1*per]
		checkIDs(at, rows)
		for k, id := range at {
			copy(dst[k*d:(k+1)*d], src[int(id)*d:])
		}
	}
	return b.add(i)
}

// embeddingRows is the rows of a table's gradient that one task sums: a task
// looks at every id, which costs as much as adding a few rows.
const embeddingRows = 512

func (b *builder) embeddingGrad(n *graph.Node, ids, dy *value) *value {
	dy = b.plain(dy)
	out := b.value(n.Name(), n.Type(), false)
	rows, d := out.shape[0], out.shape[1]
	k := b.plan.k
	i := &inst{op: n.Op(), name: n.Name(), in: []*value{ids, dy}, out: out, class: global}
	i.tasks = (rows + embeddingRows - 1) / embeddingRows
	i.task = func(_ *worker, t int) {
		lo, hi := t*embeddingRows, min((t+1)*embeddingRows, rows)
		clear(out.data[lo*d : hi*d])
		src := dy.root().data
		for at, id := range ids.root().i32 {
			if r := int(id); r >= lo && r < hi {
				k.Acc(out.data[r*d:(r+1)*d], src[at*d:(at+1)*d])
			}
		}
	}
	return b.add(i)
}

// ropeTable is the cosines and sines of all positions, [positions][d/2] each.
type ropeTable struct{ cos, sin []float32 }

// ropeTable returns one table for all nodes with the same angles.
func (b *builder) ropeTable(o graph.RoPE, positions int) ropeTable {
	key := packKey{kind: "rope", s: [3]any{graph.RoPE{HeadDim: o.HeadDim, Theta: o.Theta, Scaling: o.Scaling}, positions, nil}}
	half := o.HeadDim / 2
	v := b.packs[key]
	if v == nil {
		v = &value{data: make([]float32, 2*positions*half)}
		fillRope(o, positions, v.data[:positions*half], v.data[positions*half:])
		b.packs[key] = v
	}
	return ropeTable{cos: v.data[:positions*half], sin: v.data[positions*half:]}
}

func (b *builder) rope(n *graph.Node, in []*value, o graph.RoPE) *value {
	x := b.plain(in[0])
	out := b.value(n.Name(), n.Type(), false)
	i := &inst{op: o, name: n.Name(), in: []*value{x}, local: []bool{true}, out: out, class: rowwise}
	positions := o.Seq
	var at *value
	if len(in) == 2 {
		at, positions = in[1], o.Context
		i.in, i.local = append(i.in, at), append(i.local, false)
	}
	t := b.ropeTable(o, positions)
	half, cols := o.HeadDim/2, out.rowSize()
	i.run = func(i *inst, w *worker, r0, r1 int) {
		src, dst := w.rows(i.in[0], r0, r1), w.rows(out, r0, r1)
		for r := r0; r < r1; r++ {
			p := ropePosition(o, at, r)
			cos, sin := t.cos[p*half:(p+1)*half], t.sin[p*half:(p+1)*half]
			ropeRow(o, dst[:cols], src[:cols], cos, sin)
			src, dst = src[cols:], dst[cols:]
		}
	}
	return b.add(i)
}

func ropePosition(o graph.RoPE, at *value, row int) int {
	p := row % o.Seq
	if at != nil {
		if v := at.root().i32; len(v) == 1 {
			p += int(v[0])
		} else {
			p = int(v[row])
		}
		if p < 0 || p >= o.Context {
			panic(fmt.Sprintf("position %d, want 0 to %d", p, o.Context-1))
		}
	}
	return p
}

// ropeRow turns the pairs of every head of one row.
func ropeRow(o graph.RoPE, dst, src, cos, sin []float32) {
	sign := float32(1)
	if o.Inverse {
		sign = -1
	}
	d, half := o.HeadDim, len(cos)
	sin = sin[:half]
	for ; len(src) > 0; src, dst = src[d:], dst[d:] {
		if o.Adjacent {
			s, t := src[:2*half], dst[:2*half]
			for i, c := range cos {
				x, y, sn := s[2*i], s[2*i+1], sign*sin[i]
				t[2*i] = x*c - y*sn
				t[2*i+1] = y*c + x*sn
			}
			continue
		}
		s0, s1, t0, t1 := src[:half], src[half:d], dst[:half], dst[half:d]
		for i, c := range cos {
			x, y, sn := s0[i], s1[i], sign*sin[i]
			t0[i] = x*c - y*sn
			t1[i] = y*c + x*sn
		}
	}
}

// cacheAppend writes into the tensor that the cache input is bound to.
func (b *builder) cacheAppend(n *graph.Node, in []*value, o graph.CacheAppend) (*value, error) {
	cache, rows, at := in[0], b.plain(in[1]), in[2]
	node := n.In()[0]
	if _, ok := node.Op().(graph.Input); !ok || len(b.g.Uses()[node.ID()]) != 1 {
		return nil, b.errorf(n, "the cache %s must be an input that nothing else reads", node.Name())
	}
	batch, capacity, c := cache.shape[0], cache.shape[1], cache.shape[2]
	out := b.value(n.Name(), n.Type(), false)
	out.alias, out.place = cache, external
	b.add(&inst{op: o, name: n.Name(), in: []*value{cache, rows, at}, out: out, class: global, updates: true, all: func(*Plan) {
		p := int(at.root().i32[0])
		if p < 0 || p+o.Seq > capacity {
			panic(fmt.Sprintf("rows %d to %d of a cache of %d", p, p+o.Seq-1, capacity))
		}
		src := rows.root().data
		for s := range batch {
			copy(cache.data[(s*capacity+p)*c:][:o.Seq*c], src[s*o.Seq*c:])
		}
	}})
	return out, nil
}

func (b *builder) dynamicStep(n *graph.Node, x *value, o graph.DynamicStep) *value {
	x = b.plain(x)
	out := b.value(n.Name(), n.Type(), false)
	k := b.plan.k
	per := x.size() / out.size() // elements that share a step
	qp := float32(o.Spec.Qp())
	fill := func(dst, src []float32) {
		for i := range dst {
			dst[i] = max(k.MaxAbs(src[i*per:(i+1)*per])/qp, graph.MinDynamicStep)
		}
	}
	i := &inst{op: o, name: n.Name(), in: []*value{x}, out: out}
	if len(x.shape) == 1 {
		i.class = global
		i.all = func(*Plan) { fill(out.data, x.root().data) }
		return b.add(i)
	}
	i.class, i.local = rowwise, []bool{true}
	i.run = func(i *inst, w *worker, r0, r1 int) { fill(w.rows(out, r0, r1), w.rows(i.in[0], r0, r1)) }
	return b.add(i)
}

func (b *builder) lengthMask(n *graph.Node, lengths *value, o graph.LengthMask) *value {
	out := b.value(n.Name(), n.Type(), false)
	return b.add(&inst{op: o, name: n.Name(), in: []*value{lengths}, out: out, class: global, all: func(*Plan) {
		for s, l := range lengths.root().i32 {
			for t := range o.Seq {
				out.data[s*o.Seq+t] = 0
				if t < int(l) {
					out.data[s*o.Seq+t] = 1
				}
			}
		}
	}})
}

// mask finds the keys that a query sees.
type mask struct {
	graph.Mask
	position, lengths, starts *value
}

// maskOf returns the mask whose operands follow the first n.
func maskOf(m graph.Mask, in []*value, n int) mask {
	p, l, s, _ := m.Operands(n)
	pick := func(i int) *value {
		if i < 0 {
			return nil
		}
		return in[i]
	}
	return mask{m, pick(p), pick(l), pick(s)}
}

// visible returns the keys that query t of sequence s sees, of that many.
func (m *mask) visible(s, t, keys int) (lo, hi int) {
	hi = keys
	if m.Causal {
		first := 0
		if m.position != nil {
			first = int(m.position.root().i32[0])
		}
		hi = min(hi, first+t+1)
	}
	if m.lengths != nil {
		hi = min(hi, int(m.lengths.root().i32[s]))
	}
	if m.starts != nil {
		lo = max(0, int(m.starts.root().i32[s*m.Seq+t]))
	}
	return lo, max(lo, hi)
}

func (b *builder) maskedSoftmax(n *graph.Node, in []*value, o graph.MaskedSoftmax) *value {
	x := b.plain(in[0])
	m := maskOf(o.Mask, in, 1)
	out := b.value(n.Name(), n.Type(), false)
	i := &inst{op: o, name: n.Name(), in: append([]*value{x}, in[1:]...), out: out, class: rowwise}
	i.local = make([]bool, len(i.in))
	i.local[0] = true
	k, keys := b.plan.k, x.shape[2]
	i.run = func(i *inst, w *worker, r0, r1 int) {
		src, dst := w.rows(i.in[0], r0, r1), w.rows(out, r0, r1)
		for r := r0; r < r1; r++ {
			for t := range o.Seq {
				lo, hi := m.visible(r/o.Heads, t, keys)
				clear(dst[:keys])
				if lo < hi {
					softmaxRow(k, dst[lo:hi], src[lo:hi], false)
				}
				src, dst = src[keys:], dst[keys:]
			}
		}
	}
	return b.add(i)
}
