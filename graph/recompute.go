package graph

import (
	"fmt"

	"lowbit/tensor"
)

// After is its first operand, f32, at a time when the second is computed: an
// engine must not merge it with the operand, nor run what reads it before. It has
// no gradient.
type After struct{}

// Kind implements Op.
func (After) Kind() string { return "after" }

// Infer implements Op.
func (After) Infer(in []Type) (Type, error) {
	if err := wantF32(in, 2); err != nil {
		return Type{}, err
	}
	return Type{tensor.F32, in[0].Shape.Clone()}, nil
}

// RecomputedGradients is Gradients for less memory (Chen et al., Training Deep
// Nets with Sublinear Memory Cost, arXiv 1604.06174). The graph is cut at the
// values through which every path from the node from to the loss goes: of a
// decoder, its residual stream. Only these are read again by the backward pass;
// the others between two of them are computed a second time from the first one,
// by the same operations, when the gradient of the second one is there. The result
// is that of Gradients, up to the order in which an engine sums.
func RecomputedGradients(g *Graph, loss *Node, wrt []*Node, from *Node) ([]*Node, error) {
	if from == nil {
		return nil, fmt.Errorf("graph: recomputation: no node to begin from")
	}
	r := recomputation{g: g, copies: map[*Node]*Node{}, held: map[heldKey]*Node{}}
	r.cut(from, loss)
	return gradients(g, loss, wrt, r.value)
}

// recomputation makes the second copies of forward nodes.
type recomputation struct {
	g      *Graph
	cuts   []*Node
	part   []int  // by node: the cut that it leads to, or -1
	worth  []bool // by cut: its part holds values that need not be kept
	copies map[*Node]*Node
	held   map[heldKey]*Node
}

// heldKey is a value and the part whose backward pass it waits for.
type heldKey struct {
	x    *Node
	part int
}

// cut finds the cuts, and the part of each node. In the list of nodes that lie on
// paths, a cut is one that no edge passes over.
func (r *recomputation) cut(from, loss *Node) {
	nodes := r.g.nodes[:loss.id+1]
	leads := make([]bool, len(nodes)) // to the loss
	leads[loss.id] = true
	for i := loss.id; i >= 0; i-- {
		for _, x := range nodes[i].in {
			leads[x.id] = leads[x.id] || leads[i]
		}
	}
	reached := reach(&Graph{nodes: nodes}, []*Node{from})
	farthest := make([]int, len(nodes)) // node that reads it
	for _, n := range nodes {
		for _, x := range n.in {
			if leads[n.id] && reached[x.id] {
				farthest[x.id] = n.id
			}
		}
	}
	r.part = make([]int, len(nodes))
	for i := range r.part {
		r.part[i] = -1
	}
	far := 0
	for _, n := range nodes {
		if !reached[n.id] || !leads[n.id] {
			continue
		}
		if far <= n.id {
			r.cuts, r.worth = append(r.cuts, n), append(r.worth, false)
			r.mark(n, len(r.cuts)-1, reached)
		}
		far = max(far, farthest[n.id])
	}
}

// mark puts what n derives from into a part, as far as it is in none. A part with
// a single value between its ends frees nothing.
func (r *recomputation) mark(n *Node, part int, varies []bool) {
	inside := 0
	stack := []*Node{n}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if r.part[n.id] >= 0 {
			continue
		}
		r.part[n.id] = part
		if varies[n.id] && !isLeaf(n) {
			inside++
		}
		stack = append(stack, n.in...)
	}
	r.worth[part] = inside > 2
}

func isLeaf(n *Node) bool {
	switch n.op.(type) {
	case Param, Input, Const:
		return true
	}
	return false
}

// value returns the second copy of a node whose gradient is taken, or the node
// itself.
func (r *recomputation) value(n *Node, grads []*Node) *Node {
	part := r.part[n.id]
	if part < 0 || !r.worth[part] || grads[r.cuts[part].id] == nil {
		return n
	}
	return r.again(n, part, grads[r.cuts[part].id])
}

// again returns the copy of a node of the part that runs after dy, the gradient
// of the part's end.
func (r *recomputation) again(n *Node, part int, dy *Node) *Node {
	if isLeaf(n) || n.typ.DType != tensor.F32 {
		return n
	}
	if c := r.copies[n]; c != nil {
		return c
	}
	in := make([]*Node, len(n.in))
	late := false
	for i, x := range n.in {
		switch {
		case isLeaf(x) || x.typ.DType != tensor.F32:
			in[i] = x
			continue
		case r.part[x.id] == part && x != r.cuts[part]:
			in[i] = r.again(x, part, dy)
		default:
			in[i] = r.after(x, part, dy)
		}
		late = late || in[i] != x
	}
	if !late {
		// Of a quantized weight the steps wait, which are fewer.
		small := -1
		for i, x := range in {
			if _, fixed := x.op.(Const); !fixed && x.typ.DType == tensor.F32 && (small < 0 || x.Shape().Size() < in[small].Shape().Size()) {
				small = i
			}
		}
		if small < 0 {
			return n
		}
		in[small] = r.after(in[small], part, dy)
	}
	c := r.g.Apply(n.op, in...)
	if n.name != "" {
		c.Named(n.name + ".again")
	}
	r.copies[n] = c
	return c
}

func (r *recomputation) after(x *Node, part int, dy *Node) *Node {
	key := heldKey{x, part}
	if r.held[key] == nil {
		r.held[key] = r.g.Apply(After{}, x, dy)
	}
	return r.held[key]
}
