package load

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lowbit/format/gguf"
	"lowbit/graph"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/text"
)

// ggufArchitectures are the values of general.architecture that are read.
// Llama's and Granite's rotary pairs are neighbours, Qwen2's half a head apart.
var ggufArchitectures = map[string]func(c *model.Llama){
	"llama":   func(c *model.Llama) { c.Adjacent = true },
	"granite": func(c *model.Llama) { c.Adjacent = true },
	"qwen2":   func(c *model.Llama) { c.QKVBias = true },
}

// ggufNames gives the parts of GGUF's names their names here.
var ggufNames = map[string]string{
	"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
	"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
	"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
	"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}

// ropeFactors is a tensor of Llama 3's files: what each frequency is divided by.
const ropeFactors = "rope_freqs.weight"

// ggufName turns blk.3.attn_q.weight into model.layers.3.self_attn.q_proj.weight;
// false if the name is not known.
func ggufName(name string) (string, bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return "", false
	}
	base, suffix, prefix := name[:dot], name[dot:], ""
	if rest, ok := strings.CutPrefix(base, "blk."); ok {
		layer, part, found := strings.Cut(rest, ".")
		if !found {
			return "", false
		}
		base, prefix = part, "model.layers."+layer+"."
	}
	to, ok := ggufNames[base]
	return prefix + to + suffix, ok
}

func openGGUF(path string) (*Language, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	l, err := fromGGUF(f, stat.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

func fromGGUF(f *gguf.File, size int64) (*Language, error) {
	l := &Language{Form: "gguf", Types: map[string]int{}}
	var err error
	if l.Config, err = ggufConfig(f); err != nil {
		return nil, err
	}
	if err := checkSize(l.Config, size); err != nil {
		return nil, err
	}
	weights := tensor.NewStore()
	for _, info := range f.Infos() {
		l.Types[info.Type.String()]++
		name, ok := ggufName(info.Name)
		if info.Name == ropeFactors {
			continue
		}
		if !ok {
			name = info.Name // named with the other differences
		}
		t, err := ggufTensor(f, info)
		if err != nil {
			return nil, err
		}
		if err := weights.Put(name, t); err != nil {
			return nil, err
		}
	}
	if err := l.place(weights); err != nil {
		return nil, err
	}
	if _, ok := f.Value("tokenizer.ggml.model"); ok {
		if l.Tokenizer, err = text.FromGGUF(f.Value); err != nil {
			return nil, err
		}
	}
	return l, l.checkVocabulary()
}

// ggufTensor returns a tensor that outlives the file.
func ggufTensor(f *gguf.File, info gguf.Info) (*tensor.Tensor, error) {
	t, err := f.Tensor(info.Name)
	if err != nil {
		return nil, err
	}
	if t.DType() == tensor.F32 && info.Type == gguf.F32 {
		return t.Clone(), nil
	}
	return t.ToFloat32()
}

func ggufConfig(f *gguf.File) (model.Llama, error) {
	var c model.Llama
	arch, err := gguf.Get[string](f, "general.architecture")
	if err != nil {
		return c, err
	}
	adjust, ok := ggufArchitectures[arch]
	if !ok {
		return c, unsupported(arch, ggufArchitectures)
	}
	k := ggufKeys{f: f, prefix: arch + "."}
	c = model.Llama{
		Dim: k.int("embedding_length", -1), Layers: k.int("block_count", -1), Heads: k.int("attention.head_count", -1),
		Hidden: k.int("feed_forward_length", -1), Context: k.int("context_length", -1),
		NormEps: k.float("attention.layer_norm_rms_epsilon", math.NaN()), Theta: k.float("rope.freq_base", 10000),
		EmbeddingMultiplier: k.float("embedding_scale", 0), ResidualMultiplier: k.float("residual_scale", 0),
		AttentionMultiplier: k.float("attention.scale", 0), LogitsScaling: k.float("logit_scale", 0),
	}
	c.KVHeads = k.int("attention.head_count_kv", c.Heads)
	c.HeadDim = k.int("attention.key_length", 0)
	if rotary := k.int("rope.dimension_count", 0); rotary != 0 && k.err == nil && rotary != c.HeadWidth() {
		k.fail("rope.dimension_count", fmt.Sprint(rotary), fmt.Sprintf("%d, the whole head", c.HeadWidth()))
	}
	adjust(&c)
	embedding, ok := f.Info("token_embd.weight")
	if !ok || len(embedding.Shape) != 2 {
		return c, errors.Join(k.err, fmt.Errorf("no matrix token_embd.weight"))
	}
	c.Vocab = embedding.Shape[0]
	_, head := f.Info("output.weight")
	c.Tied = !head
	c.Scaling = k.scaling(c)
	for name, flag := range map[string]*bool{"attn_q.bias": &c.QKVBias, "attn_output.bias": &c.OutBias, "ffn_gate.bias": &c.MLPBias} {
		if _, there := f.Info("blk.0." + name); there {
			*flag = true
		}
	}
	return c, k.err
}

func unsupported[V any](arch string, known map[string]V) error {
	var names []string
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Errorf("architecture %q is not supported, have %s", arch, strings.Join(names, ", "))
}

// ggufKeys reads an architecture's keys and keeps the first error.
type ggufKeys struct {
	f      *gguf.File
	prefix string
	err    error
}

func (k *ggufKeys) fail(key, got, want string) {
	if k.err == nil {
		k.err = fmt.Errorf("%s%s is %s, want %s", k.prefix, key, got, want)
	}
}

// int returns a key's number, otherwise where it is missing; -1 makes that an
// error.
func (k *ggufKeys) int(key string, otherwise int) int {
	v, err := k.f.Int(k.prefix + key)
	if errors.Is(err, gguf.ErrNotFound) && otherwise != -1 {
		return otherwise
	}
	if err != nil && k.err == nil {
		k.err = err
	}
	return v
}

// float is int for fractions; NaN makes a missing key an error.
func (k *ggufKeys) float(key string, otherwise float64) float64 {
	v, err := k.f.Float(k.prefix + key)
	if errors.Is(err, gguf.ErrNotFound) && !math.IsNaN(otherwise) {
		return otherwise
	}
	if err != nil && k.err == nil {
		k.err = err
	}
	return v
}

// scaling reads how positions are stretched: linear by a key, or by Llama 3's
// rule, of which the file holds the resulting factors.
func (k *ggufKeys) scaling(c model.Llama) graph.RoPEScaling {
	kind, _ := gguf.Get[string](k.f, k.prefix+"rope.scaling.type")
	switch kind {
	case "", "none":
	case "linear":
		return graph.RoPEScaling{Factor: k.float("rope.scaling.factor", 1)}
	default:
		k.fail("rope.scaling.type", kind, "none or linear")
	}
	if _, ok := k.f.Info(ropeFactors); !ok || k.err != nil {
		return graph.RoPEScaling{}
	}
	t, err := k.f.Tensor(ropeFactors)
	if err != nil {
		k.err = err
		return graph.RoPEScaling{}
	}
	s, err := llama3Scaling(t, c)
	if err != nil {
		k.err = fmt.Errorf("%s: %w", ropeFactors, err)
	}
	return s
}

// llama3Scaling finds the rule whose factors t holds: those that Llama 3.1 and
// its successors were trained with, at the factor that divides the longest
// wavelengths.
func llama3Scaling(t *tensor.Tensor, c model.Llama) (graph.RoPEScaling, error) {
	f, err := t.ToFloat32()
	if err != nil {
		return graph.RoPEScaling{}, err
	}
	v := f.Float32s()
	if len(v) != c.HeadWidth()/2 || len(v) == 0 {
		return graph.RoPEScaling{}, fmt.Errorf("%w: %v, want [%d]", tensor.ErrShape, t.Shape(), c.HeadWidth()/2)
	}
	s := graph.RoPEScaling{Factor: float64(slices.Max(v)), Low: 1, High: 4, Original: 8192}
	plain := graph.RoPE{HeadDim: c.HeadWidth(), Theta: c.Theta}
	scaled := graph.RoPE{HeadDim: c.HeadWidth(), Theta: c.Theta, Scaling: s}
	for i, got := range v {
		if want := plain.Frequency(i) / scaled.Frequency(i); !(math.Abs(float64(got)-want) <= 1e-3*want) {
			return s, fmt.Errorf("factor %d is %g, Llama 3's rule gives %g; other rules are not supported", i, got, want)
		}
	}
	return s, nil
}

// GGUFRope returns the tensor of a GGUF file that says how a network stretches its
// positions by Llama 3's rule, "" if it does not. A rule with other bounds than
// Llama 3.1's is an error: no reader here would know it again.
func GGUFRope(c model.Llama) (name string, factors []float32, err error) {
	if c.Scaling.Original == 0 || c.Scaling.Factor <= 1 {
		return "", nil, nil
	}
	plain, scaled := graph.RoPE{HeadDim: c.HeadWidth(), Theta: c.Theta}, graph.RoPE{HeadDim: c.HeadWidth(), Theta: c.Theta, Scaling: c.Scaling}
	t := tensor.New(tensor.F32, c.HeadWidth()/2)
	for i := range t.Float32s() {
		t.Float32s()[i] = float32(plain.Frequency(i) / scaled.Frequency(i))
	}
	if _, err := llama3Scaling(t, c); err != nil {
		return "", nil, fmt.Errorf("rotary scaling %+v in GGUF: %w", c.Scaling, err)
	}
	return ropeFactors, t.Float32s(), nil
}

// GGUFName is the name that GGUF has for a parameter of a language model; false
// if it has none.
func GGUFName(param string) (string, bool) {
	dot := strings.LastIndexByte(param, '.')
	if dot < 0 {
		return "", false
	}
	base, suffix, prefix := param[:dot], param[dot:], ""
	if rest, ok := strings.CutPrefix(base, "model.layers."); ok {
		layer, part, found := strings.Cut(rest, ".")
		if !found {
			return "", false
		}
		base, prefix = part, "blk."+layer+"."
	}
	for name, here := range ggufNames {
		if here == base {
			return prefix + name + suffix, true
		}
	}
	return "", false
}

// GGUFTokenizer returns the keys of a GGUF file that describe the model's
// tokenizer: those of the file it came from, or a translation of llama2.c's
// table or of a tokenizer.json (text.Tokenizer.GGUFKeys says which can be).
func (l *Language) GGUFTokenizer() ([]gguf.KV, error) {
	source := l.Source
	if kept := filepath.Join(source, ggufTokenizer); l.Form == "run" && exists(kept) {
		source = kept
	}
	switch {
	case l.Tokenizer == nil:
		return nil, nil
	case strings.HasSuffix(source, ".gguf"):
		f, err := gguf.Open(source)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return tokenizerKeys(f), nil
	case l.Form == "llama2.c" || exists(filepath.Join(source, llama2cTokenizer)):
		return l.llama2cKeys()
	}
	path := filepath.Join(source, hfTokenizer)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no tokenizer.json: %w: a vocab.txt", l.Source, text.ErrUntranslatable)
	}
	if err != nil {
		return nil, err
	}
	translated, err := l.Tokenizer.GGUFKeys(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	keys := make([]gguf.KV, len(translated))
	for i, k := range translated {
		keys[i] = gguf.KV{Key: k.Key, Value: k.Value}
	}
	return keys, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// tokenizerKeys are a file's keys for its tokenizer, copied out of the mapping.
func tokenizerKeys(f *gguf.File) []gguf.KV {
	var keys []gguf.KV
	for _, kv := range f.Metadata() {
		if strings.HasPrefix(kv.Key, "tokenizer.") {
			keys = append(keys, kv)
		}
	}
	return keys
}

// llama2cKeys translates llama2.c's table of tokens.
func (l *Language) llama2cKeys() ([]gguf.KV, error) {
	path, err := l.llama2cTable()
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := text.Llama2CTable(bufio.NewReader(f), l.Config.Vocab)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key := func(name string, v any) gguf.KV { return gguf.KV{Key: "tokenizer.ggml." + name, Value: v} }
	return []gguf.KV{
		key("model", "llama"), key("pre", "default"), key("tokens", t.Tokens), key("scores", t.Scores), key("token_type", t.Types),
		key("unknown_token_id", uint32(0)), key("bos_token_id", uint32(1)), key("eos_token_id", uint32(2)), key("add_bos_token", true),
		key("add_eos_token", false), key("add_space_prefix", true),
	}, nil
}
