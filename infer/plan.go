package infer

import (
	"fmt"
	"slices"
	"unsafe"

	"lowbit/graph"
	"lowbit/internal/kernel"
)

// plan is what a session runs: instructions over values of one example, in an
// arena whose layout is fixed. It never changes and is shared by all sessions.
type plan struct {
	k            *kernel.Table
	instructions []*instruction
	values       []*value
	input        []int // shape of one example
	output       *value
	outputShape  []int
	arenaBytes   int
	apart        bool                  // no two values share memory: halos are filled once
	constants    map[float32][]float32 // vectors of one number, blockFloats long
}

// blockFloats is the length of the runs in which float operations go over
// values: five of them fit the first-level cache.
const blockFloats = 2048

// value is one example's activation, channels last: codes as u8 (signed ones
// around 128) with a halo of code 0 for padding, or float32 without one.
type value struct {
	node    *graph.Node // what it is, and in which form
	to      target
	c, h, w int
	halo    [4]int // pixels at the top, left, bottom, right; of codes
	off     int    // in the arena
	// The instructions between which it lives.
	first, last int
}

func newValue(n *graph.Node, to target) *value {
	v := &value{node: n, to: to, c: 1, h: 1, w: 1, first: -1}
	s := n.Shape()
	if len(s) > 1 {
		v.c = s[1]
	}
	if len(s) == 4 {
		v.h, v.w = s[2], s[3]
	}
	return v
}

// row is the elements of a row of pixels without the halo.
func (v *value) row() int { return v.w * v.c }

// pitch is the bytes from one row of codes to the next.
func (v *value) pitch() int { return (v.halo[1] + v.w + v.halo[3]) * v.c }

// origin is the offset of the code of pixel (0, 0).
func (v *value) origin() int { return v.halo[0]*v.pitch() + v.halo[1]*v.c }

// sizeBytes is the value's part of the arena.
func (v *value) sizeBytes() int {
	if !v.to.codes {
		return 4 * v.c * v.h * v.w
	}
	return (v.halo[0]+v.h+v.halo[2])*v.pitch() + kernel.IntOverread(v.c)
}

func (v *value) widen(top, left, bottom, right int) {
	for i, n := range [4]int{top, left, bottom, right} {
		v.halo[i] = max(v.halo[i], n)
	}
}

// instruction computes values; its rows may be computed apart from each other.
type instruction struct {
	op      operator
	in, out []*value
	rows    int
	info    OpInfo
}

// operator is what an instruction does. An operator holds no state of a run.
type operator interface {
	// scratch is the bytes that run needs for itself.
	scratch(p *plan, rows int) int
	// run computes rows r0 to r1.
	run(f *frame, scratch []byte, r0, r1 int)
}

// frame is the state of one example's run.
type frame struct {
	plan  *plan
	arena []byte
	input []float32
}

// codes returns a value's bytes with its halo and what may be read beyond.
func (f *frame) codes(v *value) []uint8 { return f.arena[v.off:][:v.sizeBytes()] }

// codeRow returns one row of codes.
func (f *frame) codeRow(v *value, y int) []uint8 {
	return f.arena[v.off+v.origin()+y*v.pitch():][:v.row()]
}

// floats returns a value of floats.
func (f *frame) floats(v *value) []float32 {
	return floatsOf(f.arena[v.off:][:v.sizeBytes()])
}

func (f *frame) floatRow(v *value, y int) []float32 {
	return f.floats(v)[y*v.row():][:v.row()]
}

func floatsOf(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

func int8sOf(b []byte) []int8 {
	return unsafe.Slice((*int8)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

func int32sOf(b []byte) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// fillHalo sets what surrounds a value of codes to code 0.
func (f *frame) fillHalo(v *value) {
	if !v.to.codes || v.halo == [4]int{} {
		return
	}
	b, zero := f.codes(v), uint8(v.to.zero())
	pitch := v.pitch()
	body := v.origin() + v.row()
	fill(b[:v.origin()], zero)
	for y := 1; y < v.h; y++ {
		fill(b[body:v.origin()+y*pitch], zero)
		body += pitch
	}
	fill(b[body:len(b)-kernel.IntOverread(v.c)], zero)
}

func fill(b []byte, v byte) {
	if v == 0 {
		clear(b)
		return
	}
	for i := range b {
		b[i] = v
	}
}

// constant returns blockFloats times v.
func (p *plan) constant(v float32) []float32 {
	c := p.constants[v]
	if c == nil {
		c = make([]float32, blockFloats)
		for i := range c {
			c[i] = v
		}
		p.constants[v] = c
	}
	return c
}

// Bounds of what a network may ask for: far above any of its kind, low enough
// that a hostile file cannot take a machine's memory.
const (
	maxNodes      = 20000
	maxValues     = 1 << 16
	maxValueBytes = 1 << 28 // of one activation with its padding
	maxArenaBytes = 1 << 30 // of all of them, were none to share memory
)

// check refuses activations beyond the bounds.
func (p *plan) check() error {
	total := 0.0
	for _, n := range p.instructions {
		for _, v := range n.out {
			h := v.halo
			size := float64(h[0]+v.h+h[2]) * float64(h[1]+v.w+h[3]) * float64(v.c) * 4
			if total += size; size > maxValueBytes || total > maxArenaBytes {
				return fmt.Errorf("%q: activations of %.0f bytes, together %.0f, want at most %d and %d",
					v.node.Name(), size, total, maxValueBytes, maxArenaBytes)
			}
		}
	}
	return nil
}

// apartBytes is the most memory in which every value has a place of its own:
// half of a second-level cache of 1 MiB.
const apartBytes = 512 << 10

// place gives every value its part of the arena: parts of their own if that is
// little, else each in turn the lowest part that is free from its first to its
// last instruction.
func (p *plan) place() {
	total := 0
	for i, n := range p.instructions {
		for _, v := range n.in {
			v.last = i
		}
		for _, v := range n.out {
			v.first, v.last = i, max(v.last, i)
			p.values = append(p.values, v)
			total += v.room()
		}
	}
	p.output.last = len(p.instructions)
	p.apart = total <= apartBytes
	var placed []*value // in the order of their offsets
	for _, v := range p.values {
		for _, o := range placed {
			if !p.apart && (o.last < v.first || v.last < o.first) {
				continue
			}
			if v.off+v.room() <= o.off {
				break
			}
			v.off = max(v.off, o.off+o.room())
		}
		at := 0
		for at < len(placed) && placed[at].off <= v.off {
			at++
		}
		placed = slices.Insert(placed, at, v)
		p.arenaBytes = max(p.arenaBytes, v.off+v.room())
	}
}

// room is the value's part of the arena, a multiple of the cache line.
func (v *value) room() int { return (v.sizeBytes() + 63) &^ 63 }

// scratchBytes is what a worker needs for any instruction.
func (p *plan) scratchBytes() int {
	n := 0
	for _, i := range p.instructions {
		n = max(n, i.op.scratch(p, i.rows))
	}
	return n
}
