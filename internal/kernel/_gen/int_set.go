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
	genNarrow()
	requantU8()
	addU8(false, false, false)
	for _, a := range []bool{false, true} {
		for _, b := range []bool{false, true} {
			addU8(true, a, b)
		}
	}
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
	m.storeCodes(acc, t, true)
}

// storeCodes ends a kernel for codes: c, m and q are its parameters. Where packing
// is wanted, whole vectors are packed four together.
func (m *matISA) storeCodes(acc [][]reg.VecVirtual, t reg.Register, packing bool) {
	nv := len(acc[0])
	mask := m.mask(field(t, tileCols))
	c, step, q := param("c"), fieldReg(t, tileCStep), param("q")
	muls := m.vecs(nv)
	mp := param("m")
	for j, v := range muls {
		m.load(m.at(mp, j), lastMask(mask, j, nv), v)
	}
	if packing {
		CMPQ(field(t, tileCols), I32(16))
		JNE(LabelRef("part"))
		m.storePacked(acc, muls, c, step, newPacker(Mem{Base: q}, Mem{Base: q, Disp: 4}, Mem{Base: q, Disp: 8}, false))
		Label("part")
	}
	limits := newClamp(q)
	for r := range acc {
		for j, v := range acc[r] {
			limits.codes(v, muls[j])
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

// storePacked stores codes of whole vectors and returns.
func (m *matISA) storePacked(acc [][]reg.VecVirtual, muls []reg.VecVirtual, c, step reg.GPVirtual, p packer) {
	nv := len(muls)
	for r := 0; r < len(acc); r += 4 / nv {
		group := acc[r:min(r+4/nv, len(acc))]
		var v []reg.VecVirtual
		for _, row := range group {
			for j, x := range row {
				VCVTDQ2PS(x, x)
				VMULPS(muls[j], x, x)
				v = append(v, x)
			}
		}
		p.pack(v...)
		for i := range group {
			to := Mem{Base: c}
			switch {
			case i == 0 && nv == 1:
				VMOVDQU32(v[0].AsX(), to)
			case i == 0:
				VMOVDQU32(v[0].AsY(), to)
			case nv == 1:
				VEXTRACTI32X4(U8(uint8(i)), v[0], to)
			default:
				VEXTRACTI64X4(U8(uint8(i)), v[0], to)
			}
			if r+i+1 < len(acc) {
				ADDQ(step, c)
			}
		}
	}
	VZEROUPPER()
	RET()
}

// Fields of the tile that these kernels use for something else: what they fetch
// into the second-level cache meanwhile, and from one such line to the next.
const (
	tileAhead     = tileKStep
	tileAheadStep = tileBStep
)

// sumU8S8 adds the products of all words of the tile to acc.
func (m *matISA) sumU8S8(acc [][]reg.VecVirtual, a, b reg.GPVirtual, t reg.Register) {
	nv := len(acc[0])
	bv := m.vecs(nv)
	ahead := fieldReg(t, tileAhead)
	m.runs(a, t, len(acc), func(k reg.Register, rows *rowPointers) {
		kLoop(k, 4, func(u int) {
			for j, v := range bv {
				VMOVUPS(m.at(b, u*nv+j), v)
			}
			m.wordU8S8(acc, bv, rows, u)
		}, func(n int) {
			rows.advance(4 * n)
			ADDQ(I32(int32(n*nv*m.lanes*4)), b)
			if n > 1 {
				PREFETCHT1(Mem{Base: ahead})
				ADDQ(field(t, tileAheadStep), ahead)
			}
		}, "")
	})
}

// wordU8S8 adds the products of word u of mr rows and of the weights bv.
func (m *matISA) wordU8S8(acc [][]reg.VecVirtual, bv []reg.VecVirtual, rows *rowPointers, u int) {
	for r := range acc {
		w := m.vec()
		VPBROADCASTD(rows.at(r, u*4), w)
		for j, v := range bv {
			VPDPBUSD(v, w, acc[r][j])
		}
	}
}

// runs goes over the runs of the tile's mr rows: words emits what is done with the
// k words of one.
func (m *matISA) runs(a reg.GPVirtual, t reg.Register, mr int, words func(k reg.Register, rows *rowPointers)) {
	rows := newRowPointers(mr, fieldReg(t, tileRowStep))
	outs, runs, k, run := fieldReg(t, tileOuts), GP64(), GP64(), GP64()
	Label("out")
	MOVQ(field(t, tileRuns), runs)
	MOVQ(a, run)
	Label("run")
	rows.set(run)
	MOVQ(field(t, tileK), k)
	words(k, rows)
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
