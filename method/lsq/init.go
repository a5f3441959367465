package lsq

import (
	"errors"
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// Start says how steps get their first value.
type Start struct {
	// Weights is the rule for weight steps, Activations for activation steps.
	// The paper: quant.RuleLSQ for both.
	Weights     quant.Rule `json:"weights"`
	Activations quant.Rule `json:"activations"`
	// Batches is the number of training batches that activation steps are taken
	// from; the paper: 1.
	Batches int `json:"batches"`
	// Sequential takes each activation step behind quantizers that are set
	// already, as a forward pass that sets each step when it is reached would.
	// Otherwise all come from one pass through the network without quantizers.
	// It costs one pass for each quantizer in the longest chain.
	Sequential bool `json:"sequential,omitempty"`
}

// PaperStart is LSQ section 2.1: 2*mean|v|/sqrt(Qp) of the weights, and of the
// activations of the first training batch.
func PaperStart() Start {
	return Start{Weights: quant.Rule{Kind: quant.RuleLSQ}, Activations: quant.Rule{Kind: quant.RuleLSQ}, Batches: 1, Sequential: true}
}

// BestStart starts from the steps of least squared error, which lie far closer
// to the learned ones at 8 bits and need fewer epochs at 2 to 4.
func BestStart() Start {
	return Start{Weights: quant.Rule{Kind: quant.RuleMSE}, Activations: quant.Rule{Kind: quant.RuleMSE}, Batches: 2}
}

// StartNamed is PaperStart for "lsq" and BestStart for "mse".
func StartNamed(name string) (Start, error) {
	switch name {
	case "lsq":
		return PaperStart(), nil
	case "mse":
		return BestStart(), nil
	}
	return Start{}, fmt.Errorf("lsq: first steps %q, want lsq or mse", name)
}

// Validate returns an error that names the first setting that makes no sense.
func (s Start) Validate() error {
	if s.Batches < 1 {
		return fmt.Errorf("lsq: start from %d batches, want at least 1", s.Batches)
	}
	return errors.Join(s.Weights.Validate(), s.Activations.Validate())
}

// Init sets every quantizer step of g in the store: weight steps from the
// weights, activation steps from batches of inputs, each of any size and, of
// sequences, of any length. The network runs in inference form. g comes from Insert;
// the store holds its other parameters, missing ones being initialised with
// seed 1.
func Init(e *engine.Engine, g *graph.Graph, store *tensor.Store, batches []engine.Inputs, s Start) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := graph.InitParams(g, store, 1); err != nil {
		return fmt.Errorf("lsq: %w", err)
	}
	if err := InitWeights(g, store, func(quant.Spec) quant.Rule { return s.Weights }); err != nil {
		return err
	}
	return Calibrate(e, g, store, batches, s.Sequential, func(quant.Spec) quant.Rule { return s.Activations })
}

// InitWeights sets the steps of all quantizers whose values are parameters, each
// with the rule for its grid.
func InitWeights(g *graph.Graph, store *tensor.Store, rule func(quant.Spec) quant.Rule) error {
	for _, n := range g.Nodes() {
		o, ok := n.Op().(graph.FakeQuant)
		if !ok || computed(n.In()[0]) {
			continue
		}
		p, ok := n.In()[0].Op().(graph.Param)
		if !ok {
			return fmt.Errorf("lsq: %s: the weight is computed, want a parameter", n.Name())
		}
		w, step := store.Get(p.Name), store.Get(n.In()[1].Name())
		if w == nil || step == nil {
			return fmt.Errorf("lsq: %s: the store lacks %q or its step", n.Name(), p.Name)
		}
		r := rule(o.Spec)
		if err := r.Validate(); err != nil {
			return fmt.Errorf("lsq: %s: %w", n.Name(), err)
		}
		v, err := quant.Steps(w.Float32s(), w.Shape(), o.Spec, r.Step)
		if err != nil {
			return fmt.Errorf("lsq: %s: %w", n.Name(), err)
		}
		copy(step.Float32s(), v)
	}
	return nil
}

// Calibrate sets the steps of all quantizers of activations by what flows
// through them, each with the rule for its grid; see Start.Sequential.
func Calibrate(e *engine.Engine, g *graph.Graph, store *tensor.Store, batches []engine.Inputs, sequential bool, rule func(quant.Spec) quant.Rule) error {
	if len(batches) == 0 {
		return fmt.Errorf("lsq: no batches to calibrate with")
	}
	g, err := graph.Inference(g)
	if err != nil {
		return fmt.Errorf("lsq: %w", err)
	}
	waves := [][]string{nil}
	depth := make([]int, len(g.Nodes())) // quantizers of activations before and at a node
	for i, n := range g.Nodes() {
		for _, x := range n.In() {
			depth[i] = max(depth[i], depth[x.ID()])
		}
		if _, ok := n.Op().(graph.FakeQuant); !ok || !computed(n.In()[0]) {
			continue
		}
		at := 0
		if sequential {
			at = depth[i]
			depth[i]++
		}
		for len(waves) <= at {
			waves = append(waves, nil)
		}
		waves[at] = append(waves[at], n.Name())
	}
	if !sequential {
		if g, err = bypass(g); err != nil {
			return err
		}
	}
	for _, names := range waves {
		if err := observe(e, g, store, batches, names, rule); err != nil {
			return err
		}
	}
	return nil
}

// bypass returns g in which every reader of a quantizer reads its operand; the
// quantizers of activations stay, read by nothing.
func bypass(g *graph.Graph) (*graph.Graph, error) {
	to, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			to.Copy(n, in)
			return in[0]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	return to, nil
}

// observeLimit bounds the bytes of activations that one pass keeps.
const observeLimit = 512 << 20

// observe sets the steps of the named quantizers, as many in one pass as
// observeLimit allows.
func observe(e *engine.Engine, g *graph.Graph, store *tensor.Store, batches []engine.Inputs, names []string, rule func(quant.Spec) quant.Rule) error {
	for len(names) > 0 {
		n, size := 0, 0
		for n < len(names) && (n == 0 || size < observeLimit) {
			x := g.Find(names[n]).In()[0]
			size += 4 * x.Shape().Size() / max(g.Batch(), 1) * batches[0].Batch()
			n++
		}
		if err := observePass(e, g, store, batches, names[:n], rule); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// tapped is a quantizer under observation.
type tapped struct {
	name, step string
	seen       *quant.Observer
}

func observePass(e *engine.Engine, g *graph.Graph, store *tensor.Store, batches []engine.Inputs, names []string, rule func(quant.Spec) quant.Rule) error {
	taps, err := graph.Clone(g)
	if err == nil {
		for _, name := range names {
			taps.Output(name, taps.Find(name).In()[0])
		}
		taps, err = graph.Select(taps, names...)
	}
	if err != nil {
		return fmt.Errorf("lsq: %w", err)
	}
	plans := engine.Plans{Engine: e, Graph: taps, Store: store}
	values := map[string]int{} // that each quantizer will see
	for _, b := range batches {
		p, err := plans.For(b)
		if err != nil {
			return fmt.Errorf("lsq: %w", err)
		}
		for _, name := range names {
			values[name] += p.Output(name).Len()
		}
	}
	var seen []tapped
	for _, name := range names {
		n := g.Find(name)
		spec := n.Op().(graph.FakeQuant).Spec
		o, err := rule(spec).NewObserver(spec, values[name])
		if err != nil {
			return fmt.Errorf("lsq: %s: %w", name, err)
		}
		seen = append(seen, tapped{name, n.In()[1].Name(), o})
	}
	for _, b := range batches {
		p, err := plans.For(b)
		if err != nil {
			return fmt.Errorf("lsq: %w", err)
		}
		if err := p.Run(); err != nil {
			return fmt.Errorf("lsq: %w", err)
		}
		for _, t := range seen {
			if err := t.seen.Add(p.Output(t.name).Float32s()); err != nil {
				return fmt.Errorf("lsq: %s: %w", t.name, err)
			}
		}
	}
	for _, t := range seen {
		store.Get(t.step).Float32s()[0] = t.seen.Step()
	}
	return nil
}
