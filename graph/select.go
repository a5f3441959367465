package graph

import "fmt"

// Select returns the graph with only the named outputs, and the updates, so
// that an engine need not keep the values of others; see Prune.
func Select(g *Graph, names ...string) (*Graph, error) {
	keep := &Graph{nodes: g.nodes, updates: g.updates, params: g.params, inputs: g.inputs, err: g.err}
	for _, name := range names {
		n := g.OutputNode(name)
		if n == nil {
			return nil, fmt.Errorf("graph: no output %q", name)
		}
		keep.Output(name, n)
	}
	if keep.err != nil {
		return nil, keep.err
	}
	return Prune(keep)
}
