package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vecArith emits the loops of one or two instructions.
func vecArith(zmm bool) {
	two := []string{"dst", "a", "b"}
	for _, b := range []struct {
		name string
		op   func(...Op)
	}{
		{"add", VADDPS}, {"sub", VSUBPS}, {"mul", VMULPS}, {"div", VDIVPS}, {"max", VMAXPS}, {"min", VMINPS},
	} {
		vecLoop(zmm, loopSpec{name: b.name, ptrs: two, unroll: 4, body: func(k *vec) {
			k.st("dst", k.op(b.op, k.ld("a"), k.at("b")))
		}})
	}
	vecLoop(zmm, loopSpec{name: "mulAdd", ptrs: []string{"dst", "a", "b", "c"}, unroll: 4, body: func(k *vec) {
		k.st("dst", k.add(k.mul(k.ld("a"), k.at("b")), k.at("c")))
	}})
	vecLoop(zmm, loopSpec{name: "acc", ptrs: []string{"acc", "a"}, unroll: 4, body: func(k *vec) {
		k.st("acc", k.add(k.ld("acc"), k.at("a")))
	}})
	vecLoop(zmm, loopSpec{name: "accMul", ptrs: []string{"acc", "a", "b"}, unroll: 4, body: func(k *vec) {
		k.st("acc", k.add(k.ld("acc"), k.mul(k.ld("a"), k.at("b"))))
	}})
	vecLoop(zmm, loopSpec{name: "sqrt", ptrs: []string{"dst", "a"}, unroll: 4, body: func(k *vec) {
		k.st("dst", k.sqrt(k.at("a")))
	}})
	one := []string{"dst", "a"}
	vecLoop(zmm, loopSpec{name: "relu", ptrs: one, consts: f32(0), unroll: 4, body: func(k *vec) {
		k.st("dst", k.max(k.c(0), k.at("a")))
	}})
	vecLoop(zmm, loopSpec{name: "relu6", ptrs: one, consts: f32(0, 6), unroll: 4, body: func(k *vec) {
		k.st("dst", k.clip(k.at("a"), k.c(0), k.c(6)))
	}})
	grad := []string{"dst", "grad", "y"}
	vecLoop(zmm, loopSpec{name: "reluGrad", ptrs: grad, consts: f32(0), unroll: 4, body: func(k *vec) {
		k.st("dst", k.keep(k.cmp(greater, k.ld("y"), k.c(0)), k.ld("grad")))
	}})
	vecLoop(zmm, loopSpec{name: "relu6Grad", ptrs: grad, consts: f32(0, 6), unroll: 4, body: func(k *vec) {
		y := k.ld("y")
		in := k.both(k.cmp(greater, y, k.c(0)), k.cmp(less, y, k.c(6)))
		k.st("dst", k.keep(in, k.ld("grad")))
	}})
}

func (k *vec) sqrt(x Op) reg.VecVirtual {
	r := k.reg()
	VSQRTPS(x, r)
	return r
}

// vecQuant emits the quantizers: division, never a reciprocal.
func vecQuant(zmm bool) {
	bounds := []string{"lo", "hi"}
	codes := func(k *vec) reg.VecVirtual {
		return k.rne(k.clip(k.div(k.ld("v"), k.at("s")), k.scalar["lo"], k.scalar["hi"]))
	}
	vecLoop(zmm, loopSpec{name: "fakeQuant", ptrs: []string{"dst", "v", "s"}, scalars: bounds, unroll: 2, body: func(k *vec) {
		s := k.ld("s")
		z := k.clip(k.div(k.ld("v"), s), k.scalar["lo"], k.scalar["hi"])
		k.st("dst", k.mul(k.rne(z), s))
	}})
	vecLoop(zmm, loopSpec{name: "quantU8", ptrs: []string{"qdst", "v", "s"}, scalars: append(bounds, "zero"),
		consts: byteGather(zmm), unroll: 2, body: func(k *vec) {
			k.stBytes("qdst", k.add(codes(k), k.scalar["zero"]))
		}})
	vecLoop(zmm, loopSpec{name: "quantS8", ptrs: []string{"qdst", "v", "s"}, scalars: bounds,
		consts: byteGather(zmm), unroll: 2, body: func(k *vec) {
			k.stBytes("qdst", codes(k))
		}})
	vecLoop(zmm, loopSpec{name: "dequantU8", ptrs: []string{"dst", "q", "s"}, scalars: []string{"zero"}, unroll: 2, body: func(k *vec) {
		k.st("dst", k.mul(k.sub(k.ldBytes("q", VPMOVZXBD, VPMOVZXBD_Z), k.scalar["zero"]), k.at("s")))
	}})
	vecLoop(zmm, loopSpec{name: "dequantS8", ptrs: []string{"dst", "q", "s"}, unroll: 2, body: func(k *vec) {
		k.st("dst", k.mul(k.ldBytes("q", VPMOVSXBD, VPMOVSXBD_Z), k.at("s")))
	}})
	vecLoop(zmm, loopSpec{name: "fakeQuantGrad", ptrs: []string{"dv", "ds", "v", "s", "grad"}, scalars: bounds, unroll: 2, body: func(k *vec) {
		lo, hi := k.scalar["lo"], k.scalar["hi"]
		z := k.div(k.ld("v"), k.at("s"))
		in := k.both(k.cmp(greater, z, lo), k.cmp(less, z, hi))
		f := k.sel(in, k.sub(k.rne(z), z), k.clip(z, lo, hi))
		g := k.ld("grad")
		k.st("ds", k.mul(g, f))
		k.st("dv", k.keep(in, g))
	}})
}

// byteGather is the constant of stBytes on AVX2: VPSHUFB indices 0, 4, 8, 12.
func byteGather(zmm bool) []uint32 {
	if zmm {
		return nil
	}
	return []uint32{0x0c080400}
}

// stBytes stores the low byte of each float truncated to an integer.
func (k *vec) stBytes(name string, v Op) {
	i := k.reg()
	VCVTTPS2DQ(v, i)
	switch {
	case k.mask != nil:
		VPMOVDB(i, k.mask, k.addr(name))
	case k.zmm:
		VPMOVDB(i, k.addr(name))
	default:
		b, h := k.op(VPSHUFB, i, k.bits(0x0c080400)), XMM()
		VEXTRACTI128(U8(1), b, h)
		VPUNPCKLDQ(h, b.AsX(), h)
		VMOVQ(h, k.addr(name))
	}
}

// ldBytes loads bytes and converts them to floats; extend is VPMOVZXBD or
// VPMOVSXBD, masked the same with zeroing.
func (k *vec) ldBytes(name string, extend func(...Op), masked func(m, mask, r Op)) reg.VecVirtual {
	i, f := k.reg(), k.reg()
	if k.mask != nil {
		masked(k.addr(name), k.mask, i)
	} else {
		extend(k.addr(name), i)
	}
	VCVTDQ2PS(i, f)
	return f
}
