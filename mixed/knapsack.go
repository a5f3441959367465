package mixed

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrInfeasible is wrapped by errors about budgets that no choice meets.
var ErrInfeasible = errors.New("no choice fits")

// Option is one choice for a group.
type Option struct {
	Cost int64
	Gain float64
}

// Solution is a choice of one option for each group.
type Solution struct {
	Choice []int // by group
	Cost   int64
	Gain   float64
	// Exact is true if no choice within the capacity gains more (by over 1e-12
	// of all gains); otherwise none gains more than Bound.
	Exact bool
	Bound float64
}

// maxStates bounds the work of Solve: about half a second on one core of a small
// server, 5 bytes of memory a state.
const maxStates = 1 << 19

// tolerance is the difference of gains, relative to their sum, that Solve does
// not tell apart: sums of some hundred float64 in another order differ by less.
// Where that needs more than maxStates (gains in proportion to costs of ten
// digits), it is content with coarse.
const (
	tolerance = 1e-12
	coarse    = 1e-9
)

// Solve finds the choice of one option for each group that gains most at a cost
// of at most capacity: the multiple-choice knapsack problem. It keeps the
// choices for the groups so far that no other one beats in cost and gain, and
// drops those whose linear relaxation cannot beat the best choice known.
//
// Errors: a group without options, a gain that is not finite, a negative cost,
// and ErrInfeasible if the cheapest choice costs more than capacity.
func Solve(groups [][]Option, capacity int64) (Solution, error) {
	return solve(groups, capacity, maxStates)
}

func solve(groups [][]Option, capacity int64, limit int) (Solution, error) {
	s := solver{items: make([]item, len(groups)), room: capacity, tolerance: tolerance}
	for i, options := range groups {
		it, err := newItem(i, options)
		if err != nil {
			return Solution{}, err
		}
		s.items[i] = it
		s.room -= it.base.Cost
		s.scale += math.Abs(it.options[len(it.options)-1].Gain)
	}
	if s.room < 0 {
		return Solution{}, fmt.Errorf("mixed: capacity %d, the cheapest choice costs %d: %w", capacity, capacity-s.room, ErrInfeasible)
	}
	s.sort()
	above, complete := s.run(limit)
	exact := complete
	if !complete {
		s.tolerance = coarse
		above, _ = s.run(limit)
	}
	sol := Solution{Choice: s.choice(), Exact: exact}
	for i, c := range sol.Choice {
		sol.Cost += groups[i][c].Cost
		sol.Gain += groups[i][c].Gain
	}
	sol.Bound = sol.Gain
	if !exact {
		sol.Bound += above
	}
	return sol, nil
}

// item is a group with the options that can be part of a best choice, relative
// to the cheapest: costs and gains strictly rise.
type item struct {
	group   int
	base    Option
	options []choice
	hull    []increment // of falling ratio
}

type choice struct {
	Option
	index int // in the group's options
}

// increment is a step along the concave hull of an item's options.
type increment struct {
	item, to int // to: position in options
	Option
}

func (c increment) ratio() float64 { return c.Gain / float64(c.Cost) }

func newItem(group int, options []Option) (item, error) {
	it := item{group: group}
	if len(options) == 0 {
		return it, fmt.Errorf("mixed: group %d has no options", group)
	}
	all := make([]choice, len(options))
	for i, o := range options {
		if math.IsNaN(o.Gain) || math.IsInf(o.Gain, 0) || o.Cost < 0 {
			return it, fmt.Errorf("mixed: group %d, option %d: gain %g at cost %d, want a finite gain and no negative cost", group, i, o.Gain, o.Cost)
		}
		all[i] = choice{o, i}
	}
	slices.SortStableFunc(all, func(a, b choice) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(b.Gain, a.Gain))
	})
	it.base = all[0].Option
	for _, c := range all {
		c.Cost, c.Gain = c.Cost-it.base.Cost, c.Gain-it.base.Gain
		if n := len(it.options); n == 0 || c.Gain > it.options[n-1].Gain {
			it.options = append(it.options, c)
		}
	}
	return it, nil
}

// findHull fills the hull of the item at position at.
func (it *item) findHull(at int) {
	it.hull = nil
	from := 0
	for from < len(it.options)-1 {
		best := increment{item: at, to: from}
		for to := from + 1; to < len(it.options); to++ {
			a, b := it.options[from], it.options[to]
			c := increment{at, to, Option{b.Cost - a.Cost, b.Gain - a.Gain}}
			if best.to == from || c.ratio() >= best.ratio() {
				best = c
			}
		}
		it.hull = append(it.hull, best)
		from = best.to
	}
}

// solver is the state of one Solve. States stand for choices for the items
// before a stage.
type solver struct {
	items []item
	room  int64   // above the cheapest choice
	scale float64 // of gains
	relax relaxation

	tolerance float64
	cost      []int64 // of the current stage's states, rising
	gain      []float64
	history   []stage // one for each item done

	best     float64 // gain
	bestAt   [2]int  // stage and state
	bestHull []increment
}

type stage struct {
	parent []int32
	option []uint8
}

// relaxation is the linear relaxation of the items from some stage on: their
// increments by falling ratio, with prefix sums.
type relaxation struct {
	steps []increment
	cost  []int64
	gain  []float64
}

func newRelaxation(items []item, from int, order []increment) relaxation {
	r := relaxation{cost: []int64{0}, gain: []float64{0}}
	for _, c := range order {
		if c.item >= from {
			n := len(r.steps)
			r.steps = append(r.steps, c)
			r.cost, r.gain = append(r.cost, r.cost[n]+c.Cost), append(r.gain, r.gain[n]+c.Gain)
		}
	}
	return r
}

// at returns the number of whole increments that fit, and the relaxed gain.
func (r relaxation) at(room int64) (n int, bound float64) {
	n, found := slices.BinarySearch(r.cost, room)
	if !found {
		n--
	}
	bound = r.gain[n]
	if n < len(r.steps) {
		bound += r.steps[n].ratio() * float64(room-r.cost[n])
	}
	return n, bound
}

// increments returns those of all items by falling ratio.
func (s *solver) increments() []increment {
	var order []increment
	for i := range s.items {
		s.items[i].findHull(i)
		order = append(order, s.items[i].hull...)
	}
	slices.SortStableFunc(order, func(a, b increment) int { return cmp.Compare(b.ratio(), a.ratio()) })
	return order
}

// sort puts the items first whose choice the relaxation leaves most open: those
// behind are then nearly decided, and bounds tight.
func (s *solver) sort() {
	r := newRelaxation(s.items, 0, s.increments())
	n, _ := r.at(s.room)
	if n == len(r.steps) {
		return
	}
	critical := math.Log(r.steps[n].ratio())
	distance := make(map[int]float64, len(s.items))
	for _, it := range s.items {
		d := math.Inf(1)
		for _, c := range it.hull {
			d = min(d, math.Abs(math.Log(c.ratio())-critical))
		}
		distance[it.group] = d
	}
	slices.SortStableFunc(s.items, func(a, b item) int { return cmp.Compare(distance[a.group], distance[b.group]) })
}

// run goes through all items, or stops when it needs more than limit states. No
// choice gains more than the best one and above.
func (s *solver) run(limit int) (above float64, complete bool) {
	order := s.increments()
	s.cost, s.gain, s.history, s.best = []int64{0}, []float64{0}, nil, math.Inf(-1)
	s.relax = newRelaxation(s.items, 0, order)
	s.consider(0, 0, 0, 0)
	total := 0
	for i := range s.items {
		s.relax = newRelaxation(s.items, i+1, order)
		s.extend(i)
		if total += len(s.cost); total > limit {
			for j := range s.cost {
				_, b := s.relax.at(s.room - s.cost[j])
				above = max(above, s.gain[j]+b-s.best)
			}
			return max(above, s.tolerance*s.scale), false
		}
	}
	return s.tolerance * s.scale, true
}

// consider completes a state with whole increments, remembers the choice if it
// is the best so far, and reports whether the state may lead to a better one.
func (s *solver) consider(at, state int, cost int64, gain float64) bool {
	n, bound := s.relax.at(s.room - cost)
	if whole := gain + s.relax.gain[n]; whole > s.best {
		s.best, s.bestAt, s.bestHull = whole, [2]int{at, state}, s.relax.steps[:n]
	}
	return gain+bound > s.best+s.tolerance*s.scale
}

// extend replaces the states by those with one more item: the options' lists,
// each sorted, are merged, and what another state beats is dropped.
func (s *solver) extend(i int) {
	options := s.items[i].options
	next := make([]int, len(options)) // of the states, by option
	var cost []int64
	var gain []float64
	var h stage
	last := math.Inf(-1)
	for {
		pick, c, g := -1, int64(0), 0.0
		for o, at := range next {
			if at == len(s.cost) {
				continue
			}
			oc, og := s.cost[at]+options[o].Cost, s.gain[at]+options[o].Gain
			if pick < 0 || oc < c || oc == c && og > g {
				pick, c, g = o, oc, og
			}
		}
		if pick < 0 || c > s.room {
			break
		}
		parent := next[pick]
		next[pick]++
		if g <= last || !s.keep(i+1, len(cost), c, g) {
			continue
		}
		last = g
		cost, gain = append(cost, c), append(gain, g)
		h.parent, h.option = append(h.parent, int32(parent)), append(h.option, uint8(pick))
	}
	s.cost, s.gain, s.history = cost, gain, append(s.history, h)
}

// keep is consider for a state that is kept, too, if it is the best itself: its
// place in the history is needed.
func (s *solver) keep(at, state int, cost int64, gain float64) bool {
	before := s.best
	open := s.consider(at, state, cost, gain)
	return open || s.best > before
}

// choice follows the best choice back; it is by group.
func (s *solver) choice() []int {
	c := make([]int, len(s.items))
	position := make([]int, len(s.items)) // by item
	at, state := s.bestAt[0], s.bestAt[1]
	for i := at - 1; i >= 0; i-- {
		h := s.history[i]
		position[i] = int(h.option[state])
		state = int(h.parent[state])
	}
	for _, st := range s.bestHull {
		position[st.item] = max(position[st.item], st.to)
	}
	for i, it := range s.items {
		c[it.group] = it.options[position[i]].index
	}
	return c
}
