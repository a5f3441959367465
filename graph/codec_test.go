package graph_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// everyOp builds a graph in which each op stands at least once.
func everyOp(t testing.TB) *graph.Graph {
	t.Helper()
	g := graph.New()
	x := g.Input("input", tensor.F32, 2, 4, 8, 8)
	labels := g.Input("labels", tensor.I32, 2)
	rng := g.FixedInput("rng", tensor.I64, 2)
	param := func(name string, role graph.Role, shape ...int) *graph.Node {
		return g.Param(graph.Param{Name: name, Shape: shape, Role: role, Init: graph.Init{Kind: graph.InitNormal, Value: 0.1}})
	}
	q := graph.FakeQuant{Spec: quant.Spec{Bits: 3, Signed: true}, StepGrad: graph.StepLSQ, GradScale: 0.1}
	w := g.FakeQuant(param("conv.weight", graph.Weight, 8, 2, 3, 3), param("conv.weight_step", graph.Step, 1), q).Named("conv.weight_quant")
	x.Named("input")
	y := g.Conv2D(x, w, graph.Conv2D{Stride: [2]int{2, 1}, Pad: [4]int{0, 1, 1, 1}, Dilation: [2]int{1, 1}, Groups: 2}).Named("conv")
	y = g.Apply(graph.BatchNorm{Eps: 1e-5, Momentum: 0.1}, y, param("bn.weight", graph.Norm, 8), param("bn.bias", graph.Norm, 8),
		param("bn.running_mean", graph.Stat, 8), param("bn.running_var", graph.Stat, 8)).Named("bn")
	y = g.MaxPool2D(g.Relu6(y), 2, 2, 0)
	y = g.AvgPool2D(y, 2, 1, 1)
	u := graph.FakeQuant{Spec: quant.Spec{Bits: 4}, StepGrad: graph.StepPACT}
	y = g.FakeQuant(y, param("fc.input_step", graph.Step, 1), u)
	codes := g.Apply(graph.QuantCodes{Spec: u.Spec}, y, g.ParamNode("fc.input_step"))
	g.Output("codes", codes)
	y = g.Pad(g.Slice(y, 1, 0, 0, 2), []int{0, 2, 0, 0}, []int{0, 2, 0, 0}, 0.5)
	turned := g.Transpose(y, 0, 1, 3, 2).Named("odd \"name\" é")
	y = g.Concat(1, y, g.Transpose(turned, 0, 1, 3, 2))
	y = g.Apply(graph.Dropout{Rate: 0.5, Key: 1<<64 - 1}, y, rng)
	y = g.Add(g.Sum(y, 2, 3), g.GlobalAvgPool(y))
	for _, f := range []graph.UnaryKind{graph.Neg, graph.Abs, graph.Exp, graph.Sqrt, graph.Log, graph.Sigmoid, graph.Tanh, graph.Erf, graph.Relu} {
		y = g.Apply(graph.Unary{F: f}, y)
	}
	for _, f := range []graph.BinaryKind{graph.Sub, graph.Mul, graph.Div, graph.Max, graph.Min, graph.Greater} {
		y = g.Add(y, g.Apply(graph.Binary{F: f}, y, g.Scalar(0.25)))
	}
	logits := g.Linear(y, param("fc.weight", graph.Weight, 10, 16))
	g.Output("logits", logits)
	soft := g.Apply(graph.Softmax{}, g.Apply(graph.Softmax{Log: true}, logits))
	ce := g.Apply(graph.CrossEntropy{Smooth: 0.1}, logits, labels)
	kl := g.Apply(graph.KLDivergence{T: 2}, logits, soft)
	loss := g.Add(g.Mean(g.Add(ce, kl)), g.Mean(soft))
	loss = g.Add(loss, g.Mean(transformerOps(g, param)))
	g.Output("loss", loss)
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

// transformerOps appends the ops of transformers to everyOp's parts: a value
// [2*4, 8] of two sequences of four tokens.
func transformerOps(g *graph.Graph, param func(name string, role graph.Role, shape ...int) *graph.Node) *graph.Node {
	ids := g.Input("ids", tensor.I32, 2, 4)
	position := g.FixedInput("position", tensor.I32, 1)
	lengths := g.Input("lengths", tensor.I32, 2)
	x := g.Embedding(param("embed.weight", graph.Weight, 11, 8), g.Apply(graph.Reshape{Dims: []int{-1}}, ids))
	x = g.LayerNorm(x, param("ln.weight", graph.Norm, 8), param("ln.bias", graph.Norm, 8), 1e-5)
	x = g.RMSNorm(x, param("rms.weight", graph.Norm, 8), 1e-6)
	x = g.SiLU(g.ELU(g.GELU(g.GELUTanh(x))))
	x = g.Add(x, g.Spike(g.Apply(graph.Ternary{Hysteresis: 0.1}, x, param("last", graph.Stat, 8, 8))))
	x = g.DynamicQuant(x, quant.Spec{Bits: 8, Signed: true, Granularity: quant.PerToken})
	rope := graph.RoPE{HeadDim: 4, Seq: 4, Context: 16, Theta: 1e4, Scaling: graph.RoPEScaling{Factor: 8, Low: 1, High: 4, Original: 64}}
	q := g.Apply(rope, x, position)
	a := graph.Attention{Mask: graph.Mask{Seq: 4, Causal: true, Lengths: true}, Heads: 2, KVHeads: 2}
	y := g.Apply(a, q, q, x, lengths)
	y = g.Add(y, a.Compose(g, []*graph.Node{q, q, x, lengths}, nil))
	y = g.Mul(y, g.Reshape(g.Apply(graph.LengthMask{Seq: 4}, lengths), 8, 1))
	g.Output("after", g.Apply(graph.After{}, x, y))
	cache := g.Input("cache.k", tensor.F32, 2, 16, 8)
	g.Output("cache.k", g.Apply(graph.CacheAppend{Seq: 4}, cache, q, position))
	return y
}

// training adds gradients and updates to everyOp, before and after batch norms
// are replaced by those of training.
func training(t testing.TB, train bool) *graph.Graph {
	t.Helper()
	g := everyOp(t)
	var err error
	if train {
		if g, err = graph.Training(g, nil); err != nil {
			t.Fatal(err)
		}
	}
	var wrt []*graph.Node
	for _, p := range g.Params() {
		if p.Op().(graph.Param).Role != graph.Stat {
			wrt = append(wrt, p)
		}
	}
	grads, err := graph.Gradients(g, g.OutputNode("loss"), append(wrt, g.InputNode("input")))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range wrt {
		g.Update(p, g.Sub(p, g.Mul(grads[i], g.Scalar(0.01))))
	}
	g.Output("grad:input", grads[len(wrt)])
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}

func roundTrip(t testing.TB, g *graph.Graph) *graph.Graph {
	t.Helper()
	a, err := graph.Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	d, err := graph.Decode(a)
	if err != nil {
		t.Fatal(err)
	}
	b, err := graph.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("encoding again gives other bytes:\n%s\n%s", a, b)
	}
	return d
}

func TestDecodeGivesTheGraphThatWasEncoded(t *testing.T) {
	for _, g := range []*graph.Graph{everyOp(t), training(t, false), training(t, true), graph.New()} {
		d := roundTrip(t, g)
		if len(d.Nodes()) != len(g.Nodes()) {
			t.Fatalf("%d nodes, want %d", len(d.Nodes()), len(g.Nodes()))
		}
		for i, n := range g.Nodes() {
			m := d.Nodes()[i]
			if m.Name() != n.Name() || m.Type().String() != n.Type().String() || !reflect.DeepEqual(m.Op(), n.Op()) {
				t.Errorf("node %d: %s %v %+v, want %s %v %+v", i, m.Name(), m.Type(), m.Op(), n.Name(), n.Type(), n.Op())
			}
		}
		for _, in := range g.Inputs() {
			if d.InputNode(in.Name()) == nil {
				t.Errorf("input %q is lost", in.Name())
			}
		}
		for _, p := range g.Params() {
			if d.ParamNode(p.Name()) == nil {
				t.Errorf("param %q is lost", p.Name())
			}
		}
		for i, u := range g.Updates() {
			v := d.Updates()[i]
			if v.Param.ID() != u.Param.ID() || v.Value.ID() != u.Value.ID() {
				t.Errorf("update %d differs", i)
			}
		}
		if d.Batch() != g.Batch() {
			t.Errorf("batch %d, want %d", d.Batch(), g.Batch())
		}
	}
}

// Every type with a method Kind in the package's source must appear in the
// graphs above, which go through the codec: a new op fails here until it is in
// the list of kinds and in everyOp.
func TestEveryOpTypeIsInTheCodec(t *testing.T) {
	tested := map[string]bool{}
	for _, g := range []*graph.Graph{training(t, false), training(t, true)} {
		for _, n := range roundTrip(t, g).Nodes() {
			tested[reflect.TypeOf(n.Op()).Name()] = true
		}
	}
	files, err := parser.ParseDir(token.NewFileSet(), ".", func(i fs.FileInfo) bool { return !strings.HasSuffix(i.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, f := range files["graph"].Files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || fn.Name.Name != "Kind" {
				continue
			}
			found++
			typ := fn.Recv.List[0].Type.(*ast.Ident).Name
			if !tested[typ] {
				t.Errorf("op %s does not go through the codec in this test", typ)
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d op types in the source, want at least 30", found)
	}
}

func TestEncodeRefusesWhatJSONCannotHold(t *testing.T) {
	inf := graph.New()
	zero := tensor.New(tensor.F32, 1).Float32s()
	inf.Output("y", inf.Scalar(1/zero[0]))
	failed := graph.New()
	failed.Input("x", tensor.Invalid)
	name := graph.New()
	name.Scalar(1).Named("\xff")
	for what, g := range map[string]*graph.Graph{"infinity": inf, "failed graph": failed, "name": name} {
		if _, err := graph.Encode(g); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func TestDecodeRefusesWhatIsNoGraph(t *testing.T) {
	node := func(s string) string { return `{"version":1,"nodes":[` + s + `],"outputs":[]}` }
	in := `{"op":"input","attrs":{"name":"x","dtype":"f32","shape":[2,3]}}`
	param := `{"op":"param","attrs":{"name":"p","shape":[3],"role":"weight","init":{"kind":"const","value":0}}}`
	for _, c := range []struct{ json, want string }{
		{``, "decode"},
		{`[]`, "decode"},
		{`{}`, "no version"},
		{`{"version":2,"nodes":[],"outputs":[]}`, "version 2, want 1"},
		{`{"version":1,"nodes":[],"outputs":[],"more":1}`, "more"},
		{`{"version":1,"nodes":[],"outputs":[]} 1`, "after top-level value"},
		{node(`{"op":"exec"}`), "no such op"},
		{node(`{"op":"add","attrs":{"f":"sub"}}`), `attributes are those of "sub"`},
		{node(in + `,{"op":"relu","attrs":{"f":"relu"},"in":[1]}`), "operand 1"},
		{node(in + `,{"op":"relu","attrs":{"f":"relu"},"in":[-1]}`), "operand -1"},
		{node(in + `,{"op":"add","attrs":{"f":"add"},"in":[0]}`), "want 2 operands"},
		{node(in + `,` + in), "second input"},
		{node(param + `,` + param), "second param"},
		{node(in + `,{"op":"param","in":[0],"attrs":{"name":"p","shape":[3],"role":"weight","init":{"kind":"const","value":0}}}`), "operands"},
		{node(`{"op":"input","attrs":{"name":"x","dtype":"f33","shape":[2]}}`), "f33"},
		{node(`{"op":"input","attrs":{"name":"x","dtype":"f32","shape":[-2]}}`), "negative"},
		{node(`{"op":"input","attrs":{"name":"x","dtype":"f32","shape":[0]}}`), "dimension 0"},
		{node(`{"op":"input","attrs":{"name":"x","dtype":"f32","shape":[9999999999999]}}`), "want at most"},
		{node(`{"op":"input","attrs":{"name":"x","dtype":"f32","shape":[2000000000,2000000000,2000000000]}}`), "overflows"},
		{node(`{"op":"const","attrs":{"shape":[1000000],"values":[1]}}`), "1 values"},
		{node(in + `,{"op":"reshape","attrs":{"dims":[-1,-1]},"in":[0]}`), "dims"},
		{node(in + `,{"op":"slice_grad","attrs":{"axis":0,"start":-9,"step":1,"size":4},"in":[0]}`), "shape mismatch"},
		{`{"version":1,"nodes":[` + in + `],"outputs":[{"name":"y","node":1}]}`, "node 1 of 1"},
		{`{"version":1,"nodes":[` + in + `],"outputs":[{"name":"y","node":0},{"name":"y","node":0}]}`, "two outputs"},
		{`{"version":1,"nodes":[` + in + `],"outputs":[],"updates":[{"param":0,"value":0}]}`, "no param"},
		{`{"version":1,"nodes":[` + in + `],"outputs":[],"updates":[{"param":4,"value":0}]}`, "node 4"},
	} {
		g, err := graph.Decode([]byte(c.json))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.json, err, c.want)
		}
		if g != nil {
			t.Errorf("%s: a graph beside the error", c.json)
		}
	}
}

// use does with a decoded graph what any reader may do.
func use(t *testing.T, g *graph.Graph) {
	roundTrip(t, g)
	graph.MACs(g)
	graph.Layers(g)
	if _, err := graph.Prune(g); err != nil {
		t.Fatal(err)
	}
}

func TestDecodeSurvivesChangedBytes(t *testing.T) {
	b, err := graph.Encode(training(t, true))
	if err != nil {
		t.Fatal(err)
	}
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 0))
	accepted := 0
	for range 1000 {
		c := bytes.Clone(b)
		for range 1 + r.IntN(3) {
			c[r.IntN(len(c))] = "0123456789-[],"[r.IntN(14)]
		}
		if g, err := graph.Decode(c); err == nil {
			accepted++
			use(t, g)
		}
	}
	if accepted == 0 {
		t.Errorf("seed %d: no changed graph was accepted: the test reaches nothing behind the JSON", seed)
	}
}

// The seeds are small: the fuzzer's minimisation of a whole training graph
// takes minutes.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"version":1,"nodes":[{"op":"input","attrs":{"name":"x","dtype":"f32","shape":[2,3,4,4]}},{"op":"param","attrs":{"name":"w","shape":[6,1,3,3],"role":"weight","init":{"kind":"normal","value":0.1}}},{"op":"conv2d","name":"c","in":[0,1],"attrs":{"stride":[1,1],"pad":[1,1,1,1],"dilation":[1,1],"groups":3}}],"outputs":[{"name":"y","node":2}],"updates":[{"param":1,"value":1}]}`,
		`{"version":1,"nodes":[{"op":"const","attrs":{"shape":[1],"values":[0.5]}},{"op":"slice_grad","in":[0],"attrs":{"axis":0,"start":2,"step":3,"size":9}},{"op":"reshape","in":[1],"attrs":{"dims":[3,-1]}},{"op":"fake_quant","in":[2,0],"attrs":{"spec":{"bits":4,"signed":true,"granularity":0},"step_grad":"lsq"}}],"outputs":[]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := graph.Decode(b); err == nil {
			use(t, g)
		}
	})
}
