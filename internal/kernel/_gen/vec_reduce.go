package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// zeros returns n cleared vectors.
func (k *vec) zeros(n int) (r []reg.VecVirtual) {
	for range n {
		z := k.reg()
		VXORPS(z, z, z)
		r = append(r, z)
	}
	return r
}

// vecReduce emits Sum and MaxAbs with 64 lanes.
func vecReduce(zmm bool) {
	k := newVec(zmm)
	add := func(m Op, mask Op, acc reg.VecVirtual) {
		if mask != nil {
			VADDPS(m, acc, mask, acc)
		} else {
			VADDPS(m, acc, acc)
		}
	}
	reduction(k, "sum", "adds", nil, add)
	abs := func() Op {
		r := k.reg()
		VMOVUPS(constant(absMask), r)
		return r
	}
	var absReg Op
	reduction(k, "maxAbs", "takes the greatest absolute value of", func() { absReg = abs() }, func(m Op, mask Op, acc reg.VecVirtual) {
		t := k.reg()
		if mask != nil {
			VMOVUPS_Z(m, mask, t)
			VANDPS(t, absReg, t)
		} else {
			VANDPS(m, absReg, t)
		}
		VPMAXUD(t, acc, acc)
	})
	readBandwidth(k)
}

// reduction emits a loop over whole groups of 64 floats. On AVX-512 it also
// takes the rest, under masks, and folds the lanes to the result; on AVX2 it
// leaves the lanes in memory.
func reduction(k *vec, name, verb string, before func(), step func(m Op, mask Op, acc reg.VecVirtual)) {
	join := VADDPS
	if name == "maxAbs" {
		join = VPMAXUD
	}
	name = isaName(name, k.zmm)
	if k.zmm {
		TEXT(name, NOSPLIT, "func(n int, a *float32) float32")
		Doc(name + " " + verb + " a in 64 lanes and folds them.")
	} else {
		TEXT(name, NOSPLIT, "func(n int, a, lanes *float32)")
		Doc(name + " " + verb + " a in 64 lanes, n being a multiple of 64.")
	}
	Pragma("noescape")
	n, a := Load(Param("n"), GP64()).(reg.GPVirtual), Load(Param("a"), GP64()).(reg.GPVirtual)
	acc := k.zeros(64 / k.w)
	if before != nil {
		before()
	}
	SUBQ(Imm(64), n)
	JLT(LabelRef(name + "_rest"))
	Label(name + "_loop")
	for j, r := range acc {
		step(Mem{Base: a, Disp: 4 * j * k.w}, nil, r)
	}
	ADDQ(U32(256), a)
	SUBQ(Imm(64), n)
	JGE(LabelRef(name + "_loop"))
	Label(name + "_rest")
	if k.zmm {
		ADDQ(Imm(64), n)
		bits, m := GP64(), K()
		XORQ(bits, bits)
		BTSQ(n, bits)
		DECQ(bits)
		KMOVQ(bits, m)
		for j, r := range acc {
			step(Mem{Base: a, Disp: 4 * j * k.w}, m, r)
			KSHIFTRQ(Imm(16), m, m)
		}
		Store(fold(join, acc), ReturnIndex(0))
	} else {
		lanes := Load(Param("lanes"), GP64()).(reg.GPVirtual)
		for j, r := range acc {
			VMOVUPS(r, Mem{Base: lanes, Disp: 4 * j * k.w})
		}
	}
	VZEROUPPER()
	RET()
}

// fold joins four accumulators as (0+1) + (2+3), then halves with halves, in
// the order of sumTail.
func fold(join func(...Op), acc []reg.VecVirtual) reg.VecVirtual {
	join(acc[1], acc[0], acc[0])
	join(acc[3], acc[2], acc[2])
	join(acc[2], acc[0], acc[0])
	y, x, t := YMM(), XMM(), XMM()
	VEXTRACTF64X4(U8(1), acc[0], y)
	join(y, acc[0].AsY(), y)
	VEXTRACTF128(U8(1), y, x)
	join(x, y.AsX(), x)
	VPSHUFD(U8(0x4e), x, t)
	join(t, x, x)
	VPSHUFD(U8(0xb1), x, t)
	join(t, x, x)
	return x
}

// readBandwidth emits a loop that reads 128 floats at a time, prefetching.
func readBandwidth(k *vec) {
	name := isaName("read", k.zmm)
	TEXT(name, NOSPLIT, "func(n int, a *float32)")
	Pragma("noescape")
	Doc(name + " reads n floats, a multiple of 128, as fast as memory delivers them.")
	n, a := Load(Param("n"), GP64()).(reg.GPVirtual), Load(Param("a"), GP64()).(reg.GPVirtual)
	acc := k.zeros(8)
	Label(name + "_loop")
	for j := range 128 / k.w {
		if 4*j*k.w%64 == 0 {
			PREFETCHT0(Mem{Base: a, Disp: 4*j*k.w + 4096})
		}
		VADDPS(Mem{Base: a, Disp: 4 * j * k.w}, acc[j%8], acc[j%8])
	}
	ADDQ(U32(512), a)
	SUBQ(U32(128), n)
	JG(LabelRef(name + "_loop"))
	VZEROUPPER()
	RET()
}

// vecPeak emits loops of independent multiply-adds on registers: 24 (12 on
// AVX2) accumulators hide the latency.
func vecPeak(zmm bool) {
	k, count := newVec(zmm), 12
	if zmm {
		count = 24
	}
	peakLoop(k, "peakFMA", count, func(x, y, acc, _ reg.VecVirtual) { VFMADD231PS(x, y, acc) })
	if zmm {
		peakLoop(k, "peakU8S8", count, func(x, y, acc, _ reg.VecVirtual) {
			VPDPBUSD(x, y, acc)
		})
		return
	}
	peakLoop(k, "peakU8S8", 10, func(x, y, acc, ones reg.VecVirtual) {
		t := k.reg()
		VPMADDUBSW(x, y, t)
		VPMADDWD(ones, t, t)
		VPADDD(t, acc, acc)
	})
}

func peakLoop(k *vec, name string, count int, step func(x, y, acc, ones reg.VecVirtual)) {
	name = isaName(name, k.zmm)
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(name + " runs n > 0 rounds of independent multiply-adds.")
	n := Load(Param("n"), GP64()).(reg.GPVirtual)
	acc := k.zeros(count)
	in := k.zeros(3)
	Label(name + "_loop")
	for _, a := range acc {
		step(in[0], in[1], a, in[2])
	}
	DECQ(n)
	JNZ(LabelRef(name + "_loop"))
	VZEROUPPER()
	RET()
}
