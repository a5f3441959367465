package neuro

import (
	"errors"
	"fmt"
)

// Validate checks the network against every limit of the core and the chip,
// from the network alone: it knows nothing of the mapper. The first fault is
// returned, with core and neuron.
func (nw *Network) Validate() error {
	if err := nw.validateHead(); err != nil {
		return fmt.Errorf("neuro: network: %w", err)
	}
	places := make([]int32, nw.Width*nw.Width)
	outputs := make([]bool, nw.Outputs)
	for i := range nw.Cores {
		c := &nw.Cores[i]
		if err := nw.validateCore(c, outputs); err != nil {
			return fmt.Errorf("neuro: core %d: %w", i, err)
		}
		p := &places[int(c.Y)*nw.Width+int(c.X)]
		if *p != 0 {
			return fmt.Errorf("neuro: core %d: place %d,%d is core %d's", i, c.X, c.Y, *p-1)
		}
		*p = int32(i + 1)
	}
	for i, r := range nw.Routes {
		if r.Input < 0 || int(r.Input) >= nw.Inputs || r.Core < 0 || int(r.Core) >= len(nw.Cores) {
			return fmt.Errorf("neuro: route %d: input %d to core %d, want below %d and %d", i, r.Input, r.Core, nw.Inputs, len(nw.Cores))
		}
		if i > 0 && nw.Routes[i-1].Input > r.Input {
			return fmt.Errorf("neuro: route %d: input %d behind input %d, want them sorted", i, r.Input, nw.Routes[i-1].Input)
		}
	}
	return nil
}

// maxBits bounds inputs and outputs: 16 million bits are far more than a
// frame has.
const maxBits = 1 << 24

func (nw *Network) validateHead() error {
	if n := len(nw.Cores); n < 1 || n > ChipCores {
		return fmt.Errorf("%d cores, want 1..%d: %w", n, ChipCores, ErrLimit)
	}
	if nw.Width < 1 || nw.Width > ChipSide || nw.Width*nw.Width < len(nw.Cores) {
		return fmt.Errorf("mesh of side %d for %d cores, want at most %d: %w", nw.Width, len(nw.Cores), ChipSide, ErrLimit)
	}
	if nw.Inputs < 1 || nw.Inputs > maxBits || nw.Outputs < 1 || nw.Outputs > maxBits || nw.Actions < 1 || nw.Actions > nw.Outputs {
		return fmt.Errorf("%d inputs, %d outputs, %d actions, want 1..%d and no more actions than outputs", nw.Inputs, nw.Outputs, nw.Actions, maxBits)
	}
	neurons := 0
	for i := range nw.Cores {
		neurons += len(nw.Cores[i].Neurons)
	}
	if nw.Outputs > neurons {
		return fmt.Errorf("%d outputs of %d neurons", nw.Outputs, neurons)
	}
	if nw.Latency < 1 || nw.Latency > maxBits {
		return fmt.Errorf("latency %d ticks, want 1..%d", nw.Latency, maxBits)
	}
	if len(nw.Layers) == 0 {
		return errors.New("no layers")
	}
	for i, l := range nw.Layers {
		if l.Units < 1 || l.Units > maxElements || l.Start < 0 || l.Start >= nw.Latency || l.Ticks < 1 || l.Ticks > nw.Latency {
			return fmt.Errorf("layer %d %q: %d units, start %d, %d ticks are outside the network's %d ticks", i, l.Name, l.Units, l.Start, l.Ticks, nw.Latency)
		}
	}
	return nil
}

func (nw *Network) validateCore(c *Core, outputs []bool) error {
	if c.Layer < 0 || int(c.Layer) >= len(nw.Layers) {
		return fmt.Errorf("layer %d of %d", c.Layer, len(nw.Layers))
	}
	if c.X < 0 || int(c.X) >= nw.Width || c.Y < 0 || int(c.Y) >= nw.Width {
		return fmt.Errorf("place %d,%d outside the mesh of side %d", c.X, c.Y, nw.Width)
	}
	if len(c.Neurons) > CoreNeurons {
		return fmt.Errorf("%d neurons, want at most %d: %w", len(c.Neurons), CoreNeurons, ErrLimit)
	}
	for a, t := range c.Type {
		if t >= AxonTypes {
			return fmt.Errorf("axon %d has type %d, want 0..%d: %w", a, t, AxonTypes-1, ErrLimit)
		}
	}
	for i := range c.Neurons {
		n := &c.Neurons[i]
		if err := n.validate(nw, int(c.Layer)); err != nil {
			return fmt.Errorf("neuron %d: %w", i, err)
		}
		if o := int(-2 - n.Target); n.Target < Nowhere {
			if o >= nw.Outputs {
				return fmt.Errorf("neuron %d: output %d of %d", i, o, nw.Outputs)
			}
			if outputs[o] {
				return fmt.Errorf("neuron %d: output %d has another neuron already", i, o)
			}
			outputs[o] = true
		}
	}
	return nil
}

func (n *Neuron) validate(nw *Network, layer int) error {
	for t, w := range n.Weights {
		if w < -MaxWeight || w > MaxWeight {
			return fmt.Errorf("weight %d of type %d, want -%d..%d: %w", w, t, MaxWeight, MaxWeight, ErrLimit)
		}
	}
	for _, v := range []struct {
		what   string
		v      int32
		lo, hi int32
	}{
		{"leak", n.Leak, MinPotential, MaxPotential},
		{"threshold", n.Theta, MinPotential, MaxPotential},
		{"negative threshold", n.NegTheta, MinPotential, 0},
		{"reset potential", n.VReset, MinPotential, MaxPotential},
		{"delay", int32(n.Delay), 1, MaxDelay},
		{"reset mode", int32(n.Reset), 0, int32(resetCount) - 1},
		{"unit", n.Unit, 0, int32(nw.Layers[layer].Units) - 1},
	} {
		if v.v < v.lo || v.v > v.hi {
			return fmt.Errorf("%s %d, want %d..%d: %w", v.what, v.v, v.lo, v.hi, ErrLimit)
		}
	}
	if n.Reset == ResetLinear && n.Theta < 0 {
		return fmt.Errorf("linear reset with threshold %d, want at least 0", n.Theta)
	}
	if n.Target >= 0 && int(n.Target) >= len(nw.Cores) {
		return fmt.Errorf("target core %d of %d", n.Target, len(nw.Cores))
	}
	return nil
}

// CheckTiming demands that the spikes of one frame meet: every axon of a core
// that is reached at all is reached the same number of ticks after the frame,
// and every output after Latency. A network with a loop fails.
func (nw *Network) CheckTiming() error {
	depth := make([]int, len(nw.Cores)) // ticks + 1; 0 is not known yet
	var ready []int32
	reach := func(core int32, ticks int) error {
		if depth[core] == 0 {
			depth[core] = ticks + 1
			ready = append(ready, core)
		} else if depth[core] != ticks+1 {
			return fmt.Errorf("neuro: core %d is reached after %d and after %d ticks", core, min(ticks, depth[core]-1), max(ticks, depth[core]-1))
		}
		return nil
	}
	for _, r := range nw.Routes {
		if err := reach(r.Core, 0); err != nil {
			return err
		}
	}
	for len(ready) > 0 {
		c := ready[0]
		ready = ready[1:]
		for i := range nw.Cores[c].Neurons {
			n := &nw.Cores[c].Neurons[i]
			ticks := depth[c] - 1 + int(n.Delay)
			if n.Target >= 0 {
				if err := reach(n.Target, ticks); err != nil {
					return err
				}
			} else if n.Target < Nowhere && ticks != nw.Latency {
				return fmt.Errorf("neuro: output %d comes after %d ticks, want %d", -2-n.Target, ticks, nw.Latency)
			}
		}
	}
	return nil
}
