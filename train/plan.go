package train

import (
	"fmt"

	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/tensor"
)

// batchPlan is what runs a batch of one size.
type batchPlan struct {
	*Stepper
	inputs  map[string]bool // of the training graph
	dropout []*tensor.Tensor
	teacher *engine.Plan // or nil
	shared  []string     // inputs that the teacher reads of a source's batch
	classes int
}

// plan returns the plans for a batch size, compiled once.
func (r *run) plan(n int) (*batchPlan, error) {
	if p := r.plans[n]; p != nil {
		return p, nil
	}
	g, err := lossGraph(r.job.Graph, n, r.Config, r.job.Hooks)
	if err != nil {
		return nil, err
	}
	if err := graph.InitParams(g, r.job.Store, r.Seed); err != nil { // of a hook's loss
		return nil, fmt.Errorf("train: %w", err)
	}
	p := &batchPlan{inputs: map[string]bool{}, classes: g.OutputNode("logits").Shape()[1]}
	dropout := dropoutInputs(g)
	for _, in := range g.Inputs() {
		p.inputs[in.Name()] = true
	}
	if p.Stepper, err = NewStepper(r.job.Engine, g, r.job.Store, r.Optim, r.job.Hooks.GradTaps...); err != nil {
		return nil, err
	}
	for _, name := range dropout {
		p.dropout = append(p.dropout, p.Forward.Input(name))
	}
	if t := r.job.Teacher; t != nil {
		if p.teacher, err = r.teacherPlan(t, n); err != nil {
			return nil, err
		}
		if r.job.Source != nil {
			for _, in := range t.Graph.Inputs() {
				p.shared = append(p.shared, in.Name())
			}
		}
		if err := p.Forward.SetInput("teacher_logits", p.teacher.Output("logits")); err != nil {
			return nil, fmt.Errorf("train: teacher: %w", err)
		}
	}
	r.plans[n] = p
	return p, nil
}

func (r *run) teacherPlan(t *Teacher, n int) (*engine.Plan, error) {
	g, err := t.Graph, error(nil)
	if r.job.Source == nil {
		if g, err = eval.Forward(g); err != nil {
			return nil, fmt.Errorf("train: teacher: %w", err)
		}
	}
	if g, err = graph.WithBatch(g, n); err != nil {
		return nil, fmt.Errorf("train: teacher: %w", err)
	}
	p, err := r.job.Engine.Compile(g, t.Store)
	if err != nil {
		return nil, fmt.Errorf("train: teacher: %w", err)
	}
	return p, nil
}
