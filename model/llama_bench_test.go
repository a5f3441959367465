package model_test

import (
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/tensor"
)

// trainer is a network's step and its optimizer.
type trainer struct{ step, update *engine.Plan }

// newTrainer compiles a training step of c and AdamW.
func newTrainer(tb testing.TB, e *engine.Engine, c model.Llama, batch, seq int) trainer {
	tb.Helper()
	fail := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	g, err := c.Graph(model.LlamaRun{Batch: batch, Seq: seq})
	fail(err)
	store := tensor.NewStore()
	fail(graph.InitParams(g, store, 1))
	loss := nn.NextTokenLoss(g, g.OutputNode(nn.LogitsName), batch, seq)
	g.Output("loss", loss)
	params := g.Params()
	grads, err := graph.Gradients(g, loss, params)
	fail(err)
	names := []string{"loss"}
	for i, p := range params {
		names = append(names, optim.GradInput(p.Name()))
		g.Output(names[i+1], grads[i])
	}
	config := optim.DefaultConfig(optim.AdamW, 0.01)
	og, err := optim.Build(params, config)
	fail(err)
	fail(optim.Prepare(og, store))
	g, err = graph.Select(g, names...)
	fail(err)
	var t trainer
	t.step, err = e.Compile(g, store)
	fail(err)
	t.update, err = e.Compile(og, store)
	fail(err)
	for _, n := range names[1:] {
		fail(t.update.SetInput(n, t.step.Output(n)))
	}
	fail(config.SetScalars(t.update.Input, 1e-4, 1))
	ids, labels, weights := t.step.Input(nn.InputName).Int32s(), t.step.Input(nn.LabelsName).Int32s(), t.step.Input(nn.WeightsName).Float32s()
	for i := range ids {
		ids[i], labels[i], weights[i] = int32(i*7919%c.Vocab), int32(i*104729%c.Vocab), 1/float32(len(ids))
	}
	return t
}

func (t trainer) run(tb testing.TB) float64 {
	if err := t.step.Run(); err != nil {
		tb.Fatal(err)
	}
	if err := t.update.Run(); err != nil {
		tb.Fatal(err)
	}
	return float64(t.step.Output("loss").Float32s()[0])
}

// A network that sees one batch again and again learns it, without an
// allocation a step.
func TestLlamaLearns(t *testing.T) {
	e := engine.New(2)
	defer e.Close()
	c := model.Llama{Vocab: 64, Dim: 32, Layers: 2, Heads: 4, KVHeads: 2, Hidden: 64, Context: 32, NormEps: 1e-5, Theta: 1e4, Tied: true}
	tr := newTrainer(t, e, c, 2, 32)
	tr.update.Input("lr").Float32s()[0] = 1e-2
	first := tr.run(t)
	last := first
	for range 40 {
		last = tr.run(t)
	}
	if !(last < first/2) {
		t.Errorf("loss %g at first, %g after 40 steps", first, last)
	}
	if n := testing.AllocsPerRun(3, func() { tr.run(t) }); n != 0 {
		t.Errorf("%g allocations a step", n)
	}
}
