package bench

import (
	"context"
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// TrainLanguage measures training steps of a language model on Batch windows of
// length tokens of noise each: forward, backward and AdamW. build makes its graph,
// with or without quantizers; the store holds its parameters and is trained. Items
// are tokens.
func TrainLanguage(ctx context.Context, e *engine.Engine, build func(model.LlamaRun) (*graph.Graph, error), store *tensor.Store, length int, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	if length < 2 {
		return Result{}, fmt.Errorf("bench: windows of %d tokens, want at least 2", length)
	}
	r, err := measure(ctx, e, c, func() (*train.Stepper, int64, error) {
		g, err := build(model.LlamaRun{Batch: c.Batch, Seq: length})
		if err != nil {
			return nil, 0, fmt.Errorf("bench: %w", err)
		}
		return languageStepper(e, g, store, length, c)
	})
	if r.MedianMS > 0 {
		r.ItemsPerS = float64(c.Batch*length) / r.MedianMS * 1000
	}
	return r, err
}

func languageStepper(e *engine.Engine, g *graph.Graph, store *tensor.Store, length int, c Config) (*train.Stepper, int64, error) {
	logits := g.OutputNode(nn.LogitsName)
	if logits == nil || len(logits.Shape()) != 2 {
		return nil, 0, fmt.Errorf("bench: the graph has no output %q of [tokens, vocabulary]", nn.LogitsName)
	}
	vocab := logits.Shape()[1]
	g.Output("loss", nn.NextTokenLoss(g, logits, c.Batch, length))
	s, err := train.Stepping{BF16: c.BF16}.New(e, nil, g, store, optim.DefaultConfig(optim.AdamW, 0.1))
	if err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	run, err := graph.Prune(g)
	if err != nil {
		return nil, 0, fmt.Errorf("bench: %w", err)
	}
	random := rng.New(c.Seed, 'l')
	in := func(name string) *tensor.Tensor { return s.Forward.Input(name) }
	ids, labels, weights := in(nn.InputName).Int32s(), in(nn.LabelsName).Int32s(), in(nn.WeightsName).Float32s()
	for i := range ids {
		ids[i], labels[i], weights[i] = int32(random.Intn(vocab)), int32(random.Intn(vocab)), 1/float32(len(ids))
	}
	return s, graph.MACs(run), nil
}
