package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { sets["mat"] = genMat }

// genMat emits matrix products and convolutions. In names AxB the first number
// is the rows of the register tile, the second its vectors per row.
func genMat() {
	wide, narrow := &matISA{name: "AVX512", lanes: 16}, &matISA{name: "AVX2", lanes: 8}
	for mr := 1; mr <= 12; mr++ {
		wide.rows("F32", mr, 2)
		wide.rows("U8S8", mr, 2)
		wide.gradWeight("F32", mr, 2)
	}
	for mr := 1; mr <= 16; mr++ {
		wide.rows("F32", mr, 1)
		wide.rows("U8S8", mr, 1)
		wide.gradWeight("F32", mr, 1)
	}
	for mr := 8; mr <= 16; mr++ {
		wide.conv3("F32", mr)
	}
	for mr := 1; mr <= 6; mr++ {
		narrow.rows("F32", mr, 2)
	}
	for mr := 1; mr <= 8; mr++ {
		narrow.rows("F32", mr, 1)
		narrow.rows("S16", mr, 1)
		narrow.gradWeight("F32", mr, 1)
	}
	for mr := 1; mr <= 4; mr++ {
		narrow.rows("S16", mr, 2)
		narrow.gradWeight("F32", mr, 2)
	}
	for nv := 1; nv <= 2; nv++ {
		wide.gemm(12, nv)
		narrow.gemm(6, nv)
	}
	for mr := 1; mr <= 8; mr++ {
		wide.depthwise("F32", mr)
		wide.depthwise("U8S8", mr)
	}
	for mr := 1; mr <= 6; mr++ {
		narrow.depthwise("F32", mr)
		narrow.depthwise("U8S8", mr)
	}
	for nv := 1; nv <= 4; nv++ {
		wide.depthGrad(nv)
		narrow.depthGrad(nv)
	}
	for mr := 1; mr <= 8; mr++ {
		wide.gradWeight3("F32", mr)
	}
	wide.scaleI32()
	narrow.scaleI32()
	wide.realI32()
	narrow.realI32()
	widenU8()
	transpose(16)
	transpose(12)
}

// matISA is an instruction set: vectors of 16 or of 8 floats.
type matISA struct {
	name  string
	lanes int
	masks Mem // AVX2: 8 words of ones, then 8 of zeros
}

func (m *matISA) wide() bool { return m.lanes == 16 }

// at is the displacement of vector j.
func (m *matISA) at(p reg.Register, j int) Mem { return Mem{Base: p, Disp: j * m.lanes * 4} }

func (m *matISA) vec() reg.VecVirtual {
	if m.wide() {
		return ZMM()
	}
	return YMM()
}

func (m *matISA) vecs(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = m.vec()
	}
	return v
}

func (m *matISA) zeros(n int) []reg.VecVirtual {
	v := m.vecs(n)
	for _, r := range v {
		if m.wide() {
			VPXORD(r, r, r)
		} else {
			VXORPS(r, r, r)
		}
	}
	return v
}

// mask returns a register that selects the first cols lanes, 1 <= cols <= lanes.
func (m *matISA) mask(cols Op) reg.Register {
	if m.wide() {
		MOVQ(cols, reg.RCX)
		bits := GP64()
		MOVQ(I32(1), bits)
		SHLQ(reg.CL, bits)
		DECQ(bits)
		k := K()
		KMOVW(bits.As32(), k)
		return k
	}
	if m.masks.Base == nil {
		m.masks = GLOBL("matMasks", attr.RODATA|attr.NOPTR)
		for i := 0; i < 16; i++ {
			word := U32(0)
			if i < 8 {
				word = 0xffffffff
			}
			DATA(i*4, word)
		}
	}
	p, back := GP64(), GP64()
	LEAQ(m.masks.Offset(32), p)
	MOVQ(cols, back)
	SHLQ(U8(2), back)
	SUBQ(back, p)
	v := YMM()
	VMOVUPS(Mem{Base: p}, v)
	return v
}

// load reads a vector; where mask is given, only its lanes, the rest are 0.
func (m *matISA) load(src Mem, mask reg.Register, v reg.VecVirtual) {
	switch {
	case mask == nil:
		VMOVUPS(src, v)
	case m.wide():
		VMOVUPS_Z(src, mask, v)
	default:
		VMASKMOVPS(src, mask, v)
	}
}

func (m *matISA) store(v reg.VecVirtual, mask reg.Register, dst Mem) {
	switch {
	case mask == nil:
		VMOVUPS(v, dst)
	case m.wide():
		VMOVUPS(v, mask, dst)
	default:
		VMASKMOVPS(v, mask, dst)
	}
}

// lastMask returns the mask where j is the last of nv vectors.
func lastMask(mask reg.Register, j, nv int) reg.Register {
	if j == nv-1 {
		return mask
	}
	return nil
}

// Fields of the tile that every kernel gets, in words of 8 bytes: the Go type
// tile has the same order.
const (
	tileK = iota
	tileRuns
	tileRunStep
	tileOuts
	tileOutStep
	tileRowStep
	tileCStep
	tileCols
	tileAcc
	tileBRun
	tileKStep
	tileBStep
	tileFields
)

func field(t reg.Register, i int) Mem { return Mem{Base: t, Disp: 8 * i} }

func param(name string) reg.GPVirtual { return Load(Param(name), GP64()).(reg.GPVirtual) }

func fieldReg(t reg.Register, i int) reg.GPVirtual {
	r := GP64()
	MOVQ(field(t, i), r)
	return r
}

// rowPointers addresses rows at a common distance: four rows to a pointer.
type rowPointers struct {
	p            []reg.GPVirtual
	step, thrice reg.GPVirtual
}

func newRowPointers(n int, step reg.GPVirtual) *rowPointers {
	r := &rowPointers{step: step}
	if n > 3 {
		r.thrice = GP64()
		LEAQ(Mem{Base: step, Index: step, Scale: 2}, r.thrice)
	}
	for i := 0; i < n; i += 4 {
		r.p = append(r.p, GP64())
	}
	return r
}

func (r *rowPointers) set(a reg.Register) {
	MOVQ(a, r.p[0])
	for i := 1; i < len(r.p); i++ {
		LEAQ(Mem{Base: r.p[i-1], Index: r.step, Scale: 4}, r.p[i])
	}
}

func (r *rowPointers) at(row, disp int) Mem {
	m := Mem{Base: r.p[row/4], Disp: disp}
	switch row % 4 {
	case 1:
		m.Index, m.Scale = r.step, 1
	case 2:
		m.Index, m.Scale = r.step, 2
	case 3:
		m.Index, m.Scale = r.thrice, 1
	}
	return m
}

func (r *rowPointers) advance(n int) {
	for _, p := range r.p {
		ADDQ(I32(int32(n)), p)
	}
}

// storeTile writes acc [mr][nv] to c, or adds it to c where the tile says so.
// Of the last vector in a row only the tile's columns are touched.
func (m *matISA) storeTile(name, kind string, acc [][]reg.VecVirtual, c, t reg.Register) {
	nv := len(acc[0])
	mask := m.mask(field(t, tileCols))
	step := fieldReg(t, tileCStep)
	CMPQ(field(t, tileAcc), I32(0))
	JE(LabelRef("store"))
	old := m.vec()
	for pass, add := range []bool{true, false} {
		if pass == 1 {
			Label("store")
		}
		for r := range acc {
			for j, v := range acc[r] {
				k := lastMask(mask, j, nv)
				if add {
					m.load(m.at(c, j), k, old)
					if floats(kind) {
						VADDPS(old, v, v)
					} else {
						VPADDD(old, v, v)
					}
				}
				m.store(v, k, m.at(c, j))
			}
			if r+1 < len(acc) {
				ADDQ(step, c)
			}
		}
		VZEROUPPER()
		RET()
	}
}

// kLoop runs step(u) k times, unrolled by n where k allows: before is what
// advances the pointers after a group of count steps.
func kLoop(k reg.Register, n int, step func(u int), advance func(count int), tag string) {
	SUBQ(I32(int32(n)), k)
	JL(LabelRef("rest" + tag))
	Label("loop" + tag)
	for u := 0; u < n; u++ {
		step(u)
	}
	advance(n)
	SUBQ(I32(int32(n)), k)
	JGE(LabelRef("loop" + tag))
	Label("rest" + tag)
	ADDQ(I32(int32(n)), k)
	JZ(LabelRef("done" + tag))
	Label("one" + tag)
	step(0)
	advance(1)
	DECQ(k)
	JNZ(LabelRef("one" + tag))
	Label("done" + tag)
}

func tileSignature(kind string) string {
	switch kind {
	case "U8S8":
		return fmt.Sprintf("func(a *uint8, b *int8, c, bias *int32, t *[%d]int)", tileFields)
	case "S16":
		return fmt.Sprintf("func(a *int16, b *int8, c, bias *int32, t *[%d]int)", tileFields)
	}
	return fmt.Sprintf("func(a, b, c *float32, t *[%d]int)", tileFields)
}

// begin starts a function that keeps no pointers.
func begin(name, signature string) {
	TEXT(name, attr.NOSPLIT, signature)
	Pragma("noescape")
}
