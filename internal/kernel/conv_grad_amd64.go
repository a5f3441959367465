//go:build !noasm && gc

package kernel

// convGradWeight adds the weight gradient of n images to dw, laid out
// [KH, KW, Groups, C/Groups, O/Groups] as in the generic row. A tile of
// input channels x output channels stays in registers while the kernel runs
// over all pixels of an image that a tap joins, so padding costs nothing.
func convGradWeight(is isa, s *ConvShape, dw, x, dy []float32, n int, scratch []float32) {
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	dw, x, dy = dw[:convWeights(s)], x[:n*in], dy[:n*out]
	band := gradBand(s)
	if !mergesTaps(s) {
		for i := 0; i < n; i++ {
			for r := 0; r < s.OH(); r += band {
				gradRows(is, s, dw, x[i*in:][:in], dy[i*out:][:out], r, r+band)
			}
		}
		return
	}
	d := newConvDir(s, false)
	buf := scratch[:d.scratch(is)]
	if d.padded(is) {
		clearBorder(&d, buf)
	}
	for i := 0; i < n; i++ {
		src := x[i*in:][:in]
		if d.padded(is) {
			for r := range d.srcH {
				d.fill(is, buf, src, r)
			}
			src = buf
		}
		for r := 0; r < d.dstH; r += band {
			for kh := 0; kh < s.KH; kh++ {
				gradMerged(is, &d, dw, src, dy[i*out:][:out], kh, r, r+band)
			}
		}
	}
}

// gradBand is the output rows to take at a time: x and dy of a band stay in L1
// (6K floats, half of 48 KiB) while the taps and tiles pass, but a tile is
// loaded and stored for no fewer than 128 pixels.
func gradBand(s *ConvShape) int {
	ow := s.OW()
	return max(6<<10/(s.SH*s.W*s.C+ow*s.O), (128+ow-1)/ow)
}

// gradRows adds the gradient of output rows r0 to r1 of one image.
func gradRows(is isa, s *ConvShape, dw, x, dy []float32, r0, r1 int) {
	for kh := 0; kh < s.KH; kh++ {
		if is != avx2 && gradSharesTaps(s) {
			gradTaps3(is, s, dw, x, dy, kh, r0, r1)
			continue
		}
		for kw := 0; kw < s.KW; kw++ {
			gradTap(is, s, dw, x, dy, kh, kw, r0, r1)
		}
	}
}

// mergesTaps reports whether the taps and channels of a kernel row make up the
// rows of a tile: with few channels, one tap alone would leave the arithmetic
// units waiting.
func mergesTaps(s *ConvShape) bool {
	return s.C < 8 && s.KW > 1 && s.DW == 1 && s.Groups == 1
}

// gradSharesTaps reports whether gradWeight3F32 serves the shape.
func gradSharesTaps(s *ConvShape) bool {
	return s.KW == 3 && s.SW == 1 && s.DW == 1 && s.PL == 1 && s.PR == 1 && s.Groups == 1 && s.O <= avx512.lanes()
}

// gradTaps3 is gradTap for the three taps of a kernel row.
func gradTaps3(is isa, s *ConvShape, dw, x, dy []float32, kh, r0, r1 int) {
	y0, y1 := s.rowsInside(kh, r0, r1)
	if y0 >= y1 {
		return
	}
	t := tile{
		k: s.W, runs: y1 - y0, cStep: 4 * s.O, outStep: 4 * s.C * s.O, cols: s.O,
		kStep: 4 * s.C, runStep: 4 * s.SH * s.W * s.C,
		bStep: 4 * s.O, bRun: 4 * s.W * s.O,
	}
	a, b, c := (y0*s.SH+kh*s.DH-s.PT)*s.W*s.C, y0*s.W*s.O, kh*3*s.C*s.O
	tiles, size, extra := split(s.C, 8)
	for i, r := 0, 0; i < tiles; i++ {
		m := size + b2i(i < extra)
		gradWeight3F32(is, m, &x[a+r], &dy[b], &dw[c+r*s.O], &t)
		r += m
	}
}

// fill brings row r of an image into its padding.
func (d *convDir) fill(is isa, buf, src []float32, r int) {
	n := d.srcW * d.srcC
	dst := buf[((d.top+r)*d.padW+d.left)*d.srcC:][:n]
	if is == bf16 {
		narrowBF16(dst, src[2*n*r:][:2*n])
		return
	}
	copy(dst, src[n*r:][:n])
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

// rowsInside returns the output rows from r0 to r1 whose kernel row kh is not
// on padding; there may be none.
func (s *ConvShape) rowsInside(kh, r0, r1 int) (y0, y1 int) {
	y0, y1 = inside(s.OH(), s.SH, kh*s.DH-s.PT, s.H)
	return max(y0, r0), min(y1, r1)
}

// gradTap adds the gradient of one tap.
func gradTap(is isa, s *ConvShape, dw, x, dy []float32, kh, kw, r0, r1 int) {
	ow := s.OW()
	y0, y1 := s.rowsInside(kh, r0, r1)
	x0, x1 := inside(ow, s.SW, kw*s.DW-s.PL, s.W)
	if y0 >= y1 || x0 == x1 {
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

// gradMerged adds the gradient of kernel row kh, its taps and channels one run.
func gradMerged(is isa, d *convDir, dw, src, dy []float32, kh, r0, r1 int) {
	s, ow := &d.s, d.dstW
	y0, y1 := s.rowsInside(kh, r0, r1)
	if y0 >= y1 {
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
