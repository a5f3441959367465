package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func formula2(f func(a, b float64) float64) func(o, in []float64) {
	return func(o, in []float64) { o[0] = f(in[0], in[1]) }
}

func either(cond bool, a, b float64) float64 {
	if cond {
		return a
	}
	return b
}

// vecFormulas are the formulas of VecOps in float64, o being read and written.
var vecFormulas = map[string]func(o, in []float64){
	"Add": formula2(func(a, b float64) float64 { return a + b }), "Sub": formula2(func(a, b float64) float64 { return a - b }),
	"Mul": formula2(func(a, b float64) float64 { return a * b }), "Div": formula2(func(a, b float64) float64 { return a / b }),
	"Max": formula2(math.Max), "Min": formula2(math.Min),
	"ReluGrad":  formula2(func(g, y float64) float64 { return either(y > 0, g, 0) }),
	"Relu6Grad": formula2(func(g, y float64) float64 { return either(y > 0 && y < 6, g, 0) }),
	"Relu":      func(o, in []float64) { o[0] = math.Max(in[0], 0) },
	"Relu6":     func(o, in []float64) { o[0] = math.Min(math.Max(in[0], 0), 6) },
	"Sqrt":      func(o, in []float64) { o[0] = math.Sqrt(in[0]) },
	"MulAdd":    func(o, in []float64) { o[0] = in[0]*in[1] + in[2] },
	"Acc":       func(o, in []float64) { o[0] += in[0] },
	"AccMul":    func(o, in []float64) { o[0] += in[0] * in[1] },
}

// TestVecFollowsItsFormulas holds every row against the formulas of VecOps in
// float64. The bound is a few float32 roundings of the largest term.
func TestVecFollowsItsFormulas(t *testing.T) {
	const n, tol = 77, 4e-7
	eachVecRow(t, func(t *testing.T, row *Table) {
		seen := 0
		for _, c := range vecCases {
			formula := vecFormulas[c.name]
			if formula == nil {
				continue
			}
			seen++
			rng := rand.New(rand.NewPCG(11, 12))
			draw := func(count int, positive bool) (s [][]float32) {
				for range count {
					v := make([]float32, n)
					for i := range v {
						if v[i] = float32(rng.NormFloat64()) * 4; positive {
							v[i] = float32(math.Abs(float64(v[i])))
						}
					}
					s = append(s, v)
				}
				return s
			}
			// Sqrt needs positive numbers.
			out, in := draw(c.out, false), draw(c.in, c.name == "Sqrt")
			want := make([][]float64, n)
			for i := range want {
				want[i] = widen(column(out, i))
				formula(want[i], widen(column(in, i)))
			}
			c.run(row, out, in)
			for i := range want {
				for j, w := range want[i] {
					if got := float64(out[j][i]); math.Abs(got-w) > tol*(math.Abs(w)+16) {
						t.Errorf("%s out %d [%d]: got %g, want %g", c.name, j, i, got, w)
					}
				}
			}
		}
		if seen != len(vecFormulas) {
			t.Errorf("%d of %d formulas met their operation", seen, len(vecFormulas))
		}
	})
}

func widen(a []float32) []float64 {
	out := make([]float64, len(a))
	for i, x := range a {
		out[i] = float64(x)
	}
	return out
}
