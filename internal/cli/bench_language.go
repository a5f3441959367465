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

// describedLanguage opens a language model, or makes one that is only described.
func (a *app) describedLanguage(spec string) (*load.Language, error) {
	if load.IsNewLanguage(spec) {
		return load.NewLanguage(spec, "", a.seed)
	}
	return load.OpenLanguage(spec)
}

// language measures a language model's training steps.
func (v *benchFlags) language(a *app, e *engine.Engine) (bench.Result, error) {
	l, err := a.describedLanguage(v.model.model)
	if err != nil {
		return bench.Result{}, err
	}
	if v.length < 2 || v.length > l.Config.Context {
		return bench.Result{}, usagef("--text-length %d, %s reads 2 to %d", v.length, v.model.model, l.Config.Context)
	}
	build := l.Graph
	if v.bits != "fp32" {
		if _, build, err = a.untrained(e, l, v.bits, v.static, v.length); err != nil {
			return bench.Result{}, err
		}
	}
	p := a.progress()
	defer p.clear()
	p.set(fmt.Sprintf("%d steps of %s", v.c.Warmup+v.c.Steps, v.model.model))
	return bench.TrainLanguage(a.ctx, e, build, l.Store, v.length, v.c)
}

// untrained puts quantizers on a model in full precision, with steps that no text
// was read for (noise, where they are static): for timings.
func (a *app) untrained(e *engine.Engine, l *load.Language, bits string, static bool, length int) (q silq.Quantizers, build func(model.LlamaRun) (*graph.Graph, error), err error) {
	if q, err = silq.ParseBits(bits); err != nil {
		return q, nil, usage(err)
	}
	if l.Quantizers != nil {
		return q, nil, usagef("--bits %s: %s has %s already", bits, l.Spec, l.Quantizers)
	}
	q.Static = static
	g, err := l.Config.Graph(model.LlamaRun{Batch: 1, Seq: length})
	if err != nil {
		return q, nil, err
	}
	random := rng.New(a.seed, 'q')
	window := make([]int32, length)
	for i := range window {
		window[i] = int32(random.Intn(l.Config.Vocab))
	}
	start := silq.Start{Weights: silq.RuleMax, Windows: 1, Passes: 1}
	if err := silq.Init(a.ctx, q, l.Store, start, silq.Calibration{Engine: e, Graph: g, Store: l.Store, Windows: [][]int32{window}}); err != nil {
		return q, nil, err
	}
	return q, func(r model.LlamaRun) (*graph.Graph, error) {
		g, err := l.Config.Graph(r)
		if err != nil {
			return nil, err
		}
		return silq.Insert(g, q)
	}, nil
}
