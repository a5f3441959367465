package graph

import "fmt"

// Gradients appends to g the gradients of the scalar loss with respect to each
// node of wrt and returns them in that order; a node that the loss does not
// depend on gets nil. Contributions are added in a fixed order (users in
// reverse graph order), so the result is deterministic; tied parameters
// accumulate.
func Gradients(g *Graph, loss *Node, wrt []*Node) ([]*Node, error) {
	return gradients(g, loss, wrt, func(n *Node, _ []*Node) *Node { return n })
}

// gradients is Gradients of a graph whose gradient nodes read other nodes in
// place of the forward ones: value returns what stands for n, given the gradients
// by node that are complete.
func gradients(g *Graph, loss *Node, wrt []*Node, value func(n *Node, grads []*Node) *Node) ([]*Node, error) {
	if loss.Shape().Size() != 1 {
		return nil, fmt.Errorf("graph: gradient of %s: want a scalar, got %v", loss.Name(), loss.typ)
	}
	needed := reach(g, wrt)
	if loss.id >= len(needed) || !needed[loss.id] {
		return make([]*Node, len(wrt)), g.err
	}
	grads := make([]*Node, loss.id+1)
	one := g.Scalar(1)
	grads[loss.id] = g.Reshape(one, loss.Shape()...)
	last := loss.id
	for id := last; id >= 0; id-- {
		n, dy := g.nodes[id], grads[id]
		if dy == nil || !needed[id] || len(n.in) == 0 {
			continue
		}
		d, ok := n.op.(Differentiable)
		if !ok {
			return nil, fmt.Errorf("graph: node %s: op %s has no gradient", n.Name(), n.op.Kind())
		}
		for i, dx := range d.Gradient(g, value(n, grads), dy) {
			x := n.in[i]
			if dx == nil || !needed[x.id] {
				continue
			}
			if grads[x.id] == nil {
				grads[x.id] = dx
			} else {
				grads[x.id] = g.Add(grads[x.id], dx)
			}
		}
		if g.err != nil {
			return nil, g.err
		}
	}
	out := make([]*Node, len(wrt))
	for i, n := range wrt {
		if n.id <= last {
			out[i] = grads[n.id]
		}
	}
	return out, nil
}

// reach marks the nodes that depend on any of wrt.
func reach(g *Graph, wrt []*Node) []bool {
	r := make([]bool, len(g.nodes))
	for _, n := range wrt {
		r[n.id] = true
	}
	for _, n := range g.nodes {
		for _, x := range n.in {
			if r[x.id] {
				r[n.id] = true
			}
		}
	}
	return r
}
