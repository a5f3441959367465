package engine

import (
	"fmt"
	"testing"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/tensor"
)

// BenchmarkLinear times the three products of a linear layer over tokens and
// reports their share of the machine's multiply-add peak.
func BenchmarkLinear(b *testing.B) {
	for _, s := range [][3]int{{2048, 576, 1536}, {2048, 1536, 576}, {2048, 576, 576}, {2048, 288, 768}, {1024, 576, 49152}, {1, 576, 1536}, {128, 576, 1536}} {
		for _, what := range []string{"forward", "grad_input", "grad_weight"} {
			b.Run(fmt.Sprintf("m=%d/in=%d/out=%d/%s", s[0], s[1], s[2], what), func(b *testing.B) { benchLinear(b, s[0], s[1], s[2], what) })
		}
	}
}

func benchLinear(b *testing.B, m, in, out int, what string) {
	g, store := graph.New(), tensor.NewStore()
	x, dy := g.Input("x", tensor.F32, m, in), g.Input("dy", tensor.F32, m, out)
	w := g.Param(graph.Param{Name: "w", Shape: []int{out, in}})
	_ = store.Put("w", tensor.New(tensor.F32, out, in))
	var y *graph.Node
	switch what {
	case "forward":
		y = g.Linear(x, w)
	case "grad_input":
		y = g.MatMul(dy, w)
	default:
		y = g.Apply(graph.MatMul{TransA: true}, dy, x)
	}
	g.Output("y", y)
	e := New(0)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := p.Run(); err != nil {
			b.Fatal(err)
		}
	}
	peak := kernel.MeasurePeaks(2e7).FP32GFLOPS * float64(e.Threads())
	rate := 2 * float64(m) * float64(in) * float64(out) * float64(b.N) / float64(b.Elapsed().Nanoseconds())
	b.ReportMetric(rate, "GFLOPS")
	b.ReportMetric(100*rate/peak, "%peak")
}
