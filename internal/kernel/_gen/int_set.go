package main

import (
	"fmt"

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
	maxU8()
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

// addU8: the codes of sums of codes, n > 0, a multiple of 16.
func addU8() {
	begin("addU8AVX512", "func(dst, a, b *uint8, p *float32, n int)")
	dst, a, b, p := param("dst"), param("a"), param("b"), param("p")
	n := param("n")
	in := addition(p, addZeroA, addStepA, addZeroB, addStepB)
	g := addition(p, addStep, addLo, addHi, addZero)
	Label("loop")
	x, y := ZMM(), ZMM()
	for i, v := range []reg.VecVirtual{x, y} {
		VPMOVZXBD(Mem{Base: []reg.Register{a, b}[i]}, v)
		VCVTDQ2PS(v, v)
		VSUBPS(in[2*i], v, v)
		VMULPS(in[2*i+1], v, v)
	}
	VADDPS(y, x, x)
	sumCodes(x, g, Mem{Base: dst})
	ADDQ(I32(16), a)
	ADDQ(I32(16), b)
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

// unpack: the bytes of chunks times 256 weights of 4, 3 or 2 bits, packed as the
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
	Label("chunk")
	var v reg.VecVirtual
	for q := 0; q < 4; q++ {
		shift := per * q % 8
		if shift == 0 {
			v = ZMM()
			VMOVDQU64(Mem{Base: src, Disp: 64 * (per * q / 8)}, v)
		}
		w := ZMM()
		if shift == 0 {
			VPANDQ(v, mask, w)
		} else {
			VPSRLW(U8(shift), v, w)
			VPANDQ(w, mask, w)
		}
		if bits == 3 {
			k := K()
			KMOVQ(Mem{Base: src, Disp: 64 + 8*q}, k)
			VPSUBB(offset, w, k, w)
		} else {
			VPSUBB(offset, w, w)
		}
		VMOVDQU64(w, Mem{Base: dst, Disp: 64 * q})
	}
	ADDQ(I32(int32(32*bits)), src)
	ADDQ(I32(256), dst)
	DECQ(n)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}
