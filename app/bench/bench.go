// Package bench measures how fast a network trains, whole steps (forward,
// backward, optimizer), and how fast a quantized one runs on integers; both on
// synthetic images, so that neither data nor accuracy play a part.
package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// Config says what is measured.
type Config struct {
	Batch  int `json:"batch"`  // examples a step; default 128
	Steps  int `json:"steps"`  // measured steps; default 30
	Warmup int `json:"warmup"` // steps before; default 3
	// Momentum of SGD; default 0.9.
	Momentum float64 `json:"momentum"`
	Seed     uint64  `json:"seed"`
	// PeakSeconds is the time spent on measuring the machine's peak; 0: not
	// measured. Default 0.3.
	PeakSeconds float64 `json:"peak_seconds"`
	// BF16 rounds the operands of products as train.Config.BF16 does.
	BF16 bool `json:"bf16,omitempty"`
	// Explain runs as many steps again with a clock on each part.
	Explain bool `json:"explain,omitempty"`
}

// DefaultConfig is batch 128, 30 steps after 3, SGD with momentum.
func DefaultConfig() Config {
	return Config{Batch: 128, Steps: 30, Warmup: 3, Momentum: 0.9, Seed: 1, PeakSeconds: 0.3}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Batch < 1:
		return fmt.Errorf("bench: batch %d, want at least 1", c.Batch)
	case c.Steps < 1 || c.Warmup < 0:
		return fmt.Errorf("bench: %d steps after %d, want at least 1 and not fewer than 0", c.Steps, c.Warmup)
	case !(c.PeakSeconds >= 0):
		return fmt.Errorf("bench: %g seconds for the peak, want 0 or more", c.PeakSeconds)
	}
	return nil
}

// Result is what was measured. Times are of one step.
type Result struct {
	MedianMS float64 `json:"median_ms"`
	MinMS    float64 `json:"min_ms"`
	P10MS    float64 `json:"p10_ms"`
	P90MS    float64 `json:"p90_ms"`
	P99MS    float64 `json:"p99_ms"`
	MaxMS    float64 `json:"max_ms"`
	// ItemsPerS is examples a second at the median.
	ItemsPerS float64 `json:"items_per_s"`
	// GFLOPS is 10^9 operations a second at the median, two for each
	// multiply-add of convolutions and matrix products, forward and backward;
	// nothing else is counted. PeakGFLOPS is what the same number of threads
	// reaches with nothing but float32 multiply-adds (Infer: 8-bit products into
	// 32-bit sums), PeakShare their ratio.
	GFLOPS     float64 `json:"gflops"`
	PeakGFLOPS float64 `json:"peak_gflops,omitempty"`
	PeakShare  float64 `json:"peak_share,omitempty"`
	// PeakRSSBytes is the largest resident memory of the process so far; 0 where
	// the system does not tell. PlanBytes is the plan's own memory: of a training its
	// values, of a packed network its weights and one example's activations.
	PeakRSSBytes int64 `json:"peak_rss_bytes"`
	PlanBytes    int64 `json:"plan_bytes"`

	CompileMS float64 `json:"compile_ms"`
	Batch     int     `json:"batch"`
	Steps     int     `json:"steps"`
	Threads   int     `json:"threads"`
	Kernel    string  `json:"kernel"`

	Explanation *Explanation `json:"explanation,omitempty"`
}

// Train measures training steps of the inference graph g, with or without
// quantizers, with all parameters in the store, which it trains. An ended
// context stops it with the context's error.
func Train(ctx context.Context, e *engine.Engine, g *graph.Graph, store *tensor.Store, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	return measure(ctx, e, c, func() (*train.Stepper, int64, error) { return stepper(e, g, store, c) })
}

// measure compiles a training step, whose multiply-adds compile tells, and runs it.
func measure(ctx context.Context, e *engine.Engine, c Config, compile func() (*train.Stepper, int64, error)) (Result, error) {
	r := Result{Batch: c.Batch, Steps: c.Steps, Threads: e.Threads(), Kernel: engine.KernelRow()}
	began := time.Now()
	s, macs, err := compile()
	if err != nil {
		return r, err
	}
	r.CompileMS = ms(time.Since(began))
	r.PlanBytes = int64(s.Forward.MemoryBytes() + s.Update.MemoryBytes())
	times := make([]time.Duration, 0, c.Steps)
	for i := range c.Warmup + c.Steps {
		began := time.Now()
		if err := step(ctx, s, i); err != nil {
			return r, err
		}
		if i >= c.Warmup {
			times = append(times, time.Since(began))
		}
	}
	r.PeakRSSBytes = PeakRSS()
	r.times(times, macs)
	if c.PeakSeconds > 0 {
		r.PeakGFLOPS = peak(e.Threads(), time.Duration(c.PeakSeconds*float64(time.Second)), func(p engine.Peaks) float64 { return p.FP32GFLOPS })
		r.PeakShare = r.GFLOPS / r.PeakGFLOPS
	}
	if c.Explain {
		r.Explanation, err = explain(ctx, s, &r, e.Threads())
	}
	return r, err
}

// learningRate is small: labels are random, and the loss must stay finite.
const learningRate = 1e-4

// stepper compiles the training step and fills its inputs with noise. It
// returns the multiply-adds of a step, too.
func stepper(e *engine.Engine, g *graph.Graph, store *tensor.Store, c Config) (*train.Stepper, int64, error) {
	g, err := graph.WithBatch(g, c.Batch)
	if err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	if g, err = graph.Training(g, nil); err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	logits := g.OutputNode("logits")
	if logits == nil || len(logits.Shape()) != 2 {
		return nil, 0, fmt.Errorf("bench: the graph has no output \"logits\" of [batch classes]")
	}
	labels := g.Input("labels", tensor.I32, c.Batch)
	g.Output("loss", g.Mean(g.Apply(graph.CrossEntropy{}, logits, labels)))
	oc := optim.DefaultConfig(optim.SGD, 1e-4)
	oc.Momentum = c.Momentum
	s, err := train.Stepping{BF16: c.BF16}.New(e, nil, g, store, oc)
	if err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	// NewStepper has added the backward pass to g; what nothing needs (the
	// gradient of the images) is not run and does not count.
	run, err := graph.Prune(g)
	if err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	random := rng.New(c.Seed, 'b')
	x := s.Forward.Input("input").Float32s()
	for i := range x {
		x[i] = float32(random.Float64()*2 - 1)
	}
	y := s.Forward.Input("labels").Int32s()
	for i := range y {
		y[i] = int32(random.Intn(logits.Shape()[1]))
	}
	return s, graph.MACs(run), nil
}

// times fills in what follows from the steps' times.
func (r *Result) times(t []time.Duration, macs int64) {
	slices.Sort(t)
	at := func(p float64) float64 { return ms(t[min(int(p*float64(len(t))), len(t)-1)]) }
	r.MinMS, r.P10MS, r.P90MS, r.P99MS, r.MaxMS = ms(t[0]), at(0.1), at(0.9), at(0.99), ms(t[len(t)-1])
	r.MedianMS = (ms(t[(len(t)-1)/2]) + ms(t[len(t)/2])) / 2
	r.ItemsPerS = float64(r.Batch) / r.MedianMS * 1000
	r.GFLOPS = 2 * float64(macs) / r.MedianMS / 1e6
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// peak returns what so many threads together reach at what rate names.
// At most maxPeakThreads run at once, since each takes 128 MiB for a while.
func peak(threads int, d time.Duration, rate func(engine.Peaks) float64) float64 {
	const maxPeakThreads = 16
	n := min(threads, maxPeakThreads)
	rates := make([]float64, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { rates[i] = rate(engine.MeasurePeaks(d / 3)) })
	}
	wg.Wait()
	var sum float64
	for _, r := range rates {
		sum += r
	}
	return sum * float64(threads) / float64(n)
}
