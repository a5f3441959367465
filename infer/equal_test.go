package infer

import (
	"math/rand/v2"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/nn"
)

// eachKernel runs a test on every row of kernels that the CPU has.
func eachKernel(t *testing.T, body func(t *testing.T)) {
	for _, row := range kernel.Rows() {
		t.Run("row="+row.Name, func(t *testing.T) {
			restore, err := kernel.Use(row.Name)
			if err != nil {
				t.Fatal(err)
			}
			defer restore()
			body(t)
		})
	}
}

func TestPlansEqualTheReferenceOnRandomNetworks(t *testing.T) {
	const nets = 150
	eachKernel(t, func(t *testing.T) {
		var elements int64
		for seed := uint64(1); seed <= nets; seed++ {
			r := rand.New(rand.NewPCG(seed, 1))
			g := randomNet(r)
			if g.Err() != nil {
				t.Fatal(seed, g.Err())
			}
			widths := []int{2, 3, 4, 8}
			q := quantizeGraph(t, g, r.IntN(2) == 0, r.IntN(2) == 0, func(string) (int, int) {
				return widths[r.IntN(4)], widths[r.IntN(4)]
			})
			elements += comparePlan(t, q, seed)
		}
		t.Logf("%d networks, %d elements equal", nets, elements)
	})
}

// comparePlan compares the plan of g with the reference.
func comparePlan(t *testing.T, g *graph.Graph, seed uint64) int64 {
	t.Helper()
	store := randomStore(t, g, seed)
	m, err := Lower(g, store)
	if err != nil {
		t.Fatal(seed, err)
	}
	ref, err := NewReference(g, store)
	if err != nil {
		t.Fatal(seed, err)
	}
	c, err := m.Compare(ref, randomInput(m.InputShape(), seed))
	if err != nil {
		t.Fatal(seed, err)
	}
	if !c.Equal() {
		for _, i := range m.Explain() {
			t.Logf("%+v", i)
		}
		t.Fatalf("seed %d: %v", seed, c.First)
	}
	return c.Elements
}

func TestLowerListsWhatDoesNotFit(t *testing.T) {
	g := graph.New()
	x := nn.Input(g, 1, 3, 8, 8)
	x = g.Sigmoid(nn.Conv2d(g, "first", x, nn.Conv{Out: 4, Kernel: 3}))
	x = nn.Conv2d(g, "second", x, nn.Conv{Out: 4, Kernel: 3})
	nn.Logits(g, nn.Linear(g, "fc", g.Transpose(g.Flatten(x), 0, 1), nn.Dense{Out: 2}))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	_, err := Lower(g, randomStore(t, g, 1))
	if err == nil || !strings.Contains(err.Error(), `"fc"`) || !strings.Contains(err.Error(), "not quantized") {
		t.Errorf("a float layer: %v", err)
	}
	q := quantizeGraph(t, g, false, false, func(string) (int, int) { return 4, 4 })
	_, err = Lower(q, randomStore(t, q, 1))
	for _, want := range []string{"transpose", "sigmoid"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if _, err := NewReference(graph.New(), nil); err == nil {
		t.Error("an empty graph has a reference")
	}
}
