package train

import (
	"testing"

	"lowbit/data"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/tensor"
)

// netOptions choose what the tiny network holds.
type netOptions struct {
	quantized, dropout bool
}

// tinyNet is conv 3x3 (3 to 6 channels) - batch norm - relu - global average -
// linear over images [3 8 8] of three classes.
func tinyNet(t testing.TB, o netOptions) *graph.Graph {
	t.Helper()
	g := graph.New()
	x := g.Input("input", tensor.F32, 1, 3, 8, 8)
	w := g.Param(graph.Param{Name: "conv.weight", Shape: []int{6, 3, 3, 3}, Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 0.3}})
	if o.quantized {
		step := g.Param(graph.Param{Name: "conv.weight_step", Shape: []int{1}, Role: graph.Step, Init: graph.Init{Kind: graph.InitConst, Value: 0.1}})
		q := graph.FakeQuant{Spec: quant.Spec{Bits: 4, Signed: true}, StepGrad: graph.StepLSQ, GradScale: 0.03}
		w = g.FakeQuant(w, step, q).Named("conv.weight_quant")
	}
	c := graph.Conv2D{Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	x = g.Conv2D(x, w, c).Named("conv")
	vector := func(name string, role graph.Role, v float64) *graph.Node {
		return g.Param(graph.Param{Name: "bn." + name, Shape: []int{6}, Role: role, Init: graph.Init{Kind: graph.InitConst, Value: v}})
	}
	x = g.Apply(graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, x, vector("weight", graph.Norm, 1), vector("bias", graph.Norm, 0),
		vector("running_mean", graph.Stat, 0), vector("running_var", graph.Stat, 1)).Named("bn")
	x = g.GlobalAvgPool(g.Relu(x).Named("relu"))
	if o.dropout {
		x = g.Apply(graph.Dropout{Rate: 0.25, Key: 5}, x, g.FixedInput("rng", tensor.I64, 2)).Named("dropout")
	}
	fc := g.Param(graph.Param{Name: "fc.weight", Shape: []int{3, 6}, Role: graph.Weight, Init: graph.Init{Kind: graph.InitUniform, Value: 0.4}})
	bias := g.Param(graph.Param{Name: "fc.bias", Shape: []int{3}, Role: graph.Bias, Init: graph.Init{Kind: graph.InitConst}})
	g.Output("logits", g.Add(g.Linear(x, fc).Named("fc"), bias).Named("logits"))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

// stripes makes n images of noise over stripes: along one axis, along the
// other, or none, the class.
func stripes(t testing.TB, n int, seed uint64) *data.Dataset {
	t.Helper()
	pixels := make([]uint8, 0, n*3*64)
	labels := make([]int32, n)
	s := rng.New(seed)
	for i := range labels {
		labels[i] = int32(s.Intn(3))
		for range 3 {
			for y := range 8 {
				for x := range 8 {
					v := 60 + s.Intn(60)
					if labels[i] == 0 && y%2 == 0 || labels[i] == 1 && x%2 == 0 {
						v += 100
					}
					pixels = append(pixels, uint8(v))
				}
			}
		}
	}
	d, err := data.New("stripes", "train", []string{"rows", "columns", "none"}, 3, 8, 8, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	d.Normalize = data.Normalization{Mean: []float32{.4, .4, .4}, Std: []float32{.2, .2, .2}}
	return d
}

// tinyConfig trains the tiny network in a blink.
func tinyConfig() Config {
	c := DefaultConfig()
	c.Epochs, c.Batch, c.Seed = 3, 16, 11
	c.Augment = data.Augment{Pad: 1, Flip: true}
	c.Schedule = optim.Schedule{Kind: optim.Cosine, LR: 0.2, Warmup: 0.5}
	c.Optim.ClipNorm = 5
	return c
}
