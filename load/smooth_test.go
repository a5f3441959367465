package load_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lowbit/engine"
	"lowbit/load"
	"lowbit/method/silq"
	"lowbit/model"
)

// Smoothing moves the scales that torch finds on the same text
// (peer/golden_smooth.py).
func TestGoldenSmoothing(t *testing.T) {
	var golden struct {
		Alpha   float64
		Windows [][]int32
		Models  map[string]struct{ Norms, Columns map[string][]float64 }
	}
	b, err := os.ReadFile("testdata/language/smooth.json")
	if err == nil {
		err = json.Unmarshal(b, &golden)
	}
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	q, err := silq.ParseBits("w4a8kv8")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range golden.Models {
		l, err := load.OpenLanguage(filepath.Join("testdata/language", name))
		if err != nil {
			t.Fatal(err)
		}
		g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: len(golden.Windows[0])})
		if err != nil {
			t.Fatal(err)
		}
		store := l.Store.Clone()
		start := silq.Start{Weights: silq.RuleMax, Windows: len(golden.Windows), Passes: 1, Smooth: golden.Alpha}
		if err := silq.Init(context.Background(), q, store, start, silq.Calibration{Engine: e, Graph: g, Store: l.Store, Windows: golden.Windows}); err != nil {
			t.Fatal(err)
		}
		near := func(what string, got []float64, want []float64) {
			t.Helper()
			for j, v := range want {
				if len(got) != len(want) || math.Abs(got[j]-v) > 1e-4*math.Abs(v)+1e-7 {
					t.Fatalf("%s: %s: value %d is %g, want %g", name, what, j, got[j], v)
				}
			}
		}
		for norm, w := range want.Norms {
			var got []float64
			for _, v := range store.Get(norm).Float32s() {
				got = append(got, float64(v))
			}
			near(norm, got, w)
		}
		for layer, w := range want.Columns {
			got := make([]float64, len(w))
			for i, v := range store.Get(layer).Float32s() {
				got[i%len(w)] += float64(v) * float64(v)
			}
			near(layer, got, w)
		}
		if len(want.Norms) < 4 {
			t.Errorf("%s: %d norms", name, len(want.Norms))
		}
	}
}
