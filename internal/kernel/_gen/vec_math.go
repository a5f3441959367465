package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The constants and every step repeat vec_math.go of package kernel, which
// explains them; the parity tests demand equal bits.
const (
	log2e      = 1.44269504
	ln2Hi      = 0.693359375
	ln2Lo      = -2.12194440e-4
	roundMagic = 12582912

	signBit   = 1 << 31
	absMask   = signBit - 1
	sqrtHalf  = 0x3f3504f3
	mantissa  = 0x7fffff
	magicBits = 0x4b400000
	infBits   = 0x7f800000
	nanBits   = 0x7fc00000

	// fixLog is the table of VFIXUPIMMPS: a nibble for each class of x from
	// quiet NaN (lowest) over signalling NaN, 0, 1, -Inf, +Inf, negative to
	// positive: 2 is x made quiet, 3 NaN, 4 -Inf, 5 +Inf, 0 leaves the result.
	fixLog = 0x03530422
)

var (
	expPoly  = []float32{0.00139508431, 0.00836909376, 0.0416662022, 0.166665167, 0.5}
	logPoly  = []float32{-0.076355882, 0.127633005, -0.131605953, 0.142015576, -0.166232973, 0.200012326, -0.250008225, 0.333333313}
	erfSmall = []float32{7.78736503e-05, -0.000799152302, 0.00518637337, -0.0268528759, 0.112835653, -0.37612623, 0.128379166}
	erfBig   = []float32{0.000186638397, -0.00295058871, 0.0218514241, -0.103138268, -0.6381042, -1.12711644, -0.000334123732}
)

// expConsts are those of expParts, pow2 and scale.
func expConsts() []uint32 {
	c := f32(log2e, roundMagic, 1, ln2Hi, ln2Lo)
	c = append(c, f32(expPoly...)...)
	return append(c, magicBits)
}

// poly is Horner's rule in x2 = x*x over pairs of terms, highest coefficient
// first.
func (k *vec) poly(x, x2 Op, c []float32) reg.VecVirtual {
	pair := func(c []float32) reg.VecVirtual { return k.add(k.mul(x, k.c(c[0])), k.c(c[1])) }
	var p reg.VecVirtual
	if len(c)%2 == 1 {
		p = k.add(k.mul(x2, k.c(c[0])), pair(c[1:]))
		c = c[3:]
	} else {
		p = pair(c)
		c = c[2:]
	}
	for ; len(c) > 0; c = c[2:] {
		p = k.add(k.mul(p, x2), pair(c))
	}
	return p
}

// expParts splits exp(x) = (1 + p) * 2^n, t = n + roundMagic.
func (k *vec) expParts(x Op) (p, t, n reg.VecVirtual) {
	t = k.add(k.mul(x, k.c(log2e)), k.c(roundMagic))
	n = k.sub(t, k.c(roundMagic))
	r := k.sub(x, k.mul(n, k.c(ln2Hi)))
	r = k.sub(r, k.mul(n, k.c(ln2Lo)))
	r2 := k.mul(r, r)
	return k.add(k.mul(k.poly(r, r2, expPoly), r2), r), t, n
}

// pow2 is 2^n as a float, for normal results.
func (k *vec) pow2(t Op) reg.VecVirtual { return k.addInt(k.shl(23, t), k.c(1)) }

// exp is e^x for x in [expLo, expHi]. VSCALEFPS rounds once, as the second of
// the two products does.
func (k *vec) exp(x Op) reg.VecVirtual {
	p, t, n := k.expParts(x)
	y := k.add(p, k.c(1))
	if k.zmm {
		return k.op(VSCALEFPS, y, n)
	}
	i := k.subInt(t, k.bits(magicBits))
	h := k.sar(1, i)
	y = k.mul(y, k.addInt(k.shl(23, h), k.c(1)))
	return k.mul(y, k.addInt(k.shl(23, k.subInt(i, h)), k.c(1)))
}

// vecMath emits the transcendental loops.
func vecMath(zmm bool) {
	one := []string{"dst", "a"}
	vecLoop(zmm, loopSpec{name: "exp", ptrs: one, consts: append(f32(-105, 89), expConsts()...), unroll: 1,
		body: func(k *vec) {
			k.st("dst", k.exp(k.clip(k.at("a"), k.c(-105), k.c(89))))
		}})
	vecLoop(zmm, loopSpec{name: "sigmoid", ptrs: one, consts: append(append(f32(-105, 1), expConsts()...), signBit, 0), unroll: 1,
		body: func(k *vec) {
			x := k.ld("a")
			e := k.exp(k.max(k.c(-105), k.or(x, k.bits(signBit))))
			num := k.sel(k.cmp(less, x, k.bits(0)), e, k.c(1))
			k.st("dst", k.div(num, k.add(e, k.c(1))))
		}})
	vecLoop(zmm, loopSpec{name: "tanh", ptrs: one,
		consts: append(append(f32(10, 2), expConsts()...), absMask, signBit), unroll: 1,
		body: func(k *vec) {
			x := k.ld("a")
			a := k.min(k.c(10), k.and(x, k.bits(absMask)))
			p, t, _ := k.expParts(k.add(a, a))
			s := k.pow2(t)
			e := k.add(k.mul(p, s), k.sub(s, k.c(1)))
			y := k.div(e, k.add(e, k.c(2)))
			k.st("dst", k.or(y, k.and(x, k.bits(signBit))))
		}})
	erfConsts := append(f32(4, 1), expConsts()...)
	erfConsts = append(erfConsts, f32(append(append([]float32{}, erfSmall...), erfBig...)...)...)
	vecLoop(zmm, loopSpec{name: "erf", ptrs: one, consts: append(erfConsts, absMask, signBit), unroll: 1,
		body: func(k *vec) {
			x := k.ld("a")
			a := k.min(k.c(4), k.and(x, k.bits(absMask)))
			u := k.mul(a, a)
			small := k.add(k.mul(k.poly(u, k.mul(u, u), erfSmall), a), a)
			p, t, _ := k.expParts(k.poly(a, u, erfBig))
			big := k.sub(k.c(1), k.mul(k.add(p, k.c(1)), k.pow2(t)))
			y := k.sel(k.cmp(less, a, k.c(1)), small, big)
			k.st("dst", k.or(y, k.and(x, k.bits(signBit))))
		}})
	vecLog(zmm)
}

func vecLog(zmm bool) {
	minNormal, two23 := float32(0x1p-126), float32(0x1p23)
	consts := append(f32(minNormal, 1, two23, ln2Hi, ln2Lo, 0.5, -23), sqrtHalf, mantissa)
	if zmm {
		consts = append(consts, fixLog)
	} else {
		consts = append(consts, infBits, nanBits, 0, math.Float32bits(float32(math.Inf(-1))))
	}
	consts = append(consts, f32(logPoly...)...)
	vecLoop(zmm, loopSpec{name: "log", ptrs: []string{"dst", "a"}, consts: consts, unroll: 1,
		body: func(k *vec) {
			x := k.ld("a")
			tiny := k.cmp(less, x, k.c(minNormal))
			i := k.subInt(k.sel(tiny, k.mul(x, k.c(two23)), x), k.bits(sqrtHalf))
			e := k.reg()
			VCVTDQ2PS(k.sar(23, i), e)
			e = k.add(e, k.keep(tiny, k.c(-23)))
			f := k.sub(k.addInt(k.and(i, k.bits(mantissa)), k.bits(sqrtHalf)), k.c(1))
			z := k.mul(f, f)
			p := k.mul(k.poly(f, z, logPoly), k.mul(z, f))
			p = k.add(p, k.mul(e, k.c(ln2Lo)))
			p = k.sub(p, k.mul(z, k.c(0.5)))
			y := k.add(k.add(f, p), k.mul(e, k.c(ln2Hi)))
			k.st("dst", k.logSpecial(x, y))
		}})
}

// logSpecial replaces y = log(x) where x is 0 (-Inf), negative (NaN), +Inf or
// NaN (x).
func (k *vec) logSpecial(x, y reg.VecVirtual) Op {
	if k.zmm {
		VFIXUPIMMPS(U8(0), k.bits(fixLog), x, y)
		return y
	}
	y = k.sel(k.cmp(notLess, x, k.bits(infBits)), x, y)
	y = k.sel(k.cmp(less, x, k.bits(0)), k.bits(nanBits), y)
	return k.sel(k.cmp(equal, x, k.bits(0)), k.c(float32(math.Inf(-1))), y)
}
