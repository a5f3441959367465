package eagl

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/mixed"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/tensor"
)

// network is a zoo network with a b-bit weight quantizer on each layer and the
// weights that fill makes; steps are 0.34, near that of least squared error of a
// normal distribution at 4 bits.
func network(t testing.TB, name string, bits int, fill func(r *rand.Rand) float32) *mixed.Problem {
	t.Helper()
	g, err := model.Build(name, model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	q, err := graph.Rewrite(g, func(to *graph.Graph, n *graph.Node, in []*graph.Node) *graph.Node {
		if len(in) < 2 {
			return nil
		}
		p, ok := in[1].Op().(graph.Param)
		if !ok || p.Role != graph.Weight {
			return nil
		}
		step := to.Param(graph.Param{Name: n.Name() + ".weight_step", Shape: []int{1}, Role: graph.Step})
		w := to.FakeQuant(in[1], step, graph.FakeQuant{Spec: quant.Spec{Bits: bits, Signed: true}, StepGrad: graph.StepLSQ})
		return to.Copy(n, []*graph.Node{in[0], w.Named(n.Name() + ".weight_quant")})
	})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	store := tensor.NewStore()
	for _, p := range q.Params() {
		v := tensor.New(tensor.F32, p.Shape()...)
		for i := range v.Float32s() {
			v.Float32s()[i] = fill(r)
		}
		if p.Op().(graph.Param).Role == graph.Step {
			v.Float32s()[0] = 0.34
		}
		if err := store.Put(p.Name(), v); err != nil {
			t.Fatal(err)
		}
	}
	n, err := mixed.Link(q, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, store, mixed.Square(2, 4), mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func normal(r *rand.Rand) float32 { return float32(r.NormFloat64()) }

// Entropies of codes of N(0,1), in bits, by numerical integration: step of
// LSQ's start, then of least squared error.
var normalEntropy = []struct {
	bits     int
	lsq, mse float64
}{{2, 1.46, 1.78}, {3, 2.21, 2.72}, {4, 2.80, 3.58}}

func TestEntropyOfNormalWeights(t *testing.T) {
	const tol = 0.02 // two digits are known, and 36864 weights are drawn
	p := network(t, "resnet20", 4, normal)
	l := p.Layers[slices.IndexFunc(p.Layers, func(l mixed.Layer) bool { return l.Name == "layer3.1.conv1" })]
	step := p.Store.Get(l.Step).Float32s()
	step[0] = quant.StepMSE(p.Store.Get(l.Weight).Float32s(), l.Spec)
	for _, c := range normalEntropy {
		if c.bits == 4 { // learned
			h, err := Of(p, l, 4, quant.Rule{})
			if err != nil || math.Abs(h-c.mse) > tol {
				t.Errorf("4 bits: %.3f, %v, want %.2f", h, err, c.mse)
			}
			continue
		}
		for kind, want := range map[quant.RuleKind]float64{quant.RuleLSQ: c.lsq, quant.RuleMSE: c.mse} {
			h, err := Of(p, l, c.bits, quant.Rule{Kind: kind})
			if err != nil || math.Abs(h-want) > tol {
				t.Errorf("%d bits, %s: %.3f, %v, want %.2f", c.bits, kind, h, err, want)
			}
		}
	}
}

func TestEntropyOfKnownHistograms(t *testing.T) {
	even, i := make([]float32, 64), 0
	for ; i < 64; i++ {
		even[i] = float32(i%16-8) * 0.5
	}
	two := make([]float32, 64)
	for i := range two {
		two[i] = float32(i%2) * 0.5
	}
	for name, c := range map[string]struct {
		v    []float32
		want float64
	}{"all 16 codes": {even, 4}, "one code": {make([]float32, 64), 0}, "two codes": {two, 1}} {
		counts, err := count(mixed.Weight{Values: c.v, Shape: tensor.Shape{64}, Spec: quant.Spec{Bits: 4, Signed: true}, Step: []float32{0.5}})
		if err != nil || math.Abs(quant.Entropy(counts)-c.want) > 1e-12 {
			t.Errorf("%s: %v, %v, want %g bits", name, counts, err, c.want)
		}
	}
}

func TestCountIsThatOfTheDefinition(t *testing.T) {
	const seed = 4
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range 200 {
		bits := 2 + n%7
		shape := tensor.Shape{1 + r.IntN(5), 1 + r.IntN(40)}
		w := mixed.Weight{Shape: shape, Spec: quant.Spec{Bits: bits, Signed: true}}
		steps := 1
		if n%3 == 1 {
			w.Spec.Granularity, steps = quant.PerChannel, shape[0]
		}
		if n%3 == 2 {
			w.Spec.Granularity, w.Spec.Axis, steps = quant.PerChannel, 1, shape[1]
		}
		for range steps {
			w.Step = append(w.Step, float32(0.01+r.Float64()))
		}
		for range shape.Size() {
			switch r.IntN(4) {
			case 0: // ties and borders
				w.Values = append(w.Values, w.Step[0]*float32(r.IntN(40)-20)/2)
			case 1:
				w.Values = append(w.Values, float32(math.Ldexp(r.NormFloat64(), r.IntN(200)-100)))
			default:
				w.Values = append(w.Values, float32(r.NormFloat64()))
			}
		}
		want, err := quant.CodeCounts(w.Values, w.Step, w.Shape, w.Spec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := count(w)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("seed %d, case %d: %v, %v, want %v", seed, n, got, err, want)
		}
	}
	if _, err := count(mixed.Weight{Values: make([]float32, 3), Shape: tensor.Shape{4}, Spec: quant.Spec{Bits: 4, Signed: true}, Step: []float32{1}}); err == nil {
		t.Error("3 values of 4 are counted")
	}
}

func TestVariants(t *testing.T) {
	p := network(t, "resnet20", 4, normal)
	s := New()
	gains := map[Variant][]float64{}
	for _, v := range []Variant{Entropy, Difference, TotalBits} {
		s.Variant = v
		g, err := s.Score(context.Background(), p)
		if err != nil || g.Check(p) != nil || g.Notes != nil {
			t.Fatal(err, g.Check(p), g.Notes)
		}
		gains[v] = g.Values[0]
	}
	l := p.Layers[p.Groups[p.Select[0]].Layers[0]]
	h4, err := Of(p, l, 4, quant.Rule{})
	if err != nil {
		t.Fatal(err)
	}
	h2, err := Of(p, l, 2, s.Lower)
	if err != nil {
		t.Fatal(err)
	}
	for v, want := range map[Variant]float64{Entropy: h4, Difference: h4 - h2, TotalBits: h4 * float64(l.Params)} {
		if gains[v][0] != 0 || math.Abs(gains[v][1]-want) > 1e-9*want {
			t.Errorf("%s: %v, want %g", v, gains[v], want)
		}
	}
	s.Variant = "loud"
	if _, err := s.Score(context.Background(), p); err == nil {
		t.Error("an unknown variant scores")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New().Score(ctx, p); err == nil {
		t.Error("it scores after the end of the context")
	}
}

func TestGroupsOfTheZoo(t *testing.T) {
	for name, c := range map[string]struct {
		groups int
		linked []string // first layers of groups of two
	}{
		"resnet20":   {18, nil},
		"resnet20-b": {18, []string{"layer2.0.conv1", "layer3.0.conv1"}},
		// 16 convolutions of 3x3; the shortcuts of stages 2 to 4 join theirs.
		"resnet18": {16, []string{"layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"}},
		// Every stage's first block has a shortcut.
		"resnet50": {48, []string{"layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1", "layer4.0.conv1"}},
		// The shortcut reads the normalised tensor, as conv1 does.
		"preresnet18": {16, []string{"layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"}},
	} {
		g, err := model.Build(name, model.Config{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := mixed.Link(g, mixed.Options{})
		if err != nil {
			t.Fatal(err)
		}
		groups, linked := 0, []string(nil)
		for _, g := range n.Groups {
			if g.Fixed == nil {
				groups++
			}
			if len(g.Layers) > 1 {
				linked = append(linked, g.Name)
				if len(g.Layers) != 2 || !strings.Contains(n.Layers[g.Layers[0]].Name+n.Layers[g.Layers[1]].Name, "downsample") {
					t.Errorf("%s: group %s of %d layers", name, g.Name, len(g.Layers))
				}
			}
		}
		if groups != c.groups || !slices.Equal(linked, c.linked) {
			t.Errorf("%s: %d groups to select, linked %v, want %d and %v", name, groups, linked, c.groups, c.linked)
		}
	}
}

// ResNet-50, 25 M weights: less than 200 MiB beside the network.
func TestMemoryOfResNet50(t *testing.T) {
	if testing.Short() {
		t.Skip("25 million weights: run without -short")
	}
	p := network(t, "resnet50", 4, func(r *rand.Rand) float32 { return r.Float32() - 0.5 })
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := New().Score(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if more := after.TotalAlloc - before.TotalAlloc; more > 1<<20 {
		t.Errorf("%d bytes allocated, want less than 1 MiB", more)
	}
}

func BenchmarkScore(b *testing.B) {
	p := network(b, "resnet50", 4, normal)
	var n int64
	for _, g := range p.Select {
		for _, l := range p.Groups[g].Layers {
			n += p.Layers[l].Params
		}
	}
	b.SetBytes(4 * n)
	for b.Loop() {
		if _, err := New().Score(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
}
