package silq

import (
	"context"
	"math"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
)

// decoder is a small model with random weights, its graph and windows.
func decoder(t *testing.T) (*graph.Graph, *tensor.Store, [][]int32) {
	t.Helper()
	c := model.Llama{Vocab: 64, Dim: 32, Layers: 2, Heads: 4, KVHeads: 2, Hidden: 48, Context: 64, NormEps: 1e-5, Theta: 1e4, Tied: true}
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 16})
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 7); err != nil {
		t.Fatal(err)
	}
	windows := make([][]int32, 6)
	for i := range windows {
		for k := range 16 {
			windows[i] = append(windows[i], int32((i*29+k*k*5+k)%64))
		}
	}
	return g, store, windows
}

// inputs runs the whole quantized graph and returns each group's sum of x'x, and
// the rows x of all windows.
func inputs(t *testing.T, e *engine.Engine, g *graph.Graph, store *tensor.Store, windows [][]int32) (hessians [][]float64, rows [][]float32) {
	t.Helper()
	whole, err := graph.Clone(g)
	if err != nil {
		t.Fatal(err)
	}
	groups := sharings(g)
	names := make([]string, len(groups))
	for i, s := range groups {
		names[i] = "input of " + s.layers[0].Name()
		whole.Output(names[i], whole.Nodes()[s.x.ID()])
	}
	plan, err := e.Compile(whole, store)
	if err != nil {
		t.Fatal(err)
	}
	hessians, rows = make([][]float64, len(groups)), make([][]float32, len(groups))
	for _, ids := range windows {
		copy(plan.Input(nn.InputName).Int32s(), ids)
		if err := plan.Run(); err != nil {
			t.Fatal(err)
		}
		for i, s := range groups {
			n := s.x.Shape()[1]
			if hessians[i] == nil {
				hessians[i] = make([]float64, n*n)
			}
			x := plan.Output(names[i]).Float32s()
			rows[i] = append(rows[i], x...)
			for r := 0; r < len(x); r += n {
				for j, a := range x[r : r+n] {
					for k, b := range x[r : r+n] {
						hessians[i][j*n+k] += float64(a) * float64(b)
					}
				}
			}
		}
	}
	return hessians, rows
}

// Going through a graph piece by piece gives what one run of it gives, and each
// group is passed once.
func TestPiecesEqualTheWhole(t *testing.T) {
	g, store, windows := decoder(t)
	e := engine.New(1)
	defer e.Close()
	q, err := ParseBits("w4a8kv8")
	if err != nil {
		t.Fatal(err)
	}
	c := Calibration{Engine: e, Graph: g, Store: store, Windows: windows}
	start := Start{Weights: RuleMax, Windows: len(windows), Passes: 1}
	if err := Init(context.Background(), q, store, start, c); err != nil {
		t.Fatal(err)
	}
	quantized, err := Insert(g, q)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := inputs(t, e, quantized, store, windows)
	groups := sharings(quantized)
	if len(groups) != 2*4+1 {
		t.Fatalf("%d groups, want four a layer and the head", len(groups))
	}
	f := newFlow(c, quantized, store, len(windows))
	for i, s := range groups {
		got, err := f.advance(context.Background(), s.x)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range got {
			if math.Abs(v-want[i][k]) > 1e-4*(1+math.Abs(want[i][k])) {
				t.Fatalf("%s: element %d of the Hessian is %g, want %g", s.layers[0].Name(), k, v, want[i][k])
			}
		}
		if len(f.kept[0]) > 2 {
			t.Errorf("%s: %d values are kept, want the input and the residual stream", s.layers[0].Name(), len(f.kept[0]))
		}
	}
}

// GPTQ's layers give, for the inputs that they meet, outputs nearer to those of
// the weights as they were than rounding with the same kind of steps does.
func TestGPTQHasTheSmallerOutputError(t *testing.T) {
	ctx := context.Background()
	for _, width := range []string{"w4a8kv8", "w2a8kv8"} {
		q, err := ParseBits(width)
		if err != nil {
			t.Fatal(err)
		}
		var sum [2]float64
		for k, rule := range []WeightRule{RuleWeighted, RuleGPTQ} {
			g, store, windows := decoder(t)
			full := store.Clone()
			e := engine.New(1)
			defer e.Close()
			c := Calibration{Engine: e, Graph: g, Store: full, Windows: windows}
			if err := Init(ctx, q, store, Start{Weights: rule, Windows: len(windows), Passes: 2}, c); err != nil {
				t.Fatal(err)
			}
			quantized, err := Insert(g, q)
			if err != nil {
				t.Fatal(err)
			}
			_, rows := inputs(t, e, quantized, store, windows)
			for i, s := range sharings(quantized) {
				for _, layer := range s.layers {
					if layer.Name() != "lm_head" {
						sum[k] += outputError(layer, full, store, rows[i])
					}
				}
			}
		}
		t.Logf("%s: squared error of the outputs %.4g rounded, %.4g by GPTQ", width, sum[0], sum[1])
		if !(sum[1] < 0.9*sum[0]) {
			t.Errorf("%s: squared error of the outputs %g rounded, %g by GPTQ", width, sum[0], sum[1])
		}
	}
}

// outputError is the sum of (x w' - x wq')^2 over rows and outputs, over that of
// (x w')^2.
func outputError(layer *graph.Node, full, store *tensor.Store, rows []float32) float64 {
	q := layer.In()[1]
	name, spec := q.In()[0].Name(), q.Op().(graph.FakeQuant).Spec
	w, moved, steps := full.Get(name).Float32s(), store.Get(name).Float32s(), store.Get(q.In()[1].Name()).Float32s()
	n := len(w) / len(steps)
	var sum, all float64
	for r := 0; r < len(rows); r += n {
		for o, s := range steps {
			var d, y float64
			for j, x := range rows[r : r+n] {
				v := w[o*n+j]
				d += float64(x) * float64(v-s*float32(spec.Code(moved[o*n+j], s)))
				y += float64(x) * float64(v)
			}
			sum, all = sum+d*d, all+y*y
		}
	}
	return sum / all
}
