//go:build !noasm && gc

package kernel

import "unsafe"

// Integer convolutions and products sum words of 4 bytes, broadcast from the
// activations, times the words of a vector of output channels:
//
//	AVX-512: 4 activations u8 times 4 weights s8 (VPDPBUSD); padding is the
//	  zero point, and zero * sum(weights) is taken off at the start of a sum;
//	AVX2: 2 activations, widened to s16 less the zero point, times 2 weights
//	  widened to s16 (VPMADDWD); VPMADDUBSW would saturate.
//
// Packed weights are [group][panel][run][word][lane][4 bytes], zeros beyond
// the end of a run, then for AVX-512 an int32 sum for each packed channel.

// perWord is the values in a word.
func (is isa) perWord() int { return 2 << is }

// actBytes is the size of an activation as the kernel reads it.
func (is isa) actBytes() int { return 4 / is.perWord() }

func (is isa) words(n int) int { return (n + is.perWord() - 1) / is.perWord() }

// intMost is the most rows that the integer kernel takes with nv vectors.
func (is isa) intMost(nv int) int {
	if is == avx512 {
		return is.rowsMost(nv)
	}
	return [3]int{1: 8, 2: 4}[nv]
}

// putWeight writes value i of the words at dst, lane of width.
func (is isa) putWeight(dst []int8, width, lane, i int, w int8) {
	if is == avx512 {
		dst[(i>>2*width+lane)<<2|i&3] = w
		return
	}
	at := (i>>1*width+lane)<<2 | i&1<<1
	dst[at], dst[at+1] = w, w>>7
}

// rowsInt runs the integer kernel for m rows of nv vectors at byte a.
func (is isa) rowsInt(m, nv int, a *uint8, b *int8, c, bias *int32, t *tile) {
	if is == avx512 {
		rowsU8S8(m, nv, a, b, c, bias, t)
		return
	}
	rowsS16(m, nv, (*int16)(unsafe.Pointer(a)), b, c, bias, t)
}

// load copies values to a buffer in the kernel's form.
func (is isa) load(dst, src []uint8, zero uint8) {
	if is == avx512 {
		copy(dst, src)
		return
	}
	i := len(src) &^ 15
	if i > 0 {
		widenU8AVX2(&dst[:2*i][0], &src[0], i, int(zero))
	}
	for ; i < len(src); i++ {
		v := int(src[i]) - int(zero)
		dst[2*i], dst[2*i+1] = uint8(v), uint8(v>>8)
	}
}

// fillZero sets values of a buffer to the zero point.
func (is isa) fillZero(dst []uint8, zero uint8) {
	if is == avx2 {
		zero = 0
	}
	for i := range dst {
		dst[i] = zero
	}
}

// convInt is a forward integer convolution.
type convInt struct {
	isa
	convDir
	run, runs, outs int // values in a run, runs in an outer step, outer steps
	dense           bool
	pitch           int // bytes of a padded row
}

func newConvInt(is isa, s *ConvShape) convInt {
	d := convInt{isa: is, convDir: newConvDir(s, false)}
	d.run, d.runs, d.outs = d.groupC(), s.KW, s.KH
	if d.dense = s.KW == 1 || s.DW == 1 && s.Groups == 1; d.dense {
		d.run, d.runs, d.outs = s.KW*d.groupC(), s.KH, 1
	}
	d.pitch = d.padW * s.C * is.actBytes()
	return d
}

// channels is the packed output channels of a group.
func (d *convInt) channels() int { return d.padCols(d.groupD()) }

// groupSize is the bytes of a group's packed weights.
func (d *convInt) groupSize() int { return d.outs * d.runs * d.words(d.run) * 4 * d.channels() }

func (d *convInt) size() int { return d.s.Groups * (d.groupSize() + 4*d.channels()) }

// scratchBytes: the padded image, a word that a run may read beyond it, and
// what a sum starts from for each packed channel.
func (d *convInt) scratchBytes() int { return d.imageBytes() + 4*d.s.Groups*d.channels() + 4 }

func (d *convInt) imageBytes() int { return (d.padH*d.pitch + 4 + 3) &^ 3 }

func (d *convInt) packWeights(dst, w []int8) {
	s := &d.s
	dst = dst[:d.size()]
	clear(dst)
	sums := dst[s.Groups*d.groupSize():]
	cg, dg, runBytes := d.groupC(), d.groupD(), d.words(d.run)*4
	i := 0
	for o := 0; o < s.O; o++ {
		g, ch := o/dg, o%dg
		j := ch / (2 * d.lanes()) * 2 * d.lanes()
		nv, _ := d.panel(dg - j)
		width := nv * d.lanes()
		panel := dst[g*d.groupSize()+d.outs*d.runs*runBytes*j:]
		runSize, is := runBytes*width, d.isa
		var sum int32
		for c := 0; c < cg; c++ {
			for kh := 0; kh < s.KH; kh++ {
				for kw, v := range w[i:][:s.KW] {
					run, at := kh*s.KW+kw, c
					if d.dense {
						run, at = kh, kw*cg+c
					}
					is.putWeight(panel[run*runSize:], width, ch-j, at, v)
					sum += int32(v)
				}
				i += s.KW
			}
		}
		putSum(sums, g*d.channels()+ch, sum)
	}
}

func (d *convInt) forward(acc []int32, x []uint8, zero uint8, packed []int8, n int, scratch []uint8) {
	s := &d.s
	in, out := s.H*s.W*s.C, d.dstH*d.dstW*s.O
	acc, x, packed, scratch = acc[:n*out], x[:n*in], packed[:d.size()], scratch[:d.scratchBytes()]
	buf := scratch[:d.imageBytes()]
	bias := unsafe.Slice((*int32)(unsafe.Pointer(&scratch[d.imageBytes()])), s.Groups*d.channels())
	sums := packed[s.Groups*d.groupSize():]
	for i := range bias {
		bias[i] = 0
		if d.isa == avx512 {
			bias[i] = -int32(zero) * sumAt(sums, i)
		}
	}
	d.fillZero(buf, zero)
	for i := 0; i < n; i++ {
		d.image(acc[i*out:][:out], x[i*in:][:in], zero, packed, buf, bias)
	}
}

// image convolves one image, in bands as the float driver does.
func (d *convInt) image(acc []int32, x []uint8, zero uint8, packed []int8, buf []uint8, bias []int32) {
	row, filled, step := d.srcW*d.srcC, 0, d.dstH
	if len(packed) <= 4*weightBand {
		step = max(1, 4*sourceBand/d.pitch/d.s.SH)
	}
	for r0 := 0; r0 < d.dstH; r0 += step {
		r1 := min(d.dstH, r0+step)
		for last := d.lastSource(r1 - 1); filled < d.srcH && filled <= last; filled++ {
			d.load(buf[(d.top+filled)*d.pitch+d.left*d.srcC*d.actBytes():], x[filled*row:][:row], zero)
		}
		for g := 0; g < d.s.Groups; g++ {
			for j := 0; j < d.groupD(); j += 2 * d.lanes() {
				d.panelRows(acc, packed, buf, bias, r0, r1, g, j)
			}
		}
	}
}

// panelRows computes destination channels j and up of group g in rows r0..r1.
func (d *convInt) panelRows(acc []int32, packed []int8, buf []uint8, bias []int32, r0, r1, g, j int) {
	s, size := &d.s, d.actBytes()
	nv, cols := d.panel(d.groupD() - j)
	t := tile{
		k: d.words(d.run), runs: d.runs, outs: d.outs, runStep: s.DW * d.srcC * size, outStep: s.DH * d.pitch,
		rowStep: s.SW * d.srcC * size, cStep: 4 * s.O, cols: cols,
	}
	if d.dense {
		t.runStep = t.outStep
	}
	b := &packed[g*d.groupSize()+d.outs*d.runs*d.words(d.run)*4*j]
	start := &bias[g*d.channels()+j]
	tiles, rows, extra := split(d.dstW, d.intMost(nv))
	for r := r0; r < r1; r++ {
		a := (r*s.SH-s.PT+d.top)*d.pitch + (d.left-s.PL)*d.srcC*size + g*d.groupC()*size
		c := r*d.dstW*s.O + g*d.groupD() + j
		for i := 0; i < tiles; i++ {
			m := rows + b2i(i < extra)
			d.rowsInt(m, nv, &buf[a], b, &acc[c], start, &t)
			a, c = a+m*t.rowStep, c+m*s.O
		}
	}
}

func (is isa) convPackS8Size(s *ConvShape) int {
	if s.depthwise() {
		return depthPackS8Size(is, s)
	}
	d := newConvInt(is, s)
	return d.size()
}

func (is isa) convPackS8(s *ConvShape, dst, w []int8) {
	if s.depthwise() {
		depthPackS8(is, s, dst, w)
		return
	}
	d := newConvInt(is, s)
	d.packWeights(dst, w)
}

func (is isa) convS8Scratch(s *ConvShape) int {
	if s.depthwise() {
		return depthS8Scratch(is, s)
	}
	d := newConvInt(is, s)
	return d.scratchBytes()
}

func (is isa) convForwardU8S8(s *ConvShape, acc []int32, x []uint8, zero uint8, packed []int8, n int, scratch []uint8) {
	if s.depthwise() {
		depthForwardU8S8(is, s, acc, x, zero, packed, n, scratch)
		return
	}
	d := newConvInt(is, s)
	d.forward(acc, x, zero, packed, n, scratch)
}
