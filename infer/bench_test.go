package infer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"lowbit/graph"
	"lowbit/model"
	"lowbit/tensor"
)

// benchModel is a network of the zoo with random weights at one width, the
// first and the last layer at 8 bits.
func benchModel(tb testing.TB, name string, bits int, residual bool) (*graph.Graph, *tensor.Store, *Model) {
	tb.Helper()
	g, err := model.Build(name, model.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	q := quantizeGraph(tb, g, true, residual, func(layer string) (int, int) {
		switch layer {
		case "conv1", "fc", "linear":
			return 8, 8
		}
		return bits, bits
	})
	store := randomStore(tb, q, 1)
	m, err := Lower(q, store)
	if err != nil {
		tb.Fatal(err)
	}
	return q, store, m
}

// BenchmarkRun times one example (or a batch) of networks with random weights.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct {
		name           string
		bits           int
		residual       bool
		batch, threads int
	}{
		{"resnet20", 4, false, 1, 1}, {"resnet20", 4, true, 1, 1}, {"resnet20", 8, true, 1, 1},
		{"resnet20", 4, true, 1, 2}, {"resnet20", 4, true, 64, 2},
		{"resnet18", 8, true, 1, 1}, {"resnet18", 8, true, 1, 2}, {"resnet18", 8, true, 16, 2},
		{"resnet50", 8, true, 1, 1}, {"resnet50", 8, true, 1, 2},
		{"mobilenet-small", 8, true, 1, 1}, {"efficientnet-lite0", 8, true, 1, 1},
	} {
		residual := "float"
		if c.residual {
			residual = "8"
		}
		b.Run(fmt.Sprintf("model=%s/bits=%d/residual=%s/batch=%d/threads=%d", c.name, c.bits, residual, c.batch, c.threads), func(b *testing.B) {
			_, _, m := benchModel(b, c.name, c.bits, c.residual)
			s := m.NewSession(Options{Threads: c.threads})
			defer s.Close()
			in := randomInput(append([]int{c.batch}, m.InputShape()...), 1)
			out := make([]float32, c.batch*tensor.Shape(m.OutputShape()).Size())
			var macs int64
			for _, i := range m.Explain() {
				macs += i.MACs
			}
			least := leastOf(b, func() error { return s.Run(in, out) })
			b.ReportMetric(2*float64(macs*int64(c.batch))/1e9/least, "GOP/s")
		})
	}
}

// leastOf runs f as a benchmark and reports, beside the mean, the least time of
// a run, which other programs on the machine disturb less. It returns it in
// seconds.
func leastOf(b *testing.B, f func() error) float64 {
	least := math.Inf(1)
	for b.Loop() {
		start := time.Now()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		least = min(least, time.Since(start).Seconds())
	}
	b.ReportMetric(least*1e6, "min-us/op")
	return least
}
