package engine

import (
	"fmt"
	"maps"
	"slices"

	"lowbit/graph"
	"lowbit/tensor"
)

// Inputs are the tensors of one batch by the names of a graph's inputs.
type Inputs map[string]*tensor.Tensor

// inputName is the input that tells a batch's size and the length of its
// sequences, if it is one of sequences.
const inputName = "input"

// Batch returns the number of examples.
func (in Inputs) Batch() int {
	if t := in[inputName]; t != nil && len(t.Shape()) > 0 {
		return t.Shape()[0]
	}
	return 0
}

// Length returns the length of the batch's sequences, 0 if it holds others.
func (in Inputs) Length() int {
	if t := in[inputName]; t != nil && t.DType() == tensor.I32 && len(t.Shape()) == 2 {
		return t.Shape()[1]
	}
	return 0
}

// Fit returns g for the batch's size and the length of its sequences.
func (in Inputs) Fit(g *graph.Graph) (*graph.Graph, error) {
	if in.Batch() == 0 {
		return nil, fmt.Errorf("engine: a batch of %v, want an %q with examples", slices.Sorted(maps.Keys(in)), inputName)
	}
	g, err := graph.WithShape(g, in.Batch(), in.Length())
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	return g, nil
}

// SetInputs binds those inputs of a batch that the plan has, as SetInput does.
// It is an error if the plan reads others.
func (p *Plan) SetInputs(in Inputs) error {
	for name := range p.inputs {
		if in[name] == nil {
			return fmt.Errorf("engine: the plan reads %q, the batch has %v", name, slices.Sorted(maps.Keys(in)))
		}
		if err := p.SetInput(name, in[name]); err != nil {
			return err
		}
	}
	return nil
}

// Plans compiles a graph for batches of several shapes, each shape once.
type Plans struct {
	Engine *Engine
	Graph  *graph.Graph
	Store  *tensor.Store

	plans map[[2]int]*Plan
}

// For returns the plan for a batch's shape, with the batch bound to it.
func (p *Plans) For(in Inputs) (*Plan, error) {
	key := [2]int{in.Batch(), in.Length()}
	plan := p.plans[key]
	if plan == nil {
		g, err := in.Fit(p.Graph)
		if err != nil {
			return nil, err
		}
		if plan, err = p.Engine.Compile(g, p.Store); err != nil {
			return nil, err
		}
		if p.plans == nil {
			p.plans = map[[2]int]*Plan{}
		}
		p.plans[key] = plan
	}
	return plan, plan.SetInputs(in)
}
