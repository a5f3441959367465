package bench

import (
	"context"
	"fmt"
	"time"

	"lowbit/engine"
	"lowbit/infer"
	"lowbit/internal/rng"
	"lowbit/tensor"
)

// DefaultInfer is one example a call, 50 calls after 5.
func DefaultInfer() Config { return Config{Batch: 1, Steps: 50, Warmup: 5, Seed: 1, PeakSeconds: 0.3} }

// Infer measures calls of a packed network: c.Steps calls of c.Batch examples
// each on so many threads (0: one for each CPU). CompileMS is the session's
// making; Momentum does not count. An ended context stops it with the context's
// error.
func Infer(ctx context.Context, m *infer.Model, threads int, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	in := make([]float32, c.Batch*tensor.Shape(m.InputShape()).Size())
	out := make([]float32, c.Batch*tensor.Shape(m.OutputShape()).Size())
	random := rng.New(c.Seed, 'i')
	for i := range in {
		in[i] = float32(random.Float64()*2 - 1)
	}
	began := time.Now()
	s := m.NewSession(infer.Options{Threads: threads})
	defer s.Close()
	r := Result{Batch: c.Batch, Steps: c.Steps, Threads: s.Threads(), Kernel: m.Kernel(), CompileMS: ms(time.Since(began))}
	r.PlanBytes = int64(m.WeightBytes() + m.ArenaBytes())
	var macs int64
	for _, o := range m.Explain() {
		macs += o.MACs
	}
	times := make([]time.Duration, 0, c.Steps)
	for i := range c.Warmup + c.Steps {
		began := time.Now()
		if err := s.RunContext(ctx, in, out); err != nil {
			return r, fmt.Errorf("bench: call %d: %w", i, err)
		}
		if i >= c.Warmup {
			times = append(times, time.Since(began))
		}
	}
	r.PeakRSSBytes = PeakRSS()
	r.times(times, macs*int64(c.Batch))
	if c.PeakSeconds > 0 {
		r.PeakGFLOPS = peak(s.Threads(), time.Duration(c.PeakSeconds*float64(time.Second)), func(p engine.Peaks) float64 { return p.U8S8GOPS })
		r.PeakShare = r.GFLOPS / r.PeakGFLOPS
	}
	return r, nil
}
