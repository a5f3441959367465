package faq

import (
	"context"
	"errors"
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// LayerSimilarity tells how far a layer's weights moved.
type LayerSimilarity struct {
	Name string `json:"name"`
	// WeightCosine is the cosine between the float weights before and after.
	WeightCosine float64 `json:"weight_cosine"`
	// QuantizedCosine is that between the weights before and the quantized ones
	// after; absent where the layer has no weight quantizer.
	QuantizedCosine *float64 `json:"quantized_cosine,omitempty"`
}

// Similarity compares the weights of each layer of g before and after training,
// in graph order; batch norms are not folded. g is the trained graph, with or
// without quantizers. Errors: a store lacks a weight or a step, or has it in
// another shape.
func Similarity(g *graph.Graph, before, after *tensor.Store) ([]LayerSimilarity, error) {
	var out []LayerSimilarity
	for _, l := range graph.Layers(g) {
		if l.Weight == nil {
			continue
		}
		a, err := weights(before, l.Weight, "before")
		if err != nil {
			return nil, err
		}
		b, err := weights(after, l.Weight, "after")
		if err != nil {
			return nil, err
		}
		s := LayerSimilarity{Name: l.Name, WeightCosine: quant.Cosine(a, b)}
		if l.WeightQuant != nil {
			step, err := weights(after, l.WeightQuant.In()[1], "after")
			if err != nil {
				return nil, err
			}
			q := make([]float32, len(b))
			spec := l.WeightQuant.Op().(graph.FakeQuant).Spec
			if err := quant.FakeQuant(q, b, step, l.Weight.Shape(), spec); err != nil {
				return nil, fmt.Errorf("faq: %s: %w", l.Name, err)
			}
			c := quant.Cosine(a, q)
			s.QuantizedCosine = &c
		}
		out = append(out, s)
	}
	return out, nil
}

func weights(s *tensor.Store, p *graph.Node, when string) ([]float32, error) {
	t := s.Get(p.Name())
	if t == nil || t.DType() != tensor.F32 || !t.Shape().Equal(p.Shape()) {
		return nil, fmt.Errorf("faq: %q %s training: %w: the store has %v, want f32%v", p.Name(), when, tensor.ErrShape, t, p.Shape())
	}
	return t.Float32s(), nil
}

// NoiseDecay is the decay of the moving average of updates; the paper's is not
// known.
const NoiseDecay = 0.9

// Noise measures how noisy updates are: for each layer's weight the mean, over
// steps, of the cosine between an update and the moving average of those
// before. Lower is noisier. Its hooks go into a training job:
//
//	n := faq.NewNoise(g)
//	job.Hooks.AfterGradients = n.Gradients // or AfterStep = n.Steps
//
// One Noise serves one run.
type Noise struct {
	layers []noiseLayer
}

// noiseLayer is the state of one weight.
type noiseLayer struct {
	name, param   string
	last          []float32 // weights before the step, of Steps
	update        []float32
	average       []float32
	seen, counted int
	sum           float64
}

// NewNoise returns a measurement of all layers of g.
func NewNoise(g *graph.Graph) *Noise {
	n := &Noise{}
	for _, l := range graph.Layers(g) {
		if l.Weight != nil {
			n.layers = append(n.layers, noiseLayer{name: l.Name, param: l.Weight.Name()})
		}
	}
	return n
}

// Gradients is a train.Hooks.AfterGradients: it takes the gradients as updates,
// so that momentum, which makes updates alike, plays no part.
func (n *Noise) Gradients(s train.StepInfo) error {
	for i := range n.layers {
		l := &n.layers[i]
		t := s.Plan.Output(optim.GradInput(l.param))
		if t == nil {
			return fmt.Errorf("faq: no gradient of %q", l.param)
		}
		l.take(t.Float32s())
	}
	return nil
}

// Steps is a train.Hooks.AfterStep: it takes what the optimizer did, momentum
// and decay included. The first step only sets the start.
func (n *Noise) Steps(s train.StepInfo) error {
	for i := range n.layers {
		l := &n.layers[i]
		t := s.Store.Get(l.param)
		if t == nil {
			return fmt.Errorf("faq: no parameter %q", l.param)
		}
		w := t.Float32s()
		if l.last == nil {
			l.last = append([]float32(nil), w...)
			l.update = make([]float32, len(w))
			continue
		}
		for j, x := range w {
			l.update[j], l.last[j] = x-l.last[j], x
		}
		l.take(l.update)
	}
	return nil
}

// take counts one update.
func (l *noiseLayer) take(u []float32) {
	if l.average == nil {
		l.average = make([]float32, len(u))
	}
	if l.seen > 0 {
		l.sum += quant.Cosine(u, l.average)
		l.counted++
	}
	l.seen++
	for j, x := range u {
		l.average[j] = NoiseDecay*l.average[j] + (1-NoiseDecay)*x
	}
}

// LayerNoise is the noise of one layer.
type LayerNoise struct {
	Name string `json:"name"`
	// GradientCosine is the mean cosine between an update and the average of
	// those before it; Updates is the number of updates in it.
	GradientCosine float64 `json:"gradient_cosine"`
	Updates        int     `json:"updates"`
}

// Layers returns what was measured so far, in graph order.
func (n *Noise) Layers() []LayerNoise {
	out := make([]LayerNoise, len(n.layers))
	for i, l := range n.layers {
		out[i] = LayerNoise{Name: l.name, GradientCosine: l.sum / math.Max(float64(l.counted), 1), Updates: l.counted}
	}
	return out
}

// errMeasured ends the run of MeasureNoise.
var errMeasured = errors.New("measured")

// MeasureNoise trains a copy of the job's network for so many steps as c says,
// at a constant learning rate lr, and returns its gradient noise. The job's
// store and directory stay as they are. To compare widths, measure each
// network with the same lr and seed.
func MeasureNoise(ctx context.Context, c train.Config, job train.Job, lr float64, steps int) ([]LayerNoise, error) {
	if steps < 2 {
		return nil, fmt.Errorf("faq: noise over %d steps, want at least 2", steps)
	}
	job.Store, job.Out, job.Test = job.Store.Clone(), "", nil
	c.Schedule = optim.Schedule{Kind: optim.Constant, LR: lr}
	c.Epochs, c.HoldOut, c.Best = steps, 0, false // an epoch has at least one step
	n := NewNoise(job.Graph)
	left := steps
	job.Hooks.AfterGradients = func(s train.StepInfo) error {
		if err := n.Gradients(s); err != nil {
			return err
		}
		if left--; left == 0 {
			return errMeasured
		}
		return nil
	}
	_, err := train.Run(ctx, c, job)
	if err != nil && !errors.Is(err, errMeasured) {
		return nil, fmt.Errorf("faq: %w", err)
	}
	return n.Layers(), nil
}
