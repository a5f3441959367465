package mixed

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
)

// describe lists groups, fixed ones with their width.
func describe(n *Network) []string {
	var out []string
	for _, g := range n.Groups {
		var names []string
		for _, l := range g.Layers {
			names = append(names, n.Layers[l].Name)
		}
		s := strings.Join(names, " ")
		if g.Fixed != nil {
			s += fmt.Sprintf(" = %v", *g.Fixed)
		}
		out = append(out, s)
	}
	return out
}

func TestLayersOfOneTensorAreLinked(t *testing.T) {
	want := []string{
		"conv1 = w8a8", "layer1.0.conv1", "layer1.0.conv2",
		"layer2.0.conv1 layer2.0.downsample.0", "layer2.0.conv2",
		"layer3.0.conv1 layer3.0.downsample.0", "layer3.0.conv2", "fc = w8a8",
	}
	float := residualNet(t, 1)
	for name, g := range map[string]*graph.Graph{
		"float": float, "quantized": quantized(t, float, func(string) int { return 4 }),
		"two widths of one tensor": quantized(t, float, func(l string) int { return 2 + len(l)%3 }),
	} {
		n, err := Link(g, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(n); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// attention is one encoder layer's products: q, k and v read the embedding, each
// behind a reshape of its own; gate and up read one tensor.
func attention(t *testing.T, tied bool) *graph.Graph {
	g := graph.New()
	x := g.Input("input", tensor.F32, 1, 6, 8)
	weight := func(name string, shape ...int) *graph.Node {
		return g.Param(graph.Param{Name: name + ".weight", Shape: shape, Role: graph.Weight, Init: graph.Init{Kind: graph.InitNormal, Value: 1}})
	}
	linear := func(name string, x *graph.Node, out int) *graph.Node {
		return g.Apply(graph.MatMul{TransB: true}, x, weight(name, out, 8)).Named(name)
	}
	x = linear("embed", x, 8)
	q := linear("q", g.Reshape(x, 6, 8), 8)
	k := linear("k", g.Reshape(x, 6, 8), 8)
	v := linear("v", x, 8)
	a := g.MatMul(g.Apply(graph.Softmax{}, g.Apply(graph.MatMul{TransB: true}, q, k)), g.Reshape(v, 6, 8))
	o := linear("out", a, 8)
	h := linear("down", g.Mul(linear("gate", o, 8), linear("up", o, 8)), 8)
	if tied {
		h = g.Apply(graph.MatMul{TransB: true}, h, g.ParamNode("out.weight")).Named("again")
	}
	g.Output("logits", linear("head", h, 2))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

func TestProjectionsAreLinked(t *testing.T) {
	n, err := Link(attention(t, false), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"embed = w8a8", "q k v", "out", "gate up", "down", "head = w8a8"}
	if got := describe(n); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	n, err = Link(attention(t, true), Options{Outer: 4})
	if err != nil {
		t.Fatal(err)
	}
	want = []string{"embed = w4a4", "q k v", "out again", "gate up", "down", "head = w4a4"}
	if got := describe(n); !slices.Equal(got, want) {
		t.Errorf("tied: %q, want %q", got, want)
	}
}

func TestAGroupOfTwoLinksIsOne(t *testing.T) {
	g := graph.New()
	x := nn.Conv2d(g, "a", nn.Input(g, 1, 3, 4, 4), nn.Conv{Out: 4, Kernel: 1})
	y := g.Relu(x)
	w := func(name string) *graph.Node {
		return g.Param(graph.Param{Name: name, Shape: []int{4, 4, 1, 1}, Role: graph.Weight})
	}
	one := graph.Conv2D{Stride: [2]int{1, 1}, Dilation: [2]int{1, 1}, Groups: 1}
	b := g.Conv2D(x, w("w1"), one).Named("b")
	c := g.Conv2D(y, w("w2"), one).Named("c")
	d := g.Conv2D(y, w("w1"), one).Named("d") // the weight of b, the tensor of c
	nn.Logits(g, nn.Linear(g, "e", g.GlobalAvgPool(g.Add(b, g.Add(c, d))), nn.Dense{Out: 2}))
	n, err := Link(g, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(n), []string{"a = w8a8", "b c d", "e = w8a8"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for i, l := range n.Layers {
		if (l.Name == "d") != (l.Params == 0) {
			t.Errorf("layer %d, %s, counts %d elements", i, l.Name, l.Params)
		}
	}
}

func TestPinnedLayersFixTheirGroup(t *testing.T) {
	g := residualNet(t, 1)
	n, err := Link(g, Options{Pin: map[string]quant.Width{"layer2.0.downsample.0": {Weight: 4, Act: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := describe(n)[3]; got != "layer2.0.conv1 layer2.0.downsample.0 = w4a4" {
		t.Errorf("%q", got)
	}
	for name, pin := range map[string]map[string]quant.Width{
		"no width satisfies": {"layer2.0.conv1": {Weight: 4, Act: 4}, "layer2.0.downsample.0": {Weight: 2, Act: 2}},
		"no layer":           {"layer9": {Weight: 4, Act: 4}},
		"weight bits":        {"layer2.0.conv1": {Weight: 1, Act: 4}},
	} {
		if _, err := Link(g, Options{Pin: pin}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := graph.New()
	empty.Output("logits", empty.Relu(empty.Input("input", tensor.F32, 1, 2)))
	if _, err := Link(empty, Options{}); err == nil {
		t.Error("a graph without layers has groups")
	}
}

func TestFingerprintIsOfTheNetworkAlone(t *testing.T) {
	of := func(g *graph.Graph) string {
		n, err := Link(g, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return n.Fingerprint
	}
	float := residualNet(t, 1)
	want := of(float)
	mixed := quantized(t, float, func(l string) int { return 2 + len(l)%3 })
	if got := of(mixed); got != want {
		t.Error("it depends on the quantizers")
	}
	if got := of(quantized(t, residualNet(t, 32), func(string) int { return 4 })); got != want {
		t.Error("it depends on the batch")
	}
	if got := of(attention(t, false)); got == want {
		t.Error("two networks have one")
	}
}

func TestCosts(t *testing.T) {
	p := problem(t, 4, 2)
	// layer1.0.conv1: 4 channels to 4, 3x3, 8x8 positions.
	const macs = 4 * 4 * 9 * 64
	l := p.Layers[1]
	if l.MACs != macs || l.Params != 4*4*9 {
		t.Fatalf("%+v", l)
	}
	for _, c := range []struct {
		model CostModel
		w     quant.Width
		want  int64
	}{
		{BitMACs{}, quant.Width{Weight: 4, Act: 4}, 4 * macs}, {BitMACs{}, quant.Width{Weight: 2, Act: 8}, 8 * macs},
		{BitOps{}, quant.Width{Weight: 4, Act: 4}, 16 * macs}, {BitOps{}, quant.Width{Weight: 2, Act: 2}, 4 * macs},
		{Bytes{}, quant.Width{Weight: 3, Act: 8}, 54}, {BitMACs{}, quant.Width{}, 32 * macs},
	} {
		if got, err := c.model.Cost(l, c.w); err != nil || got != c.want {
			t.Errorf("%s at %v: %d, %v, want %d", c.model.Name(), c.w, got, err, c.want)
		}
		if m, err := CostNamed(c.model.Name()); err != nil || m != c.model {
			t.Errorf("%s is not found by name: %v", c.model.Name(), err)
		}
	}
	if _, err := CostNamed("watts"); err == nil {
		t.Error("an unknown cost is found")
	}
	if p.Total(0)*2 != p.AllHigh() {
		t.Errorf("2 bits cost %d of %d", p.Total(0), p.AllHigh())
	}
	pair := p.Costs[2] // layer2.0.conv1 and its shortcut: 4 to 8 channels on 4x4
	if want := int64(4*8*16) * (9 + 1) * 4; pair[1] != want {
		t.Errorf("the linked pair costs %d, want %d", pair[1], want)
	}
}
