//go:build !noasm && gc

package kernel

// Convolutions on words of two bfloat16, with the drivers of float32: a word
// stands where they have a float.
//
// Forward, and for the gradient to the input, a word is a pair of the channels
// that are summed over. The gradient to the weights sums over pixels: a word is a
// pixel and the one below it that meets the same tap of the next output row, so
// that no tap needs another pairing than its neighbour to the left or right.

// bf16Mat overrides base, the row avx512, with products of bfloat16.
func bf16Mat(base MatOps) MatOps {
	m := base
	m.ConvPackSize, m.ConvPack, m.ConvForward = dirBF16(false, base.ConvPackSize, base.ConvPack, base.ConvForward)
	m.ConvPackGradSize, m.ConvPackGrad, m.ConvGradInput = dirBF16(true, base.ConvPackGradSize, base.ConvPackGrad, base.ConvGradInput)
	m.ConvScratch = func(s *ConvShape) int {
		n := base.ConvScratch(s)
		for _, grad := range []bool{false, true} {
			if d, ok := newConvDirBF16(s, grad); ok {
				n = max(n, d.scratch(bf16))
			}
		}
		if p, ok := newPixelPairs(s); ok {
			n = max(n, p.size())
		}
		return n
	}
	m.ConvGradWeight = func(s *ConvShape, dw, x, dy []float32, n int, scratch []float32) {
		if p, ok := newPixelPairs(s); ok {
			p.run(dw, x, dy, n, scratch)
			return
		}
		base.ConvGradWeight(s, dw, x, dy, n, scratch)
	}
	m.BF16, m.PackBBF16, m.GemmBF16 = true, packBBF16, gemmBF16
	return m
}

type (
	convSize = func(s *ConvShape) int
	convPack = func(s *ConvShape, dst, w []float32)
	convRun  = func(s *ConvShape, dst, src, packed []float32, n int, scratch []float32)
)

// dirBF16 is one direction of a convolution, that of base where words do not serve.
func dirBF16(grad bool, size convSize, pack convPack, run convRun) (convSize, convPack, convRun) {
	return func(s *ConvShape) int {
			if d, ok := newConvDirBF16(s, grad); ok {
				return d.packSize(bf16)
			}
			return size(s)
		}, func(s *ConvShape, dst, w []float32) {
			if d, ok := newConvDirBF16(s, grad); ok {
				d.pack(bf16, dst, w)
				return
			}
			pack(s, dst, w)
		}, func(s *ConvShape, dst, src, packed []float32, n int, scratch []float32) {
			if d, ok := newConvDirBF16(s, grad); ok {
				d.run(bf16, dst, src, packed, n, scratch)
				return
			}
			run(s, dst, src, packed, n, scratch)
		}
}

// newConvDirBF16 is one direction with pairs of source channels, for shapes that
// have them.
func newConvDirBF16(s *ConvShape, grad bool) (d convDir, ok bool) {
	words, channels := *s, s.C
	if grad {
		channels = s.O
		words.O /= 2
	} else {
		words.C /= 2
	}
	if !s.BF16 || s.depthwise() || channels/s.Groups%2 != 0 || words.depthwise() {
		return d, false
	}
	return newConvDir(&words, grad), true
}

// pixelPairs is a gradient to the weights with words of two pixels: output rows
// 2r and 2r+1, and the input rows that a tap joins with them.
type pixelPairs struct {
	s     *ConvShape
	words ConvShape // of a band of rows; what lies above and below is in the words
}

// pairBand is the words of x in a band: a quarter of the 1 MiB of L2.
const pairBand = 64 << 10

func newPixelPairs(s *ConvShape) (p pixelPairs, ok bool) {
	if !s.BF16 || s.depthwise() || mergesTaps(s) {
		return p, false
	}
	w := *s
	w.SH, w.PT, w.PB = 2*s.SH, 0, 0
	extent := s.DH*(s.KH-1) + 1
	rows := max(1, min((s.OH()+1)/2, (pairBand/(s.W*s.C)-extent)/w.SH+1))
	w.H = (rows-1)*w.SH + extent
	return pixelPairs{s, w}, true
}

// size is the words of scratch: x, dy, and a row of zeros.
func (p *pixelPairs) size() int {
	w := &p.words
	return w.H*w.W*w.C + w.OH()*w.OW()*w.O + max(w.W*w.C, w.OW()*w.O)
}

func (p *pixelPairs) run(dw, x, dy []float32, n int, scratch []float32) {
	s, w := p.s, p.words
	in, out := s.H*s.W*s.C, s.OH()*s.OW()*s.O
	dw, x, dy = dw[:convWeights(s)], x[:n*in], dy[:n*out]
	xs, rest := scratch[:w.H*w.W*w.C], scratch[w.H*w.W*w.C:p.size()]
	ys, zeros := rest[:w.OH()*w.OW()*w.O], rest[w.OH()*w.OW()*w.O:]
	clear(zeros)
	rows, band := w.OH(), gradBand(&w)
	for i := 0; i < n; i++ {
		src, grad := x[i*in:][:in], dy[i*out:][:out]
		for top := 0; 2*top < s.OH(); top += rows {
			have := min(rows, (s.OH()+1)/2-top)
			pairRows(ys, grad, zeros, s.OW()*s.O, have, 2*top, 2, 1)
			pairRows(xs, src, zeros, s.W*s.C, (have-1)*w.SH+s.DH*(s.KH-1)+1, top*w.SH-s.PT, 1, s.SH)
			for r := 0; r < have; r += band {
				gradRows(bf16, &w, dw, xs, ys, r, min(have, r+band))
			}
		}
	}
}

// pairRows makes count rows of words: row r of dst is row first+r*step of src and
// the one apart rows below, zeros where src has no such row.
func pairRows(dst, src, zeros []float32, size, count, first, step, apart int) {
	row := func(r int) []float32 {
		if r < 0 || (r+1)*size > len(src) {
			return zeros
		}
		return src[r*size:]
	}
	for r := range count {
		pairBF16(dst[r*size:][:size], row(first+r*step), row(first+r*step+apart))
	}
}
