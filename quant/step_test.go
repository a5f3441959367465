package quant

import (
	"math"
	"slices"
	"sort"
	"testing"

	"lowbit/tensor"
)

// gaussian is N(0,1) by quadrature: midpoints of 2^-13-wide cells to 8 sigma.
func gaussian(half bool) *Distribution {
	const h, limit = 1.0 / 8192, 8
	var at, n []float64
	lo := -limit + h/2
	if half { // relu: half of the mass at 0
		at, n = append(at, 0), append(n, 0.5/h)
		lo = h / 2
	}
	for x := lo; x < limit; x += h {
		at, n = append(at, x), append(n, math.Exp(-x*x/2)/math.Sqrt(2*math.Pi))
	}
	return weighted(at, n)
}

// The table of LSQ's initial step and the best step on N(0,1), worked out
// independently (numerical quadrature, printed to three digits).
func TestStepsOnNormalWeights(t *testing.T) {
	const tol = 0.005
	near := func(what string, got, want, digit float64) {
		if math.Abs(got-want) > tol*want+digit/2 {
			t.Errorf("%s = %.5f, want %g", what, got, want)
		}
	}
	d := gaussian(false)
	meanAbs := math.Sqrt(2 / math.Pi)
	for _, c := range []struct {
		bits                     int
		s0, err0, best, bestErr  float64
		digit0, digitE0, digitBE float64
	}{
		{2, 1.596, .222, 1.048, .150, .001, .001, .001},
		{3, .921, .071, .602, .041, .001, .001, .001},
		{4, .603, .030, .339, .0119, .001, .001, .0001},
		{8, .1416, .0017, .0308, .00009, .0001, .0001, .00001},
	} {
		s := Spec{Bits: c.bits, Signed: true}
		s0 := float64(LSQStep(meanAbs, s))
		near("LSQ step", s0, c.s0, c.digit0)
		near("its error", d.Error(s0, s), c.err0, c.digitE0)
		best := d.MSEStep(s)
		near("best step", best, c.best, 0.0001)
		near("its error", d.Error(best, s), c.bestErr, c.digitBE)
	}
	// Half-normal and zeros, as after relu.
	r := gaussian(true)
	for _, c := range []struct {
		bits     int
		s0, best float64
	}{{2, .461, .651}, {3, .302, .353}, {4, .206, .193}, {8, .050, .0165}} {
		s := Spec{Bits: c.bits}
		near("LSQ step of relu", float64(LSQStep(meanAbs/2, s)), c.s0, .001)
		near("best step of relu", r.MSEStep(s), c.best, .001)
	}
}

// exactBest finds the least squared error over all steps: between the steps at
// which some value changes its code the error is a parabola.
func exactBest(v []float32, s Spec) float64 {
	type event struct{ step, a, b float64 } // change of sum q*v, sum q*q as the step shrinks
	var ev []event
	for _, x := range v {
		m, limit := math.Abs(float64(x)), s.Qp()
		if x < 0 {
			limit = s.Qn()
		}
		for q := 0; q < limit && m > 0; q++ {
			ev = append(ev, event{m / (float64(q) + .5), m, float64(2*q + 1)})
		}
	}
	sort.Slice(ev, func(i, j int) bool { return ev[i].step > ev[j].step })
	var a, b, gain float64
	for i, e := range ev {
		a, b = a+e.a, b+e.b
		if i+1 == len(ev) || ev[i+1].step != e.step {
			gain = max(gain, a*a/b)
		}
	}
	sq := 0.0
	for _, x := range v {
		sq += float64(x) * float64(x)
	}
	return (sq - gain) / float64(len(v))
}

func TestMSEStepReachesTheExactMinimum(t *testing.T) {
	// With 256 codes for fewer values than that, the error has thousands of
	// narrow minima; the largest excess seen is 15 %, 1.6 % up to 4 bits.
	const slack, slack8 = 0.03, 0.2
	r := newRand(t, 11)
	for trial := range 30 {
		v := normals(r, 20+r.IntN(400))
		if trial%3 == 0 { // heavy tails
			for i := range v {
				v[i] = float32(math.Pow(float64(v[i]), 3))
			}
		}
		for _, s := range []Spec{{Bits: 1}, {Bits: 2}, {Bits: 4}, {Bits: 8}, {Bits: 2, Signed: true}, {Bits: 3, Signed: true}, {Bits: 4, Signed: true}, {Bits: 8, Signed: true}} {
			st := StepMSE(v, s)
			got, err := SquaredError(v, []float32{st}, tensor.Shape{len(v)}, s)
			if err != nil {
				t.Fatal(err)
			}
			// The errors are near 1e-5 of the squares at 8 bits: allow their rounding.
			limit := 1 + slack
			if s.Bits == 8 {
				limit = 1 + slack8
			}
			if want := exactBest(v, s); got > want*limit+1e-9 {
				t.Errorf("trial %d %v: error %.6g at step %g, best %.6g", trial, s, got, st, want)
			}
		}
	}
}

func TestMSEStepMatchesBruteForce(t *testing.T) {
	r := newRand(t, 12)
	v := normals(r, 2000)
	for _, b := range []int{2, 3, 4} {
		s := Spec{Bits: b, Signed: true}
		best := math.Inf(1)
		for st := 0.05; st < 3; st *= 1.002 {
			e, _ := SquaredError(v, []float32{float32(st)}, tensor.Shape{len(v)}, s)
			best = min(best, e)
		}
		got, _ := SquaredError(v, []float32{StepMSE(v, s)}, tensor.Shape{len(v)}, s)
		if got > best*(1+1e-6) {
			t.Errorf("%v: error %g, brute force %g", s, got, best)
		}
	}
}

func TestHistogramAgreesWithSorting(t *testing.T) {
	r := newRand(t, 13)
	v := normals(r, 3*sortLimit)
	sorted := slices.Clone(v)
	slices.Sort(sorted)
	at, n := make([]float64, len(v)), make([]float64, len(v))
	for i, x := range sorted {
		at[i], n[i] = float64(x), 1
	}
	exact, binned := weighted(at, n), NewDistribution(v)
	if binned.Len() != float64(len(v)) || math.Abs(binned.MaxAbs()/exact.MaxAbs()-1) > 1e-3 {
		t.Errorf("%g values to %g, want %d to %g", binned.Len(), binned.MaxAbs(), len(v), exact.MaxAbs())
	}
	for _, s := range []Spec{{Bits: 2, Signed: true}, {Bits: 4}, {Bits: 8, Signed: true}} {
		if e := exact.Error(binned.MSEStep(s), s) / exact.Error(exact.MSEStep(s), s); math.Abs(e-1) > 1e-3 {
			t.Errorf("%v: binned search's error is %g times the sorted one's", s, e)
		}
	}
}

func TestStepRules(t *testing.T) {
	v := []float32{-4, 1, 2, 3}
	s, u := Spec{Bits: 4, Signed: true}, Spec{Bits: 4}
	for _, c := range []struct {
		what      string
		got, want float32
	}{
		{"lsq", StepLSQ(v, s), float32(2 * 2.5 / math.Sqrt(7))},
		{"max signed", StepMax(v, s), 4.0 / 7},
		{"max unsigned", StepMax(v, u), 3.0 / 15},
		{"max pow2", StepMaxPow2(v, s), 1},
		{"sigma", StepSigma(2.4)(v, s), float32(2.4 * math.Sqrt(29.0/4) / 7)},
		{"percentile", StepPercentile(50)(v, s), 2.5 / 7},
		{"range pow2", RangeStep(5.1, u, true), 0.5},
		{"range pow2 signed", RangeStep(4, s, true), 0.5},
		{"range", RangeStep(4.5, u, false), 0.3},
		{"zeros", StepMSE(make([]float32, 8), s), 1.0 / 7},
		{"zeros lsq", StepLSQ(make([]float32, 8), u), 1.0 / 15},
		{"nothing", StepMax(nil, u), 1.0 / 15},
		{"only negative", StepMSE([]float32{-1, -2}, u), 1.0 / 15},
	} {
		if math.Abs(float64(c.got-c.want)) > 1e-6 {
			t.Errorf("%s: %g, want %g", c.what, c.got, c.want)
		}
	}
}

func TestPow2Up(t *testing.T) {
	for x, want := range map[float32]float32{1: 1, 0.99: 1, 1.01: 2, 0.25: 0.25, 3: 4, 1e-3: 1.0 / 512, 1025: 2048} {
		if got := Pow2Up(x); got != want {
			t.Errorf("Pow2Up(%g) = %g, want %g", x, got, want)
		}
	}
}

func TestStepsPerChannel(t *testing.T) {
	// [2 3 2]: channel j of axis 1 holds values up to j+1.
	v := []float32{1, 0, 2, 0, 3, 0, 0, -1, 0, 1, 0, -3}
	for _, c := range []struct {
		axis int
		want []float32
	}{{0, []float32{3, 3}}, {1, []float32{1, 2, 3}}, {2, []float32{3, 3}}} {
		got, err := Steps(v, tensor.Shape{2, 3, 2}, Spec{Bits: 2, Signed: true, Granularity: PerChannel, Axis: c.axis}, StepMax)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("axis %d: %v (%v), want %v", c.axis, got, err, c.want)
		}
	}
}

func TestPercentileOfParts(t *testing.T) {
	r := newRand(t, 17)
	for trial := range 50 {
		v := normals(r, 1+r.IntN(5000))
		if trial%4 == 0 { // many ties, as after relu
			for i := range v {
				v[i] = max(v[i], 0)
			}
		}
		sorted := slices.Clone(v)
		slices.Sort(sorted)
		for _, p := range []float64{0, 50, 99, 99.9, 99.99, 100} {
			top, err := NewTop(p, len(v))
			if err != nil {
				t.Fatal(err)
			}
			for at := 0; at < len(v); {
				n := min(1+r.IntN(400), len(v)-at)
				if err := top.Add(v[at:at+n], false); err != nil {
					t.Fatal(err)
				}
				at += n
			}
			rank := p / 100 * float64(len(v)-1)
			i := int(rank)
			want := float64(sorted[i])
			if i+1 < len(v) {
				want += (rank - float64(i)) * (float64(sorted[i+1]) - want)
			}
			if got := top.Percentile(); got != float32(want) {
				t.Errorf("%g%% of %d: %g, want %g", p, len(v), got, want)
			}
			if len(top.kept) > 2*top.keep {
				t.Errorf("%g%% of %d keeps %d values, want at most %d", p, len(v), len(top.kept), 2*top.keep)
			}
		}
	}
	top, _ := NewTop(50, 3)
	if err := top.Add(make([]float32, 4), false); err == nil {
		t.Error("more values than announced were taken")
	}
	if _, err := NewTop(101, 3); err == nil {
		t.Error("percentile 101 accepted")
	}
}

// benchmarkSizes are the weights of ResNet-50: 25.5 million in 54 tensors.
func BenchmarkMSEStep(b *testing.B) {
	r := newRand(b, 19)
	for _, c := range []struct {
		name string
		n    int
	}{{"n=2359296", 2359296}, {"n=65536", 65536}, {"n=576", 576}} {
		v := normals(r, c.n)
		for _, bits := range []int{4, 8} {
			s := Spec{Bits: bits, Signed: true}
			b.Run(c.name+"/bits="+string(rune('0'+bits)), func(b *testing.B) {
				for b.Loop() {
					StepMSE(v, s)
				}
			})
		}
	}
}
