package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/text"
)

// configName is the file that describes the network of a Hugging Face folder.
const configName = "config.json"

// maxConfigBytes bounds it; public ones have a few thousand.
const maxConfigBytes = 1 << 20

// decoders are the decoder architectures that are read, with what each has
// beside Llama's description.
var decoders = map[string]func(c *model.Llama, h hfConfig){
	"LlamaForCausalLM":   func(c *model.Llama, h hfConfig) {},
	"MistralForCausalLM": func(c *model.Llama, h hfConfig) { c.Context = window(c.Context, h.SlidingWindow) },
	"Qwen2ForCausalLM": func(c *model.Llama, h hfConfig) {
		c.QKVBias = true
		if h.UseSlidingWindow {
			c.Context = window(c.Context, h.SlidingWindow)
		}
	},
	"GraniteForCausalLM": func(c *model.Llama, h hfConfig) {
		c.EmbeddingMultiplier, c.AttentionMultiplier = h.EmbeddingMultiplier, h.AttentionMultiplier
		c.ResidualMultiplier, c.LogitsScaling = h.ResidualMultiplier, h.LogitsScaling
	},
}

// window bounds a context by that of sliding attention: within it the two see
// the same tokens.
func window(context, sliding int) int {
	if sliding > 0 {
		return min(context, sliding)
	}
	return context
}

// hfConfig is what is read of a config.json, and written; other keys are left
// alone, since every library adds its own.
type hfConfig struct {
	Architectures    []string `json:"architectures"`
	ModelType        string   `json:"model_type"`
	VocabSize        int      `json:"vocab_size"`
	HiddenSize       int      `json:"hidden_size"`
	Layers           int      `json:"num_hidden_layers"`
	Heads            int      `json:"num_attention_heads"`
	KVHeads          int      `json:"num_key_value_heads"`
	HeadDim          int      `json:"head_dim"`
	Intermediate     int      `json:"intermediate_size"`
	Context          int      `json:"max_position_embeddings"`
	NormEps          *float64 `json:"rms_norm_eps"`
	Activation       string   `json:"hidden_act"`
	Theta            float64  `json:"rope_theta"`
	Scaling          *hfRope  `json:"rope_scaling"`
	Rope             *hfRope  `json:"rope_parameters,omitempty"` // transformers 5: rope_theta and rope_scaling in one
	Tied             *bool    `json:"tie_word_embeddings"`
	AttentionBias    bool     `json:"attention_bias"`
	MLPBias          bool     `json:"mlp_bias"`
	SlidingWindow    int      `json:"sliding_window,omitempty"`
	UseSlidingWindow bool     `json:"use_sliding_window,omitempty"`
	BOS              any      `json:"bos_token_id"` // a number or a list
	EOS              any      `json:"eos_token_id"`
	Type             string   `json:"torch_dtype"`

	EmbeddingMultiplier float64 `json:"embedding_multiplier,omitempty"`
	AttentionMultiplier float64 `json:"attention_multiplier,omitempty"`
	ResidualMultiplier  float64 `json:"residual_multiplier,omitempty"`
	LogitsScaling       float64 `json:"logits_scaling,omitempty"`

	Quantization json.RawMessage `json:"quantization_config,omitempty"`
	Own          *own            `json:"lowbit,omitempty"`
}

type hfRope struct {
	Theta    float64 `json:"rope_theta,omitempty"`
	Type     string  `json:"rope_type"`
	OldType  string  `json:"type,omitempty"`
	Factor   float64 `json:"factor"`
	Low      float64 `json:"low_freq_factor,omitempty"`
	High     float64 `json:"high_freq_factor,omitempty"`
	Original float64 `json:"original_max_position_embeddings,omitempty"`
}

func (r *hfRope) scaling() (graph.RoPEScaling, error) {
	kind := r.Type
	if kind == "" {
		kind = r.OldType
	}
	switch kind {
	case "", "default":
		return graph.RoPEScaling{}, nil
	case "linear":
		return graph.RoPEScaling{Factor: r.Factor}, nil
	case "llama3":
		return graph.RoPEScaling{Factor: r.Factor, Low: r.Low, High: r.High, Original: r.Original}, nil
	}
	return graph.RoPEScaling{}, fmt.Errorf("rope scaling %q is not supported, have default, linear, llama3", kind)
}

// readConfig reads a folder's config.json.
func readConfig(dir string) (hfConfig, error) {
	var h hfConfig
	path := filepath.Join(dir, configName)
	f, err := os.Open(path)
	if err != nil {
		return h, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return h, err
	}
	if len(b) > maxConfigBytes {
		return h, fmt.Errorf("%s: more than %d bytes", path, maxConfigBytes)
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	if len(h.Architectures) == 0 {
		return h, fmt.Errorf("%s names no architecture", path)
	}
	return h, nil
}

// WriteConfig makes path the config.json of the model with tensors of a type
// ("float32", "float16"), a head that is its embedding or not, and, if it is not
// nil, a quantization_config; with exact, what that lacks of the model's
// quantizers, too.
func (l *Language) WriteConfig(path, typ string, tied bool, quantization any, exact bool) error {
	c := l.Config
	h := hfConfig{
		Architectures: []string{"LlamaForCausalLM"}, ModelType: "llama", VocabSize: c.Vocab, HiddenSize: c.Dim, Intermediate: c.Hidden,
		Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: c.HeadWidth(), Context: c.Context, NormEps: &c.NormEps,
		Activation: "silu", Theta: c.Theta, Tied: &tied, AttentionBias: c.OutBias, MLPBias: c.MLPBias, Type: typ,
		EmbeddingMultiplier: c.EmbeddingMultiplier, AttentionMultiplier: c.AttentionMultiplier,
		ResidualMultiplier: c.ResidualMultiplier, LogitsScaling: c.LogitsScaling,
	}
	switch {
	case h.EmbeddingMultiplier != 0 || h.AttentionMultiplier != 0 || h.ResidualMultiplier != 0 || h.LogitsScaling != 0:
		h.Architectures, h.ModelType = []string{"GraniteForCausalLM"}, "granite"
	case c.QKVBias && !c.OutBias:
		h.Architectures, h.ModelType = []string{"Qwen2ForCausalLM"}, "qwen2"
	}
	switch s := c.Scaling; {
	case s.Original > 0:
		h.Scaling = &hfRope{Type: "llama3", Factor: s.Factor, Low: s.Low, High: s.High, Original: s.Original}
	case s.Factor > 1:
		h.Scaling = &hfRope{Type: "linear", Factor: s.Factor}
	}
	if l.Tokenizer != nil {
		if id, ok := l.Tokenizer.Special("bos"); ok {
			h.BOS = id
		}
		if id, ok := l.Tokenizer.Special("eos"); ok {
			h.EOS = id
		}
	}
	if q := l.Quantizers; exact && q != nil && (q.Cache > 0 || q.Query > 0) {
		h.Own = &own{q.Cache, q.Query}
	}
	if quantization != nil {
		var err error
		if h.Quantization, err = json.Marshal(quantization); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	if err := atomicfile.WriteJSON(path, h); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}

// llama turns the description of a decoder into a Llama.
func (h hfConfig) llama() (model.Llama, error) {
	c := model.Llama{
		Vocab: h.VocabSize, Dim: h.HiddenSize, Layers: h.Layers, Heads: h.Heads, KVHeads: h.KVHeads, HeadDim: h.HeadDim,
		Hidden: h.Intermediate, Context: h.Context, NormEps: 1e-6, Theta: h.Theta,
		Tied: h.Tied != nil && *h.Tied, QKVBias: h.AttentionBias, OutBias: h.AttentionBias, MLPBias: h.MLPBias,
	}
	if h.NormEps != nil {
		c.NormEps = *h.NormEps
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	adjust, ok := decoders[h.Architectures[0]]
	switch {
	case !ok:
		return c, unsupported(h.Architectures[0], decoders)
	case h.Activation != "" && h.Activation != "silu":
		return c, fmt.Errorf("hidden_act %q is not supported, have silu", h.Activation)
	}
	adjust(&c, h)
	for _, r := range []*hfRope{h.Scaling, h.Rope} {
		if r == nil {
			continue
		}
		if r.Theta != 0 {
			c.Theta = r.Theta
		}
		s, err := r.scaling()
		if err != nil {
			return c, err
		}
		c.Scaling = s
	}
	if c.Theta == 0 {
		c.Theta = 10000
	}
	return c, nil
}

func openHuggingFace(dir string) (*Language, error) {
	h, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	l := &Language{Form: "huggingface", Types: map[string]int{}}
	if l.Config, err = h.llama(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, configName), err)
	}
	f, err := safetensors.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The weights are there already, so that a lying description costs at most
	// what place compares.
	if err := checkSize(l.Config, math.MaxInt64); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, configName), err)
	}
	var weights *tensor.Store
	if len(h.Quantization) > 0 && string(h.Quantization) != "null" {
		weights, err = l.readCompressed(f, h)
	} else {
		weights, err = l.readFolder(f)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := l.place(weights); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	l.Tokenizer, err = text.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		l.Tokenizer, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := l.checkVocabulary(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return l, nil
}

// readFolder copies a folder's tensors as float32. Rotary frequencies that old
// files hold are left out, and so is a head that is the embedding again.
func (l *Language) readFolder(f *safetensors.Folder) (*tensor.Store, error) {
	weights := tensor.NewStore()
	return weights, l.readPlain(f, weights, func(string) bool { return false })
}

// readPlain puts the tensors that skip does not name into weights.
func (l *Language) readPlain(f *safetensors.Folder, weights *tensor.Store, skip func(name string) bool) error {
	for _, name := range f.Names() {
		if skip(name) {
			continue
		}
		t, err := f.Tensor(name)
		if err != nil {
			return err
		}
		l.Types[t.DType().String()]++
		if isRotary(name) || l.Config.Tied && name == "lm_head.weight" {
			continue
		}
		if t.DType() == tensor.F32 {
			t = t.Clone()
		} else if t, err = t.ToFloat32(); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		if err := weights.Put(name, t); err != nil {
			return err
		}
	}
	return nil
}

func isRotary(name string) bool {
	ok, _ := filepath.Match("model.layers.*.self_attn.rotary_emb.inv_freq", name)
	return ok
}
