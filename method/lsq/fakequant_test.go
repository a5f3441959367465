package lsq

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/testenv"
	"lowbit/quant"
	"lowbit/tensor"
)

// opCase is one case of quant/testdata/golden.json (peer/golden_quant.py).
type opCase struct {
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
}

// opTol bounds a step gradient's relative difference: up to 120 float32
// products in another order.
const opTol = 1e-5

// The op as the engine runs it gives PyTorch's values and gradients.
func TestGoldenFakeQuantOnTheEngine(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testenv.Root(t), "quant", "testdata", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []opCase `json:"cases"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	for i, c := range doc.Cases {
		p := c.compile(t, e)
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(p.Output("y").Float32s(), c.Y) || !slices.Equal(p.Output("dv").Float32s(), c.Dv) {
			t.Errorf("case %d, %d bits %s: values differ from PyTorch's", i, c.Bits, c.Mode)
		}
		if c.Mode == "frozen" {
			continue
		}
		for j, got := range p.Output("dstep").Float32s() {
			if math.Abs(float64(got-c.Dstep[j])) > opTol*(1+math.Abs(float64(c.Dstep[j]))) {
				t.Errorf("case %d, %d bits %s: step gradient %d is %g, want %g", i, c.Bits, c.Mode, j, got, c.Dstep[j])
			}
		}
	}
}

func (c opCase) compile(t *testing.T, e *engine.Engine) *engine.Plan {
	t.Helper()
	spec := quant.Spec{Bits: c.Bits, Signed: c.Signed}
	if c.Axis >= 0 {
		spec.Granularity, spec.Axis = quant.PerChannel, c.Axis
	}
	g := graph.New()
	store := tensor.NewStore()
	param := func(name string, v []float32, shape ...int) *graph.Node {
		if err := store.Put(name, tensor.FromFloat32s(v, shape...)); err != nil {
			t.Fatal(err)
		}
		return g.Param(graph.Param{Name: name, Shape: shape, Role: graph.Weight, Init: graph.Init{Kind: graph.InitConst}})
	}
	v, step, dy := param("v", c.V, c.Shape...), param("step", c.Step, len(c.Step)), param("dy", c.Dy, c.Shape...)
	y := g.FakeQuant(v, step, graph.FakeQuant{Spec: spec, StepGrad: graph.StepGrad(c.Mode), GradScale: c.Scale})
	d, err := graph.Gradients(g, g.Sum(g.Mul(y, dy)), []*graph.Node{v, step})
	if err != nil {
		t.Fatal(err)
	}
	g.Output("y", y)
	g.Output("dv", d[0])
	if (d[1] == nil) != (c.Mode == "frozen") {
		t.Fatalf("mode %s: step gradient %v", c.Mode, d[1])
	}
	if d[1] != nil {
		g.Output("dstep", d[1])
	}
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
