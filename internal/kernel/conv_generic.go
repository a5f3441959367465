package kernel

// Generic convolutions keep weights and their gradient as
// [KH, KW, Groups, C/Groups, O/Groups]; the form of ConvGradInput has the last
// two axes exchanged. Depthwise weights are then [KH, KW, C] in both.

func (s *ConvShape) depthwise() bool { return s.Groups > 1 && s.Groups == s.C && s.Groups == s.O }

func convWeights(s *ConvShape) int { return s.KH * s.KW * (s.C / s.Groups) * s.O }

// eachWeight calls f for every weight with its index in the order of
// [O, C/Groups, KH, KW] and its place: tap, group, channel and output channel
// within the group.
func (s *ConvShape) eachWeight(f func(i, tap, g, c, o int)) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	i := 0
	for o := 0; o < s.O; o++ {
		for c := 0; c < cg; c++ {
			for tap := 0; tap < s.KH*s.KW; tap++ {
				f(i, tap, o/og, c, o%og)
				i++
			}
		}
	}
}

func convPackGeneric(s *ConvShape, dst, w []float32) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	s.eachWeight(func(i, tap, g, c, o int) {
		dst[((tap*s.Groups+g)*cg+c)*og+o] = w[i]
	})
}

func convPackGradGeneric(s *ConvShape, dst, w []float32) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	s.eachWeight(func(i, tap, g, c, o int) {
		dst[((tap*s.Groups+g)*og+o)*cg+c] = w[i]
	})
}

func convUnpackGradWeightGeneric(s *ConvShape, dst, dw []float32) {
	cg, og, taps := s.C/s.Groups, s.O/s.Groups, s.KH*s.KW
	for o := 0; o < s.O; o++ {
		for c := 0; c < cg; c++ {
			from := (o/og*cg+c)*og + o%og
			row := dst[(o*cg+c)*taps:][:taps]
			for tap := range row {
				row[tap] = dw[from]
				from += cg * s.O
			}
		}
	}
}

// eachTap calls f for every pair of an output pixel and an input pixel that a
// tap joins, in one image: output row-major, then taps row-major. Taps that
// fall on padding are left out.
func (s *ConvShape) eachTap(f func(outPixel, inPixel, tap int)) {
	oh, ow := s.OH(), s.OW()
	for y := 0; y < oh; y++ {
		for x := 0; x < ow; x++ {
			for kh := 0; kh < s.KH; kh++ {
				iy := y*s.SH - s.PT + kh*s.DH
				if iy < 0 || iy >= s.H {
					continue
				}
				for kw := 0; kw < s.KW; kw++ {
					if ix := x*s.SW - s.PL + kw*s.DW; ix >= 0 && ix < s.W {
						f(y*ow+x, iy*s.W+ix, kh*s.KW+kw)
					}
				}
			}
		}
	}
}

func convForwardGeneric(s *ConvShape, y, x, packed []float32, n int, _ []float32) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	size := cg * s.O // one tap
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	clear(y[:n*out])
	for ; n > 0; n, x, y = n-1, x[in:], y[out:] {
		s.eachTap(func(po, pi, tap int) {
			dst, src, w := y[po*s.O:][:s.O], x[pi*s.C:][:s.C], packed[tap*size:][:size]
			if s.depthwise() {
				mulAdd3(dst, src, w)
				return
			}
			for g := 0; g < s.Groups; g++ {
				vecMat(dst[g*og:][:og], src[g*cg:][:cg], w[g*cg*og:])
			}
		})
	}
}

// mulAdd3: dst[i] += a[i] * b[i].
func mulAdd3(dst, a, b []float32) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] += float32(a[i] * b[i])
	}
}

func convGradInputGeneric(s *ConvShape, dx, dy, packed []float32, n int, _ []float32) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	size := cg * s.O
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	clear(dx[:n*in])
	for ; n > 0; n, dx, dy = n-1, dx[in:], dy[out:] {
		s.eachTap(func(po, pi, tap int) {
			dst, src, w := dx[pi*s.C:][:s.C], dy[po*s.O:][:s.O], packed[tap*size:][:size]
			if s.depthwise() {
				mulAdd3(dst, src, w)
				return
			}
			for g := 0; g < s.Groups; g++ {
				vecMat(dst[g*cg:][:cg], src[g*og:][:og], w[g*cg*og:])
			}
		})
	}
}

func convGradWeightGeneric(s *ConvShape, dw, x, dy []float32, n int, _ []float32) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	size := cg * s.O
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	for ; n > 0; n, x, dy = n-1, x[in:], dy[out:] {
		s.eachTap(func(po, pi, tap int) {
			a, b, d := x[pi*s.C:][:s.C], dy[po*s.O:][:s.O], dw[tap*size:][:size]
			if s.depthwise() {
				mulAdd3(d, a, b)
				return
			}
			for i, v := range a {
				mulAdd(d[i*og:][:og], b[i/cg*og:], v)
			}
		})
	}
}

func convPackS8Generic(s *ConvShape, dst, w []int8) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	s.eachWeight(func(i, tap, g, c, o int) {
		dst[((tap*s.Groups+g)*cg+c)*og+o] = w[i]
	})
}

func convForwardU8S8Generic(s *ConvShape, acc []int32, x []uint8, zero uint8, packed []int8, n int, _ []uint8) {
	cg, og := s.C/s.Groups, s.O/s.Groups
	size := cg * s.O
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	z := int32(zero)
	clear(acc[:n*out])
	for ; n > 0; n, x, acc = n-1, x[in:], acc[out:] {
		s.eachTap(func(po, pi, tap int) {
			dst, src, w := acc[po*s.O:][:s.O], x[pi*s.C:][:s.C], packed[tap*size:][:size]
			for i, v := range src {
				d := int32(v) - z
				row, sum := w[i*og:][:og], dst[i/cg*og:][:og]
				for o := range row {
					sum[o] += d * int32(row[o])
				}
			}
		})
	}
}
