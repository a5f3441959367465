package neuro

import (
	"math"

	"lowbit/internal/rng"
)

// place gives each core a place on the smallest square mesh that holds all:
// first in snake order, then by exchanging two cores, or a core and a free
// place, wherever that shortens the way of the spikes.
func (nw *Network) place(swaps int, seed uint64) {
	nw.Width = int(math.Ceil(math.Sqrt(float64(len(nw.Cores)))))
	cells := make([]int32, nw.Width*nw.Width) // core at each place, -1 if free
	for i := range cells {
		cells[i] = -1
	}
	for i := range nw.Cores {
		c := &nw.Cores[i]
		c.Y = int32(i / nw.Width)
		c.X = int32(i % nw.Width)
		if c.Y&1 == 1 {
			c.X = int32(nw.Width) - 1 - c.X
		}
		cells[int(c.Y)*nw.Width+int(c.X)] = int32(i)
	}
	links := nw.links()
	draw := rng.New(seed, uint64(len(nw.Cores)))
	for range swaps {
		a := draw.Intn(len(nw.Cores))
		cell := draw.Intn(len(cells))
		nw.trySwap(a, cell, cells, links)
	}
}

// link is the number of neurons between two cores, in either direction.
type link struct{ core, count int32 }

func (nw *Network) links() [][]link {
	type pair struct{ a, b int32 }
	counts := map[pair]int32{}
	var order []pair // the sums below must not depend on a map's order
	for i := range nw.Cores {
		for k := range nw.Cores[i].Neurons {
			t := nw.Cores[i].Neurons[k].Target
			if t < 0 || int(t) == i {
				continue
			}
			p := pair{min(int32(i), t), max(int32(i), t)}
			if counts[p] == 0 {
				order = append(order, p)
			}
			counts[p]++
		}
	}
	links := make([][]link, len(nw.Cores))
	for _, p := range order {
		links[p.a] = append(links[p.a], link{p.b, counts[p]})
		links[p.b] = append(links[p.b], link{p.a, counts[p]})
	}
	return links
}

// trySwap exchanges core a with what is at a place if that saves hops.
func (nw *Network) trySwap(a, cell int, cells []int32, links [][]link) {
	b := cells[cell]
	if int(b) == a {
		return
	}
	ca := &nw.Cores[a]
	x, y := int32(cell%nw.Width), int32(cell/nw.Width)
	gain := nw.gain(a, x, y, b, links)
	if b >= 0 {
		gain += nw.gain(int(b), ca.X, ca.Y, int32(a), links)
	}
	if gain <= 0 {
		return
	}
	cells[int(ca.Y)*nw.Width+int(ca.X)] = b
	cells[cell] = int32(a)
	if b >= 0 {
		nw.Cores[b].X, nw.Cores[b].Y = ca.X, ca.Y
	}
	ca.X, ca.Y = x, y
}

// gain is how many hops core a saves at place x, y; links to core skip, which
// takes a's place, do not change.
func (nw *Network) gain(a int, x, y, skip int32, links [][]link) int64 {
	ca := &nw.Cores[a]
	var gain int64
	for _, l := range links[a] {
		if l.core == skip {
			continue
		}
		o := &nw.Cores[l.core]
		gain += int64(l.count) * int64(manhattan(ca.X, ca.Y, o.X, o.Y)-manhattan(x, y, o.X, o.Y))
	}
	return gain
}

// manhattan is the number of mesh links between two places.
func manhattan(x0, y0, x1, y1 int32) int32 { return max(x0-x1, x1-x0) + max(y0-y1, y1-y0) }
