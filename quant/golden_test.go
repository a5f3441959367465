package quant

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"lowbit/tensor"
)

// golden is testdata/golden.json, made by peer/golden_quant.py.
type golden struct {
	Cases []struct {
		Bits   int       `json:"bits"`
		Signed bool      `json:"signed"`
		Axis   int       `json:"axis"`
		Mode   string    `json:"mode"`
		Shape  []int     `json:"shape"`
		V      []float32 `json:"v"`
		Step   []float32 `json:"step"`
		Dy     []float32 `json:"dy"`
		Scale  float64   `json:"scale"`
		Y      []float32 `json:"y"`
		Dv     []float32 `json:"dv"`
		Dstep  []float32 `json:"dstep"`
		Codes  []int32   `json:"codes"`
	} `json:"cases"`
	Statistics struct {
		V           []float32          `json:"v"`
		Step        float32            `json:"step"`
		Counts      []int64            `json:"counts"`
		Entropy     float64            `json:"entropy"`
		Percentiles map[string]float64 `json:"percentiles"`
		LSQStep4    float64            `json:"lsq_step4"`
		SigmaStep4  float64            `json:"sigma_step4"`
	} `json:"statistics"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	var g golden
	b, err := os.ReadFile("testdata/golden.json")
	if err == nil {
		err = json.Unmarshal(b, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGoldenForwardAndGradients(t *testing.T) {
	g := readGolden(t)
	for i, c := range g.Cases {
		s := Spec{Bits: c.Bits, Signed: c.Signed}
		if c.Axis >= 0 {
			s.Granularity, s.Axis = PerChannel, c.Axis
		}
		n := len(c.V)
		y, dv, codes, dstep := make([]float32, n), make([]float32, n), make([]int32, n), make([]float32, len(c.Step))
		err := errors.Join(
			Quantize(codes, c.V, c.Step, c.Shape, s),
			FakeQuant(y, c.V, c.Step, c.Shape, s),
			Gradients(dv, dstep, c.Dy, c.V, c.Step, c.Shape, s, c.Scale))
		if err != nil {
			t.Fatal(err)
		}
		// Forward and the gradient to v are single float32 operations: exact.
		if !slices.Equal(codes, c.Codes) || !slices.Equal(y, c.Y) || !slices.Equal(dv, c.Dv) {
			t.Errorf("case %d, %v: values differ from PyTorch's", i, s)
		}
		if c.Mode != "lsq" { // PACT and frozen steps are the op's, not the grid's
			continue
		}
		for j := range dstep {
			if math.Abs(float64(dstep[j]-c.Dstep[j])) > 1e-6*(1+math.Abs(float64(c.Dstep[j]))) {
				t.Errorf("case %d, %v: step gradient %d is %g, want %g", i, s, j, dstep[j], c.Dstep[j])
			}
		}
	}
}

func TestGoldenStatistics(t *testing.T) {
	st := readGolden(t).Statistics
	s := Spec{Bits: 4, Signed: true}
	n, err := CodeCounts(st.V, []float32{st.Step}, tensor.Shape{len(st.V)}, s)
	if err != nil || !slices.Equal(n, st.Counts) {
		t.Errorf("counts %v (%v), want %v", n, err, st.Counts)
	}
	near := func(what string, got, want float64) {
		if math.Abs(got-want) > 1e-6*math.Abs(want) {
			t.Errorf("%s = %g, want %g", what, got, want)
		}
	}
	near("entropy", Entropy(n), st.Entropy)
	near("LSQ step", float64(StepLSQ(st.V, s)), st.LSQStep4)
	near("sigma step", float64(StepSigma(3)(st.V, s)), st.SigmaStep4)
	for p, want := range st.Percentiles {
		q, err := strconv.ParseFloat(p, 64)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Percentile(st.V, q)
		if err != nil {
			t.Fatal(err)
		}
		near(p+"%", float64(got), want)
	}
}
