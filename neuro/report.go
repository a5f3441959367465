package neuro

import (
	"fmt"
	"math/bits"
	"strings"
)

// LayerUse is what one layer takes.
type LayerUse struct {
	Name      string `json:"name"`
	Units     int    `json:"units"`  // elements of the layer's output
	Mapped    int    `json:"mapped"` // of them on cores; the others are read by nobody
	Cores     int    `json:"cores"`
	Splitters int    `json:"splitters"` // cores that only repeat spikes
	Neurons   int    `json:"neurons"`   // copies included
	Axons     int    `json:"axons"`     // that some neuron reads
	Synapses  int    `json:"synapses"`
	Ticks     int    `json:"ticks"`
}

// Resources is what a network takes of a chip.
type Resources struct {
	Layers       []LayerUse `json:"layers"`
	Cores        int        `json:"cores"`
	Splitters    int        `json:"splitters"`
	Neurons      int        `json:"neurons"`
	Axons        int        `json:"axons"`
	Synapses     int        `json:"synapses"`
	Chips        float64    `json:"chips"` // share of one chip's cores
	LatencyTicks int        `json:"latency_ticks"`
	LinkHops     int        `json:"link_hops"` // sum over neurons of the mesh links to their targets
	Routes       int        `json:"routes"`    // axons that frames reach
}

// Resources counts what the network takes.
func (nw *Network) Resources() Resources {
	r := Resources{LatencyTicks: nw.Latency, Cores: len(nw.Cores), Routes: len(nw.Routes)}
	for _, l := range nw.Layers {
		r.Layers = append(r.Layers, LayerUse{Name: l.Name, Units: l.Units, Ticks: l.Ticks})
	}
	seen := make([]map[int32]bool, len(nw.Layers))
	for i := range seen {
		seen[i] = map[int32]bool{}
	}
	for i := range nw.Cores {
		c := &nw.Cores[i]
		u := &r.Layers[c.Layer]
		axons, synapses := c.use()
		u.Cores++
		u.Axons += axons
		u.Synapses += synapses
		u.Neurons += len(c.Neurons)
		if c.Splitter {
			u.Splitters++
		}
		for k := range c.Neurons {
			n := &c.Neurons[k]
			seen[c.Layer][n.Unit] = true
			if n.Target >= 0 {
				t := &nw.Cores[n.Target]
				r.LinkHops += int(manhattan(c.X, c.Y, t.X, t.Y))
			}
		}
	}
	for i := range r.Layers {
		l := &r.Layers[i]
		l.Mapped = len(seen[i])
		r.Splitters += l.Splitters
		r.Neurons += l.Neurons
		r.Axons += l.Axons
		r.Synapses += l.Synapses
	}
	r.Chips = float64(r.Cores) / ChipCores
	return r
}

// use counts the axons that some neuron reads, and the synapses.
func (c *Core) use() (axons, synapses int) {
	var any [4]uint64
	for k := range c.Neurons {
		for w, m := range c.Neurons[k].Conn {
			any[w] |= m
			synapses += bits.OnesCount64(m)
		}
	}
	for _, m := range any {
		axons += bits.OnesCount64(m)
	}
	return axons, synapses
}

// String is a table for people.
func (r Resources) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %7s %7s %6s %6s %8s %7s %9s %5s\n", "layer", "units", "mapped", "cores", "split", "neurons", "axons", "synapses", "ticks")
	row := func(name string, units, mapped, cores, split, neurons, axons, synapses, ticks int) {
		fmt.Fprintf(&b, "%-12s %7d %7d %6d %6d %8d %7d %9d %5d\n", name, units, mapped, cores, split, neurons, axons, synapses, ticks)
	}
	units, mapped := 0, 0
	for _, l := range r.Layers {
		row(l.Name, l.Units, l.Mapped, l.Cores, l.Splitters, l.Neurons, l.Axons, l.Synapses, l.Ticks)
		units += l.Units
		mapped += l.Mapped
	}
	row("all", units, mapped, r.Cores, r.Splitters, r.Neurons, r.Axons, r.Synapses, r.LatencyTicks)
	return b.String()
}

// cellPixels is the side of a core in the picture.
const cellPixels = 14

// SVG is a picture of the mesh: a square for each core, coloured by layer, as
// full as its neuron slots are; splitters have a dark border. The legend names
// layers and cores.
func (nw *Network) SVG() string {
	side := nw.Width * cellPixels
	r := nw.Resources()
	height := max(side, 18*len(r.Layers)+4) + 8
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`,
		side+280, height, side+280, height)
	fmt.Fprintf(&b, `<rect x="4" y="4" width="%d" height="%d" fill="#f2f2f2"/>`, side, side)
	for i := range nw.Cores {
		c := &nw.Cores[i]
		x, y := 4+int(c.X)*cellPixels, 4+int(c.Y)*cellPixels
		fill := max(1, (cellPixels-2)*len(c.Neurons)/CoreNeurons)
		stroke := layerColour(int(c.Layer), len(nw.Layers))
		if c.Splitter {
			stroke = "#222"
		}
		fmt.Fprintf(&b, `<g><title>core %d, %s, %d neurons</title><rect x="%d" y="%d" width="%d" height="%d" fill="#fff" stroke="%s"/><rect x="%d" y="%d" width="%d" height="%d" fill="%s"/></g>`,
			i, escape(nw.Layers[c.Layer].Name), len(c.Neurons), x+1, y+1, cellPixels-2, cellPixels-2, stroke,
			x+1, y+cellPixels-1-fill, cellPixels-2, fill, layerColour(int(c.Layer), len(nw.Layers)))
	}
	for i, l := range r.Layers {
		y := 4 + 18*i
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="12" height="12" fill="%s"/><text x="%d" y="%d">%s: %d cores`, side+16, y, layerColour(i, len(nw.Layers)), side+34, y+11, escape(l.Name), l.Cores)
		if l.Splitters > 0 {
			fmt.Fprintf(&b, ` (%d splitters)`, l.Splitters)
		}
		b.WriteString(`</text>`)
	}
	b.WriteString(`</svg>`)
	return b.String()
}

func layerColour(i, n int) string {
	return fmt.Sprintf("hsl(%d,65%%,%d%%)", 360*i/max(1, n), 45+10*(i&1))
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
