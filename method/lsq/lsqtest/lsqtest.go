// Package lsqtest has what tests of quantization methods share: a small
// residual network, a data set that it learns in a blink, and a network trained
// on it.
package lsqtest

import (
	"context"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// Net is the network of peer/golden_lsq_step.py: a CIFAR-type ResNet of width 4,
// one block a stage, for images of 8 x 8.
func Net(t testing.TB, batch, classes int) *graph.Graph {
	t.Helper()
	g := graph.New()
	x := nn.Input(g, batch, 3, 8, 8)
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	x = nn.ResidualBlock(g, "layer1.0", x, nn.Residual{Out: 4, Stride: 1})
	x = nn.ResidualBlock(g, "layer2.0", x, nn.Residual{Out: 8, Stride: 2})
	x = nn.ResidualBlock(g, "layer3.0", x, nn.Residual{Out: 16, Stride: 2})
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: classes}))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

// Bits parses such as "w4a4".
func Bits(t testing.TB, s string) quant.BitPlan {
	t.Helper()
	p, err := quant.ParseBits(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Stripes makes n images of 8 x 8 noise over stripes along one axis, along the
// other, or none: the class.
func Stripes(t testing.TB, n int, seed uint64) *data.Dataset {
	t.Helper()
	pixels := make([]uint8, 0, n*3*64)
	labels := make([]int32, n)
	s := rng.New(seed)
	for i := range labels {
		labels[i] = int32(s.Intn(3))
		for p := range 3 * 64 {
			y, x := p/8%8, p%8
			v := 60 + s.Intn(120)
			if labels[i] == 0 && y%2 == 0 || labels[i] == 1 && x%2 == 0 {
				v += 50
			}
			pixels = append(pixels, uint8(v))
		}
	}
	d, err := data.New("stripes", "train", []string{"rows", "columns", "none"}, 3, 8, 8, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	d.Normalize = data.Normalization{Mean: []float32{.5, .5, .5}, Std: []float32{.2, .2, .2}}
	return d
}

// Pretrained returns a job with Net trained in full precision on Stripes, the
// config it was trained with, and its accuracy.
func Pretrained(t testing.TB, e *engine.Engine) (train.Config, train.Job, float64) {
	t.Helper()
	base := train.DefaultConfig()
	base.Epochs, base.Batch, base.Schedule.LR = 6, 32, 0.05
	job := train.Job{Engine: e, Graph: Net(t, 1, 3), Store: tensor.NewStore(), Train: Stripes(t, 512, 1), Test: Stripes(t, 512, 2)}
	r, err := train.Run(context.Background(), base, job)
	if err != nil {
		t.Fatal(err)
	}
	return base, job, r.Accuracy
}
