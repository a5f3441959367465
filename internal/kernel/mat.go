package kernel

// ConvShape describes a 2-d convolution on one image, channels last:
// x [H, W, C], weights [O, C/Groups, KH, KW], y [OH, OW, O]. Pads count rows
// and columns of zeros; dilation 1 means none.
type ConvShape struct {
	H, W, C, O             int
	KH, KW, SH, SW, DH, DW int
	PT, PL, PB, PR         int
	Groups                 int
	// BF16 allows a row to round the operands of products of floats to bfloat16,
	// to the nearest, ties to even; sums stay in float32. Rows whose CPU has no
	// such products, and shapes that gain nothing, keep float32.
	BF16 bool
}

// OH returns the output height.
func (s *ConvShape) OH() int { return (s.H+s.PT+s.PB-s.DH*(s.KH-1)-1)/s.SH + 1 }

// OW returns the output width.
func (s *ConvShape) OW() int { return (s.W+s.PL+s.PR-s.DW*(s.KW-1)-1)/s.SW + 1 }

// MatOps are matrix products and convolutions. All run on one goroutine;
// scratch comes from the caller, with the sizes that the Size functions give.
// Every dst is a function of its operands alone: the same bits whatever range
// a caller splits the work into (rows of C, images), so that thread counts do
// not show.
type MatOps struct {
	// PackB packs b for Gemm: op(b) is [k, n] with row stride ldb, or its
	// transpose [n, k] when trans. dst has PackBSize(k, n) floats.
	PackBSize func(k, n int) int
	PackB     func(dst, b []float32, ldb, k, n int, trans bool)
	// Gemm: c [m, n] (stride ldc) = a [m, k] (stride lda) times packed b, added
	// to c when acc. transA: a is stored [k, m] with stride lda. scratch has
	// GemmScratch(k, n) floats.
	GemmScratch func(k, n int) int
	Gemm        func(c, a, packedB []float32, m, n, k, lda, ldc int, transA, acc bool, scratch []float32)
	// BF16 tells that the row has products of bfloat16.
	BF16 bool
	// PackBBF16 and GemmBF16 are PackB and Gemm with operands that may be rounded
	// to bfloat16, as ConvShape.BF16 says.
	PackBBF16 func(dst, b []float32, ldb, k, n int, trans bool)
	GemmBF16  func(c, a, packedB []float32, m, n, k, lda, ldc int, transA, acc bool, scratch []float32)

	// Convolution in float32, any stride, padding, dilation and groups.
	// ConvPack turns weights [O, C/Groups, KH, KW] into the form of ConvForward
	// (ConvPackSize floats), ConvPackGrad into that of ConvGradInput
	// (ConvPackGradSize floats).
	ConvPackSize, ConvPackGradSize func(s *ConvShape) int
	ConvPack, ConvPackGrad         func(s *ConvShape, dst, w []float32)
	// ConvScratch is the floats of scratch that the three calls below need.
	ConvScratch func(s *ConvShape) int
	// ConvForward: y [n, OH, OW, O] = conv(x [n, H, W, C], packed weights).
	ConvForward func(s *ConvShape, y, x, packed []float32, n int, scratch []float32)
	// ConvGradInput: dx [n, H, W, C] from dy [n, OH, OW, O].
	ConvGradInput func(s *ConvShape, dx, dy, packed []float32, n int, scratch []float32)
	// ConvGradWeight adds the weight gradient of n images to dw, in the
	// kernel's own order (ConvGradWeightSize floats, zeroed by the caller);
	// ConvUnpackGradWeight turns it into dst [O, C/Groups, KH, KW].
	ConvGradWeightSize   func(s *ConvShape) int
	ConvGradWeight       func(s *ConvShape, dw, x, dy []float32, n int, scratch []float32)
	ConvUnpackGradWeight func(s *ConvShape, dst, dw []float32)

	// Integer convolution: u8 activations with zero point, s8 weights, i32
	// sums. ConvPackS8 packs w [O, C/Groups, KH, KW] of codes and the per-channel
	// correction for the zero point; padding holds the zero point.
	ConvPackS8Size  func(s *ConvShape) int
	ConvPackS8      func(s *ConvShape, dst []int8, w []int8)
	ConvS8Scratch   func(s *ConvShape) int // bytes
	ConvForwardU8S8 func(s *ConvShape, acc []int32, x []uint8, zero uint8, packed []int8, n int, scratch []uint8)
	// Integer product: c [m, n] i32 = a [m, k] u8 times packed b [n, k] s8,
	// minus zero times the row sums of b.
	PackS8Size func(n, k int) int
	PackS8     func(dst []int8, b []int8, n, k int)
	GemmU8S8   func(c []int32, a []uint8, zero uint8, packed []int8, m, n, k, lda, ldc int, scratch []uint8)
	// RealI32: dst[i] = float32(float32(a[i]-b[i])*s[i]) + c[i].
	RealI32 func(dst []float32, a, b []int32, s, c []float32)
	// ScaleI32: dst[i] = float32(a[i]) * s[i].
	ScaleI32 func(dst []float32, a []int32, s []float32)
}
