// Package hawq scores layers by the curvature of the loss: the mean trace of a
// layer's Hessian times how far quantization moves its weights, as HAWQ-V2 and
// HAWQ-V3 do (arXiv 1911.03852, 2011.10680). A rival of EAGL and ALPS.
package hawq

import (
	"context"
	"fmt"
	"math"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// Config says how traces are estimated.
type Config struct {
	// Probes is the number of random vectors; default 32.
	Probes int `json:"probes"`
	// Examples of the training part that the loss is taken over, drawn by
	// Seed; default 512. Batch is how many run at once; default 128.
	Examples int `json:"examples"`
	Batch    int `json:"batch"`
	// Seed of probes and examples.
	Seed uint64 `json:"seed"`
	// Epsilon is the size of a step along a probe, relative to the root mean
	// square of each weight tensor; default 1e-3: small beside the curvature's
	// scale, large beside float32's rounding.
	Epsilon float64 `json:"epsilon"`
	// Separate moves one layer at a time: less noise for as many times the
	// cost. Otherwise one probe moves all layers, whose blocks off the diagonal
	// add noise without bias.
	Separate bool `json:"separate,omitempty"`
	// Lower finds the steps of grids that were not learned.
	Lower quant.Rule `json:"lower"`
}

// DefaultConfig has the defaults.
func DefaultConfig() Config {
	return Config{Probes: 32, Examples: 512, Batch: 128, Seed: 1, Epsilon: 1e-3, Lower: quant.Rule{Kind: quant.RuleMSE}}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Probes < 1 || c.Examples < 1 || c.Batch < 1:
		return fmt.Errorf("hawq: %d probes, %d examples, batch %d: want at least 1", c.Probes, c.Examples, c.Batch)
	case !(c.Epsilon > 0 && c.Epsilon < 1):
		return fmt.Errorf("hawq: epsilon %g outside (0, 1)", c.Epsilon)
	}
	return nil
}

// Scorer is HAWQ.
type Scorer struct {
	Config
	// Job has the engine and the training data, Norm what replaces the
	// normalisation of images, if set.
	Job  train.Job
	Norm data.Normalization
}

// Score implements mixed.Scorer: with d(k) the squared distance between a
// layer's weights at precision k and at the widest, the gain is the layer's
// mean trace times d(narrowest) - d(k). Traces below 0, where the loss curves
// down, count as 0 and a note says how many.
func (s Scorer) Score(ctx context.Context, p *mixed.Problem) (mixed.Gains, error) {
	traces, err := s.Traces(ctx, p)
	if err != nil {
		return mixed.Gains{}, err
	}
	clipped := 0
	mean := map[string]float64{}
	for _, t := range traces {
		if t.Trace < 0 {
			clipped++
		}
		mean[t.Layer] = max(t.Trace, 0) / float64(t.Params)
	}
	high := p.Widths[len(p.Widths)-1]
	values, err := p.PerLayer(func(l mixed.Layer, w quant.Width) (float64, error) {
		d, err := distance(p, l, w.Weight, high.Weight, s.Lower)
		return -mean[l.Name] * d, err
	})
	if err != nil {
		return mixed.Gains{}, fmt.Errorf("hawq: %w", err)
	}
	g := mixed.Gains{Values: values, Notes: p.WeightNotes()}
	if clipped > 0 {
		g.Notes = append(g.Notes, fmt.Sprintf("%d of %d Hessian traces were below 0 and count as 0", clipped, len(traces)))
	}
	return g, nil
}

// distance is the squared distance between a layer's weights on two grids.
func distance(p *mixed.Problem, l mixed.Layer, bits, high int, rule quant.Rule) (float64, error) {
	var q [2][]float32
	for i, b := range []int{bits, high} {
		w, err := p.Weight(l, b, rule)
		if err != nil {
			return 0, err
		}
		q[i] = make([]float32, len(w.Values))
		if err := quant.FakeQuant(q[i], w.Values, w.Step, w.Shape, w.Spec); err != nil {
			return 0, err
		}
	}
	sum := 0.0
	for i, x := range q[0] {
		d := float64(x) - float64(q[1][i])
		sum += d * d
	}
	return sum, nil
}

// Trace is an estimate of the trace of the Hessian of the loss with respect to
// one weight tensor.
type Trace struct {
	Layer  string  `json:"layer"`
	Params int64   `json:"params"`
	Trace  float64 `json:"trace"`
	// Error is the standard error over probes; 0 with one probe.
	Error float64 `json:"error"`
}

// probeDomain keeps the probes' randomness apart from other uses of a seed.
const probeDomain = 0x70726f62

// Traces estimates the trace of each selected layer's Hessian (Hutchinson): the
// mean of v'Hv over vectors v of random signs, with Hv = (g(w+e*v) -
// g(w-e*v))/2e, g the gradient of the mean cross entropy of the network without
// quantizers, with running statistics. The result depends on Config, weights
// and data alone.
func (s Scorer) Traces(ctx context.Context, p *mixed.Problem) ([]Trace, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	l, err := s.newLoss(p)
	if err != nil {
		return nil, fmt.Errorf("hawq: %w", err)
	}
	sets := [][]int{nil} // of l.weights, moved together
	for i := range l.weights {
		if s.Separate && i > 0 {
			sets = append(sets, nil)
		}
		sets[len(sets)-1] = append(sets[len(sets)-1], i)
	}
	sum, sq := make([]float64, len(l.weights)), make([]float64, len(l.weights))
	for probe := range s.Probes {
		for _, set := range sets {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("hawq: %w", context.Cause(ctx))
			}
			got, err := l.quadratic(set, s.Config, probe)
			if err != nil {
				return nil, fmt.Errorf("hawq: %w", err)
			}
			for j, i := range set {
				sum[i] += got[j]
				sq[i] += got[j] * got[j]
			}
		}
	}
	traces := make([]Trace, len(l.weights))
	n := float64(s.Probes)
	for i, w := range l.weights {
		traces[i] = Trace{Layer: w.layer, Params: int64(len(w.start)), Trace: sum[i] / n}
		if s.Probes > 1 {
			traces[i].Error = math.Sqrt(max(0, sq[i]/n-sum[i]/n*sum[i]/n) / (n - 1))
		}
		if math.IsNaN(traces[i].Trace) || math.IsInf(traces[i].Trace, 0) {
			return nil, fmt.Errorf("hawq: the trace of %s is %g", w.layer, traces[i].Trace)
		}
	}
	return traces, nil
}

// quadratic returns v'Hv of the weights of a set for one probe.
func (l *loss) quadratic(set []int, c Config, probe int) ([]float64, error) {
	signs := make([]rng.Stream, len(set))
	for j, i := range set {
		signs[j] = rng.New(c.Seed, probeDomain, uint64(probe), uint64(i))
	}
	var grads [2][][]float64
	for side, sign := range []float64{1, -1} {
		for j, i := range set {
			w := l.weights[i]
			step := float32(sign * c.Epsilon * w.size)
			flip(signs[j], w.values, func(k int, v float32) { w.values[k] = w.start[k] + v*step })
		}
		var err error
		grads[side], err = l.gradient(set)
		for _, i := range set {
			copy(l.weights[i].values, l.weights[i].start)
		}
		if err != nil {
			return nil, err
		}
	}
	out := make([]float64, len(set))
	for j, i := range set {
		w := l.weights[i]
		dot := 0.0
		flip(signs[j], w.values, func(k int, v float32) { dot += float64(v) * (grads[0][j][k] - grads[1][j][k]) })
		out[j] = dot / (2 * c.Epsilon * w.size)
	}
	return out, nil
}

// flip calls f with a random sign for each element; s is a copy, so that the
// same stream gives the same signs again.
func flip(s rng.Stream, values []float32, f func(k int, v float32)) {
	var word uint32
	for k := range values {
		if k%32 == 0 {
			word = s.Uint32()
		}
		f(k, float32(1)-2*float32(word&1))
		word >>= 1
	}
}

// loss computes the gradient of the mean cross entropy.
type loss struct {
	weights []weight
	store   *tensor.Store
	batches []engine.Inputs
	plans   []*engine.Plan // of the batches; those of one shape share one
	total   int
}

type weight struct {
	layer, param  string
	values, start []float32 // values: in the plan's store
	size          float64   // root mean square
}

// newLoss compiles the float network with its loss on a copy of the store, for
// the first whole batches of a shuffled pass.
func (s Scorer) newLoss(p *mixed.Problem) (*loss, error) {
	if s.Job.Engine == nil || s.Job.Examples() == 0 {
		return nil, fmt.Errorf("an engine and training data are needed")
	}
	size := min(s.Batch, s.Job.Examples(), s.Examples)
	c := train.Config{Batch: size, Seed: s.Seed, Norm: s.Norm, DropLast: true}
	l := &loss{store: p.Store.Clone()}
	for _, i := range p.Select {
		for _, at := range p.Groups[i].Layers {
			layer := p.Layers[at]
			if layer.Params == 0 { // another layer's weight
				continue
			}
			w := weight{layer: layer.Name, param: layer.Weight, values: l.store.Get(layer.Weight).Float32s()}
			w.start = append([]float32(nil), w.values...)
			w.size = rms(w.start)
			l.weights = append(l.weights, w)
		}
	}
	var err error
	if l.batches, err = s.Job.Batches(c, max(1, min(s.Examples, s.Job.Examples())/size)); err != nil {
		return nil, err
	}
	plans := map[[2]int]*engine.Plan{}
	for _, b := range l.batches {
		key := [2]int{b.Batch(), b.Length()}
		if plans[key] == nil {
			if plans[key], err = l.compile(s.Job.Engine, p.Float, b); err != nil {
				return nil, err
			}
		}
		l.plans = append(l.plans, plans[key])
		l.total += b.Batch()
	}
	return l, nil
}

// compile plans the gradients of all weights for batches of b's shape.
func (l *loss) compile(e *engine.Engine, float *graph.Graph, b engine.Inputs) (*engine.Plan, error) {
	g, err := graph.Inference(float)
	if err == nil {
		g, err = b.Fit(g)
	}
	if err != nil {
		return nil, err
	}
	logits := g.OutputNode("logits")
	if logits == nil || len(logits.Shape()) != 2 {
		return nil, fmt.Errorf("the network has no output \"logits\" of [batch classes]")
	}
	sum := g.Mean(g.Apply(graph.CrossEntropy{}, logits, g.Input("labels", tensor.I32, logits.Shape()[0])))
	var wrt []*graph.Node
	for _, w := range l.weights {
		wrt = append(wrt, g.ParamNode(w.param))
	}
	grads, err := graph.Gradients(g, sum, wrt)
	if err != nil {
		return nil, err
	}
	var names []string
	for i, d := range grads {
		if d == nil {
			return nil, fmt.Errorf("the loss does not depend on %s", l.weights[i].param)
		}
		names = append(names, l.weights[i].param)
		g.Output(names[i], d)
	}
	if g, err = graph.Select(g, names...); err != nil {
		return nil, err
	}
	return e.Compile(g, l.store)
}

// rms is the root mean square, 1 of zeros.
func rms(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	if sum == 0 {
		return 1
	}
	return math.Sqrt(sum / float64(len(v)))
}

// gradient returns the gradients of a set of weights over all batches.
func (l *loss) gradient(set []int) ([][]float64, error) {
	grads := make([][]float64, len(set))
	for j, i := range set {
		grads[j] = make([]float64, len(l.weights[i].start))
	}
	for k, b := range l.batches {
		p := l.plans[k]
		if err := p.SetInputs(b); err != nil {
			return nil, err
		}
		if err := p.Run(); err != nil {
			return nil, err
		}
		share := float64(b.Batch()) / float64(l.total)
		for j, i := range set {
			for k, x := range p.Output(l.weights[i].param).Float32s() {
				grads[j][k] += share * float64(x)
			}
		}
	}
	return grads, nil
}
