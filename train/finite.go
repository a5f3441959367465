package train

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"lowbit/data"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
)

// failed handles an error of a step's gradients: of numbers that are not
// finite it finds the first, and puts the last checkpoint's values back into
// the store.
func (r *run) failed(p *batchPlan, b *data.Batch, cause error) error {
	if !errors.Is(cause, ErrNotFinite) {
		return cause
	}
	where, err := r.firstNotFinite(p, b)
	if err != nil {
		where = "the search for the first layer failed: " + err.Error()
	}
	cause = fmt.Errorf("train: epoch %d, step %d: %w; %s", r.pos.Epoch, r.pos.Step, cause, where)
	if !r.begun {
		return cause
	}
	good, _, err := readCheckpoint(filepath.Join(r.job.Out, r.saved.fileName()))
	if err != nil {
		return errors.Join(cause, err)
	}
	return errors.Join(cause, restore(r.job.Store, good))
}

// firstNotFinite runs the failed step's batch again on a copy of the store,
// with every value of the network and its gradient as an output, and describes
// the first that is not finite: in forward order for values, in backward order
// for gradients.
func (r *run) firstNotFinite(p *batchPlan, b *data.Batch) (string, error) {
	if b.Images != nil && !finite(b.Images.Float32s()) {
		return "the batch's images hold a number that is not finite", nil
	}
	for _, n := range r.job.Graph.Params() {
		if !finite(r.job.Store.Get(n.Name()).Float32s()) {
			if n.Op().(graph.Param).Role != graph.Stat {
				return fmt.Sprintf("the parameter %q is not finite", n.Name()), nil
			}
		}
	}
	h := r.job.Hooks
	h.Taps = nil
	g, err := lossGraph(r.job.Graph, shape{len(b.Index), r.length(b)}, r.Config, h)
	if err != nil {
		return "", err
	}
	forward := slices.Clone(g.Nodes()[:g.OutputNode("loss").ID()+1])
	values, grads, err := tapAll(g, forward)
	if err != nil {
		return "", err
	}
	plan, err := r.job.Engine.Compile(g, r.job.Store.Clone())
	if err != nil {
		return "", err
	}
	again := &batchPlan{Stepper: &Stepper{Forward: plan}, inputs: p.inputs, teacher: p.teacher, shared: p.shared}
	for _, name := range dropoutInputs(g) {
		again.dropout = append(again.dropout, plan.Input(name))
	}
	if p.teacher != nil {
		if err := plan.SetInput("teacher_logits", p.teacher.Output("logits")); err != nil {
			return "", err
		}
	}
	if err := r.bind(again, b); err != nil {
		return "", err
	}
	if err := plan.Run(); err != nil {
		return "", err
	}
	for i, name := range values {
		if name != "" && !finite(plan.Output(name).Float32s()) {
			return "first not finite: the output of " + layerName(forward[i]), nil
		}
	}
	for i, name := range slices.Backward(grads) {
		if name != "" && !finite(plan.Output(name).Float32s()) {
			return "first not finite: the gradient of " + layerName(forward[i]), nil
		}
	}
	return "the same batch gives finite numbers when it is run again", nil
}

// tapAll makes outputs of the float values of nodes and of their gradients,
// and returns the outputs' names, empty where there is none.
func tapAll(g *graph.Graph, nodes []*graph.Node) (values, grads []string, err error) {
	all, err := graph.Gradients(g, g.OutputNode("loss"), nodes)
	if err != nil {
		return nil, nil, err
	}
	values, grads = make([]string, len(nodes)), make([]string, len(nodes))
	for i, n := range nodes {
		if n.Type().DType != tensor.F32 {
			continue
		}
		if len(n.In()) > 0 {
			values[i] = fmt.Sprintf("value:%d", i)
			g.Output(values[i], n)
		}
		if d := all[i]; d != nil && d.Type().DType == tensor.F32 && len(d.In()) > 0 {
			grads[i] = fmt.Sprintf("%s#%d", optim.GradInput(n.Name()), i)
			g.Output(grads[i], d)
		}
	}
	return values, grads, g.Err()
}

// layerName names a node, or an unnamed one by the nearest named node that it
// computes from.
func layerName(n *graph.Node) string {
	own := func(n *graph.Node) bool { return n.Name() != fmt.Sprintf("%s#%d", n.Op().Kind(), n.ID()) }
	if own(n) {
		return fmt.Sprintf("%q (%s)", n.Name(), n.Op().Kind())
	}
	for x := n; len(x.In()) > 0; {
		x = x.In()[0]
		if own(x) {
			return fmt.Sprintf("a %s after %q", n.Op().Kind(), x.Name())
		}
	}
	return n.Name()
}
