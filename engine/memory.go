package engine

import "sort"

// placement decides where every value lives and lays out the arena: values
// whose lives (in stages) do not overlap share memory.
type placement struct {
	stages []*stage
	groups [][][]*inst // of each stage
	insts  []*inst
}

type life struct {
	v          *value
	from, to   int
	size, offs int
}

// decide sets the place of each result.
func (p *placement) decide() {
	group := map[*inst]int{}
	id := 0
	for _, gs := range p.groups {
		for _, g := range gs {
			id++
			for _, i := range g {
				group[i] = id
			}
		}
	}
	aliased := map[*value]bool{}
	for _, i := range p.insts {
		for _, v := range i.in {
			if v.alias != nil {
				aliased[v.root()] = true
			}
		}
	}
	for _, i := range p.insts {
		v := i.out
		if v.place == external {
			continue
		}
		v.place = inArena
		if v.pinned || i.updates || i.class != elementwise && i.class != rowwise {
			continue
		}
		sameStage, sameGroup := true, i.class == elementwise && !aliased[v]
		for _, u := range v.uses {
			sameStage = sameStage && u.stage == i.stage && u.class != global
			sameGroup = sameGroup && group[u] == group[i]
			sameStage = sameStage && !u.spreads(v)
		}
		switch {
		case sameGroup && sameStage:
			v.place = inSlot
		case sameStage:
			v.place = inScratch
		}
	}
}

// scratch lays out the worker-local values of a stage and returns their floats.
func (s *stage) scratch() int {
	at := 0
	for _, i := range s.insts {
		if i.out.place == inScratch {
			i.out.off = at
			at += (s.sub*i.out.rowSize() + 31) &^ 15
		}
	}
	return at
}

// arena assigns offsets and returns the floats needed.
func (p *placement) arena() int {
	var lives []*life
	last := len(p.stages)
	for _, i := range p.insts {
		if v := i.out; v.place == inArena {
			l := &life{v: v, from: i.stage, to: i.stage, size: v.size()}
			for _, u := range v.uses {
				l.to = max(l.to, u.stage)
			}
			if v.pinned || i.updates {
				l.to = last
			}
			if i.kept {
				l.from, l.to = 0, last
			}
			lives = append(lives, l)
		}
	}
	for n, s := range p.stages {
		for _, pt := range s.parts {
			lives = append(lives, &life{v: pt.buf, from: n, to: n, size: pt.buf.size()})
		}
	}
	sort.SliceStable(lives, func(a, b int) bool { return lives[a].size > lives[b].size })
	var placed []*life
	total := 0
	for _, l := range lives {
		size := (l.size + 31) &^ 15
		var busy []*life
		for _, q := range placed {
			if q.from <= l.to && l.from <= q.to {
				busy = append(busy, q)
			}
		}
		sort.Slice(busy, func(a, b int) bool { return busy[a].offs < busy[b].offs })
		at := 0
		for _, q := range busy {
			if q.offs-at >= size {
				break
			}
			at = max(at, q.offs+(q.size+31)&^15)
		}
		l.offs = at
		l.v.off = at
		total = max(total, at+size)
		placed = append(placed, l)
	}
	return total
}

// spreads reports whether i repeats v over a larger domain: it then reads v at
// places of its own, which only the arena offers.
func (i *inst) spreads(v *value) bool {
	for k, x := range i.in {
		if x.root() == v && k < len(i.pats) && i.local[k] && !i.pats[k].full(domainOf(i).size()) {
			return true
		}
	}
	return false
}
