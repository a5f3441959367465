package kernel

import "math"

// Scalar definitions of the transcendental operations. The assembly rows run
// the same steps in the same order, so that every row gives the same bits:
// each float32(x*y) is one rounding that no compiler may fuse with the
// addition behind it.
//
// Polynomials are Horner's rule in x^2 over pairs of terms, which halves the
// chain of dependent steps. Coefficients are our own minimax fits (Lawson iteration on 2,000 Chebyshev
// nodes); the error in a comment is that of the exact polynomial, relative to
// the function.
const (
	log2e = 1.44269504
	// ln2Hi has 10 significant bits, so n*ln2Hi is exact for |n| < 2^14.
	ln2Hi = 0.693359375
	ln2Lo = -2.12194440e-4
	// roundMagic is 1.5*2^23: x + roundMagic - roundMagic rounds |x| < 2^22 to
	// the nearest integer, ties to even, and leaves that integer in the low
	// bits of the sum.
	roundMagic     = 12582912
	roundMagicBits = 0x4b400000
	oneBits        = 0x3f800000

	// exp(x) is 0 below expLo (less than half of the smallest denormal) and
	// +Inf above expHi.
	expLo = -105
	expHi = 89
	// tanh(x) rounds to 1 from 9.02 on, erf(x) from 3.92 on.
	tanhHi = 10
	erfHi  = 4
)

// exp(r) = 1 + r + r^2*(e0 + e1 r + ...), |r| <= ln2/2, 3.2e-9.
const (
	exp0 = 0.5
	exp1 = 0.166665167
	exp2 = 0.0416662022
	exp3 = 0.00836909376
	exp4 = 0.00139508431
)

// log(1+f) = f - f^2/2 + f^3*(l0 + l1 f + ...), sqrt(1/2) <= 1+f < sqrt(2),
// 5.9e-9.
const (
	log0 = 0.333333313
	log1 = -0.250008225
	log2 = 0.200012326
	log3 = -0.166232973
	log4 = 0.142015576
	log5 = -0.131605953
	log6 = 0.127633005
	log7 = -0.076355882
)

// erf(a) = a + a*(s0 + s1 a^2 + ...), a < 1, 1.4e-9.
const (
	erfS0 = 0.128379166
	erfS1 = -0.37612623
	erfS2 = 0.112835653
	erfS3 = -0.0268528759
	erfS4 = 0.00518637337
	erfS5 = -0.000799152302
	erfS6 = 7.78736503e-05
)

// log(erfc(a)) = b0 + b1 a + ..., 1 <= a <= 4; 7e-9 of erfc(1).
const (
	erfB0 = -0.000334123732
	erfB1 = -1.12711644
	erfB2 = -0.6381042
	erfB3 = -0.103138268
	erfB4 = 0.0218514241
	erfB5 = -0.00295058871
	erfB6 = 0.000186638397
)

// expParts splits exp(x) = (1 + p) * 2^n for |x| < 2^21 with |p| < 0.42; t is
// n + roundMagic. A NaN makes p NaN.
func expParts(x float32) (p, t float32) {
	t = float32(x*log2e) + roundMagic
	n := t - roundMagic
	r := x - float32(n*ln2Hi)
	r -= float32(n * ln2Lo)
	r2 := float32(r * r)
	p = float32(exp4*r2) + (float32(exp3*r) + exp2)
	p = float32(p*r2) + (float32(exp1*r) + exp0)
	p = float32(p*r2) + r
	return p, t
}

// pow2 returns 2^n for t = n + roundMagic, -126 <= n <= 127.
func pow2(t float32) float32 {
	return math.Float32frombits(math.Float32bits(t)<<23 + oneBits)
}

// exp32 is e^x. The factor 2^n is applied in two halves: the first product is
// exact, the second rounds once, also into the denormals.
func exp32(x float32) float32 {
	if expLo > x {
		x = expLo
	}
	if expHi < x {
		x = expHi
	}
	p, t := expParts(x)
	n := int32(math.Float32bits(t) - roundMagicBits)
	h := n >> 1
	y := float32((p + 1) * math.Float32frombits(uint32(h)<<23+oneBits))
	return y * math.Float32frombits(uint32(n-h)<<23+oneBits)
}

// log32 is the natural logarithm: -Inf at 0, NaN below.
func log32(x float32) float32 {
	switch {
	case x == 0:
		return float32(math.Inf(-1))
	case x < 0:
		return float32(math.NaN())
	case !(x < float32(math.Inf(1))):
		return x
	}
	var e float32
	if x < 0x1p-126 {
		x *= 0x1p23
		e = -23
	}
	const sqrtHalf = 0x3f3504f3
	i := math.Float32bits(x) - sqrtHalf
	e += float32(int32(i) >> 23)
	f := math.Float32frombits(i&0x7fffff+sqrtHalf) - 1
	z := float32(f * f)
	p := float32(log7*f) + log6
	p = float32(p*z) + (float32(log5*f) + log4)
	p = float32(p*z) + (float32(log3*f) + log2)
	p = float32(p*z) + (float32(log1*f) + log0)
	p = float32(p * float32(z*f))
	p += float32(e * ln2Lo)
	p -= float32(z * 0.5)
	return float32(f+p) + float32(e*ln2Hi)
}

// tanh32 is e/(e+2) with e = exp(2|x|) - 1, and the sign of x.
func tanh32(x float32) float32 {
	a := math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	if tanhHi < a {
		a = tanhHi
	}
	p, t := expParts(a + a)
	s := pow2(t)
	e := float32(p*s) + (s - 1)
	return withSign(e/(e+2), x)
}

// sigmoid32 is 1/(1+e) for x >= 0 and e/(1+e) below, with e = exp(-|x|).
func sigmoid32(x float32) float32 {
	e := exp32(math.Float32frombits(math.Float32bits(x) | 1<<31))
	num := float32(1)
	if x < 0 {
		num = e
	}
	return num / (1 + e)
}

// erf32 is the error function: a polynomial below 1, 1 - exp(polynomial) above.
func erf32(x float32) float32 {
	a := math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	if erfHi < a {
		a = erfHi
	}
	u := float32(a * a)
	if a < 1 {
		u2 := float32(u * u)
		p := float32(erfS6*u2) + (float32(erfS5*u) + erfS4)
		p = float32(p*u2) + (float32(erfS3*u) + erfS2)
		p = float32(p*u2) + (float32(erfS1*u) + erfS0)
		return withSign(float32(p*a)+a, x)
	}
	q := float32(erfB6*u) + (float32(erfB5*a) + erfB4)
	q = float32(q*u) + (float32(erfB3*a) + erfB2)
	q = float32(q*u) + (float32(erfB1*a) + erfB0)
	p, t := expParts(q)
	return withSign(1-float32((p+1)*pow2(t)), x)
}

// withSign sets the sign bit of y >= 0 to that of x.
func withSign(y, x float32) float32 {
	return math.Float32frombits(math.Float32bits(y) | math.Float32bits(x)&(1<<31))
}
