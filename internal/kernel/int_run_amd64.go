//go:build !noasm && gc

package kernel

import "unsafe"

// intCall is one call of a convolution: to sums in acc, or, where acc is nil, to
// codes in dst.
type intCall struct {
	intShape
	part     IntPart
	rows     int
	x        []uint8
	pitch    int // of x, in bytes
	acc      []int32
	dst      []uint8
	dstPitch int
	m        []float32
	q        *Clamp
	panels   []uint8 // of the current panel's weights, where they lie in fewer bits
	scratch  []uint8
}

// newIntCall cuts x to what the part reads.
func (is intISA) newIntCall(l *IntLayer, x []uint8, pitch int, part IntPart, scratch []uint8) intCall {
	from, to := rowSpan(&l.ConvShape, pitch, part.R0, part.R1)
	c := intCall{intShape: is.intShape(l), part: part, rows: part.R1 - part.R0, x: x[from : to+IntOverread(l.C)], pitch: pitch, scratch: scratch}
	_ = l.Packed[:is.intPackSize(l)] // panics here rather than reads beyond
	if c.bits < 8 {
		c.panels, c.scratch = scratch[:c.panelBytes()], scratch[c.panelBytes():]
	}
	return c
}

func (is intISA) intConv(l *IntLayer, acc []int32, x []uint8, pitch int, part IntPart, scratch []uint8) {
	if part.R0 >= part.R1 {
		return
	}
	acc = acc[:(part.R1-part.R0)*l.OW()*l.O]
	if l.depthwise() {
		from, to := rowSpan(&l.ConvShape, pitch, part.R0, part.R1)
		is.intDepth(l, acc, x[from:to+IntOverread(l.C)], pitch, part.R1-part.R0)
		return
	}
	c := is.newIntCall(l, x, pitch, part, scratch)
	c.acc = acc
	if !c.bytes {
		wide := scratch[:2*len(c.x)]
		is.load(wide, c.x, l.Zero)
		c.x, c.pitch = wide, 2*pitch
	}
	c.run()
}

func (is intISA) intConvU8(l *IntLayer, dst []uint8, dstPitch int, x []uint8, pitch int, m []float32, q *Clamp, part IntPart, scratch []uint8) {
	if part.R0 >= part.R1 {
		return
	}
	if l.depthwise() {
		if is.depthWords(l) {
			from, to := rowSpan(&l.ConvShape, pitch, part.R0, part.R1)
			is.depthCodes(l, dst[part.R0*dstPitch:], dstPitch, x[from:to+IntOverread(l.C)], pitch, m, q, part.R1-part.R0)
			return
		}
		is.intConvU8Rows(l, dst, dstPitch, x, pitch, m, q, part, scratch)
		return
	}
	c := is.newIntCall(l, x, pitch, part, scratch)
	c.dst, c.dstPitch = dst[part.R0*dstPitch:(part.R1-1)*dstPitch+l.OW()*l.O], dstPitch
	c.m, c.q = m[:l.O], q
	c.run()
}

// intConvU8Rows is IntConvU8 by rows of sums in scratch.
func (is intISA) intConvU8Rows(l *IntLayer, dst []uint8, dstPitch int, x []uint8, pitch int, m []float32, q *Clamp, part IntPart, scratch []uint8) {
	n := l.OW() * l.O
	acc, scratch := sumsIn(scratch, n), scratch[(4*n+63)&^63:]
	requant := requantRowsAVX2
	if is.isa == avx512 {
		requant = requantRowsAVX512
	}
	for r := part.R0; r < part.R1; r++ {
		is.intConv(l, acc, x, pitch, IntPart{r, r + 1, part.O0, part.O1}, scratch)
		l.requantRow(dst[r*dstPitch:], acc, m, q, part, requant)
	}
}

// starts returns what the sums of group g begin with from channel j on.
func (d *intCall) starts(g, j int) *int32 {
	return (*int32)(unsafe.Pointer(&d.Packed[d.weightsSize()+4*(g*d.lanesOf()+j)]))
}

// weights returns the panel of output channels j and up of a group as bytes, and
// where it lies packed, if its first tile is to unpack it.
func (d *intCall) weights(g, j, nv int) (b, packed *int8) {
	at := d.panelAt(g, j)
	if d.bits == 8 {
		return &d.Packed[at], nil
	}
	b = (*int8)(unsafe.Pointer(&d.panels[0]))
	if nv == 2 && d.runWords%4 == 0 && !d.tiled {
		return b, &d.Packed[at]
	}
	d.unpack(d.panels, d.Packed[at:], nv*d.lanes())
	return b, nil
}

// channels is the output channels of each group that the call computes.
func (d *intCall) channels() (from, to int) {
	if d.Groups > 1 {
		return 0, d.og
	}
	return d.part.O0, d.part.O1
}

// run goes over panels of output channels: for bands of rows, so that the band
// stays in the first-level cache while the panels pass, or for all rows where
// the weights are what should be read once.
func (d *intCall) run() {
	if d.tiled {
		d.runTiles()
		return
	}
	size := d.actBytes()
	step := d.rows
	if len(d.Packed) <= 4*weightBand && d.bits == 8 {
		step = max(1, 4*sourceBand/d.pitch/d.SH)
	}
	t := tile{
		k: d.runWords, runs: d.runs, outs: d.outs, runStep: d.DW * d.C * size, outStep: d.DH * d.pitch,
		rowStep: d.SW * d.C * size,
	}
	if d.dense {
		t.runStep = t.outStep
	}
	for r0 := 0; r0 < d.rows; r0 += step {
		for g := 0; g < d.Groups; g++ {
			d.band(r0, min(d.rows, r0+step), g, &t)
		}
	}
}

// band computes rows r0 to r1 of group g.
func (d *intCall) band(r0, r1, g int, t *tile) {
	size := d.actBytes()
	n := intPanel{ow: d.OW()}
	// The pixels of a 1 x 1 convolution without gaps are one long row.
	joined := d.KH*d.KW*d.SH*d.SW == 1 && d.pitch == n.ow*d.C*size && (d.acc != nil || d.dstPitch == n.ow*d.O)
	from, to := d.channels()
	for j := from; j < to; j += 2 * d.lanes() {
		n.nv, t.cols = d.panel(d.og - j)
		n.tiles, n.size, n.extra = split(n.ow, d.rowsMost(n.nv))
		n.o = g*d.og + j
		n.b, n.packed = d.weights(g, j, n.nv)
		n.start = d.starts(g, j)
		n.ahead, n.lines = d.ahead(g, j, n.nv)
		end := r1
		if joined {
			n.tiles, n.size, n.extra = split((end-r0)*n.ow, d.rowsMost(n.nv))
			end = r0 + 1
		}
		for r := r0; r < end; r++ {
			d.row(r, r*d.SH*d.pitch+g*d.cg*size, &n, t)
		}
	}
}

// intPanel is what the rows of a panel share: its weights, which the next tile
// unpacks if packed is set, what its sums start from, its first output channel o,
// and the tiles of a row.
type intPanel struct {
	b, packed              *int8
	start                  *int32
	nv, o                  int
	ow, tiles, size, extra int
	ahead                  uintptr // what is needed next, and how many lines of it
	lines                  int
}

// rowsMost is the most pixels that the kernel takes with nv vectors.
func (d *intShape) rowsMost(nv int) int {
	switch {
	case d.isa == avx512 || !d.bytes:
		return d.intMost(nv)
	case nv == 1:
		return 8
	case d.vnni:
		return 6
	}
	return 5
}

// rows32 runs the kernel for sums.
func (d *intShape) rows32(m, nv int, a *uint8, b *int8, c, start *int32, t *tile) {
	if d.isa == avx512 || !d.bytes {
		d.rowsInt(m, nv, a, b, c, start, t)
		return
	}
	rowsBytes(d.vnni, m, nv, a, b, c, start, t)
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
		d.fetch(p, t)
		if p.packed != nil {
			d.firstTile(n, a, c, p, t)
		} else if d.acc != nil {
			d.rows32(n, p.nv, &d.x[a], p.b, &d.acc[c], p.start, t)
		} else {
			rowsU8(n, p.nv, &d.x[a], p.b, &d.dst[c], p.start, &d.m[p.o], d.q, t)
		}
		a, c = a+n*t.rowStep, c+n*d.O
	}
}

// ahead is what follows a panel of nv vectors, and as many lines of it as that has;
// none where a panel is read once, which the CPU sees by itself.
func (d *intCall) ahead(g, j, nv int) (uintptr, int) {
	if d.isa != avx512 || d.rows*d.OW() <= d.rowsMost(nv) {
		return 0, 0
	}
	next := d.nextPanel(g, j)
	if next == nil {
		return 0, 0
	}
	return uintptr(unsafe.Pointer(next)), d.laneBytes() * nv * d.lanes() / 8 * d.bits / 64
}

// fetch tells the next tile what to fetch: a line for each four words, while there
// are lines, then again and again what is near.
func (d *intCall) fetch(p *intPanel, t *tile) {
	if p.lines <= 0 {
		t.kStep, t.bStep = int(uintptr(unsafe.Pointer(p.start))), 0
		return
	}
	t.kStep, t.bStep = int(p.ahead), 64
	n := d.outs * d.runs * (d.runWords / 4)
	p.ahead, p.lines = p.ahead+64*uintptr(n), p.lines-n
}

// firstTile computes n pixels and unpacks the panel for the others.
func (d *intCall) firstTile(n, a, c int, p *intPanel, t *tile) {
	if d.acc != nil {
		to := (*uint8)(unsafe.Pointer(&d.acc[c]))
		rowsBits(d.bits, n, &d.x[a], p.packed, &d.panels[0], to, p.start, nil, nil, d.Shift, t)
	} else {
		rowsBits(d.bits, n, &d.x[a], p.packed, &d.panels[0], &d.dst[c], p.start, &d.m[p.o], &d.q.Lo, d.Shift, t)
	}
	p.packed = nil
}

// peakU8S8AVXVNNI: a round is a word of the largest tile.
func peakU8S8AVXVNNI(n int) int {
	const words = 100 // of weights, in the first-level cache
	var a [4 * words]uint8
	var b [words * 64]int8
	var c, start [6 * 16]int32
	t := tile{k: words, runs: 1, outs: 1, cStep: 64, cols: 8}
	for ; n > 0; n -= words {
		rowsU8S8AVXVNNIx6x2(&a[0], &b[0], &c[0], &start[0], t.words())
	}
	return 6 * 16 * 4 * 2
}
