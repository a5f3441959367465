//go:build !noasm && gc

package kernel

// convGradWeight adds the weight gradient of n images to dw, laid out
// [KH, KW, Groups, C/Groups, O/Groups] as in the generic row. A tile of
// input channels x output channels stays in registers while the kernel runs
// over all pixels of an image that a tap joins, so padding costs nothing.
func convGradWeight(is isa, s *ConvShape, dw, x, dy []float32, n int, scratch []float32) {
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	dw, x, dy = dw[:convWeights(s)], x[:n*in], dy[:n*out]
	if !mergesTaps(s) {
		for i := 0; i < n; i++ {
			for kh := 0; kh < s.KH; kh++ {
				for kw := 0; kw < s.KW; kw++ {
					gradTap(is, s, dw, x[i*in:][:in], dy[i*out:][:out], kh, kw)
				}
			}
		}
		return
	}
	d := newConvDir(s, false)
	buf := scratch[:d.scratch()]
	if d.padded() {
		clearBorder(&d, buf)
	}
	for i := 0; i < n; i++ {
		src := x[i*in:][:in]
		if d.padded() {
			d.fill(buf, src)
			src = buf
		}
		for kh := 0; kh < s.KH; kh++ {
			gradMerged(is, &d, dw, src, dy[i*out:][:out], kh)
		}
	}
}

// mergesTaps reports whether the taps and channels of a kernel row make up the
// rows of a tile: with few channels, one tap alone would leave the arithmetic
// units waiting.
func mergesTaps(s *ConvShape) bool {
	return s.C < 8 && s.KW > 1 && s.DW == 1 && s.Groups == 1
}

// fill copies a whole image into its padding.
func (d *convDir) fill(buf, src []float32) {
	for r := 0; r < d.srcH; r++ {
		copy(buf[((d.top+r)*d.padW+d.left)*d.srcC:], src[r*d.srcW*d.srcC:][:d.srcW*d.srcC])
	}
}

// inside returns the outputs lo <= i < hi for which i*stride+offset lies in
// 0..size-1.
func inside(outputs, stride, offset, size int) (lo, hi int) {
	if offset < 0 {
		lo = (-offset + stride - 1) / stride
	}
	if size-1-offset < 0 {
		return lo, lo
	}
	return lo, max(lo, min(outputs, (size-1-offset)/stride+1))
}

func gradTap(is isa, s *ConvShape, dw, x, dy []float32, kh, kw int) {
	ow := s.OW()
	y0, y1 := inside(s.OH(), s.SH, kh*s.DH-s.PT, s.H)
	x0, x1 := inside(ow, s.SW, kw*s.DW-s.PL, s.W)
	if y0 == y1 || x0 == x1 {
		return
	}
	cg, og := s.C/s.Groups, s.O/s.Groups
	t := tile{
		k: x1 - x0, runs: y1 - y0, cStep: 4 * og,
		kStep: 4 * s.SW * s.C, runStep: 4 * s.SH * s.W * s.C,
		bStep: 4 * s.O, bRun: 4 * ow * s.O,
	}
	a := ((y0*s.SH+kh*s.DH-s.PT)*s.W + x0*s.SW + kw*s.DW - s.PL) * s.C
	b := (y0*ow + x0) * s.O
	if s.depthwise() {
		depthGradTap(is, &t, dw[(kh*s.KW+kw)*s.C:][:s.C], x[a:], dy[b:])
		return
	}
	for g := 0; g < s.Groups; g++ {
		c := ((kh*s.KW+kw)*s.Groups + g) * cg * og
		gradTiles(is, &t, dw[c:], x[a+g*cg:], dy[b+g*og:], cg, og)
	}
}

// gradTiles covers rows x cols elements of dw with tiles.
func gradTiles(is isa, t *tile, dw, x, dy []float32, rows, cols int) {
	for j := 0; j < cols; j += 2 * is.lanes() {
		var nv int
		nv, t.cols = is.panel(cols - j)
		tiles, size, extra := split(rows, is.gradMost(nv))
		for i, r := 0, 0; i < tiles; i++ {
			m := size + b2i(i < extra)
			gradWeightF32(is, m, nv, &x[r], &dy[j], &dw[r*cols+j], t)
			r += m
		}
	}
}

func gradMerged(is isa, d *convDir, dw, src, dy []float32, kh int) {
	s, oh, ow := d.s, d.dstH, d.dstW
	y0, y1 := inside(oh, s.SH, kh*s.DH-s.PT, s.H)
	if y0 == y1 {
		return
	}
	pitch := d.padW * s.C
	t := tile{
		k: ow, runs: y1 - y0, cStep: 4 * s.O,
		kStep: 4 * s.SW * s.C, runStep: 4 * s.SH * pitch,
		bStep: 4 * s.O, bRun: 4 * ow * s.O,
	}
	a := (y0*s.SH+kh*s.DH-s.PT+d.top)*pitch + (d.left-s.PL)*s.C
	gradTiles(is, &t, dw[kh*s.KW*s.C*s.O:], src[a:], dy[y0*ow*s.O:], s.KW*s.C, s.O)
}
