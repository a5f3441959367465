package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dot emits acc += a * b for one broadcast word of a: F32 one product, U8S8
// four (VPDPBUSD, a unsigned), S16 and BF16 two.
func (m *matISA) dot(kind string, a, b, acc reg.VecVirtual) {
	switch kind {
	case "F32":
		VFMADD231PS(a, b, acc)
	case "BF16":
		dotBF16(b, a, acc)
	case "U8S8":
		VPDPBUSD(b, a, acc)
	case "S16":
		t := m.vec()
		VPMADDWD(a, b, t)
		VPADDD(t, acc, acc)
	}
}

func grid(v []reg.VecVirtual, mr, nv int) [][]reg.VecVirtual {
	g := make([][]reg.VecVirtual, mr)
	for r := range g {
		g[r] = v[r*nv : (r+1)*nv]
	}
	return g
}

// rows: c [mr, nv vectors] = sum over outs, runs and k of a[r] * b, where row r
// of a lies RowStep bytes after row r-1, a run is k words of 4 bytes without
// gaps, runs lie RunStep bytes apart and groups of runs OutStep bytes. b is
// read once, front to back: nv vectors for each word. The sum of an element
// goes from the first word to the last, whatever the tile.
func (m *matISA) rows(kind string, mr, nv int) {
	begin(fmt.Sprintf("rows%s%sx%dx%d", kind, m.name, mr, nv), tileSignature(kind))
	a, b, t := param("a"), param("b"), param("t")
	var flat []reg.VecVirtual
	if floats(kind) {
		flat = m.zeros(mr * nv)
	} else {
		bias := param("bias")
		flat = m.vecs(mr * nv)
		for i, v := range flat {
			VMOVUPS(m.at(bias, i%nv), v)
		}
	}
	acc := grid(flat, mr, nv)
	bv := m.vecs(nv)
	rowPtr := newRowPointers(mr, fieldReg(t, tileRowStep))
	step := func(u int) {
		for j, v := range bv {
			VMOVUPS(m.at(b, u*nv+j), v)
		}
		for r := range acc {
			if nv == 1 && kind == "F32" && m.wide() {
				VFMADD231PS_BCST(rowPtr.at(r, u*4), bv[0], acc[r][0])
				continue
			}
			w := m.vec()
			VBROADCASTSS(rowPtr.at(r, u*4), w)
			for j, v := range bv {
				m.dot(kind, w, v, acc[r][j])
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
	m.storeTile("", kind, acc, param("c"), t)
}

// gemm is rows for an a that is packed: k groups of mr floats.
func (m *matISA) gemm(mr, nv int) {
	begin(fmt.Sprintf("gemmF32%sx%dx%d", m.name, mr, nv), tileSignature("F32"))
	a, b, t := param("a"), param("b"), param("t")
	ahead, cStep := param("c"), fieldReg(t, tileCStep)
	for r := 0; r < mr; r++ { // c arrives while the loop runs
		for j := 0; j < nv*m.lanes*4; j += 64 {
			PREFETCHT0(Mem{Base: ahead, Disp: j})
		}
		if r+1 < mr {
			ADDQ(cStep, ahead)
		}
	}
	acc := grid(m.zeros(mr*nv), mr, nv)
	bv := m.vecs(nv)
	k := fieldReg(t, tileK)
	kLoop(k, 4, func(u int) {
		for j, v := range bv {
			VMOVUPS(m.at(b, u*nv+j), v)
		}
		for r := range acc {
			w := m.vec()
			VBROADCASTSS(Mem{Base: a, Disp: (u*mr + r) * 4}, w)
			for j, v := range bv {
				VFMADD231PS(w, v, acc[r][j])
			}
		}
	}, func(n int) {
		ADDQ(I32(int32(n*mr*4)), a)
		ADDQ(I32(int32(n*nv*m.lanes*4)), b)
	}, "")
	m.storeTile("", "F32", acc, param("c"), t)
}

// floats reports whether the sums of a kind are float32.
func floats(kind string) bool { return kind == "F32" || kind == "BF16" }

// conv3 is rows for kernels three wide and one vector of output channels: one
// broadcast of an input pixel's channel feeds the three taps. b is
// [runs][k channels][3 taps] vectors, a run is one kernel row.
func (m *matISA) conv3(kind string, mr int) {
	begin(fmt.Sprintf("conv3%s%sx%d", kind, m.name, mr), tileSignature(kind))
	a, b, t := param("a"), param("b"), param("t")
	acc := m.zeros(mr)
	w := m.vecs(3)
	rowPtr := newRowPointers(mr+2, fieldReg(t, tileRowStep))
	runs, k := fieldReg(t, tileRuns), GP64()
	Label("run")
	rowPtr.set(a)
	MOVQ(field(t, tileK), k)
	kLoop(k, 2, func(u int) {
		for j := range w {
			VMOVUPS(m.at(b, u*3+j), w[j])
		}
		for q := 0; q < mr+2; q++ {
			x := m.vec()
			VBROADCASTSS(rowPtr.at(q, u*4), x)
			for j := range w {
				if o := q - j; o >= 0 && o < mr {
					m.dot(kind, x, w[j], acc[o])
				}
			}
		}
	}, func(n int) {
		rowPtr.advance(4 * n)
		ADDQ(I32(int32(n*3*m.lanes*4)), b)
	}, "")
	ADDQ(field(t, tileRunStep), a)
	DECQ(runs)
	JNZ(LabelRef("run"))
	m.storeTile("", kind, grid(acc, mr, 1), param("c"), t)
}

// gradWeight: c [mr, nv vectors] += sum over runs and k pixels of
// a[pixel][r] * b[pixel]; pixels lie KStep bytes apart in a and BStep bytes in
// b, runs RunStep and BRun bytes.
func (m *matISA) gradWeight(kind string, mr, nv int) {
	begin(fmt.Sprintf("gradWeight%s%sx%dx%d", kind, m.name, mr, nv), tileSignature(kind))
	a, b, t := param("a"), param("b"), param("t")
	c, cStep := param("c"), fieldReg(t, tileCStep)
	mask := m.mask(field(t, tileCols))
	acc := grid(m.vecs(mr*nv), mr, nv)
	for r := range acc {
		for j, v := range acc[r] {
			m.load(m.at(c, j), lastMask(mask, j, nv), v)
		}
		if r+1 < mr {
			ADDQ(cStep, c)
		}
	}
	bv := m.vecs(nv)
	pa, pb, k, runs := GP64(), GP64(), GP64(), fieldReg(t, tileRuns)
	aStep, bStep := fieldReg(t, tileKStep), fieldReg(t, tileBStep)
	Label("run")
	MOVQ(a, pa)
	MOVQ(b, pb)
	MOVQ(field(t, tileK), k)
	kLoop(k, 2, func(int) {
		for j, v := range bv {
			m.load(m.at(pb, j), lastMask(mask, j, nv), v)
		}
		for r := range acc {
			if nv == 1 && kind == "F32" && m.wide() {
				VFMADD231PS_BCST(Mem{Base: pa, Disp: r * 4}, bv[0], acc[r][0])
				continue
			}
			w := m.vec()
			VBROADCASTSS(Mem{Base: pa, Disp: r * 4}, w)
			for j, v := range bv {
				m.dot(kind, w, v, acc[r][j])
			}
		}
		ADDQ(aStep, pa)
		ADDQ(bStep, pb)
	}, func(int) {}, "")
	ADDQ(field(t, tileRunStep), a)
	ADDQ(field(t, tileBRun), b)
	DECQ(runs)
	JNZ(LabelRef("run"))
	c = param("c")
	for r := range acc {
		for j, v := range acc[r] {
			m.store(v, lastMask(mask, j, nv), m.at(c, j))
		}
		if r+1 < mr {
			ADDQ(cStep, c)
		}
	}
	VZEROUPPER()
	RET()
}

// transpose: blocks times, 16 words of each of rows rows of src, srcStep bytes
// apart, go to 16 rows of dst, dstStep bytes apart. Each row of dst receives
// 16 words, zeros beyond rows, in ascending order.
func transpose(rows int) {
	begin(fmt.Sprintf("transposeAVX512x%d", rows), "func(dst, src *float32, srcStep, dstStep, blocks int)")
	d, s, srcStep, dstStep, n := param("dst"), param("src"), param("srcStep"), param("dstStep"), param("blocks")
	p := GP64()
	Label("block")
	MOVQ(s, p)
	var x [16]reg.VecVirtual
	for r := range x {
		x[r] = ZMM()
		if r >= rows {
			VPXORD(x[r], x[r], x[r])
			continue
		}
		VMOVUPS(Mem{Base: p}, x[r])
		if r+1 < rows {
			ADDQ(srcStep, p)
		}
	}
	for _, v := range transposed(x) {
		VMOVUPS(v, Mem{Base: d})
		ADDQ(dstStep, d)
	}
	ADDQ(I32(64), s)
	DECQ(n)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// transposed exchanges rows and columns of 16 vectors: pairs, then fours by
// unpacking within lanes of 128 bits, then whole lanes.
func transposed(x [16]reg.VecVirtual) (w [16]reg.VecVirtual) {
	var y, z [16]reg.VecVirtual
	for i := 0; i < 16; i += 2 {
		y[i], y[i+1] = ZMM(), ZMM()
		VUNPCKLPS(x[i+1], x[i], y[i])
		VUNPCKHPS(x[i+1], x[i], y[i+1])
	}
	for i := 0; i < 16; i += 4 {
		for h := 0; h < 2; h++ {
			z[i+2*h], z[i+2*h+1] = ZMM(), ZMM()
			VUNPCKLPD(y[i+2+h], y[i+h], z[i+2*h])
			VUNPCKHPD(y[i+2+h], y[i+h], z[i+2*h+1])
		}
	}
	for c := 0; c < 4; c++ {
		t := [4]reg.VecVirtual{ZMM(), ZMM(), ZMM(), ZMM()}
		for h := 0; h < 2; h++ { // rows 0..7, then 8..15: even lanes, odd lanes
			VSHUFF32X4(U8(0x88), z[8*h+4+c], z[8*h+c], t[2*h])
			VSHUFF32X4(U8(0xdd), z[8*h+4+c], z[8*h+c], t[2*h+1])
		}
		for l, imm := range []uint8{0x88, 0x88, 0xdd, 0xdd} {
			w[4*l+c] = ZMM()
			VSHUFF32X4(U8(imm), t[2+l%2], t[l%2], w[4*l+c])
		}
	}
	return w
}
