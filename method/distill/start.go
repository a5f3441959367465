package distill

import (
	"fmt"
	"reflect"
	"slices"

	"lowbit/graph"
	"lowbit/rl"
)

// start gives the student the weights of another agent: parameters of the same
// names, or, where the other is no student, those at the same places of a
// network of the same layers.
func (d *distiller) start() error {
	from := d.job.From
	if from == nil {
		return nil
	}
	if err := d.sameSenses(from); err != nil {
		return err
	}
	names, err := d.sources(from)
	if err != nil {
		return err
	}
	for _, n := range d.student.Graph.Params() {
		name := names[n.Name()]
		t := from.Store.Get(name)
		if t == nil {
			return fmt.Errorf("distill: from %s: no parameter %q, want an agent of the same layers", d.From, name)
		}
		if to := d.student.Store.Get(n.Name()); t.DType() != to.DType() || !t.Shape().Equal(to.Shape()) {
			return fmt.Errorf("distill: from %s: parameter %q is %v of %v, want %v of %v", d.From, name, t.DType(), t.Shape(), to.DType(), to.Shape())
		}
		if err := d.student.Store.Put(n.Name(), t.Clone()); err != nil {
			return fmt.Errorf("distill: %w", err)
		}
	}
	return nil
}

// sameSenses returns an error unless the other agent sees and does what the
// student does. One that names no actions has the environment's own.
func (d *distiller) sameSenses(from *rl.Agent) error {
	got, want := from.Info, d.student.Info
	if len(got.Actions) == 0 {
		got.Actions = d.spec.Actions
	}
	got.View.Stack, want.View.Stack = max(got.View.Stack, 1), max(want.View.Stack, 1)
	if got.View != want.View || !slices.Equal(got.Actions, want.Actions) {
		return fmt.Errorf("distill: from %s: it sees %+v and has actions %v, the student %+v and %v", d.From, got.View, got.Actions, want.View, want.Actions)
	}
	return nil
}

// sources names the parameter of from that each of the student's starts with.
func (d *distiller) sources(from *rl.Agent) (map[string]string, error) {
	names := map[string]string{}
	known := from.Graph.Params()
	same := true
	for _, n := range d.student.Graph.Params() {
		names[n.Name()] = n.Name()
		same = same && slices.ContainsFunc(known, func(k *graph.Node) bool { return k.Name() == n.Name() })
	}
	if same {
		return names, nil
	}
	theirs, ours := policyOps(from.Graph), policyOps(d.student.Graph)
	for i := range max(len(theirs), len(ours)) {
		if i >= len(theirs) || i >= len(ours) {
			return nil, fmt.Errorf("distill: from %s: a network of %d steps, want the %d of the student: an agent of the same layers", d.From, len(theirs), len(ours))
		}
		a, b := theirs[i], ours[i]
		if isParam(a) && isParam(b) {
			names[b.Name()] = a.Name()
		} else if !reflect.DeepEqual(a.Op(), b.Op()) {
			return nil, fmt.Errorf("distill: from %s: %s %+v at %q, want %s %+v: an agent of the same layers", d.From, a.Op().Kind(), a.Op(), a.Name(), b.Op().Kind(), b.Op())
		}
	}
	return names, nil
}

func isParam(n *graph.Node) bool {
	_, ok := n.Op().(graph.Param)
	return ok
}

// policyOps returns the nodes that the outputs come from, each behind its
// operands, in the order of the network: without critic and quantizers.
func policyOps(g *graph.Graph) []*graph.Node {
	var nodes []*graph.Node
	seen := map[*graph.Node]bool{}
	var visit func(n *graph.Node)
	visit = func(n *graph.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if _, ok := n.Op().(graph.FakeQuant); ok {
			visit(n.In()[0])
			return
		}
		for _, x := range n.In() {
			visit(x)
		}
		nodes = append(nodes, n)
	}
	visit(g.OutputNode(rl.LogitsName))
	return nodes
}
