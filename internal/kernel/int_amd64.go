//go:build !noasm && gc

package kernel

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// The integer network's convolutions use the tiles of conv_int_amd64.go on
// images that lie padded in memory. AVX-512 reads the bytes where they are and
// ends a tile with the multiplication, rounding and packing to codes in
// registers; AVX2 reads them too where the CPU has AVX-VNNI or the weights have
// at most 7 bits, and else widens the rows it needs to 16 bits first. AMX takes
// the same words in registers of 16 pixels times 64 values.
//
// Packed weights: [group][panel][run][word][lane][4 bytes], or the panels of
// int_bits_amd64.go, then for each packed channel the int32 that its sum starts
// from.

// intISA is an instruction set of integer kernels: one of vectors, whether AMX
// takes what fits its tiles, and whether AVX-VNNI multiplies where the vectors
// are AVX2's.
type intISA struct {
	isa
	tiles, vnni bool
}

func avx2Int(base IntOps) IntOps { return intISA{isa: avx2}.narrow(base) }

func avxVNNIInt(base IntOps) IntOps { return intISA{isa: avx2, vnni: true}.narrow(base) }

func (is intISA) narrow(base IntOps) IntOps {
	t := is.ops(base)
	t.IntConvU8 = is.intConvU8Rows
	t.RequantU8 = requantRowsAVX2
	t.AddU8 = func(dst, a, b []uint8, p *Addition) {
		a, b = a[:len(dst)], b[:len(dst)]
		n := len(dst) &^ 7
		if n > 0 {
			addU8AVX2(&dst[0], &a[0], &b[0], &p.StepA, n)
		}
		addU8Generic(dst[n:], a[n:], b[n:], p)
	}
	t.QuantStepU8 = func(dst []uint8, v []float32, step float32, q *Clamp) {
		v = v[:len(dst)]
		n, p := len(dst)&^7, [4]float32{step, q.Lo, q.Hi, float32(q.Zero)}
		if n > 0 {
			quantStepU8AVX2(&dst[0], &v[0], &p[0], n)
		}
		quantStepU8Generic(dst[n:], v[n:], step, q)
	}
	return t
}

// requantRowsAVX2 is RequantU8; what is left of a row behind eights is computed
// one by one.
func requantRowsAVX2(dst []uint8, acc []int32, m []float32, q *Clamp) {
	acc = acc[:len(dst)]
	n := len(m) &^ 7
	if n == len(m) && len(dst) > 0 {
		requantU8AVX2(&dst[0], &acc[0], &m[0], &q.Lo, n, len(dst)/n)
		return
	}
	for at := 0; at < len(dst); at += len(m) {
		if n > 0 {
			requantU8AVX2(&dst[at], &acc[at], &m[0], &q.Lo, n, 1)
		}
		requantU8Generic(dst[at+n:at+len(m)], acc[at+n:at+len(m)], m[n:], q)
	}
}

func avx512Int(base IntOps) IntOps {
	t := intISA{isa: avx512}.ops(base)
	t.RequantU8 = requantRowsAVX512
	t.AddPrepare = prepareAdd
	t.AddU8 = addU8Blocks
	t.AddF32 = func(dst []uint8, y, a, b []float32, p *Addition) {
		y, a, b = y[:len(dst)], a[:len(dst)], b[:len(dst)]
		n := len(dst) &^ 15
		if n > 0 {
			addF32AVX512(&dst[0], &y[0], &a[0], &b[0], &p.StepA, n)
		}
		addF32Generic(dst[n:], y[n:], a[n:], b[n:], p)
	}
	t.QuantStepU8 = quantStepBlocks
	if hasByteShuffles {
		t.MapU8 = mapU8Blocks
		t.InterleaveU8 = interleaveU8Blocks
	}
	return t
}

// hasByteShuffles: VPERMB and its like, which the first CPUs with VNNI lack.
var hasByteShuffles = cpu.X86.HasAVX512VBMI

func amxInt(base IntOps) IntOps { return intISA{isa: avx512, tiles: true}.ops(base) }

func requantRowsAVX512(dst []uint8, acc []int32, m []float32, q *Clamp) {
	if len(dst) == 0 {
		return
	}
	acc, n := acc[:len(dst)], len(m)
	requantU8AVX512(&dst[0], &acc[0], &m[0], &q.Lo, n, len(dst)/n)
}

func (is intISA) ops(base IntOps) IntOps {
	t := base
	t.IntPackSize = is.intPackSize
	t.IntPack = is.intPack
	t.IntKernel = is.intKernel
	t.IntScratch = is.intScratch
	t.IntConv = is.intConv
	t.IntConvU8 = is.intConvU8
	t.MaxU8 = func(dst, a, b []uint8) {
		a, b = a[:len(dst)], b[:len(dst)]
		n := len(dst) &^ 31
		if n > 0 {
			maxU8AVX2(&dst[0], &a[0], &b[0], n)
		}
		maxU8Generic(dst[n:], a[n:], b[n:])
	}
	return t
}

// intShape is a convolution of the integer network on one instruction set.
type intShape struct {
	intISA
	*IntLayer
	cg, og          int
	run, runs, outs int // values in a run, runs in an outer step, outer steps
	runWords        int // words of a packed run
	dense           bool
	bytes           bool // the activations are read as bytes, four to a word
	tiled           bool // AMX takes it
	bits            int  // in which the weights lie in memory
}

// tileChannels and tilePixels are the least that AMX is worth setting up for.
const tileChannels, tilePixels = 8, 8

func (is intISA) intShape(l *IntLayer) intShape {
	d := intShape{intISA: is, IntLayer: l, cg: l.C / l.Groups, og: l.O / l.Groups, bits: 8}
	d.run, d.runs, d.outs = d.cg, l.KW, l.KH
	if d.dense = l.KW == 1 || l.DW == 1 && l.Groups == 1; d.dense {
		d.run, d.runs, d.outs = l.KW*d.cg, l.KH, 1
	}
	d.bytes = is.isa == avx512 || is.vnni || l.Bits+l.Shift < 8
	d.runWords = d.words(d.run)
	if d.tiled = is.tiles && d.og >= tileChannels && l.OH()*l.OW() >= tilePixels; d.tiled {
		d.runWords = (d.runWords + 15) &^ 15
	}
	if l.Bits < 5 && is.isa == avx512 && l.Groups == 1 && d.groupSize() >= bitsLeast {
		d.bits = l.Bits
	}
	return d
}

// words is the words that n values take.
func (d *intShape) words(n int) int {
	if d.bytes {
		return (n + 3) / 4
	}
	return d.isa.words(n)
}

// actBytes is the size of an activation as the kernel reads it.
func (d *intShape) actBytes() int {
	if d.bytes {
		return 1
	}
	return d.isa.actBytes()
}

// lanesOf is the packed output channels of a group.
func (d *intShape) lanesOf() int { return d.padCols(d.og) }

// runBytes is the bytes of one run of one lane.
func (d *intShape) runBytes() int { return 4 * d.runWords }

// laneBytes is the bytes of one lane.
func (d *intShape) laneBytes() int { return d.outs * d.runs * d.runBytes() }

// groupSize is the bytes of a group's weights at 8 bits.
func (d *intShape) groupSize() int { return d.laneBytes() * d.lanesOf() }

// panelAt is where the packed weights of output channels j and up of a group
// begin, j a multiple of a panel's channels.
func (d *intShape) panelAt(g, j int) int {
	if d.bits < 8 {
		return j / (2 * d.lanes()) * d.bitsSize(2*d.lanes())
	}
	return g*d.groupSize() + d.laneBytes()*j
}

// weightsSize is the bytes of all weights, before the starts.
func (d *intShape) weightsSize() int {
	if d.bits < 8 {
		whole := d.lanesOf() / (2 * d.lanes())
		size := whole * d.bitsSize(2*d.lanes())
		if rest := d.lanesOf() % (2 * d.lanes()); rest > 0 {
			size += d.bitsSize(rest)
		}
		return size
	}
	return d.Groups * d.groupSize()
}

func (is intISA) intPackSize(l *IntLayer) int {
	if l.depthwise() {
		return is.depthTaps(l)*is.padCols(l.C) + 4*is.padCols(l.C)
	}
	d := is.intShape(l)
	n := d.weightsSize() + 4*l.Groups*d.lanesOf()
	if d.bits < 8 {
		n += bitsOverread
	}
	return n
}

func (is intISA) intPack(l *IntLayer, w []int8, bias []int32) {
	l.Packed = l.Packed[:is.intPackSize(l)]
	if l.depthwise() {
		is.intPackDepth(l, w, bias)
		return
	}
	d := is.intShape(l)
	starts, row := l.Packed[d.weightsSize():], d.laneBytes()/d.runBytes()*d.run
	for o, start := range bias[:l.O] {
		if d.bytes {
			start -= int32(l.Zero) * sumS8(w[o*row:][:row])
		}
		putSum(starts, o/d.og*d.lanesOf()+o%d.og, start)
	}
	if d.bits < 8 {
		d.packBits(w)
		return
	}
	for g := range l.Groups {
		for j := 0; j < d.og; j += 2 * d.lanes() {
			d.packPanel(l.Packed[d.panelAt(g, j):], w[(g*d.og+j)*row:], j)
		}
	}
}

// packPanel packs output channels j and up of a group, as many as fit a panel;
// w begins with the first one's weights.
func (d *intShape) packPanel(panel, w []int8, j int) {
	nv, _ := d.panel(d.og - j)
	width, row := nv*d.lanes(), d.outs*d.runs*d.run
	count := min(width, d.og-j)
	lane := 0
	for ; d.isa == avx512 && d.run%64 == 0 && lane+16 <= count; lane += 16 {
		d.packRows16(panel, w[lane*row:][:16*row], width, lane)
	}
	for ; lane < count; lane++ {
		d.packRow(panel, w[lane*row:][:row], width, lane)
	}
}

// packRows16 is packRow for 16 output channels: words of rows become rows of
// words.
func (d *intShape) packRows16(panel, w []int8, width, lane int) {
	row := len(w) / 16
	for at := 0; at < row; at += d.run {
		dst := panel[at/d.run*d.runBytes()*width+4*lane:]
		transposeAVX512x16((*float32)(unsafe.Pointer(&dst[0])), (*float32)(unsafe.Pointer(&w[at])), row, 4*width, d.run/64)
	}
}

// packRow writes the weights of one output channel to its lane of a panel.
func (d *intShape) packRow(panel, w []int8, width, lane int) {
	runSize := d.runBytes() * width
	for ; len(w) > 0; w, panel = w[d.run:], panel[runSize:] {
		i := 0
		if d.bytes {
			out := panel[4*lane : runSize]
			for ; i+4 <= d.run; i += 4 {
				*(*uint32)(unsafe.Pointer(&out[i*width])) = *(*uint32)(unsafe.Pointer(&w[i]))
			}
		}
		for ; i < d.run; i++ {
			if d.bytes {
				avx512.putWeight(panel, width, lane, i, w[i])
			} else {
				d.putWeight(panel, width, lane, i, w[i])
			}
		}
	}
}

// sumS8 adds eight bytes at a time, offset to 0..255, in words of 16 bits.
func sumS8(w []int8) int32 {
	const even, most = 0x00ff00ff00ff00ff, 128
	n := len(w) &^ 7
	var sum int64
	for at := 0; at < n; {
		var words uint64
		for end := min(n, at+8*most); at < end; at += 8 {
			v := *(*uint64)(unsafe.Pointer(&w[at])) ^ 0x8080808080808080
			words += v&even + v>>8&even
		}
		for ; words > 0; words >>= 16 {
			sum += int64(words & 0xffff)
		}
	}
	sum -= int64(n) * 128
	for _, v := range w[n:] {
		sum += int64(v)
	}
	return int32(sum)
}

func (is intISA) intKernel(l *IntLayer) (name string, bits int) {
	switch d := is.intShape(l); {
	case l.depthwise() && is.depthWords(l):
		return "vnni, words of pixels", 8
	case l.depthwise():
		return "a tap at a time", 8
	case is.vnni:
		return "avx-vnni", 8
	case d.bytes && is.isa == avx2:
		return "avx2, bytes", 8
	case is.isa == avx2:
		return "avx2, 16 bits", 8
	case d.tiled:
		return "amx", d.bits
	default:
		return "vnni", d.bits
	}
}

func (is intISA) intScratch(l *IntLayer, pitch, rows int) int {
	if is.isa == avx2 || l.depthwise() {
		n := (4*l.OW()*l.O + 63) &^ 63
		if d := is.intShape(l); !l.depthwise() && !d.bytes {
			n += 2 * (((rows-1)*l.SH+(l.KH-1)*l.DH+1)*pitch + IntOverread(l.C))
		}
		return n
	}
	d, n := is.intShape(l), 0
	if d.bits < 8 {
		n += d.panelBytes()
	}
	if d.tiled {
		n += d.tileScratch(rows, pitch)
	}
	return n
}

// rowSpan is the bytes from the first to behind the last value that output
// rows r0..r1 read.
func rowSpan(s *ConvShape, pitch, r0, r1 int) (from, to int) {
	last := (r1-1)*s.SH + (s.KH-1)*s.DH
	return r0 * s.SH * pitch, last*pitch + ((s.OW()-1)*s.SW+(s.KW-1)*s.DW+1)*s.C
}
