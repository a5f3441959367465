package infer

import (
	"math"
	"slices"

	"lowbit/graph"
	"lowbit/internal/kernel"
)

// floatKind is what a floatOp does with its sources.
type floatKind uint8

const (
	copyFloats floatKind = iota
	addFloats
	subFloats
	mulFloats
	affineFloats
)

var floatKinds = map[graph.BinaryKind]floatKind{graph.Add: addFloats, graph.Sub: subFloats, graph.Mul: mulFloats}

// floatOp is an operation on the real values of one or two sources, element by
// element; codes become floats in its registers, and floats codes.
type floatOp struct {
	src         []*value
	in          []floatSource
	kind        floatKind
	channels    int       // of affineFloats
	scale       []float32 // of affineFloats, channels + blockFloats long
	shift       []float32
	sinks       []*sink
	place       *sink // the first that keeps floats: they are made in its value
	instruction *instruction
	sum         *kernel.Addition // of a sum in one pass, else nil
	sumCodes    *sink
	tables      []*[256]uint8 // of codes for codes, one for each sink, else nil
}

// floatSource is an operand; step is a block of the step of its codes.
type floatSource struct {
	v    *value
	step []float32
}

func (o *floatOp) setAffine(fs []affine32) {
	n := o.channels + blockFloats
	o.scale, o.shift = make([]float32, n), make([]float32, n)
	for i := range n {
		f := fs[i%len(fs)]
		o.scale[i], o.shift[i] = f.scale, f.shift
	}
}

func (o *floatOp) scratch(*plan, int) int { return 2 * 4 * blockFloats }

// finish finds what o amounts to in one pass, if it does: tables from codes to
// forms of codes; a sum of codes to one form of codes, or of floats that are
// kept, or cut at 0, and to one form of codes.
func (o *floatOp) finish(k *kernel.Table) {
	inFloats := func(s *sink) bool { return !s.out.to.codes }
	if o.kind == copyFloats && o.src[0].to.codes && !slices.ContainsFunc(o.sinks, inFloats) {
		for _, s := range o.sinks {
			o.tables = append(o.tables, codeTable(k, o.src[0].to, &s.clamp, s.out.to.step))
		}
	}
	if o.kind != addFloats {
		return
	}
	var codes *sink
	a, b := o.in[0].v.to, o.in[1].v.to
	for _, s := range o.sinks {
		if s.out.to.codes {
			codes = s
		}
	}
	p := kernel.Addition{StepA: a.step, StepB: b.step, ZeroA: float32(a.zero()), ZeroB: float32(b.zero())}
	switch {
	case codes == nil || a.codes != b.codes:
		return
	case a.codes && len(o.sinks) != 1:
		return
	case !a.codes && (len(o.sinks) != 2 || o.place == nil || !math.IsInf(float64(o.place.max), 1)):
		return
	}
	p.Step, p.Lo, p.Hi, p.Zero = codes.out.to.step, codes.clamp.Lo, codes.clamp.Hi, float32(codes.clamp.Zero)
	if o.place != nil {
		p.Floor = o.place.min
	}
	if a.codes {
		k.AddPrepare(&p)
	}
	o.sum, o.sumCodes = &p, codes
}

// codeTable is the code that each code of a form becomes in another grid.
func codeTable(k *kernel.Table, from target, to *kernel.Clamp, step float32) *[256]uint8 {
	var codes, table [256]uint8
	var real, steps [256]float32
	for i := range codes {
		codes[i], steps[i] = uint8(i), from.step
	}
	k.DequantU8(real[:], codes[:], steps[:], float32(from.zero()))
	k.QuantStepU8(table[:], real[:], step, to)
	return &table
}

func (o *floatOp) run(f *frame, scratch []byte, r0, r1 int) {
	k := f.plan.k
	if o.tables != nil {
		for y := r0; y < r1; y++ {
			for i, s := range o.sinks {
				k.MapU8(f.codeRow(s.out, y), f.codeRow(o.src[0], y), o.tables[i])
			}
		}
		return
	}
	if o.sum != nil {
		a, b, s := o.in[0].v, o.in[1].v, o.sumCodes
		for y := r0; y < r1; y++ {
			if a.to.codes {
				k.AddU8(f.codeRow(s.out, y), f.codeRow(a, y), f.codeRow(b, y), o.sum)
			} else {
				k.AddF32(f.codeRow(s.out, y), f.floatRow(o.place.out, y), f.floatRow(a, y), f.floatRow(b, y), o.sum)
			}
		}
		return
	}
	buf := floatsOf(scratch[:2*4*blockFloats])
	row := o.in[0].v.row()
	for y := r0; y < r1; y++ {
		for at := 0; at < row; at += blockFloats {
			n := min(blockFloats, row-at)
			dst := buf[:n]
			if o.place != nil {
				dst = f.floatRow(o.place.out, y)[at:][:n]
			}
			a := o.in[0].load(f, dst, y, at)
			switch o.kind {
			case addFloats:
				k.Add(dst, a, o.in[1].load(f, buf[blockFloats:][:n], y, at))
			case subFloats:
				k.Sub(dst, a, o.in[1].load(f, buf[blockFloats:][:n], y, at))
			case mulFloats:
				k.Mul(dst, a, o.in[1].load(f, buf[blockFloats:][:n], y, at))
			case affineFloats:
				c := at % o.channels
				k.MulAdd(dst, a, o.scale[c:], o.shift[c:])
			default:
				if o.place == nil {
					dst = a
				} else if &dst[0] != &a[0] {
					copy(dst, a)
				}
			}
			for _, s := range o.sinks {
				if s != o.place {
					s.floats(f, dst, y, at)
				}
			}
			if o.place != nil {
				o.place.clip(f, dst)
			}
		}
	}
}

// load returns len(buf) values of row y from place at on, in buf if they have
// to be made from codes.
func (s *floatSource) load(f *frame, buf []float32, y, at int) []float32 {
	if !s.v.to.codes {
		return f.floatRow(s.v, y)[at:][:len(buf)]
	}
	f.plan.k.DequantU8(buf, f.codeRow(s.v, y)[at:], s.step, float32(s.v.to.zero()))
	return buf
}

// inputOp brings an example, [channel, height, width], into the forms in which
// the network reads it.
type inputOp struct {
	c, h, w     int
	sinks       []*sink
	instruction *instruction
}

func (o *inputOp) scratch(*plan, int) int { return 5 * o.w * o.c }

func (o *inputOp) run(f *frame, scratch []byte, r0, r1 int) {
	row := floatsOf(scratch[:4*o.w*o.c])
	lines := scratch[4*o.w*o.c:][:o.w*o.c]
	for y := r0; y < r1; y++ {
		interleaved := false
		for _, s := range o.sinks {
			if s.out.to.codes {
				o.codes(f, s, lines, y)
				continue
			}
			if !interleaved {
				for c := range o.c {
					for x, v := range f.input[(c*o.h+y)*o.w:][:o.w] {
						row[x*o.c+c] = v
					}
				}
				interleaved = true
			}
			s.floats(f, row, y, 0)
		}
	}
}

// codes quantizes row y channel by channel and interleaves the codes.
func (o *inputOp) codes(f *frame, s *sink, lines []byte, y int) {
	k, dst := f.plan.k, f.codeRow(s.out, y)
	if o.c == 1 {
		lines = dst
	}
	for c := range o.c {
		line := lines[c*o.w:][:o.w]
		k.QuantStepU8(line, f.input[(c*o.h+y)*o.w:][:o.w], s.out.to.step, &s.clamp)
		if o.c != 3 && o.c > 1 {
			for x, v := range line {
				dst[x*o.c+c] = v
			}
		}
	}
	if o.c == 3 {
		k.InterleaveU8(dst, lines)
	}
}

// meanOp averages windows of floats: the sum in row-major order, divided by the
// count.
type meanOp struct {
	o       graph.Pool
	in, out *value
}

func (o *meanOp) scratch(*plan, int) int { return 4 * o.in.c }

func (o *meanOp) run(f *frame, scratch []byte, r0, r1 int) {
	k, c := f.plan.k, o.in.c
	count := floatsOf(scratch[:4*c])
	for y := r0; y < r1; y++ {
		dst := f.floatRow(o.out, y)
		clear(dst)
		for x := range o.out.w {
			sum := dst[x*c:][:c]
			n := o.o.Kernel[0] * o.o.Kernel[1]
			inside := eachInWindow(o.o, o.in, y, x, func(iy, ix int) {
				k.Acc(sum, f.floatRow(o.in, iy)[ix*c:][:c])
			})
			if !o.o.CountPad {
				n = inside
			}
			for i := range count {
				count[i] = float32(n)
			}
			k.Div(sum, sum, count)
		}
	}
}

// eachInWindow calls f for the places of a window that lie in the image and
// returns their number.
func eachInWindow(o graph.Pool, in *value, y, x int, f func(iy, ix int)) int {
	n := 0
	for kh := range o.Kernel[0] {
		iy := y*o.Stride[0] - o.Pad[0] + kh
		if iy < 0 || iy >= in.h {
			continue
		}
		for kw := range o.Kernel[1] {
			if ix := x*o.Stride[1] - o.Pad[1] + kw; ix >= 0 && ix < in.w {
				f(iy, ix)
				n++
			}
		}
	}
	return n
}

// softmaxOp is the softmax of a row, or its logarithm.
type softmaxOp struct {
	in, out *value
	log     bool
}

func (o *softmaxOp) scratch(*plan, int) int { return 0 }

func (o *softmaxOp) run(f *frame, _ []byte, _, _ int) {
	softmax(f.floats(o.out), f.floats(o.in), o.log)
}
