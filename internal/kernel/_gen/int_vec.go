package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// addition holds fields of the Go type Addition in vectors.
func addition(p reg.Register, fields ...int) (v []reg.VecVirtual) {
	for _, f := range fields {
		z := ZMM()
		VBROADCASTSS(Mem{Base: p, Disp: 4 * f}, z)
		v = append(v, z)
	}
	return v
}

// Fields of Addition, in words of 4 bytes.
const (
	addStepA = iota
	addStepB
	addStep
	addLo
	addHi
	addZeroA
	addZeroB
	addZero
	addFloor
	addHigh
	addLow
)

// sumCodes stores the codes of the sums v; g is Step, Lo, Hi, Zero.
func sumCodes(v reg.VecVirtual, g []reg.VecVirtual, dst Mem) {
	VDIVPS(g[0], v, v)
	VMAXPS(g[1], v, v)
	VMINPS(g[2], v, v)
	VRNDSCALEPS(U8(8), v, v)
	VADDPS(g[3], v, v)
	VCVTPS2DQ(v, v)
	VPMOVDB(v, dst)
}

// quotient sets q to v/s, each correctly rounded: y is 1/s, correctly rounded,
// and the second correction is exact but for its rounding (Markstein). VDIVPS
// takes three times as long. v is lost.
func quotient(v, s, y, q reg.VecVirtual) {
	VMULPS(y, v, q)
	r := ZMM()
	VMOVAPS(v, r)
	VFNMADD231PS(q, s, r)
	VFMADD231PS(r, y, q)
	VFNMADD231PS(q, s, v)
	VFMADD231PS(v, y, q)
}

// packer makes bytes of floats, 64 at a time: rne(min(x, hi)) + zero, at least
// lo + zero.
type packer struct{ hi, low, zero, order reg.VecVirtual }

// newPacker reads the numbers at q: float32 lo, float32 hi, zero.
func newPacker(lo, hi, zero Mem, zeroIsFloat bool) packer {
	p := packer{ZMM(), ZMM(), ZMM(), ZMM()}
	VBROADCASTSS(hi, p.hi)
	VBROADCASTSS(lo, p.low)
	VCVTPS2DQ(p.low, p.low)
	if zeroIsFloat {
		VBROADCASTSS(zero, p.zero)
		VCVTPS2DQ(p.zero, p.zero)
	} else {
		VPBROADCASTD(zero, p.zero)
	}
	VPADDD(p.zero, p.low, p.low)
	VPACKSSDW(p.zero, p.zero, p.zero)
	VPACKSSDW(p.low, p.low, p.low)
	VPACKUSWB(p.low, p.low, p.low)
	VMOVDQU32(packOrder(), p.order)
	return p
}

// packOrder is the constant that brings the words of four packed vectors, which
// alternate, in order.
func packOrder() Mem {
	return byteTable("packOrder", func(i int) int {
		if i%4 > 0 {
			return 0
		}
		return i/4%4*4 + i/16
	})
}

// byteTables are the constants of 64 bytes in memory by name.
var byteTables = map[string]Mem{}

func byteTable(name string, at func(i int) int) Mem {
	if _, ok := byteTables[name]; !ok {
		byteTables[name] = GLOBL(name, attr.RODATA|attr.NOPTR)
		for i := 0; i < 64; i++ {
			DATA(i, U8(uint8(at(i))))
		}
	}
	return byteTables[name]
}

// pack makes v[0] the bytes of up to four vectors of floats, behind each other.
func (p packer) pack(v ...reg.VecVirtual) {
	for _, x := range v {
		VMINPS(p.hi, x, x)
		VCVTPS2DQ(x, x)
	}
	var words []reg.VecVirtual
	for i := 0; i < len(v); i += 2 {
		VPACKSSDW(v[min(i+1, len(v)-1)], v[i], v[i])
		VPADDSW(p.zero, v[i], v[i])
		words = append(words, v[i])
	}
	VPACKUSWB(words[len(words)-1], v[0], v[0])
	VPMAXUB(p.low, v[0], v[0])
	VPERMD(v[0], p.order, v[0])
}

// addU8: the codes of sums of codes, n > 0, a multiple of 64. The plain one is for
// all grids. The quick one is for those of zero points 0 or, where the operand
// is signed, 128, and multiplies with a reciprocal of two parts, which is not
// always the quotient.
func addU8(quick, signedA, signedB bool) {
	name := "addU8AVX512"
	if quick {
		name = fmt.Sprintf("addU8Quick%s%sAVX512", sign(signedA), sign(signedB))
	}
	begin(name, "func(dst, a, b *uint8, p *float32, n int)")
	dst, a, b, p := param("dst"), param("a"), param("b"), param("p")
	n := param("n")
	scales := addition(p, addStepA, addStepB)
	at := func(f int) Mem { return Mem{Base: p, Disp: 4 * f} }
	out := newPacker(at(addLo), at(addHi), at(addZero), true)
	var zeros []reg.VecVirtual
	var step, high, low, flip reg.VecVirtual
	if quick {
		parts := addition(p, addHigh, addLow)
		high, low, flip = parts[0], parts[1], ZMM()
		bits := GP32()
		MOVL(U32(0x80808080), bits)
		VPBROADCASTD(bits, flip)
	} else {
		zeros = addition(p, addZeroA, addZeroB)
		step, high = addition(p, addStep)[0], ZMM()
		one := GP32()
		MOVL(U32(0x3f800000), one)
		VPBROADCASTD(one, high)
		VDIVPS(step, high, high)
	}
	Label("loop")
	var v [4]reg.VecVirtual
	for g := range v {
		x, y := ZMM(), ZMM()
		for i, z := range []reg.VecVirtual{x, y} {
			src := Mem{Base: []reg.Register{a, b}[i], Disp: 16 * g}
			switch {
			case quick && []bool{signedA, signedB}[i]:
				VPXORD(src, flip.AsX(), z.AsX())
				VPMOVSXBD(z.AsX(), z)
				VCVTDQ2PS(z, z)
			case quick:
				VPMOVZXBD(src, z)
				VCVTDQ2PS(z, z)
			default:
				VPMOVZXBD(src, z)
				VCVTDQ2PS(z, z)
				VSUBPS(zeros[i], z, z)
			}
			VMULPS(scales[i], z, z)
		}
		VADDPS(y, x, x)
		v[g] = ZMM()
		if quick {
			VMULPS(low, x, v[g])
			VFMADD231PS(high, x, v[g])
		} else {
			quotient(x, step, high, v[g])
		}
	}
	out.pack(v[:]...)
	VMOVDQU8(v[0], Mem{Base: dst})
	ADDQ(I32(64), a)
	ADDQ(I32(64), b)
	ADDQ(I32(64), dst)
	SUBQ(I32(64), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

func sign(signed bool) string {
	if signed {
		return "S8"
	}
	return "U8"
}

// mapU8: dst[i] = table[src[i]] for n > 0, a multiple of 64; table is 256 bytes.
func mapU8() {
	begin("mapU8AVX512", "func(dst, src, table *uint8, n int)")
	dst, src, t, n := param("dst"), param("src"), param("table"), param("n")
	var part [4]reg.VecVirtual
	for i := range part {
		part[i] = ZMM()
		VMOVDQU8(Mem{Base: t, Disp: 64 * i}, part[i])
	}
	Label("loop")
	low, high, upper := ZMM(), ZMM(), K()
	VMOVDQU8(Mem{Base: src}, low)
	VMOVDQA64(low, high)
	VPMOVB2M(low, upper)
	VPERMI2B(part[1], part[0], low)
	VPERMI2B(part[3], part[2], high)
	VMOVDQU8(high, upper, low)
	VMOVDQU8(low, Mem{Base: dst})
	ADDQ(I32(64), src)
	ADDQ(I32(64), dst)
	SUBQ(I32(64), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// quantStepU8: dst[i] = uint8(rne(clip(v[i]/s, lo, hi)) + zero) for n > 0, a
// multiple of 16; q is s, lo, hi, zero, and the least and greatest v that
// matter.
func quantStepU8() {
	begin("quantStepU8AVX512", "func(dst *uint8, v, q *float32, n int)")
	dst, src, q, n := param("dst"), param("v"), param("q"), param("n")
	c := addition(q, 0, 1, 2, 3, 4, 5)
	inverse, one := ZMM(), GP32()
	MOVL(U32(0x3f800000), one)
	VPBROADCASTD(one, inverse)
	VDIVPS(c[0], inverse, inverse)
	Label("loop")
	v, z := ZMM(), ZMM()
	VMOVUPS(Mem{Base: src}, v)
	VMAXPS(v, c[4], v) // NaN stays NaN
	VMINPS(v, c[5], v)
	quotient(v, c[0], inverse, z)
	VMAXPS(z, c[1], z)
	VMINPS(z, c[2], z)
	VRNDSCALEPS(U8(8), z, z)
	VADDPS(c[3], z, z)
	VCVTPS2DQ(z, z)
	VPMOVDB(z, Mem{Base: dst})
	ADDQ(I32(64), src)
	ADDQ(I32(16), dst)
	SUBQ(I32(16), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// addF32: sums of floats and their codes, n > 0, a multiple of 16.
func addF32() {
	begin("addF32AVX512", "func(dst *uint8, y, a, b, p *float32, n int)")
	dst, y, a, b, p := param("dst"), param("y"), param("a"), param("b"), param("p")
	n := param("n")
	g := addition(p, addStep, addLo, addHi, addZero)
	floor := addition(p, addFloor)[0]
	Label("loop")
	v, kept := ZMM(), ZMM()
	VMOVUPS(Mem{Base: a}, v)
	VADDPS(Mem{Base: b}, v, v)
	VMAXPS(v, floor, kept) // v where both are 0, or v is NaN
	VMOVUPS(kept, Mem{Base: y})
	sumCodes(v, g, Mem{Base: dst})
	ADDQ(I32(64), a)
	ADDQ(I32(64), b)
	ADDQ(I32(64), y)
	ADDQ(I32(16), dst)
	SUBQ(I32(16), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// interleaveU8: dst [n][3] = src [3][n] for n > 0, a multiple of 16; the planes
// of src lie plane bytes apart.
func interleaveU8() {
	begin("interleaveU8AVX512", "func(dst, src *uint8, plane, n int)")
	dst, src, plane, n := param("dst"), param("src"), param("plane"), param("n")
	order, z, k, bits := ZMM(), ZMM(), K(), GP64()
	VMOVDQU8(byteTable("interleaveOrder", func(i int) int { return i%3*16 + i/3 }), order)
	MOVQ(U64(1<<48-1), bits)
	KMOVQ(bits, k)
	Label("loop")
	VMOVDQU32(Mem{Base: src}, z.AsX())
	VINSERTI32X4(U8(1), Mem{Base: src, Index: plane, Scale: 1}, z, z)
	VINSERTI32X4(U8(2), Mem{Base: src, Index: plane, Scale: 2}, z, z)
	VPERMB(z, order, z)
	VMOVDQU8(z, k, Mem{Base: dst})
	ADDQ(I32(16), src)
	ADDQ(I32(48), dst)
	SUBQ(I32(16), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
