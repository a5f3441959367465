package engine

import (
	"time"

	"lowbit/graph"
)

// Cost is what one part of a plan has taken since Profile(true): a fused chain
// of element-wise work, or one instruction such as a convolution.
type Cost struct {
	// Stage counts the plan's stages from 0; parts of a stage run interleaved, a
	// few rows at a time.
	Stage int
	// Kind is the kind of the operation, or "elementwise" of a fused chain. Node
	// is the name of the first node, Nodes the number of those computed by it.
	Kind, Node string
	Nodes      int
	// MACs is the multiply-adds of one run.
	MACs int64
	// Busy is the time of all threads together.
	Busy time.Duration
}

// ElementwiseKind is the Kind of a fused chain in Cost.
const ElementwiseKind = "elementwise"

// clock adds up one worker's time in each member of the plan's stages.
type clock struct{ spent []time.Duration }

// Profile makes runs measure their parts from now on, or stops that. It costs
// some 100 ns for each part and few rows, and changes no result.
func (p *Plan) Profile(on bool) {
	n := 0
	for _, s := range p.stages {
		s.first = n
		n += max(len(s.members), len(s.insts))
	}
	for _, w := range p.workers {
		w.clock = nil
		if on {
			w.clock = &clock{make([]time.Duration, n)}
		}
	}
}

// lap adds the time since began to a part of a stage; without a clock it does
// nothing.
func (c *clock) lap(part int, began time.Time) {
	if c != nil {
		c.spent[part] += time.Since(began)
	}
}

// now is the time where a clock runs.
func (c *clock) now() (t time.Time) {
	if c != nil {
		t = time.Now()
	}
	return t
}

// Costs returns the parts of the plan in the order they run, with what they
// took in the runs since Profile(true).
func (p *Plan) Costs() []Cost {
	var list []Cost
	for n, s := range p.stages {
		if s.global {
			for i, in := range s.insts {
				list = append(list, p.cost(n, s.first+i, []*inst{in}))
			}
			continue
		}
		for i := range s.members {
			m := &s.members[i]
			if m.prog == nil {
				list = append(list, p.cost(n, s.first+i, []*inst{m.inst}))
				continue
			}
			c := p.cost(n, s.first+i, m.prog.group)
			c.Kind = ElementwiseKind
			list = append(list, c)
		}
	}
	return list
}

// cost describes one part, made of a group of instructions.
func (p *Plan) cost(stage, part int, group []*inst) Cost {
	lead := group[0]
	c := Cost{Stage: stage, Node: lead.name, Nodes: len(group), MACs: lead.macs}
	switch o := lead.op.(type) {
	case graph.Op:
		c.Kind = o.Kind()
	case string:
		c.Kind = o
	}
	for _, w := range p.workers {
		if w.clock != nil {
			c.Busy += w.clock.spent[part]
		}
	}
	return c
}
