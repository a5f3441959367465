package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// unpack: the bytes of chunks times 512 weights of 4, 3 or 2 bits, packed as the
// Go file int_bits_amd64.go says, times 2^shift. A rotation brings all codes of a
// vector shift bits up, into the next byte where that must be, and each one's own
// rotation back into its byte.
func unpack(bits int) {
	begin(fmt.Sprintf("unpackS%dAVX512", bits), "func(dst *uint8, src *int8, chunks, shift int)")
	dst, src, n := param("dst"), param("src"), param("chunks")
	Load(Param("shift"), reg.RCX)
	up := ZMM()
	VPBROADCASTQ(reg.RCX, up)
	constant := func(v uint64) reg.VecVirtual {
		r, z := GP64(), ZMM()
		MOVQ(U64(v*0x0101010101010101), r)
		SHLQ(reg.CL, r)
		VPBROADCASTQ(r, z)
		return z
	}
	per := min(bits, 4) &^ 1 // bits of a vector's byte that belong to a quarter
	mask, offset := constant(1<<per-1), constant(1<<(bits-1))
	at := func(v reg.VecVirtual, shift int, mask reg.VecVirtual) reg.VecVirtual {
		w := ZMM()
		switch {
		case shift > 0:
			VPRORQ(U8(shift), v, w)
			v = w
		case shift < 0:
			VPROLQ(U8(-shift), v, w)
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
		VPROLVQ(up, signs, signs)
	}
	for q := 0; q < 8; q++ {
		shift := per * q % 8
		if shift == 0 {
			v = ZMM()
			VMOVDQU64(Mem{Base: src, Disp: 64 * (per * q / 8)}, v)
			VPROLVQ(up, v, v)
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
