package silq

import (
	"math"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
)

func TestTurnsAreOrthogonal(t *testing.T) {
	for _, n := range []int{1, 2, 3, 8, 12, 36, 15} {
		r := newTurn(n, 1)
		rows := make([][]float32, n)
		for i := range rows {
			rows[i] = make([]float32, n)
			rows[i][i] = 1
			r.apply(rows[i], 1)
			for _, v := range rows[i] { // nothing stays where it was
				if limit := math.Sqrt(2*1.01/float64(n)) * 1.001; math.Abs(float64(v)) > max(limit, 1/math.Sqrt(float64(n))) {
					t.Errorf("%d values: a feature keeps %g of itself in one place, at most %g", n, v, limit)
				}
			}
		}
		for i := range rows {
			for j := range rows {
				var dot float64
				for k, v := range rows[i] {
					dot += float64(v) * float64(rows[j][k])
				}
				want := 0.0
				if i == j {
					want = 1
				}
				if math.Abs(dot-want) > 1e-5 {
					t.Fatalf("%d values: rows %d and %d have product %g", n, i, j, dot)
				}
			}
		}
	}
}

// logits of a model on some tokens.
func logitsOf(t *testing.T, c model.Llama, s *tensor.Store) []float32 {
	t.Helper()
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 6})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, s)
	if err != nil {
		t.Fatal(err)
	}
	copy(p.Input(nn.InputName).Int32s(), []int32{3, 1, 4, 1, 5, 9})
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return append([]float32(nil), p.Output(nn.LogitsName).Float32s()...)
}

// Of every member of the family: gains, biases and multipliers that are not 1 or 0,
// grouped keys, a tied head. One feature is a hundred times the others; turned, no
// weight of the embedding stands out.
func TestATurnedModelComputesTheSame(t *testing.T) {
	base := model.Llama{Vocab: 40, Dim: 24, Layers: 2, Heads: 4, KVHeads: 2, Hidden: 20, Context: 8, NormEps: 1e-5, Theta: 1e4}
	for name, change := range map[string]func(c *model.Llama){
		"llama":  func(*model.Llama) {},
		"tied":   func(c *model.Llama) { c.Tied = true },
		"biases": func(c *model.Llama) { c.QKVBias, c.OutBias, c.MLPBias, c.HeadBias = true, true, true, true },
		"granite": func(c *model.Llama) {
			c.Tied, c.EmbeddingMultiplier, c.AttentionMultiplier, c.ResidualMultiplier, c.LogitsScaling = true, 3, 0.2, 0.5, 2
		},
		"heads": func(c *model.Llama) { c.HeadDim, c.Adjacent = 10, true },
	} {
		c := base
		change(&c)
		g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 6})
		if err != nil {
			t.Fatal(err)
		}
		s := tensor.NewStore()
		if err := graph.InitParams(g, s, 7); err != nil {
			t.Fatal(err)
		}
		for _, p := range g.Params() {
			v := s.Get(p.Name()).Float32s()
			for i := range v {
				v[i] = v[i]*8 + 0.3*float32(math.Sin(float64(i)))
			}
		}
		v := s.Get("model.embed_tokens.weight").Float32s()
		for i := 5; i < len(v); i += c.Dim {
			v[i] *= 100
		}
		want := logitsOf(t, c, s)
		turned, err := Rotate(c, s)
		if err != nil {
			t.Fatal(err)
		}
		var worst, size float64
		for i, x := range logitsOf(t, turned, s) {
			worst, size = max(worst, math.Abs(float64(x-want[i]))), max(size, math.Abs(float64(want[i])))
		}
		if !(worst < 1e-4*size) {
			t.Errorf("%s: logits differ by %g of %g", name, worst, size)
		}
		if turned.Tied {
			t.Errorf("%s: the head is still the embedding", name)
		}
		for i := range c.Vocab {
			if got := peakOf(v[i*c.Dim:][:c.Dim]); got > 3 {
				t.Errorf("%s: row %d: the largest value is %.1f times the root mean square", name, i, got)
			}
		}
	}
}

func peakOf(v []float32) float64 {
	var top, square float64
	for _, x := range v {
		top, square = max(top, math.Abs(float64(x))), square+float64(x)*float64(x)
	}
	return top / math.Sqrt(square/float64(len(v)))
}

func TestRotateNeedsTheWholeModel(t *testing.T) {
	c := model.Llama{Vocab: 40, Dim: 24, Layers: 1, Heads: 4, KVHeads: 2, Hidden: 20, Context: 8, NormEps: 1e-5, Theta: 1e4}
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := tensor.NewStore()
	if err := graph.InitParams(g, s, 1); err != nil {
		t.Fatal(err)
	}
	s.Delete("model.layers.0.mlp.down_proj.weight")
	if _, err := Rotate(c, s); err == nil || !strings.Contains(err.Error(), "down_proj") {
		t.Errorf("error %v without a weight", err)
	}
}
