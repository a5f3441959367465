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
	a, b, start, o := &d.x[g*d.cg], d.weights(g, j, nv), d.starts(g, j), g*d.og+j
	w, first, sums := t.words(), (*[3]int)(&table[0]), &d.scratch[0]
	switch {
	case d.acc != nil && nv == 1:
		tilesI32AMXx1(a, b, &d.acc[o], start, w, first, config, sums)
	case d.acc != nil:
		tilesI32AMXx2(a, b, &d.acc[o], start, w, first, config, sums)
	case nv == 1:
		tilesU8AMXx1(a, b, &d.dst[o], start, &d.m[o], &d.q.Lo, w, first, config, sums)
	default:
		tilesU8AMXx2(a, b, &d.dst[o], start, &d.m[o], &d.q.Lo, w, first, config, sums)
	}
}

const tilesWords = 13

// words is t as the assembly sees it.
func (t *tilesCall) words() *[tilesWords]int { return (*[tilesWords]int)(unsafe.Pointer(t)) }

// The sizes agree, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(tilesCall{})-tilesWords*unsafe.Sizeof(int(0))]

// entriesIn returns n entries at the start of scratch, which is aligned.
func entriesIn(scratch []uint8, n int) []tileEntry {
	scratch = scratch[:n*entrySize]
	return unsafe.Slice((*tileEntry)(unsafe.Pointer(unsafe.SliceData(scratch))), n)
}
