package distill

import (
	"fmt"
	"math"
	"slices"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/method/lsq"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/rl"
	"lowbit/tensor"
)

// stepMark is training state that a store has once its quantizers have steps.
var stepMark = optim.StateName("quantizers", "set")

// quantize puts the quantizers in; set says that their steps must start, from
// states of the ring. Otherwise the store has them.
func (d *distiller) quantize(set bool) error {
	plan, _, _ := d.Config.Student.plan()
	g, err := lsq.Insert(d.student.Graph, lsq.DefaultQuantizers(plan))
	if err != nil {
		return err
	}
	d.student.Graph, d.quantized = g, true
	if !set {
		return nil
	}
	const batch, batches = 256, 2
	s := rng.New(d.Seed, calibrateDomain)
	var states []engine.Inputs
	for range batches {
		shape := g.InputNode(rl.InputName).Shape().Clone()
		shape[0] = batch
		x := tensor.New(tensor.F32, shape...)
		d.train.pick(d.View, x.Float32s(), make([]float32, batch*d.train.out), &s)
		states = append(states, engine.Inputs{rl.InputName: x})
	}
	start := lsq.Start{Weights: quant.Rule{Kind: quant.RuleMSE}, Activations: quant.Rule{Kind: quant.RuleMSE}, Batches: batches}
	if err := lsq.Init(d.job.Engine, g, d.student.Store, states, start); err != nil {
		return err
	}
	if err := d.tuneSteps(); err != nil {
		return err
	}
	return d.student.Store.Put(stepMark, tensor.Scalar(1))
}

// stepFactors are the powers of sqrt(2) by which tuneSteps tries to change a
// step, and stepSweeps how often it goes through all quantizers.
const (
	stepFactors = 8
	stepSweeps  = 2
)

// tuneSteps makes the first steps smaller or larger where that lowers the loss on
// states of the ring: those of least squared error serve what is large on a
// screen, and a ball of two pixels falls to 0. One step after the other is
// chosen, in the order of the network, the others held.
func (d *distiller) tuneSteps() error {
	g, err := lossGraph(d.student.Graph, tuneBatch, d.Loss)
	if err != nil {
		return err
	}
	p, err := d.job.Engine.Compile(g, d.student.Store)
	if err != nil {
		return fmt.Errorf("distill: steps: %w", err)
	}
	d.fill(p, rng.New(d.Seed, calibrateDomain, 1))
	loss := func() (float32, error) {
		if err := p.Run(); err != nil {
			return 0, fmt.Errorf("distill: steps: %w", err)
		}
		return p.Output("loss").Float32s()[0], nil
	}
	best, err := loss()
	if err != nil {
		return err
	}
	for range stepSweeps {
		for _, n := range g.Nodes() {
			if _, ok := n.Op().(graph.FakeQuant); !ok {
				continue
			}
			if best, err = tuneStep(d.student.Store.Get(n.In()[1].Name()).Float32s(), best, loss); err != nil {
				return err
			}
		}
	}
	return nil
}

// tuneBatch is the number of states that choose the steps.
const tuneBatch = 256

// tuneStep tries multiples of a step and leaves the best there.
func tuneStep(step []float32, best float32, loss func() (float32, error)) (float32, error) {
	start := slices.Clone(step)
	kept := slices.Clone(step)
	for k := -stepFactors; k <= stepFactors/2; k++ {
		f := float32(math.Pow(2, float64(k)/2))
		for i, v := range start {
			step[i] = f * v
		}
		got, err := loss()
		if err != nil {
			return best, err
		}
		if got < best {
			best = got
			copy(kept, step)
		}
	}
	copy(step, kept)
	return best, nil
}
