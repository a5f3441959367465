package infer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lowbit/format/onnx"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/tensor"
)

// onnxNets are small networks with all that is exported: convolutions of every
// kind, both residual policies, poolings, slices and padding, several widths.
var onnxNets = []struct {
	name, zoo  string
	perChannel bool
	residual   bool
	w, a       int
}{
	{"resnet-w8a8", "resnet20", true, true, 8, 8}, {"resnet-w4a4", "resnet20", true, true, 4, 4}, {"resnet-w2a3", "resnet20", false, true, 2, 3},
	{"resnet-float-w4a4", "resnet20", true, false, 4, 4}, {"mobile-w8a8", "mobile", true, true, 8, 8}, {"vgg-w4a8", "vgg", false, true, 4, 8},
}

// onnxExamples is the number of inputs of each network.
const onnxExamples = 4

func onnxNet(t *testing.T, i int) (*graph.Graph, *tensor.Store, []float32) {
	t.Helper()
	n := onnxNets[i]
	g, err := model.Build(zooNet(t, n.zoo), model.Config{Width: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	g = quantizeGraph(t, g, n.perChannel, n.residual, func(string) (int, int) { return n.w, n.a })
	shape := append([]int{onnxExamples}, g.Inputs()[0].Shape()[1:]...)
	store := randomStore(t, g, uint64(i+1))
	return g, store, randomInput(shape, uint64(i+1))
}

// zooNet is a small network of the zoo whose name begins so.
func zooNet(t *testing.T, prefix string) string {
	t.Helper()
	for _, name := range model.Names() {
		info, _ := model.Lookup(name)
		if len(name) >= len(prefix) && name[:len(prefix)] == prefix && len(info.InputShape) == 3 && info.InputShape[1] <= 32 {
			return name
		}
	}
	t.Fatalf("the zoo has no small %s", prefix)
	return ""
}

type onnxGolden struct {
	Nets map[string]struct {
		SHA256  string
		Outputs [][]float32
		Nodes   map[string]int
	}
}

// What ONNX Runtime computes with an exported file is what a session computes,
// bit for bit. With LOWBIT_ONNX_OUT set to a folder the files are written there, for the script
// that makes the golden.
func TestONNXRuntimeComputesTheSame(t *testing.T) {
	var want onnxGolden
	if b, err := os.ReadFile("testdata/onnx.json"); err == nil {
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range onnxNets {
		g, store, in := onnxNet(t, i)
		m, err := ONNX(g, store, Info{Name: n.name, Labels: []string{"a", "b"}})
		if err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		b := m.Encode()
		if dir := os.Getenv("LOWBIT_ONNX_OUT"); dir != "" {
			writeONNX(t, dir, n.name, b, in, g.Inputs()[0].Shape()[1:])
			continue
		}
		golden, ok := want.Nets[n.name]
		if !ok {
			t.Fatalf("%s: no golden; make it with peer/golden_onnx.py", n.name)
		}
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != golden.SHA256 {
			t.Errorf("%s: the file is another than the one that ONNX Runtime ran: make the golden anew", n.name)
		}
		if golden.Nodes["Conv"]+golden.Nodes["FusedConv"] > 0 {
			t.Errorf("%s: ONNX Runtime computes convolutions in floats: %v", n.name, golden.Nodes)
		}
		got := sessionOutputs(t, g, store, in)
		for k, row := range golden.Outputs {
			if bound := foreignBound(golden.Nodes); relative(got[k], row) > bound {
				t.Errorf("%s, example %d: results differ by %g of the largest, want at most %g", n.name, k, relative(got[k], row), bound)
			}
		}
	}
}

// foreignBound is the largest difference, over the largest result: none, but
// where a mean of floats is added up in another order.
func foreignBound(nodes map[string]int) float64 {
	if nodes["AveragePool"] > 0 {
		return 1e-6
	}
	return 0
}

func relative(got, want []float32) float64 {
	var diff, most float64
	for i, v := range want {
		diff, most = max(diff, math.Abs(float64(got[i]-v))), max(most, math.Abs(float64(v)))
	}
	return diff / most
}

func sessionOutputs(t *testing.T, g *graph.Graph, store *tensor.Store, in []float32) [][]float32 {
	t.Helper()
	m, err := Lower(g, store)
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewSession(Options{Threads: 1})
	defer s.Close()
	out := make([]float32, onnxExamples*tensor.Shape(m.OutputShape()).Size())
	if err := s.Run(in, out); err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(out, len(out)/onnxExamples))
}

func writeONNX(t *testing.T, dir, name string, b []byte, in []float32, shape []int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name+".onnx"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	s := tensor.NewStore()
	if err := s.Put("input", tensor.FromFloat32s(in, append([]int{onnxExamples}, shape...)...)); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.Write(filepath.Join(dir, name+".safetensors"), s, nil); err != nil {
		t.Fatal(err)
	}
}

// A file read back is the network that was written: the same codes in every layer.
func TestONNXReadBack(t *testing.T) {
	for i, n := range onnxNets {
		g, store, in := onnxNet(t, i)
		m, err := ONNX(g, store, Info{})
		if err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		if m, err = onnx.Decode(m.Encode()); err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		net, err := onnx.Import(m, onnx.Options{})
		if err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		back, err := Lower(net.Graph, net.Store)
		if err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		r, err := NewReference(g, store)
		if err != nil {
			t.Fatal(err)
		}
		c, err := back.CompareNamed(r, in[:len(in)/onnxExamples])
		if err != nil {
			t.Fatalf("%s: %v", n.name, err)
		}
		if !c.Equal() || c.Layers < 8 {
			t.Errorf("%s: %d layers compared, %v", n.name, c.Layers, c.First)
		}
		// And the other way round: two forms of one value are two nodes of the file.
		written, err := Lower(g, store)
		if err != nil {
			t.Fatal(err)
		}
		if r, err = NewReference(net.Graph, net.Store); err != nil {
			t.Fatal(err)
		}
		if c, err = written.CompareNamed(r, in[:len(in)/onnxExamples]); err != nil || !c.Equal() || c.Layers < 8 {
			t.Errorf("%s, against the file: %+v, %v", n.name, c, err)
		}
	}
}

// What cannot be written is listed, all of it.
func TestONNXNamesWhatDoesNotFit(t *testing.T) {
	g, err := model.Build("resnet20", model.Config{Width: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := ONNX(g, store, Info{}); err == nil || len(err.Error()) < 20 {
		t.Errorf("error %v for a network without quantizers", err)
	}
}

// Files that NNCF quantized run on integers, scales of channels of activations
// included, and give what ONNX Runtime gives.
func TestNetworksOfNNCFRunOnIntegers(t *testing.T) {
	const dir, tolerance = "../format/onnx/testdata/nncf/", 0.02 // a code beside a tie
	var want struct {
		Input []float32
		Nets  map[string]struct{ Outputs [][]float32 }
	}
	b, err := os.ReadFile(dir + "golden.json")
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil || len(want.Nets) < 2 {
		t.Fatalf("%d networks, %v", len(want.Nets), err)
	}
	for name, w := range want.Nets {
		m, err := onnx.Read(dir + name + ".onnx")
		if err != nil {
			t.Fatal(err)
		}
		net, err := onnx.Import(m, onnx.Options{})
		if err != nil {
			t.Fatal(err)
		}
		model, err := Lower(net.Graph, net.Store)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		integers := 0
		for _, i := range model.Explain() {
			if i.Kind == "conv2d" && i.Integer {
				integers++
			}
			if i.Kind == "div" || i.Kind == "mul" {
				t.Errorf("%s: scales of channels are a %s in floats", name, i.Kind)
			}
		}
		if integers != 4 {
			t.Errorf("%s: %d convolutions on integers, want 4", name, integers)
		}
		r, err := NewReference(net.Graph, net.Store)
		if err != nil {
			t.Fatal(err)
		}
		in := want.Input[:len(want.Input)/onnxExamples]
		if c, err := model.Compare(r, in); err != nil || !c.Equal() {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		got := sessionOutputs(t, net.Graph, net.Store, want.Input)
		for k, row := range w.Outputs {
			if d := relative(got[k], row); d > tolerance {
				t.Errorf("%s, example %d: results differ by %g of the largest", name, k, d)
			}
		}
	}
}
