package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// genNarrow emits what the integer runtime needs on vectors of 256 bits.
func genNarrow() {
	m := &matISA{name: "AVX2", lanes: 8}
	for _, vnni := range []bool{false, true} {
		for mr := 1; mr <= narrowRows(vnni, 2); mr++ {
			m.rowsBytes(vnni, mr, 2)
		}
		for mr := 1; mr <= narrowRows(vnni, 1); mr++ {
			m.rowsBytes(vnni, mr, 1)
		}
	}
	requantNarrow()
	addNarrow()
	quantStepNarrow()
}

// narrowRows is the most rows of rowsBytes: the tile fills 16 registers.
func narrowRows(vnni bool, nv int) int {
	switch {
	case nv == 1:
		return 8
	case vnni:
		return 6
	}
	return 5
}

// rowsBytes is rows for u8 times s8 on 16 registers. AVX-VNNI sums four products
// to an element; Go's assembler knows the instruction for AVX-512 alone, so its
// bytes are written. Without it pairs of products are summed to 16 bits, which
// weights of 7 bits cannot overflow (U8S7: 2 * 255 * 64 < 2^15), then pairs of
// those.
func (m *matISA) rowsBytes(vnni bool, mr, nv int) {
	name := "U8S7AVX2"
	if vnni {
		name = "U8S8AVXVNNI"
	}
	TEXT(fmt.Sprintf("rows%sx%dx%d", name, mr, nv), attr.NOSPLIT, tileSignature("U8S8"))
	Pragma("noescape")
	all := []reg.VecPhysical{
		reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7,
		reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15,
	}
	acc, all := all[:mr*nv], all[mr*nv:]
	w, word, sum, ones := all[:nv], all[nv], all[nv+1], all[len(all)-1]
	a, b, t, bias := param("a"), param("b"), param("t"), param("bias")
	for i, v := range acc {
		VMOVDQU(m.at(bias, i%nv), v)
	}
	if !vnni {
		VPCMPEQW(ones, ones, ones)
		VPSRLW(U8(15), ones, ones)
	}
	rowPtr := newRowPointers(mr, fieldReg(t, tileRowStep))
	step := func(u int) {
		for j, v := range w {
			VMOVDQU(m.at(b, u*nv+j), v)
		}
		for r := 0; r < mr; r++ {
			VPBROADCASTD(rowPtr.at(r, u*4), word)
			for j, v := range w {
				if vnni {
					vexDot(acc[r*nv+j], word, v)
					continue
				}
				VPMADDUBSW(v, word, sum)
				VPMADDWD(ones, sum, sum)
				VPADDD(sum, acc[r*nv+j], acc[r*nv+j])
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
		ADDQ(I32(int32(n*nv*32)), b)
	}, "")
	ADDQ(field(t, tileRunStep), run)
	DECQ(runs)
	JNZ(LabelRef("run"))
	ADDQ(field(t, tileOutStep), a)
	DECQ(outs)
	JNZ(LabelRef("out"))
	mask, c, cStep := m.mask(field(t, tileCols)), param("c"), fieldReg(t, tileCStep)
	for i, v := range acc {
		if k := lastMask(mask, i%nv, nv); k != nil {
			VPMASKMOVD(v, k, m.at(c, i%nv))
			ADDQ(cStep, c)
		} else {
			VMOVDQU(v, m.at(c, i%nv))
		}
	}
	VZEROUPPER()
	RET()
}

// vexDot: acc += a * b for words of u8 times s8, VPDPBUSD of AVX-VNNI.
func vexDot(acc, a, b reg.VecPhysical) {
	n := func(r reg.VecPhysical) byte { return byte(r.PhysicalIndex()) }
	code := []byte{0xc4, 0x42 | (^n(acc)>>3&1)<<7 | (^n(b)>>3&1)<<5, 0x05 | (^n(a)&15)<<3, 0x50, 0xc0 | n(acc)&7<<3 | n(b)&7}
	for i, v := range code {
		inst := &ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(v)}}
		if i == 0 {
			inst.ISA = []string{"AVXVNNI"}
			inst.Inputs, inst.Outputs = []Op{acc, a, b}, []Op{acc}
		}
		Instruction(inst)
	}
}

// narrowClamp holds bounds and the zero point in vectors.
type narrowClamp struct{ lo, hi, zero reg.VecVirtual }

func newNarrowClamp(lo, hi, zero Mem, zeroIsFloat bool) narrowClamp {
	c := narrowClamp{YMM(), YMM(), YMM()}
	VBROADCASTSS(lo, c.lo)
	VBROADCASTSS(hi, c.hi)
	VBROADCASTSS(zero, c.zero)
	if zeroIsFloat {
		VCVTPS2DQ(c.zero, c.zero)
	}
	return c
}

// codes stores the codes of eight floats: rne(clip(v, lo, hi)) + zero. NaN, which
// becomes the least integer, is 0.
func (c narrowClamp) codes(v reg.VecVirtual, dst Mem) {
	VMAXPS(v, c.lo, v)
	VMINPS(v, c.hi, v)
	VCVTPS2DQ(v, v)
	VPADDD(c.zero, v, v)
	VPACKSSDW(v, v, v)
	VPERMQ(U8(0x08), v, v)
	VPACKUSWB(v.AsX(), v.AsX(), v.AsX())
	VMOVQ(v.AsX(), dst)
}

// requantNarrow: the codes of count rows of n sums, n > 0, a multiple of 8, each
// sum with its multiplier m [n].
func requantNarrow() {
	begin("requantU8AVX2", "func(dst *uint8, acc *int32, m *float32, q *float32, n, count int)")
	dst, acc, q, n, count := param("dst"), param("acc"), param("q"), param("n"), param("count")
	c := newNarrowClamp(Mem{Base: q}, Mem{Base: q, Disp: 4}, Mem{Base: q, Disp: 8}, false)
	Label("row")
	m, left := param("m"), GP64()
	MOVQ(n, left)
	Label("vector")
	v := YMM()
	VCVTDQ2PS(Mem{Base: acc}, v)
	VMULPS(Mem{Base: m}, v, v)
	c.codes(v, Mem{Base: dst})
	ADDQ(I32(32), acc)
	ADDQ(I32(32), m)
	ADDQ(I32(8), dst)
	SUBQ(I32(8), left)
	JG(LabelRef("vector"))
	DECQ(count)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// addNarrow: the codes of sums of codes, n > 0, a multiple of 8.
func addNarrow() {
	begin("addU8AVX2", "func(dst, a, b *uint8, p *float32, n int)")
	dst, a, b, p, n := param("dst"), param("a"), param("b"), param("p"), param("n")
	at := func(f int) Mem { return Mem{Base: p, Disp: 4 * f} }
	var in []reg.VecVirtual
	for _, f := range []int{addZeroA, addStepA, addZeroB, addStepB, addStep} {
		v := YMM()
		VBROADCASTSS(at(f), v)
		in = append(in, v)
	}
	c := newNarrowClamp(at(addLo), at(addHi), at(addZero), true)
	Label("loop")
	x, y := YMM(), YMM()
	for i, v := range []reg.VecVirtual{x, y} {
		VPMOVZXBD(Mem{Base: []reg.Register{a, b}[i]}, v)
		VCVTDQ2PS(v, v)
		VSUBPS(in[2*i], v, v)
		VMULPS(in[2*i+1], v, v)
	}
	VADDPS(y, x, x)
	VDIVPS(in[4], x, x)
	c.codes(x, Mem{Base: dst})
	ADDQ(I32(8), a)
	ADDQ(I32(8), b)
	ADDQ(I32(8), dst)
	SUBQ(I32(8), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// quantStepNarrow: dst[i] = uint8(rne(clip(v[i]/s, lo, hi)) + zero) for n > 0, a
// multiple of 8; q is s, lo, hi, zero.
func quantStepNarrow() {
	begin("quantStepU8AVX2", "func(dst *uint8, v, q *float32, n int)")
	dst, src, q, n := param("dst"), param("v"), param("q"), param("n")
	step := YMM()
	VBROADCASTSS(Mem{Base: q}, step)
	c := newNarrowClamp(Mem{Base: q, Disp: 4}, Mem{Base: q, Disp: 8}, Mem{Base: q, Disp: 12}, true)
	Label("loop")
	v := YMM()
	VMOVUPS(Mem{Base: src}, v)
	VDIVPS(step, v, v)
	c.codes(v, Mem{Base: dst})
	ADDQ(I32(32), src)
	ADDQ(I32(8), dst)
	SUBQ(I32(8), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
