package engine

import (
	"fmt"

	"lowbit/graph"
	"lowbit/tensor"
)

// class tells how an instruction may be scheduled.
type class uint8

const (
	// elementwise instructions compute each element from the elements at the
	// same place (and broadcast operands): they fuse into block programs.
	elementwise class = iota
	// tail instructions reduce an elementwise domain to a small result: they
	// fuse with elementwise ones and finish when the stage has ended.
	tail
	// rowwise instructions compute rows (of dimension 0) of their result from
	// the same rows of their local operands and all of the others.
	rowwise
	// partial instructions sum over rows into one buffer for each chunk.
	partial
	// global instructions see all of their operands at once.
	global
)

// place tells where a value lives.
type place uint8

const (
	unplaced  place = iota
	external        // Store, input, constant or output tensor
	inArena         // the plan's arena
	inScratch       // the worker's own scratch, for the rows in work
	inSlot          // a block program's register
)

// value is one array at run time. Its physical order is row-major over phys:
// the logical order, or channels last for activations of rank 4.
type value struct {
	name  string
	dtype tensor.DType
	shape tensor.Shape
	phys  []int
	last  bool // channels last
	alias *value
	def   *inst // nil for sources
	uses  []*inst

	place  place
	off    int
	data   []float32 // of external and arena values
	i32    []int32
	i64    []int64
	bytes  []byte // of u8 and i8 values
	pinned bool   // an output: lives for the whole run
	param  bool
	floats int // size override for packed buffers, else 0
}

// root follows aliases to the value that owns the storage.
func (v *value) root() *value {
	for v.alias != nil {
		v = v.alias
	}
	return v
}

func (v *value) size() int {
	if v.floats > 0 {
		return v.floats
	}
	n := 1
	for _, d := range v.phys {
		n *= d
	}
	return n
}

// rows is the size of dimension 0; rowSize the elements of one row.
func (v *value) rows() int {
	if len(v.phys) == 0 {
		return 1
	}
	return v.phys[0]
}

func (v *value) rowSize() int { return v.size() / max(1, v.rows()) }

// inst is one instruction of a plan.
type inst struct {
	op      any
	name    string
	in      []*value
	local   []bool    // operand i is read at the rows in work only
	pats    []pattern // how elementwise operands repeat; a tail sum's pattern stands at 1
	out     *value
	class   class
	domain  int // rows
	level   int
	stage   int
	updates bool // the result replaces a parameter
	kept    bool // of a frozen plan: the first run's result stands
	// run computes rows r0 to r1 of a rowwise instruction, reading i.in: the
	// scheduler may have replaced an operand by a copy of its own.
	run func(i *inst, w *worker, r0, r1 int)
	// acc adds rows r0 to r1 to the chunk's part of a partial instruction, extra
	// floats long; finish gets the sum of all parts.
	acc    func(w *worker, part []float32, r0, r1 int)
	finish func(sum []float32)
	extra  int
	// all runs a global instruction; task runs one of tasks independent parts
	// of it instead. parallel ones may run beside others of their level.
	all      func(p *Plan)
	task     func(w *worker, t int)
	tasks    int
	parallel bool
	scratch  int   // floats of kernel scratch
	minRows  int   // rows that a chunk should have at least
	macs     int64 // multiply-adds of one run
}

// builder turns a graph into instructions.
type builder struct {
	g         *graph.Graph
	store     *tensor.Store
	plan      *Plan
	memory    *Memory  // nil: the plan's own
	at        []*value // by node ID
	insts     []*inst
	converted map[*value]*value // layout conversions made so far
	packs     map[packKey]*value
}

type packKey struct {
	v    *value
	kind string
	s    any
}

func (b *builder) value(name string, t graph.Type, last bool) *value {
	v := &value{name: name, dtype: t.DType, shape: t.Shape, last: last}
	v.phys = append([]int{}, t.Shape...)
	if last {
		s := t.Shape
		v.phys = []int{s[0], s[2], s[3], s[1]}
	}
	return v
}

// add appends an instruction that makes out.
func (b *builder) add(i *inst) *value {
	if i.domain == 0 {
		i.domain = i.out.rows()
	}
	if i.local == nil {
		i.local = make([]bool, len(i.in))
	}
	if i.name == "" {
		i.name = i.out.name
	}
	for _, v := range i.in {
		v.uses = append(v.uses, i)
	}
	i.out.def = i
	b.insts = append(b.insts, i)
	return i.out
}

// sameOrder reports whether the physical orders of the two layouts coincide.
func sameOrder(s tensor.Shape) bool { return len(s) != 4 || s[1] == 1 || s[2]*s[3] == 1 }

// plain returns v in logical row-major order.
func (b *builder) plain(v *value) *value { return b.layout(v, false) }

// channelsLast returns a value of rank 4 with its channels last.
func (b *builder) channelsLast(v *value) *value { return b.layout(v, true) }

func (b *builder) layout(v *value, last bool) *value {
	if v.last == last || last && len(v.shape) != 4 {
		return v
	}
	if c := b.converted[v]; c != nil {
		return c
	}
	o := b.value(v.name, graph.Type{DType: v.dtype, Shape: v.shape}, last)
	b.converted[v] = o
	if sameOrder(v.shape) {
		o.alias = v
		o.def = v.def
		return o
	}
	c, hw := v.shape[1], v.shape[2]*v.shape[3]
	rows, cols := c, hw // plain rows are channels
	if !last {
		rows, cols = hw, c
	}
	b.add(&inst{
		op: "layout", in: []*value{v}, local: []bool{true}, out: o, class: rowwise,
		run: func(i *inst, w *worker, r0, r1 int) {
			src, dst := w.rows(i.in[0], r0, r1), w.rows(o, r0, r1)
			n := rows * cols
			for r := 0; r < r1-r0; r++ {
				transpose(dst[r*n:(r+1)*n], src[r*n:(r+1)*n], rows, cols)
			}
		},
	})
	return o
}

// transpose writes src [rows, cols] to dst [cols, rows].
func transpose(dst, src []float32, rows, cols int) {
	for i := 0; i < rows; i++ {
		s := src[i*cols : (i+1)*cols]
		for j, x := range s {
			dst[j*rows+i] = x
		}
	}
}

// pattern says how an operand repeats over an elementwise domain: element i
// takes operand element (i/inner) % count.
type pattern struct{ inner, count int }

// full is the pattern of an operand with an element for each place.
func (p pattern) full(n int) bool { return p.inner == 1 && p.count == n }

// broadcastPattern returns the pattern of an operand of shape s (aligned right)
// over a domain; ok is false when its axes are not neighbours.
func broadcastPattern(domain []int, s []int) (p pattern, ok bool) {
	p = pattern{1, 1}
	started, ended := false, false
	lead := len(domain) - len(s)
	if lead < 0 { // only leading ones can be beyond
		for _, d := range s[:-lead] {
			if d != 1 {
				return p, false
			}
		}
		s, lead = s[-lead:], 0
	}
	for i := len(domain) - 1; i >= 0; i-- {
		d := 1
		if i >= lead {
			d = s[i-lead]
		}
		switch {
		case domain[i] == 1:
		case d == domain[i]:
			if ended {
				return p, false
			}
			started = true
			p.count *= d
		case !started:
			p.inner *= domain[i]
		default:
			ended = true
		}
	}
	return p, true
}

// physicalShape aligns a value's dimensions to a domain's layout: shapes of
// lower rank that broadcast against a channels-last domain are reordered.
func physicalShape(v *value, last bool) []int {
	if !last || v.last {
		return v.phys
	}
	s := append([]int{}, v.shape...)
	for len(s) < 4 {
		s = append([]int{1}, s...)
	}
	return []int{s[0], s[2], s[3], s[1]}
}

// elementwise adds an elementwise (or tail) instruction over the domain of a
// shape: operands are brought to one layout.
func (b *builder) elementwise(n *graph.Node, in []*value) *value {
	t := n.Type()
	last := false
	for _, v := range in {
		if v.last && v.shape.Equal(t.Shape) {
			last = true
		}
	}
	o := b.value(n.Name(), t, last)
	i := &inst{op: n.Op(), name: n.Name(), out: o, class: elementwise}
	for _, v := range in {
		v = b.fit(v, o.phys, last)
		pat, _ := broadcastPattern(o.phys, physicalShape(v, last))
		i.in = append(i.in, v)
		i.pats = append(i.pats, pat)
	}
	i.local = locals(i.in, o.phys, last)
	return b.add(i)
}

// fit returns v in a form whose pattern over the domain exists.
func (b *builder) fit(v *value, domain []int, last bool) *value {
	if v.dtype != tensor.F32 {
		return v
	}
	if len(v.shape) == 4 && v.last != last && !sameOrder(v.shape) {
		v = b.layout(v, last)
	}
	if _, ok := broadcastPattern(domain, physicalShape(v, last)); ok {
		return v
	}
	return b.materialise(v, domain, last)
}

// materialise repeats v over a domain for broadcasts without a pattern.
func (b *builder) materialise(v *value, domain []int, last bool) *value {
	shape := tensor.Shape(domain).Clone()
	if last {
		shape = tensor.Shape{domain[0], domain[3], domain[1], domain[2]}
	}
	o := b.value(v.name+".broadcast", graph.Type{DType: tensor.F32, Shape: shape}, last)
	ps := physicalShape(v, last)
	return b.add(&inst{op: "broadcast", in: []*value{v}, out: o, class: global, all: func(*Plan) {
		broadcastInto(o.data, domain, v.root().data, ps)
	}})
}

func broadcastInto(dst []float32, domain []int, src []float32, shape []int) {
	r := len(domain)
	stride := make([]int, r)
	step := 1
	for i := len(shape) - 1; i >= 0; i-- {
		if shape[i] != 1 {
			stride[r-len(shape)+i] = step
		}
		step *= shape[i]
	}
	idx := make([]int, r)
	at := 0
	for k := range dst {
		dst[k] = src[at]
		for i := r - 1; i >= 0; i-- {
			idx[i]++
			at += stride[i]
			if idx[i] < domain[i] {
				break
			}
			at -= stride[i] * idx[i]
			idx[i] = 0
		}
	}
}

// locals tells which operands are read at the rows in work only.
func locals(in []*value, domain []int, last bool) []bool {
	l := make([]bool, len(in))
	for i, v := range in {
		ps := physicalShape(v, last)
		l[i] = len(domain) > 0 && len(ps) == len(domain) && ps[0] == domain[0] && (domain[0] > 1 || v.size() == tensor.Shape(domain).Size())
	}
	return l
}

func (b *builder) errorf(n *graph.Node, format string, args ...any) error {
	return fmt.Errorf("engine: node %s (%s): %w", n.Name(), n.Op().Kind(), fmt.Errorf(format, args...))
}
