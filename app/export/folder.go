package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"lowbit/format/compressedtensors"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/text"
)

// Form says what a folder holds.
type Form string

const (
	// Floats: each quantized weight as the float32 values that it stands for.
	Floats Form = "safetensors"
	// Serving: codes of the layers' weights alone, for readers that compute with
	// float activations; the head as float16. vLLM loads it.
	Serving Form = "serving"
	// Exact: codes of all weights, the head's too, and what rounds the inputs; the
	// rest as float16 where that holds its values, else as float32. It is a
	// quantized model for load.OpenLanguage.
	Exact Form = "exact"
)

// Folder writes a language model as a folder that transformers reads: config.json,
// model.safetensors and the files of its tokenizer, as far as it has them. Codes
// lie in the layout of compressed-tensors. It takes the place of dir at the end.
func Folder(dir string, l *load.Language, form Form) (Result, error) {
	w, err := newFolder(l, form)
	if err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	dir = filepath.Clean(dir)
	if err := replaceable(dir); err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".")
	if err != nil {
		return Result{}, fmt.Errorf("export: %w", err)
	}
	defer os.RemoveAll(part)
	r := Result{Path: dir, Tensors: w.became}
	if err := errors.Join(w.write(part), os.Chmod(part, 0o755)); err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	if err := w.verify(part); err != nil {
		return r, fmt.Errorf("export: %s read back: %w", dir, err)
	}
	r.Verified, r.Notes = true, w.notes()
	if r.SizeBytes, err = folderBytes(part); err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	if err := os.Rename(part, dir); err != nil {
		return r, fmt.Errorf("export: %w", err)
	}
	return r, nil
}

// replaceable refuses to put a folder in the place of anything but such a folder.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "model.safetensors" {
			return nil
		}
	}
	return fmt.Errorf("%s holds other things than a model: name a new folder", dir)
}

type folder struct {
	l       *load.Language
	form    Form
	layers  map[string]graph.Layer // with quantized weights
	tied    bool
	tensors *tensor.Store
	values  *tensor.Store // what each weight's values must be, in the folder's order
	became  []Tensor

	tokenizer error // why the folder has no tokenizer; weights are worth having without
}

func newFolder(l *load.Language, form Form) (*folder, error) {
	w := &folder{l: l, form: form, layers: map[string]graph.Layer{}, tied: l.Config.Tied, tensors: tensor.NewStore(), values: tensor.NewStore()}
	g, err := l.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return nil, err
	}
	for _, layer := range graph.Layers(g) {
		if layer.WeightQuant != nil {
			w.layers[layer.Name] = layer
		}
	}
	if form != Floats && len(w.layers) == 0 {
		return nil, fmt.Errorf("%s is in full precision, codes are written of a quantized model\nQuantize it first: lowbit quantize --model %s --data DATA --bits w4a8kv8", l.Spec, l.Spec)
	}
	for _, p := range g.Params() {
		if p.Op().(graph.Param).Role == graph.Step {
			if name, is := load.CacheScale(p.Name()); is && form == Exact {
				if err := w.tensors.Put(name, l.Store.Get(p.Name())); err != nil {
					return nil, err
				}
			}
			continue
		}
		if err := w.parameter(p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name(), err)
		}
	}
	if head, ok := w.layers["lm_head"]; ok && l.Config.Tied {
		w.tied = false // the head is rounded, the table is not
		if err := w.weight("lm_head", l.Store.Get("model.embed_tokens.weight"), head); err != nil {
			return nil, fmt.Errorf("lm_head: %w", err)
		}
	}
	return w, nil
}

// description is the quantization_config.
func (w *folder) description() *compressedtensors.Config {
	c := &compressedtensors.Config{Method: compressedtensors.Method, Format: compressedtensors.PackQuantized, Status: "compressed", Groups: map[string]compressedtensors.Group{}, Ignore: []string{}}
	group := func(name, target string, layer graph.Layer) {
		g := compressedtensors.Group{Targets: []string{target}, Weights: weightScheme(layer.WeightQuant.Op().(graph.FakeQuant).Spec), Format: compressedtensors.PackQuantized}
		if q := layer.InputQuant; w.form == Exact && q != nil {
			g.Inputs = inputScheme(layer.ActBits, w.l.Quantizers.Static)
		}
		c.Groups[name] = g
	}
	for name, layer := range w.layers {
		if name != "lm_head" {
			group("group_0", "Linear", layer) // all inner layers of a run are alike
		}
	}
	head, ok := w.layers["lm_head"]
	switch {
	case ok && w.form == Exact:
		group("group_1", "lm_head", head)
	default:
		c.Ignore = append(c.Ignore, "lm_head")
	}
	return c
}

// weightScheme describes weights with a step for each output channel.
func weightScheme(s quant.Spec) *compressedtensors.Scheme {
	return &compressedtensors.Scheme{Bits: s.Bits, Type: "int", Symmetric: true, Strategy: "channel"}
}

// inputScheme describes activations: a step of each token at run time, or one
// that is stored.
func inputScheme(bits int, static bool) *compressedtensors.Scheme {
	if static {
		return &compressedtensors.Scheme{Bits: bits, Type: "int", Symmetric: true, Strategy: "tensor"}
	}
	return &compressedtensors.Scheme{Bits: bits, Type: "int", Symmetric: true, Strategy: "token", Dynamic: true}
}

// parameter writes a parameter of the graph.
func (w *folder) parameter(p *graph.Node) error {
	layer := strings.TrimSuffix(strings.TrimSuffix(p.Name(), ".weight"), ".bias")
	t := w.rows(layer, w.l.Store.Get(p.Name()))
	if q, ok := w.layers[layer]; ok && strings.HasSuffix(p.Name(), ".weight") {
		return w.weight(layer, t, q)
	}
	why := "norms and biases"
	if len(t.Shape()) == 2 {
		why = "full precision"
		if layer == "model.embed_tokens" {
			why = "the table of embeddings, which is looked up and not multiplied"
		}
	}
	return w.plain(p.Name(), t, 32, why)
}

// rows returns a tensor with its rows in Hugging Face's order, in which rotary
// pairs are half a head apart.
func (w *folder) rows(layer string, t *tensor.Tensor) *tensor.Tensor {
	if !w.l.Config.Adjacent || !strings.HasSuffix(layer, ".self_attn.q_proj") && !strings.HasSuffix(layer, ".self_attn.k_proj") {
		return t
	}
	head := w.l.Config.HeadWidth()
	out := tensor.New(tensor.F32, t.Shape()...)
	from, to := t.Float32s(), out.Float32s()
	n := t.Len() / t.Shape()[0]
	for r := range t.Shape()[0] {
		copy(to[r*n:][:n], from[interleaved(r, head)*n:][:n])
	}
	return out
}

// weight writes a quantized weight.
func (w *folder) weight(layer string, t *tensor.Tensor, q graph.Layer) error {
	spec, shape := q.WeightQuant.Op().(graph.FakeQuant).Spec, t.Shape()
	steps := w.rows(layer, w.l.Store.Get(q.WeightQuant.In()[1].Name()))
	values := tensor.New(tensor.F32, shape...)
	if err := quant.FakeQuant(values.Float32s(), t.Float32s(), steps.Float32s(), shape, spec); err != nil {
		return err
	}
	switch {
	case w.form == Floats:
		return w.plain(layer+".weight", values, spec.Bits, fmt.Sprintf("values of %d-bit codes", spec.Bits))
	case w.form == Serving && layer == "lm_head":
		return w.plain(layer+".weight", values, 32, fmt.Sprintf("values of %d-bit codes: servers want the head in floats", spec.Bits))
	}
	codes := make([]int32, t.Len())
	if err := quant.Quantize(codes, t.Float32s(), steps.Float32s(), shape, spec); err != nil {
		return err
	}
	packed := compressedtensors.Weight{Out: shape[0], In: shape[1], Bits: spec.Bits, Codes: make([]int8, len(codes)), Scale: narrowed(steps)}
	for i, k := range codes {
		packed.Codes[i] = int8(k)
	}
	var err error
	if packed.Scale, err = packed.Scale.Reshape(shape[0], 1); err != nil {
		return err
	}
	if err := packed.Put(w.tensors, layer); err != nil {
		return err
	}
	size := 4*shape[0]*compressedtensors.Words(shape[1], spec.Bits) + packed.Scale.Len()*packed.Scale.DType().Size()
	w.became = append(w.became, Tensor{Name: layer + ".weight", Type: fmt.Sprintf("int%d", spec.Bits), Bits: spec.Bits, Why: fmt.Sprintf("codes of %d bits as they are", spec.Bits), SizeBytes: size})
	if err := w.values.Put(layer+".weight", values); err != nil {
		return err
	}
	return w.inputScale(layer, q)
}

// inputScale writes the learned step of a layer's input.
func (w *folder) inputScale(layer string, q graph.Layer) error {
	if w.form != Exact || q.InputQuant == nil || !w.l.Quantizers.Static {
		return nil
	}
	step := w.l.Store.Get(q.InputQuant.In()[1].Name())
	if step == nil {
		return fmt.Errorf("the step of its input is missing")
	}
	return w.tensors.Put(layer+".input_scale", step)
}

// narrowed is a tensor as float16 where that holds its values, else as it is.
func narrowed(t *tensor.Tensor) *tensor.Tensor {
	half := halves(t)
	for i, v := range t.Float32s() {
		if tensor.Float16ToFloat32(half.Uint16s()[i]) != v {
			return t
		}
	}
	return half
}

// halves rounds a tensor to float16.
func halves(t *tensor.Tensor) *tensor.Tensor {
	half := tensor.New(tensor.F16, t.Shape()...)
	for i, v := range t.Float32s() {
		half.Uint16s()[i] = tensor.Float32ToFloat16(v)
	}
	return half
}

// plain writes a tensor of floats, of the folder's type.
func (w *folder) plain(name string, t *tensor.Tensor, bits int, why string) error {
	kept := t
	switch w.form {
	case Serving:
		kept = halves(t)
	case Exact:
		kept = narrowed(t)
	}
	w.became = append(w.became, Tensor{Name: name, Type: kept.DType().String(), Bits: bits, Why: why, SizeBytes: kept.Len() * kept.DType().Size()})
	return errors.Join(w.tensors.Put(name, kept), w.values.Put(name, t))
}

// write fills a folder.
func (w *folder) write(dir string) error {
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), w.tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	typ, description := "float32", any(nil)
	if w.form != Floats {
		description = w.description()
	}
	if w.form == Serving {
		typ = "float16"
	}
	if w.tokenizer = w.l.WriteTokenizer(dir); w.tokenizer != nil && !errors.Is(w.tokenizer, text.ErrUntranslatable) {
		return w.tokenizer
	}
	return w.l.WriteConfig(filepath.Join(dir, "config.json"), typ, w.tied, description, w.form == Exact)
}

// verify reads the folder back and compares every weight.
func (w *folder) verify(dir string) error {
	l, err := load.OpenLanguage(dir)
	if err != nil {
		return err
	}
	got := l.Store
	for i, b := range w.became {
		t := got.Get(b.Name)
		if t == nil {
			return fmt.Errorf("%s is missing", b.Name)
		}
		e := relativeError(t.Float32s(), w.values.Get(b.Name).Float32s())
		if w.became[i].Error = e; e != 0 && b.Bits < 32 {
			return fmt.Errorf("%s: the folder's values differ by %g of the largest, want none", b.Name, e)
		}
	}
	return nil
}

// notes say what readers do otherwise, and what the folder lacks.
func (w *folder) notes() []string {
	var notes []string
	q := w.l.Quantizers
	switch {
	case q == nil:
	case w.form == Exact && !q.Static:
		notes = append(notes, "compressed-tensors takes max|x|/127.5 as the step of a token's input, training took max|x|/127")
	case w.form != Exact:
		notes = append(notes, "inputs are not rounded by readers of this folder; in training they were, to "+fmt.Sprint(q.Bits.Default.Act)+" bits")
	}
	if q != nil && q.Cache > 0 {
		where := "is not part of the folder"
		if w.form == Exact {
			where = "stands in config.json's key lowbit, which other readers pass over"
		}
		notes = append(notes, fmt.Sprintf("the cache of %d bits %s", q.Cache, where))
	}
	if w.tokenizer != nil {
		notes = append(notes, fmt.Sprintf("no tokenizer.json (%v): put that of the original model beside the weights", w.tokenizer))
	}
	return notes
}

// folderBytes adds up the files of a folder.
func folderBytes(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	var n int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		n += info.Size()
	}
	return n, nil
}
