package export

import (
	"lowbit/format/compressedtensors"
	"lowbit/load"
	"lowbit/quant"
)

// hfConfig is the config.json of a Hugging Face folder.
type hfConfig struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`
	VocabSize     int      `json:"vocab_size"`
	HiddenSize    int      `json:"hidden_size"`
	Intermediate  int      `json:"intermediate_size"`
	Layers        int      `json:"num_hidden_layers"`
	Heads         int      `json:"num_attention_heads"`
	KVHeads       int      `json:"num_key_value_heads"`
	HeadDim       int      `json:"head_dim"`
	Context       int      `json:"max_position_embeddings"`
	NormEps       float64  `json:"rms_norm_eps"`
	Activation    string   `json:"hidden_act"`
	Theta         float64  `json:"rope_theta"`
	Scaling       *hfRope  `json:"rope_scaling"`
	Tied          bool     `json:"tie_word_embeddings"`
	AttentionBias bool     `json:"attention_bias"`
	MLPBias       bool     `json:"mlp_bias"`
	BOS           *int32   `json:"bos_token_id"`
	EOS           *int32   `json:"eos_token_id"`
	Type          string   `json:"torch_dtype"`

	EmbeddingMultiplier float64 `json:"embedding_multiplier,omitempty"`
	AttentionMultiplier float64 `json:"attention_multiplier,omitempty"`
	ResidualMultiplier  float64 `json:"residual_multiplier,omitempty"`
	LogitsScaling       float64 `json:"logits_scaling,omitempty"`

	Quantization *compressedtensors.Config `json:"quantization_config,omitempty"`
}

type hfRope struct {
	Type     string  `json:"rope_type"`
	Factor   float64 `json:"factor"`
	Low      float64 `json:"low_freq_factor,omitempty"`
	High     float64 `json:"high_freq_factor,omitempty"`
	Original float64 `json:"original_max_position_embeddings,omitempty"`
}

// describe is the config.json of a model.
func describe(l *load.Language) hfConfig {
	c := l.Config
	h := hfConfig{
		Architectures: []string{"LlamaForCausalLM"}, ModelType: "llama", VocabSize: c.Vocab, HiddenSize: c.Dim, Intermediate: c.Hidden,
		Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, HeadDim: headDim(l), Context: c.Context, NormEps: c.NormEps,
		Activation: "silu", Theta: c.Theta, Tied: c.Tied, AttentionBias: c.OutBias, MLPBias: c.MLPBias,
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
		h.Scaling = &hfRope{"llama3", s.Factor, s.Low, s.High, s.Original}
	case s.Factor > 1:
		h.Scaling = &hfRope{Type: "linear", Factor: s.Factor}
	}
	if l.Tokenizer != nil {
		for role, to := range map[string]**int32{"bos": &h.BOS, "eos": &h.EOS} {
			if id, ok := l.Tokenizer.Special(role); ok {
				*to = &id
			}
		}
	}
	return h
}

func headDim(l *load.Language) int {
	if l.Config.HeadDim > 0 {
		return l.Config.HeadDim
	}
	return l.Config.Dim / l.Config.Heads
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
