package bench

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// tiny is one convolution and one linear layer.
func tiny(t *testing.T) (*graph.Graph, *tensor.Store) {
	t.Helper()
	g := graph.New()
	x := nn.Input(g, 1, 3, 8, 8)
	x = nn.ConvNorm(g, "conv", "bn", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: 10}))
	store := tensor.NewStore()
	if err := errors.Join(g.Err(), graph.InitParams(g, store, 1)); err != nil {
		t.Fatal(err)
	}
	return g, store
}

func TestTrainMeasuresSteps(t *testing.T) {
	g, store := tiny(t)
	before := store.Clone()
	e := engine.New(2)
	defer e.Close()
	c := DefaultConfig()
	c.Batch, c.Steps, c.PeakSeconds = 4, 7, 0.01
	r, err := Train(context.Background(), e, g, store, c)
	if err != nil {
		t.Fatal(err)
	}
	order := []float64{0, r.MinMS, r.P10MS, r.MedianMS, r.P90MS, r.P99MS, r.MaxMS}
	for i := 2; i < len(order); i++ {
		if order[i] < order[i-1] {
			t.Errorf("times are out of order: %v", order)
		}
	}
	if r.MinMS <= 0 || r.Threads != 2 || r.Kernel != engine.KernelRow() || r.PeakShare <= 0 || r.PlanBytes <= 0 {
		t.Errorf("%+v", r)
	}
	// Forward and weight gradient of the convolution; forward and both gradients
	// of the linear layer; no gradient of the images.
	conv, fc := 4.*64*4*27, 4.*4*10
	if got, want := r.GFLOPS*r.MedianMS*1e6, 2*(2*conv+3*fc); math.Abs(got-want) > 1 {
		t.Errorf("%g operations a step, want %g", got, want)
	}
	if got := r.ItemsPerS * r.MedianMS; math.Abs(got-4000) > 1e-6 {
		t.Errorf("%g images/s at %g ms", r.ItemsPerS, r.MedianMS)
	}
	same := true
	for i, v := range before.Get("conv.weight").Float32s() {
		same = same && v == store.Get("conv.weight").Float32s()[i]
	}
	if same {
		t.Error("the steps trained nothing")
	}
}

func TestMedianOfOddAndEvenCounts(t *testing.T) {
	for _, c := range []struct {
		ms   []int
		want float64
	}{{[]int{3, 1, 2}, 2}, {[]int{4, 1, 2, 9}, 3}, {[]int{5}, 5}} {
		var r Result
		var d []time.Duration
		for _, m := range c.ms {
			d = append(d, time.Duration(m)*time.Millisecond)
		}
		r.times(d, 1)
		if r.MedianMS != c.want {
			t.Errorf("%v: median %g, want %g", c.ms, r.MedianMS, c.want)
		}
	}
}

func TestTrainStopsAndRefuses(t *testing.T) {
	g, store := tiny(t)
	e := engine.New(1)
	defer e.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := DefaultConfig()
	c.Batch = 2
	if _, err := Train(ctx, e, g, store, c); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	c.Steps = 0
	if _, err := Train(context.Background(), e, g, store, c); err == nil {
		t.Error("0 steps were measured")
	}
}

func TestPeakRSSIsPlausible(t *testing.T) {
	if n := PeakRSS(); n != 0 && (n < 1<<20 || n > 1<<40) {
		t.Errorf("%d bytes", n)
	}
}
