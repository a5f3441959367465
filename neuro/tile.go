package neuro

import (
	"fmt"
	"math"
	"slices"
)

// tiling is how a layer's outputs are cut: patches of h x w positions, the
// channels of a group in chunks of f.
type tiling struct {
	h, w, f int
	cost    float64 // cores, with those that its inputs' copies will take
}

// tiler cuts one layer.
type tiler struct {
	layer *Layer
	g     geometry
	slots []int32 // neurons that each output takes in its core, 0 if nobody reads it
	first bool    // the layer reads the frame: copies of its inputs are free
	sums  []int64 // prefix sums of slots, [C+1, H+1, W+1]
}

func newTiler(l *Layer, slots []int32, first bool) *tiler {
	t := &tiler{layer: l, g: l.geometry(), slots: slots, first: first}
	s := t.g.out
	t.sums = make([]int64, (s.C+1)*(s.H+1)*(s.W+1))
	at := func(c, y, x int) int { return (c*(s.H+1)+y)*(s.W+1) + x }
	for c := range s.C {
		for y := range s.H {
			row := int64(0)
			for x := range s.W {
				row += int64(slots[(c*s.H+y)*s.W+x])
				t.sums[at(c+1, y+1, x+1)] = row + t.sums[at(c+1, y, x+1)] + t.sums[at(c, y+1, x+1)] - t.sums[at(c, y, x+1)]
			}
		}
	}
	return t
}

// sum returns the slots of channels c0..c1, rows y0..y1, columns x0..x1.
func (t *tiler) sum(c0, c1, y0, y1, x0, x1 int) int64 {
	s := t.g.out
	plane := func(c int) int64 {
		p := t.sums[c*(s.H+1)*(s.W+1):]
		at := func(y, x int) int64 { return p[y*(s.W+1)+x] }
		return at(y1, x1) - at(y0, x1) - at(y1, x0) + at(y0, x0)
	}
	return plane(c1) - plane(c0)
}

// window returns how many input rows (or columns) outputs a..b read.
func window(a, b, stride, kernel, pad, size int) int {
	lo := max(0, a*stride-pad)
	hi := min(size, (b-1)*stride-pad+kernel)
	return max(0, hi-lo)
}

// each visits the tiles of a tiling: position by position, the groups and
// chunks of channels of one position next to each other.
func (t *tiler) each(h, w, f int, visit func(c0, c1, y0, y1, x0, x1 int) bool) bool {
	s := t.g.out
	for group := range t.g.groups {
		for y := 0; y < s.H; y += h {
			for x := 0; x < s.W; x += w {
				for c := 0; c < t.g.cout; c += f {
					c0 := group*t.g.cout + c
					if !visit(c0, group*t.g.cout+min(c+f, t.g.cout), y, min(y+h, s.H), x, min(x+w, s.W)) {
						return false
					}
				}
			}
		}
	}
	return true
}

// price returns the cost of a tiling, false if a tile does not fit a core.
func (t *tiler) price(h, w, f int) (float64, bool) {
	var tiles, copies int64
	ok := t.each(h, w, f, func(c0, c1, y0, y1, x0, x1 int) bool {
		slots := t.sum(c0, c1, y0, y1, x0, x1)
		if slots == 0 {
			return true
		}
		inputs := t.g.cin * window(y0, y1, t.g.sh, t.g.kh, t.g.ph, t.g.in.H) * window(x0, x1, t.g.sw, t.g.kw, t.g.pw, t.g.in.W)
		tiles++
		copies += 2 * int64(inputs)
		return slots <= CoreNeurons && inputs <= MaxFanIn
	})
	cost := float64(tiles)
	if !t.first {
		cost += float64(copies) / CoreNeurons
	}
	return cost, ok
}

// best searches all tilings for the one of least cost.
func (t *tiler) best() (tiling, bool) {
	best := tiling{cost: math.Inf(1)}
	s := t.g.out
	for h := 1; h <= s.H && t.g.cin*((h-1)*t.g.sh+1) <= MaxFanIn+t.g.cin*(t.g.kh+2*t.g.ph); h++ {
		for w := 1; w <= s.W && t.g.cin*((w-1)*t.g.sw+1) <= MaxFanIn+t.g.cin*(t.g.kw+2*t.g.pw); w++ {
			last := 0
			for parts := 1; parts <= t.g.cout; parts++ {
				f := (t.g.cout + parts - 1) / parts
				if f == last || h*w > CoreNeurons {
					continue
				}
				last = f
				if cost, ok := t.price(h, w, f); ok {
					if cost < best.cost {
						best = tiling{h, w, f, cost}
					}
					break // smaller chunks only add tiles
				}
			}
		}
	}
	return best, !math.IsInf(best.cost, 1)
}

// block is the outputs of one core, and the inputs that it reads.
type block struct {
	units  []int32
	inputs []int32 // sorted
	slots  int64
}

// cut makes the cores' blocks of a tiling; neighbours that fit one core
// together become one.
func (t *tiler) cut(c tiling) []block {
	s := t.g.out
	var blocks []block
	t.each(c.h, c.w, c.f, func(c0, c1, y0, y1, x0, x1 int) bool {
		var b block
		for o := c0; o < c1; o++ {
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					u := (o*s.H+y)*s.W + x
					if t.slots[u] > 0 {
						b.units = append(b.units, int32(u))
						b.slots += int64(t.slots[u])
						t.layer.taps(&t.g, u, func(src int, _ int8) { b.inputs = append(b.inputs, int32(src)) })
					}
				}
			}
		}
		if len(b.units) == 0 {
			return true
		}
		slices.Sort(b.inputs)
		b.inputs = slices.Compact(b.inputs)
		if !mergeInto(blocks, b) {
			blocks = append(blocks, b)
		}
		return true
	})
	return blocks
}

// mergeWindow is how many open cores a tile may join; more joins few more.
const mergeWindow = 8

func mergeInto(blocks []block, b block) bool {
	for i := len(blocks) - 1; i >= max(0, len(blocks)-mergeWindow); i-- {
		o := &blocks[i]
		if o.slots+b.slots > CoreNeurons {
			continue
		}
		union := append(slices.Clone(o.inputs), b.inputs...)
		slices.Sort(union)
		union = slices.Compact(union)
		if len(union) <= MaxFanIn {
			o.inputs, o.slots = union, o.slots+b.slots
			o.units = append(o.units, b.units...)
			return true
		}
	}
	return false
}

// taps visits the weights that are not 0 of output unit u, with the element of
// the previous layer's output that each multiplies.
func (l *Layer) taps(g *geometry, u int, visit func(src int, w int8)) {
	x, y, o := u%g.out.W, u/g.out.W%g.out.H, u/(g.out.W*g.out.H)
	first := o / g.cout * g.cin
	w := l.Weights[o*g.fanIn : (o+1)*g.fanIn]
	for c := range g.cin {
		for i := range g.kh {
			row := y*g.sh - g.ph + i
			if row < 0 || row >= g.in.H {
				continue
			}
			for j := range g.kw {
				col := x*g.sw - g.pw + j
				if v := w[(c*g.kh+i)*g.kw+j]; v != 0 && col >= 0 && col < g.in.W {
					visit(g.source(first+c, row, col), v)
				}
			}
		}
	}
}

// fanOut is how a layer's spikes reach all their axons.
type fanOut struct {
	// limit is the number of targets up to which a unit has a copy for each;
	// beyond it the unit drives splitters.
	limit  int32
	slots  []int32 // copies of each unit in the core that computes it
	tiling tiling
}

// chooseFanOut decides which units go through splitters, and the tiling, by
// the least number of cores; without splitters where that is no dearer.
func chooseFanOut(l *Layer, targets []int32, first bool) (fanOut, error) {
	best := fanOut{tiling: tiling{cost: math.Inf(1)}}
	for _, limit := range []int32{math.MaxInt32, 32, 16, 8, 4, 2, 1} {
		slots := make([]int32, len(targets))
		var split int64
		for i, n := range targets {
			slots[i] = n
			if n > limit {
				slots[i] = (n + CoreNeurons - 1) / CoreNeurons
				split += int64(n)
			}
		}
		if split == 0 && limit != math.MaxInt32 {
			continue // no unit is above the limit: the same as no limit
		}
		t, ok := newTiler(l, slots, first).best()
		t.cost += float64((split + CoreNeurons - 1) / CoreNeurons)
		if ok && t.cost < best.tiling.cost {
			best = fanOut{limit, slots, t}
		}
	}
	if math.IsInf(best.tiling.cost, 1) {
		return best, fmt.Errorf("neuro: layer %q: no tile of its %d outputs fits a core of %d neurons: %w", l.Name, len(targets), CoreNeurons, ErrLimit)
	}
	return best, nil
}
