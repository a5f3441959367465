package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
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
		r.ofPeak(peak(s.Threads(), time.Duration(c.PeakSeconds*float64(time.Second)), func(p engine.Peaks) float64 { return p.U8S8GOPS }))
	}
	return r, nil
}

// ofPeak sets the share of a peak; 0: it was not measured.
func (r *Result) ofPeak(gops float64) {
	if gops > 0 {
		r.PeakGFLOPS, r.PeakShare = gops, r.GFLOPS/gops
	}
}

// InferTable measures each number of threads with each batch, the peak once for
// each number of threads.
func InferTable(ctx context.Context, m *infer.Model, threads, batches []int, c Config) ([]Result, error) {
	var rows []Result
	for _, t := range threads {
		var gops float64
		for i, b := range batches {
			one := c
			one.Batch = b
			if i > 0 {
				one.PeakSeconds = 0
			}
			r, err := Infer(ctx, m, t, one)
			if err != nil {
				return rows, err
			}
			if i == 0 {
				gops = r.PeakGFLOPS
			}
			r.ofPeak(gops)
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// ClientsResult is the latency of calls from many clients at once.
type ClientsResult struct {
	Clients  int     `json:"clients"`
	Sessions int     `json:"sessions"` // of one thread each
	Calls    int     `json:"calls"`
	AloneMS  float64 `json:"alone_ms"` // median of one client's calls
	MedianMS float64 `json:"median_ms"`
	P90MS    float64 `json:"p90_ms"`
	P99MS    float64 `json:"p99_ms"`
	MaxMS    float64 `json:"max_ms"`
	// ItemsPerS is the calls of all clients a second.
	ItemsPerS float64 `json:"items_per_s"`
	// Ratio is p99 over alone * clients / sessions, what a queue without any
	// unfairness comes to.
	Ratio float64 `json:"ratio"`
}

// Clients measures calls of one example that so many clients make, each the
// next when it has the last one's result, for about d: on a pool of one session
// of one thread for each of so many threads (0: one for each CPU).
func Clients(ctx context.Context, m *infer.Model, threads, clients int, d time.Duration, seed uint64) (ClientsResult, error) {
	if clients < 1 {
		return ClientsResult{}, fmt.Errorf("bench: %d clients, want at least 1", clients)
	}
	p := m.NewPool(infer.PoolOptions{Sessions: threads, Queue: clients})
	defer func() { _ = p.Close(context.Background()) }() // no call is running
	alone, err := clientTimes(ctx, p, 1, d/4, seed)
	if err != nil {
		return ClientsResult{}, err
	}
	began := time.Now()
	times, err := clientTimes(ctx, p, clients, d, seed)
	if err != nil {
		return ClientsResult{}, err
	}
	seconds := time.Since(began).Seconds()
	var a, r Result
	a.times(alone, 0)
	r.times(times, 0)
	out := ClientsResult{
		Clients: clients, Sessions: p.Stats().Sessions, Calls: len(times), AloneMS: a.MedianMS,
		MedianMS: r.MedianMS, P90MS: r.P90MS, P99MS: r.P99MS, MaxMS: r.MaxMS, ItemsPerS: float64(len(times)) / seconds,
	}
	out.Ratio = out.P99MS / (out.AloneMS * max(1, float64(clients)/float64(out.Sessions)))
	return out, nil
}

// clientTimes returns how long each call took.
func clientTimes(ctx context.Context, p *infer.Pool, clients int, d time.Duration, seed uint64) ([]time.Duration, error) {
	in := make([]float32, tensor.Shape(p.Model().InputShape()).Size())
	random := rng.New(seed, 'i')
	for i := range in {
		in[i] = float32(random.Float64()*2 - 1)
	}
	lists, errs := make([][]time.Duration, clients), make([]error, clients)
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			out := make([]float32, tensor.Shape(p.Model().OutputShape()).Size())
			for errs[i] == nil && (len(lists[i]) == 0 || time.Now().Before(end)) {
				began := time.Now()
				errs[i] = p.Run(ctx, in, out)
				lists[i] = append(lists[i], time.Since(began))
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("bench: clients: %w", err)
	}
	return slices.Concat(lists...), nil
}
