package load

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"lowbit/engine"
	"lowbit/format/onnx"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/tensor"
)

// Inputs of a BERT in an ONNX file, as Hugging Face calls them.
const (
	bertIDs   = "input_ids"
	bertMask  = "attention_mask"
	bertTypes = "token_type_ids"
)

// isBertONNX reports whether an ONNX file reads tokens and their mask.
func isBertONNX(path string) bool {
	inputs, err := onnx.Inputs(path)
	if err != nil {
		return false
	}
	has := map[string]bool{}
	for _, v := range inputs {
		has[v.Name] = true
	}
	return has[bertIDs] && has[bertMask]
}

// openBertONNX opens an ONNX file of a BERT: its weights, by their names; the
// description, by their shapes and by what the file's graph holds. That graph and
// the network so described are then run on the same tokens, so that a file which
// only looks like a BERT is refused.
func openBertONNX(path string) (*Encoder, error) {
	m, err := onnx.Read(path)
	if err != nil {
		return nil, err
	}
	n := &Encoder{Source: path, folder: filepath.Dir(path)}
	if !hasTokenizer(n.folder) && hasTokenizer(filepath.Dir(n.folder)) { // FOLDER/onnx/model.onnx
		n.folder = filepath.Dir(n.folder)
	}
	net, err := bertGraph(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	from, err := m.Named()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	weights, err := n.named(from)
	if err == nil && hasCodes(net.Graph) {
		err = errors.New("its weights are codes: the network was quantized for other runtimes; measure the run that it was made of")
	}
	if err == nil {
		n.Config, err = bertShapes(n.Config.Prefix, weights, net.Graph)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	own, err := n.Config.Graph(1, 1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	wanted := map[string]bool{}
	for _, p := range own.Params() {
		wanted[p.Name()] = true
	}
	spare := func(name string) bool { return optim.IsState(name) || !wanted[name] } // numbers of the graph
	if n.Store, err = fit(own, weights, spare); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := n.Matches(net, n.Config.Graph, bertTolerance); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	n.MaxTokens = n.Config.Positions
	if err := n.keepPooler(weights); err != nil {
		return nil, err
	}
	if n.Config.Head == model.BertHidden {
		if err := n.sentence(n.folder); err != nil {
			return nil, err
		}
	}
	return n, n.tokenizer()
}

func hasCodes(g *graph.Graph) bool {
	return slices.ContainsFunc(g.Nodes(), func(n *graph.Node) bool { _, ok := n.Op().(graph.FakeQuant); return ok })
}

func hasTokenizer(dir string) bool {
	return exists(filepath.Join(dir, "tokenizer.json")) || exists(filepath.Join(dir, "vocab.txt"))
}

// bertGraph imports the file's own graph, free dimensions being two sequences of
// nine tokens.
func bertGraph(m *onnx.Model) (*onnx.Network, error) {
	free := map[string]int{}
	for _, v := range m.Graph.Inputs {
		for i, d := range v.Dims {
			if d.Size == 0 && i < 2 {
				free[d.Name] = []int{2, 9}[i]
			}
		}
	}
	return onnx.Import(m, onnx.Options{Free: free, Output: nn.LogitsName})
}

// bertShapes describes the encoder whose weights these are. Heads, the epsilon of
// norms and the form of GELU show in the graph alone.
func bertShapes(prefix string, w *tensor.Store, g *graph.Graph) (c model.Bert, err error) {
	size := func(name string, axis int) int {
		t := w.Get(name)
		if t == nil || len(t.Shape()) <= axis {
			if err == nil {
				err = fmt.Errorf("no parameter %q of a BERT", name)
			}
			return 0
		}
		return t.Shape()[axis]
	}
	e := prefix + "embeddings."
	c = model.Bert{
		Vocab: size(e+"word_embeddings.weight", 0), Dim: size(e+"word_embeddings.weight", 1), Positions: size(e+"position_embeddings.weight", 0),
		Types: size(e+"token_type_embeddings.weight", 0), Hidden: size(prefix+"encoder.layer.0.intermediate.dense.bias", 0),
		Dropout: 0.1, Prefix: prefix, Head: model.BertHidden, TanhGELU: true,
	}
	for w.Get(fmt.Sprintf("%sencoder.layer.%d.output.dense.bias", prefix, c.Layers)) != nil && c.Layers < maxBertLayers {
		c.Layers++
	}
	switch {
	case w.Get("qa_outputs.weight") != nil:
		c.Head = model.BertSpan
	case w.Get(classifierName+"weight") != nil:
		c.Head, c.Classes = model.BertClassify, size(classifierName+"weight", 0)
	}
	for _, n := range g.Nodes() {
		switch o := n.Op().(type) {
		case graph.Softmax:
			if s := n.Shape(); len(s) == 4 {
				c.Heads = s[1]
			}
		case graph.RowNorm:
			c.NormEps = o.Eps
		case graph.Unary:
			if o.F == graph.Erf {
				c.TanhGELU = false
			}
			if eps, ok := underRoot(n); ok && o.F == graph.Sqrt {
				c.NormEps = eps
			}
		}
	}
	if err == nil && c.Heads == 0 {
		err = fmt.Errorf("no softmax of [batch, heads, tokens, tokens], want a BERT's attention")
	}
	return c, err
}

// underRoot returns the number that is added to what n takes the root of: the
// epsilon of a norm that is written out.
func underRoot(n *graph.Node) (float64, bool) {
	sum := n.In()[0]
	if o, ok := sum.Op().(graph.Binary); !ok || o.F != graph.Add {
		return 0, false
	}
	for _, in := range sum.In() {
		if c, ok := in.Op().(graph.Const); ok && len(c.Values) == 1 {
			return float64(c.Values[0]), true
		}
	}
	return 0, false
}

// bertTolerance bounds what the order of sums may change, as a share of the
// largest result.
const bertTolerance = 1e-3

// ReadBertONNX imports the graph of an ONNX file of a BERT as it stands there.
func ReadBertONNX(path string) (*onnx.Network, error) {
	m, err := onnx.Read(path)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	net, err := bertGraph(m)
	if err != nil {
		return nil, fmt.Errorf("load: %s: %w", path, err)
	}
	return net, nil
}

// Matches runs a file's graph and the encoder's, made by build, on the same tokens;
// an error tells that results differ by more than tolerance times the largest.
func (n *Encoder) Matches(file *onnx.Network, build func(batch, seq int) (*graph.Graph, error), tolerance float64) error {
	ids := file.Graph.InputNode(bertIDs)
	if ids == nil || len(ids.Shape()) != 2 {
		return fmt.Errorf("no input %q of [batch, tokens]", bertIDs)
	}
	batch, seq := ids.Shape()[0], ids.Shape()[1]
	own, err := build(batch, seq)
	if err == nil {
		own, err = graph.Inference(own)
	}
	if err != nil {
		return err
	}
	tokens, types, lengths := make([]int32, batch*seq), make([]int32, batch*seq), make([]int32, batch)
	mask := make([]float32, batch*seq)
	for b := range batch {
		lengths[b] = int32(seq - b%2*(seq/3))
		for i := range seq {
			at := b*seq + i
			tokens[at], types[at] = int32((at*7919+13)%n.Config.Vocab), int32(min(2*i/seq, n.Config.Types-1))
			if i < int(lengths[b]) {
				mask[at] = 1
			}
		}
	}
	inputs := map[string]*tensor.Tensor{
		bertIDs: tensor.FromInt32s(tokens, batch, seq), nn.InputName: tensor.FromInt32s(tokens, batch, seq),
		bertMask: tensor.FromFloat32s(mask, batch, seq), nn.LengthsName: tensor.FromInt32s(lengths, batch),
		bertTypes: tensor.FromInt32s(types, batch, seq), model.TypesName: tensor.FromInt32s(types, batch, seq),
	}
	if file.Graph.InputNode(bertTypes) == nil {
		clear(types)
	}
	want, err := runOnce(file.Graph, file.Store, inputs)
	if err != nil {
		return err
	}
	got, err := runOnce(own, n.Store, inputs)
	if err != nil {
		return err
	}
	if n.Config.Head == model.BertSpan && len(want) == batch*seq { // the first result are the starts alone
		for i := range want {
			got[i] = got[2*i]
		}
		got = got[:len(want)]
	}
	return sameTokens(got, want, mask, tolerance)
}

// sameTokens compares results, of tokens that are no padding where there is one
// for each token.
func sameTokens(got, want, mask []float32, tolerance float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d results, want %d of a BERT of these weights", len(want), len(got))
	}
	largest, worst := 0.0, 0.0
	for i := range got {
		if per := len(got) / len(mask); len(got)%len(mask) == 0 && mask[i/per] == 0 {
			continue
		}
		largest = max(largest, math.Abs(float64(want[i])))
		d := math.Abs(float64(got[i] - want[i]))
		if math.IsNaN(d) {
			d = math.Inf(1)
		}
		worst = max(worst, d)
	}
	if worst > tolerance*largest {
		return fmt.Errorf("its results differ by up to %.3g (they go up to %.3g) from those of a BERT with these weights: it is another network", worst, largest)
	}
	return nil
}

// runOnce runs a graph on those of the inputs that it has.
func runOnce(g *graph.Graph, store *tensor.Store, inputs map[string]*tensor.Tensor) ([]float32, error) {
	e := engine.New(1)
	defer e.Close()
	p, err := e.Compile(g, store)
	if err != nil {
		return nil, err
	}
	for name, t := range inputs {
		if p.Input(name) == nil {
			continue
		}
		if err := p.SetInput(name, t); err != nil {
			return nil, err
		}
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	return p.Output(nn.LogitsName).Float32s(), nil
}
