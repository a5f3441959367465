package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// unpacked is a block's first pass over weights of fewer bits.
func (e *tilesEnd) unpacked(u unpacker) {
	step := func(tag string, disp int) {
		DECQ(field(amxT, tilesSteps))
		JL(LabelRef("unpacked" + tag))
		u.step(disp)
		Label("unpacked" + tag)
	}
	Load(Param("b"), amxB)
	step("0", 0)
	step("1", 2048)
	beside := func(tag string) {
		step(tag, 4096)
		fetch(tag)
	}
	CMPQ(amxLeft, I32(2))
	JLT(LabelRef("few"))
	tilesSum("both", 2, 2, beside)
	JMP(LabelRef("stores"))
	Label("few")
	tilesSum("few", 1, 2, beside)
	JMP(LabelRef("alone"))
}

// unpacker makes bytes of weights of fewer bits, packed as the Go file
// int_bits_amd64.go says: a byte is a linear function of the bits of others over
// the field of two elements, sign extension and a shift included: bit out of a byte
// is byte 7-out of a matrix, so that a shift to the right of a matrix is one to the
// left of its results.
//
// A step's weights are loaded a step ahead: a load whose address has the lower
// 12 bits of an earlier store's waits until that has left the core, and the
// stores of a step cover half of those addresses.
type unpacker struct {
	bits     int
	matrices []reg.VecVirtual // of each quarter, or of the halves
	signs    []reg.VecVirtual // of 3 bits: of each bit of the vector of signs
	next     []reg.VecVirtual // the weights of the next step
}

func newUnpacker(bits int) unpacker {
	u := unpacker{bits: bits}
	MOVQ(field(amxT, tilesShift), reg.RCX)
	SHLQ(U8(3), reg.RCX)
	// matrix selects for bit out of a byte the bit from(out); less than 0: none.
	matrix := func(from func(out int) int) reg.VecVirtual {
		var m uint64
		for out := 0; out < 8; out++ { // byte 7-out is that of bit out
			if f := from(out); f >= 0 {
				m |= 1 << f << (8 * (7 - out))
			}
		}
		z := ZMM()
		MOVQ(U64(m), reg.R15)
		SHRQ(reg.CL, reg.R15)
		VPBROADCASTQ(reg.R15, z)
		return z
	}
	per := min(bits, 4) &^ 1
	for shift := 0; shift < 8; shift += per {
		u.matrices = append(u.matrices, matrix(func(out int) int {
			if bits == 3 && out > 1 {
				return -1
			}
			return shift + min(out, per-1)
		}))
	}
	for bit := 0; bit < 8 && bits == 3; bit++ {
		u.signs = append(u.signs, matrix(func(out int) int {
			if out < 2 {
				return -1
			}
			return bit
		}))
	}
	for range 4 * bits {
		u.next = append(u.next, ZMM())
	}
	return u
}

// load loads the next step's weights.
func (u unpacker) load() {
	p := reg.R15
	MOVQ(field(amxT, tilesSource), p)
	for i, v := range u.next {
		VMOVDQU64(Mem{Base: p, Disp: 64 * i}, v)
	}
	ADDQ(I32(int32(256*u.bits)), p)
	MOVQ(p, field(amxT, tilesSource))
}

// step unpacks 64 values of 32 channels to b + disp.
func (u unpacker) step(disp int) {
	for q := 0; q < 32; q++ { // vectors of 64
		w := ZMM()
		if u.bits == 3 {
			chunk, sign := u.next[q/8*3:], ZMM()
			VGF2P8AFFINEQB(U8(0), u.matrices[q%4], chunk[q/4%2], w)
			VGF2P8AFFINEQB(U8(0), u.signs[q%8], chunk[2], sign)
			VPXORQ(sign, w, w)
		} else {
			n := len(u.matrices)
			VGF2P8AFFINEQB(U8(0), u.matrices[q%n], u.next[q/n], w)
		}
		VMOVDQU64(w, Mem{Base: amxB, Disp: disp + 64*q})
	}
	u.load()
}
