package neuro

import "fmt"

// Comparison is the outcome of Compare.
type Comparison struct {
	Frames     int
	Bits       int64 // spikes or silences compared, every copy of every unit counted once a frame
	Units      int64 // distinct units among them, once a frame
	Mismatches int64
	First      string // the first mismatch: frame, layer, unit, core, neuron; empty if none
	Decisions  int64  // results compared, as the action that most outputs vote for
	Wrong      int64  // actions that differ
	Events     Events
	PerLayer   []int64 // spikes of each layer's units, copies not counted
}

// Equal says whether something was compared and nothing differed.
func (c *Comparison) Equal() bool { return c.Bits > 0 && c.Mismatches == 0 && c.Wrong == 0 }

// Compare runs frames through net, layer by layer in plain integers, and
// through the cores, one frame a tick, and compares every neuron of every core
// with the unit that it stands for, and the actions.
//
//	frames   Input.Size() bits each
//	threads  of the simulator
func Compare(net *Net, nw *Network, frames [][]byte, threads int) (*Comparison, error) {
	if err := net.Check(); err != nil {
		return nil, err
	}
	if err := sameForm(net, nw); err != nil {
		return nil, fmt.Errorf("neuro: compare: %w", err)
	}
	sim, err := NewSimulator(nw, threads)
	if err != nil {
		return nil, err
	}
	defer sim.Close()
	c := &comparer{net: net, nw: nw, sim: sim, want: make([][][]byte, nw.Latency+1)}
	c.PerLayer = make([]int64, len(net.Layers))
	c.Frames = len(frames)
	c.countUnits()
	for t := 0; t < len(frames)+nw.Latency; t++ {
		var frame []byte
		if t < len(frames) {
			frame = frames[t]
			if c.want[t%len(c.want)], err = net.Forward(frame); err != nil {
				return nil, err
			}
		}
		out, err := sim.Step(frame)
		if err != nil {
			return nil, err
		}
		c.tick(t, out)
	}
	c.Events = sim.Events()
	return &c.Comparison, nil
}

func sameForm(net *Net, nw *Network) error {
	if nw.Inputs != net.Input.Size() || nw.Outputs != net.Outputs() || nw.Actions != net.Actions || len(nw.Layers) != len(net.Layers) {
		return fmt.Errorf("cores with %d inputs, %d outputs, %d actions, %d layers, the net has %d, %d, %d, %d",
			nw.Inputs, nw.Outputs, nw.Actions, len(nw.Layers), net.Input.Size(), net.Outputs(), net.Actions, len(net.Layers))
	}
	for i := range nw.Layers {
		if want := net.Layers[i].OutShape().Size(); nw.Layers[i].Units != want {
			return fmt.Errorf("layer %d of %d units, the net's has %d", i, nw.Layers[i].Units, want)
		}
	}
	return nil
}

type comparer struct {
	Comparison
	net   *Net
	nw    *Network
	sim   *Simulator
	want  [][][]byte // by frame modulo its length: every layer's bits
	votes []int32
}

// countUnits counts the distinct units on the cores, and checks that each
// output is driven.
func (c *comparer) countUnits() {
	for l := range c.nw.Layers {
		seen := make([]bool, c.nw.Layers[l].Units)
		for i := range c.nw.Cores {
			if int(c.nw.Cores[i].Layer) != l || c.nw.Cores[i].Splitter {
				continue
			}
			for k := range c.nw.Cores[i].Neurons {
				if u := c.nw.Cores[i].Neurons[k].Unit; !seen[u] {
					seen[u] = true
					c.Units += int64(c.Frames)
				}
			}
		}
	}
	c.votes = make([]int32, c.nw.Actions)
}

// tick compares what spiked in tick t.
func (c *comparer) tick(t int, out []byte) {
	for i := range c.nw.Cores {
		core := &c.nw.Cores[i]
		start := c.nw.Layers[core.Layer].Start
		if core.Splitter {
			start++
		}
		f := t - start // the frame whose spikes these are
		if f < 0 || f >= c.Frames {
			continue
		}
		want := c.want[f%len(c.want)][core.Layer]
		fired := c.sim.Fired(i)
		for k := range core.Neurons {
			u := int(core.Neurons[k].Unit)
			w := bitAt(want, u)
			c.Bits++
			if got := int(fired[k>>6] >> (k & 63) & 1); got != w {
				if c.Mismatches++; c.First == "" {
					c.First = fmt.Sprintf("frame %d, layer %q, unit %d: %d on core %d, neuron %d, want %d", f, c.nw.Layers[core.Layer].Name, u, got, i, k, w)
				}
			}
		}
	}
	f := t - (c.nw.Latency - 1)
	if f < 0 || f >= c.Frames {
		return
	}
	layers := c.want[f%len(c.want)]
	for l := range layers {
		for i := range c.nw.Layers[l].Units {
			c.PerLayer[l] += int64(bitAt(layers[l], i))
		}
	}
	c.Decisions++
	want := Votes(layers[len(layers)-1], c.nw.Outputs, c.votes)
	if got := Votes(out, c.nw.Outputs, c.votes); got != want {
		c.Wrong++
	}
}
