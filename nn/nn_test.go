package nn_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// A network is a function that adds layers to a graph. Mistakes stick to the
// graph, so one look at Err at the end is enough.
func Example() {
	g := graph.New()
	x := nn.Input(g, 1, 3, 32, 32)
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: 16, Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	x = nn.ResidualBlock(g, "layer1.0", x, nn.Residual{Out: 32, Stride: 2})
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: 10}))
	if g.Err() != nil {
		fmt.Println(g.Err())
		return
	}
	for _, l := range graph.Layers(g) {
		fmt.Println(l.Name, l.Op, l.OutputShape, l.MACs, l.Params)
	}
	// Output:
	// conv1 conv2d [16 32 32] 442368 432
	// bn1 batch_norm [16 32 32] 0 32
	// layer1.0.conv1 conv2d [32 16 16] 1179648 4608
	// layer1.0.bn1 batch_norm [32 16 16] 0 64
	// layer1.0.conv2 conv2d [32 16 16] 2359296 9216
	// layer1.0.bn2 batch_norm [32 16 16] 0 64
	// layer1.0.downsample.0 conv2d [32 16 16] 131072 512
	// layer1.0.downsample.1 batch_norm [32 16 16] 0 64
	// fc matmul [10] 320 330
}

func input(g *graph.Graph, shape ...int) *graph.Node { return nn.Input(g, shape...) }

func TestParameterNamesAreThoseOfPyTorch(t *testing.T) {
	g := graph.New()
	x := input(g, 2, 4, 8, 8)
	x = nn.BatchNorm2d(g, "b", nn.Conv2d(g, "c", x, nn.Conv{Out: 6, Kernel: 3, Groups: 2, Bias: true}), nn.Norm{})
	nn.Linear(g, "l", g.Flatten(x), nn.Dense{Out: 3})
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	want := map[string]string{
		"c.weight": "weight [6 2 3 3]", "c.bias": "bias [6]",
		"b.weight": "norm [6]", "b.bias": "norm [6]", "b.running_mean": "stat [6]", "b.running_var": "stat [6]",
		"l.weight": "weight [3 216]", "l.bias": "bias [3]",
	}
	for _, p := range g.Params() {
		got := string(p.Op().(graph.Param).Role) + " " + p.Shape().String()
		if want[p.Name()] != got {
			t.Errorf("%s is %s, want %q", p.Name(), got, want[p.Name()])
		}
		delete(want, p.Name())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// TensorFlow's rule: ceil(size/stride) results, the odd zero behind.
func TestSamePaddingIsTensorFlows(t *testing.T) {
	for _, c := range []struct {
		size, kernel, stride int
		pad                  [4]int
		out                  int
	}{
		{224, 3, 2, [4]int{0, 0, 1, 1}, 112},
		{112, 3, 1, [4]int{1, 1, 1, 1}, 112},
		{56, 5, 2, [4]int{1, 1, 2, 2}, 28},
		{7, 5, 2, [4]int{2, 2, 2, 2}, 4},
		{14, 1, 2, [4]int{0, 0, 0, 0}, 7},
	} {
		g := graph.New()
		y := nn.Conv2d(g, "c", input(g, 1, 1, c.size, c.size), nn.Conv{Out: 1, Kernel: c.kernel, Stride: c.stride, Same: true})
		if g.Err() != nil {
			t.Fatal(g.Err())
		}
		if pad := y.Op().(graph.Conv2D).Pad; pad != c.pad || y.Shape()[2] != c.out {
			t.Errorf("%+v: pad %v, result %v", c, pad, y.Shape())
		}
	}
}

func TestInitsFollowTheFans(t *testing.T) {
	shape := []int{64, 16, 3, 5}
	for _, c := range []struct {
		init nn.Init
		kind graph.InitKind
		want float64
	}{
		{nn.KaimingFanOut, graph.InitNormal, math.Sqrt(2.0 / (64 * 15))},
		{nn.KaimingFanIn, graph.InitNormal, math.Sqrt(2.0 / (16 * 15))},
		{nn.UniformFanIn, graph.InitUniform, 1 / math.Sqrt(16*15)},
		{nn.Normal(0.01), graph.InitNormal, 0.01},
		{nn.Const(3), graph.InitConst, 3},
	} {
		if i := c.init(shape); i.Kind != c.kind || math.Abs(i.Value-c.want) > 1e-12 {
			t.Errorf("got %+v, want %s %g", i, c.kind, c.want)
		}
	}
	g := graph.New()
	nn.Linear(g, "l", input(g, 1, 25), nn.Dense{Out: 4})
	if i := g.ParamNode("l.bias").Op().(graph.Param).Init; i.Kind != graph.InitUniform || i.Value != 0.2 {
		t.Errorf("bias starts by %+v, want uniform 1/sqrt(25)", i)
	}
}

func TestSubsampleShortcutPadsBothSides(t *testing.T) {
	g := graph.New()
	y := nn.SubsampleShortcut(g, "s", input(g, 2, 16, 9, 8), 35, 2)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	p := y.Op().(graph.Pad)
	if !y.Shape().Equal(tensor.Shape{2, 35, 5, 4}) || p.Before[1] != 9 || p.After[1] != 10 {
		t.Errorf("result %v, pad %+v; want [2 35 5 4], 9 and 10 channels", y.Shape(), p)
	}
	x := g.InputNode(nn.InputName)
	if nn.SubsampleShortcut(g, "same", x, 16, 1) != x {
		t.Error("a shortcut between equal shapes is not the identity")
	}
}

func TestDropoutsShareTheRNGInputAndDifferInKey(t *testing.T) {
	g := graph.New()
	x := input(g, 4, 8)
	a := nn.Dropout(g, "a", x, 0.5)
	b := nn.Dropout(g, "b", a, 0.5)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	if a.In()[1] != b.In()[1] || a.In()[1].Name() != nn.RNGName {
		t.Error("the dropouts do not share one input")
	}
	if a.Op() == b.Op() {
		t.Error("the dropouts have the same key")
	}
	if nn.Dropout(g, "c", x, 0) != x {
		t.Error("rate 0 is not the identity")
	}
	other, err := graph.WithBatch(g, 2)
	if err != nil {
		t.Fatal(err)
	}
	if s := other.InputNode(nn.RNGName).Shape(); !s.Equal(tensor.Shape{2}) {
		t.Errorf("the input became %v with the batch", s)
	}
}

func TestAdaptiveAvgPool(t *testing.T) {
	g := graph.New()
	x := input(g, 1, 2, 14, 21)
	y := nn.AdaptiveAvgPool(g, "p", x, 7)
	if g.Err() != nil || !y.Shape().Equal(tensor.Shape{1, 2, 7, 7}) {
		t.Errorf("%v, %v; want [1 2 7 7]", y.Shape(), g.Err())
	}
	if nn.AdaptiveAvgPool(g, "q", y, 7) != y {
		t.Error("a pool to the same size is not the identity")
	}
}

// Every layer, on a wrong operand, a missing one and one that failed: an error
// that names the layer, never a panic; the first mistake is the one reported.
func TestMistakesStick(t *testing.T) {
	layers := map[string]func(g *graph.Graph, x *graph.Node) *graph.Node{
		"conv2d": func(g *graph.Graph, x *graph.Node) *graph.Node {
			return nn.Conv2d(g, "bad", x, nn.Conv{Out: 4, Kernel: 3})
		},
		"batch norm": func(g *graph.Graph, x *graph.Node) *graph.Node { return nn.BatchNorm2d(g, "bad", x, nn.Norm{}) },
		"linear":     func(g *graph.Graph, x *graph.Node) *graph.Node { return nn.Linear(g, "bad", x, nn.Dense{Out: 2}) },
		"dropout":    func(g *graph.Graph, x *graph.Node) *graph.Node { return nn.Dropout(g, "bad", x, 0.5) },
		"average pool": func(g *graph.Graph, x *graph.Node) *graph.Node {
			return nn.AdaptiveAvgPool(g, "bad", x, 2)
		},
		"separable conv": func(g *graph.Graph, x *graph.Node) *graph.Node {
			return nn.SeparableConv(g, "bad", x, nn.Separable{Out: 2, Act: g.Relu})
		},
		"residual block": func(g *graph.Graph, x *graph.Node) *graph.Node {
			return nn.ResidualBlock(g, "bad", x, nn.Residual{Out: 2})
		},
		"pre": func(g *graph.Graph, x *graph.Node) *graph.Node {
			return nn.PreResidualBlock(g, "bad", x, nn.Residual{Out: 2})
		},
		"shortcut": func(g *graph.Graph, x *graph.Node) *graph.Node {
			return nn.SubsampleShortcut(g, "bad", x, 2, 2)
		},
	}
	for name, layer := range layers {
		for what, operand := range map[string]func(g *graph.Graph) *graph.Node{
			"nil":    func(*graph.Graph) *graph.Node { return nil },
			"scalar": func(g *graph.Graph) *graph.Node { return g.Scalar(1) },
			"failed": func(g *graph.Graph) *graph.Node { return g.Add(g.Scalar(1), nil) },
		} {
			g := graph.New()
			y := layer(g, operand(g))
			nn.Logits(g, nn.Linear(g, "after", y, nn.Dense{Out: 2}))
			if g.Err() == nil {
				t.Errorf("%s of %s: no error", name, what)
			} else if what != "failed" && !strings.Contains(g.Err().Error(), "bad") {
				t.Errorf("%s of %s: %v does not name the layer", name, what, g.Err())
			}
		}
	}
}

func TestConvRefusesNumbersThatDoNotFit(t *testing.T) {
	for _, c := range []nn.Conv{{Out: 4}, {Kernel: 3}, {Out: 4, Kernel: 3, Groups: 3}, {Out: 4, Kernel: 9}, {Out: 3, Kernel: 1, Groups: 2}} {
		g := graph.New()
		nn.Conv2d(g, "c", input(g, 1, 4, 8, 8), c)
		if g.Err() == nil || !strings.Contains(g.Err().Error(), "c") {
			t.Errorf("%+v: error %v", c, g.Err())
		}
	}
}
