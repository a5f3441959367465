package model

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// Llama describes a decoder of the Llama family: Llama, SmolLM2, Qwen2 (biases),
// Granite (multipliers). Parameters are named as Hugging Face's:
// model.embed_tokens, model.layers.N.self_attn.{q,k,v,o}_proj,
// model.layers.N.mlp.{gate,up,down}_proj, model.layers.N.input_layernorm,
// model.layers.N.post_attention_layernorm, model.norm, lm_head.
type Llama struct {
	Vocab   int `json:"vocab"`
	Dim     int `json:"dim"`
	Layers  int `json:"layers"`
	Heads   int `json:"heads"`
	KVHeads int `json:"kv_heads"`
	HeadDim int `json:"head_dim,omitempty"` // 0: Dim/Heads
	Hidden  int `json:"hidden"`             // of the feed-forward part
	Context int `json:"context"`            // most tokens of a sequence

	NormEps float64 `json:"norm_eps"`
	Theta   float64 `json:"theta"` // base of the rotary frequencies

	// Adjacent tells that rotary pairs are neighbours in the rows of q and k
	// (llama2.c and GGUF), not half a head apart (Hugging Face).
	Adjacent bool              `json:"adjacent,omitempty"`
	Scaling  graph.RoPEScaling `json:"scaling,omitzero"`

	Tied     bool `json:"tied,omitempty"`     // the head is the embedding
	QKVBias  bool `json:"qkv_bias,omitempty"` // Qwen2
	OutBias  bool `json:"out_bias,omitempty"`
	MLPBias  bool `json:"mlp_bias,omitempty"`
	HeadBias bool `json:"head_bias,omitempty"`

	// Granite's multipliers; 0 means the usual: 1, 1/sqrt(HeadDim), 1, 1.
	EmbeddingMultiplier float64 `json:"embedding_multiplier,omitempty"` // of embeddings
	AttentionMultiplier float64 `json:"attention_multiplier,omitempty"` // of scores
	ResidualMultiplier  float64 `json:"residual_multiplier,omitempty"`  // of what a layer adds
	LogitsScaling       float64 `json:"logits_scaling,omitempty"`       // logits are divided by it
}

// Validate returns an error that names what does not fit.
func (c Llama) Validate() error {
	for name, v := range map[string]int{"vocab": c.Vocab, "dim": c.Dim, "layers": c.Layers, "heads": c.Heads, "kv heads": c.KVHeads, "hidden": c.Hidden, "context": c.Context} {
		if v < 1 {
			return fmt.Errorf("model: llama: %s %d, want at least 1", name, v)
		}
	}
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("model: llama: %d heads in groups of %d key heads", c.Heads, c.KVHeads)
	case c.HeadDim == 0 && c.Dim%c.Heads != 0:
		return fmt.Errorf("model: llama: dim %d for %d heads, want a multiple", c.Dim, c.Heads)
	case c.HeadWidth()%2 != 0:
		return fmt.Errorf("model: llama: head of %d, want an even number", c.HeadWidth())
	case !(c.Theta > 0) || c.NormEps < 0:
		return fmt.Errorf("model: llama: theta %g and norm eps %g, want positive numbers", c.Theta, c.NormEps)
	}
	return nil
}

// HeadWidth is the width of a head: HeadDim, or what Dim and Heads give; 0 where
// they give none.
func (c Llama) HeadWidth() int {
	if c.HeadDim != 0 || c.Heads < 1 {
		return c.HeadDim
	}
	return c.Dim / c.Heads
}

// LlamaRun is how a graph of the network is used. The zero values of all but
// Batch and Seq give the plain graph: whole sequences from their first token.
type LlamaRun struct {
	Batch int
	Seq   int // tokens of a sequence in one run
	// Packed sequences share rows: the inputs "starts" and "positions" tell
	// where each token's own sequence begins.
	Packed bool
	// Capacity above 0 makes a graph that decodes: the inputs cache.N.k and
	// cache.N.v, f32 [Batch, Capacity, KVHeads*HeadDim], get this run's keys and
	// values at the input "position".
	Capacity int
	// Pick adds the input "last", i32 [Batch]: rows of tokens (sequence*Seq +
	// place) whose logits are asked for; the others are not computed.
	Pick bool
}

// LastName is the input that tells which rows' logits are wanted.
const LastName = "last"

// Graph builds the network: input "input", token ids i32 [Batch, Seq]; output
// "logits", f32 [Batch*Seq, Vocab], or [Batch, Vocab] with Pick.
func (c Llama) Graph(r LlamaRun) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	most := c.Context
	if r.Capacity > 0 {
		most = min(most, r.Capacity)
	}
	if r.Batch < 1 || r.Seq < 1 || r.Seq > most || r.Capacity > c.Context || r.Capacity > 0 && r.Packed {
		return nil, fmt.Errorf("model: llama: batch %d of %d tokens, cache of %d, packed %v: want sequences up to %d tokens, not both packed and cached", r.Batch, r.Seq, r.Capacity, r.Packed, most)
	}
	g := graph.New()
	b := llamaBuilder{Llama: c, r: r, g: g}
	x := scale(g, nn.Embedding(g, "model.embed_tokens", nn.Tokens(g, r.Batch, r.Seq), c.Vocab, c.Dim, nil), c.EmbeddingMultiplier)
	b.inputs()
	for i := range c.Layers {
		x = b.layer(i, x)
	}
	x = nn.RMSNorm(g, "model.norm", x, c.NormEps)
	if r.Pick {
		x = g.Embedding(x, g.Input(LastName, tensor.I32, r.Batch))
	}
	nn.Logits(g, b.head(x))
	return g, g.Err()
}

type llamaBuilder struct {
	Llama
	r                           LlamaRun
	g                           *graph.Graph
	position, positions, starts *graph.Node
}

func (b *llamaBuilder) inputs() {
	if b.r.Capacity > 0 {
		b.position = b.g.FixedInput(nn.PositionName, tensor.I32, 1)
	}
	if b.r.Packed {
		b.starts = nn.Rows(b.g, b.g.Input(nn.StartsName, tensor.I32, b.r.Batch, b.r.Seq))
		b.positions = nn.Rows(b.g, b.g.Input(nn.PositionsName, tensor.I32, b.r.Batch, b.r.Seq))
	}
}

func (b *llamaBuilder) layer(i int, x *graph.Node) *graph.Node {
	p := fmt.Sprintf("model.layers.%d.", i)
	a := nn.Attention{
		Heads: b.Heads, KVHeads: b.KVHeads, HeadDim: b.HeadWidth(), Bias: b.QKVBias, OutBias: b.OutBias, Init: nn.Normal(0.02),
		Q: p + "self_attn.q_proj", K: p + "self_attn.k_proj", V: p + "self_attn.v_proj", O: p + "self_attn.o_proj",
		Scale: b.AttentionMultiplier, Mask: graph.Mask{Seq: b.r.Seq, Causal: true}, Starts: b.starts,
		Rope:   &graph.RoPE{HeadDim: b.HeadWidth(), Seq: b.r.Seq, Context: b.Context, Theta: b.Theta, Adjacent: b.Adjacent, Scaling: b.Scaling},
		RopeAt: b.positions,
	}
	if b.r.Capacity > 0 {
		a.Cache = &nn.Cache{Name: fmt.Sprintf("cache.%d", i), Batch: b.r.Batch, Capacity: b.r.Capacity, Position: b.position}
		a.RopeAt = b.position
	}
	y := nn.MultiHeadAttention(b.g, p+"self_attn", nn.RMSNorm(b.g, p+"input_layernorm", x, b.NormEps), a)
	x = b.g.Add(x, scale(b.g, y, b.ResidualMultiplier))
	y = nn.SwiGLU(b.g, p+"mlp.gate_proj", p+"mlp.up_proj", p+"mlp.down_proj", nn.RMSNorm(b.g, p+"post_attention_layernorm", x, b.NormEps),
		b.Hidden, nn.Dense{Unbiased: !b.MLPBias, Init: nn.Normal(0.02)})
	return b.g.Add(x, scale(b.g, y, b.ResidualMultiplier))
}

func (b *llamaBuilder) head(x *graph.Node) *graph.Node {
	var y *graph.Node
	if b.Tied {
		y = b.g.Linear(x, b.g.ParamNode("model.embed_tokens.weight")).Named("lm_head")
	} else {
		y = nn.Linear(b.g, "lm_head", x, nn.Dense{Out: b.Vocab, Unbiased: !b.HeadBias, Init: nn.Normal(0.02)})
	}
	if b.LogitsScaling != 0 {
		return scale(b.g, y, 1/b.LogitsScaling)
	}
	return y
}

// scale multiplies by a number; 0 and 1 mean as it is.
func scale(g *graph.Graph, x *graph.Node, by float64) *graph.Node {
	if by == 0 || by == 1 {
		return x
	}
	return g.Mul(x, g.Scalar(float32(by)))
}
