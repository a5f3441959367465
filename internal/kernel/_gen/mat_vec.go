package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// scaleI32: dst[i] = float32(a[i]) * s[i] for n > 0, a multiple of the lanes.
func (m *matISA) scaleI32() {
	begin("scaleI32"+m.name, "func(dst *float32, a *int32, s *float32, n int)")
	dst, a, s, n := param("dst"), param("a"), param("s"), param("n")
	Label("loop")
	v := m.vec()
	VCVTDQ2PS(m.at(a, 0), v)
	VMULPS(m.at(s, 0), v, v)
	VMOVUPS(v, m.at(dst, 0))
	ADDQ(I32(int32(4*m.lanes)), a)
	ADDQ(I32(int32(4*m.lanes)), s)
	ADDQ(I32(int32(4*m.lanes)), dst)
	SUBQ(I32(int32(m.lanes)), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// realI32: dst[i] = float32(float32(a[i]-b[i])*s[i]) + c[i] for n > 0, a multiple of
// the lanes.
func (m *matISA) realI32() {
	begin("realI32"+m.name, "func(dst *float32, a, b *int32, s, c *float32, n int)")
	dst, a, b, s, c, n := param("dst"), param("a"), param("b"), param("s"), param("c"), param("n")
	Label("loop")
	v := m.vec()
	VMOVUPS(m.at(a, 0), v)
	VPSUBD(m.at(b, 0), v, v)
	VCVTDQ2PS(v, v)
	VMULPS(m.at(s, 0), v, v)
	VADDPS(m.at(c, 0), v, v)
	VMOVUPS(v, m.at(dst, 0))
	for _, p := range []reg.Register{a, b, s, c, dst} {
		ADDQ(I32(int32(4*m.lanes)), p)
	}
	SUBQ(I32(int32(m.lanes)), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// widenU8: words of 16 bits dst[i] = src[i] - zero for n > 0, a multiple of 16.
func widenU8() {
	begin("widenU8AVX2", "func(dst, src *uint8, n, zero int)")
	dst, src, n, zero := param("dst"), param("src"), param("n"), param("zero")
	z, x := YMM(), XMM()
	VMOVD(zero.As32(), x)
	VPBROADCASTW(x, z)
	Label("loop")
	v := YMM()
	VPMOVZXBW(Mem{Base: src}, v)
	VPSUBW(z, v, v)
	VMOVDQU(v, Mem{Base: dst})
	ADDQ(I32(16), src)
	ADDQ(I32(32), dst)
	SUBQ(I32(16), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
