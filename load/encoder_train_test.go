package load_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/method/lsq"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/text"
	"lowbit/train"
)

// An encoder becomes a classifier: its weights and its folder's pooler stay, the
// head is new and a function of the seed.
func TestClassifierKeepsTheEncoder(t *testing.T) {
	dir := bertFolder(t, "BertModel", nil)
	addPooler(t, dir)
	n, err := load.OpenEncoder(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := n.Classifier(2, 5)
	if err != nil || c.Gives() != "2 classes" {
		t.Fatalf("%+v, %v", c, err)
	}
	if v := c.Store.Get("bert.pooler.dense.weight"); v == nil || v.Float32s()[0] != 0.25 {
		t.Errorf("the pooler is %v", v)
	}
	for _, name := range n.Store.Names() {
		if !slices.Equal(c.Store.Get("bert."+name).Float32s(), n.Store.Get(name).Float32s()) {
			t.Errorf("%s changed", name)
		}
	}
	head := c.Store.Get("classifier.weight").Float32s()
	again, _ := n.Classifier(2, 5)
	other, _ := n.Classifier(2, 6)
	if !slices.Equal(head, again.Store.Get("classifier.weight").Float32s()) || slices.Equal(head, other.Store.Get("classifier.weight").Float32s()) {
		t.Error("the head is no function of the seed")
	}
	if c.Store.Get("bert.embeddings.LayerNorm.weight").Float32s()[0] = 9; n.Store.Get("embeddings.LayerNorm.weight").Float32s()[0] == 9 {
		t.Error("both share their weights")
	}
	three, err := load.OpenEncoder(bertFolder(t, "BertForSequenceClassification", nil))
	if err != nil {
		t.Fatal(err)
	}
	if same, err := three.Classifier(3, 1); err != nil || same != three {
		t.Errorf("a classifier of 3 classes is made again: %v", err)
	}
}

func addPooler(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "model.safetensors")
	store, _, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	w, b := tensor.New(tensor.F32, 8, 8), tensor.New(tensor.F32, 8)
	w.Float32s()[0] = 0.25
	for name, v := range map[string]*tensor.Tensor{"pooler.dense.weight": w, "pooler.dense.bias": b} {
		if err := store.Put(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := safetensors.Write(path, store, nil); err != nil {
		t.Fatal(err)
	}
}

// A quantized run's directory is a model: the same logits at any length.
func TestEncoderRunsAreModels(t *testing.T) {
	n, err := load.OpenEncoder(bertFolder(t, "BertModel", nil))
	if err != nil {
		t.Fatal(err)
	}
	if n, err = n.Classifier(2, 1); err != nil {
		t.Fatal(err)
	}
	s := &train.Sentences{Name: "cats", Classes: 2, Longest: 16, Batch: 2, Labels: []int32{0, 1, 1}}
	for _, x := range []string{"the cat", "cat sat the", "the the the cat cats sat the cat"} {
		s.Texts = append(s.Texts, n.Tokenizer.Tokenize(x))
	}
	dir := filepath.Join(t.TempDir(), "run")
	e := engine.New(1)
	defer e.Close()
	g, err := n.Graph(1, 12)
	if err != nil {
		t.Fatal(err)
	}
	c := lsq.EncoderConfig(quant.Uniform(quant.Width{Weight: 4, Act: 4}, 8), 1)
	base := train.DefaultConfig()
	base.Batch = 2
	job := train.Job{Engine: e, Graph: g, Store: n.Store, Source: s, Out: dir}
	if g, _, err = lsq.Train(context.Background(), base, job, c); err != nil {
		t.Fatal(err)
	}
	n.MaxTokens = 12
	if err := n.Keep(dir); err != nil {
		t.Fatal(err)
	}
	back, err := load.OpenEncoder(dir)
	if err != nil || back.Run == nil || back.Gives() != "2 classes" || back.MaxTokens != 12 || back.Tokenizer.Size() != 9 {
		t.Fatalf("%+v, %v", back, err)
	}
	same, err := back.Classifier(2, 7)
	if err != nil || same != back {
		t.Errorf("%v", err)
	}
	if _, err := back.Classifier(4, 7); err == nil || !strings.Contains(err.Error(), "has 2 classes, want 4") {
		t.Errorf("4 classes: %v", err)
	}
	if a, b := logits(t, e, g, job.Store, s.Texts[2], 16), logits(t, e, back.Run, back.Store, s.Texts[2], 8); !slices.Equal(a, b) {
		t.Errorf("logits %v, those of the run %v", a, b)
	}
	if _, err := back.Graph(1, 17); err == nil {
		t.Error("a graph of more tokens than positions")
	}
	// Bits of its layers: queries, keys and values are one group, the tables and
	// the classifier are fixed.
	net, err := mixed.Link(back.Run, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	self := "bert.encoder.layer.0.attention.self."
	for _, group := range net.Groups {
		if group.Name == self+"query" && len(group.Layers) != 3 || group.Name == self+"key" || (group.Fixed != nil) != (group.Name == "classifier") {
			t.Errorf("group %+v", group)
		}
	}
	if len(net.Groups) != 6 || len(net.Tables) != 2 { // q k v, output, two dense, pooler, classifier
		t.Errorf("%d groups, tables %v", len(net.Groups), net.Tables)
	}
}

func logits(t *testing.T, e *engine.Engine, g *graph.Graph, store *tensor.Store, x text.Encoding, length int) []float32 {
	t.Helper()
	ids, types, lengths := tensor.New(tensor.I32, 1, length), tensor.New(tensor.I32, 1, length), tensor.New(tensor.I32, 1)
	copy(ids.Int32s(), x.IDs)
	lengths.Int32s()[0] = int32(len(x.IDs))
	g, err := graph.Inference(g)
	if err == nil {
		g, err = graph.Select(g, "logits")
	}
	if err != nil {
		t.Fatal(err)
	}
	plans := engine.Plans{Engine: e, Graph: g, Store: store}
	p, err := plans.For(engine.Inputs{"input": ids, "types": types, "lengths": lengths})
	if err == nil {
		err = p.Run()
	}
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(p.Output("logits").Float32s())
}
