package model

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// BertHead names what stands on the encoder.
type BertHead string

// Heads. Hidden: the last hidden states, [batch*seq, dim]. Classify: pooler and
// classifier, [batch, classes] (one class: a regression). Span: start and end
// scores of each token, [batch*seq, 2]. Sentence: the mean over the tokens of
// each sequence, divided by its length, [batch, dim].
const (
	BertHidden   BertHead = "hidden"
	BertClassify BertHead = "classify"
	BertSpan     BertHead = "span"
	BertSentence BertHead = "sentence"
)

// Bert describes an encoder as in arXiv 1810.04805. Parameters are named as
// Hugging Face's, behind Prefix ("bert." in networks with a head, nothing in
// plain encoders): embeddings.word_embeddings, encoder.layer.N.attention.self.*,
// encoder.layer.N.{intermediate,output}.dense, pooler.dense; classifier and
// qa_outputs stand without the prefix.
type Bert struct {
	Vocab     int     `json:"vocab"`
	Dim       int     `json:"dim"`
	Layers    int     `json:"layers"`
	Heads     int     `json:"heads"`
	Hidden    int     `json:"hidden"`    // of the feed-forward part
	Positions int     `json:"positions"` // most tokens of a sequence
	Types     int     `json:"types"`     // token types
	NormEps   float64 `json:"norm_eps"`
	TanhGELU  bool    `json:"tanh_gelu,omitempty"` // "gelu_new" in place of "gelu"
	Dropout   float64 `json:"dropout,omitempty"`   // of embeddings and of what each layer adds
	Prefix    string  `json:"prefix,omitempty"`

	Head    BertHead `json:"head"`
	Classes int      `json:"classes,omitempty"` // of Classify
}

// TypesName is the input of token types, i32 [batch, seq].
const TypesName = "types"

// Validate returns an error that names what does not fit.
func (c Bert) Validate() error {
	for name, v := range map[string]int{"vocab": c.Vocab, "dim": c.Dim, "layers": c.Layers, "heads": c.Heads, "hidden": c.Hidden, "positions": c.Positions, "types": c.Types} {
		if v < 1 {
			return fmt.Errorf("model: bert: %s %d, want at least 1", name, v)
		}
	}
	if c.Dim%c.Heads != 0 {
		return fmt.Errorf("model: bert: dim %d for %d heads, want a multiple", c.Dim, c.Heads)
	}
	switch c.Head {
	case BertHidden, BertSpan, BertSentence:
	case BertClassify:
		if c.Classes < 1 {
			return fmt.Errorf("model: bert: %d classes, want at least 1", c.Classes)
		}
	default:
		return fmt.Errorf("model: bert: unknown head %q", c.Head)
	}
	return nil
}

// Graph builds the network: inputs "input" (token ids), i32 [batch, seq],
// "types", i32 [batch, seq], and "lengths", i32 [batch]; output "logits", see
// the heads.
func (c Bert) Graph(batch, seq int) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if batch < 1 || seq < 1 || seq > c.Positions {
		return nil, fmt.Errorf("model: bert: batch %d of %d tokens, want 1 to %d tokens", batch, seq, c.Positions)
	}
	g := graph.New()
	ids := nn.Tokens(g, batch, seq)
	types := nn.Rows(g, g.Input(TypesName, tensor.I32, batch, seq))
	lengths := g.Input(nn.LengthsName, tensor.I32, batch)
	x := c.embed(g, ids, types, seq)
	for i := range c.Layers {
		x = c.layer(g, i, x, lengths, seq)
	}
	nn.Logits(g, c.head(g, x, lengths, seq))
	return g, g.Err()
}

func (c Bert) embed(g *graph.Graph, ids, types *graph.Node, seq int) *graph.Node {
	p := c.Prefix + "embeddings."
	x := nn.Embedding(g, p+"word_embeddings", ids, c.Vocab, c.Dim, nil)
	x = g.Add(x, nn.Embedding(g, p+"token_type_embeddings", types, c.Types, c.Dim, nil))
	places := g.Param(graph.Param{
		Name: p + "position_embeddings.weight", Shape: []int{c.Positions, c.Dim}, Role: graph.Weight,
		Init: graph.Init{Kind: graph.InitNormal, Value: 0.02},
	})
	x = g.Apply(graph.Reshape{Dims: []int{-1, seq, c.Dim}, Length: 1}, x)
	x = g.Add(x, g.Apply(graph.Slice{End: seq, Step: 1, Length: true}, places))
	x = g.Apply(graph.Reshape{Dims: []int{-1, c.Dim}}, x)
	return nn.Dropout(g, p+"dropout", nn.LayerNorm(g, p+"LayerNorm", x, c.NormEps), c.Dropout)
}

func (c Bert) layer(g *graph.Graph, i int, x, lengths *graph.Node, seq int) *graph.Node {
	p := fmt.Sprintf("%sencoder.layer.%d.", c.Prefix, i)
	sd := nn.Normal(0.02)
	y := nn.MultiHeadAttention(g, p+"attention.self", x, nn.Attention{
		Heads: c.Heads, KVHeads: c.Heads, HeadDim: c.Dim / c.Heads, Bias: true, OutBias: true, Init: sd,
		Q: p + "attention.self.query", K: p + "attention.self.key", V: p + "attention.self.value", O: p + "attention.output.dense",
		Mask: graph.Mask{Seq: seq}, Lengths: lengths,
	})
	y = nn.Dropout(g, p+"attention.output.dropout", y, c.Dropout)
	x = nn.LayerNorm(g, p+"attention.output.LayerNorm", g.Add(y, x), c.NormEps)
	act := g.GELU
	if c.TanhGELU {
		act = g.GELUTanh
	}
	y = nn.MLP(g, p+"intermediate.dense", p+"output.dense", x, c.Hidden, act, nn.Dense{Init: sd})
	y = nn.Dropout(g, p+"output.dropout", y, c.Dropout)
	return nn.LayerNorm(g, p+"output.LayerNorm", g.Add(y, x), c.NormEps)
}

func (c Bert) head(g *graph.Graph, x, lengths *graph.Node, seq int) *graph.Node {
	sd := nn.Normal(0.02)
	switch c.Head {
	case BertSentence:
		return nn.Unit(g, nn.MeanTokens(g, x, lengths, seq))
	case BertSpan:
		return nn.Linear(g, "qa_outputs", x, nn.Dense{Out: 2, Init: sd})
	case BertClassify:
		first := g.Slice(g.Apply(graph.Reshape{Dims: []int{-1, seq, c.Dim}, Length: 1}, x), 1, 0, 1, 1)
		y := nn.Linear(g, c.Prefix+"pooler.dense", g.Apply(graph.Reshape{Dims: []int{0, -1}}, first), nn.Dense{Out: c.Dim, Init: sd})
		y = nn.Dropout(g, "dropout", g.Apply(graph.Unary{F: graph.Tanh}, y), c.Dropout)
		return nn.Linear(g, "classifier", y, nn.Dense{Out: c.Classes, Init: sd})
	}
	return x
}
