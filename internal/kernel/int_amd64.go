//go:build !noasm && gc

package kernel

import "unsafe"

// The integer network's convolutions use the tiles of conv_int_amd64.go on
// images that lie padded in memory. AVX-512 reads the bytes where they are and
// ends a tile with the multiplication, rounding and packing to codes in
// registers; AVX2 widens the rows it needs to 16 bits first.
//
// Packed weights: [group][panel][run][word][lane][4 bytes], then for each
// packed channel the int32 that its sum starts from.

func avx2Int(base IntOps) IntOps {
	t := intRow(avx2, base)
	t.IntConvU8 = avx2.intConvU8Rows
	return t
}

func avx512Int(base IntOps) IntOps {
	t := intRow(avx512, base)
	t.IntConvU8 = intConvU8AVX512
	t.RequantU8 = func(dst []uint8, acc []int32, m []float32, q *Clamp) {
		if len(dst) == 0 {
			return
		}
		acc, n := acc[:len(dst)], len(m)
		requantU8AVX512(&dst[0], &acc[0], &m[0], &q.Lo, n, len(dst)/n)
	}
	t.AddU8 = func(dst, a, b []uint8, p *Addition) {
		a, b = a[:len(dst)], b[:len(dst)]
		n := len(dst) &^ 15
		if n > 0 {
			addU8AVX512(&dst[0], &a[0], &b[0], &p.StepA, n)
		}
		addU8Generic(dst[n:], a[n:], b[n:], p)
	}
	t.AddF32 = func(dst []uint8, y, a, b []float32, p *Addition) {
		y, a, b = y[:len(dst)], a[:len(dst)], b[:len(dst)]
		n := len(dst) &^ 15
		if n > 0 {
			addF32AVX512(&dst[0], &y[0], &a[0], &b[0], &p.StepA, n)
		}
		addF32Generic(dst[n:], y[n:], a[n:], b[n:], p)
	}
	return t
}

func intRow(is isa, base IntOps) IntOps {
	t := base
	t.IntPackSize = is.intPackSize
	t.IntPack = is.intPack
	t.IntScratch = is.intScratch
	t.IntConv = is.intConv
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

// intConvU8Rows is IntConvU8 by rows of sums in scratch.
func (is isa) intConvU8Rows(s *ConvShape, dst []uint8, dstPitch int, x []uint8, pitch int, zero uint8, packed []int8, m []float32, q *Clamp, r0, r1 int, scratch []uint8) {
	n := s.OW() * s.O
	acc := sumsIn(scratch, n)
	for r := r0; r < r1; r++ {
		is.intConv(s, acc, x, pitch, zero, packed, r, r+1, scratch[4*n:])
		requantU8Generic(dst[r*dstPitch:][:n], acc, m, q)
	}
}

// intShape is a convolution of the integer network on one instruction set.
type intShape struct {
	isa
	*ConvShape
	cg, og          int
	run, runs, outs int // values in a run, runs in an outer step, outer steps
	dense           bool
}

func (is isa) intShape(s *ConvShape) intShape {
	d := intShape{isa: is, ConvShape: s, cg: s.C / s.Groups, og: s.O / s.Groups}
	d.run, d.runs, d.outs = d.cg, s.KW, s.KH
	if d.dense = s.KW == 1 || s.DW == 1 && s.Groups == 1; d.dense {
		d.run, d.runs, d.outs = s.KW*d.cg, s.KH, 1
	}
	return d
}

// lanesOf is the packed output channels of a group.
func (d *intShape) lanesOf() int { return d.padCols(d.og) }

// runBytes is the bytes of one run of one lane.
func (d *intShape) runBytes() int { return 4 * d.words(d.run) }

// groupSize is the bytes of a group's packed weights.
func (d *intShape) groupSize() int { return d.outs * d.runs * d.runBytes() * d.lanesOf() }

func (is isa) intPackSize(s *ConvShape) int {
	if s.depthwise() {
		return (s.KH*s.KW + 4) * is.padCols(s.C)
	}
	d := is.intShape(s)
	return s.Groups * (d.groupSize() + 4*d.lanesOf())
}

func (is isa) intPack(s *ConvShape, dst, w []int8, bias []int32, zero uint8) {
	dst = dst[:is.intPackSize(s)]
	if s.depthwise() {
		is.intPackDepth(s, dst, w, bias, zero)
		return
	}
	d := is.intShape(s)
	starts := dst[s.Groups*d.groupSize():]
	row := d.outs * d.runs * d.run
	for o := 0; o < s.O; o++ {
		g, ch := o/d.og, o%d.og
		j := ch / (2 * d.lanes()) * 2 * d.lanes()
		nv, _ := d.panel(d.og - j)
		panel := dst[g*d.groupSize()+d.outs*d.runs*d.runBytes()*j:]
		d.packRow(panel, w[o*row:][:row], nv*d.lanes(), ch-j)
		start := bias[o]
		if is == avx512 {
			start -= int32(zero) * sumS8(w[o*row:][:row])
		}
		putSum(starts, g*d.lanesOf()+ch, start)
	}
}

// packRow writes the weights of one output channel to its lane of a panel.
func (d *intShape) packRow(panel, w []int8, width, lane int) {
	runSize := d.runBytes() * width
	for ; len(w) > 0; w, panel = w[d.run:], panel[runSize:] {
		i := 0
		if d.isa == avx512 {
			out := panel[4*lane : runSize]
			for ; i+4 <= d.run; i += 4 {
				*(*uint32)(unsafe.Pointer(&out[i*width])) = *(*uint32)(unsafe.Pointer(&w[i]))
			}
		}
		for ; i < d.run; i++ {
			d.putWeight(panel, width, lane, i, w[i])
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

// intPackDepth packs [tap][channels, padded], then the starts. Both instruction
// sets keep the activations in bytes around the zero point.
func (is isa) intPackDepth(s *ConvShape, dst, w []int8, bias []int32, zero uint8) {
	width, kk := is.padCols(s.C), s.KH*s.KW
	for c := 0; c < s.C; c++ {
		start := bias[c]
		for tap, v := range w[c*kk:][:kk] {
			dst[tap*width+c] = v
			start -= int32(zero) * int32(v)
		}
		putSum(dst[kk*width:], c, start)
	}
}

func (is isa) intScratch(s *ConvShape, pitch, rows int) int {
	sums := 4 * s.OW() * s.O
	if is == avx512 || s.depthwise() {
		return sums
	}
	return sums + 2*(((rows-1)*s.SH+(s.KH-1)*s.DH+1)*pitch+IntOverread)
}

// starts returns what the sums begin with, behind n bytes of packed weights.
func starts(packed []int8, n int) *int32 {
	return (*int32)(unsafe.Pointer(&packed[n]))
}

// rowSpan is the bytes from the first to behind the last value that output
// rows r0..r1 read.
func rowSpan(s *ConvShape, pitch, r0, r1 int) (from, to int) {
	last := (r1-1)*s.SH + (s.KH-1)*s.DH
	return r0 * s.SH * pitch, last*pitch + ((s.OW()-1)*s.SW+(s.KW-1)*s.DW+1)*s.C
}

func (is isa) intConv(s *ConvShape, acc []int32, x []uint8, pitch int, zero uint8, packed []int8, r0, r1 int, scratch []uint8) {
	if r0 >= r1 {
		return
	}
	packed, acc = packed[:is.intPackSize(s)], acc[:(r1-r0)*s.OW()*s.O]
	from, to := rowSpan(s, pitch, r0, r1)
	x = x[from : to+IntOverread]
	if s.depthwise() {
		is.intDepth(s, acc, x, pitch, packed, r1-r0)
		return
	}
	c := intCall{intShape: is.intShape(s), x: x, pitch: pitch, packed: packed, acc: acc}
	if is == avx2 {
		c.x, c.pitch = scratch[:2*len(x)], 2*pitch
		is.load(c.x, x, zero)
	}
	c.run(r1 - r0)
}

// panelAt is where the weights of output channels j and up of a group begin.
func (d *intShape) panelAt(g, j int) int {
	return g*d.groupSize() + d.outs*d.runs*d.runBytes()*j
}

// intCall is one call of a convolution: to sums in acc, or, where acc is nil, to
// codes in dst.
type intCall struct {
	intShape
	x        []uint8
	pitch    int
	packed   []int8
	acc      []int32
	dst      []uint8
	dstPitch int
	m        []float32
	q        *Clamp
}

// run goes over panels of output channels: for bands of rows, so that the band
// stays in the first-level cache while the panels pass, or for all rows where
// the weights are what should be read once.
func (d *intCall) run(rows int) {
	size := d.actBytes()
	step := rows
	if len(d.packed) <= 4*weightBand {
		step = max(1, 4*sourceBand/d.pitch/d.SH)
	}
	t := tile{
		k: d.words(d.intShape.run), runs: d.runs, outs: d.outs, runStep: d.DW * d.C * size, outStep: d.DH * d.pitch,
		rowStep: d.SW * d.C * size,
	}
	if d.dense {
		t.runStep = t.outStep
	}
	n := intPanel{ow: d.OW()}
	// The pixels of a 1 x 1 convolution without gaps are one long row.
	joined := d.KH*d.KW*d.SH*d.SW == 1 && d.pitch == n.ow*d.C*size && (d.acc != nil || d.dstPitch == n.ow*d.O)
	for r0 := 0; r0 < rows; r0 += step {
		for g := 0; g < d.Groups; g++ {
			for j := 0; j < d.og; j += 2 * d.lanes() {
				n.nv, t.cols = d.panel(d.og - j)
				n.tiles, n.size, n.extra = split(n.ow, d.intMost(n.nv))
				n.o = g*d.og + j
				n.b, n.start = &d.packed[d.panelAt(g, j)], starts(d.packed, d.Groups*d.groupSize()+4*(g*d.lanesOf()+j))
				end := min(rows, r0+step)
				if joined {
					n.tiles, n.size, n.extra = split((end-r0)*n.ow, d.intMost(n.nv))
					end = r0 + 1
				}
				for r := r0; r < end; r++ {
					d.row(r, r*d.SH*d.pitch+g*d.cg*size, &n, &t)
				}
			}
		}
	}
}

// intPanel is what the rows of a panel share: its weights, what its sums start
// from, its first output channel o, and the tiles of a row.
type intPanel struct {
	b                      *int8
	start                  *int32
	nv, o                  int
	ow, tiles, size, extra int
}

// row computes the output channels of a panel in row r, read from byte a on.
func (d *intCall) row(r, a int, p *intPanel, t *tile) {
	c := r*p.ow*d.O + p.o
	t.cStep = 4 * d.O
	if d.acc == nil {
		c, t.cStep = r*d.dstPitch+p.o, d.O
	}
	for i := 0; i < p.tiles; i++ {
		n := p.size + b2i(i < p.extra)
		if d.acc != nil {
			d.rowsInt(n, p.nv, &d.x[a], p.b, &d.acc[c], p.start, t)
		} else {
			rowsU8(n, p.nv, &d.x[a], p.b, &d.dst[c], p.start, &d.m[p.o], d.q, t)
		}
		a, c = a+n*t.rowStep, c+n*d.O
	}
}

// intDepth is intConv for one channel a group: rows output rows from x on.
func (is isa) intDepth(s *ConvShape, acc []int32, x []uint8, pitch int, packed []int8, rows int) {
	width := is.padCols(s.C)
	t := tile{
		k: s.KW, kStep: s.DW * s.C, outs: s.KH, outStep: s.DH * pitch, bStep: width,
		rowStep: s.SW * s.C, cStep: 4 * s.C,
	}
	t.runs, t.cols = is.blocks(s.C)
	start := starts(packed, s.KH*s.KW*width)
	ow := s.OW()
	tiles, size, extra := split(ow, is.depthMost())
	for r := 0; r < rows; r++ {
		a, c := r*s.SH*pitch, r*ow*s.C
		for i := 0; i < tiles; i++ {
			m := size + b2i(i < extra)
			depthwiseU8S8(is, m, &x[a], &packed[0], &acc[c], start, &t)
			a, c = a+m*t.rowStep, c+m*s.C
		}
	}
}

func intConvU8AVX512(s *ConvShape, dst []uint8, dstPitch int, x []uint8, pitch int, zero uint8, packed []int8, m []float32, q *Clamp, r0, r1 int, scratch []uint8) {
	if r0 >= r1 {
		return
	}
	if s.depthwise() {
		n := s.OW() * s.O
		acc := sumsIn(scratch, n)
		for r := r0; r < r1; r++ {
			avx512.intConv(s, acc, x, pitch, zero, packed, r, r+1, nil)
			row := dst[r*dstPitch:][:n]
			requantU8AVX512(&row[0], &acc[0], &m[0], &q.Lo, s.C, s.OW())
		}
		return
	}
	packed, m = packed[:avx512.intPackSize(s)], m[:s.O]
	from, to := rowSpan(s, pitch, r0, r1)
	x, dst = x[from:to+IntOverread], dst[r0*dstPitch:(r1-1)*dstPitch+s.OW()*s.O]
	c := intCall{intShape: avx512.intShape(s), x: x, pitch: pitch, packed: packed, dst: dst, dstPitch: dstPitch, m: m, q: q}
	c.run(r1 - r0)
}
