package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/format/formattest"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// network is a small one with most that is exported.
func network(t testing.TB) (*graph.Graph, *tensor.Store) {
	t.Helper()
	g := graph.New()
	x := nn.Input(g, 1, 3, 8, 8)
	x = g.Relu(nn.BatchNorm2d(g, "bn", nn.Conv2d(g, "conv", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}), nn.Norm{}))
	x = g.Relu6(nn.Conv2d(g, "depth", g.MaxPool2D(x, 2, 2, 0), nn.Conv{Out: 4, Kernel: 3, Pad: 1, Groups: 4, Bias: true}))
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: 2}))
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		t.Fatal(err)
	}
	return g, store
}

func encoded(t testing.TB) []byte {
	t.Helper()
	g, store := network(t)
	m, err := Export(g, store, "")
	if err != nil {
		t.Fatal(err)
	}
	return m.Encode()
}

func load(b []byte) error {
	m, err := Decode(b)
	if err != nil {
		return err
	}
	_, err = Import(m, Options{Free: map[string]int{"batch": 1, "sequence": 4}})
	return err
}

func TestExportImport(t *testing.T) {
	b := encoded(t)
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Encode(), b) {
		t.Error("written again, the file differs")
	}
	net, err := Import(m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, store := network(t)
	for _, name := range []string{"conv.weight", "bn.weight", "bn.running_var", "depth.weight", "fc.weight"} {
		want, got := store.Get(name), net.Store.Get(name)
		if got == nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Errorf("parameter %q: %v, want %v", name, got, want)
		}
	}
	have, want := graph.Layers(net.Graph), graph.Layers(g)
	if len(have) != len(want) {
		t.Fatalf("%d layers, want %d", len(have), len(want))
	}
	for i := range want {
		if have[i].Name != want[i].Name && want[i].Op != "batch_norm" || have[i].MACs != want[i].MACs {
			t.Errorf("layer %q of %d MACs, want %q of %d", have[i].Name, have[i].MACs, want[i].Name, want[i].MACs)
		}
	}
}

func TestHostile(t *testing.T) {
	b := encoded(t)
	formattest.Truncated(t, b, load)
	if formattest.BitFlips(t, b[:600], func(b []byte) error { _, err := Decode(b); return err }) == 0 {
		t.Error("no damaged file is refused")
	}
	decode := func(b []byte) error { _, err := Decode(b); return err }
	formattest.Bytes(t, b[:600], MaxMultiple, 1<<20, decode)
}

// model makes a file of nodes over an input x [N, 3, 4, 4] and an output y.
func modelOf(nodes ...Node) *Model {
	g := Graph{Nodes: nodes}
	g.Inputs = []Value{{Name: "x", Type: Float, Dims: []Dim{{Name: "N"}, {Size: 3}, {Size: 4}, {Size: 4}}}}
	g.Outputs = []Value{{Name: "y", Type: Float, Dims: []Dim{}}}
	return NewModel(g, 17, "")
}

func op(op, out string, in ...string) Node { return Node{Op: op, Inputs: in, Outputs: []string{out}} }

func TestImportNamesWhatIsWrong(t *testing.T) {
	huge := &Tensor{Name: "w", Type: Float, Dims: []int64{1 << 40, 1 << 40}, Raw: []byte{}}
	outside := &Tensor{Name: "w", Type: Float, Dims: []int64{1}, External: &External{Location: "../secret", Length: -1}}
	shape := IntTensor("dims", Int64, []int{1 << 20, 1 << 20}, 2)
	with := func(t *Tensor, nodes ...Node) *Model {
		m := modelOf(nodes...)
		m.Graph.Initializers = []*Tensor{t}
		return m
	}
	for what, c := range map[string]struct {
		m    *Model
		want []string
	}{
		"unsupported": {modelOf(op("Frob", "a", "x"), op("Blub", "b", "x"), op("Add", "y", "a", "b")), []string{"2 nodes", "Frob", "Blub"}},
		"cycle":       {modelOf(op("Relu", "a", "b"), op("Relu", "b", "a"), op("Relu", "y", "b")), []string{`"b"`, "cycle"}},
		"twice":       {modelOf(op("Relu", "y", "x"), op("Relu", "y", "x")), []string{`"y"`, "another"}},
		"no operand":  {modelOf(op("Relu", "y")), []string{"Relu", "missing"}},
		"huge":        {with(huge, op("Add", "y", "x", "w")), nil},
		"fold":        {with(shape, op("ConstantOfShape", "c", "dims"), op("Add", "y", "x", "c")), []string{"ConstantOfShape"}},
		"outside":     {with(outside, op("Add", "y", "x", "w")), []string{"w", "external"}},
	} {
		_, err := Import(c.m, Options{})
		if what == "huge" {
			_, err = Decode(c.m.Encode())
		}
		formattest.WantError(t, what, err, c.want...)
	}
}

func TestExternalDataStayInTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "data"), filepath.Join(dir, "..", "secret")} {
		if err := os.WriteFile(path, []byte{0, 0, 128, 63}, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../secret", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for location, ok := range map[string]bool{"data": true, "../secret": false, "link": false, "/etc/passwd": false, "none": false} {
		w := &Tensor{Name: "w", Type: Float, Dims: []int64{1}, External: &External{Location: location, Length: -1}}
		m := modelOf(op("Add", "y", "x", "w"))
		m.Graph.Initializers = []*Tensor{w}
		err := m.fetch(dir)
		if ok != (err == nil) {
			t.Errorf("%q: %v", location, err)
		}
		if err != nil && !strings.Contains(err.Error(), `"w"`) {
			t.Errorf("%q: %v, want the tensor's name", location, err)
		}
	}
}

func FuzzImport(f *testing.F) {
	f.Add(encoded(f))
	f.Add(modelOf(op("Relu", "y", "x")).Encode())
	for _, name := range []string{"classes-opset17", "tanh-opset20-dynamo"} {
		b, err := os.ReadFile("testdata/bert/" + name + ".onnx")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := load(b); err != nil && err.Error() == "" {
			t.Error("an error without a text")
		}
		inputs, err := peekInputs(bytes.NewReader(b), int64(len(b)))
		if m, bad := Decode(b); bad == nil && err == nil && len(inputs) != len(m.Graph.Inputs) {
			t.Errorf("%d inputs by themselves, %d in the model", len(inputs), len(m.Graph.Inputs))
		}
	})
}
