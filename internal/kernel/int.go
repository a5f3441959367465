package kernel

//go:generate go -C _gen run . -set int -out ../int_amd64.s -stubs ../int_stubs_amd64.go -pkg kernel
//go:generate go -C _gen run . -set bits -out ../bits_amd64.s -stubs ../bits_stubs_amd64.go -pkg kernel
//go:generate go -C _gen run . -set amx -out ../amx_amd64.s -stubs ../amx_stubs_amd64.go -pkg kernel

// Clamp ends the deploy form of a layer: code = rne(clip(x, Lo, Hi)) + Zero,
// with Lo and Hi whole numbers and the result in 0..255.
type Clamp struct {
	Lo, Hi float32
	Zero   int32
}

// IntLayer is a convolution of codes: its shape, what its operands are, and its
// weights in the form of a row of kernels.
type IntLayer struct {
	ConvShape
	Bits   int   // of the weights' codes, 2 to 8
	Shift  int   // weights are codes times 2^Shift; Bits+Shift is at most 8
	Zero   uint8 // the activations' zero point
	Packed []int8
	// Next are the packed weights that are needed after these, if that is known:
	// they are fetched ahead.
	Next []int8
}

// IntPart is a part of a layer's result: output rows R0 to R1 and output
// channels O0 to O1. Channels may be divided between multiples of IntPanel, and
// only where the layer has one group.
type IntPart struct{ R0, R1, O0, O1 int }

// IntPanel is the number of output channels that kernels take together.
const IntPanel = 32

// IntOps are what a network of integer codes runs on. All give the same bits
// on every row: sums in 32 bits wrap, products and roundings of floats are
// single ones. A caller may divide the result of a convolution in any way.
//
// An activation image x is u8 [rows, pixels, C] whose rows lie pitch bytes
// apart, a multiple of C; x[0] is the first value of the window of output pixel
// (0, 0), so that padding is part of the image and the pads of the shape count
// for the output size alone. IntOverread bytes behind the last row must be
// readable.
type IntOps struct {
	// IntPack packs weights w, codes times 2^Shift in the order
	// [O, KH, KW, C/Groups], into l.Packed, IntPackSize zeros: a sum is bias[o] + (x-zero)*w. Where that
	// pays, weights of 4, 3 and 2 bits stay packed in as many.
	IntPackSize func(l *IntLayer) int
	IntPack     func(l *IntLayer, w []int8, bias []int32)
	// IntKernel names what computes a layer, and the bits in which its weights
	// lie in memory.
	IntKernel func(l *IntLayer) (name string, bits int)
	// IntScratch is the bytes of scratch, aligned to 64, for a call with that
	// many rows.
	IntScratch func(l *IntLayer, pitch, rows int) int
	// IntConv sets the part of acc [R1-R0, OW, O] to its sums.
	IntConv func(l *IntLayer, acc []int32, x []uint8, pitch int, part IntPart, scratch []uint8)
	// IntConvU8 makes codes of the sums, rows dstPitch apart: what IntConv and
	// then RequantU8 with m [O] give. dst[0] is the first value of row 0.
	IntConvU8 func(l *IntLayer, dst []uint8, dstPitch int, x []uint8, pitch int, m []float32, q *Clamp, part IntPart, scratch []uint8)
	// RequantU8: dst[i] = rne(clip(float32(acc[i])*m[i%len(m)], Lo, Hi)) + Zero;
	// len(dst) is a multiple of len(m).
	RequantU8 func(dst []uint8, acc []int32, m []float32, q *Clamp)
	// AddPrepare makes p ready for AddU8, if many sums will follow. It is not
	// needed.
	AddPrepare func(p *Addition)
	// AddU8: dst[i] is the code of the sum of codes a[i] and b[i], each
	// operation in float32 and rounded once.
	AddU8 func(dst, a, b []uint8, p *Addition)
	// AddF32: y[i] = max(a[i]+b[i], Floor), and dst[i] the code of a[i]+b[i]. y
	// may be a or b.
	AddF32 func(dst []uint8, y, a, b []float32, p *Addition)
	// MapU8: dst[i] = table[src[i]].
	MapU8 func(dst, src []uint8, table *[256]uint8)
	// QuantStepU8: dst[i] = rne(clip(v[i]/step, Lo, Hi)) + Zero.
	QuantStepU8 func(dst []uint8, v []float32, step float32, q *Clamp)
	// InterleaveU8 sets dst [n, 3] to src [3, n].
	InterleaveU8 func(dst, src []uint8)
	// MaxU8: dst[i] = max(a[i], b[i]).
	MaxU8 func(dst, a, b []uint8)
}

// Addition is the sum of two values that becomes codes of a third grid: each
// code's value is (code-zero)*step, and the sum's code
// rne(clip(sum/Step, Lo, Hi)) + Zero. Floor is the least sum that is kept.
type Addition struct {
	StepA, StepB, Step, Lo, Hi float32
	ZeroA, ZeroB, Zero         float32
	Floor                      float32

	// The parts of a reciprocal of Step, and whether they may take its place:
	// AddPrepare sets them.
	high, low float32
	quick     bool
}

// IntOverread is how far kernels read beyond an activation image of so many
// channels.
func IntOverread(channels int) int { return 64 + 8*channels }
