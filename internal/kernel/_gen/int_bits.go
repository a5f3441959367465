package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { sets["bits"] = genBits }

// genBits emits what unpacks weights of few bits.
func genBits() {
	wide := &matISA{name: "AVX512", lanes: 16}
	for _, bits := range []int{4, 3, 2} {
		unpack(bits)
		for mr := 1; mr <= 12; mr++ {
			wide.rowsBits(bits, mr)
		}
	}
}

// codeBits makes bytes of weights of 4, 3 or 2 bits, packed as the Go file
// int_bits_amd64.go says, times 2^shift, which goes with the shift count of a
// vector: up. Shifts, not rotations: on AMD's cores those wait for the units that
// multiply. A shift of 64 bits loses nothing, as a code stays in its byte.
type codeBits struct {
	bits, per        int // per: bits of a vector's byte that belong to a part
	up, mask, offset reg.VecVirtual
	down             reg.VecVirtual // 4 bits: from the upper half of a byte to its place
	v, signs         *reg.VecVirtual
}

func newCodeBits(bits int) codeBits {
	c := codeBits{bits: bits, per: min(bits, 4) &^ 1, up: ZMM(), v: new(reg.VecVirtual), signs: new(reg.VecVirtual)}
	Load(Param("shift"), reg.RCX)
	VPBROADCASTQ(reg.RCX, c.up)
	constant := func(v uint64, up bool) reg.VecVirtual {
		r, z := GP64(), ZMM()
		MOVQ(U64(v*0x0101010101010101), r)
		if up {
			SHLQ(reg.CL, r)
		}
		VPBROADCASTQ(r, z)
		return z
	}
	c.mask, c.offset = constant(1<<c.per-1, bits == 4), constant(1<<(bits-1), true)
	if bits == 4 {
		NEGQ(reg.RCX)
		ADDQ(I32(4), reg.RCX)
		c.down = ZMM()
		VPBROADCASTQ(reg.RCX, c.down)
	}
	return c
}

// part makes w the bytes of part q of the chunk at src; parts come in order.
func (c codeBits) part(src reg.Register, q int, w reg.VecVirtual) {
	if c.bits == 3 && q == 0 {
		*c.signs = ZMM()
		VMOVDQU64(Mem{Base: src, Disp: 128}, *c.signs)
	}
	shift := c.per * q % 8
	if shift == 0 {
		*c.v = ZMM()
		VMOVDQU64(Mem{Base: src, Disp: 64 * (c.per * q / 8)}, *c.v)
	}
	switch {
	case c.bits == 4 && shift == 0:
		VPSLLVQ(c.up, *c.v, w)
	case c.bits == 4:
		VPSRLVQ(c.down, *c.v, w)
	default:
		VPANDQ(shifted(*c.v, -shift, w), c.mask, w)
		if c.bits == 3 {
			sign := shifted(*c.signs, 2-q, ZMM())
			VPTERNLOGQ_BCST(U8(0xf8), signBits(), sign, w) // w | sign & signBits
		}
		VPSLLVQ(c.up, w, w)
	}
	if c.bits == 4 {
		VPANDQ(c.mask, w, w)
	}
	VPSUBB(c.offset, w, w)
}

// shifted is v, by places up, in w if that is not 0.
func shifted(v reg.VecVirtual, by int, w reg.VecVirtual) reg.VecVirtual {
	switch {
	case by > 0:
		VPSLLQ(U8(by), v, w)
	case by < 0:
		VPSRLQ(U8(-by), v, w)
	default:
		return v
	}
	return w
}

// signBits is where a code of 3 bits has its sign, in all bytes of 8.
func signBits() Mem { return byteTable("signBits", func(int) int { return 4 }) }

// unpack: the bytes of chunks times 512 weights.
func unpack(bits int) {
	begin(fmt.Sprintf("unpackS%dAVX512", bits), "func(dst *uint8, src *int8, chunks, shift int)")
	dst, src, n := param("dst"), param("src"), param("chunks")
	c := newCodeBits(bits)
	Label("chunk")
	for q := 0; q < 8; q++ {
		w := ZMM()
		c.part(src, q, w)
		VMOVDQU64(w, Mem{Base: dst, Disp: 64 * q})
	}
	ADDQ(I32(int32(64*bits)), src)
	ADDQ(I32(512), dst)
	DECQ(n)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

// rowsBits is rows for u8 times weights of fewer bits, two vectors of them, that
// also leaves their bytes at panel, for the tiles that follow: unpacking takes
// other units than multiplying, and its loads and stores the time that products
// take. Runs are a multiple of 4 words. c gets codes or, where m is nil, the sums.
func (m *matISA) rowsBits(bits, mr int) {
	begin(fmt.Sprintf("rowsS%d%sx%d", bits, m.name, mr),
		fmt.Sprintf("func(a *uint8, b *int8, panel, c *uint8, start *int32, m *float32, q *float32, shift int, t *[%d]int)", tileFields))
	a, b, panel, t := param("a"), param("b"), param("panel"), param("t")
	start := param("start")
	flat := m.vecs(mr * 2)
	for i, v := range flat {
		VMOVUPS(m.at(start, i%2), v)
	}
	acc := grid(flat, mr, 2)
	c := newCodeBits(bits)
	bv := m.vecs(2)
	ahead := fieldReg(t, tileAhead)
	m.runs(a, t, mr, func(k reg.Register, rows *rowPointers) {
		Label("words")
		for u := 0; u < 4; u++ {
			for j, v := range bv {
				c.part(b, 2*u+j, v)
				VMOVDQU64(v, m.at(panel, 2*u+j))
			}
			m.wordU8S8(acc, bv, rows, u)
		}
		rows.advance(16)
		ADDQ(I32(int32(64*bits)), b)
		ADDQ(I32(512), panel)
		PREFETCHT1(Mem{Base: ahead})
		ADDQ(field(t, tileAheadStep), ahead)
		SUBQ(I32(4), k)
		JNZ(LabelRef("words"))
	})
	mp := param("m")
	CMPQ(mp, I32(0))
	JE(LabelRef("sums"))
	m.storeCodes(acc, t, false)
	Label("sums")
	m.storeSums(acc, t)
}

// storeSums ends a kernel for sums: c is its parameter.
func (m *matISA) storeSums(acc [][]reg.VecVirtual, t reg.Register) {
	nv := len(acc[0])
	mask := m.mask(field(t, tileCols))
	c, step := param("c"), fieldReg(t, tileCStep)
	for r := range acc {
		for j, v := range acc[r] {
			m.store(v, lastMask(mask, j, nv), m.at(c, j))
		}
		if r+1 < len(acc) {
			ADDQ(step, c)
		}
	}
	VZEROUPPER()
	RET()
}
