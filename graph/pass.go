package graph

import (
	"fmt"

	"lowbit/tensor"
)

// Rewrite builds a new graph node by node. For each node f gets the graph under
// construction and the operands already carried over, and returns the node's
// replacement, or nil to copy it as it is. Outputs and updates follow. f may add
// further nodes.
func Rewrite(g *Graph, f func(to *Graph, n *Node, in []*Node) *Node) (*Graph, error) {
	to := New()
	at := make([]*Node, len(g.nodes))
	for _, n := range g.nodes {
		in := make([]*Node, len(n.in))
		for i, x := range n.in {
			in[i] = at[x.id]
		}
		if r := f(to, n, in); r != nil {
			at[n.id] = r
		} else {
			at[n.id] = to.Copy(n, in)
		}
		if to.err != nil {
			return nil, to.err
		}
	}
	for _, o := range g.outputs {
		to.Output(o.Name, at[o.Node.id])
	}
	for _, u := range g.updates {
		to.Update(at[u.Param.id], at[u.Value.id])
	}
	return to, to.err
}

// Copy adds a node with the op and name of n and other operands.
func (g *Graph) Copy(n *Node, in []*Node) *Node {
	switch o := n.op.(type) {
	case Param:
		return g.Param(o)
	case Input:
		c := g.Apply(o).Named(n.name)
		g.inputs[o.Name] = c
		return c
	}
	return g.Apply(n.op, in...).Named(n.name)
}

// Clone returns a copy to which nodes can be added.
func Clone(g *Graph) (*Graph, error) {
	return Rewrite(g, func(*Graph, *Node, []*Node) *Node { return nil })
}

// WithBatch returns the same graph for another batch size: the first dimension
// of each input that is not Fixed changes, all shapes are inferred again.
// Gradient nodes hold shapes, so take gradients afterwards.
func WithBatch(g *Graph, batch int) (*Graph, error) {
	if batch < 1 {
		return nil, fmt.Errorf("graph: batch %d, want at least 1", batch)
	}
	return Rewrite(g, func(to *Graph, n *Node, in []*Node) *Node {
		o, ok := n.op.(Input)
		if !ok || o.Fixed || len(o.Shape) == 0 {
			return nil
		}
		s := tensor.Shape(o.Shape).Clone()
		s[0] = batch
		o.Shape = s
		c := to.Apply(o).Named(n.name)
		to.inputs[o.Name] = c
		return c
	})
}

// Batch returns the first dimension of the graph's first input that is not
// Fixed, or 0.
func (g *Graph) Batch() int {
	for _, n := range g.Inputs() {
		o := n.op.(Input)
		if !o.Fixed && len(o.Shape) > 0 {
			return o.Shape[0]
		}
	}
	return 0
}

// Training returns the graph with each BatchNorm replaced by one that uses the
// batch's statistics and updates the running ones (with the unbiased variance,
// as PyTorch does), except those that keep tells to leave frozen; keep may be
// nil.
func Training(g *Graph, keep func(n *Node) bool) (*Graph, error) {
	return Rewrite(g, func(to *Graph, n *Node, in []*Node) *Node {
		o, ok := n.op.(BatchNorm)
		if !ok || keep != nil && keep(n) {
			return nil
		}
		x, gamma, beta, mean, variance := in[0], in[1], in[2], in[3], in[4]
		moments := to.Apply(Moments{}, x).Named(n.name + ".moments")
		count := float64(x.Shape().Size() / x.Shape()[1])
		to.Update(mean, to.Apply(RunningStat{Momentum: o.Momentum, Row: 0, Correction: 1}, mean, moments))
		unbiased := count / max(count-1, 1)
		to.Update(variance, to.Apply(RunningStat{Momentum: o.Momentum, Row: 1, Correction: unbiased}, variance, moments))
		return to.Apply(BatchNormTrain{Eps: o.Eps}, x, gamma, beta, moments).Named(n.name)
	})
}

// Inference returns the graph with dropout removed.
func Inference(g *Graph) (*Graph, error) {
	return Rewrite(g, func(to *Graph, n *Node, in []*Node) *Node {
		if _, ok := n.op.(Dropout); ok {
			return in[0]
		}
		return nil
	})
}

// Prune returns the graph without nodes that no output or update needs. Inputs
// and parameters stay only if used.
func Prune(g *Graph) (*Graph, error) {
	live := make([]bool, len(g.nodes))
	for _, o := range g.outputs {
		live[o.Node.id] = true
	}
	for _, u := range g.updates {
		live[u.Param.id], live[u.Value.id] = true, true
	}
	for i := len(g.nodes) - 1; i >= 0; i-- {
		if live[i] {
			for _, x := range g.nodes[i].in {
				live[x.id] = true
			}
		}
	}
	to := New()
	at := make([]*Node, len(g.nodes))
	for i, n := range g.nodes {
		if !live[i] {
			continue
		}
		in := make([]*Node, len(n.in))
		for j, x := range n.in {
			in[j] = at[x.id]
		}
		at[i] = to.Copy(n, in)
	}
	for _, o := range g.outputs {
		to.Output(o.Name, at[o.Node.id])
	}
	for _, u := range g.updates {
		to.Update(at[u.Param.id], at[u.Value.id])
	}
	return to, to.err
}

// MACs returns the multiply-accumulate operations of the whole graph at its
// batch size.
func MACs(g *Graph) int64 {
	var sum int64
	for _, n := range g.nodes {
		if c, ok := n.op.(Coster); ok {
			sum += c.MACs(n)
		}
	}
	return sum
}
