package sweep

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// A sweep that counts measured times selects by its first measurement for good,
// and prices points in bit-MACs, too.
func TestMeasuredTimesAreKept(t *testing.T) {
	c, job := small(t, t.TempDir())
	c.Methods, c.Budgets, c.Seeds, c.Cost = []string{"eagl"}, []float64{1}, []uint64{1}, MeasuredCost
	r, err := Run(context.Background(), c, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(job.Out, latencyName)
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.Points[0]; p.in("bit-macs") != 0.5 || p.Cost <= 0 || p.Cost > 1 { // all at 2 bits
		t.Errorf("%+v", p)
	}
	again, err := Run(context.Background(), c, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(path); err != nil || string(first) != string(second) || again.Points[0].Cost != r.Points[0].Cost {
		t.Errorf("measured again: %v", err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), c, job, nil); err == nil {
		t.Error("a broken file of times: want an error")
	}
}
