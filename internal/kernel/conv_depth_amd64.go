//go:build !noasm && gc

package kernel

import "unsafe"

// Depthwise convolutions (one input and one output channel a group) are
// vectors of channels: weights are packed [phase][tap][channels], padded to
// whole vectors.

// blocks is the vectors that hold n channels, and what the last of them holds.
func (is isa) blocks(n int) (count, lastCols int) {
	l := is.lanes()
	return (n + l - 1) / l, (n-1)%l + 1
}

// packDepthwise packs w [C, 1, KH, KW] for one phase.
func (d *convDir) packDepthwise(is isa, dst, w []float32, h, v phase) {
	width, kk := is.padCols(d.dstC), d.s.KH*d.s.KW
	for ky := 0; ky < h.taps; ky++ {
		for kx := 0; kx < v.taps; kx++ {
			tap := (h.tap0+ky*h.tapStep)*d.s.KW + v.tap0 + kx*v.tapStep
			row := dst[(ky*v.taps+kx)*width:][:width]
			for c := range row[:d.dstC] {
				row[c] = w[c*kk+tap]
			}
			clear(row[d.dstC:])
		}
	}
}

// depthwiseRows is panels for depthwise shapes: all channels at once.
func (d *convDir) depthwiseRows(is isa, dst, packed, buf []float32, r0, r1, px int) {
	h, v := d.phaseH(r0%d.phasesH), d.phaseW(px)
	width := is.padCols(d.dstC)
	p := convPanel{
		depthwise: true, h: h, pitch: d.padW * d.srcC, count: d.columns(px), zero: v.taps == 0,
		live: d.dstC, tapRow: v.taps * width, a: (d.top*d.padW + v.first + d.left) * d.srcC,
	}
	p.tile = tile{
		k: v.taps, kStep: 4 * v.step * d.srcC, outStep: 4 * h.step * p.pitch, bStep: 4 * width,
		rowStep: 4 * v.advance * d.srcC, cStep: 4 * d.phasesW * d.dstC,
	}
	p.tile.runs, p.cols = is.blocks(d.dstC)
	p.tiles, p.size, p.extra = split(p.count, is.depthMost())
	b := d.tapsBefore(r0%d.phasesH, px) * width
	c, cStep := (r0*d.dstW+px)*d.dstC, d.phasesH*d.dstW*d.dstC
	from := h.first + r0/d.phasesH*h.advance
	for r := r0; r < r1; r += d.phasesH {
		p.row(is, false, dst[c:], packed[b:], buf, from, d.srcH)
		c, from = c+cStep, from+h.advance
	}
}

// depthGradTap adds the gradient of one tap to dw [C].
func depthGradTap(is isa, t *tile, dw, x, dy []float32) {
	for c, step := 0, 4*is.lanes(); c < len(dw); c += step {
		var nv int
		nv, t.cols = is.blocks(min(step, len(dw)-c))
		depthGradF32(is, nv, &x[c], &dy[c], &dw[c], t)
	}
}

// Integer depthwise: s8 weights [tap][channels, padded], then an int32 sum for
// each padded channel. Both instruction sets keep the activations in bytes
// around the zero point.

func depthPackS8Size(is isa, s *ConvShape) int { return (s.KH*s.KW + 4) * is.padCols(s.C) }

func depthPackS8(is isa, s *ConvShape, dst, w []int8) {
	width, kk := is.padCols(s.C), s.KH*s.KW
	dst, w = dst[:depthPackS8Size(is, s)], w[:s.C*kk]
	clear(dst)
	for c := 0; c < s.C; c++ {
		var sum int32
		for tap, v := range w[c*kk:][:kk] {
			dst[tap*width+c] = v
			sum += int32(v)
		}
		putSum(dst[kk*width:], c, sum)
	}
}

// depthImageBytes is the padded image and the vector read beyond it.
func depthImageBytes(d *convDir) int { return (d.padH*d.padW*d.srcC + avx512.lanes() + 3) &^ 3 }

func depthS8Scratch(is isa, s *ConvShape) int {
	d := newConvDir(s, false)
	return depthImageBytes(&d) + 4*is.padCols(s.C)
}

func depthForwardU8S8(is isa, s *ConvShape, acc []int32, x []uint8, zero uint8, packed []int8, n int, scratch []uint8) {
	d := newConvDir(s, false)
	in, out := s.H*s.W*s.C, d.dstH*d.dstW*s.C
	acc, x, packed, scratch = acc[:n*out], x[:n*in], packed[:depthPackS8Size(is, s)], scratch[:depthS8Scratch(is, s)]
	buf, width, pitch := scratch[:depthImageBytes(&d)], is.padCols(s.C), d.padW*s.C
	bias := unsafe.Slice((*int32)(unsafe.Pointer(&scratch[len(buf)])), width)
	for i := range bias {
		bias[i] = -int32(zero) * sumAt(packed[s.KH*s.KW*width:], i)
	}
	for i := range buf {
		buf[i] = zero
	}
	t := tile{
		k: s.KW, kStep: s.DW * s.C, outs: s.KH, outStep: s.DH * pitch, bStep: width,
		rowStep: s.SW * s.C, cStep: 4 * s.C,
	}
	t.runs, t.cols = is.blocks(s.C)
	tiles, size, extra := split(d.dstW, is.depthMost())
	for ; n > 0; n, x, acc = n-1, x[in:], acc[out:] {
		for r := 0; r < s.H; r++ {
			copy(buf[(d.top+r)*pitch+d.left*s.C:], x[r*s.W*s.C:][:s.W*s.C])
		}
		for r := 0; r < d.dstH; r++ {
			a, c := (r*s.SH-s.PT+d.top)*pitch+(d.left-s.PL)*s.C, r*d.dstW*s.C
			for i := 0; i < tiles; i++ {
				m := size + b2i(i < extra)
				depthwiseU8S8(is, m, &buf[a], &packed[0], &acc[c], &bias[0], &t)
				a, c = a+m*t.rowStep, c+m*s.C
			}
		}
	}
}
