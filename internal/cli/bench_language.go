package cli

import (
	"fmt"

	"lowbit/app/bench"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/load"
	"lowbit/method/silq"
	"lowbit/model"
)

// language measures a language model's training steps.
func (v *benchFlags) language(a *app, e *engine.Engine) (bench.Result, error) {
	open := load.OpenLanguage
	if load.IsNewLanguage(v.model.model) {
		open = func(spec string) (*load.Language, error) { return load.NewLanguage(spec, "", a.seed) }
	}
	l, err := open(v.model.model)
	if err != nil {
		return bench.Result{}, err
	}
	if v.length < 2 || v.length > l.Config.Context {
		return bench.Result{}, usagef("--text-length %d, %s reads 2 to %d", v.length, v.model.model, l.Config.Context)
	}
	build := l.Graph
	if v.bits != "fp32" {
		if build, err = v.quantizers(a, e, l); err != nil {
			return bench.Result{}, err
		}
	}
	p := a.progress()
	defer p.clear()
	p.set(fmt.Sprintf("%d steps of %s", v.c.Warmup+v.c.Steps, v.model.model))
	return bench.TrainLanguage(a.ctx, e, build, l.Store, v.length, v.c)
}

// quantizers puts steps into the model's store that no text was read for.
func (v *benchFlags) quantizers(a *app, e *engine.Engine, l *load.Language) (func(model.LlamaRun) (*graph.Graph, error), error) {
	q, err := silq.ParseBits(v.bits)
	if err != nil {
		return nil, usage(err)
	}
	if l.Quantizers != nil {
		return nil, usagef("--bits %s: %s has %s already", v.bits, v.model.model, l.Quantizers)
	}
	q.Static = v.static
	g, err := l.Config.Graph(model.LlamaRun{Batch: 1, Seq: v.length})
	if err != nil {
		return nil, err
	}
	random := rng.New(a.seed, 'q')
	window := make([]int32, v.length)
	for i := range window {
		window[i] = int32(random.Intn(l.Config.Vocab))
	}
	start := silq.Start{Weights: silq.RuleMax, Windows: 1, Passes: 1}
	if err := silq.Init(a.ctx, q, l.Store, start, silq.Calibration{Engine: e, Graph: g, Store: l.Store, Windows: [][]int32{window}}); err != nil {
		return nil, err
	}
	return func(r model.LlamaRun) (*graph.Graph, error) {
		g, err := l.Config.Graph(r)
		if err != nil {
			return nil, err
		}
		return silq.Insert(g, q)
	}, nil
}
