//go:build !noasm && gc

package kernel

import (
	"runtime"
	"unsafe"
)

// A layer on AMX is a list of tiles of up to 16 pixels. Where the stride is 1
// the pixels of all rows are one long row, the padding between two of them
// included: a tile may go over the end of a row, and the sums that lie in the
// padding are dropped. The last tile of a row ends with it and so may repeat
// pixels of the one before.

// tilesCall tells the kernel where its operands lie; the generator's field
// numbers have the same order and its comments say what they mean.
type tilesCall struct {
	k, runs, runSkip, outs, outSkip int
	pixel                           int
	out, width, gap, row            int
	cols, rows, count               int
	rate, lines                     int
	source                          uintptr
	blocks, pair, turn, shift       int
	_                               [6]int // the kernel's own
}

// tileEntry is one tile: where its first pixel lies in the operands, and how
// many pixels from it on its row of c has room for.
type tileEntry [3]int

// tileBlock is a part of the sum: its offset in the activations, the steps of 64
// values in a run, the runs, from the end of a run to the next, and the steps in
// all.
type tileBlock [5]int

const (
	tileRows  = 16
	entrySize = 3 * 8
	blockSize = 5 * 8
	pairSums  = 2 * tileRows * IntPanel * 4
	// blockSteps is the most steps of a block: 24 KiB of weights, half of a
	// first-level cache. Sums of up to wholeSteps are made at once.
	blockSteps, wholeSteps = 12, 16
)

// tileSteps is the steps in a run.
func (d *intShape) tileSteps() int { return d.runWords / 16 }

// blockCount is the blocks of a sum: several runs, or parts of one.
func (d *intShape) blockCount() int {
	k := d.tileSteps()
	switch {
	case d.outs > 1 || d.runs*k <= wholeSteps:
		return 1
	case k <= blockSteps:
		per := blockSteps / k
		return (d.runs + per - 1) / per
	}
	return d.runs * ((k + blockSteps - 1) / blockSteps)
}

// blocks lists them; runs lie runStep bytes apart.
func (d *intCall) blocks(list []tileBlock, runStep int) {
	k := d.tileSteps()
	if len(list) == 1 {
		list[0] = tileBlock{0, k, d.runs, runStep - 64*k, d.outs * d.runs * k}
		return
	}
	if k <= blockSteps {
		per := blockSteps / k
		for i := range list {
			runs := min(per, d.runs-i*per)
			list[i] = tileBlock{i * per * runStep, k, runs, runStep - 64*k, runs * k}
		}
		return
	}
	parts := len(list) / d.runs
	for i := range list {
		run, from, to := i/parts, i%parts*k/parts, (i%parts+1)*k/parts
		list[i] = tileBlock{run*runStep + 64*from, to - from, 1, 0, to - from}
	}
}

// tileConfigs are the configurations for tiles of so many pixels.
var tileConfigs = makeTileConfigs()

func makeTileConfigs() (all [tileRows + 1][64]uint8) {
	for rows := range all {
		c := &all[rows]
		c[0] = 1 // palette
		for t := range 8 {
			c[16+2*t] = 64 // bytes of a row
			c[48+t] = uint8(rows)
			if t >= 6 { // weights: 16 words
				c[48+t] = 16
			}
		}
	}
	return all
}

// tileCount is the tiles of a row of so many pixels.
func tileCount(pixels int) int { return (pixels + tileRows - 1) / tileRows }

// longRows gives the rows that tiles lie in, and their pixels: of rows output
// rows on an image of that pitch.
func (d *intShape) longRows(rows, pitch int) (count, pixels int) {
	if d.SH*d.SW == 1 {
		return 1, (rows-1)*(pitch/d.C) + d.OW()
	}
	return rows, d.OW()
}

// tileParts are the parts of a call's scratch: sums, entries, blocks.
func (d *intShape) tileParts(rows, pitch int) (sums, entries, blocks int) {
	lines, pixels := d.longRows(rows, pitch)
	count := lines * tileCount(pixels)
	sums, blocks = 2*pairSums, d.blockCount()
	if blocks > 1 {
		sums = pairSums * ((count + 1) / 2)
	}
	return sums, roundUp(count*entrySize, 64), blocks * blockSize
}

// tileScratch is the room for a call.
func (d *intShape) tileScratch(rows, pitch int) int {
	sums, entries, blocks := d.tileParts(rows, pitch)
	return sums + entries + blocks
}

// table lists the tiles.
func (d *intCall) table(scratch []uint8, size int) []tileEntry {
	lines, pixels := d.longRows(d.rows, d.pitch)
	list := inScratch[tileEntry](scratch, lines*tileCount(pixels))
	outPitch, pad := d.dstPitch, d.pitch/d.C
	if d.acc != nil {
		outPitch = size * d.OW() * d.O
	}
	n := 0
	for r := range lines {
		for p := 0; p < pixels; p += tileRows {
			first := max(0, min(p, pixels-tileRows))
			line, col := r, first
			if d.SH*d.SW == 1 {
				line, col = first/pad, first%pad
			}
			list[n] = tileEntry{r*d.SH*d.pitch + first*d.SW*d.C, line*outPitch + col*size*d.O, d.OW() - col}
			n++
		}
	}
	return list
}

// tileOperands are what the panels of a call share.
type tileOperands struct {
	t      tilesCall
	first  *[3]int
	blocks []tileBlock
	config *[64]uint8
	sums   *uint8
}

// runTiles goes over panels of output channels.
func (d *intCall) runTiles() {
	size, outPitch := 1, d.dstPitch
	if d.acc != nil {
		size, outPitch = 4, 4*d.OW()*d.O
	}
	sums, entries, _ := d.tileParts(d.rows, d.pitch)
	table := d.table(d.scratch[sums:], size)
	_, pixels := d.longRows(d.rows, d.pitch)
	width := d.OW()
	if d.SH*d.SW == 1 {
		width = d.pitch / d.C
	}
	runStep, outStep := d.DW*d.C, d.DH*d.pitch
	if d.dense {
		runStep = outStep
	}
	t := tilesCall{
		outs: d.outs, outSkip: outStep - d.runs*runStep, pixel: d.SW * d.C,
		out: size * d.O, width: d.OW(), gap: d.OW() - width, row: outPitch - width*size*d.O,
		rows: min(tileRows, pixels), count: len(table),
	}
	o := tileOperands{t: t, first: (*[3]int)(&table[0]), config: &tileConfigs[t.rows], sums: &d.scratch[0]}
	o.blocks = inScratch[tileBlock](d.scratch[sums+entries:], d.blockCount())
	d.blocks(o.blocks, runStep)
	if len(o.blocks) == 1 {
		o.t.turn = -1
	}
	from, to := d.channels()
	for g := range d.Groups {
		for j := from; j < to; j += IntPanel {
			var nv int
			nv, o.t.cols = d.panel(d.og - j)
			d.tilePanel(nv, g, j, &o)
		}
	}
}

// tilePanel computes one panel.
func (d *intCall) tilePanel(nv, g, j int, p *tileOperands) {
	a, start, o, t := &d.x[g*d.cg], d.starts(g, j), g*d.og+j, &p.t
	t.blocks, t.pair = len(p.blocks), pairSums
	ahead := d.nextPanel(g, j)
	t.lines, t.rate = 0, 1
	if ahead != nil {
		pairs, bytes := (t.count+1)/2, 128*nv*d.bits // of a step
		t.lines, t.rate = d.laneBytes()/64*bytes/64, (bytes/64+pairs-1)/pairs
	}
	if d.bits < 8 && nv == 2 {
		d.tileBits(j, p, a, start, ahead)
		return
	}
	b, _ := d.weights(g, j, nv)
	w, first, blocks := t.words(), p.first, (*[5]int)(&p.blocks[0])
	switch {
	case d.acc != nil && nv == 1:
		tilesI32S8AMXx1(a, b, &d.acc[o], start, w, first, blocks, p.config, p.sums, ahead)
	case d.acc != nil:
		tilesI32S8AMXx2(a, b, &d.acc[o], start, w, first, blocks, p.config, p.sums, ahead)
	case nv == 1:
		tilesU8S8AMXx1(a, b, &d.dst[o], start, &d.m[o], &d.q.Lo, w, first, blocks, p.config, p.sums, ahead)
	default:
		tilesU8S8AMXx2(a, b, &d.dst[o], start, &d.m[o], &d.q.Lo, w, first, blocks, p.config, p.sums, ahead)
	}
}

// tileBits computes a panel of weights of fewer bits, which the kernel unpacks.
func (d *intCall) tileBits(j int, p *tileOperands, a *uint8, start *int32, ahead *int8) {
	b := (*int8)(unsafe.Pointer(&d.panels[0]))
	p.t.shift = d.Shift
	p.t.source = uintptr(unsafe.Pointer(&d.Packed[d.panelAt(0, j)])) // d keeps it alive
	w, first, blocks := p.t.words(), p.first, (*[5]int)(&p.blocks[0])
	if d.acc != nil {
		switch d.bits {
		case 4:
			tilesI32S4AMXx2(a, b, &d.acc[j], start, w, first, blocks, p.config, p.sums, ahead)
		case 3:
			tilesI32S3AMXx2(a, b, &d.acc[j], start, w, first, blocks, p.config, p.sums, ahead)
		case 2:
			tilesI32S2AMXx2(a, b, &d.acc[j], start, w, first, blocks, p.config, p.sums, ahead)
		}
		runtime.KeepAlive(d)
		return
	}
	switch d.bits {
	case 4:
		tilesU8S4AMXx2(a, b, &d.dst[j], start, &d.m[j], &d.q.Lo, w, first, blocks, p.config, p.sums, ahead)
	case 3:
		tilesU8S3AMXx2(a, b, &d.dst[j], start, &d.m[j], &d.q.Lo, w, first, blocks, p.config, p.sums, ahead)
	case 2:
		tilesU8S2AMXx2(a, b, &d.dst[j], start, &d.m[j], &d.q.Lo, w, first, blocks, p.config, p.sums, ahead)
	}
	runtime.KeepAlive(d)
}

// nextPanel is what is read behind the panel of channels j and up of a group:
// another panel, or the next layer's, of which a call for a part of the channels
// takes the same part; nil if that is not known.
func (d *intCall) nextPanel(g, j int) *int8 {
	_, to := d.channels()
	switch {
	case j+IntPanel < to:
		return &d.Packed[d.panelAt(g, j+IntPanel)]
	case g+1 < d.Groups:
		return &d.Packed[d.panelAt(g+1, 0)]
	case len(d.Next) > 0:
		return &d.Next[len(d.Next)*d.part.O0/d.O]
	}
	return nil
}

const tilesWords = 26

// words is t as the assembly sees it.
func (t *tilesCall) words() *[tilesWords]int { return (*[tilesWords]int)(unsafe.Pointer(t)) }

// The sizes agree, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(tilesCall{})-tilesWords*unsafe.Sizeof(int(0))]

// inScratch returns n values at the start of scratch, which is aligned.
func inScratch[T tileEntry | tileBlock](scratch []uint8, n int) []T {
	var zero T
	scratch = scratch[:n*int(unsafe.Sizeof(zero))]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(scratch))), n)
}

func peakU8S8AMX(n int) int {
	peakTilesAMX(n, &tileConfigs[tileRows])
	return 4 * 2 * tileRows * 16 * 64
}
