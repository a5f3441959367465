package graph

import (
	"fmt"
	"math"

	"lowbit/tensor"
)

// Mask tells which keys a query sees. Row r of a sequence's Seq queries sees
// keys lo..hi-1: lo is 0, or the row's start; hi is the number of keys, at most
// the sequence's length, at most position+r+1 if Causal. A row that sees nothing
// gives 0. The flags add i32 operands, in this order:
//
//	Position  one number: the position of each sequence's first query, else 0
//	Lengths   [batch]: keys from there on are padding
//	Starts    [batch*Seq]: the first key that a query sees (packed sequences)
type Mask struct {
	Seq      int  `json:"seq"`
	Causal   bool `json:"causal,omitempty"`
	Position bool `json:"position,omitempty"`
	Lengths  bool `json:"lengths,omitempty"`
	Starts   bool `json:"starts,omitempty"`
}

// Operands returns the index of each mask operand behind the first n, -1 for
// one that is absent, and the number of all operands.
func (m Mask) Operands(n int) (position, lengths, starts, all int) {
	place := func(there bool) int {
		if !there {
			return -1
		}
		n++
		return n - 1
	}
	return place(m.Position), place(m.Lengths), place(m.Starts), n
}

func (m Mask) check(in []Type, first, batch int) error {
	p, l, s, all := m.Operands(first)
	if len(in) != all {
		return fmt.Errorf("want %d operands, got %d", all, len(in))
	}
	for at, size := range map[int]int{p: 1, l: batch, s: batch * m.Seq} {
		if at >= 0 && (in[at].DType != tensor.I32 || in[at].Shape.Size() != size) {
			return fmt.Errorf("%w: mask operand %d is %v, want %d of i32", tensor.ErrShape, at, in[at], size)
		}
	}
	return nil
}

// Attention is softmax(Scale*q*kT)*v for each head (arXiv 1706.03762, eq. 1),
// softmax over the keys that Mask shows. Query head h reads key head
// h/(Heads/KVHeads) (grouped queries, arXiv 2305.13245). Scale 0 means
// 1/sqrt(d).
//
// Operands: q [batch*Seq, Heads*d], k and v [batch*keys, KVHeads*d], rows in
// order of sequence and position, then those of Mask. Result: as q.
type Attention struct {
	Mask
	Heads   int     `json:"heads"`
	KVHeads int     `json:"kv_heads"`
	Scale   float64 `json:"scale,omitempty"`
}

// Kind implements Op.
func (Attention) Kind() string { return "attention" }

// Dims returns the batch, the keys of a sequence and the size of a head for
// operands of these shapes.
func (o Attention) Dims(q, k tensor.Shape) (batch, keys, d int) {
	batch = q[0] / o.Seq
	return batch, k[0] / max(batch, 1), q[1] / o.Heads
}

// Factor returns what scores are multiplied by, for heads of that size.
func (o Attention) Factor(d int) float64 {
	if o.Scale != 0 {
		return o.Scale
	}
	return 1 / math.Sqrt(float64(d))
}

// Infer implements Op.
func (o Attention) Infer(in []Type) (Type, error) { return o.infer(in, 3) }

func (o Attention) infer(in []Type, first int) (Type, error) {
	if len(in) < first {
		return Type{}, fmt.Errorf("want at least %d operands, got %d", first, len(in))
	}
	if err := wantF32(in[:first], first); err != nil {
		return Type{}, err
	}
	q, k, v := in[0].Shape, in[1].Shape, in[2].Shape
	if o.Heads < 1 || o.KVHeads < 1 || o.Heads%o.KVHeads != 0 || o.Seq < 1 {
		return Type{}, fmt.Errorf("%d heads, %d key heads, sequence %d: want positive numbers and groups of equal size", o.Heads, o.KVHeads, o.Seq)
	}
	if len(q) != 2 || len(k) != 2 || !k.Equal(v) || q[0]%o.Seq != 0 || q[0] == 0 || q[1]%o.Heads != 0 ||
		k[0]%(q[0]/o.Seq) != 0 || k[1] != q[1]/o.Heads*o.KVHeads {
		return Type{}, fmt.Errorf("%w: q %v, k %v, v %v for %d heads on %d, sequences of %d", tensor.ErrShape, q, k, v, o.Heads, o.KVHeads, o.Seq)
	}
	return F32(q.Clone()...), o.Mask.check(in, first, q[0]/o.Seq)
}

// MACs implements Coster: both products over all keys, masked or not.
func (o Attention) MACs(n *Node) int64 {
	_, keys, _ := o.Dims(n.in[0].Shape(), n.in[1].Shape())
	return 2 * int64(n.Shape().Size()) * int64(keys)
}

// Gradient implements Differentiable; there must be as many keys as queries.
func (o Attention) Gradient(g *Graph, n, dy *Node) []*Node {
	in := append([]*Node{n.in[0], n.in[1], n.in[2], dy}, n.in[3:]...)
	all := g.Apply(AttentionGrad{o}, in...)
	grads := make([]*Node, len(n.in))
	if all.typ.DType == tensor.Invalid {
		return grads
	}
	nq, nk := n.in[0].Shape()[1], n.in[1].Shape()[1]
	grads[0] = g.Slice(all, 1, 0, nq, 1)
	grads[1] = g.Slice(all, 1, nq, nq+nk, 1)
	grads[2] = g.Slice(all, 1, nq+nk, nq+2*nk, 1)
	return grads
}

// AttentionGrad is the gradient of Attention to q, k and v, side by side.
// Operands: q, k, v, dy, then those of Mask. Result: [batch*Seq,
// (Heads+2*KVHeads)*d].
type AttentionGrad struct {
	Attention
}

// Kind implements Op.
func (AttentionGrad) Kind() string { return "attention_grad" }

// Infer implements Op.
func (o AttentionGrad) Infer(in []Type) (Type, error) {
	t, err := o.infer(in, 4)
	if err != nil {
		return t, err
	}
	if !in[3].Shape.Equal(t.Shape) || in[1].Shape[0] != t.Shape[0] {
		return Type{}, fmt.Errorf("%w: q %v, k %v, dy %v: want as many keys as queries", tensor.ErrShape, t.Shape, in[1].Shape, in[3].Shape)
	}
	return F32(t.Shape[0], t.Shape[1]+2*in[1].Shape[1]), nil
}

// MACs implements Coster: the four products of the gradient and one to form
// the probabilities again.
func (o AttentionGrad) MACs(n *Node) int64 {
	_, keys, _ := o.Dims(n.in[0].Shape(), n.in[1].Shape())
	return 5 * int64(n.in[0].Shape().Size()) * int64(keys)
}

// MaskedSoftmax normalises the scores of each query over the keys that Mask
// shows; the others get 0. Operands: scores [batch*Heads, Seq, keys], then
// those of Mask.
type MaskedSoftmax struct {
	Mask
	Heads int `json:"heads"`
}

// Kind implements Op.
func (MaskedSoftmax) Kind() string { return "masked_softmax" }

// Infer implements Op.
func (o MaskedSoftmax) Infer(in []Type) (Type, error) {
	if len(in) == 0 || in[0].DType != tensor.F32 {
		return Type{}, fmt.Errorf("want f32 scores and the operands of the mask, got %d operands", len(in))
	}
	x := in[0].Shape
	if len(x) != 3 || o.Heads < 1 || x[0]%o.Heads != 0 || x[1] != o.Seq {
		return Type{}, fmt.Errorf("%w: scores %v, want [batch*%d %d keys]", tensor.ErrShape, x, o.Heads, o.Seq)
	}
	return F32(x.Clone()...), o.Mask.check(in, 1, x[0]/o.Heads)
}

// Gradient implements Differentiable.
func (o MaskedSoftmax) Gradient(g *Graph, n, dy *Node) []*Node {
	grads := make([]*Node, len(n.in))
	grads[0] = g.Apply(SoftmaxGrad{}, n, dy)
	return grads
}

// Compose adds what the op computes as a chain of products and a masked
// softmax, for quantizers between them: probs, if not nil, gets the
// probabilities [batch*Heads, Seq, keys] and returns what is multiplied with v.
// The operands are those of the op. Its memory grows with Seq*keys.
func (o Attention) Compose(g *Graph, in []*Node, probs func(p *Node) *Node) *Node {
	if _, err := o.Infer(types(in)); err != nil {
		g.Fail(fmt.Errorf("graph: attention: %w", err))
		return in[0]
	}
	_, keys, d := o.Dims(in[0].Shape(), in[1].Shape())
	group := o.Heads / o.KVHeads
	heads := func(x *Node, seq, group int) *Node { // to [batch*KVHeads, group*seq, d]
		x = g.Apply(Reshape{Dims: []int{-1, seq, o.KVHeads, group, d}}, x)
		return g.Apply(Reshape{Dims: []int{-1, group * seq, d}}, g.Transpose(x, 0, 2, 3, 1, 4))
	}
	q, k, v := heads(in[0], o.Seq, group), heads(in[1], keys, 1), heads(in[2], keys, 1)
	scores := g.Mul(g.Apply(MatMul{TransB: true}, q, k), g.Scalar(float32(o.Factor(d))))
	scores = g.Apply(Reshape{Dims: []int{-1, o.Seq, keys}}, scores)
	p := g.Apply(MaskedSoftmax{Mask: o.Mask, Heads: o.Heads}, append([]*Node{scores}, in[3:]...)...)
	if probs != nil {
		p = probs(p)
	}
	y := g.MatMul(g.Apply(Reshape{Dims: []int{-1, group * o.Seq, keys}}, p), v)
	y = g.Transpose(g.Apply(Reshape{Dims: []int{-1, o.KVHeads, group, o.Seq, d}}, y), 0, 3, 1, 2, 4)
	return g.Apply(Reshape{Dims: []int{-1, o.Heads * d}}, y)
}

func types(in []*Node) []Type {
	t := make([]Type, len(in))
	for i, x := range in {
		t[i] = x.typ
	}
	return t
}

// CacheAppend writes new rows into a cache: rows position..position+Seq-1 of
// each sequence. The cache is donated: it must be an input of the graph that
// nothing else reads, and after a run its tensor holds the result. Operands:
// cache [batch, capacity, c], rows [batch*Seq, c], position i32, one number
// (an executor fails if position+Seq is above the capacity). Result: as cache.
type CacheAppend struct {
	Seq int `json:"seq"`
}

// Kind implements Op.
func (CacheAppend) Kind() string { return "cache_append" }

// Infer implements Op.
func (o CacheAppend) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 3); err != nil {
		return Type{}, err
	}
	c, x := in[0].Shape, in[1].Shape
	if in[0].DType != tensor.F32 || in[1].DType != tensor.F32 || in[2].DType != tensor.I32 || in[2].Shape.Size() != 1 {
		return Type{}, fmt.Errorf("want f32, f32 and one i32, got %v, %v, %v", in[0], in[1], in[2])
	}
	if len(c) != 3 || len(x) != 2 || o.Seq < 1 || o.Seq > c[1] || x[0] != c[0]*o.Seq || x[1] != c[2] {
		return Type{}, fmt.Errorf("%w: cache %v, rows %v, sequences of %d", tensor.ErrShape, c, x, o.Seq)
	}
	return F32(c.Clone()...), nil
}
