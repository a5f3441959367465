package sweep

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lowbit/infer"
	"lowbit/mixed"
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
	if r.Times == nil || r.Times.Threads != 1 || r.Times.Kernel == "" {
		t.Errorf("times %+v", r.Times)
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

// A sweep that counts bit-MACs is told later that it shall have times, too: its
// points have the sums of their layers' times, its selections stay.
func TestTimesAreAddedToASweep(t *testing.T) {
	c, job := small(t, t.TempDir())
	c.Methods, c.Budgets, c.Seeds = []string{"eagl"}, []float64{0.75}, []uint64{1}
	plain, err := Run(context.Background(), c, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Times != nil || plain.Points[0].MS != 0 || plain.TimesSVG() != "" {
		t.Errorf("times that nobody measured: %+v", plain.Points[0])
	}
	c.Times = true
	timed, err := Run(context.Background(), c, job, func(p Progress) {
		if p.Train.Steps > 0 {
			t.Error("it trains again")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var l infer.Latency
	if found, err := readJSON(filepath.Join(job.Out, latencyName), &l); err != nil || !found {
		t.Fatalf("found %t, %v", found, err)
	}
	n, err := mixed.Link(job.Graph, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range timed.Points {
		plan, _, err := mixed.ReadBits(filepath.Join(job.Out, p.Bits), job.Graph)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for k, layer := range n.Layers {
			ns, err := l.Cost(layer, plan.Layer(layer.Name, k == 0, k == len(n.Layers)-1))
			if err != nil {
				t.Fatal(err)
			}
			sum += float64(ns)
		}
		if math.Abs(p.MS-sum/1e6) > 1e-9 || sum == 0 {
			t.Errorf("%s: %g ms, its layers take %g ns", p.Method, p.MS, sum)
		}
		if q := plain.Points[i]; q.Run != p.Run || q.Cost != p.Cost || q.Accuracy != p.Accuracy {
			t.Errorf("%+v was %+v", p, q)
		}
	}
	for _, s := range timed.Frontier {
		if s.Spots[0].MS <= 0 {
			t.Errorf("%+v", s)
		}
	}
	if timed.TimesSVG() == "" || timed.Times.Kernel != l.Kernel {
		t.Errorf("%+v", timed.Times)
	}
}
