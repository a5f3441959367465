package silq

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// Start says how steps are found before training.
type Start struct {
	Weights WeightRule `json:"weights"`
	// Windows is the number of calibration windows: for inputs' mean squares
	// (RuleWeighted, RuleGPTQ) and for the percentiles of static activations.
	Windows int `json:"windows"`
	// Passes is how often inputs are observed for these rules: first those of the
	// model in full precision, then, group after group of layers, those that the
	// quantized layers before it give, which are the inputs that the weights will
	// meet. GPTQ always ends with a pass of the second kind.
	Passes int `json:"passes"`
	// Percentile of |x| that becomes the range of a static activation; 0: by its
	// bits, 99.91 at 4, 99.99 at 8, 99.995 at 16 (after SiLQ).
	Percentile float64 `json:"percentile,omitempty"`
	// Smooth, if positive, is SmoothQuant's alpha, at most 1: before anything else
	// the scales of inputs move from norms into the layers behind them, observed on
	// Windows. See SmoothScales.
	Smooth float64 `json:"smooth,omitempty"`
	// Rotate says that the model was turned before all else: whoever opens it calls
	// Rotate, on the teacher too, for which it changes nothing.
	Rotate bool `json:"rotate,omitempty"`
}

// DefaultStart is the input-weighted rule on 16 windows, in two passes.
func DefaultStart() Start { return Start{Weights: RuleWeighted, Windows: 16, Passes: 2} }

// percentile returns the range's percentile for a width.
func (s Start) percentile(bits int) float64 {
	switch {
	case s.Percentile > 0:
		return s.Percentile
	case bits <= 4:
		return 99.91
	case bits <= 8:
		return 99.99
	}
	return 99.995
}

// Validate returns an error that names the first setting that makes no sense.
func (s Start) Validate() error {
	if _, err := s.Weights.step([]float32{1}, nil, 8); err != nil {
		return err
	}
	if !(s.Smooth >= 0 && s.Smooth <= 1) {
		return fmt.Errorf("silq: smoothing with alpha %g, want 0 to 1", s.Smooth)
	}
	if s.Windows < 1 || s.Passes < 1 || !(s.Percentile >= 0 && s.Percentile <= 100) {
		return fmt.Errorf("silq: %d calibration windows in %d passes, percentile %g: want at least 1, and 0 to 100", s.Windows, s.Passes, s.Percentile)
	}
	return nil
}

// Calibration is a text that a model is observed on.
type Calibration struct {
	Engine *engine.Engine
	// Graph is the model in full precision for one window (batch 1): it must come
	// from the same description as the graph that gets the steps.
	Graph *graph.Graph
	// Store holds Graph's parameters. Train takes those of its job, or a copy of
	// them to learn from, where it is nil; one that is given stays as it is, so that
	// a caller who keeps the full-precision model shares it as the teacher.
	Store *tensor.Store
	// Windows are the texts' tokens, each as long as the graph's input.
	Windows [][]int32
	// Progress is called after each window, Calibrated when all steps are found
	// and training has not begun; they may be nil.
	Progress   func(done, of int)
	Calibrated func() error
	// Inputs is called with the mean square of each input of each layer, of the model
	// in full precision, where the rule observes them; it may be nil.
	Inputs func(layer string, squares []float64)
}

// observed is what a calibration finds of one value: the mean square of each of
// its features, and the percentile of its magnitudes.
type observed struct {
	square []float64
	top    *quant.Top
}

// Init puts the steps of q's quantizers into the store, which holds the weights
// of c's model; GPTQ and smoothing move these, too.
func Init(ctx context.Context, q Quantizers, store *tensor.Store, start Start, c Calibration) error {
	if err := start.Validate(); err != nil {
		return err
	}
	g, err := Insert(c.Graph, q)
	if err != nil {
		return err
	}
	if start.Smooth > 0 {
		if err := c.smooth(ctx, store, start.Smooth, start.Windows); err != nil {
			return err
		}
		c.Store = store // what is observed next are the smoothed inputs
	}
	if err := c.pass(ctx, g, store, start); err != nil {
		return err
	}
	if !start.Weights.observes() {
		return nil
	}
	again := start.Passes - 1
	if start.Weights == RuleGPTQ {
		again = max(again, 1)
	}
	for i := range again {
		if err := c.sequence(ctx, g, store, start, start.Weights == RuleGPTQ && i == again-1); err != nil {
			return fmt.Errorf("silq: calibration, layer after layer: %w", err)
		}
	}
	return nil
}

// pass finds all steps from what is observed of the model in full precision.
func (c Calibration) pass(ctx context.Context, g *graph.Graph, store *tensor.Store, start Start) error {
	seen, err := c.observe(ctx, g, start)
	if err != nil {
		return fmt.Errorf("silq: calibration: %w", err)
	}
	for _, n := range g.Nodes() {
		if o := seen[n.Name()]; o != nil && o.square != nil && c.Inputs != nil {
			c.Inputs(n.Name(), o.square)
		}
	}
	var rows []weightRows
	for _, n := range g.Nodes() {
		o, ok := n.Op().(graph.FakeQuant)
		if !ok {
			continue
		}
		p, ok := n.In()[1].Op().(graph.Param)
		if !ok {
			continue // a dynamic step
		}
		steps := tensor.New(tensor.F32, p.Shape...)
		if w, ok := n.In()[0].Op().(graph.Param); ok {
			layer := strings.TrimSuffix(p.Name, weightStep)
			rows = append(rows, weightRows{store.Get(w.Name), seen[layer], o.Spec.Bits, start.Weights, steps.Float32s()})
		} else {
			steps.Float32s()[0] = max(quant.RangeStep(seen[n.Name()].top.Percentile(), o.Spec, false), minStep)
		}
		if err := put(store, p.Name, steps); err != nil {
			return fmt.Errorf("silq: %w", err)
		}
	}
	if err := each(ctx, rows, weightRows.find); err != nil {
		return err
	}
	roundSteps(g, store)
	return nil
}

// roundSteps rounds the steps of weights to float16, so that what is measured is
// what a file with float16 scales holds.
func roundSteps(g *graph.Graph, store *tensor.Store) {
	for _, n := range g.Nodes() {
		if _, ok := n.Op().(graph.FakeQuant); !ok || !isParam(n.In()[0]) {
			continue
		}
		steps := store.Get(n.In()[1].Name()).Float32s()
		for i, s := range steps {
			steps[i] = storedStep(s)
		}
	}
}

// storedStep is the float16 nearest to a step, above 0.
func storedStep(s float32) float32 {
	return max(tensor.Float16ToFloat32(tensor.Float32ToFloat16(s)), minStep)
}

func put(store *tensor.Store, name string, t *tensor.Tensor) error {
	store.Delete(name)
	return store.Put(name, t)
}

// weightRows is a weight whose rows get steps.
type weightRows struct {
	w     *tensor.Tensor // [out, in]
	input *observed
	bits  int
	rule  WeightRule
	steps []float32
}

// each calls f with every item, several at a time.
func each[T any](ctx context.Context, items []T, f func(T) error) error {
	work := make(chan T)
	errs := make([]error, runtime.GOMAXPROCS(0))
	var done sync.WaitGroup
	for i := range errs {
		done.Go(func() {
			for w := range work {
				if err := f(w); err != nil {
					errs[i] = err
				}
			}
		})
	}
	for _, w := range items {
		if ctx.Err() != nil {
			break
		}
		work <- w
	}
	close(work)
	done.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}

func (w weightRows) find() error {
	v, in := w.w.Float32s(), w.w.Shape()[1]
	var h []float32
	if w.rule.observes() {
		h = overMean(w.input.square)
	}
	for i := range w.steps {
		var err error
		if w.steps[i], err = w.rule.step(v[i*in:][:in], h, w.bits); err != nil {
			return err
		}
	}
	return nil
}

// overMean returns the squares over their mean.
func overMean(squares []float64) []float32 {
	var mean float64
	for _, s := range squares {
		mean += s
	}
	mean /= float64(len(squares))
	h := make([]float32, len(squares))
	for i, s := range squares {
		h[i] = float32(s / max(mean, 1e-30))
	}
	return h
}

// wish is a value of a graph to be observed.
type wish struct {
	as   string // layer (mean squares) or quantizer's node (percentile)
	bits int    // of a percentile; 0: mean squares
	x    *graph.Node
}

// observe runs the model in full precision on the windows, for the quantizers of
// another graph. Mean squares come by layer's name, percentiles by the
// quantizer's.
func (c Calibration) observe(ctx context.Context, quantized *graph.Graph, start Start) (map[string]*observed, error) {
	wishes, err := wishes(quantized, c.Graph, start)
	if err != nil || len(wishes) == 0 {
		return nil, err
	}
	if len(c.Windows) < start.Windows {
		return nil, fmt.Errorf("%d windows of text, want %d", len(c.Windows), start.Windows)
	}
	plan, outputs, err := c.compile(wishes)
	if err != nil {
		return nil, err
	}
	seen := map[string]*observed{}
	for i, ids := range c.Windows[:start.Windows] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		input := plan.Input(nn.InputName).Int32s()
		if len(ids) != len(input) {
			return nil, fmt.Errorf("window %d has %d tokens, the graph reads %d", i, len(ids), len(input))
		}
		copy(input, ids)
		if err := plan.Run(); err != nil {
			return nil, err
		}
		for k, w := range wishes {
			if err := w.add(seen, plan.Output(outputs[k]).Float32s(), start); err != nil {
				return nil, fmt.Errorf("%s: %w", w.as, err)
			}
		}
		if c.Progress != nil {
			c.Progress(i+1, start.Windows)
		}
	}
	return seen, nil
}

func (w wish) add(seen map[string]*observed, v []float32, start Start) error {
	o := seen[w.as]
	if o == nil {
		o = &observed{}
		seen[w.as] = o
		if w.bits > 0 {
			var err error
			if o.top, err = quant.NewTop(start.percentile(w.bits), len(v)*start.Windows); err != nil {
				return err
			}
		} else {
			o.square = make([]float64, len(v))
		}
	}
	if w.bits > 0 {
		return o.top.Add(v, true)
	}
	for i, x := range v {
		o.square[i] += float64(x)
	}
	return nil
}

// wishes lists what the quantized graph's quantizers need to know of the model in
// full precision.
func wishes(quantized, full *graph.Graph, start Start) ([]wish, error) {
	var all []wish
	for _, n := range quantized.Nodes() {
		if isQuantizedLayer(n) && start.Weights.observes() {
			all = append(all, wish{as: n.Name(), x: full.Find(n.Name()).In()[0]})
		}
		o, ok := n.Op().(graph.FakeQuant)
		if !ok || !isParam(n.In()[1]) || isParam(n.In()[0]) {
			continue
		}
		x, err := unquantized(full, n)
		if err != nil {
			return nil, err
		}
		all = append(all, wish{n.Name(), o.Spec.Bits, x})
	}
	return all, nil
}

// isQuantizedLayer reports whether n is a linear layer whose weight has a
// quantizer.
func isQuantizedLayer(n *graph.Node) bool {
	if o, ok := n.Op().(graph.MatMul); !ok || !o.TransB {
		return false
	}
	_, ok := n.In()[1].Op().(graph.FakeQuant)
	return ok && isParam(n.In()[1].In()[0])
}

func isParam(n *graph.Node) bool {
	_, ok := n.Op().(graph.Param)
	return ok
}

// unquantized returns what the quantizer n of an activation reads, in the graph
// in full precision: the input of a layer, or an operand of attention.
func unquantized(full *graph.Graph, n *graph.Node) (*graph.Node, error) {
	name := strings.TrimSuffix(n.Name(), "_quant")
	dot := strings.LastIndexByte(name, '.')
	owner := full.Find(name[:max(dot, 0)])
	if owner == nil {
		return nil, fmt.Errorf("the model has nothing that %q belongs to", n.Name())
	}
	switch name[dot+1:] {
	case "input", "query":
		return owner.In()[0], nil
	case "key":
		return fresh(owner.In()[1]), nil
	case "value":
		return fresh(owner.In()[2]), nil
	}
	return nil, fmt.Errorf("quantizer %q is of no known kind", n.Name())
}

// compile makes the plan of the model whose outputs are the wishes.
func (c Calibration) compile(wishes []wish) (*engine.Plan, []string, error) {
	g, err := graph.Clone(c.Graph)
	if err != nil {
		return nil, nil, err
	}
	squares := map[*graph.Node]*graph.Node{} // layers that share an input share its squares
	var names []string
	for i, w := range wishes {
		names = append(names, fmt.Sprintf("observed:%d", i))
		x := g.Nodes()[w.x.ID()]
		if w.bits == 0 {
			if squares[x] == nil {
				squares[x] = g.Mean(g.Mul(x, x), 0)
			}
			x = squares[x]
		}
		g.Output(names[i], x)
	}
	if err := g.Err(); err != nil {
		return nil, nil, err
	}
	if g, err = graph.Select(g, names...); err != nil {
		return nil, nil, err
	}
	p, err := c.Engine.Compile(g, c.Store)
	return p, names, err
}
