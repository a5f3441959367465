package infer

import (
	"math/rand/v2"
	"testing"

	"lowbit/graph"
	"lowbit/internal/kernel"
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
