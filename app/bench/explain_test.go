package bench

import (
	"context"
	"math"
	"testing"

	"lowbit/engine"
)

// TestExplainAccountsForTheStep: the parts' multiply-adds are those of the step,
// and parts and waiting add up to its time.
func TestExplainAccountsForTheStep(t *testing.T) {
	g, store := tiny(t)
	e := engine.New(2)
	defer e.Close()
	c := DefaultConfig()
	c.Batch, c.Steps, c.PeakSeconds, c.Explain = 4, 5, 0.01, true
	r, err := Train(context.Background(), e, g, store, c)
	if err != nil {
		t.Fatal(err)
	}
	x := r.Explanation
	if x == nil || x.StepMS <= 0 {
		t.Fatalf("explanation %+v", x)
	}
	var macs, sum, shares float64
	seen := map[string]bool{}
	for _, p := range x.Parts {
		seen[p.Kind] = true
		if p.GFLOPS > 0 {
			macs += p.GFLOPS * p.MS * 1e6 / 2
		}
		if p.Node == "" || p.Nodes < 1 || p.MS < 0 {
			t.Errorf("part %+v", p)
		}
	}
	conv, fc := 4.*64*4*27, 4.*4*10
	if want := 2*conv + 3*fc; math.Abs(macs-want) > 1 {
		t.Errorf("%g multiply-adds, want %g", macs, want)
	}
	for _, k := range x.Kinds {
		sum, shares = sum+k.MS, shares+k.Share
	}
	if sum < 0.999*x.StepMS || math.Abs(shares-sum/x.StepMS) > 1e-9 {
		t.Errorf("kinds add up to %g of %g ms, shares to %g", sum, x.StepMS, shares)
	}
	for _, kind := range []string{"conv2d", "conv2d_grad_weight", "matmul", engine.ElementwiseKind} {
		if !seen[kind] {
			t.Errorf("no part of kind %s", kind)
		}
	}
}
