//go:build !noasm && gc

package kernel

//go:generate sh -c "cd _gen && go run . -set mat -out ../mat_amd64.s -stubs ../mat_stubs_amd64.go -pkg kernel"

func avx2Mat(base MatOps) MatOps   { return matRow(avx2, base) }
func avx512Mat(base MatOps) MatOps { return matRow(avx512, base) }

// matRow overrides base with the kernels of one instruction set.
func matRow(is isa, base MatOps) MatOps {
	m := base
	m.ConvPackSize = func(s *ConvShape) int { d := newConvDir(s, false); return d.packSize(is) }
	m.ConvPackGradSize = func(s *ConvShape) int { d := newConvDir(s, true); return d.packSize(is) }
	m.ConvScratch = func(s *ConvShape) int {
		f, g := newConvDir(s, false), newConvDir(s, true)
		return max(f.scratch(), g.scratch())
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
	return m
}
