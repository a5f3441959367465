package inspect

import (
	"math"
	"testing"

	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/method/lsq/lsqtest"
	"lowbit/quant"
	"lowbit/tensor"
)

// quantized returns the small test network at 2 bits with weight steps of least
// error, and the same weights as a reference.
func quantized(t *testing.T) (*graph.Graph, *tensor.Store) {
	t.Helper()
	g, err := lsq.Insert(lsqtest.Net(t, 3, 10), lsq.DefaultQuantizers(lsqtest.Bits(t, "w2a2")))
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		t.Fatal(err)
	}
	mse := func(quant.Spec) quant.Rule { return quant.Rule{Kind: quant.RuleMSE} }
	if err := lsq.InitWeights(g, store, mse); err != nil {
		t.Fatal(err)
	}
	return g, store
}

func TestSizesCountPackedWeights(t *testing.T) {
	g := lsqtest.Net(t, 1, 10)
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		t.Fatal(err)
	}
	full, err := Describe(g, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	if full.SizeBytes != full.FP32Bytes || full.FP32Bytes != int64(store.SizeBytes()) {
		t.Errorf("float32: %d and %d bytes, want %d", full.SizeBytes, full.FP32Bytes, store.SizeBytes())
	}
	qg, qs := quantized(t)
	low, err := Describe(qg, qs, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := int64(0) // by hand: 8 bits in the first and last layer, 2 between
	for _, n := range qg.Params() {
		size := int64(n.Shape().Size())
		switch p := n.Op().(graph.Param); {
		case p.Name == "conv1.weight" || p.Name == "fc.weight":
			want += size
		case p.Role == graph.Weight:
			want += (size + 3) / 4
		default:
			want += 4 * size
		}
	}
	if low.SizeBytes != want || low.FP32Bytes != full.FP32Bytes || low.MACs != full.MACs || low.Params != full.Params {
		t.Errorf("%d bytes of %d, want %d of %d; MACs %d and %d", low.SizeBytes, low.FP32Bytes, want, full.FP32Bytes, low.MACs, full.MACs)
	}
}

func TestEntropyClippingAndCosine(t *testing.T) {
	g, store := quantized(t)
	n, err := Describe(g, store, store)
	if err != nil {
		t.Fatal(err)
	}
	layers := 0
	for _, l := range n.Layers {
		if l.MACs == 0 {
			continue
		}
		layers++
		if l.Entropy == nil || *l.Entropy <= 0 || *l.Entropy > float64(l.WeightBits) {
			t.Errorf("%s: entropy %v at %d bits", l.Name, l.Entropy, l.WeightBits)
		}
		if l.WeightCosine == nil || *l.WeightCosine < 0.85 || *l.WeightCosine > 1+1e-9 {
			t.Errorf("%s: cosine %v", l.Name, l.WeightCosine)
		}
		if l.Clipped == nil || *l.Clipped < 0 || *l.Clipped > 0.3 {
			t.Errorf("%s: clipped %v", l.Name, l.Clipped)
		}
	}
	if layers != 10 {
		t.Errorf("%d layers", layers)
	}
}

func TestClippedShare(t *testing.T) {
	s := quant.Spec{Bits: 2, Signed: true} // codes -2..1, step 1: -2.5 to 1.5
	v := []float32{-3, -2.6, -2.4, 0, 1.4, 1.6, 5, 1.5}
	used := make([]float32, len(v))
	step, shape := []float32{1}, tensor.Shape{len(v)}
	if err := quant.FakeQuant(used, v, step, shape, s); err != nil {
		t.Fatal(err)
	}
	if got := clippedShare(v, used, step, shape, s); math.Abs(got-4./8) > 1e-12 {
		t.Errorf("%g, want 0.5", got)
	}
}

func TestAMissingWeightIsNamed(t *testing.T) {
	g, store := quantized(t)
	store.Delete("layer1.0.conv1.weight")
	if _, err := Describe(g, store, nil); err == nil {
		t.Error("described without a weight")
	}
}

func TestPeakIsOfARow(t *testing.T) {
	v := []float32{1, -1, 1, 1, 0, 0, 0, 8, 0, 0, 0, 0}
	if got := peak(v, 3); got != 2 { // 8 over sqrt(64/4)
		t.Errorf("peak %g, want 2", got)
	}
	if got := peak(nil, 0); got != 0 {
		t.Errorf("peak %g of nothing", got)
	}
}
