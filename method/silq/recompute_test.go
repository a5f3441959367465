package silq_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/train"
)

// Recomputation frees most of the memory and changes no bit of what training
// gives, on one and on three threads, whole and in parts. The gradients of static
// activations' steps are sums over tokens, whose order depends on what runs beside
// them: there the losses agree.
func TestRecomputationGivesTheSameWeights(t *testing.T) {
	text := letters(t, 3000)
	net := tiny()
	net.Layers = 6
	g, err := net.Graph(model.LlamaRun{Batch: 1, Seq: 32})
	if err != nil {
		t.Fatal(err)
	}
	full := tensor.NewStore()
	if err := graph.InitParams(g, full, 3); err != nil {
		t.Fatal(err)
	}
	run := func(static, recompute bool, parts, threads int) (store *tensor.Store, losses []float64, memory int) {
		t.Helper()
		e := engine.New(threads)
		defer e.Close()
		e.FloatGradients = static // whose sums differ in order: rounding would make more of it
		q := bits(t, "w4a8kv8")
		q.Static = static
		c := silq.DefaultConfig(q)
		c.Batch, c.LR, c.Start.Windows, c.Accumulate, c.Recompute = 16, 2e-3, 2, parts, recompute
		job := train.Job{Engine: e, Graph: g, Store: full.Clone(), Source: &train.Windows{Name: "letters", Sets: []*data.Packed{text}, Examples: 64}}
		job.Hooks.AfterGradients = func(s train.StepInfo) error {
			losses, memory = append(losses, s.Loss), s.Plan.MemoryBytes()
			return nil
		}
		if _, _, err := silq.Train(context.Background(), c, 1, job, silq.Calibration{Engine: e, Graph: g, Windows: windows(text, 2)}); err != nil {
			t.Fatal(err)
		}
		return job.Store, losses, memory
	}
	for _, parts := range []int{1, 2} {
		want, _, whole := run(false, false, parts, 1)
		for _, threads := range []int{1, 3} {
			got, _, less := run(false, true, parts, threads)
			for _, n := range want.Names() {
				if !slices.Equal(got.Get(n).Bytes(), want.Get(n).Bytes()) {
					t.Fatalf("%d parts, %d threads: %s differs", parts, threads, n)
				}
			}
			if threads == 1 && less > whole/2 {
				t.Errorf("%d parts: %d KiB, %d with recomputation", parts, whole>>10, less>>10)
			}
		}
	}
	_, want, _ := run(true, false, 1, 1)
	_, got, _ := run(true, true, 1, 1)
	for i, v := range got {
		if math.Abs(v-want[i]) > 1e-3*want[i] || len(want) != 4 {
			t.Errorf("static: losses %v, with recomputation %v", want, got)
		}
	}
}
