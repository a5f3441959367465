package load_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/internal/testenv"
	"lowbit/load"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
	"lowbit/train"
)

// load-tiny is the network of peer/golden_load.py.
func TestMain(m *testing.M) {
	info := model.Info{InputShape: []int{1, 6, 6}, Classes: 3, Dataset: "none", Mean: []float32{0.5}, Std: []float32{0.25}}
	err := model.Register("load-tiny", info, func(c model.Config) (*graph.Graph, error) {
		g, x := c.Input()
		x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: c.Channels(4), Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
		nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: c.Classes}))
		return g, g.Err()
	})
	if err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func must(t *testing.T, spec string, o load.Options) *load.Loaded {
	t.Helper()
	l, err := load.Model(spec, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wantError loads and checks that the error holds each of the texts.
func wantError(t *testing.T, spec string, o load.Options, texts ...string) {
	t.Helper()
	l, err := load.Model(spec, o)
	if err == nil || l != nil {
		t.Errorf("%s %+v: loaded %v, error %v; want an error alone", spec, o, l != nil, err)
		return
	}
	for _, text := range append(texts, "load: ") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s %+v: error %q, want one with %q", spec, o, err, text)
		}
	}
}

// run evaluates a network on the golden's input.
func run(t *testing.T, l *load.Loaded) []float32 {
	t.Helper()
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(l.Graph, l.Store)
	if err != nil {
		t.Fatal(err)
	}
	x := p.Input(nn.InputName).Float32s()
	for i := range x {
		x[i] = float32(i) / 36
	}
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
	return append([]float32{}, p.Output(nn.LogitsName).Float32s()...)
}

// Float32 sums of 36 and fewer terms of order 1, in another order.
const logitTolerance = 1e-6

func TestPyTorchFilesGivePyTorchsLogits(t *testing.T) {
	b, err := os.ReadFile("testdata/tiny.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Logits []float32 }
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"testdata/tiny.pth", "testdata/tiny.th"} {
		l := must(t, "load-tiny", load.Options{Weights: f})
		if l.Weights != f || l.Info.Name != "load-tiny" || l.Record != nil {
			t.Errorf("%s: %+v", f, l)
		}
		got := run(t, l)
		if len(got) != len(golden.Logits) {
			t.Fatalf("%s: logits %v, want %v", f, got, golden.Logits)
		}
		for i, v := range golden.Logits {
			if math.Abs(float64(got[i]-v)) > logitTolerance {
				t.Errorf("%s: logits %v, want %v", f, got, golden.Logits)
				break
			}
		}
		if alone := must(t, f, load.Options{}); alone.Info.Name != "load-tiny" || alone.Weights != f {
			t.Errorf("%s alone: %+v", f, alone)
		}
	}
}

func TestSharedNetworksLoad(t *testing.T) {
	for name, file := range map[string]string{
		"resnet20":           "cifar10/cifar10_resnet20-12fca82f",
		"resnet32":           "cifar10/cifar10_resnet32-d509ac18",
		"resnet44":           "cifar10/cifar10_resnet44-014dd654",
		"resnet56":           "cifar10/cifar10_resnet56-4bfd9763",
		"efficientnet-lite0": "imagenet/efficientnet-lite0",
	} {
		path := testenv.Shared(t, "models", file+".safetensors")
		l := must(t, name, load.Options{Weights: path})
		if l.Store.Len() != len(l.Graph.Params()) || l.Metadata["license"] == "" {
			t.Errorf("%s: %d tensors for %d parameters, metadata %v", name, l.Store.Len(), len(l.Graph.Params()), l.Metadata)
		}
		if alone := must(t, path, load.Options{}); alone.Info.Name != name {
			t.Errorf("%s is taken for %q, want %s", path, alone.Info.Name, name)
		}
		wantError(t, "resnet110", load.Options{Weights: path}, " missing: ", " more", path, "resnet110")
	}
}

func TestFileWithItsGraphLoadsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.safetensors")
	l := must(t, "load-tiny", load.Options{Weights: "testdata/tiny.pth", Config: model.Config{Batch: 2}})
	if err := l.Write(path, map[string]string{"origin": "test"}); err != nil {
		t.Fatal(err)
	}
	again := must(t, path, load.Options{Config: model.Config{Batch: 1}})
	if again.Info.Name != "load-tiny" || again.Info.Std[0] != 0.25 || again.Metadata["origin"] != "test" || again.Graph.Batch() != 1 {
		t.Errorf("%+v", again)
	}
	one := must(t, "load-tiny", load.Options{Weights: "testdata/tiny.pth"})
	a, b := run(t, one), run(t, again)
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("logits %v, then %v", a, b)
		}
	}
	other := must(t, path, load.Options{Weights: "testdata/tiny.th"})
	if other.Weights != "testdata/tiny.th" {
		t.Errorf("weights from %q", other.Weights)
	}
	wantError(t, path, load.Options{Config: model.Config{Classes: 4}}, "zoo name")
}

func TestFileThatNamesAZooNetworkLoadsAlone(t *testing.T) {
	l := must(t, "load-tiny", load.Options{Weights: "testdata/tiny.pth"})
	dir := t.TempDir()
	write := func(name string, meta map[string]string) string {
		p := filepath.Join(dir, name)
		if err := safetensors.Write(p, l.Store, meta); err != nil {
			t.Fatal(err)
		}
		return p
	}
	good := must(t, write("a.safetensors", map[string]string{load.MetaModel: "load-tiny"}), load.Options{})
	if good.Info.Name != "load-tiny" || good.Info.Mean[0] != 0.5 {
		t.Errorf("info %+v", good.Info)
	}
	wantError(t, write("b.safetensors", map[string]string{load.MetaModel: "nonesuch"}), load.Options{}, "nonesuch")
	if bare := must(t, write("c.safetensors", nil), load.Options{}); bare.Info.Name != "load-tiny" {
		t.Errorf("a file that fits load-tiny is taken for %q", bare.Info.Name)
	}
	wantError(t, write("d.safetensors", map[string]string{load.MetaGraph: "{}"}), load.Options{}, "no version")
	wantError(t, write("e.safetensors", map[string]string{load.MetaGraph: `{"version":1,"nodes":[],"outputs":[]}`}), load.Options{}, "logits")
	wantError(t, write("f.safetensors", map[string]string{load.MetaModel: "load-tiny", load.MetaInfo: "["}), load.Options{}, load.MetaInfo)
}

// store returns the tiny network's tensors, changed.
func changed(t *testing.T, change func(s *tensor.Store)) string {
	t.Helper()
	s := must(t, "load-tiny", load.Options{Weights: "testdata/tiny.pth"}).Store.Clone()
	change(s)
	p := filepath.Join(t.TempDir(), "w.safetensors")
	if err := safetensors.Write(p, s, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func put(s *tensor.Store, name string, x *tensor.Tensor) {
	s.Delete(name)
	if err := s.Put(name, x); err != nil {
		panic(err)
	}
}

func TestAllDifferencesStandInOneError(t *testing.T) {
	p := changed(t, func(s *tensor.Store) {
		s.Delete("bn1.weight")
		s.Delete("fc.bias")
		put(s, "head.bias", tensor.New(tensor.F32, 3))
		put(s, "conv1.weight", tensor.New(tensor.F32, 4, 1, 5, 5))
	})
	wantError(t, "load-tiny", load.Options{Weights: p}, p, "load-tiny",
		"2 missing: bn1.weight, fc.bias", "1 unexpected: head.bias", "conv1.weight is [4 1 5 5], want [4 1 3 3]")
	wantError(t, p, load.Options{}, p, "fits none of the zoo", "--weights")
	_, err := load.Model("load-tiny", load.Options{Weights: p})
	if !errors.Is(err, tensor.ErrShape) {
		t.Errorf("%v does not wrap ErrShape", err)
	}
}

func TestValuesThatAreNotFiniteAreRefused(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(-1)} {
		p := changed(t, func(s *tensor.Store) { s.Get("fc.weight").Float32s()[5] = float32(v) })
		wantError(t, "load-tiny", load.Options{Weights: p}, `"fc.weight"`, "element 5", "finite")
	}
}

func TestOtherTypesAndTheParallelPrefix(t *testing.T) {
	p := changed(t, func(s *tensor.Store) {
		for _, n := range s.Names() {
			x := s.Get(n)
			s.Delete(n)
			if n == "fc.bias" { // 1, 0.5, -2 as bfloat16
				x = tensor.New(tensor.BF16, 3)
				copy(x.Uint16s(), []uint16{0x3f80, 0x3f00, 0xc000})
			}
			put(s, "module."+n, x)
		}
		put(s, "module.bn1.num_batches_tracked", tensor.New(tensor.I64))
	})
	l := must(t, "load-tiny", load.Options{Weights: p})
	if b := l.Store.Get("fc.bias"); b.DType() != tensor.F32 || b.Float32s()[2] != -2 {
		t.Errorf("fc.bias is %v", b)
	}
	twice := changed(t, func(s *tensor.Store) { put(s, "module.fc.bias", tensor.New(tensor.F32, 3)) })
	wantError(t, "load-tiny", load.Options{Weights: twice}, "with and without")
}

func TestSpecsThatNameNothing(t *testing.T) {
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(notes, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	wantError(t, "resnet21", load.Options{}, `"resnet21"`, "resnet20", "neither a file")
	wantError(t, dir, load.Options{}, "run.json")
	wantError(t, notes, load.Options{}, ".safetensors")
	wantError(t, "load-tiny", load.Options{Weights: notes}, ".safetensors")
	wantError(t, "load-tiny", load.Options{Weights: filepath.Join(dir, "none.pth")}, "none.pth")
	wantError(t, "load-tiny", load.Options{}, "load-tiny", "--weights", "lowbit train")
	if _, err := load.Model("load-tiny", load.Options{}); !errors.Is(err, load.ErrNoWeights) {
		t.Errorf("%v does not wrap ErrNoWeights", err)
	}
}

func TestBuiltInWeightsLoad(t *testing.T) {
	for _, name := range load.BuiltIn() {
		l := must(t, name, load.Options{})
		if l.Weights != "built in" || l.Metadata["origin"] == "" || l.Metadata["license"] == "" {
			t.Errorf("%s: weights %q, metadata %v; want an origin and a licence", name, l.Weights, l.Metadata)
		}
	}
}

// A network of another width has no weights of its own; a message about weights
// that do not fit lists the first of many names.
func TestBuiltInWeightsAreOfTheNetworkAsItStands(t *testing.T) {
	narrow := load.Options{Config: model.Config{Width: 0.25}}
	if _, err := load.Model("resnet20", narrow); !errors.Is(err, load.ErrNoWeights) || !strings.Contains(err.Error(), "another width") {
		t.Errorf("%v, want ErrNoWeights and the reason", err)
	}
	if l := must(t, "resnet20", load.Options{Config: model.Config{Width: 1, Classes: 10}}); l.Weights != "built in" {
		t.Errorf("weights %q, want the built-in ones of the same network", l.Weights)
	}
	whole := filepath.Join(t.TempDir(), "whole.safetensors")
	if err := must(t, "resnet20", load.Options{}).Write(whole, nil); err != nil {
		t.Fatal(err)
	}
	narrow.Weights = whole
	_, err := load.Model("resnet20", narrow)
	if !errors.Is(err, tensor.ErrShape) || len(err.Error()) > 1000 || !strings.Contains(err.Error(), "more") {
		t.Errorf("%v, want a short error that wraps ErrShape", err)
	}
}

// A real training run of one epoch, opened as a directory and by its files.
func TestRunDirectoryLoads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	ds, err := data.New("dots", "train", []string{"a", "b", "c"}, 1, 6, 6, make([]uint8, 36*12), make([]int32, 12))
	if err != nil {
		t.Fatal(err)
	}
	ds.Normalize = data.Normalization{Mean: []float32{0.1}, Std: []float32{0.2}}
	start := must(t, "load-tiny", load.Options{Weights: "testdata/tiny.pth"})
	e := engine.New(1)
	defer e.Close()
	c := train.DefaultConfig()
	c.Epochs, c.Batch, c.Norm = 1, 4, ds.Normalize
	_, err = train.Run(context.Background(), c, train.Job{
		Engine: e, Graph: start.Graph, Store: start.Store, Train: ds, Test: ds, Out: dir, Model: "load-tiny",
	})
	if err != nil {
		t.Fatal(err)
	}
	l := must(t, dir, load.Options{Config: model.Config{Batch: 5}})
	if l.Record == nil || l.Info.Name != "load-tiny" || l.Info.Mean[0] != 0.1 || l.Graph.Batch() != 5 {
		t.Errorf("%+v", l)
	}
	if l.Store.Len() != len(l.Graph.Params()) {
		t.Errorf("%d tensors for %d parameters", l.Store.Len(), len(l.Graph.Params()))
	}
	for _, n := range l.Store.Names() {
		if string(l.Store.Get(n).Bytes()) != string(start.Store.Get(n).Bytes()) {
			t.Errorf("%s is not what training left", n)
		}
	}
	byFile := must(t, filepath.Join(dir, "last.safetensors"), load.Options{})
	if string(byFile.Store.Get("fc.weight").Bytes()) != string(l.Store.Get("fc.weight").Bytes()) || byFile.Info.Mean[0] != 0.1 {
		t.Error("the file of the run is another network than the run")
	}
	other := must(t, dir, load.Options{Weights: "testdata/tiny.pth"})
	if string(other.Store.Get("fc.weight").Bytes()) == string(l.Store.Get("fc.weight").Bytes()) {
		t.Error("other weights changed nothing")
	}
	if err := os.WriteFile(filepath.Join(dir, "graph.json"), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	wantError(t, dir, load.Options{}, "graph.json")
	wantError(t, filepath.Join(dir, "last.safetensors"), load.Options{}, "graph.json")
}
