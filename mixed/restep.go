package mixed

import (
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// StartRules find the steps of quantizers whose width is new.
type StartRules struct {
	Weights     quant.Rule `json:"weights"`
	Activations quant.Rule `json:"activations"`
}

// Restep makes a store with the parameters of from fit to, the same network
// with other widths: a quantizer that has the same grid in both keeps its
// learned step; any other gets one that a rule finds, for weights from the
// weights, for activations from what flows through to, with all other
// quantizers in place, for the batches (not needed if no activation's grid is
// new). Steps that to lacks leave the store.
//
// It returns the names of the steps that are new, in graph order.
func Restep(e *engine.Engine, from, to *graph.Graph, store *tensor.Store, batches []engine.Inputs, r StartRules) ([]string, error) {
	var names []string
	var acts []*graph.Node
	for _, n := range to.Nodes() {
		o, ok := n.Op().(graph.FakeQuant)
		if !ok || keptStep(from, n, store) {
			continue
		}
		step := n.In()[1].Name()
		names = append(names, step)
		store.Delete(step)
		t := tensor.New(tensor.F32, n.In()[1].Shape()...)
		if err := store.Put(step, t); err != nil {
			return nil, fmt.Errorf("mixed: %w", err)
		}
		p, ok := n.In()[0].Op().(graph.Param)
		if !ok {
			acts = append(acts, n)
			continue
		}
		w := store.Get(p.Name)
		if w == nil {
			return nil, fmt.Errorf("mixed: %s: the store lacks %q", n.Name(), p.Name)
		}
		if err := r.Weights.Validate(); err != nil {
			return nil, fmt.Errorf("mixed: %s: %w", n.Name(), err)
		}
		v, err := quant.Steps(w.Float32s(), w.Shape(), o.Spec, r.Weights.Step)
		if err != nil {
			return nil, fmt.Errorf("mixed: %s: %w", n.Name(), err)
		}
		copy(t.Float32s(), v)
	}
	for _, p := range from.Params() {
		if p.Op().(graph.Param).Role == graph.Step && to.ParamNode(p.Name()) == nil {
			store.Delete(p.Name())
		}
	}
	if len(acts) == 0 {
		return names, nil
	}
	return names, observe(e, to, store, batches, acts, r.Activations)
}

// keptStep reports whether from has n's quantizer, on the same grid and with a
// step in the store.
func keptStep(from *graph.Graph, n *graph.Node, store *tensor.Store) bool {
	old := from.Find(n.Name())
	if old == nil {
		return false
	}
	o, ok := old.Op().(graph.FakeQuant)
	if !ok || o.Spec != n.Op().(graph.FakeQuant).Spec || old.In()[1].Name() != n.In()[1].Name() {
		return false
	}
	t := store.Get(n.In()[1].Name())
	return t != nil && t.Shape().Equal(n.In()[1].Shape())
}

// observe sets the steps of the quantizers acts of g by what comes to them.
func observe(e *engine.Engine, g *graph.Graph, store *tensor.Store, batches []engine.Inputs, acts []*graph.Node, rule quant.Rule) error {
	if len(batches) == 0 {
		return fmt.Errorf("mixed: %d activations need a step, and there are no batches to find it from", len(acts))
	}
	seen := map[string]*quant.Observer{} // by quantizer
	for _, n := range acts {
		seen[n.Name()] = nil
	}
	taps, err := tapped(g, seen)
	if err != nil {
		return err
	}
	plans := engine.Plans{Engine: e, Graph: taps, Store: store}
	values := map[string]int{} // that each quantizer will see
	for _, b := range batches {
		p, err := plans.For(b)
		if err != nil {
			return fmt.Errorf("mixed: %w", err)
		}
		for name := range seen {
			values[name] += p.Output(name).Len()
		}
	}
	for _, n := range acts {
		if seen[n.Name()], err = rule.NewObserver(n.Op().(graph.FakeQuant).Spec, values[n.Name()]); err != nil {
			return fmt.Errorf("mixed: %s: %w", n.Name(), err)
		}
	}
	for _, b := range batches {
		p, err := plans.For(b)
		if err == nil {
			err = p.Run()
		}
		if err != nil {
			return fmt.Errorf("mixed: %w", err)
		}
		for name, o := range seen {
			if err := o.Add(p.Output(name).Float32s()); err != nil {
				return fmt.Errorf("mixed: %s: %w", name, err)
			}
		}
	}
	for _, n := range acts {
		store.Get(n.In()[1].Name()).Float32s()[0] = seen[n.Name()].Step()
	}
	return nil
}

// tapped returns g in inference form without the quantizers in seen, whose
// operands become its only outputs, by their names.
func tapped[T any](g *graph.Graph, seen map[string]T) (*graph.Graph, error) {
	g, err := graph.Inference(g)
	if err != nil {
		return nil, fmt.Errorf("mixed: %w", err)
	}
	to := graph.New()
	at := make([]*graph.Node, len(g.Nodes()))
	for i, n := range g.Nodes() {
		in := make([]*graph.Node, len(n.In()))
		for j, x := range n.In() {
			in[j] = at[x.ID()]
		}
		if _, ok := seen[n.Name()]; ok {
			at[i] = in[0]
			to.Output(n.Name(), in[0])
			continue
		}
		at[i] = to.Copy(n, in)
	}
	if to, err = graph.Prune(to); err != nil {
		return nil, fmt.Errorf("mixed: %w", err)
	}
	return to, nil
}
