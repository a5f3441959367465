//go:build !noasm && gc

package kernel

// A convolution and its gradient to the input are one computation: every
// destination pixel is the sum, over taps, of a source pixel times a matrix.
// For the gradient of a stride S, destinations r and r+S have the same taps,
// so there are S phases an axis, each a dense convolution of stride 1.
//
// The source image lies in scratch with its padding, so that for one kernel
// row the taps and channels of a pixel are one run without gaps; the kernel
// sums KH such runs into a tile of pixels x output channels held in registers.
// Weights are packed [phase][group][panel of output channels][kernel row]
// [tap, channel][lane].

// phase tells which source positions the destinations p, p+phases, ... of one
// axis read: destination i of the phase reads first + i*advance + t*step for
// the taps t, whose weight is tap0 + t*tapStep.
type phase struct{ first, advance, taps, step, tap0, tapStep int }

// gradPhase returns phase p of the gradient along an axis: destination r reads
// (r + pad - tap*dil) / stride for those taps where it is whole. The source
// positions ascend, so the taps descend.
func gradPhase(k, stride, dil, pad, p int) phase {
	tap0, period := -1, k
	for tap := 0; tap < k; tap++ {
		if (p+pad-tap*dil)%stride != 0 {
			continue
		}
		if tap0 < 0 {
			tap0 = tap
			continue
		}
		period = tap - tap0
		break
	}
	if tap0 < 0 {
		return phase{advance: 1, step: 1}
	}
	taps := (k - tap0 + period - 1) / period
	last := tap0 + (taps-1)*period
	return phase{
		first: (p + pad - last*dil) / stride, advance: 1,
		taps: taps, step: max(1, period*dil/stride), tap0: last, tapStep: -period,
	}
}

// convDir is one direction of a convolution, ConvForward's or ConvGradInput's.
type convDir struct {
	s                ConvShape
	grad             bool
	srcH, srcW, srcC int
	dstH, dstW, dstC int
	phasesH, phasesW int
	top, left        int // padding before the source
	padH, padW       int // the source with its padding
}

func newConvDir(s *ConvShape, grad bool) convDir {
	d := convDir{
		s: *s, grad: grad, phasesH: 1, phasesW: 1,
		srcH: s.H, srcW: s.W, srcC: s.C, dstH: s.OH(), dstW: s.OW(), dstC: s.O,
	}
	if grad {
		d.srcH, d.dstH = d.dstH, d.srcH
		d.srcW, d.dstW = d.dstW, d.srcW
		d.srcC, d.dstC = d.dstC, d.srcC
		d.phasesH, d.phasesW = s.SH, s.SW
	}
	d.top, d.padH = d.srcH, d.srcH // extent of what is read
	lo, hi := 0, d.srcH
	for p := 0; p < min(d.phasesH, d.dstH); p++ {
		lo, hi = d.phaseH(p).extend(lo, hi, (d.dstH-1-p)/d.phasesH)
	}
	d.top, d.padH = -lo, hi-lo
	lo, hi = 0, d.srcW
	for p := 0; p < min(d.phasesW, d.dstW); p++ {
		lo, hi = d.phaseW(p).extend(lo, hi, (d.dstW-1-p)/d.phasesW)
	}
	d.left, d.padW = -lo, hi-lo
	return d
}

// extend widens lo..hi to what destinations 0..last of the phase read.
func (p phase) extend(lo, hi, last int) (int, int) {
	if p.taps == 0 {
		return lo, hi
	}
	return min(lo, p.first), max(hi, p.first+last*p.advance+(p.taps-1)*p.step+1)
}

func (d *convDir) phaseH(p int) phase {
	s := &d.s
	if d.grad {
		return gradPhase(s.KH, s.SH, s.DH, s.PT, p)
	}
	return phase{first: -s.PT, advance: s.SH, taps: s.KH, step: s.DH, tapStep: 1}
}

func (d *convDir) phaseW(p int) phase {
	s := &d.s
	if d.grad {
		return gradPhase(s.KW, s.SW, s.DW, s.PL, p)
	}
	return phase{first: -s.PL, advance: s.SW, taps: s.KW, step: s.DW, tapStep: 1}
}

// groupC and groupD are the source and destination channels of a group.
func (d *convDir) groupC() int { return d.srcC / d.s.Groups }
func (d *convDir) groupD() int { return d.dstC / d.s.Groups }

// tapsBefore counts the taps of the phases before (py, px).
func (d *convDir) tapsBefore(py, px int) (n int) {
	for p := 0; p < py; p++ {
		n += d.phaseH(p).taps * d.s.KW
	}
	rows := d.phaseH(py).taps
	for p := 0; p < px; p++ {
		n += rows * d.phaseW(p).taps
	}
	return n
}

// columns counts the destination columns of phase px.
func (d *convDir) columns(px int) int { return (d.dstW - px + d.phasesW - 1) / d.phasesW }

// sharesTaps reports whether conv3F32 serves a panel of nv vectors: then a
// kernel row's weights lie [channel][tap] instead of [tap][channel].
func (d *convDir) sharesTaps(is isa, w phase, px, nv int) bool {
	return is != avx2 && nv == 1 && d.s.Groups == 1 && w.taps == 3 && w.step == 1 && w.advance == 1 && d.columns(px) >= 8
}

func (d *convDir) packSize(is isa) int {
	if d.s.depthwise() {
		return d.s.KH * d.s.KW * is.padCols(d.dstC)
	}
	return d.s.KH * d.s.KW * d.srcC * is.padCols(d.groupD())
}

// padded reports whether the source has to be copied to scratch: depthwise
// kernels read beyond the last channel.
func (d *convDir) padded(is isa) bool {
	return d.padH != d.srcH || d.padW != d.srcW || d.s.depthwise() || is == bf16
}

func (d *convDir) scratch(is isa) int {
	if !d.padded(is) {
		return 0
	}
	size := d.padH * d.padW * d.srcC
	if d.s.depthwise() {
		size += avx512.lanes()
	}
	return size
}

// pack brings w [O, C/Groups, KH, KW] into the driver's order.
func (d *convDir) pack(is isa, dst, w []float32) {
	dst = dst[:d.packSize(is)]
	for py := 0; py < d.phasesH; py++ {
		for px := 0; px < d.phasesW; px++ {
			h, v := d.phaseH(py), d.phaseW(px)
			if d.s.depthwise() {
				size := h.taps * v.taps * is.padCols(d.dstC)
				d.packDepthwise(is, dst[:size], w, h, v)
				dst = dst[size:]
				continue
			}
			for g := 0; g < d.s.Groups; g++ {
				for j := 0; j < d.groupD(); j += 2 * is.lanes() {
					nv, _ := is.panel(d.groupD() - j)
					size := h.taps * v.taps * d.groupC() * nv * is.lanes()
					d.packPanel(is, dst[:size], w, h, v, px, g, j, nv)
					dst = dst[size:]
				}
			}
		}
	}
}

// packPanel packs destination channels j and up of group g.
func (d *convDir) packPanel(is isa, dst, w []float32, h, v phase, px, g, j, nv int) {
	s, width := &d.s, nv*is.lanes()
	cg, dg, kk := d.groupC(), d.groupD(), s.KH*s.KW
	chanStep, laneStep := kk, cg*kk // of w, forward: [dg][cg, values of a word][kh][kw]
	if d.grad {
		chanStep, laneStep = dg*kk, kk // [cg][dg][kh][kw]
	} else {
		laneStep *= is.values()
	}
	w = w[g*cg*is.values()*dg*kk+j*laneStep:]
	cols := min(width, dg-j)
	cStep, tStep := width, cg*width // of dst
	if d.sharesTaps(is, v, px, nv) {
		cStep, tStep = 3*width, width
	}
	half := chanStep // from one value of a word to the next
	if is == bf16 {
		chanStep *= 2
	}
	for ky := 0; ky < h.taps; ky++ {
		for kx := 0; kx < v.taps; kx++ {
			tap := (h.tap0+ky*h.tapStep)*s.KW + v.tap0 + kx*v.tapStep
			for c := 0; c < cg; c++ {
				row := dst[ky*v.taps*cg*width+kx*tStep+c*cStep:][:width]
				from := tap + c*chanStep
				for l := range row[:cols] {
					if row[l] = w[from+l*laneStep]; is == bf16 {
						row[l] = wordBF16(row[l], w[from+l*laneStep+half])
					}
				}
				clear(row[cols:])
			}
		}
	}
}

// run computes dst of n images from src.
func (d *convDir) run(is isa, dst, src, packed []float32, n int, scratch []float32) {
	in, out := d.srcH*d.srcW*d.srcC*is.values(), d.dstH*d.dstW*d.dstC
	dst, src, packed, scratch = dst[:n*out], src[:n*in], packed[:d.packSize(is)], scratch[:d.scratch(is)]
	if d.padded(is) {
		clearBorder(d, scratch)
	}
	for i := 0; i < n; i++ {
		d.image(is, dst[i*out:][:out], src[i*in:][:in], packed, scratch)
	}
}

// clearBorder zeroes the padding around the source.
func clearBorder(d *convDir, buf []float32) {
	pitch := d.padW * d.srcC
	clear(buf[:d.top*pitch])
	clear(buf[(d.top+d.srcH)*pitch:])
	for r := d.top; r < d.top+d.srcH; r++ {
		clear(buf[r*pitch:][:d.left*d.srcC])
		clear(buf[r*pitch+(d.left+d.srcW)*d.srcC : (r+1)*pitch])
	}
}

// Rows of the destination are computed in bands whose source rows stay in L1
// (sourceBand floats, a third of 48 KiB) while the panels of weights pass.
// Packed weights above weightBand (floats, a quarter of the 1 MiB of L2) are
// worth passing once an image only.
const (
	sourceBand = 4 << 10
	weightBand = 64 << 10
)

func (d *convDir) band(weights int) int {
	if weights > weightBand {
		return d.dstH
	}
	rows := sourceBand / (d.padW * d.srcC)
	if d.grad {
		return max(1, rows) * d.phasesH
	}
	return max(1, rows/d.s.SH)
}

func (d *convDir) image(is isa, dst, src, packed, buf []float32) {
	filled := 0
	if !d.padded(is) {
		buf, filled = src, d.srcH
	}
	step := d.band(len(packed))
	for r0 := 0; r0 < d.dstH; r0 += step {
		r1 := min(d.dstH, r0+step)
		if filled < d.srcH {
			for last := d.lastSource(r1 - 1); filled < d.srcH && filled <= last; filled++ {
				d.fill(is, buf, src, filled)
			}
		}
		for py := 0; py < min(d.phasesH, r1-r0); py++ {
			for px := 0; px < min(d.phasesW, d.dstW); px++ {
				if d.s.depthwise() {
					d.depthwiseRows(is, dst, packed, buf, r0+py, r1, px)
					continue
				}
				d.panels(is, dst, packed, buf, r0+py, r1, px)
			}
		}
	}
}

// lastSource is the last source row that destination row r or one before reads.
func (d *convDir) lastSource(r int) (last int) {
	for p := max(0, r-d.phasesH+1); p <= r; p++ {
		if h := d.phaseH(p % d.phasesH); h.taps > 0 {
			last = max(last, h.first+p/d.phasesH*h.advance+(h.taps-1)*h.step)
		}
	}
	return last
}

// convPanel is what the rows of one panel and phase share.
type convPanel struct {
	tile
	h                  phase
	nv, width          int // vectors, columns with their padding
	live               int // columns
	tapRow             int // packed floats of a kernel row
	pitch              int // floats of a padded source row
	count              int // destination pixels in a row
	tiles, size, extra int // how they are split
	zero, shared       bool
	depthwise          bool
	a                  int // source of tap 0 for the first row of the image
}

func (d *convDir) newPanel(is isa, h, v phase, px, g, j int) convPanel {
	cg, dg := d.groupC(), d.groupD()
	nv, cols := is.panel(dg - j)
	p := convPanel{
		h: h, nv: nv, width: nv * is.lanes(), pitch: d.padW * d.srcC, count: d.columns(px),
		shared: d.sharesTaps(is, v, px, nv), zero: v.taps == 0,
		a: d.top*d.padW*d.srcC + (v.first+d.left)*d.srcC + g*cg,
	}
	p.live, p.tapRow = min(p.width, dg-j), v.taps*cg*p.width
	p.tile = tile{
		rowStep: 4 * v.advance * d.srcC, cStep: 4 * d.phasesW * d.dstC, cols: cols,
		k: cg, runs: v.taps, runStep: 4 * v.step * d.srcC, outStep: 4 * h.step * p.pitch,
	}
	most := is.rowsMost(nv)
	if p.shared {
		most = 16
	}
	p.tiles, p.size, p.extra = split(p.count, most)
	return p
}

// panels computes the columns of phase px in rows r0, r0 + phasesH, ... below
// r1.
func (d *convDir) panels(is isa, dst, packed, buf []float32, r0, r1, px int) {
	h, v := d.phaseH(r0%d.phasesH), d.phaseW(px)
	cg, dg := d.groupC(), d.groupD()
	dense := v.taps == 1 || v.step == 1 && d.s.Groups == 1 // a kernel row is one run
	b := d.tapsBefore(r0%d.phasesH, px) * d.srcC * is.padCols(dg)
	for g := 0; g < d.s.Groups; g++ {
		for j := 0; j < dg; j += 2 * is.lanes() {
			p := d.newPanel(is, h, v, px, g, j)
			if dense {
				p.k, p.runStep = v.taps*cg, p.outStep
			}
			if p.shared {
				p.k = cg
			}
			c, cStep := (r0*d.dstW+px)*d.dstC+g*dg+j, d.phasesH*d.dstW*d.dstC
			from := h.first + r0/d.phasesH*h.advance
			for r := r0; r < r1; r += d.phasesH {
				p.row(is, dense, dst[c:], packed[b:], buf, from, d.srcH)
				c, from = c+cStep, from+h.advance
			}
			b += h.taps * p.tapRow
		}
	}
}

// row computes one destination row, whose tap 0 reads source row from.
func (p *convPanel) row(is isa, dense bool, dst, packed, buf []float32, from, srcH int) {
	h, lo, hi := &p.h, 0, p.h.taps
	for lo < hi && from+lo*h.step < 0 { // kernel rows on padding add nothing
		lo++
	}
	for lo < hi && from+(hi-1)*h.step >= srcH {
		hi--
	}
	if lo == hi || p.zero {
		for i := 0; i < p.count; i++ {
			clear(dst[i*p.cStep/4:][:p.live])
		}
		return
	}
	p.outs = hi - lo
	if dense {
		p.runs, p.outs = hi-lo, 1
	}
	a, b, c := p.a+(from+lo*h.step)*p.pitch, lo*p.tapRow, 0
	for i := 0; i < p.tiles; i++ {
		m := p.size
		if i < p.extra {
			m++
		}
		switch {
		case p.shared:
			conv3F32(is, m, &buf[a], &packed[b], &dst[c], &p.tile)
		case p.depthwise:
			depthwiseF32(is, m, &buf[a], &packed[b], &dst[c], &p.tile)
		default:
			rowsF32(is, m, p.nv, &buf[a], &packed[b], &dst[c], &p.tile)
		}
		a, c = a+m*p.rowStep/4, c+m*p.cStep/4
	}
}
