package graph

import "fmt"

// Spike is the binary neuron: 1 where r >= 0, else 0. Its gradient is the
// triangle surrogate dy*max(0, 1-|r|) (Esser et al., PNAS 2016).
type Spike struct{}

// Kind implements Op.
func (Spike) Kind() string { return "spike" }

// Infer implements Op.
func (Spike) Infer(in []Type) (Type, error) { return sameShapes(in, 1) }

// Gradient implements Differentiable.
func (Spike) Gradient(g *Graph, n, dy *Node) []*Node {
	return []*Node{g.Apply(SpikeGrad{}, n.in[0], dy)}
}

// SpikeGrad is dy*max(0, 1-|r|). Operands: r, dy.
type SpikeGrad struct{}

// Kind implements Op.
func (SpikeGrad) Kind() string { return "spike_grad" }

// Infer implements Op.
func (SpikeGrad) Infer(in []Type) (Type, error) { return sameShapes(in, 2) }

// Ternary turns a shadow weight v into -1, 0 or 1 with hysteresis:
//
//	+1    v > 1/2 + Hysteresis
//	-1    v < -1/2 - Hysteresis
//	 0    |v| < 1/2 - Hysteresis
//	last  in between, unless its sign is opposite to v's: then 0
//
// Operands: v, last, of one shape; last is the value of the step before, a
// parameter of role Stat that TrackTernary updates. Taken again with its own
// result as last the result stays, so the network that runs between two steps
// is the one that the next step sees. The gradient goes straight through to v.
type Ternary struct {
	Hysteresis float64 `json:"hysteresis"`
}

// Kind implements Op.
func (Ternary) Kind() string { return "ternary" }

// Infer implements Op.
func (o Ternary) Infer(in []Type) (Type, error) {
	if !(o.Hysteresis >= 0 && o.Hysteresis < 0.5) {
		return Type{}, fmt.Errorf("hysteresis %g outside [0, 0.5)", o.Hysteresis)
	}
	return sameShapes(in, 2)
}

// Gradient implements Differentiable.
func (Ternary) Gradient(_ *Graph, _, dy *Node) []*Node { return []*Node{dy, nil} }

// Spike returns 1 where r >= 0, else 0.
func (g *Graph) Spike(r *Node) *Node { return g.Apply(Spike{}, r) }

// TrackTernary returns the graph with an update for each Ternary that keeps its
// result as the next run's last. Use it on the training graph alone.
func TrackTernary(g *Graph) (*Graph, error) {
	return Rewrite(g, func(to *Graph, n *Node, in []*Node) *Node {
		if _, ok := n.op.(Ternary); !ok {
			return nil
		}
		c := to.Copy(n, in)
		to.Update(in[1], c)
		return c
	})
}
