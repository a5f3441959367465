package model_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/internal/testenv"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/tensor"
)

func golden(t *testing.T, name string, v any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

func compile(t *testing.T, threads int, g *graph.Graph, err error, store *tensor.Store) *engine.Plan {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(threads)
	t.Cleanup(e.Close)
	p, err := e.Compile(g, store)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, p *engine.Plan) {
	t.Helper()
	if err := p.Run(); err != nil {
		t.Fatal(err)
	}
}

func stories() model.Llama {
	return model.Llama{
		Vocab: 512, Dim: 64, Layers: 5, Heads: 8, KVHeads: 4, Hidden: 172, Context: 512,
		NormEps: 1e-5, Theta: 10000, Adjacent: true, Tied: true,
	}
}

// storiesStore reads the weights and gives them Hugging Face's names.
func storiesStore(t *testing.T) *tensor.Store {
	t.Helper()
	raw, _, err := safetensors.Read(testenv.Shared(t, "models", "llm", "stories260K", "stories260K.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("layers.", "model.layers.", "attention.w", "self_attn.", "attention_norm", "input_layernorm",
		"ffn_norm", "post_attention_layernorm", "feed_forward.w1", "mlp.gate_proj", "feed_forward.w2", "mlp.down_proj", "feed_forward.w3", "mlp.up_proj")
	store := tensor.NewStore()
	for _, n := range raw.Names() {
		to := names.Replace(n)
		for _, p := range []string{"q", "k", "v", "o"} {
			to = strings.Replace(to, "self_attn."+p+".", "self_attn."+p+"_proj.", 1)
		}
		switch n {
		case "tok_embeddings.weight":
			to = "model.embed_tokens.weight"
		case "norm.weight":
			to = "model.norm.weight"
		}
		_ = store.Put(to, raw.Get(n))
	}
	return store
}

type storiesGolden struct {
	Tokens  int
	Loss    float64
	Stories []struct {
		IDs     []int32
		LossSum float64 `json:"loss_sum"`
		Logits  []float64
	}
}

// The five sample stories at once, padded to the longest: PyTorch's loss per
// token is 1.2664.
func TestStories260KHasPyTorchsLoss(t *testing.T) {
	var want storiesGolden
	golden(t, "stories260k.json", &want)
	store := storiesStore(t)
	batch, seq := len(want.Stories), 0
	for _, s := range want.Stories {
		seq = max(seq, len(s.IDs))
	}
	g, err := stories().Graph(model.LlamaRun{Batch: batch, Seq: seq})
	if err != nil {
		t.Fatal(err)
	}
	g.Output("loss", nn.NextTokenLoss(g, g.OutputNode(nn.LogitsName), batch, seq))
	p := compile(t, 2, g, g.Err(), store)
	labels, weights := p.Input(nn.LabelsName).Int32s(), p.Input(nn.WeightsName).Float32s()
	for i := range labels {
		labels[i] = -100
	}
	for i, s := range want.Stories {
		copy(p.Input(nn.InputName).Int32s()[i*seq:], s.IDs)
		copy(labels[i*seq:], s.IDs[1:])
		for k := range s.IDs[1:] {
			weights[i*seq+k] = 1 / float32(want.Tokens)
		}
	}
	run(t, p)
	if got := float64(p.Output("loss").Float32s()[0]); math.Abs(got-want.Loss) > 1e-5 || math.Abs(got-1.266) > 5e-4 {
		t.Errorf("loss %.6f a token, PyTorch's %.6f", got, want.Loss)
	}
	for i, s := range want.Stories {
		row := p.Output(nn.LogitsName).Float32s()[(i*seq+len(s.IDs)-1)*512:]
		for c, v := range s.Logits {
			if math.Abs(float64(row[c])-v) > 1e-4 {
				t.Errorf("story %d: logit %d of the last token is %g, PyTorch's %g", i, c, row[c], v)
			}
		}
	}
}

// share binds the caches of one plan to those of another.
func share(t *testing.T, from, to *engine.Plan, names []string) {
	t.Helper()
	for _, n := range names {
		if err := to.SetInput(n, from.Input(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// A padded prefill, then single tokens, on one cache give the logits of a whole
// sequence.
func TestDecodingEqualsTheWholeSequence(t *testing.T) {
	var want storiesGolden
	golden(t, "stories260k.json", &want)
	store := storiesStore(t)
	const n, bucket, capacity = 48, 32, 64
	ids := want.Stories[1].IDs[:n]
	c := stories()
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: n})
	whole := compile(t, 2, g, err, store)
	copy(whole.Input(nn.InputName).Int32s(), ids)
	run(t, whole)
	logits := whole.Output(nn.LogitsName).Float32s()

	g, err = c.Graph(model.LlamaRun{Batch: 1, Seq: bucket, Capacity: capacity, Pick: true})
	prefill := compile(t, 2, g, err, store)
	g, err = c.Graph(model.LlamaRun{Batch: 1, Seq: 1, Capacity: capacity})
	step := compile(t, 2, g, err, store)
	var caches []string
	for _, in := range g.Inputs() {
		if strings.HasPrefix(in.Name(), "cache.") {
			caches = append(caches, in.Name())
		}
	}
	if len(caches) != 10 {
		t.Fatalf("caches %v, want two for each of 5 layers", caches)
	}
	share(t, step, prefill, caches)
	const prompt = 20 // the rest of the bucket is padding
	copy(prefill.Input(nn.InputName).Int32s(), ids[:prompt])
	prefill.Input(model.LastName).Int32s()[0] = prompt - 1
	run(t, prefill)
	check := func(at int, got []float32) {
		t.Helper()
		row := logits[at*512 : (at+1)*512]
		for i, v := range got {
			if math.Abs(float64(v-row[i])) > 1e-4 {
				t.Fatalf("token %d: logit %d is %g, %g in the whole sequence", at, i, v, row[i])
			}
		}
		if argmax(got) != argmax(row) {
			t.Errorf("token %d: another argmax", at)
		}
	}
	check(prompt-1, prefill.Output(nn.LogitsName).Float32s())
	for at := prompt; at < n; at++ {
		step.Input(nn.InputName).Int32s()[0] = ids[at]
		step.Input(nn.PositionName).Int32s()[0] = int32(at)
		run(t, step)
		check(at, step.Output(nn.LogitsName).Float32s())
	}
	step.Input(nn.PositionName).Int32s()[0] = capacity
	if err := step.Run(); err == nil {
		t.Error("no error beyond the cache")
	}
}

func argmax(v []float32) int { return slices.Index(v, slices.Max(v)) }

// Two sequences packed in one row do not see each other.
func TestPackedSequencesAreApart(t *testing.T) {
	var want storiesGolden
	golden(t, "stories260k.json", &want)
	store := storiesStore(t)
	a, b := want.Stories[0].IDs[:30], want.Stories[2].IDs[:25]
	c := stories()
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 55, Packed: true})
	packed := compile(t, 2, g, err, store)
	copy(packed.Input(nn.InputName).Int32s(), append(slices.Clone(a), b...))
	for i := range 55 {
		packed.Input(nn.PositionsName).Int32s()[i] = int32(i % 30)
		packed.Input(nn.StartsName).Int32s()[i] = int32(i / 30 * 30)
	}
	run(t, packed)
	g, err = c.Graph(model.LlamaRun{Batch: 1, Seq: 25})
	alone := compile(t, 2, g, err, store)
	copy(alone.Input(nn.InputName).Int32s(), b)
	run(t, alone)
	got := packed.Output(nn.LogitsName).Float32s()[30*512:]
	for i, v := range alone.Output(nn.LogitsName).Float32s() {
		if math.Abs(float64(got[i]-v)) > 1e-4 {
			t.Fatalf("logit %d is %g packed, %g alone", i, got[i], v)
		}
	}
}

// A training step's gradients have the same bits for any number of threads, and
// a step along them lowers the loss as their length foretells.
func TestLlamaGradientsAreExactAndIndependentOfThreads(t *testing.T) {
	c := model.Llama{
		Vocab: 700, Dim: 48, Layers: 2, Heads: 4, KVHeads: 2, Hidden: 100, Context: 80, NormEps: 1e-5, Theta: 1e4,
		QKVBias: true, MLPBias: true, EmbeddingMultiplier: 3, AttentionMultiplier: 0.2, ResidualMultiplier: 0.7, LogitsScaling: 2, Tied: true,
	}
	const batch, seq = 3, 70
	g, err := c.Graph(model.LlamaRun{Batch: batch, Seq: seq})
	if err != nil {
		t.Fatal(err)
	}
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 3); err != nil {
		t.Fatal(err)
	}
	loss := nn.NextTokenLoss(g, g.OutputNode(nn.LogitsName), batch, seq)
	g.Output("loss", loss)
	grads, err := graph.Gradients(g, loss, g.Params())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range g.Params() {
		g.Output("grad:"+p.Name(), grads[i])
	}
	plans := []*engine.Plan{compile(t, 1, g, nil, store), compile(t, 3, g, nil, store)}
	for _, p := range plans {
		for i := range batch * seq {
			p.Input(nn.InputName).Int32s()[i] = int32(i * i % 700)
			p.Input(nn.LabelsName).Int32s()[i] = int32((i + 1) * 31 % 700)
			p.Input(nn.WeightsName).Float32s()[i] = 1.0 / (batch * seq)
		}
		run(t, p)
	}
	square := 0.0
	for _, p := range g.Params() {
		a, b := plans[0].Output("grad:"+p.Name()).Float32s(), plans[1].Output("grad:"+p.Name()).Float32s()
		if !slices.Equal(a, b) {
			t.Errorf("%s: other gradients with 3 threads", p.Name())
		}
		for _, v := range a {
			square += float64(v) * float64(v)
		}
	}
	if slope := slopeAlong(t, plans[0], g.Params(), store, 1e-2/math.Sqrt(square)); math.Abs(slope/square-1) > 1e-2 {
		t.Errorf("the loss changes by %g along the gradient, whose square is %g", slope, square)
	}
}

// slopeAlong is the central difference of the loss along its gradient.
func slopeAlong(t *testing.T, p *engine.Plan, params []*graph.Node, store *tensor.Store, h float64) float64 {
	saved := map[string][]float32{}
	for _, n := range params {
		saved[n.Name()] = slices.Clone(p.Output("grad:" + n.Name()).Float32s())
	}
	at := func(by float64) float64 {
		for n, d := range saved {
			w := store.Get(n).Float32s()
			for i, v := range d {
				w[i] += float32(by * float64(v))
			}
		}
		run(t, p)
		return float64(p.Output("loss").Float32s()[0])
	}
	up := at(h)
	down := at(-2 * h)
	return (up - down) / (2 * h)
}

func TestLlamaConfigsThatDoNotFitAreErrors(t *testing.T) {
	ok := stories()
	for want, change := range map[string]func(c *model.Llama, r *model.LlamaRun){
		"vocab 0":   func(c *model.Llama, _ *model.LlamaRun) { c.Vocab = 0 },
		"groups of": func(c *model.Llama, _ *model.LlamaRun) { c.KVHeads = 3 },
		"even":      func(c *model.Llama, _ *model.LlamaRun) { c.HeadDim = 7 },
		"theta":     func(c *model.Llama, _ *model.LlamaRun) { c.Theta = 0 },
		"512 tok":   func(_ *model.Llama, r *model.LlamaRun) { r.Seq = 513 },
		"packed":    func(_ *model.Llama, r *model.LlamaRun) { r.Packed, r.Capacity = true, 16 },
		"16 tok":    func(_ *model.Llama, r *model.LlamaRun) { r.Seq, r.Capacity = 17, 16 },
	} {
		c, r := ok, model.LlamaRun{Batch: 1, Seq: 8}
		change(&c, &r)
		if _, err := c.Graph(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestNetworksOverTokensTakeAnyBatch(t *testing.T) {
	c := stories()
	c.Layers = 1
	plain, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 6})
	if err != nil {
		t.Fatal(err)
	}
	decode, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 1, Capacity: 9, Pick: true})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 6, Packed: true})
	if err != nil {
		t.Fatal(err)
	}
	bert, err := tinyBert(model.BertSentence).Graph(1, 6)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range []*graph.Graph{plain, decode, packed, bert} {
		rows := g.OutputNode(nn.LogitsName).Shape()[0]
		b, err := graph.WithBatch(g, 5)
		if err != nil {
			t.Fatalf("graph %d: %v", i, err)
		}
		if got := b.OutputNode(nn.LogitsName).Shape()[0]; got != 5*rows {
			t.Errorf("graph %d: %d rows of logits, want %d", i, got, 5*rows)
		}
	}
}
