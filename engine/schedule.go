package engine

import (
	"sort"

	"lowbit/graph"
)

// rematLimit is the longest elementwise chain that is computed again in a later
// stage rather than stored: batch norm, relu and quantizer cost less from the
// first-level cache than a trip to memory.
const rematLimit = 6

// stage is a set of instructions over one domain of rows that run together,
// chunk by chunk, with no wait between them. Chunks, and so the partial sums,
// depend on shapes alone.
type stage struct {
	level, domain int
	insts         []*inst
	global        bool
	parallel      []*inst // of a global stage
	sideOf        []int   // places of parallel in insts

	members []member
	first   int // of its members in a profile
	chunks  int // number of chunks
	rows    int // rows of a chunk
	sub     int // rows worked on at a time, so that their values stay in cache
	parts   []part
}

// member is one step of a stage: a fused program or a rowwise or partial
// instruction.
type member struct {
	prog *program
	inst *inst
}

// part is the chunk buffers of a partial instruction.
type part struct {
	inst *inst
	buf  *value
}

// fusable reports whether i may read operand k in the stage that makes it.
func (i *inst) fusable(k int) bool {
	v := i.in[k]
	d := v.def
	return d != nil && i.local[k] && i.class != global && d.domain == i.domain && v.rows() == d.domain &&
		(d.class == elementwise || d.class == rowwise)
}

// levels gives each instruction the number of waits before it can run.
func levels(insts []*inst) {
	for _, i := range insts {
		i.level = 0
		for k, v := range i.in {
			if v.def == nil {
				continue
			}
			l := v.def.level
			if !i.fusable(k) {
				l++
			}
			i.level = max(i.level, l)
		}
	}
}

// origin is the stored value that an elementwise one derives from, and the length
// of the chain between them.
type origin struct {
	root  *value
	depth int
}

// originsOf finds the instructions that are cheap to run again: elementwise
// chains of at most rematLimit from one stored value.
func originsOf(insts []*inst) map[*inst]origin {
	origins := map[*inst]origin{}
	for _, i := range insts {
		if i.class != elementwise || i.out.pinned || i.updates {
			continue
		}
		o, ok := origin{}, true
		for k, v := range i.in {
			if v.def == nil && v.place == external && v.param && i.local[k] {
				ok = false // parameters may change in place
			}
			if !i.local[k] || v.size() != i.out.size() {
				continue
			}
			root, depth := v.root(), 0
			if d, isChain := origins[v.def]; v.def != nil && v.alias == nil && isChain {
				root, depth = d.root, d.depth
			}
			if o.root != nil && o.root != root {
				ok = false
			}
			o = origin{root, max(o.depth, depth+1)}
		}
		if ok && o.root != nil && o.depth <= rematLimit {
			origins[i] = o
		}
	}
	return origins
}

// rematerialise gives each stage its own copy of cheap elementwise values that
// come from one stored value, so that only that one is kept in memory.
func rematerialise(insts []*inst) []*inst {
	origins := originsOf(insts)
	type key struct {
		i     *inst
		level int
	}
	clones := map[key]*inst{}
	var out []*inst
	var clone func(i *inst, level int) *inst
	clone = func(i *inst, level int) *inst {
		if i.level == level {
			return i
		}
		if c := clones[key{i, level}]; c != nil {
			return c
		}
		c := *i
		v := *i.out
		c.out, v.def, v.uses = &v, &c, nil
		c.level = level
		c.in = append([]*value{}, i.in...)
		for k, x := range c.in {
			if _, ok := origins[x.def]; ok && x.def != nil && x.alias == nil && c.local[k] && x.def.domain == c.domain {
				c.in[k] = clone(x.def, level).out
			}
		}
		clones[key{i, level}] = &c
		out = append(out, &c)
		return &c
	}
	for _, i := range insts {
		for k, x := range i.in {
			if x.def == nil || x.alias != nil || !i.fusable(k) || x.def.level == i.level {
				continue
			}
			if _, ok := origins[x.def]; ok {
				i.in[k] = clone(x.def, i.level).out
			}
		}
		out = append(out, i)
	}
	return out
}

// prune drops instructions whose results nobody reads and rebuilds the uses.
func prune(insts []*inst) []*inst {
	for _, i := range insts {
		i.out.uses = nil
		for _, v := range i.in {
			v.uses = nil
			v.root().uses = nil
		}
	}
	live := make([]bool, len(insts))
	var out []*inst
	for n := len(insts) - 1; n >= 0; n-- {
		i := insts[n]
		if !(i.out.pinned || i.updates || len(i.out.uses) > 0) {
			continue
		}
		live[n] = true
		for _, v := range i.in {
			for r := v; r != nil; r = r.alias {
				r.uses = append(r.uses, i)
			}
		}
	}
	for n, i := range insts {
		if live[n] {
			out = append(out, i)
		}
	}
	return out
}

// stages groups instructions by level and domain, in the order they run.
func stages(insts []*inst) []*stage {
	type key struct {
		level, domain int
		global        bool
	}
	byKey := map[key]*stage{}
	var list []*stage
	for _, i := range insts {
		k := key{i.level, i.domain, i.class == global}
		if k.global {
			k.domain = 0
		}
		s := byKey[k]
		if s == nil {
			s = &stage{level: k.level, domain: k.domain, global: k.global}
			byKey[k] = s
			list = append(list, s)
		}
		s.insts = append(s.insts, i)
	}
	sort.SliceStable(list, func(a, b int) bool {
		if list[a].level != list[b].level {
			return list[a].level < list[b].level
		}
		return list[a].global && !list[b].global
	})
	for n, s := range list {
		for _, i := range s.insts {
			i.stage = n
		}
	}
	return list
}

// cut chooses chunks and the rows worked on at a time. Only shapes decide.
func (s *stage) cut() {
	const (
		maxChunks   = 32
		chunkFloats = 8192  // below this a chunk is not worth a task
		cacheFloats = 16384 // 64 KiB a value: several stay in the second-level cache
	)
	row, heavy, minRows := 1, false, 1
	for _, i := range s.insts {
		for _, v := range append([]*value{i.out}, i.in...) {
			if v.rows() == s.domain {
				row = max(row, v.rowSize())
			}
		}
		heavy = heavy || i.class == rowwise || i.class == partial
		minRows = max(minRows, i.minRows)
	}
	n := min(s.domain, maxChunks, max(1, s.domain*row/chunkFloats))
	s.rows = max((s.domain+n-1)/n, min(minRows, s.domain))
	s.chunks = (s.domain + s.rows - 1) / s.rows
	s.sub = s.rows
	if heavy {
		s.sub = min(s.rows, max(minRows, cacheFloats/row, 1))
	}
}

// order splits the stage's instructions into groups, each an elementwise group
// over one shape or a single other instruction, in an order that respects their
// operands and fuses as much as possible.
func (s *stage) order() [][]*inst {
	waiting := map[*inst]int{}
	users := map[*inst][]*inst{}
	for _, i := range s.insts {
		waiting[i] = 0
		for _, v := range i.in {
			if d := v.def; d != nil && d.stage == i.stage {
				waiting[i]++
				users[d] = append(users[d], i)
			}
		}
	}
	var groups [][]*inst
	done := map[*inst]bool{}
	take := func(i *inst) {
		done[i] = true
		for _, u := range users[i] {
			waiting[u]--
		}
	}
	fuses := func(i *inst) bool { return i.class == elementwise || i.class == tail }
	for left := len(s.insts); left > 0; {
		var group []*inst
		for again := true; again; { // transitive closure of what is ready
			again = false
			for _, i := range s.insts {
				if done[i] || waiting[i] > 0 || !fuses(i) || group != nil && !sameDomain(group[0], i) {
					continue
				}
				group = append(group, i)
				take(i)
				again = true
			}
		}
		if group == nil {
			for _, i := range s.insts {
				if !done[i] && waiting[i] == 0 {
					group = []*inst{i}
					take(i)
					break
				}
			}
		}
		groups = append(groups, group)
		left -= len(group)
	}
	return groups
}

func sameDomain(a, b *inst) bool {
	x, y := domainOf(a), domainOf(b)
	if x.last != y.last || len(x.phys) != len(y.phys) {
		return false
	}
	for i := range x.phys {
		if x.phys[i] != y.phys[i] {
			return false
		}
	}
	return true
}

// updateTargets marks the instructions whose results replace parameters.
func (b *builder) updateTargets() {
	for _, u := range b.g.Updates() {
		if v := b.at[u.Value.ID()]; v.def != nil {
			v.def.updates = true
		}
	}
}

// paramOf returns the parameter's storage of an update.
func (b *builder) paramOf(u graph.Update) *value { return b.at[u.Param.ID()] }
