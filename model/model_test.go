package model_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/model"
	"lowbit/tensor"
)

// published sizes. Parameters: He et al. and the akamaster checkpoints for
// CIFAR, torchvision's model pages for ImageNet; a preresnet differs from its
// resnet in norms only: none behind the stem and in shortcuts, bn1 over the
// block's input, one behind the last block. MACs: convolutions and linear
// layers; torchvision's pages give them in units of 10^9 (1.81, 3.66, 4.09,
// 7.80, 11.51, 15.47). -1: no published figure.
var published = map[string]struct{ params, macs int64 }{
	"resnet20": {269_722, 40_551_040},
	"resnet32": {464_154, 68_862_592},
	"resnet44": {658_586, 97_174_144},
	"resnet56": {853_018, 125_485_696},
	// 20 to 110 is 7.5 times the step from 20 to 32.
	"resnet110":   {1_727_962, 252_887_680},
	"resnet18":    {11_689_512, 1_814_073_344},
	"resnet34":    {21_797_672, 3_663_761_408},
	"resnet50":    {25_557_032, 4_089_184_256},
	"resnet101":   {44_549_160, 7_801_405_440},
	"resnet152":   {60_192_808, 11_513_626_624},
	"preresnet18": {11_687_720, 1_814_073_344},
	"preresnet50": {25_549_352, 4_089_184_256},
	"vgg16bn":     {138_365_992, 15_470_264_320},
	// The shared checkpoint's 4.65 M; the model's page gives 407 M MACs.
	"efficientnet-lite0": {4_652_008, -1},
}

func TestSizesArePublishedOnes(t *testing.T) {
	for name, want := range published {
		g, err := model.Build(name, model.Config{})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := graph.ParamCount(g); got != want.params {
			t.Errorf("%s: %d parameters, want %d", name, got, want.params)
		}
		if got := graph.MACs(g); want.macs > 0 && got != want.macs {
			t.Errorf("%s: %d MACs, want %d", name, got, want.macs)
		}
	}
	g, err := model.Build("efficientnet-lite0", model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if macs := float64(graph.MACs(g)); math.Abs(macs/407e6-1) > 0.06 {
		t.Errorf("efficientnet-lite0: %.0f MACs, want about 407 M", macs)
	}
}

// Every network: the convention of package nn, unique layer and parameter
// names, layers whose sums are the whole, another batch, training, and a
// width, class number and store that fit.
func TestEveryNetworkKeepsTheConvention(t *testing.T) {
	for _, name := range model.Names() {
		info, ok := model.Lookup(name)
		if !ok || info.Name != name || info.Description == "" || info.Dataset == "" {
			t.Errorf("%s: info %+v", name, info)
		}
		g, err := model.Build(name, model.Config{})
		if err != nil {
			t.Error(err)
			continue
		}
		checkConvention(t, name, g, 1, info.Classes)
		b, err := graph.WithBatch(g, 6)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkConvention(t, name, b, 6, info.Classes)
		train, err := graph.Training(b, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		loss := train.Mean(train.OutputNode("logits"))
		grads, err := graph.Gradients(train, loss, train.Params())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, p := range train.Params() {
			stat := p.Op().(graph.Param).Role == graph.Stat
			if (grads[i] == nil) != stat {
				t.Errorf("%s: gradient of %s is there: %v", name, p.Name(), grads[i] != nil)
			}
			if grads[i] != nil && !grads[i].Shape().Equal(p.Shape()) {
				t.Errorf("%s: gradient of %s %v is %v", name, p.Name(), p.Shape(), grads[i].Shape())
			}
		}
		data, err := graph.Encode(g)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if _, err := graph.Decode(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func checkConvention(t *testing.T, name string, g *graph.Graph, batch, classes int) {
	t.Helper()
	if s := g.OutputNode("logits").Shape(); !s.Equal(tensor.Shape{batch, classes}) {
		t.Errorf("%s: logits %v, want [%d %d]", name, s, batch, classes)
	}
	seen := map[string]bool{}
	for _, n := range g.Nodes() {
		if seen[n.Name()] {
			t.Errorf("%s: two nodes named %s", name, n.Name())
		}
		seen[n.Name()] = true
	}
	var macs, params int64
	for _, l := range graph.Layers(g) {
		macs, params = macs+l.MACs, params+l.Params
		if l.WeightBits != graph.FloatBits || l.ActBits != graph.FloatBits || l.WeightQuant != nil {
			t.Errorf("%s: layer %s has bits %d, %d", name, l.Name, l.WeightBits, l.ActBits)
		}
	}
	if macs*int64(batch) != graph.MACs(g) || params != graph.ParamCount(g) {
		t.Errorf("%s: layers sum to %d MACs and %d parameters, the graph has %d and %d", name, macs, params, graph.MACs(g), graph.ParamCount(g))
	}
}

func TestWidthClassesAndInputShapeScale(t *testing.T) {
	for _, name := range model.Names() {
		info, _ := model.Lookup(name)
		whole, err := model.Build(name, model.Config{Classes: 7})
		if err != nil {
			t.Fatal(err)
		}
		g, err := model.Build(name, model.Config{Classes: 7, Width: 0.5, Batch: 2})
		if err != nil {
			t.Error(err)
			continue
		}
		checkConvention(t, name, g, 2, 7)
		if r := float64(graph.ParamCount(g)) / float64(graph.ParamCount(whole)); r < 0.2 || r > 0.4 {
			t.Errorf("%s: width 0.5 leaves %.2f of the parameters, want about a quarter", name, r)
		}
		big := slices.Clone(info.InputShape)
		big[1], big[2] = 2*big[1], 2*big[2]
		if _, err := model.Build(name, model.Config{InputShape: big}); err != nil {
			t.Errorf("%s on %v: %v", name, big, err)
		}
	}
}

func TestInitialisedNetworkHasFiniteParameters(t *testing.T) {
	g, err := model.Build("resnet20", model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := tensor.NewStore()
	if err := graph.InitParams(g, s, 1); err != nil {
		t.Fatal(err)
	}
	if s.Len() != len(g.Params()) {
		t.Errorf("%d tensors for %d parameters", s.Len(), len(g.Params()))
	}
	var sum2 float64
	w := s.Get("layer3.2.conv2.weight").Float32s()
	for _, v := range w {
		sum2 += float64(v) * float64(v)
	}
	want := math.Sqrt(2.0 / (64 * 9)) // Kaiming over the fan in
	if sd := math.Sqrt(sum2 / float64(len(w))); math.Abs(sd/want-1) > 0.02 {
		t.Errorf("standard deviation %g, want %g", sd, want)
	}
}

func TestBuildErrorsNameTheModel(t *testing.T) {
	_, err := model.Build("resnet21", model.Config{})
	if !errors.Is(err, model.ErrUnknown) || !strings.Contains(err.Error(), "resnet21") || !strings.Contains(err.Error(), "resnet20,") {
		t.Errorf("error %v, want ErrUnknown with the name and the list", err)
	}
	for _, c := range []model.Config{
		{Classes: -1}, {Width: -1}, {Width: math.NaN()}, {Width: 1e9}, {InputShape: []int{3, 32}}, {InputShape: []int{3, 0, 32}}, {Batch: -1},
		{InputShape: []int{3, 30, 30}}, // three poolings do not fit the average pool
	} {
		if _, err := model.Build("vgg16bn", c); err == nil || !strings.Contains(err.Error(), "vgg16bn") {
			t.Errorf("%+v: error %v, want one that names the model", c, err)
		}
	}
}

func TestRegisterRefusesWhatIsIncomplete(t *testing.T) {
	good := model.Info{InputShape: []int{1, 4, 4}, Classes: 2, Mean: []float32{0}, Std: []float32{1}}
	build := func(c model.Config) (*graph.Graph, error) { g, _ := c.Input(); return g, nil }
	for name, change := range map[string]func(*model.Info){
		"a/b": func(*model.Info) {}, "": func(*model.Info) {}, "a.b": func(*model.Info) {},
		"resnet20": func(*model.Info) {},
		"t-shape":  func(i *model.Info) { i.InputShape = []int{4} },
		"t-class":  func(i *model.Info) { i.Classes = 0 },
		"t-mean":   func(i *model.Info) { i.Mean = nil },
		"t-std":    func(i *model.Info) { i.Std = []float32{0} },
	} {
		info := good
		change(&info)
		if err := model.Register(name, info, build); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
			t.Errorf("%q: error %v", name, err)
		}
	}
	if err := model.Register("t-nil", good, nil); err == nil {
		t.Error("a network without a builder was taken")
	}
	if err := model.Register("t-empty", good, build); err != nil {
		t.Fatal(err)
	}
	defer model.Unregister("t-empty")
	if _, err := model.Build("t-empty", model.Config{}); err == nil || !strings.Contains(err.Error(), "logits") {
		t.Errorf("a network without logits: error %v", err)
	}
}
