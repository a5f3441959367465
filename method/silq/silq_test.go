package silq_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// normal returns the quantiles of N(0,1): a row whose sums are quadratures.
func normal(n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		p := (float64(i) + 0.5) / float64(n)
		w[i] = float32(math.Sqrt2 * math.Erfinv(2*p-1))
	}
	return w
}

// The minimum of the convex objective on N(0,1), that of the squared error, and
// LSQ's rule, by quadrature (specification of SiLQ, section 2.2; tolerance there
// 0.5 %).
func TestStepsOfNormalWeights(t *testing.T) {
	w := normal(200_000)
	for bits, want := range map[int][3]float64{2: {0.997, 1.048, 1.596}, 3: {0.587, 0.602, 0.921}, 4: {0.335, 0.339, 0.603}} {
		if got := float64(silq.StepConvex(w, bits)); math.Abs(got/want[0]-1) > 0.005 {
			t.Errorf("%d bits: convex step %.4f, want %.4f", bits, got, want[0])
		}
		if got := float64(silq.StepMSE(w, nil, bits)); math.Abs(got/want[1]-1) > 0.01 {
			t.Errorf("%d bits: step of least error %.4f, want %.4f", bits, got, want[1])
		}
		if got := float64(silq.StepLSQ(w, bits)); math.Abs(got/want[2]-1) > 0.001 {
			t.Errorf("%d bits: LSQ's step %.4f, want %.4f", bits, got, want[2])
		}
	}
}

// The weighted search is no worse than any step of a fine grid by more than a
// thousandth, and equal weights change nothing.
func TestWeightedStepsHaveTheLeastError(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		w, h := make([]float32, 300), make([]float32, 300)
		for i := range w {
			w[i], h[i] = float32(r.NormFloat64()), float32(r.ExpFloat64())
		}
		w[0] *= 5
		bits := 2 + r.IntN(3)
		err := func(s float32) float64 {
			var sum float64
			spec := quant.Spec{Bits: bits, Signed: true}
			for i, v := range w {
				d := float64(v - s*float32(spec.Code(v, s)))
				sum += float64(h[i]) * d * d
			}
			return sum
		}
		got := err(silq.StepMSE(w, h, bits))
		top := silq.StepMax(w, bits)
		for i := 1; i <= 400; i++ {
			if e := err(top * float32(i) / 400); e < 0.98*got {
				t.Fatalf("%d bits: error %g, %g at step %g", bits, got, e, top*float32(i)/400)
			}
		}
		ones := slices.Repeat([]float32{1}, len(w))
		if a, b := silq.StepMSE(w, nil, bits), silq.StepMSE(w, ones, bits); a != b {
			t.Errorf("steps %g and %g for equal weights", a, b)
		}
	}
	for _, zero := range [][]float32{make([]float32, 8)} {
		if s := silq.StepMSE(zero, nil, 4); !(s > 0) || !(silq.StepConvex(zero, 4) > 0) {
			t.Errorf("step %g of zeros, want a positive one", s)
		}
	}
}

func TestBitsAreRead(t *testing.T) {
	q, err := silq.ParseBits("w4a8kv8")
	if err != nil || q.Bits.Default != (quant.Width{Weight: 4, Act: 8}) || q.Cache != 8 || *q.Bits.Last != (quant.Width{Weight: 8, Act: 8}) || q.String() != "w4a8kv8" {
		t.Errorf("%+v, %v", q, err)
	}
	for _, s := range []string{"", "w4", "w4a8kv", "w1a8", "w4a9", "w4a8kv1", "w4a8kv16", "fp32"} {
		if _, err := silq.ParseBits(s); err == nil {
			t.Errorf("%q: no error", s)
		}
	}
}

func tiny() model.Llama {
	return model.Llama{Vocab: 64, Dim: 32, Layers: 2, Heads: 4, KVHeads: 2, Hidden: 64, Context: 64, NormEps: 1e-5, Theta: 1e4, Tied: true}
}

func bits(t testing.TB, s string) silq.Quantizers {
	t.Helper()
	q, err := silq.ParseBits(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func build(t testing.TB, r model.LlamaRun) *graph.Graph {
	t.Helper()
	g, err := tiny().Graph(r)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// count returns how many quantizers have a name with a suffix.
func count(g *graph.Graph, suffix string) int {
	n := 0
	for _, x := range g.Nodes() {
		if _, ok := x.Op().(graph.FakeQuant); ok && strings.HasSuffix(x.Name(), suffix) {
			n++
		}
	}
	return n
}

func TestEveryUseOfTheModelGetsTheSameQuantizers(t *testing.T) {
	q := bits(t, "w4a8kv8")
	q.Static, q.Query = true, 16
	var names []string
	for i, r := range []model.LlamaRun{{Batch: 1, Seq: 16}, {Batch: 3, Seq: 8, Packed: true}, {Batch: 1, Seq: 1, Capacity: 32, Pick: true}} {
		g, err := silq.Insert(build(t, r), q)
		if err != nil {
			t.Fatal(err)
		}
		// Two layers: seven weights and the head; inputs of q/k/v, o, gate/up, down.
		for suffix, want := range map[string]int{".weight_quant": 15, ".input_quant": 9, ".key_quant": 2, ".value_quant": 2, ".query_quant": 2} {
			if got := count(g, suffix); got != want {
				t.Errorf("%+v: %d quantizers %s, want %d", r, got, suffix, want)
			}
		}
		var params []string
		for _, p := range g.Params() {
			params = append(params, p.Name())
		}
		slices.Sort(params)
		if i > 0 && !slices.Equal(params, names) {
			t.Errorf("%+v: parameters %v, want %v", r, params, names)
		}
		names = params
		if embedding := g.Find("model.embed_tokens"); embedding.In()[0].Op().Kind() != "param" {
			t.Errorf("the embedding reads a %s, want the weights as they are", embedding.In()[0].Op().Kind())
		}
	}
	if _, err := silq.Insert(build(t, model.LlamaRun{Batch: 1, Seq: 4}), silq.Quantizers{Bits: quant.BitPlan{Layers: map[string]quant.Width{"nonesuch": {Weight: 2, Act: 8}}}}); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("error %v, want one that names the layer", err)
	}
}

// letters is a text that a small model can learn: each token follows from the
// one before.
func letters(t testing.TB, n int) *data.Packed {
	t.Helper()
	ids := make([]int32, n)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range ids[1:] {
		ids[i+1] = (ids[i]*5 + 1 + int32(r.IntN(2))*7) % 64
	}
	p, err := data.Pack([][]int32{ids}, -1, 32)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func windows(p *data.Packed, n int) [][]int32 {
	var all [][]int32
	for i := range n {
		w := make([]int32, p.Length)
		p.Window(i, w, make([]int32, p.Length), nil)
		all = append(all, w)
	}
	return all
}

// pretrained trains the small model on the text.
func pretrained(t testing.TB, e *engine.Engine, text *data.Packed) *tensor.Store {
	t.Helper()
	store := tensor.NewStore()
	c := train.DefaultConfig()
	c.Batch, c.Epochs, c.DropLast = 8, 3, true
	c.Optim, c.Schedule.LR = silq.DefaultConfig(silq.Quantizers{}).Recipe(1, 8).Optim, 3e-3
	_, err := train.Run(context.Background(), c, train.Job{Engine: e, Graph: build(t, model.LlamaRun{Batch: 1, Seq: 32}), Store: store,
		Source: &train.Windows{Name: "letters", Sets: []*data.Packed{text}}})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// divergence is the mean KL from the model in full precision.
func divergence(t testing.TB, e *engine.Engine, q silq.Quantizers, full, store *tensor.Store, ids []int32) float64 {
	t.Helper()
	teacher := eval.Decoder{Store: full, Build: func(n int) (*graph.Graph, error) { return tiny().Graph(model.LlamaRun{Batch: 1, Seq: n}) }}
	student := eval.Decoder{Store: store, Build: func(n int) (*graph.Graph, error) {
		g, err := teacher.Build(n)
		if err != nil {
			return nil, err
		}
		return silq.Insert(g, q)
	}}
	r, err := eval.Perplexity(context.Background(), e, student, ids, eval.LanguageConfig{Length: 32, Teacher: &teacher})
	if err != nil {
		t.Fatal(err)
	}
	return *r.KL
}

// A whole method, from the calibration to the trained model: training takes
// away most of what rounding to 2 bits costs, in the dynamic and in the static
// form, and gives the same bits on one and on three threads.
func TestTrainingBringsTheModelBack(t *testing.T) {
	text := letters(t, 6000)
	e := engine.New(1)
	defer e.Close()
	full := pretrained(t, e, text)
	test := slices.Concat(windows(letters(t, 9000), 200)[180:]...)
	for _, static := range []bool{false, true} {
		q := bits(t, "w2a8kv4")
		q.Static = static
		c := silq.DefaultConfig(q)
		c.Batch, c.LR, c.Start.Windows, c.Epochs = 8, 2e-3, 4, 2
		run := func(epochs, threads int) *tensor.Store {
			e := engine.New(threads)
			defer e.Close()
			c := c
			c.Epochs = epochs
			job := train.Job{Engine: e, Graph: build(t, model.LlamaRun{Batch: 1, Seq: 32}), Store: full.Clone(), Source: &train.Windows{Name: "letters", Sets: []*data.Packed{text}}}
			cal := silq.Calibration{Engine: e, Graph: job.Graph, Windows: windows(text, 4)}
			if _, _, err := silq.Train(context.Background(), c, 1, job, cal); err != nil {
				t.Fatal(err)
			}
			return job.Store
		}
		before, trained := run(0, 1), run(2, 1)
		a, b := divergence(t, e, q, full, before, test), divergence(t, e, q, full, trained, test)
		t.Logf("static %v: KL %.4f untrained, %.4f trained", static, a, b)
		if !(b < a/2) {
			t.Errorf("static %v: KL %.4f untrained, %.4f trained", static, a, b)
		}
		again := run(2, 3)
		for _, n := range trained.Names() {
			if !slices.Equal(trained.Get(n).Bytes(), again.Get(n).Bytes()) {
				t.Fatalf("static %v: %s differs on three threads", static, n)
			}
		}
		for _, n := range trained.Names() {
			if strings.HasSuffix(n, ".weight_step") && !strings.HasPrefix(n, "optim.") {
				for _, s := range trained.Get(n).Float32s() {
					if tensor.Float16ToFloat32(tensor.Float32ToFloat16(s)) != s {
						t.Fatalf("%s: step %g is no float16", n, s)
					}
				}
			}
		}
	}
}

// Frozen steps are those of the calibration after a training that moves the
// weights; learned ones are not.
func TestFrozenStepsStay(t *testing.T) {
	text := letters(t, 1200)
	e := engine.New(1)
	defer e.Close()
	full := tensor.NewStore()
	if err := graph.InitParams(build(t, model.LlamaRun{Batch: 1, Seq: 32}), full, 1); err != nil {
		t.Fatal(err)
	}
	run := func(how graph.StepGrad, epochs int) *tensor.Store {
		q := bits(t, "w4a8kv8")
		q.Static, q.StepGrad = true, how
		c := silq.DefaultConfig(q)
		c.Batch, c.Start.Windows, c.Epochs = 8, 2, epochs
		job := train.Job{Engine: e, Graph: build(t, model.LlamaRun{Batch: 1, Seq: 32}), Store: full.Clone(), Source: &train.Windows{Name: "letters", Sets: []*data.Packed{text}}}
		if _, _, err := silq.Train(context.Background(), c, 1, job, silq.Calibration{Engine: e, Graph: job.Graph, Windows: windows(text, 2)}); err != nil {
			t.Fatal(err)
		}
		return job.Store
	}
	before, frozen, learned := run(graph.StepFrozen, 0), run(graph.StepFrozen, 1), run("", 1)
	for _, name := range before.Names() {
		same := func(s *tensor.Store) bool { return slices.Equal(s.Get(name).Bytes(), before.Get(name).Bytes()) }
		if step := strings.HasSuffix(name, "_step"); same(frozen) != step || same(learned) {
			t.Errorf("%s: as before the training: %v with frozen steps, %v with learned ones", name, same(frozen), same(learned))
		}
	}
}

// What decoding writes into the cache is what attention reads of whole
// sequences: logits agree within 1e-4. Both compute in floats, as decoding always
// does: on codes the last bits differ, and now and then a code behind them.
func TestQuantizedDecodingEqualsTheWholeSequence(t *testing.T) {
	e := engine.New(2)
	defer e.Close()
	e.FloatProducts = true
	q := bits(t, "w4a8kv4")
	full := build(t, model.LlamaRun{Batch: 1, Seq: 32})
	store := tensor.NewStore()
	if err := graph.InitParams(full, store, 1); err != nil {
		t.Fatal(err)
	}
	compile := func(r model.LlamaRun) *engine.Plan {
		g, err := silq.Insert(build(t, r), q)
		if err != nil {
			t.Fatal(err)
		}
		if r.Capacity == 0 {
			if err := silq.Init(context.Background(), q, store, silq.Start{Weights: silq.RuleMax, Windows: 1, Passes: 1}, silq.Calibration{Engine: e, Graph: full, Store: store}); err != nil {
				t.Fatal(err)
			}
		}
		p, err := e.Compile(g, store)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	whole, step := compile(model.LlamaRun{Batch: 1, Seq: 32}), compile(model.LlamaRun{Batch: 1, Seq: 1, Capacity: 32})
	ids := windows(letters(t, 100), 1)[0]
	copy(whole.Input(nn.InputName).Int32s(), ids)
	if err := whole.Run(); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		step.Input(nn.InputName).Int32s()[0], step.Input(nn.PositionName).Int32s()[0] = id, int32(i)
		if err := step.Run(); err != nil {
			t.Fatal(err)
		}
		row := whole.Output(nn.LogitsName).Float32s()[i*64:][:64]
		for k, v := range step.Output(nn.LogitsName).Float32s() {
			if math.Abs(float64(v-row[k])) > 1e-4 {
				t.Fatalf("token %d: logit %d is %g, %g in the whole sequence", i, k, v, row[k])
			}
		}
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	for name, change := range map[string]func(c *silq.Config){
		"cache":      func(c *silq.Config) { c.Cache = 9 },
		"gradient":   func(c *silq.Config) { c.StepGrad = "none" },
		"queries":    func(c *silq.Config) { c.Query = 8 },
		"rule":       func(c *silq.Config) { c.Start.Weights = "best" },
		"windows":    func(c *silq.Config) { c.Start.Windows = 0 },
		"lr":         func(c *silq.Config) { c.LR = math.NaN() },
		"epochs":     func(c *silq.Config) { c.Epochs = -1 },
		"loss":       func(c *silq.Config) { c.Distill = 0 },
		"parts":      func(c *silq.Config) { c.Accumulate = 5 },
		"percentile": func(c *silq.Config) { c.Start.Percentile = 101 },
		"alpha":      func(c *silq.Config) { c.Start.Smooth = 1.5 },
	} {
		c := silq.DefaultConfig(bits(t, "w4a8kv8"))
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
