package engine

import (
	"unsafe"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/quant"
	"lowbit/tensor"
)

// A convolution or a linear layer whose two operands come out of quantizers runs on
// the integer codes: exact sums in 32 bits, then a multiplication by the product of
// the steps. It equals the product of the rounded float32 values within their
// rounding error and costs a quarter of it. Their gradients are sums of products of
// two bfloat16 where the CPU has them: codes of up to 8 bits times a step lose next
// to nothing by that, and a gradient keeps its range and 8 bits.

// codesOp makes u8 codes of a quantizer's input: signed grids are stored with
// zero point 128.
type codesOp struct{ Spec quant.Spec }

func (o codesOp) zero() uint8 {
	if o.Spec.Signed {
		return 128
	}
	return uint8(o.Spec.Zero)
}

// quantizedOperands returns the quantizers before a convolution or a linear layer,
// if the integer path can serve them.
func (e *Engine) quantizedOperands(n *graph.Node) (x, w *graph.Node, ok bool) {
	if e.FloatProducts {
		return nil, nil, false
	}
	x, w = n.In()[0], n.In()[1]
	qx, okx := x.Op().(graph.FakeQuant)
	qw, okw := w.Op().(graph.FakeQuant)
	if !okx || !okw || qx.Spec.Bits > 8 || !qw.Spec.Signed || qw.Spec.Bits > 8 {
		return nil, nil, false
	}
	if _, conv := n.Op().(graph.Conv2D); qx.Spec.Granularity != quant.PerTensor && (conv || qx.Spec.Granularity != quant.PerToken) {
		return nil, nil, false
	}
	perChannel := qw.Spec.Granularity == quant.PerChannel && qw.Spec.Axis == 0
	return x, w, perChannel || qw.Spec.Granularity == quant.PerTensor
}

// bf16Gradient reports whether a product of a gradient may round its operands to
// bfloat16: where the other operand came out of a quantizer, which the gradient
// passes as an estimate anyway.
func (e *Engine) bf16Gradient(n *graph.Node) bool {
	for _, x := range n.In() {
		for len(x.In()) > 0 {
			_, shape := x.Op().(graph.Reshape)
			_, again := x.Op().(graph.After)
			if !shape && !again {
				break
			}
			x = x.In()[0]
		}
		if q, ok := x.Op().(graph.FakeQuant); ok && q.Spec.Bits <= 8 {
			return !e.FloatGradients
		}
	}
	return false
}

// convInteger adds an integer convolution of the operands of quantizers x and w.
func (b *builder) convInteger(n, xq, wq *graph.Node, o graph.Conv2D) *value {
	k := b.plan.k
	s := convShape(o, xq.Shape(), wq.Shape())
	in := func(q *graph.Node, i int) *value { return b.at[q.In()[i].ID()] }
	codes, zero := b.activationCodes(xq, in(xq, 0), in(xq, 1))
	packed := b.weightCodes(wq, in(wq, 0), in(wq, 1), s)
	scale := b.stepProducts(wq.Name(), in(xq, 1), in(wq, 1), s.O, blockFloats)
	out := b.value(n.Name(), n.Type(), true)
	image := s.OH() * s.OW() * s.O
	bytes := (k.ConvS8Scratch(s) + 63) &^ 63
	return b.add(&inst{
		op: o, name: n.Name(), in: []*value{codes, packed, scale}, local: []bool{true, false, false}, out: out,
		class: rowwise, scratch: bytes/4 + image + 16,
		run: func(i *inst, wk *worker, r0, r1 int) {
			x, dst := wk.bytes(i.in[0], r0, r1), wk.rows(out, r0, r1)
			scratch := floatBytes(wk.kernel[:bytes/4])
			sums := int32s(wk.kernel[bytes/4:][:image])
			size := len(x) / (r1 - r0)
			for ; len(x) > 0; x, dst = x[size:], dst[image:] {
				k.ConvForwardU8S8(s, sums, x[:size], zero, int8s(packed.bytes), 1, scratch)
				for at := 0; at < image; at += len(scale.data) {
					m := min(len(scale.data), image-at)
					k.ScaleI32(dst[at:at+m], sums[at:at+m], scale.data[:m])
				}
			}
		},
	})
}

// activationCodes adds the instruction that makes a quantizer's codes.
func (b *builder) activationCodes(q *graph.Node, x, step *value) (*value, uint8) {
	o := codesOp{q.Op().(graph.FakeQuant).Spec}
	x = b.channelsLast(x)
	key := packKey{x, "codes", [2]any{step, o}}
	if v := b.packs[key]; v != nil {
		return v, o.zero()
	}
	v := b.value(q.Name()+".codes", graph.Type{DType: tensor.U8, Shape: q.Shape()}, x.last)
	b.packs[key] = v
	pat := stepPattern(o.Spec, x, step)
	return b.add(&inst{
		op: o, name: v.name, in: []*value{x, step}, local: []bool{true, stepIsLocal(pat, x)}, out: v, class: elementwise,
		pats: []pattern{{1, x.size()}, pat},
	}), o.zero()
}

// weightCodes adds the instruction that quantizes and packs weights.
func (b *builder) weightCodes(q *graph.Node, w, step *value, s *kernel.ConvShape) *value {
	k := b.plan.k
	spec := q.Op().(graph.FakeQuant).Spec
	w = b.plain(w)
	key := packKey{w, "conv_pack_s8", [3]any{step, spec, *s}}
	if v := b.packs[key]; v != nil {
		return v
	}
	size := k.ConvPackS8Size(s)
	v := &value{name: q.Name() + ".codes", dtype: tensor.I8, shape: tensor.Shape{size}, phys: []int{size}, place: external}
	v.bytes = tensor.AlignedBytes(size)
	b.packs[key] = v
	codes, steps := make([]int8, w.size()), make([]float32, blockFloats)
	pat := stepPattern(spec, w, step)
	lo, hi := -float32(spec.Qn()), float32(spec.Qp())
	return b.add(&inst{op: "conv_pack_s8", in: []*value{w, step}, out: v, class: global, parallel: true, all: func(*Plan) {
		src := w.root().data
		for at := 0; at < len(src); at += blockFloats {
			m := min(blockFloats, len(src)-at)
			expand(steps[:m], step.root().data, pat, at)
			k.QuantS8(codes[at:at+m], src[at:at+m], steps[:m], lo, hi)
		}
		k.ConvPackS8(s, int8s(v.bytes), codes)
	}})
}

// stepProducts adds the instruction that makes the scale of each output channel,
// repeated to about size: the product of the steps, or that of the weights alone
// where sx is nil.
func (b *builder) stepProducts(name string, sx, sw *value, channels, size int) *value {
	key := packKey{sw, "scale", [3]any{sx, channels, size}}
	if v := b.packs[key]; v != nil {
		return v
	}
	size = channels * max(1, size/channels)
	v := &value{name: name + ".scale", dtype: tensor.F32, shape: tensor.Shape{size}, phys: []int{size}}
	b.packs[key] = v
	in := []*value{sw}
	if sx != nil {
		in = append(in, sx)
	}
	return b.add(&inst{op: "scale", in: in, out: v, class: global, parallel: true, all: func(*Plan) {
		x, w := float32(1), sw.root().data
		if sx != nil {
			x = sx.root().data[0]
		}
		for i := range v.data {
			v.data[i] = x * w[i%channels%len(w)]
		}
	}})
}

// bytes returns rows r0 to r1 of a value of codes.
func (w *worker) bytes(v *value, r0, r1 int) []byte {
	n := v.rowSize()
	if v.place == inScratch {
		return floatBytes(w.scratch[v.off:])[:(r1-r0)*n]
	}
	return floatBytes(v.data)[r0*n : r1*n]
}

func floatBytes(f []float32) []byte {
	if len(f) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(f))), 4*len(f))
}

func int32s(f []float32) []int32 {
	if len(f) == 0 {
		return nil
	}
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(f))), len(f))
}
