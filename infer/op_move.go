package infer

import (
	"lowbit/graph"
	"lowbit/quant"
)

// maxPoolOp takes the greatest of each window: of codes whole rows at a time,
// of floats pixel by pixel.
type maxPoolOp struct {
	o       graph.Pool
	in, out *value
}

func (o *maxPoolOp) scratch(*plan, int) int { return 2 * o.in.row() }

func (o *maxPoolOp) run(f *frame, scratch []byte, r0, r1 int) {
	for y := r0; y < r1; y++ {
		if o.out.to.codes {
			o.codes(f, scratch[:o.in.row()], scratch[o.in.row():][:o.in.row()], y)
		} else {
			o.floats(f, y)
		}
	}
}

// codes: the greatest code of each column in tall, of each window of tall that
// begins at a pixel in wide; windows over the border one by one.
func (o *maxPoolOp) codes(f *frame, tall, wide []uint8, y int) {
	k, c := f.plan.k, o.in.c
	first := true
	for kh := range o.o.Kernel[0] {
		iy := y*o.o.Stride[0] - o.o.Pad[0] + kh
		if iy < 0 || iy >= o.in.h {
			continue
		}
		row := f.codeRow(o.in, iy)
		if first {
			copy(tall, row)
			first = false
			continue
		}
		k.MaxU8(tall, tall, row)
	}
	kw := o.o.Kernel[1]
	inner := max(0, (o.in.w-kw+1)*c)
	copy(wide[:inner], tall)
	for i := 1; i < kw && inner > 0; i++ {
		k.MaxU8(wide[:inner], wide[:inner], tall[i*c:][:inner])
	}
	dst := f.codeRow(o.out, y)
	for x := range o.out.w {
		to := dst[x*c:][:c]
		ix := x*o.o.Stride[1] - o.o.Pad[1]
		if ix >= 0 && ix+kw <= o.in.w {
			copy(to, wide[ix*c:])
			continue
		}
		from, end := max(ix, 0), min(ix+kw, o.in.w)
		copy(to, tall[from*c:])
		for from++; from < end; from++ {
			k.MaxU8(to, to, tall[from*c:])
		}
	}
}

func (o *maxPoolOp) floats(f *frame, y int) {
	k, c := f.plan.k, o.in.c
	dst := f.floatRow(o.out, y)
	for x := range o.out.w {
		to, first := dst[x*c:][:c], true
		eachInWindow(o.o, o.in, y, x, func(iy, ix int) {
			src := f.floatRow(o.in, iy)[ix*c:][:c]
			if first {
				copy(to, src)
				first = false
				return
			}
			k.Max(to, to, src)
		})
	}
}

// moveOp copies parts of values to places of another and pads the rest.
type moveOp struct {
	parts   []part
	out     *value
	pad     float32 // the real value of the rest
	flatten bool    // one part, to logical order
}

func (o *moveOp) scratch(*plan, int) int { return 0 }

func (o *moveOp) run(f *frame, _ []byte, r0, r1 int) {
	if o.flatten {
		o.flat(f)
		return
	}
	t := o.out.to
	if t.codes {
		pad := uint8(0)
		if o.partial() {
			pad = uint8(t.code(o.pad) + t.zero())
		}
		moveRows(o, r0, r1, pad, f.codeRow)
		return
	}
	moveRows(o, r0, r1, quant.Clip(o.pad, t.min, t.max), f.floatRow)
}

// partial reports whether the parts leave something to pad.
func (o *moveOp) partial() bool {
	n := 0
	for _, p := range o.parts {
		n += p.size[0] * p.size[1] * p.size[2]
	}
	return n < o.out.c*o.out.h*o.out.w
}

func moveRows[T uint8 | float32](o *moveOp, r0, r1 int, pad T, row func(v *value, y int) []T) {
	partial := o.partial()
	for y := r0; y < r1; y++ {
		dst := row(o.out, y)
		if partial {
			clear(dst)
			if pad != 0 {
				for i := range dst {
					dst[i] = pad
				}
			}
		}
		for _, p := range o.parts {
			iy := y - p.at[1]
			if iy < 0 || iy >= p.size[1] {
				continue
			}
			src := row(p.src, p.start[1]+iy*p.step[1])
			if p.step[2] == 1 && p.size[0] == o.out.c && p.size[0] == p.src.c {
				copy(dst[p.at[2]*o.out.c:], src[p.start[2]*p.src.c:][:p.size[2]*p.src.c])
				continue
			}
			dst, src = dst[p.at[2]*o.out.c+p.at[0]:], src[p.start[2]*p.src.c+p.start[0]:]
			for x := 0; x < p.size[2]; x++ {
				copy(dst[x*o.out.c:], src[x*p.step[2]*p.src.c:][:p.size[0]])
			}
		}
	}
}

// flat puts an image in the order channel, row, column.
func (o *moveOp) flat(f *frame) {
	in := o.parts[0].src
	if o.out.to.codes {
		flatten(in, f.codeRow(o.out, 0), f.codeRow)
	} else {
		flatten(in, f.floatRow(o.out, 0), f.floatRow)
	}
}

func flatten[T any](in *value, dst []T, row func(v *value, y int) []T) {
	for y := range in.h {
		src := row(in, y)
		for x := range in.w {
			for c, v := range src[x*in.c:][:in.c] {
				dst[(c*in.h+y)*in.w+x] = v
			}
		}
	}
}
