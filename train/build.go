package train

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// lossGraph returns the training graph for batches of a shape: the network with
// training batch norms, the inputs "labels" (i32 [batch]) and, to distil,
// "teacher_logits" (f32 [batch, classes]), and the outputs "logits" and "loss".
func lossGraph(g *graph.Graph, at shape, c Config, h Hooks) (*graph.Graph, error) {
	g, err := graph.WithShape(g, at.batch, at.length)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	g, err = graph.Training(g, func(*graph.Node) bool { return c.FrozenNorm })
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	logits := g.OutputNode("logits")
	if logits == nil || len(logits.Shape()) != 2 {
		return nil, fmt.Errorf("train: the graph has no output \"logits\" of [batch classes]")
	}
	loss := c.Loss.node(g, logits)
	if h.Loss != nil && g.Err() == nil {
		if loss, err = h.Loss(g, loss); err != nil {
			return nil, fmt.Errorf("train: loss hook: %w", err)
		}
	}
	g.Output("loss", loss)
	for _, name := range h.Taps {
		n := g.Find(name)
		if n == nil {
			return nil, fmt.Errorf("train: no node %q to tap", name)
		}
		g.Output("tap:"+name, n)
	}
	if g.Err() != nil {
		return nil, fmt.Errorf("train: %w", g.Err())
	}
	return g, nil
}

// node adds the mean loss of a batch.
func (l Loss) node(g *graph.Graph, logits *graph.Node) *graph.Node {
	rows := logits.Shape()[0] // examples, or tokens
	var sum *graph.Node
	mean := g.Mean
	if l.Scored {
		weights := g.Input(nn.WeightsName, tensor.F32, rows)
		count := g.Apply(graph.Binary{F: graph.Max}, g.Sum(weights), g.Scalar(1))
		mean = func(x *graph.Node, _ ...int) *graph.Node { return g.Div(g.Sum(g.Mul(x, weights)), count) }
	}
	if l.CrossEntropy > 0 {
		labels := g.Input("labels", tensor.I32, rows)
		ce := mean(g.Apply(graph.CrossEntropy{Smooth: l.Smooth}, logits, labels))
		sum = weighted(g, l.CrossEntropy, ce)
	}
	if l.Distill > 0 {
		teacher := g.Input("teacher_logits", tensor.F32, logits.Shape()...)
		kl := weighted(g, l.Distill, mean(g.Apply(graph.KLDivergence{T: l.Temperature}, logits, teacher)))
		if sum == nil {
			return kl
		}
		sum = g.Add(sum, kl)
	}
	return sum
}

func weighted(g *graph.Graph, w float64, x *graph.Node) *graph.Node {
	if w == 1 {
		return x
	}
	return g.Mul(x, g.Scalar(float32(w)))
}

// dropoutInputs returns the names of the inputs that hold dropout's seed and
// step.
func dropoutInputs(g *graph.Graph) []string {
	var names []string
	seen := map[*graph.Node]bool{}
	for _, n := range g.Nodes() {
		if _, ok := n.Op().(graph.Dropout); !ok {
			continue
		}
		if in, ok := n.In()[1].Op().(graph.Input); ok && !seen[n.In()[1]] {
			seen[n.In()[1]] = true
			names = append(names, in.Name)
		}
	}
	return names
}
