package graph

import (
	"fmt"

	"lowbit/tensor"
)

// Embedding picks rows of a table: result [..., d] holds table[ids[...]].
// Operands: table f32 [v, d], ids i32 [...] in 0..v-1 (an executor fails on
// others). It also gathers rows of a computed value.
type Embedding struct{}

// Kind implements Op.
func (Embedding) Kind() string { return "embedding" }

// Infer implements Op.
func (Embedding) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 2); err != nil {
		return Type{}, err
	}
	if in[0].DType != tensor.F32 || len(in[0].Shape) != 2 || in[1].DType != tensor.I32 {
		return Type{}, fmt.Errorf("%w: want a table f32[v d] and ids i32[...], got %v and %v", tensor.ErrShape, in[0], in[1])
	}
	return F32(append(in[1].Shape.Clone(), in[0].Shape[1])...), nil
}

// Gradient implements Differentiable.
func (o Embedding) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(EmbeddingGrad{Rows: n.in[0].Shape()[0]}, n.in[1], dy), nil}
}

// EmbeddingGrad adds dy's rows into a table of Rows rows, each at its id, in
// the order of ids. Operands: ids i32 [...], dy [..., d]. Result: [Rows, d].
type EmbeddingGrad struct {
	Rows int `json:"rows"`
}

// Kind implements Op.
func (EmbeddingGrad) Kind() string { return "embedding_grad" }

// Infer implements Op.
func (o EmbeddingGrad) Infer(in []Type) (Type, error) {
	if err := wantInputs(in, 2); err != nil {
		return Type{}, err
	}
	ids, dy := in[0], in[1]
	r := len(dy.Shape) - 1
	if r < 0 || ids.DType != tensor.I32 || dy.DType != tensor.F32 || !dy.Shape[:r].Equal(ids.Shape) || o.Rows < 1 {
		return Type{}, fmt.Errorf("%w: want ids i32[...] and dy f32[... d] for %d rows, got %v and %v", tensor.ErrShape, o.Rows, ids, dy)
	}
	return F32(o.Rows, dy.Shape[r]), nil
}

// Embedding picks the rows ids of a table.
func (g *Graph) Embedding(table, ids *Node) *Node { return g.Apply(Embedding{}, table, ids) }
