package engine

import (
	"fmt"
	"strings"

	"lowbit/graph"
	"lowbit/tensor"
)

// RoundWeights returns the graph with its quantizers of weights replaced by
// parameters that hold what they give: a graph that runs often and trains nothing
// need not round its weights each time. Its linear layers compute in floats, on any
// number of rows: results have the bits of Engine.FloatProducts. Quantizers in front
// of convolutions stay: those run on the codes.
//
// The parameters of the new graph are put into the store into: those of from as
// they are, not copied, and the rounded ones under the names of their quantizers
// with ".rounded" behind. Those that into has already are taken as they are, so
// that several graphs of one network share one store, and from may be into itself.
func (e *Engine) RoundWeights(g *graph.Graph, from, into *tensor.Store) (*graph.Graph, error) {
	rounds := weightQuantizers(g)
	for _, n := range g.Nodes() {
		if !rounds[n] || into.Get(n.Name()+rounded) != nil {
			continue
		}
		t, err := e.value(n, from)
		if err == nil {
			err = into.Put(n.Name()+rounded, t)
		}
		if err != nil {
			return nil, fmt.Errorf("engine: rounding %s: %w", n.Name(), err)
		}
	}
	g, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, _ []*graph.Node) *graph.Node {
		if !rounds[n] {
			return nil
		}
		return to.Param(graph.Param{Name: n.Name() + rounded, Shape: n.Shape(), Role: graph.Weight, Init: graph.Init{Kind: graph.InitConst}})
	})
	if err != nil {
		return nil, err
	}
	if g, err = graph.Prune(g); err != nil {
		return nil, err
	}
	for _, p := range g.Params() {
		t := into.Get(p.Name())
		if t == nil {
			t = from.Get(p.Name())
		}
		if t == nil {
			return nil, fmt.Errorf("engine: the store has no parameter %q", p.Name())
		}
		if err := into.Put(p.Name(), t); err != nil {
			return nil, fmt.Errorf("engine: %w", err)
		}
	}
	return g, nil
}

// rounded ends the names of rounded parameters.
const rounded = ".rounded"

// weightQuantizers are the quantizers with a name of their own whose operands come
// from parameters alone and that no convolution reads.
func weightQuantizers(g *graph.Graph) map[*graph.Node]bool {
	uses := g.Uses()
	constant, found := map[*graph.Node]bool{}, map[*graph.Node]bool{}
	names := map[string]bool{} // of two quantizers of one name the first is rounded
	for _, n := range g.Nodes() {
		fixed := true
		for _, x := range n.In() {
			fixed = fixed && constant[x]
		}
		_, isParam := n.Op().(graph.Param)
		constant[n] = isParam || fixed && len(n.In()) > 0
		if _, ok := n.Op().(graph.FakeQuant); !ok || !constant[n] || strings.Contains(n.Name(), "#") || names[n.Name()] {
			continue
		}
		names[n.Name()], found[n] = true, true
		for _, u := range uses[n.ID()] {
			if _, conv := u.Op().(graph.Conv2D); conv {
				delete(found, n)
			}
		}
	}
	return found
}

// value computes a node that depends on parameters alone.
func (e *Engine) value(n *graph.Node, store *tensor.Store) (*tensor.Tensor, error) {
	g := graph.New()
	at := map[*graph.Node]*graph.Node{}
	var add func(n *graph.Node) *graph.Node
	add = func(n *graph.Node) *graph.Node {
		if c := at[n]; c != nil {
			return c
		}
		in := make([]*graph.Node, len(n.In()))
		for i, x := range n.In() {
			in[i] = add(x)
		}
		at[n] = g.Copy(n, in)
		return at[n]
	}
	g.Output("value", add(n))
	p, err := e.Compile(g, store)
	if err != nil {
		return nil, err
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	return p.Output("value").Clone(), nil
}
