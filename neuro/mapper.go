package neuro

import (
	"cmp"
	"fmt"
	"slices"
)

// Config of Map.
type Config struct {
	// MaxCores is the most cores that may be used; one chip has ChipCores.
	MaxCores int
	// Swaps is how many exchanges of two cores' places are tried to shorten the
	// way of the spikes; 0 leaves the cores in snake order, layer by layer.
	Swaps int
	// Seed chooses the exchanges.
	Seed uint64
}

// DefaultConfig is one chip, and 200,000 tried exchanges.
func DefaultConfig() Config { return Config{MaxCores: ChipCores, Swaps: 200_000, Seed: 1} }

// Validate says which setting is out of range.
func (c Config) Validate() error {
	if c.MaxCores < 1 || c.MaxCores > ChipCores || c.Swaps < 0 {
		return fmt.Errorf("neuro: config: max cores %d, swaps %d, want 1..%d and not negative", c.MaxCores, c.Swaps, ChipCores)
	}
	return nil
}

// end is one axon that wants a unit's spikes; core -1 is a network output.
type end struct {
	core int32
	axon int32
}

// builder maps the layers from the last to the first, since the copies that a
// layer needs depend on how its reader is cut.
type builder struct {
	net     *Net
	nw      *Network
	cores   [][]Core // by layer; splitters behind the others
	first   []int32  // temporary number of each layer's first core
	count   int32    // temporary numbers given out
	targets [][]end  // of the units of the layer in work
}

// Map places a net on cores.
//
// Each input of a core takes the axons i (type 0, weight +1) and 128+i (type 1,
// weight -1), as far as the weights use them. An output is computed once for
// each axon that reads it; where that takes more cores than repeating spikes,
// splitter cores repeat them a tick later, and the layer's other spikes have a
// delay of 2. Every layer thus has one depth, and a frame can enter each tick.
// Outputs that no weight reads are left out.
//
// Errors that wrap ErrLimit name the layer, what it needs and what the core
// has; for a fan-in also the smallest group count that fits.
func Map(net *Net, cfg Config) (*Network, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := net.Check(); err != nil {
		return nil, err
	}
	for i := range net.Layers {
		if err := net.Layers[i].checkFanIn(); err != nil {
			return nil, err
		}
	}
	b := newBuilder(net)
	for i := len(net.Layers) - 1; i >= 0; i-- {
		if err := b.layer(i, cfg.MaxCores); err != nil {
			return nil, err
		}
	}
	nw := b.finish()
	if n := len(nw.Cores); n > cfg.MaxCores {
		return nil, fmt.Errorf("neuro: net: %d cores, want at most %d: %w", n, cfg.MaxCores, ErrLimit)
	}
	nw.place(cfg.Swaps, cfg.Seed)
	if err := nw.Validate(); err != nil {
		return nil, fmt.Errorf("neuro: map: the result breaks a limit: %w", err)
	}
	return nw, nil
}

func newBuilder(net *Net) *builder {
	n := len(net.Layers)
	b := &builder{net: net, cores: make([][]Core, n), first: make([]int32, n)}
	outputs := net.Outputs()
	b.nw = &Network{Inputs: net.Input.Size(), Outputs: outputs, Actions: net.Actions, Layers: make([]LayerInfo, n)}
	b.targets = make([][]end, outputs)
	for o := range b.targets {
		b.targets[o] = []end{{core: -1, axon: int32(o)}}
	}
	return b
}

// layer makes the cores of layer i, and the targets of the layer before.
func (b *builder) layer(i, maxCores int) error {
	l := &b.net.Layers[i]
	counts := make([]int32, len(b.targets))
	for u, t := range b.targets {
		counts[u] = int32(len(t))
	}
	out, err := chooseFanOut(l, counts, i == 0)
	if err != nil {
		return err
	}
	t := newTiler(l, out.slots, i == 0)
	blocks := t.cut(out.tiling)
	if n := int(b.count) + len(blocks); n > maxCores {
		return fmt.Errorf("neuro: layer %q: %d cores up to the output, want at most %d: %w", l.Name, n, maxCores, ErrLimit)
	}
	b.first[i] = b.count
	b.count += int32(len(blocks))
	b.nw.Layers[i] = LayerInfo{Name: l.Name, Units: len(b.targets), Ticks: 1}
	delay := uint8(1)
	if split := b.splitters(i, blocks, counts, out.limit); len(split) > 0 {
		b.nw.Layers[i].Ticks, delay = 2, 2
		defer func() { b.cores[i] = append(b.cores[i], split...) }()
	}
	sources := make([][]end, t.g.in.Size())
	for k := range blocks {
		c := b.core(i, &t.g, &blocks[k], b.first[i]+int32(k), counts, out.limit, delay, sources)
		b.cores[i] = append(b.cores[i], c)
	}
	b.targets = sources
	return nil
}

// splitters makes the splitter cores of layer i, and turns the targets of the
// units above the limit into axons of those cores.
func (b *builder) splitters(i int, blocks []block, counts []int32, limit int32) []Core {
	var cores []Core
	used := CoreAxons // of the open splitter
	for _, bl := range blocks {
		for _, u := range bl.units {
			if counts[u] <= limit {
				continue
			}
			var axons []end
			for rest := b.targets[u]; len(rest) > 0; {
				if len(cores) == 0 || used == CoreAxons || len(cores[len(cores)-1].Neurons) == CoreNeurons {
					cores = append(cores, Core{Layer: int32(i), Splitter: true})
					used = 0
				}
				c := &cores[len(cores)-1]
				n := min(len(rest), CoreNeurons-len(c.Neurons))
				for _, to := range rest[:n] {
					neuron := newNeuron(u, 1, to, 1)
					neuron.Conn[used>>6] = 1 << (used & 63)
					c.Neurons = append(c.Neurons, neuron)
				}
				axons = append(axons, end{b.count + int32(len(cores)-1), int32(used)})
				rest = rest[n:]
				used++
			}
			b.targets[u] = axons
		}
	}
	b.count += int32(len(cores))
	return cores
}

// newNeuron is a neuron without memory that weighs axons of type 0 by +1 and
// of type 1 by -1.
func newNeuron(unit, theta int32, to end, delay uint8) Neuron {
	n := Neuron{Weights: [AxonTypes]int16{1, -1}, Theta: theta, NegTheta: MinPotential, Reset: ResetAlways,
		Delay: delay, Axon: uint8(to.axon), Target: to.core, Unit: unit}
	if to.core < 0 {
		n.Axon, n.Target = 0, OutputTarget(int(to.axon))
	}
	return n
}

// core makes one core of layer i and enters its axons in sources.
func (b *builder) core(i int, g *geometry, bl *block, id int32, counts []int32, limit int32, delay uint8, sources [][]end) Core {
	l := &b.net.Layers[i]
	c := Core{Layer: int32(i)}
	for a := MaxFanIn; a < CoreAxons; a++ {
		c.Type[a] = 1
	}
	var used [4]uint64
	for _, u := range bl.units {
		var conn [4]uint64
		l.taps(g, int(u), func(src int, w int8) {
			a, _ := slices.BinarySearch(bl.inputs, int32(src))
			if w < 0 {
				a += MaxFanIn
			}
			conn[a>>6] |= 1 << (a & 63)
		})
		for k := range used {
			used[k] |= conn[k]
		}
		// Thresholds outside this range act as its ends, and may not fit 20 bits.
		theta := max(int32(-g.fanIn), min(int32(g.fanIn+1), l.Thresholds[int(u)/(g.out.H*g.out.W)]))
		d := delay
		if counts[u] > limit {
			d = 1 // the splitter takes the other tick
		}
		for _, to := range b.targets[u] {
			n := newNeuron(u, theta, to, d)
			n.Conn = conn
			c.Neurons = append(c.Neurons, n)
		}
	}
	for a := range CoreAxons {
		if used[a>>6]>>(a&63)&1 == 1 {
			src := bl.inputs[a%MaxFanIn]
			sources[src] = append(sources[src], end{id, int32(a)})
		}
	}
	return c
}

// finish numbers the cores from the first layer on.
func (b *builder) finish() *Network {
	nw := b.nw
	renumber := make([]int32, b.count)
	for i, cores := range b.cores {
		for k := range cores {
			renumber[int(b.first[i])+k] = int32(len(nw.Cores) + k)
		}
		nw.Cores = append(nw.Cores, cores...)
	}
	for i := range nw.Cores {
		for k := range nw.Cores[i].Neurons {
			if n := &nw.Cores[i].Neurons[k]; n.Target >= 0 {
				n.Target = renumber[n.Target]
			}
		}
	}
	for in, ends := range b.targets {
		for _, e := range ends {
			nw.Routes = append(nw.Routes, Route{int32(in), renumber[e.core], uint8(e.axon)})
		}
	}
	slices.SortFunc(nw.Routes, func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Input, b.Input), cmp.Compare(a.Core, b.Core), cmp.Compare(a.Axon, b.Axon))
	})
	for i := range nw.Layers {
		nw.Layers[i].Start = nw.Latency
		nw.Latency += nw.Layers[i].Ticks
	}
	return nw
}
