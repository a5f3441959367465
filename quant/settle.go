package quant

import "math"

// Codes are those that may come of a channel: Lo to Hi, from sums that are
// multiples of Grain.
type Codes struct {
	Lo, Hi int32
	Grain  int64
}

const (
	// maxSettled is the most steps of a grid that Settle looks at: 4 bits.
	maxSettled = 15
	// settleReach is how far from the nearest bias Settle looks for one. The
	// multiplier has two steps to satisfy exactly, and a third nearly always, with
	// one of a few biases.
	settleReach = 8
)

// Settle returns a deploy form near r, which is Fold's, that gives every sum the
// code of the unrounded value (stepIn*stepWeight*post.Scale*acc + post.Shift)/stepOut,
// if there is one for some bias near r's, else the one that misses the fewest steps
// of the grid. A code of few bits only tells on which side of a few sums a sum lies,
// so that a whole bias and another multiplier can say the same as a bias that is not
// whole. Grids of more than 16 codes, and biases that are whole, stay.
func (r Requant) Settle(post Affine, stepIn, stepWeight, stepOut float32, accMax int64, c Codes) Requant {
	if r.Constant || c.Hi-c.Lo > maxSettled || c.Hi <= c.Lo {
		return r
	}
	bias := post.Shift / (float64(stepIn) * float64(r.Weight))
	if math.Abs(bias-float64(r.Bias)) <= math.Abs(bias)*0x1p-23 { // as a file of steps has it, in float32
		return r
	}
	s := settling{Codes: c, stepIn: stepIn, stepOut: stepOut, accMax: accMax, sign: 1}
	s.unit, s.shift = float64(stepIn)*float64(stepWeight)*post.Scale/float64(stepOut), post.Shift/float64(stepOut)
	if s.unit < 0 {
		s.unit, s.sign = -s.unit, -1
	}
	s.findEdges()
	best, least := r, s.wrong(r)
	for i := int64(1); i <= 2*settleReach+1 && least > 0; i++ {
		b := int64(r.Bias) + i/2*(1-i%2*2) // 0, 1, -1, 2, ...
		if q, ok := s.with(b); ok {
			if n := s.wrong(q); n < least {
				best, least = q, n
			}
		}
	}
	return best
}

// settling is what a deploy form must tell apart. Sums are those of a channel, or
// their negatives where its values fall: values rise with them.
type settling struct {
	Codes
	stepIn, stepOut float32
	accMax, sign    int64
	unit, shift     float64
	edges           [maxSettled]edge
}

// edge is where codes become greater than Lo+its index: at the sum at, and not at
// the one before it. One of the two may not occur.
type edge struct {
	at           int64
	below, above bool
}

func (s *settling) findEdges() {
	last := s.accMax / s.Grain * s.Grain
	for j := range s.Hi - s.Lo {
		code := float64(s.Lo + j)
		greater := func(a int64) bool { return math.RoundToEven(float64(a)*s.unit+s.shift) > code }
		e := edge{below: true, above: true}
		switch at := math.Ceil((code+0.5-s.shift)/s.unit/float64(s.Grain)) * float64(s.Grain); {
		case at > float64(last):
			e.at, e.above = last+s.Grain, false
		case at <= float64(-last):
			e.at, e.below = -last, false
		default:
			if e.at = int64(at); greater(e.at - s.Grain) {
				e.at -= s.Grain
			} else if !greater(e.at) {
				e.at += s.Grain
			}
		}
		s.edges[j] = e
	}
}

// wrong counts the edges at which r gives another code.
func (s *settling) wrong(r Requant) (n int) {
	code := func(a int64) int32 { return r.Code(int32(s.sign*a), 0, s.Lo, s.Hi) }
	for j, e := range s.edges[:s.Hi-s.Lo] {
		if k := s.Lo + int32(j); e.above && code(e.at) <= k || e.below && code(e.at-s.Grain) > k {
			n++
		}
	}
	return n
}

// with returns a form with a bias, if a multiplier satisfies all edges.
func (s *settling) with(bias int64) (r Requant, ok bool) {
	if max(bias, -bias)+s.accMax > math.MaxInt32 {
		return r, false
	}
	least, most := 0.0, math.Inf(1)
	// bound keeps m*x >= y, or m*x < y.
	bound := func(x, y float64, above bool) {
		switch rises := x > 0; {
		case x != 0 && y/x > 0 && rises == above:
			least = math.Max(least, y/x)
		case x != 0 && y/x > 0:
			most = math.Min(most, y/x)
		case (y < 0) != above: // no m does
			most = 0
		}
	}
	for j, e := range s.edges[:s.Hi-s.Lo] {
		y := float64(s.Lo+int32(j)) + 0.5
		if e.above {
			bound(float64(e.at+s.sign*bias), y, true)
		}
		if e.below {
			bound(float64(e.at-s.Grain+s.sign*bias), y, false)
		}
	}
	m := (least + most) / 2
	if math.IsInf(m, 0) {
		m = math.Max(2*least, s.unit)
	}
	if !(least < most) {
		return r, false
	}
	w := float32(float64(s.sign) * m * float64(s.stepOut) / float64(s.stepIn))
	r = Requant{M: float32(s.stepIn*w) / s.stepOut, Bias: int32(bias), Weight: w}
	return r, r.M != 0 && !notFinite(float64(r.M))
}
