package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// depthwise: c[r][channel] = sum over outs kernel rows and k taps of
// a[r][tap][channel] * b[tap][channel], for runs vectors of channels, the last
// with the tile's columns. Taps lie KStep bytes apart in a and BStep in b; up
// to a whole vector is read beyond the last channel of both. U8S8 starts from
// bias; its channels are bytes, widened to words.
func (m *matISA) depthwise(kind string, mr int) {
	begin(fmt.Sprintf("depthwise%s%sx%d", kind, m.name, mr), tileSignature(kind))
	size := 4
	if kind == "U8S8" {
		size = 1
	}
	a, b, c, t := param("a"), param("b"), param("c"), param("t")
	runs := fieldReg(t, tileRuns)
	rowPtr := newRowPointers(mr, fieldReg(t, tileRowStep))
	Label("block")
	var acc []reg.VecVirtual
	if kind == "F32" {
		acc = m.zeros(mr)
	} else {
		acc = m.vecs(mr)
		bias := param("bias") // advanced in place
		for _, v := range acc {
			VMOVUPS(m.at(bias, 0), v)
		}
		ADDQ(I32(int32(4*m.lanes)), bias)
		addr, err := Param("bias").Resolve()
		if err != nil {
			panic(err)
		}
		MOVQ(bias, addr.Addr)
	}
	row, w, outs, k := GP64(), GP64(), fieldReg(t, tileOuts), GP64()
	MOVQ(a, row)
	MOVQ(b, w)
	Label("out")
	rowPtr.set(row)
	MOVQ(field(t, tileK), k)
	Label("tap")
	wv := m.vec()
	if kind == "F32" {
		VMOVUPS(Mem{Base: w}, wv)
	} else {
		VPMOVSXBD(Mem{Base: w}, wv)
	}
	for r, v := range acc {
		if kind == "F32" {
			VFMADD231PS(rowPtr.at(r, 0), wv, v)
			continue
		}
		x := m.vec()
		VPMOVZXBD(rowPtr.at(r, 0), x)
		VPMADDWD(x, wv, x) // the upper half of a word of x is 0
		VPADDD(x, v, v)
	}
	for _, p := range rowPtr.p {
		ADDQ(field(t, tileKStep), p)
	}
	ADDQ(field(t, tileBStep), w)
	DECQ(k)
	JNZ(LabelRef("tap"))
	ADDQ(field(t, tileOutStep), row)
	DECQ(outs)
	JNZ(LabelRef("out"))
	cols := GP64()
	MOVQ(I32(int32(m.lanes)), cols)
	CMPQ(runs, I32(1))
	JNE(LabelRef("whole"))
	MOVQ(field(t, tileCols), cols)
	Label("whole")
	mask := m.mask(cols)
	p := GP64()
	MOVQ(c, p)
	for _, v := range acc {
		m.store(v, mask, Mem{Base: p})
		ADDQ(field(t, tileCStep), p)
	}
	ADDQ(I32(int32(size*m.lanes)), a)
	ADDQ(I32(int32(size*m.lanes)), b)
	ADDQ(I32(int32(4*m.lanes)), c)
	DECQ(runs)
	JNZ(LabelRef("block"))
	VZEROUPPER()
	RET()
}

// depthGrad: c [nv vectors] += sum over runs and k pixels of a[pixel] *
// b[pixel]; the distances are gradWeight's.
func (m *matISA) depthGrad(nv int) {
	begin(fmt.Sprintf("depthGradF32%sx%d", m.name, nv), tileSignature("F32"))
	a, b, c, t := param("a"), param("b"), param("c"), param("t")
	mask := m.mask(field(t, tileCols))
	acc := m.vecs(nv)
	for j, v := range acc {
		m.load(m.at(c, j), lastMask(mask, j, nv), v)
	}
	pa, pb, k, runs := GP64(), GP64(), GP64(), fieldReg(t, tileRuns)
	aStep, bStep := fieldReg(t, tileKStep), fieldReg(t, tileBStep)
	Label("run")
	MOVQ(a, pa)
	MOVQ(b, pb)
	MOVQ(field(t, tileK), k)
	Label("pixel")
	for j, v := range acc {
		x, y := m.vec(), m.vec()
		m.load(m.at(pa, j), lastMask(mask, j, nv), x)
		m.load(m.at(pb, j), lastMask(mask, j, nv), y)
		VFMADD231PS(x, y, v)
	}
	ADDQ(aStep, pa)
	ADDQ(bStep, pb)
	DECQ(k)
	JNZ(LabelRef("pixel"))
	ADDQ(field(t, tileRunStep), a)
	ADDQ(field(t, tileBRun), b)
	DECQ(runs)
	JNZ(LabelRef("run"))
	for j, v := range acc {
		m.store(v, lastMask(mask, j, nv), m.at(c, j))
	}
	VZEROUPPER()
	RET()
}

// gradWeight3 is gradWeight for kernels three wide of stride 1 and padding 1
// and one vector of output channels: one broadcast of a pixel's channel feeds
// the three taps. c [3 taps, OutStep bytes apart][mr rows][vector]; a run is k
// pixels of a row of both a and b, k > 0: dy beyond the ends is 0.
func (m *matISA) gradWeight3(kind string, mr int) {
	begin(fmt.Sprintf("gradWeight3%s%sx%d", kind, m.name, mr), tileSignature(kind))
	a, b, t := param("a"), param("b"), param("t")
	mask := m.mask(field(t, tileCols))
	acc := grid(m.vecs(3*mr), mr, 3)
	eachAcc := func(f func(v reg.VecVirtual, at Mem)) {
		c, cStep, tapStep := param("c"), fieldReg(t, tileCStep), fieldReg(t, tileOutStep)
		for r := range acc {
			for j, v := range acc[r] {
				at := Mem{Base: c}
				if j > 0 {
					at.Index, at.Scale = tapStep, uint8(j)
				}
				f(v, at)
			}
			if r+1 < mr {
				ADDQ(cStep, c)
			}
		}
	}
	eachAcc(func(v reg.VecVirtual, at Mem) { m.load(at, mask, v) })
	dy := m.vecs(3) // of the pixels right of, at and left of the pixel: taps 0, 1, 2
	pa, pb, k, runs := GP64(), GP64(), GP64(), fieldReg(t, tileRuns)
	aStep, bStep := fieldReg(t, tileKStep), fieldReg(t, tileBStep)
	zero := func(v reg.VecVirtual) { VPXORD(v, v, v) }
	pixel := func() {
		for r := range acc {
			x := m.vec()
			VBROADCASTSS(Mem{Base: pa, Disp: r * 4}, x)
			for j, v := range dy {
				m.dot(kind, x, v, acc[r][j])
			}
		}
	}
	Label("run")
	MOVQ(a, pa)
	MOVQ(b, pb)
	MOVQ(field(t, tileK), k)
	zero(dy[2])
	m.load(Mem{Base: pb}, mask, dy[1])
	DECQ(k)
	JZ(LabelRef("last"))
	Label("pixel")
	ADDQ(bStep, pb)
	m.load(Mem{Base: pb}, mask, dy[0])
	pixel()
	VMOVAPS(dy[1], dy[2])
	VMOVAPS(dy[0], dy[1])
	ADDQ(aStep, pa)
	DECQ(k)
	JNZ(LabelRef("pixel"))
	Label("last")
	zero(dy[0])
	pixel()
	ADDQ(field(t, tileRunStep), a)
	ADDQ(field(t, tileBRun), b)
	DECQ(runs)
	JNZ(LabelRef("run"))
	eachAcc(func(v reg.VecVirtual, at Mem) { m.store(v, mask, at) })
	VZEROUPPER()
	RET()
}
