package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { sets["int"] = genInt }

// genInt emits what networks of integer codes run on beside the tiles of genMat.
func genInt() {
	wide := &matISA{name: "AVX512", lanes: 16}
	for mr := 1; mr <= 12; mr++ {
		wide.rowsU8(mr, 2)
	}
	for mr := 1; mr <= 16; mr++ {
		wide.rowsU8(mr, 1)
	}
	requantU8()
	addU8()
	addF32()
	mapU8()
	quantStepU8()
	interleaveU8()
	maxU8()
	for _, kind := range []string{"U8", "I32"} {
		for _, k := range []int{3, 5} {
			for _, stride := range []int{1, 2} {
				depth(kind, k, stride)
			}
		}
	}
	for _, bits := range []int{4, 3, 2} {
		unpack(bits)
	}
}

// clamp holds the fields of the Go type Clamp in vectors.
type clamp struct{ lo, hi, zero reg.VecVirtual }

func newClamp(q reg.Register) clamp {
	c := clamp{ZMM(), ZMM(), ZMM()}
	VBROADCASTSS(Mem{Base: q}, c.lo)
	VBROADCASTSS(Mem{Base: q, Disp: 4}, c.hi)
	VPBROADCASTD(Mem{Base: q, Disp: 8}, c.zero)
	return c
}

// codes turns sums into codes in words of 32 bits:
// rne(clip(float32(v)*m, lo, hi)) + zero.
func (c clamp) codes(v, m reg.VecVirtual) {
	VCVTDQ2PS(v, v)
	VMULPS(m, v, v)
	VMAXPS(c.lo, v, v)
	VMINPS(c.hi, v, v)
	VCVTPS2DQ(v, v)
	VPADDD(c.zero, v, v)
}

// rowsU8 is rows for u8 times s8 whose sums end as codes: c [mr, nv*16] bytes.
func (m *matISA) rowsU8(mr, nv int) {
	begin(fmt.Sprintf("rowsU8%sx%dx%d", m.name, mr, nv),
		fmt.Sprintf("func(a *uint8, b *int8, c *uint8, start *int32, m *float32, q *float32, t *[%d]int)", tileFields))
	a, b, t := param("a"), param("b"), param("t")
	start := param("start")
	flat := m.vecs(mr * nv)
	for i, v := range flat {
		VMOVUPS(m.at(start, i%nv), v)
	}
	acc := grid(flat, mr, nv)
	m.sumU8S8(acc, a, b, t)
	mask := m.mask(field(t, tileCols))
	c, step := param("c"), fieldReg(t, tileCStep)
	muls := m.vecs(nv)
	mp := param("m")
	for j, v := range muls {
		m.load(m.at(mp, j), lastMask(mask, j, nv), v)
	}
	q := newClamp(param("q"))
	for r := range acc {
		for j, v := range acc[r] {
			q.codes(v, muls[j])
			at := Mem{Base: c, Disp: 16 * j}
			if k := lastMask(mask, j, nv); k != nil {
				VPMOVDB(v, k, at)
			} else {
				VPMOVDB(v, at)
			}
		}
		if r+1 < len(acc) {
			ADDQ(step, c)
		}
	}
	VZEROUPPER()
	RET()
}

// sumU8S8 adds the products of all words of the tile to acc.
func (m *matISA) sumU8S8(acc [][]reg.VecVirtual, a, b reg.GPVirtual, t reg.Register) {
	nv := len(acc[0])
	bv := m.vecs(nv)
	rowPtr := newRowPointers(len(acc), fieldReg(t, tileRowStep))
	step := func(u int) {
		for j, v := range bv {
			VMOVUPS(m.at(b, u*nv+j), v)
		}
		for r := range acc {
			w := m.vec()
			VPBROADCASTD(rowPtr.at(r, u*4), w)
			for j, v := range bv {
				VPDPBUSD(v, w, acc[r][j])
			}
		}
	}
	outs, runs, k, run := fieldReg(t, tileOuts), GP64(), GP64(), GP64()
	Label("out")
	MOVQ(field(t, tileRuns), runs)
	MOVQ(a, run)
	Label("run")
	rowPtr.set(run)
	MOVQ(field(t, tileK), k)
	kLoop(k, 4, step, func(n int) {
		rowPtr.advance(4 * n)
		ADDQ(I32(int32(n*nv*m.lanes*4)), b)
	}, "")
	ADDQ(field(t, tileRunStep), run)
	DECQ(runs)
	JNZ(LabelRef("run"))
	ADDQ(field(t, tileOutStep), a)
	DECQ(outs)
	JNZ(LabelRef("out"))
}

// requantU8: the codes of count rows of n sums, n > 0, each sum with its
// multiplier m [n].
func requantU8() {
	m := &matISA{name: "AVX512", lanes: 16}
	begin("requantU8AVX512", "func(dst *uint8, acc *int32, m *float32, q *float32, n, count int)")
	dst, acc := param("dst"), param("acc")
	q := newClamp(param("q"))
	n, count := param("n"), param("count")
	last := GP64() // columns of the last vector, 1..16
	LEAQ(Mem{Base: n, Disp: -1}, last)
	ANDQ(I32(15), last)
	INCQ(last)
	mask := m.mask(last)
	Label("row")
	mp, left := param("m"), GP64()
	MOVQ(n, left)
	Label("vector")
	v, f := ZMM(), ZMM()
	CMPQ(left, I32(16))
	JLE(LabelRef("tail"))
	VMOVDQU32(Mem{Base: acc}, v)
	VMOVUPS(Mem{Base: mp}, f)
	q.codes(v, f)
	VPMOVDB(v, Mem{Base: dst})
	ADDQ(I32(64), acc)
	ADDQ(I32(64), mp)
	ADDQ(I32(16), dst)
	SUBQ(I32(16), left)
	JMP(LabelRef("vector"))
	Label("tail")
	VMOVDQU32_Z(Mem{Base: acc}, mask, v)
	VMOVUPS_Z(Mem{Base: mp}, mask, f)
	q.codes(v, f)
	VPMOVDB(v, mask, Mem{Base: dst})
	LEAQ(Mem{Base: acc, Index: left, Scale: 4}, acc)
	ADDQ(left, dst)
	DECQ(count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

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

// pack makes v[0] the bytes of four vectors of floats.
func (p packer) pack(v [4]reg.VecVirtual) {
	for _, x := range v {
		VMINPS(p.hi, x, x)
		VCVTPS2DQ(x, x)
	}
	VPACKSSDW(v[1], v[0], v[0])
	VPACKSSDW(v[3], v[2], v[2])
	VPADDSW(p.zero, v[0], v[0])
	VPADDSW(p.zero, v[2], v[2])
	VPACKUSWB(v[2], v[0], v[0])
	VPMAXUB(p.low, v[0], v[0])
	VPERMD(v[0], p.order, v[0])
}

// addU8: the codes of sums of codes, n > 0, a multiple of 64.
func addU8() {
	begin("addU8AVX512", "func(dst, a, b *uint8, p *float32, n int)")
	dst, a, b, p := param("dst"), param("a"), param("b"), param("p")
	n := param("n")
	in := addition(p, addZeroA, addStepA, addZeroB, addStepB)
	at := func(f int) Mem { return Mem{Base: p, Disp: 4 * f} }
	out := newPacker(at(addLo), at(addHi), at(addZero), true)
	step, inverse := addition(p, addStep)[0], ZMM()
	one := GP32()
	MOVL(U32(0x3f800000), one)
	VPBROADCASTD(one, inverse)
	VDIVPS(step, inverse, inverse)
	Label("loop")
	var v [4]reg.VecVirtual
	for g := range v {
		x, y := ZMM(), ZMM()
		for i, z := range []reg.VecVirtual{x, y} {
			VPMOVZXBD(Mem{Base: []reg.Register{a, b}[i], Disp: 16 * g}, z)
			VCVTDQ2PS(z, z)
			VSUBPS(in[2*i], z, z)
			VMULPS(in[2*i+1], z, z)
		}
		VADDPS(y, x, x)
		v[g] = ZMM()
		quotient(x, step, inverse, v[g])
	}
	out.pack(v)
	VMOVDQU8(v[0], Mem{Base: dst})
	ADDQ(I32(64), a)
	ADDQ(I32(64), b)
	ADDQ(I32(64), dst)
	SUBQ(I32(64), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
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

// maxU8: dst[i] = max(a[i], b[i]) for n > 0, a multiple of 32.
func maxU8() {
	begin("maxU8AVX2", "func(dst, a, b *uint8, n int)")
	dst, a, b, n := param("dst"), param("a"), param("b"), param("n")
	Label("loop")
	v := YMM()
	VMOVDQU(Mem{Base: a}, v)
	VPMAXUB(Mem{Base: b}, v, v)
	VMOVDQU(v, Mem{Base: dst})
	ADDQ(I32(32), a)
	ADDQ(I32(32), b)
	ADDQ(I32(32), dst)
	SUBQ(I32(32), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// unpack: the bytes of chunks times 512 weights of 4, 3 or 2 bits, packed as the
// Go file int_bits_amd64.go says.
func unpack(bits int) {
	begin(fmt.Sprintf("unpackS%dAVX512", bits), "func(dst *uint8, src *int8, chunks int)")
	dst, src, n := param("dst"), param("src"), param("chunks")
	constant := func(v uint64) reg.VecVirtual {
		r, z := GP64(), ZMM()
		MOVQ(U64(v*0x0101010101010101), r)
		VPBROADCASTQ(r, z)
		return z
	}
	per := min(bits, 4) &^ 1 // bits of a vector's byte that belong to a quarter
	mask, offset := constant(1<<per-1), constant(1<<(bits-1))
	at := func(v reg.VecVirtual, shift int, mask reg.VecVirtual) reg.VecVirtual {
		w := ZMM()
		switch {
		case shift > 0:
			VPSRLW(U8(shift), v, w)
			v = w
		case shift < 0:
			VPSLLW(U8(-shift), v, w)
			v = w
		}
		VPANDQ(v, mask, w)
		return w
	}
	Label("chunk")
	var v, signs reg.VecVirtual
	if bits == 3 {
		signs = ZMM()
		VMOVDQU64(Mem{Base: src, Disp: 128}, signs)
	}
	for q := 0; q < 8; q++ {
		shift := per * q % 8
		if shift == 0 {
			v = ZMM()
			VMOVDQU64(Mem{Base: src, Disp: 64 * (per * q / 8)}, v)
		}
		w := at(v, shift, mask)
		if bits == 3 {
			VPSUBB(at(signs, q-2, offset), w, w)
		} else {
			VPSUBB(offset, w, w)
		}
		VMOVDQU64(w, Mem{Base: dst, Disp: 64 * q})
	}
	ADDQ(I32(int32(64*bits)), src)
	ADDQ(I32(512), dst)
	DECQ(n)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}
