package lsq

import (
	"errors"
	"fmt"
	"io"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// Start says how steps get their first value.
type Start struct {
	// Weights is the rule for weight steps, Activations for activation steps.
	// The paper: quant.RuleLSQ for both.
	Weights     quant.Rule `json:"weights"`
	Activations quant.Rule `json:"activations"`
	// Batches is the number of training batches that activation steps are taken
	// from; the paper: 1.
	Batches int `json:"batches"`
	// Sequential takes each activation step behind quantizers that are set
	// already, as a forward pass that sets each step when it is reached would.
	// Otherwise all come from one pass through the network without quantizers.
	// It costs one pass for each quantizer in the longest chain.
	Sequential bool `json:"sequential,omitempty"`
}

// PaperStart is LSQ section 2.1: 2*mean|v|/sqrt(Qp) of the weights, and of the
// activations of the first training batch.
func PaperStart() Start {
	return Start{Weights: quant.Rule{Kind: quant.RuleLSQ}, Activations: quant.Rule{Kind: quant.RuleLSQ}, Batches: 1, Sequential: true}
}

// BestStart starts from the steps of least squared error, which lie far closer
// to the learned ones at 8 bits and need fewer epochs at 2 to 4.
func BestStart() Start {
	return Start{Weights: quant.Rule{Kind: quant.RuleMSE}, Activations: quant.Rule{Kind: quant.RuleMSE}, Batches: 2}
}

// Validate returns an error that names the first setting that makes no sense.
func (s Start) Validate() error {
	if s.Batches < 1 {
		return fmt.Errorf("lsq: start from %d batches, want at least 1", s.Batches)
	}
	return errors.Join(s.Weights.Validate(), s.Activations.Validate())
}

// Batches returns the images of the first n training batches, f32 [batch,
// channel, height, width]: those that a training with the same batch size, seed
// and augmentation begins with.
func Batches(ds *data.Dataset, n int, c data.LoaderConfig) ([]*tensor.Tensor, error) {
	c.Shuffle, c.Epochs = true, 1
	c.Batch = min(c.Batch, ds.Len())
	loader, err := data.NewLoader(ds, c)
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	defer loader.Close()
	var images []*tensor.Tensor
	for len(images) < n {
		b, err := loader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("lsq: %w", err)
		}
		images = append(images, b.Images.Clone())
	}
	return images, nil
}

// Init sets every quantizer step of g in the store: weight steps from the
// weights, activation steps from the images, each f32 in the shape of g's input
// but for the batch. The network runs in inference form. g comes from Insert;
// the store holds its other parameters, missing ones being initialised with
// seed 1.
func Init(e *engine.Engine, g *graph.Graph, store *tensor.Store, images []*tensor.Tensor, s Start) error {
	if err := s.Validate(); err != nil {
		return err
	}
	if err := graph.InitParams(g, store, 1); err != nil {
		return fmt.Errorf("lsq: %w", err)
	}
	if err := InitWeights(g, store, func(quant.Spec) quant.Rule { return s.Weights }); err != nil {
		return err
	}
	return Calibrate(e, g, store, images, s.Sequential, func(quant.Spec) quant.Rule { return s.Activations })
}

// InitWeights sets the steps of all quantizers whose values are parameters, each
// with the rule for its grid.
func InitWeights(g *graph.Graph, store *tensor.Store, rule func(quant.Spec) quant.Rule) error {
	for _, n := range g.Nodes() {
		o, ok := n.Op().(graph.FakeQuant)
		if !ok || computed(n.In()[0]) {
			continue
		}
		p, ok := n.In()[0].Op().(graph.Param)
		if !ok {
			return fmt.Errorf("lsq: %s: the weight is computed, want a parameter", n.Name())
		}
		w, step := store.Get(p.Name), store.Get(n.In()[1].Name())
		if w == nil || step == nil {
			return fmt.Errorf("lsq: %s: the store lacks %q or its step", n.Name(), p.Name)
		}
		r := rule(o.Spec)
		if err := r.Validate(); err != nil {
			return fmt.Errorf("lsq: %s: %w", n.Name(), err)
		}
		v, err := quant.Steps(w.Float32s(), w.Shape(), o.Spec, r.Step)
		if err != nil {
			return fmt.Errorf("lsq: %s: %w", n.Name(), err)
		}
		copy(step.Float32s(), v)
	}
	return nil
}

// Calibrate sets the steps of all quantizers of activations by what flows
// through them, each with the rule for its grid; see Start.Sequential.
func Calibrate(e *engine.Engine, g *graph.Graph, store *tensor.Store, images []*tensor.Tensor, sequential bool, rule func(quant.Spec) quant.Rule) error {
	if len(images) == 0 {
		return fmt.Errorf("lsq: no images to calibrate with")
	}
	g, err := graph.Inference(g)
	if err != nil {
		return fmt.Errorf("lsq: %w", err)
	}
	waves := [][]string{nil}
	depth := make([]int, len(g.Nodes())) // quantizers of activations before and at a node
	for i, n := range g.Nodes() {
		for _, x := range n.In() {
			depth[i] = max(depth[i], depth[x.ID()])
		}
		if _, ok := n.Op().(graph.FakeQuant); !ok || !computed(n.In()[0]) {
			continue
		}
		at := 0
		if sequential {
			at = depth[i]
			depth[i]++
		}
		for len(waves) <= at {
			waves = append(waves, nil)
		}
		waves[at] = append(waves[at], n.Name())
	}
	if !sequential {
		if g, err = bypass(g); err != nil {
			return err
		}
	}
	for _, names := range waves {
		if err := observe(e, g, store, images, names, rule); err != nil {
			return err
		}
	}
	return nil
}

// bypass returns g in which every reader of a quantizer reads its operand; the
// quantizers of activations stay, read by nothing.
func bypass(g *graph.Graph) (*graph.Graph, error) {
	to, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if _, ok := n.Op().(graph.FakeQuant); ok {
			to.Copy(n, in)
			return in[0]
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	return to, nil
}

// observeLimit bounds the bytes of activations that one pass keeps.
const observeLimit = 512 << 20

// observe sets the steps of the named quantizers, as many in one pass as
// observeLimit allows.
func observe(e *engine.Engine, g *graph.Graph, store *tensor.Store, images []*tensor.Tensor, names []string, rule func(quant.Spec) quant.Rule) error {
	for len(names) > 0 {
		n, size := 0, 0
		for n < len(names) && (n == 0 || size < observeLimit) {
			x := g.Find(names[n]).In()[0]
			size += 4 * x.Shape().Size() / max(g.Batch(), 1) * images[0].Shape()[0]
			n++
		}
		if err := observePass(e, g, store, images, names[:n], rule); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

// tapped is a quantizer under observation.
type tapped struct {
	name, step string
	seen       *quant.Observer
}

func observePass(e *engine.Engine, g *graph.Graph, store *tensor.Store, images []*tensor.Tensor, names []string, rule func(quant.Spec) quant.Rule) error {
	total := 0
	for _, im := range images {
		total += im.Shape()[0]
	}
	taps := graph.New() // g without outputs and updates
	at := make([]*graph.Node, len(g.Nodes()))
	for i, n := range g.Nodes() {
		in := make([]*graph.Node, len(n.In()))
		for j, x := range n.In() {
			in[j] = at[x.ID()]
		}
		at[i] = taps.Copy(n, in)
	}
	var seen []tapped
	for _, name := range names {
		n := taps.Find(name)
		spec := n.Op().(graph.FakeQuant).Spec
		o, err := rule(spec).NewObserver(spec, n.Shape().Size()/max(g.Batch(), 1)*total)
		if err != nil {
			return fmt.Errorf("lsq: %s: %w", name, err)
		}
		taps.Output(name, n.In()[0])
		seen = append(seen, tapped{name, n.In()[1].Name(), o})
	}
	plans := map[int]*engine.Plan{}
	for _, im := range images {
		p, err := plan(e, taps, store, im.Shape()[0], plans)
		if err != nil {
			return err
		}
		if err := p.SetInput("input", im); err != nil {
			return fmt.Errorf("lsq: %w", err)
		}
		if err := p.Run(); err != nil {
			return fmt.Errorf("lsq: %w", err)
		}
		for _, t := range seen {
			if err := t.seen.Add(p.Output(t.name).Float32s()); err != nil {
				return fmt.Errorf("lsq: %s: %w", t.name, err)
			}
		}
	}
	for _, t := range seen {
		store.Get(t.step).Float32s()[0] = t.seen.Step()
	}
	return nil
}

// plan returns the compiled graph for a batch size.
func plan(e *engine.Engine, g *graph.Graph, store *tensor.Store, batch int, plans map[int]*engine.Plan) (*engine.Plan, error) {
	if p := plans[batch]; p != nil {
		return p, nil
	}
	b, err := graph.WithBatch(g, batch)
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	if b, err = graph.Prune(b); err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	p, err := e.Compile(b, store)
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	plans[batch] = p
	return p, nil
}
