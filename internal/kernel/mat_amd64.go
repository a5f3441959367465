//go:build !noasm && gc

package kernel

//go:generate sh -c "cd _gen && go run . -set mat -out ../mat_amd64.s -stubs ../mat_stubs_amd64.go -pkg kernel"
//go:generate sh -c "cd _gen && go run . -set bf16 -out ../bf16_amd64.s -stubs ../bf16_stubs_amd64.go -pkg kernel"

func avx2Mat(base MatOps) MatOps   { return matRow(avx2, base) }
func avx512Mat(base MatOps) MatOps { return matRow(avx512, base) }

// matRow overrides base with the kernels of one instruction set.
func matRow(is isa, base MatOps) MatOps {
	m := base
	m.PackBSize, m.PackB = is.packBSize, is.packB
	m.GemmScratch = func(k, _ int) int { return is.gemmScratch(k) }
	m.Gemm = is.gemm
	m.PackBBF16, m.GemmBF16 = is.packB, is.gemm
	m.ConvPackSize = func(s *ConvShape) int { d := newConvDir(s, false); return d.packSize(is) }
	m.ConvPackGradSize = func(s *ConvShape) int { d := newConvDir(s, true); return d.packSize(is) }
	m.ConvScratch = func(s *ConvShape) int {
		f, g := newConvDir(s, false), newConvDir(s, true)
		return max(f.scratch(is), g.scratch(is))
	}
	m.ConvPack = func(s *ConvShape, dst, w []float32) { d := newConvDir(s, false); d.pack(is, dst, w) }
	m.ConvPackGrad = func(s *ConvShape, dst, w []float32) { d := newConvDir(s, true); d.pack(is, dst, w) }
	m.ConvForward = func(s *ConvShape, y, x, packed []float32, n int, scratch []float32) {
		d := newConvDir(s, false)
		d.run(is, y, x, packed, n, scratch)
	}
	m.ConvGradInput = func(s *ConvShape, dx, dy, packed []float32, n int, scratch []float32) {
		d := newConvDir(s, true)
		d.run(is, dx, dy, packed, n, scratch)
	}
	m.ConvGradWeight = func(s *ConvShape, dw, x, dy []float32, n int, scratch []float32) {
		convGradWeight(is, s, dw, x, dy, n, scratch)
	}
	m.ConvPackS8Size = is.convPackS8Size
	m.ConvPackS8 = is.convPackS8
	m.ConvS8Scratch = is.convS8Scratch
	m.ConvForwardU8S8 = is.convForwardU8S8
	m.PackS8Size, m.PackS8, m.GemmU8S8 = is.packS8Size, is.packS8, is.gemmU8S8
	m.ScaleI32 = is.scaleI32
	m.RealI32 = is.realI32
	return m
}

func (is isa) realI32(dst []float32, a, b []int32, s, c []float32) {
	a, b, s, c = a[:len(dst)], b[:len(dst)], s[:len(dst)], c[:len(dst)]
	n := len(dst) &^ (is.lanes() - 1)
	if n > 0 {
		if is == avx512 {
			realI32AVX512(&dst[0], &a[0], &b[0], &s[0], &c[0], n)
		} else {
			realI32AVX2(&dst[0], &a[0], &b[0], &s[0], &c[0], n)
		}
	}
	realI32Generic(dst[n:], a[n:], b[n:], s[n:], c[n:])
}

func (is isa) scaleI32(dst []float32, a []int32, s []float32) {
	a, s = a[:len(dst)], s[:len(dst)]
	n := len(dst) &^ (is.lanes() - 1)
	if n > 0 {
		if is == avx512 {
			scaleI32AVX512(&dst[0], &a[0], &s[0], n)
		} else {
			scaleI32AVX2(&dst[0], &a[0], &s[0], n)
		}
	}
	scaleI32Generic(dst[n:], a[n:], s[n:])
}
