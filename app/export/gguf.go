// Package export writes language models, and players for neuromorphic tools, into
// files that other programs take, and reads them back: nothing is exported that was
// not compared. Networks for images are written by package verify.
package export

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"

	"lowbit/format/gguf"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/tensor"
)

// Tensor is what became of one tensor.
type Tensor struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Bits int    `json:"bits"` // of its quantizer; 32 without one
	Why  string `json:"why"`
	// Error is the largest difference between the model's values and the file's,
	// over the largest of the model's.
	Error     float64 `json:"error"`
	SizeBytes int     `json:"size_bytes"`
}

// Result is what was written.
type Result struct {
	Path      string `json:"path"`
	SizeBytes int64  `json:"size_bytes"`
	// Verified: the file was read back, and every quantized weight has the values
	// that the model computes with, without any error.
	Verified bool     `json:"verified"`
	Tensors  []Tensor `json:"tensors"`
	// Notes say what a reader of the file does otherwise than the model.
	Notes []string `json:"notes,omitempty"`
}

// GGUFConfig says how a GGUF file is written.
type GGUFConfig struct {
	// Embedding is the type of the table of embeddings: F16, Q8_0 or F32.
	Embedding gguf.Type
	Name      string // general.name
}

// GGUF writes a language model as GGUF: each quantized weight in the block type
// that holds its codes without loss, the head apart from the embedding where it
// has a quantizer of its own, norms in float32.
func GGUF(path string, l *load.Language, c GGUFConfig) (Result, error) {
	w := ggufWriter{l: l, c: c, quantizers: map[string]*graph.Node{}}
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	for _, layer := range graph.Layers(g) {
		if layer.WeightQuant != nil {
			w.quantizers[layer.Name] = layer.WeightQuant
		}
	}
	if err := w.all(g); err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	metadata, err := w.metadata()
	if err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	if err := gguf.Write(path, metadata, w.tensors); err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	r := Result{Path: path, Tensors: w.became, Notes: w.notes()}
	if err := w.verify(path, r.Tensors); err != nil {
		return r, fmt.Errorf("export: %s read back: %w", path, err)
	}
	stat, err := os.Stat(path)
	if err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	r.SizeBytes, r.Verified = stat.Size(), true
	return r, nil
}

type ggufWriter struct {
	l          *load.Language
	c          GGUFConfig
	quantizers map[string]*graph.Node // by layer
	tensors    []gguf.Tensor
	became     []Tensor
	values     [][]float32 // what each tensor's values must be
}

// permuted reports whether rows of q and k change their order: GGUF's Llama has
// rotary pairs side by side, Qwen2's as Hugging Face has them.
func (w *ggufWriter) permuted(name string) bool {
	return !w.l.Config.Adjacent && w.architecture() != "qwen2" &&
		(strings.HasSuffix(name, ".self_attn.q_proj") || strings.HasSuffix(name, ".self_attn.k_proj"))
}

// architecture is general.architecture.
func (w *ggufWriter) architecture() string {
	c := w.l.Config
	switch {
	case c.EmbeddingMultiplier != 0 || c.AttentionMultiplier != 0 || c.ResidualMultiplier != 0 || c.LogitsScaling != 0:
		return "granite"
	case c.QKVBias && !c.Adjacent:
		return "qwen2"
	}
	return "llama"
}

// all writes every parameter but steps.
func (w *ggufWriter) all(g *graph.Graph) error {
	for _, p := range g.Params() {
		param := p.Op().(graph.Param)
		if param.Role == graph.Step {
			continue
		}
		layer := strings.TrimSuffix(strings.TrimSuffix(p.Name(), ".weight"), ".bias")
		name, ok := load.GGUFName(p.Name())
		if !ok {
			return fmt.Errorf("the parameter %q has no name in GGUF", p.Name())
		}
		v := w.rows(layer, w.l.Store.Get(p.Name()))
		if q := w.quantizers[layer]; q != nil && len(param.Shape) == 2 {
			if err := w.quantized(name, layer, v, q); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		if err := w.plain(name, v, p.Shape()); err != nil {
			return err
		}
	}
	name, factors, err := load.GGUFRope(w.l.Config)
	if err != nil {
		return err
	}
	if name != "" {
		if err := w.floats(name, factors, tensor.Shape{len(factors)}, gguf.F32, 32, "what Llama 3 divides its rotary frequencies by"); err != nil {
			return err
		}
	}
	if q := w.quantizers["lm_head"]; q != nil && w.l.Config.Tied {
		return w.quantized("output.weight", "lm_head", w.l.Store.Get("model.embed_tokens.weight"), q)
	}
	return nil
}

// rows returns a tensor with its rows in GGUF's order.
func (w *ggufWriter) rows(layer string, t *tensor.Tensor) *tensor.Tensor {
	if !w.permuted(layer) {
		return t
	}
	head := w.l.Config.HeadWidth()
	out := tensor.New(tensor.F32, t.Shape()...)
	from, to := t.Float32s(), out.Float32s()
	n := t.Len() / t.Shape()[0]
	for r := range t.Shape()[0] {
		copy(to[interleaved(r, head)*n:][:n], from[r*n:][:n])
	}
	return out
}

// interleaved is the place in GGUF of a row of q or k: pairs half a head apart
// become neighbours.
func interleaved(row, head int) int {
	h, i := row/head, row%head
	if half := head / 2; i < half {
		return h*head + 2*i
	} else {
		return h*head + 2*(i-half) + 1
	}
}

// quantized adds a weight of codes.
func (w *ggufWriter) quantized(name, layer string, t *tensor.Tensor, q *graph.Node) error {
	spec := q.Op().(graph.FakeQuant).Spec
	steps := w.rows(layer, w.l.Store.Get(q.In()[1].Name()))
	shape := t.Shape()
	values := make([]float32, t.Len())
	if err := quant.FakeQuant(values, t.Float32s(), steps.Float32s(), shape, spec); err != nil {
		return err
	}
	home, ok := gguf.Home(spec.Bits, shape[1])
	if !ok {
		why := fmt.Sprintf("rows of %d are no multiple of a block for %d bits", shape[1], spec.Bits)
		return w.floats(name, values, shape, smallest(values), spec.Bits, why)
	}
	codes := make([]int32, t.Len())
	if err := quant.Quantize(codes, t.Float32s(), steps.Float32s(), shape, spec); err != nil {
		return err
	}
	var data []byte
	row := make([]int8, shape[1])
	for i, s := range steps.Float32s() {
		for k := range row {
			row[k] = int8(codes[i*shape[1]+k])
		}
		var err error
		if data, err = gguf.AppendCodes(data, home, row, s); err != nil {
			return err
		}
	}
	w.add(gguf.Tensor{Name: name, Type: home, Shape: shape, Data: data}, values, spec.Bits, why(home, spec.Bits, shape[1]))
	return nil
}

// why explains the type that codes went to.
func why(home gguf.Type, bits, row int) string {
	lo, hi, _ := home.CodeRange()
	if hi-lo+1 == 1<<bits {
		return fmt.Sprintf("codes of %d bits as they are", bits)
	}
	return fmt.Sprintf("codes of %d bits in a wider type: rows of %d are no multiple of %d", bits, row, 256)
}

// smallest is the plain type that holds values exactly.
func smallest(values []float32) gguf.Type {
	for _, v := range values {
		if tensor.Float16ToFloat32(tensor.Float32ToFloat16(v)) != v {
			return gguf.F32
		}
	}
	return gguf.F16
}

// plain adds a parameter without quantizer.
func (w *ggufWriter) plain(name string, t *tensor.Tensor, shape tensor.Shape) error {
	switch {
	case len(shape) < 2:
		return w.floats(name, t.Float32s(), shape, gguf.F32, 32, "norms and biases stay in float32")
	case name != "token_embd.weight":
		return w.floats(name, t.Float32s(), shape, smallest(t.Float32s()), 32, "full precision")
	case w.c.Embedding == gguf.Q8_0:
		return w.embedding8(name, t)
	}
	return w.floats(name, t.Float32s(), shape, w.c.Embedding, 32, "the table of embeddings, which is looked up and not multiplied")
}

// embedding8 rounds the table of embeddings to blocks of 8 bits.
func (w *ggufWriter) embedding8(name string, t *tensor.Tensor) error {
	block := gguf.Q8_0.BlockElements()
	if t.Shape()[1]%block != 0 {
		return fmt.Errorf("%s: rows of %d, want a multiple of %d for Q8_0", name, t.Shape()[1], block)
	}
	var data []byte
	codes, v := make([]int8, block), t.Float32s()
	for len(v) > 0 {
		step := tensor.Float16ToFloat32(tensor.Float32ToFloat16(quant.StepMax(v[:block], quant.Spec{Bits: 8, Signed: true})))
		for i, x := range v[:block] {
			if codes[i] = 0; step > 0 {
				codes[i] = int8(max(-127, min(127, math.RoundToEven(float64(x/step)))))
			}
		}
		var err error
		if data, err = gguf.AppendCodes(data, gguf.Q8_0, codes, step); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		v = v[block:]
	}
	w.add(gguf.Tensor{Name: name, Type: gguf.Q8_0, Shape: t.Shape(), Data: data}, t.Float32s(), 32, "the table of embeddings, rounded to blocks of 8 bits")
	return nil
}

func (w *ggufWriter) floats(name string, v []float32, shape tensor.Shape, t gguf.Type, bits int, why string) error {
	data, err := gguf.AppendFloats(nil, t, v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.add(gguf.Tensor{Name: name, Type: t, Shape: shape, Data: data}, v, bits, why)
	return nil
}

func (w *ggufWriter) add(t gguf.Tensor, values []float32, bits int, why string) {
	w.tensors = append(w.tensors, t)
	w.became = append(w.became, Tensor{Name: t.Name, Type: t.Type.String(), Bits: bits, Why: why, SizeBytes: len(t.Data)})
	w.values = append(w.values, values)
}

// metadata describes the network and its tokenizer.
func (w *ggufWriter) metadata() ([]gguf.KV, error) {
	c, arch := w.l.Config, w.architecture()
	head := c.HeadWidth()
	u := func(key string, v int) gguf.KV { return gguf.KV{Key: arch + "." + key, Value: uint32(v)} }
	f := func(key string, v float64) gguf.KV { return gguf.KV{Key: arch + "." + key, Value: float32(v)} }
	kv := []gguf.KV{
		{Key: "general.architecture", Value: arch}, {Key: "general.name", Value: w.c.Name}, {Key: "general.file_type", Value: uint32(w.fileType())},
		u("block_count", c.Layers), u("context_length", c.Context), u("embedding_length", c.Dim), u("feed_forward_length", c.Hidden),
		u("attention.head_count", c.Heads), u("attention.head_count_kv", c.KVHeads), u("attention.key_length", head), u("attention.value_length", head),
		f("attention.layer_norm_rms_epsilon", c.NormEps), f("rope.freq_base", c.Theta), u("rope.dimension_count", head), u("vocab_size", c.Vocab),
	}
	if c.Scaling.Factor > 1 && c.Scaling.Original == 0 {
		kv = append(kv, gguf.KV{Key: arch + ".rope.scaling.type", Value: "linear"}, f("rope.scaling.factor", c.Scaling.Factor))
	}
	if arch == "granite" {
		for key, v := range map[string]float64{"embedding_scale": c.EmbeddingMultiplier, "attention.scale": c.AttentionMultiplier,
			"residual_scale": c.ResidualMultiplier, "logit_scale": c.LogitsScaling} {
			if v != 0 {
				kv = append(kv, f(key, v))
			}
		}
		slices.SortFunc(kv[15:], func(a, b gguf.KV) int { return strings.Compare(a.Key, b.Key) })
	}
	t, err := w.l.GGUFTokenizer()
	return append(kv, t...), err
}

// fileType is the number that llama.cpp shows for the type of most weights.
func (w *ggufWriter) fileType() int {
	count := map[gguf.Type]int{}
	for _, t := range w.tensors {
		if len(t.Shape) == 2 {
			count[t.Type]++
		}
	}
	most := gguf.F32
	for _, t := range slices.Sorted(maps.Keys(count)) {
		if count[t] > count[most] {
			most = t
		}
	}
	return map[gguf.Type]int{gguf.F16: 1, gguf.Q4_0: 2, gguf.Q8_0: 7, gguf.Q5_0: 8, gguf.Q2_K: 10, gguf.Q3_K: 12, gguf.Q5_K: 17, gguf.Q6_K: 18}[most]
}

// notes say what llama.cpp does otherwise.
func (w *ggufWriter) notes() []string {
	q := w.l.Quantizers
	if q == nil {
		return nil
	}
	notes := []string{"llama.cpp rounds activations to 8 bits in blocks of 32 or 256, at run time"}
	if q.Static {
		notes = append(notes, "learned steps of activations are not part of the format")
	}
	if q.Cache > 0 {
		notes = append(notes, fmt.Sprintf("a cache of %d bits is asked for at run time: -ctk q%d_0 -ctv q%d_0", q.Cache, max(q.Cache, 4), max(q.Cache, 4)))
	}
	return notes
}

// verify reads the file back and compares every tensor.
func (w *ggufWriter) verify(path string, became []Tensor) error {
	f, err := gguf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i, t := range w.tensors {
		got, err := f.Tensor(t.Name)
		if err != nil {
			return err
		}
		if got, err = got.ToFloat32(); err != nil {
			return err
		}
		e := relativeError(got.Float32s(), w.values[i])
		if became[i].Error = e; e != 0 && became[i].Bits < 32 {
			return fmt.Errorf("%s: the file's values differ by %g of the largest, want none", t.Name, e)
		}
	}
	_, err = load.OpenLanguage(path)
	return err
}

func relativeError(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var diff, most float64
	for i, v := range want {
		diff, most = max(diff, math.Abs(float64(got[i])-float64(v))), max(most, math.Abs(float64(v)))
	}
	if diff == 0 {
		return 0
	}
	return diff / most
}
