package lsq

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/method/lsq/lsqtest"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// quantizers lists "name spec of operand" of all quantizers in order.
func quantizers(g *graph.Graph) []string {
	var s []string
	for _, n := range g.Nodes() {
		if o, ok := n.Op().(graph.FakeQuant); ok {
			s = append(s, fmt.Sprintf("%s %v", n.Name(), o.Spec))
		}
	}
	slices.Sort(s)
	return s
}

func TestInsertFollowsThePaper(t *testing.T) {
	g, err := Insert(lsqtest.Net(t, 2, 10), DefaultQuantizers(lsqtest.Bits(t, "w3a4")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"conv1.input_quant s8", "conv1.weight_quant s8",
		"fc.input_quant u8", "fc.weight_quant s8",
		"layer1.0.conv1.input_quant u4", "layer1.0.conv1.weight_quant s3",
		"layer1.0.conv2.input_quant u4", "layer1.0.conv2.weight_quant s3",
		"layer2.0.conv1.input_quant u4", "layer2.0.conv1.weight_quant s3",
		"layer2.0.conv2.input_quant u4", "layer2.0.conv2.weight_quant s3",
		"layer2.0.downsample.0.weight_quant s3",
		"layer3.0.conv1.input_quant u4", "layer3.0.conv1.weight_quant s3",
		"layer3.0.conv2.input_quant u4", "layer3.0.conv2.weight_quant s3",
		"layer3.0.downsample.0.weight_quant s3",
	}
	if got := quantizers(g); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	a, b := g.Find("layer2.0.conv1"), g.Find("layer2.0.downsample.0")
	if a.In()[0] != b.In()[0] {
		t.Error("two layers of one tensor have two quantizers")
	}
	for _, c := range []struct {
		node string
		n    int // elements that share the step, times Qp
	}{{"layer1.0.conv1.weight_quant", 4 * 4 * 9 * 3}, {"layer1.0.conv2.input_quant", 4 * 8 * 8 * 15}, {"fc.input_quant", 16 * 255}} {
		o := g.Find(c.node).Op().(graph.FakeQuant)
		if want := 1 / math.Sqrt(float64(c.n)); math.Abs(o.GradScale/want-1) > 1e-12 {
			t.Errorf("%s: gradient scale %g, want %g", c.node, o.GradScale, want)
		}
	}
	for _, l := range graph.Layers(g) {
		if l.Weight != nil && (l.WeightQuant == nil || l.InputQuant == nil) {
			t.Errorf("layer %s lacks a quantizer", l.Name)
		}
	}
	p, ok := g.Find("layer1.0.conv1.weight_step").Op().(graph.Param)
	if !ok || p.Role != graph.Step || !slices.Equal(p.Shape, []int{1}) {
		t.Errorf("weight step is %+v", p)
	}
}

func TestGradScaleVariants(t *testing.T) {
	for _, c := range []struct {
		q    Quantizers
		w, a float64
	}{
		{Quantizers{GradScale: ScaleN}, 144, 256},
		{Quantizers{GradScale: ScaleOne}, 1, 1},
		{Quantizers{GradScale: ScaleNQp, ScaleBatch: 32}, 144 * 7, 256 * 15 * 32},
		{Quantizers{GradScale: ScaleNQp, Granularity: quant.PerChannel}, 36 * 7, 256 * 15},
	} {
		c.q.Bits, c.q.StepGrad = lsqtest.Bits(t, "w4a4"), graph.StepLSQ
		g, err := Insert(lsqtest.Net(t, 2, 10), c.q)
		if err != nil {
			t.Fatal(err)
		}
		w := g.Find("layer1.0.conv1.weight_quant").Op().(graph.FakeQuant)
		a := g.Find("layer1.0.conv1.input_quant").Op().(graph.FakeQuant)
		if math.Abs(w.GradScale*math.Sqrt(c.w)-1) > 1e-12 || math.Abs(a.GradScale*math.Sqrt(c.a)-1) > 1e-12 {
			t.Errorf("%+v: %g and %g", c.q, w.GradScale, a.GradScale)
		}
		if c.q.Granularity == quant.PerChannel && g.ParamNode("fc.weight_step").Shape()[0] != 10 {
			t.Errorf("steps per channel of fc: %v", g.ParamNode("fc.weight_step").Shape())
		}
	}
}

func TestInsertMixedPrecision(t *testing.T) {
	p := lsqtest.Bits(t, "w4a4")
	p.Layers = map[string]quant.Width{
		"layer2.0.conv1": {Weight: 2, Act: 2}, "layer2.0.downsample.0": {Weight: 4, Act: 4}, // share a tensor
		"layer3.0.conv2": {}, "fc": {Weight: 2, Act: 3},
	}
	g, err := Insert(lsqtest.Net(t, 2, 10), DefaultQuantizers(p))
	if err != nil {
		t.Fatal(err)
	}
	got := quantizers(g)
	for _, want := range []string{
		"layer2.0.conv1.input_quant u2", "layer2.0.downsample.0.input_quant u4", "layer2.0.conv1.weight_quant s2",
		"fc.weight_quant s2", "fc.input_quant u3", "conv1.weight_quant s8",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %q in %v", want, got)
		}
	}
	for _, s := range got {
		if strings.HasPrefix(s, "layer3.0.conv2.") {
			t.Errorf("%s on a float layer", s)
		}
	}
}

func TestInsertResidual8LeavesNoFloatBetweenLayers(t *testing.T) {
	p := lsqtest.Bits(t, "w4a4")
	p.Residual = quant.Residual8
	g, err := Insert(lsqtest.Net(t, 2, 10), DefaultQuantizers(p))
	if err != nil {
		t.Fatal(err)
	}
	uses := g.Uses()
	adds := 0
	for _, n := range g.Nodes() {
		if !isResidual(n) {
			continue
		}
		adds++
		for i, x := range n.In() {
			if o, ok := x.Op().(graph.FakeQuant); !ok || o.Spec.Bits != 8 {
				t.Errorf("%s: operand %d is %s", n.Name(), i, x.Name())
			}
		}
		relu := uses[n.ID()][0]
		q := uses[relu.ID()]
		if len(q) != 1 || q[0].Name() != n.Name()+".output_quant" || q[0].Op().(graph.FakeQuant).Spec.Signed {
			t.Errorf("%s: the result is read by %d nodes, first %s", n.Name(), len(q), q[0].Name())
		}
	}
	if adds != 3 {
		t.Errorf("%d residual adds, want 3", adds)
	}
	// The identity shortcut of a later block is the former block's result.
	if x := g.Find("layer2.0.conv1.input_quant").In()[0]; !strings.HasSuffix(x.Name(), ".output_quant") {
		t.Errorf("layer2 reads %s", x.Name())
	}
}

func TestSignsAreFoundFromTheGraph(t *testing.T) {
	g := graph.New()
	x := nn.Input(g, 1, 3, 8, 8)
	a := nn.Conv2d(g, "a", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1})
	b := nn.Conv2d(g, "b", g.MaxPool2D(g.Relu6(a), 2, 2, 0), nn.Conv{Out: 4, Kernel: 1})
	c := nn.Conv2d(g, "c", g.Add(g.Relu(b), b), nn.Conv{Out: 4, Kernel: 1})
	d := nn.Conv2d(g, "d", g.Concat(1, g.Relu(c), g.Sigmoid(c)), nn.Conv{Out: 4, Kernel: 1})
	nn.Logits(g, nn.Linear(g, "e", g.Flatten(d), nn.Dense{Out: 2}))
	q, err := Insert(g, DefaultQuantizers(lsqtest.Bits(t, "w4a4")))
	if err != nil {
		t.Fatal(err)
	}
	for name, signed := range map[string]bool{"a": true, "b": false, "c": true, "d": false, "e": true} {
		if o := q.Find(name + ".input_quant").Op().(graph.FakeQuant); o.Spec.Signed != signed {
			t.Errorf("input of %s: %v", name, o.Spec)
		}
	}
}

func TestInsertRefuses(t *testing.T) {
	g := lsqtest.Net(t, 1, 10)
	q := DefaultQuantizers(lsqtest.Bits(t, "w4a4"))
	done, err := Insert(g, q)
	if err != nil {
		t.Fatal(err)
	}
	unknown, badBits, badGrad, badScale := q, q, q, q
	unknown.Bits.Layers = map[string]quant.Width{"conv9": {Weight: 4, Act: 4}}
	badBits.Bits.Default.Weight = 9
	badGrad.StepGrad = "none"
	badScale.GradScale = "2"
	empty := graph.New()
	empty.Output("logits", g1(empty))
	for name, c := range map[string]struct {
		g *graph.Graph
		q Quantizers
	}{"twice": {done, q}, "unknown layer": {g, unknown}, "bits": {g, badBits}, "gradient": {g, badGrad}, "scale": {g, badScale}, "no layer": {empty, q}} {
		if _, err := Insert(c.g, c.q); err == nil || !strings.HasPrefix(err.Error(), "lsq: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func g1(g *graph.Graph) *graph.Node { return g.Relu(g.Input("input", tensor.F32, 1, 2)) }

func TestInsertKeepsTheBatchFree(t *testing.T) {
	g, err := Insert(lsqtest.Net(t, 2, 10), DefaultQuantizers(lsqtest.Bits(t, "w2a2")))
	if err != nil {
		t.Fatal(err)
	}
	h, err := graph.WithBatch(g, 7)
	if err != nil {
		t.Fatal(err)
	}
	if s := h.OutputNode("logits").Shape(); s[0] != 7 {
		t.Errorf("logits %v", s)
	}
	code, err := graph.Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	back, err := graph.Decode(code)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := quantizers(g), quantizers(back); !slices.Equal(a, b) {
		t.Errorf("after the codec %v, want %v", b, a)
	}
}
