//go:build !noasm && gc

package kernel

import "unsafe"

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
	rate, lines, next, steps        int
}

// tileEntry is one tile: where its first pixel lies in the operands, and how
// many pixels from it on its row of c has room for.
type tileEntry [3]int

const (
	tileRows  = 16
	entrySize = 3 * 8
	tileSums  = 2 * tileRows * IntPanel * 4
)

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

// tableBytes is the room for the entries of a call, a multiple of 64.
func (d *intShape) tableBytes(rows, pitch int) int {
	count, pixels := d.longRows(rows, pitch)
	return roundUp(count*tileCount(pixels)*entrySize, 64)
}

// table lists the tiles in scratch.
func (d *intCall) table(size int) []tileEntry {
	count, pixels := d.longRows(d.rows, d.pitch)
	list := entriesIn(d.scratch[tileSums:], count*tileCount(pixels))
	outPitch, pad := d.dstPitch, d.pitch/d.C
	if d.acc != nil {
		outPitch = size * d.OW() * d.O
	}
	n := 0
	for r := range count {
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

// runTiles goes over panels of output channels.
func (d *intCall) runTiles() {
	size, outPitch := 1, d.dstPitch
	if d.acc != nil {
		size, outPitch = 4, 4*d.OW()*d.O
	}
	table := d.table(size)
	_, pixels := d.longRows(d.rows, d.pitch)
	width := d.OW()
	t := tilesCall{
		k: d.runWords / 16, runs: d.runs, outs: d.outs, pixel: d.SW * d.C,
		out: size * d.O, width: width, rows: min(tileRows, pixels), count: len(table),
	}
	if d.SH*d.SW == 1 {
		width = d.pitch / d.C
	}
	t.gap, t.row = d.OW()-width, outPitch-width*size*d.O
	runStep, outStep := d.DW*d.C, d.DH*d.pitch
	if d.dense {
		runStep = outStep
	}
	t.runSkip, t.outSkip = runStep-64*t.k, outStep-d.runs*runStep
	config := &tileConfigs[t.rows]
	from, to := d.channels()
	for g := range d.Groups {
		for j := from; j < to; j += IntPanel {
			var nv int
			nv, t.cols = d.panel(d.og - j)
			d.tilePanel(nv, g, j, &t, table, config)
		}
	}
}

// tilePanel computes one panel.
func (d *intCall) tilePanel(nv, g, j int, t *tilesCall, table []tileEntry, config *[64]uint8) {
	a, start, o := &d.x[g*d.cg], d.starts(g, j), g*d.og+j
	first, sums := (*[3]int)(&table[0]), &d.scratch[0]
	if d.bits < 8 && nv == 2 {
		d.tileBits(j, t, a, start, first, config, sums)
		return
	}
	b, ahead := d.weights(g, j, nv), d.nextPanel(g, j)
	t.lines, t.rate = 0, 1
	if ahead != nil && d.bits == 8 {
		steps, pairs := d.laneBytes()/64, (t.count+1)/2
		t.lines, t.rate = 16*nv*steps, (16*nv+pairs-1)/pairs
	}
	w := t.words()
	switch {
	case d.acc != nil && nv == 1:
		tilesI32S8AMXx1(a, b, &d.acc[o], start, w, first, config, sums, ahead)
	case d.acc != nil:
		tilesI32S8AMXx2(a, b, &d.acc[o], start, w, first, config, sums, ahead)
	case nv == 1:
		tilesU8S8AMXx1(a, b, &d.dst[o], start, &d.m[o], &d.q.Lo, w, first, config, sums, ahead)
	default:
		tilesU8S8AMXx2(a, b, &d.dst[o], start, &d.m[o], &d.q.Lo, w, first, config, sums, ahead)
	}
}

// tileBits computes a panel of weights of fewer bits, which the kernel unpacks.
func (d *intCall) tileBits(j int, t *tilesCall, a *uint8, start *int32, first *[3]int, config *[64]uint8, sums *uint8) {
	b, src := (*int8)(unsafe.Pointer(&d.panels[0])), &d.Packed[d.panelAt(0, j)]
	t.steps = d.laneBytes() / 64
	t.next = 0
	if next := d.nextPanel(0, j); next != nil {
		t.next = int(uintptr(unsafe.Pointer(next)) - uintptr(unsafe.Pointer(src)))
	}
	w := t.words()
	if d.acc != nil {
		switch d.bits {
		case 4:
			tilesI32S4AMXx2(a, b, &d.acc[j], start, w, first, config, sums, src)
		case 3:
			tilesI32S3AMXx2(a, b, &d.acc[j], start, w, first, config, sums, src)
		case 2:
			tilesI32S2AMXx2(a, b, &d.acc[j], start, w, first, config, sums, src)
		}
		return
	}
	switch d.bits {
	case 4:
		tilesU8S4AMXx2(a, b, &d.dst[j], start, &d.m[j], &d.q.Lo, w, first, config, sums, src)
	case 3:
		tilesU8S3AMXx2(a, b, &d.dst[j], start, &d.m[j], &d.q.Lo, w, first, config, sums, src)
	case 2:
		tilesU8S2AMXx2(a, b, &d.dst[j], start, &d.m[j], &d.q.Lo, w, first, config, sums, src)
	}
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

const tilesWords = 17

// words is t as the assembly sees it.
func (t *tilesCall) words() *[tilesWords]int { return (*[tilesWords]int)(unsafe.Pointer(t)) }

// The sizes agree, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(tilesCall{})-tilesWords*unsafe.Sizeof(int(0))]

// entriesIn returns n entries at the start of scratch, which is aligned.
func entriesIn(scratch []uint8, n int) []tileEntry {
	scratch = scratch[:n*entrySize]
	return unsafe.Slice((*tileEntry)(unsafe.Pointer(unsafe.SliceData(scratch))), n)
}

func peakU8S8AMX(n int) int {
	peakTilesAMX(n, &tileConfigs[tileRows])
	return 4 * 2 * tileRows * 16 * 64
}
