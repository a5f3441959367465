package ownnet_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"lowbit/engine"
	"lowbit/examples/ownnet"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/tensor"
)

// After Register the network is one of the zoo.
func Example() {
	if err := ownnet.Register(); err != nil {
		fmt.Println(err)
		return
	}
	g, err := model.Build(ownnet.Name, model.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range graph.Layers(g) {
		if l.Op != "batch_norm" {
			fmt.Println(l.Name, l.OutputShape, l.MACs)
		}
	}
	fmt.Println(graph.ParamCount(g), "parameters,", graph.MACs(g), "MACs")
	// Output:
	// stem.conv [16 32 32] 442368
	// block1.point [8 32 32] 131072
	// block1.spatial [8 32 32] 1179648
	// block1.depthwise [16 32 32] 147456
	// block1.mix [16 32 32] 524288
	// block2.point [16 16 16] 65536
	// block2.spatial [16 16 16] 589824
	// block2.depthwise [16 16 16] 36864
	// block2.mix [32 16 16] 393216
	// block3.point [32 8 8] 65536
	// block3.spatial [32 8 8] 589824
	// block3.depthwise [32 8 8] 18432
	// block3.mix [64 8 8] 393216
	// head [10] 640
	// 24538 parameters, 4577920 MACs
}

// The network runs, and goes through a weights file as any other.
func TestOwnNetworkRunsAndLoads(t *testing.T) {
	g, err := ownnet.Build(model.Config{Classes: 10, Width: 1, InputShape: []int{3, 32, 32}, Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		t.Fatal(err)
	}
	logits := run(t, g, store)
	path := filepath.Join(t.TempDir(), "own.safetensors")
	l := load.Loaded{Graph: g, Store: store, Info: model.Info{Name: ownnet.Name}}
	if err := l.Write(path, nil); err != nil {
		t.Fatal(err)
	}
	again, err := load.Model(path, load.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range run(t, again.Graph, again.Store) {
		if v != logits[i] || math.IsNaN(float64(v)) || v == 0 {
			t.Fatalf("logit %d is %g, then %g", i, logits[i], v)
		}
	}
}

func run(t *testing.T, g *graph.Graph, store *tensor.Store) []float32 {
	t.Helper()
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	x := p.Input("input").Float32s()
	for i := range x {
		x[i] = float32(i%17)/8 - 1
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return append([]float32{}, p.Output("logits").Float32s()...)
}
