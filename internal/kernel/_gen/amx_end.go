package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tilesEnd brings sums to c.
type tilesEnd struct {
	kind string
	nt   int
	mask reg.Register
	muls []reg.VecVirtual
	clamp
	// Of two vectors: bounds of words, and the bytes of a pixel in order.
	low, zero, order reg.VecVirtual
}

// begin loads what all pixels share. It uses RCX.
func (e *tilesEnd) begin() {
	m := &matISA{lanes: 16}
	e.mask = m.mask(field(amxT, tilesCols))
	if e.kind == "I32" {
		return
	}
	Load(Param("m"), reg.RBX)
	e.muls = m.vecs(e.nt)
	for j, v := range e.muls {
		m.load(m.at(reg.RBX, j), lastMask(e.mask, j, e.nt), v)
	}
	Load(Param("q"), reg.RBX)
	e.clamp = newClamp(reg.RBX)
	if e.nt == 1 {
		return
	}
	e.zero, e.low, e.order = ZMM(), ZMM(), ZMM()
	VPACKSSDW(e.clamp.zero, e.clamp.zero, e.zero)
	VCVTPS2DQ(e.clamp.lo, e.low)
	VPADDD(e.clamp.zero, e.low, e.low)
	VPACKSSDW(e.low, e.low, e.low)
	VMOVDQU8(pixelOrder(), e.order)
	// All of the first vector, and the columns of the second.
	KMOVW(e.mask, reg.EBX)
	SHLL(U8(16), reg.EBX)
	ORL(U32(0xffff), reg.EBX)
	e.mask = K()
	KMOVD(reg.EBX, e.mask)
}

// pixelOrder is the constant that takes the lower bytes of the words of two
// packed vectors, which alternate in fours.
func pixelOrder() Mem {
	return byteTable("pixelOrder", func(i int) int { return 2 * (i%32/16*4 + i%16/4*8 + i%4) })
}

// pair stores the codes of a pixel of two vectors.
func (e *tilesEnd) pair(sums, c reg.Register) {
	var v [2]reg.VecVirtual
	for j := range v {
		v[j] = ZMM()
		VCVTDQ2PS(Mem{Base: sums, Disp: 64 * j}, v[j])
		VMULPS(e.muls[j], v[j], v[j])
		VMINPS(e.clamp.hi, v[j], v[j])
		VCVTPS2DQ(v[j], v[j])
	}
	VPACKSSDW(v[1], v[0], v[0])
	VPADDSW(e.zero, v[0], v[0])
	VPMAXSW(e.low, v[0], v[0])
	VPERMB(v[0], e.order, v[0])
	VMOVDQU8(v[0].AsY(), e.mask, Mem{Base: c})
}

// before brings tile i of the pair before the current one to c.
func (e *tilesEnd) before(i int, tag string) {
	MOVQ(field(amxT, tilesBefore), amxSums)
	e.store(i, 24*(i-2), fmt.Sprint(tag, i))
}

// store brings the pixels of tile i of the pair of sums to c, as the entry at a
// displacement from the current one says. It uses SI.
func (e *tilesEnd) store(i, entry int, tag string) {
	sums, c, left, rows, out := amxSums, reg.RDI, reg.R10, reg.R9, reg.R15
	Load(Param("c"), c)
	ADDQ(Mem{Base: amxTable, Disp: entry + 8}, c)
	MOVQ(Mem{Base: amxTable, Disp: entry + 16}, left)
	ADDQ(I32(int32(1024*e.nt*i)), sums)
	MOVQ(field(amxT, tilesRows), rows)
	MOVQ(field(amxT, tilesOut), out)
	Label("pixel" + tag)
	TESTQ(left, left)
	JLE(LabelRef("gap" + tag))
	if e.nt == 2 && e.kind == "U8" {
		e.pair(sums, c)
	}
	for j := 0; j < e.nt && (e.nt == 1 || e.kind == "I32"); j++ {
		v, k := ZMM(), lastMask(e.mask, j, e.nt)
		VMOVDQU32(Mem{Base: sums, Disp: 64 * j}, v)
		switch {
		case e.kind == "I32" && k != nil:
			VMOVDQU32(v, k, Mem{Base: c, Disp: 64 * j})
		case e.kind == "I32":
			VMOVDQU32(v, Mem{Base: c, Disp: 64 * j})
		case k != nil:
			e.codes(v, e.muls[j])
			VPMOVDB(v, k, Mem{Base: c, Disp: 16 * j})
		default:
			e.codes(v, e.muls[j])
			VPMOVDB(v, Mem{Base: c, Disp: 16 * j})
		}
	}
	Label("gap" + tag)
	ADDQ(I32(int32(64*e.nt)), sums)
	ADDQ(out, c)
	DECQ(left)
	CMPQ(left, field(amxT, tilesGap))
	JNE(LabelRef("next" + tag))
	MOVQ(field(amxT, tilesWidth), left)
	ADDQ(field(amxT, tilesRow), c)
	Label("next" + tag)
	DECQ(rows)
	JNZ(LabelRef("pixel" + tag))
}
