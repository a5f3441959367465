// Package analyze tells layer by layer what quantization does to a network: how
// far the weights moved (FAQ's similarity), how noisy the gradients are (FAQ's
// cosine), and what each layer's grid costs on its own.
package analyze

import (
	"context"
	"errors"
	"fmt"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/method/faq"
	"lowbit/method/lsq"
	"lowbit/method/silq"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// Config says which analyses run.
type Config struct {
	// Similarity compares with Network.Reference.
	Similarity bool
	// Rotation says how much of the change since Network.Reference a rotation of
	// the weights explains (silq.Rotations). Large matrices, tables of embeddings
	// say, are left out.
	Rotation bool
	// Noise measures over Steps training steps at the learning rate LR.
	Noise bool
	Steps int
	LR    float64
	// Sensitivity evaluates the network once for each layer on Network.Examples:
	// a quantized network with that layer in full precision, a full-precision one
	// with that layer alone at Width.
	Sensitivity bool
	Width       quant.Width
}

// Network is what is analysed.
type Network struct {
	Engine    *engine.Engine
	Graph     *graph.Graph
	Store     *tensor.Store
	Reference *tensor.Store // the network before; for Similarity
	// Train is the training data and Base how it is batched; for Noise, and to
	// calibrate for Sensitivity. Examples are evaluated on.
	Train, Examples *data.Dataset
	Base            train.Config
	// Progress is called with a stage, what is done and all of it. May be nil.
	Progress func(stage string, done, all int)
}

// Layer is what was found of one layer; what was not asked for is absent.
type Layer struct {
	Name            string   `json:"name"`
	WeightBits      int      `json:"weight_bits"`
	ActBits         int      `json:"act_bits"`
	WeightCosine    *float64 `json:"weight_cosine,omitempty"`
	QuantizedCosine *float64 `json:"quantized_cosine,omitempty"`
	GradientCosine  *float64 `json:"gradient_cosine,omitempty"`
	// Rotation's matrix of a convolution has its output channels as rows.
	*silq.Rotation
	// LossChange and AccuracyChange are the network's with the one layer changed
	// minus those of the network as it is.
	LossChange     *float64 `json:"loss_change,omitempty"`
	AccuracyChange *float64 `json:"accuracy_change,omitempty"`
}

// Run analyses. An ended context stops it with train.ErrInterrupted.
func Run(ctx context.Context, n Network, c Config) ([]Layer, error) {
	if n.Progress == nil {
		n.Progress = func(string, int, int) {}
	}
	var layers []Layer
	at := map[string]int{}
	for _, l := range graph.Layers(n.Graph) {
		if l.Weight != nil {
			at[l.Name] = len(layers)
			layers = append(layers, Layer{Name: l.Name, WeightBits: l.WeightBits, ActBits: l.ActBits})
		}
	}
	if c.Similarity {
		s, err := faq.Similarity(n.Graph, n.Reference, n.Store)
		if err != nil {
			return nil, fmt.Errorf("analyze: %w", err)
		}
		for _, l := range s {
			layers[at[l.Name]].WeightCosine, layers[at[l.Name]].QuantizedCosine = &l.WeightCosine, l.QuantizedCosine
		}
	}
	if c.Rotation {
		if err := rotation(ctx, n, layers); err != nil {
			return nil, fmt.Errorf("analyze: %w", err)
		}
	}
	if c.Noise {
		n.Progress("gradient noise", 0, c.Steps)
		job := train.Job{Engine: n.Engine, Graph: n.Graph, Store: n.Store, Train: n.Train}
		noise, err := faq.MeasureNoise(ctx, n.Base, job, c.LR, c.Steps)
		if err != nil {
			return nil, fmt.Errorf("analyze: %w", err)
		}
		for _, l := range noise {
			layers[at[l.Name]].GradientCosine = &l.GradientCosine
		}
	}
	if c.Sensitivity {
		if err := sensitivity(ctx, n, c, layers); err != nil {
			return nil, fmt.Errorf("analyze: %w", err)
		}
	}
	return layers, nil
}

// rotation compares each weight matrix with the reference's.
func rotation(ctx context.Context, n Network, layers []Layer) error {
	all, err := silq.Rotations(ctx, n.Graph, n.Reference, n.Store, func(done, of int) { n.Progress("rotations", done, of) })
	if ctx.Err() != nil {
		err = train.ErrInterrupted
	}
	for i := range layers {
		if r, ok := all[layers[i].Name]; ok {
			layers[i].Rotation = &r
		}
	}
	return err
}

// sensitivity evaluates the network with one layer changed at a time.
func sensitivity(ctx context.Context, n Network, c Config, layers []Layer) error {
	if n.Examples == nil || n.Examples.Len() == 0 {
		return errors.New("sensitivity needs examples to evaluate on")
	}
	evaluate := func(g *graph.Graph, s *tensor.Store) (eval.Result, error) {
		cl, err := eval.NewClassifier(n.Engine, g, s, min(n.Base.Batch, n.Examples.Len()))
		if err != nil {
			return eval.Result{}, err
		}
		cl.Norm = n.Base.Norm
		return cl.Evaluate(n.Examples)
	}
	whole, err := evaluate(n.Graph, n.Store)
	if err != nil {
		return err
	}
	quantized := isQuantized(n.Graph)
	for i := range layers {
		l := &layers[i]
		n.Progress("sensitivity of "+l.Name, i, len(layers))
		if ctx.Err() != nil {
			return fmt.Errorf("layer %s: %w", l.Name, train.ErrInterrupted)
		}
		var g *graph.Graph
		store := n.Store
		if quantized {
			g, err = without(n.Graph, l.Name)
		} else {
			store = n.Store.Clone()
			g, err = alone(n, store, l.Name, c.Width)
		}
		if err != nil {
			return err
		}
		r, err := evaluate(g, store)
		if err != nil {
			return err
		}
		loss, accuracy := r.Loss-whole.Loss, r.Accuracy-whole.Accuracy
		l.LossChange, l.AccuracyChange = &loss, &accuracy
	}
	return nil
}

func isQuantized(g *graph.Graph) bool {
	for _, n := range g.Nodes() {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			return true
		}
	}
	return false
}

// without returns the network with one layer in full precision.
func without(g *graph.Graph, layer string) (*graph.Graph, error) {
	out, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if n.Name() != layer {
			return nil
		}
		plain := make([]*graph.Node, len(in))
		for i, x := range in {
			if _, ok := x.Op().(graph.FakeQuant); ok {
				x = x.In()[0]
			}
			plain[i] = x
		}
		return to.Copy(n, plain)
	})
	if err != nil {
		return nil, err
	}
	return graph.Prune(out)
}

// alone returns the network with one layer quantized at steps of least squared
// error, which go into the store.
func alone(n Network, store *tensor.Store, layer string, w quant.Width) (*graph.Graph, error) {
	q := lsq.DefaultQuantizers(quant.BitPlan{Layers: map[string]quant.Width{layer: w}})
	q.StepGrad = graph.StepFrozen
	job := train.Job{Engine: n.Engine, Graph: n.Graph, Store: store, Train: n.Train}
	return lsq.Prepare(n.Base, job, q, lsq.BestStart())
}
