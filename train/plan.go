package train

import (
	"fmt"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/tensor"
)

// shape is that of a batch: its examples, and the tokens of each, 0 for the
// graph's own number or images.
type shape struct{ batch, length int }

// length is what a batch's sequences are padded to.
func (r *run) length(b *data.Batch) int {
	if r.source == nil {
		return 0
	}
	return r.source.Length(b.Index)
}

// batchPlan is what runs a batch of one shape.
type batchPlan struct {
	*Stepper
	inputs  map[string]bool // of the training graph
	dropout []*tensor.Tensor
	teacher *engine.Plan // or nil
	shared  []string     // inputs that the teacher reads of a source's batch
	classes int
}

// plan returns the plans for batches of n examples of that length, compiled
// once.
func (r *run) plan(n, length int) (*batchPlan, error) {
	at := shape{n, length}
	if p := r.plans[at]; p != nil {
		return p, nil
	}
	g, err := lossGraph(r.job.Graph, at, r.Config, r.job.Hooks)
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
	how := Stepping{r.job.Hooks.GradTaps, r.Recompute, r.BF16}
	if p.Stepper, err = how.New(r.job.Engine, &r.memory.training, g, r.job.Store, r.Optim); err != nil {
		return nil, err
	}
	for _, name := range dropout {
		p.dropout = append(p.dropout, p.Forward.Input(name))
	}
	if t := r.job.Teacher; t != nil {
		if err := r.addTeacher(p, t, at); err != nil {
			return nil, err
		}
		if err := p.Forward.SetInput("teacher_logits", p.teacher.Output("logits")); err != nil {
			return nil, fmt.Errorf("train: teacher: %w", err)
		}
	}
	r.plans[at] = p
	return p, nil
}

// addTeacher compiles the teacher's inference form, whose products may be rounded
// to bfloat16: its errors are far below what the student is taught.
func (r *run) addTeacher(p *batchPlan, t *Teacher, at shape) error {
	g, err := t.Graph, error(nil)
	if r.source == nil {
		g, err = eval.Forward(g)
	} else if g, err = graph.Inference(g); err == nil {
		g, err = graph.Select(g, "logits")
	}
	if err == nil {
		g, err = graph.WithShape(g, at.batch, at.length)
	}
	if err == nil {
		p.teacher, err = r.job.Engine.CompileRounded(&r.memory.teacher, g, t.Store)
	}
	if err != nil {
		return fmt.Errorf("train: teacher: %w", err)
	}
	if r.source != nil {
		for _, in := range g.Inputs() {
			p.shared = append(p.shared, in.Name())
		}
	}
	return nil
}
