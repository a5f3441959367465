package bench

import (
	"context"
	"fmt"
	"time"

	"lowbit/engine"
	"lowbit/generate"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/nn"
)

// DecodeConfig says what is measured of a language model.
type DecodeConfig struct {
	// Prompt is the tokens read before; default 256. They come at once.
	Prompt int `json:"prompt"`
	// Tokens are decoded one by one, each measured; default 64. Warmup more come
	// before; default 4.
	Tokens int    `json:"tokens"`
	Warmup int    `json:"warmup"`
	Seed   uint64 `json:"seed"`
	// PeakSeconds is the time spent on measuring how fast the machine reads its
	// memory; 0: not measured. Default 0.3.
	PeakSeconds float64 `json:"peak_seconds"`
}

// DefaultDecode is 64 tokens after a prompt of 256.
func DefaultDecode() DecodeConfig {
	return DecodeConfig{Prompt: 256, Tokens: 64, Warmup: 4, Seed: 1, PeakSeconds: 0.3}
}

// Validate returns an error that names the first setting that makes no sense.
func (c DecodeConfig) Validate() error {
	switch {
	case c.Prompt < 1:
		return fmt.Errorf("bench: a prompt of %d tokens, want at least 1", c.Prompt)
	case c.Tokens < 1 || c.Warmup < 0:
		return fmt.Errorf("bench: %d tokens after %d, want at least 1 and not fewer than 0", c.Tokens, c.Warmup)
	case !(c.PeakSeconds >= 0):
		return fmt.Errorf("bench: %g seconds for the peak, want 0 or more", c.PeakSeconds)
	}
	return nil
}

// capacity is the room that a measurement needs.
func (c DecodeConfig) capacity() int { return c.Prompt + c.Warmup + c.Tokens }

// DecodeResult is what was measured. Result's times are of one token, which
// draws nothing: ids are noise. Its PlanBytes is the session's cache, its
// PeakShare the share ReadGBs has of PeakReadGBs; PeakGFLOPS is not measured.
type DecodeResult struct {
	Result
	PromptTokens     int     `json:"prompt_tokens"`
	PromptMS         float64 `json:"prompt_ms"`
	PromptTokensPerS float64 `json:"prompt_tokens_per_s"`
	// WeightBytes is what the linear layers' weights take in memory, which each
	// token reads; ReadGBs that in 10^9 bytes a second at the median. PeakReadGBs is
	// what the same threads reach with nothing but reads.
	WeightBytes int64   `json:"weight_bytes"`
	ReadGBs     float64 `json:"read_gbs"`
	PeakReadGBs float64 `json:"peak_read_gbs,omitempty"`
}

// Decode measures how fast a language model reads a prompt and then writes,
// token by token. An ended context stops it with the context's error.
func Decode(ctx context.Context, e *engine.Engine, m generate.Model, c DecodeConfig) (DecodeResult, error) {
	if err := c.Validate(); err != nil {
		return DecodeResult{}, err
	}
	if c.capacity() > m.Context {
		return DecodeResult{}, fmt.Errorf("bench: %d tokens of prompt, warm-up and answer, the model reads %d", c.capacity(), m.Context)
	}
	code, err := m.Build(model.LlamaRun{Batch: 1, Seq: 1, Capacity: c.capacity(), Pick: true})
	if err != nil {
		return DecodeResult{}, fmt.Errorf("bench: %w", err)
	}
	r := DecodeResult{
		Result:       Result{Batch: 1, Steps: c.Tokens, Threads: e.Threads(), Kernel: engine.KernelRow()},
		PromptTokens: c.Prompt, WeightBytes: layerBytes(code),
	}
	began := time.Now()
	g, err := generate.New(e, m, c.capacity())
	if err != nil {
		return r, err
	}
	r.CompileMS, r.PlanBytes = ms(time.Since(began)), int64(g.CacheBytes())
	times, err := r.decode(ctx, g.NewSession(), noiseTokens(code, c), c)
	if err != nil {
		return r, err
	}
	r.PeakRSSBytes = PeakRSS()
	r.times(times, graph.MACs(code))
	r.ReadGBs = float64(r.WeightBytes) / r.MedianMS / 1e6
	if c.PeakSeconds > 0 {
		r.PeakReadGBs = peak(e.Threads(), time.Duration(c.PeakSeconds*float64(time.Second)), func(p engine.Peaks) float64 { return p.ReadGBs })
		r.PeakShare = r.ReadGBs / r.PeakReadGBs
	}
	return r, nil
}

// decode reads the prompt twice, since the first time compiles its plans, and
// then the rest one by one.
func (r *DecodeResult) decode(ctx context.Context, s *generate.Session, ids []int32, c DecodeConfig) ([]time.Duration, error) {
	for range 2 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.Truncate(0)
		began := time.Now()
		if _, err := s.Read(ids[:c.Prompt]); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
		r.PromptMS = ms(time.Since(began))
	}
	r.PromptTokensPerS = float64(c.Prompt) / r.PromptMS * 1000
	times := make([]time.Duration, 0, c.Tokens)
	for i := range c.Warmup + c.Tokens {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := s.Read(ids[c.Prompt+i:][:1]); err != nil {
			return nil, fmt.Errorf("bench: token %d: %w", i, err)
		}
		if i >= c.Warmup {
			times = append(times, time.Since(began))
		}
	}
	return times, nil
}

// noiseTokens are random tokens of the vocabulary.
func noiseTokens(code *graph.Graph, c DecodeConfig) []int32 {
	logits := code.OutputNode(nn.LogitsName).Shape()
	random := rng.New(c.Seed, 'd')
	ids := make([]int32, c.capacity())
	for i := range ids {
		ids[i] = int32(random.Intn(logits[len(logits)-1]))
	}
	return ids
}

// layerBytes is the size of the float32 weights that a graph multiplies with.
func layerBytes(g *graph.Graph) int64 {
	var n int64
	for _, x := range g.Nodes() {
		if _, ok := x.Op().(graph.MatMul); !ok {
			continue
		}
		w := x.In()[1]
		if _, ok := w.Op().(graph.FakeQuant); ok {
			w = w.In()[0]
		}
		if _, ok := w.Op().(graph.Param); ok {
			n += 4 * int64(w.Shape().Size())
		}
	}
	return n
}
