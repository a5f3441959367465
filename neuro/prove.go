package neuro

import "fmt"

// Prove shows that the cores compute the net for every frame, by structure and
// not by samples. It demands that
//
//   - the network is valid and all spikes of a frame meet (CheckTiming), each
//     layer in the tick that Layers states;
//   - every axon that a neuron reads has one source: an input, or the copies of
//     one unit;
//   - every neuron forgets its potential after each tick, and its synapses,
//     traced back to their sources, are the weights of the unit that it stands
//     for, its threshold that unit's; a splitter's neuron repeats its unit;
//   - output o is unit o of the last layer.
//
// By induction over the layers, all bits are then those of Forward. The error
// names core, neuron, layer and unit of the first difference.
func Prove(net *Net, nw *Network) error {
	if err := net.Check(); err != nil {
		return err
	}
	if err := nw.Validate(); err != nil {
		return err
	}
	if err := sameForm(net, nw); err != nil {
		return fmt.Errorf("neuro: prove: %w", err)
	}
	if err := nw.CheckTiming(); err != nil {
		return err
	}
	p := &prover{net: net, nw: nw, sources: make([][CoreAxons]source, len(nw.Cores))}
	if err := p.trace(); err != nil {
		return fmt.Errorf("neuro: prove: %w", err)
	}
	for i := range nw.Cores {
		for k := range nw.Cores[i].Neurons {
			if err := p.neuron(i, &nw.Cores[i].Neurons[k]); err != nil {
				c := &nw.Cores[i]
				return fmt.Errorf("neuro: prove: core %d, neuron %d, layer %q, unit %d: %w", i, k, nw.Layers[c.Layer].Name, c.Neurons[k].Unit, err)
			}
		}
	}
	return nil
}

// source is what drives an axon: an element of the frame (layer 0) or of the
// output of the net's first layer (1), second layer (2)…; units count from 1 so
// that the zero value is no source.
type source struct{ layer, unit int32 }

func (s source) String() string {
	if s.unit == 0 {
		return "nothing"
	}
	return fmt.Sprintf("unit %d of layer %d (0 is the frame)", s.unit-1, s.layer)
}

type prover struct {
	net     *Net
	nw      *Network
	sources [][CoreAxons]source
	weights map[source]int32 // of the neuron in work
}

// trace finds the source of every axon, and checks the outputs and ticks.
func (p *prover) trace() error {
	drive := func(core int32, axon uint8, s source) error {
		at := &p.sources[core][axon]
		if at.unit != 0 && *at != s {
			return fmt.Errorf("core %d, axon %d: driven by %v and by %v", core, axon, *at, s)
		}
		*at = s
		return nil
	}
	for _, r := range p.nw.Routes {
		if err := drive(r.Core, r.Axon, source{0, r.Input + 1}); err != nil {
			return err
		}
	}
	driven := make([]bool, p.nw.Outputs)
	for i := range p.nw.Cores {
		c := &p.nw.Cores[i]
		for k := range c.Neurons {
			n := &c.Neurons[k]
			if n.Target >= 0 {
				if err := drive(n.Target, n.Axon, source{c.Layer + 1, n.Unit + 1}); err != nil {
					return err
				}
				if err := p.tick(c, n); err != nil {
					return fmt.Errorf("core %d, neuron %d: %w", i, k, err)
				}
			} else if n.Target < Nowhere {
				if o := -2 - n.Target; n.Unit != o || int(c.Layer) != len(p.nw.Layers)-1 {
					return fmt.Errorf("output %d is unit %d of layer %d, want unit %d of the last", o, n.Unit, c.Layer, o)
				}
				driven[-2-n.Target] = true
			}
		}
	}
	for o, ok := range driven {
		if !ok {
			return fmt.Errorf("output %d is driven by no neuron", o)
		}
	}
	return nil
}

// tick demands that a spike arrives in the tick of the core that it goes to.
func (p *prover) tick(c *Core, n *Neuron) error {
	when := func(c *Core) int {
		t := p.nw.Layers[c.Layer].Start
		if c.Splitter {
			t++
		}
		return t
	}
	to := &p.nw.Cores[n.Target]
	if got := when(c) + int(n.Delay); got != when(to) {
		return fmt.Errorf("delay %d: arrives in tick %d at core %d, which works in tick %d", n.Delay, got, n.Target, when(to))
	}
	return nil
}

func (p *prover) neuron(core int, n *Neuron) error {
	if n.Reset != ResetAlways || n.Leak != 0 || n.VReset != 0 {
		return fmt.Errorf("reset mode %d, leak %d, reset potential %d: the neuron has a memory", n.Reset, n.Leak, n.VReset)
	}
	c := &p.nw.Cores[core]
	if p.weights == nil {
		p.weights = map[source]int32{}
	}
	clear(p.weights)
	for a := range CoreAxons {
		if n.Conn[a>>6]>>(a&63)&1 == 1 {
			s := p.sources[core][a]
			if s.unit == 0 {
				return fmt.Errorf("reads axon %d, which nothing drives", a)
			}
			p.weights[s] += int32(n.Weights[c.Type[a]])
		}
	}
	if c.Splitter {
		w := p.weights[source{c.Layer + 1, n.Unit + 1}]
		if len(p.weights) != 1 || n.Theta < 1 || w < n.Theta {
			return fmt.Errorf("splitter with threshold %d and weights %v, want its own unit alone", n.Theta, p.weights)
		}
		return nil
	}
	return p.unit(int(c.Layer), n)
}

// unit compares the traced weights with those of the net.
func (p *prover) unit(layer int, n *Neuron) error {
	l := &p.net.Layers[layer]
	g := l.geometry()
	taps := 0
	var err error
	l.taps(&g, int(n.Unit), func(src int, w int8) {
		taps++
		if got := p.weights[source{int32(layer), int32(src) + 1}]; got != int32(w) && err == nil {
			err = fmt.Errorf("weight %d of %v, want %d", got, source{int32(layer), int32(src) + 1}, w)
		}
	})
	if err == nil && taps != len(p.weights) {
		err = fmt.Errorf("synapses to %d inputs, want %d", len(p.weights), taps)
	}
	bound := func(t int32) int32 { return max(int32(-g.fanIn), min(int32(g.fanIn+1), t)) }
	if want := l.Thresholds[int(n.Unit)/(g.out.H*g.out.W)]; err == nil && bound(n.Theta) != bound(want) {
		err = fmt.Errorf("threshold %d, want %d", n.Theta, want)
	}
	return err
}
