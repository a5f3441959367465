package nn

import (
	"fmt"

	"lowbit/graph"
	"lowbit/tensor"
)

// Names of the inputs of networks over tokens. Rows of tokens stand in order of
// sequence and position: values are [batch*seq, features].
const (
	LengthsName   = "lengths"   // i32 [batch]: tokens of each sequence, the rest is padding
	PositionName  = "position"  // i32 [1]: tokens that the caches hold already
	PositionsName = "positions" // i32 [batch, seq]: of packed sequences, counted from each one's start
	StartsName    = "starts"    // i32 [batch, seq]: of packed sequences, where each token's own begins
	LabelsName    = "labels"    // i32 [batch, seq]: negative ones are not scored
	WeightsName   = "weights"   // f32 [batch, seq]: what each token's loss counts
)

// Tokens adds the network's input of token ids, i32 [batch, seq], and returns
// it as [batch*seq].
func Tokens(g *graph.Graph, batch, seq int) *graph.Node {
	return Rows(g, g.Input(InputName, tensor.I32, batch, seq))
}

// Rows joins all axes of x to one, whatever the batch.
func Rows(g *graph.Graph, x *graph.Node) *graph.Node {
	return g.Apply(graph.Reshape{Dims: []int{-1}}, x)
}

// Embedding picks the rows ids of NAME.weight [rows, d]. Asking again for the
// name, or for a linear layer of that name, ties the parameters.
func Embedding(g *graph.Graph, name string, ids *graph.Node, rows, d int, init Init) *graph.Node {
	return g.Embedding(weight(g, name+".weight", init, Normal(0.02), rows, d), ids).Named(name)
}

func vector(g *graph.Graph, name string, n int, start float64) *graph.Node {
	return g.Param(graph.Param{Name: name, Shape: []int{n}, Role: graph.Norm, Init: graph.Init{Kind: graph.InitConst, Value: start}})
}

// LayerNorm normalises the last axis of x with NAME.weight and NAME.bias.
func LayerNorm(g *graph.Graph, name string, x *graph.Node, eps float64) *graph.Node {
	if !fits(g, "layer norm", name, x, 0) {
		return x
	}
	d := x.Shape()[len(x.Shape())-1]
	return g.LayerNorm(x, vector(g, name+".weight", d, 1), vector(g, name+".bias", d, 0), eps).Named(name)
}

// RMSNorm divides the last axis of x by its root mean square and multiplies by
// NAME.weight.
func RMSNorm(g *graph.Graph, name string, x *graph.Node, eps float64) *graph.Node {
	if !fits(g, "rms norm", name, x, 0) {
		return x
	}
	return g.RMSNorm(x, vector(g, name+".weight", x.Shape()[len(x.Shape())-1], 1), eps).Named(name)
}

// Cache keeps the keys and values of earlier tokens: inputs NAME.k and NAME.v,
// f32 [batch, Capacity, KVHeads*HeadDim], which each run appends to in place.
type Cache struct {
	Name     string
	Batch    int
	Capacity int
	Position *graph.Node // i32 [1]: tokens in the cache
}

func (c Cache) keep(g *graph.Graph, suffix string, rows *graph.Node, seq int) *graph.Node {
	width := rows.Shape()[1]
	in := g.Input(c.Name+suffix, tensor.F32, c.Batch, c.Capacity, width)
	kept := g.Apply(graph.CacheAppend{Seq: seq}, in, rows, c.Position)
	return g.Apply(graph.Reshape{Dims: []int{-1, width}}, kept)
}

// Attention describes multi-head attention of a network over rows of tokens.
// The projections are linear layers named Q, K, V and O.
type Attention struct {
	Heads, KVHeads, HeadDim int
	Q, K, V, O              string
	Bias, OutBias           bool // of q, k, v; of o
	Scale                   float64
	Mask                    graph.Mask // Position, Lengths and Starts are set from the nodes below
	Lengths, Starts         *graph.Node
	Cache                   *Cache
	// Rope turns queries and keys, at the places that RopeAt tells (see
	// graph.RoPE); nil: no rotation.
	Rope   *graph.RoPE
	RopeAt *graph.Node
	Init   Init
}

// MultiHeadAttention lets each token of x [batch*seq, features] look at the
// others that the mask shows. The attention node is named NAME; queries and
// keys behind the rotation are NAME.query and NAME.key; what the cache holds is
// what attention reads.
func MultiHeadAttention(g *graph.Graph, name string, x *graph.Node, a Attention) *graph.Node {
	if !fits(g, "attention", name, x, 2) {
		return x
	}
	out := x.Shape()[1]
	q := Linear(g, a.Q, x, Dense{Out: a.Heads * a.HeadDim, Unbiased: !a.Bias, Init: a.Init})
	k := Linear(g, a.K, x, Dense{Out: a.KVHeads * a.HeadDim, Unbiased: !a.Bias, Init: a.Init})
	v := Linear(g, a.V, x, Dense{Out: a.KVHeads * a.HeadDim, Unbiased: !a.Bias, Init: a.Init})
	if a.Rope != nil {
		var at []*graph.Node
		if a.RopeAt != nil {
			at = []*graph.Node{a.RopeAt}
		}
		q = g.Apply(*a.Rope, append([]*graph.Node{q}, at...)...).Named(name + ".query")
		k = g.Apply(*a.Rope, append([]*graph.Node{k}, at...)...).Named(name + ".key")
	}
	op := graph.Attention{Mask: a.Mask, Heads: a.Heads, KVHeads: a.KVHeads, Scale: a.Scale}
	in := []*graph.Node{q, k, v}
	if a.Cache != nil && g.Err() == nil {
		in[1], in[2] = a.Cache.keep(g, ".k", k, a.Mask.Seq), a.Cache.keep(g, ".v", v, a.Mask.Seq)
		in, op.Position = append(in, a.Cache.Position), true
	}
	if a.Lengths != nil {
		in, op.Lengths = append(in, a.Lengths), true
	}
	if a.Starts != nil {
		in, op.Starts = append(in, a.Starts), true
	}
	y := g.Apply(op, in...).Named(name)
	return Linear(g, a.O, y, Dense{Out: out, Unbiased: !a.OutBias, Init: a.Init})
}

// SwiGLU is down(silu(gate(x)) * up(x)) (arXiv 2002.05202), three linear layers
// with the given names and a hidden size.
func SwiGLU(g *graph.Graph, gate, up, down string, x *graph.Node, hidden int, d Dense) *graph.Node {
	if !fits(g, "swiglu", gate, x, 0) {
		return x
	}
	out := x.Shape()[len(x.Shape())-1]
	d.Out = hidden
	y := g.Mul(g.SiLU(Linear(g, gate, x, d)), Linear(g, up, x, d))
	d.Out = out
	return Linear(g, down, y, d)
}

// MLP is down(act(up(x))), two linear layers with the given names.
func MLP(g *graph.Graph, up, down string, x *graph.Node, hidden int, act Act, d Dense) *graph.Node {
	if !fits(g, "mlp", up, x, 0) {
		return x
	}
	out := x.Shape()[len(x.Shape())-1]
	d.Out = hidden
	y := act(Linear(g, up, x, d))
	d.Out = out
	return Linear(g, down, y, d)
}

// MeanTokens averages the first lengths tokens of each sequence: x
// [batch*seq, d] to [batch, d].
func MeanTokens(g *graph.Graph, x, lengths *graph.Node, seq int) *graph.Node {
	if !fits(g, "mean of tokens", "", x, 2) {
		return x
	}
	m := g.Apply(graph.Reshape{Dims: []int{0, 0, 1}}, g.Apply(graph.LengthMask{Seq: seq}, lengths))
	x = g.Apply(graph.Reshape{Dims: []int{-1, seq, x.Shape()[1]}, Length: 1}, x)
	return g.Div(g.Sum(g.Mul(x, m), 1), g.Sum(m, 1))
}

// Unit divides each row of x [n, d] by its length, at least 1e-12.
func Unit(g *graph.Graph, x *graph.Node) *graph.Node {
	s := g.Apply(graph.Reduce{F: graph.Sum, Axes: []int{1}, KeepDims: true}, g.Mul(x, x))
	return g.Div(x, g.Max(g.Sqrt(s), g.Scalar(1e-12)))
}

// TokenLoss is the sum of the losses of tokens [batch*seq], each times its
// place in the input "weights": 1/n for each of n scored tokens, over all parts
// of a batch, gives their mean; padding has weight 0.
func TokenLoss(g *graph.Graph, losses *graph.Node, batch, seq int) *graph.Node {
	w := g.Input(WeightsName, tensor.F32, batch, seq)
	return g.Sum(g.Mul(losses, Rows(g, w)))
}

// NextTokenLoss adds the inputs "labels" and "weights" and returns the weighted
// sum of each token's cross entropy.
func NextTokenLoss(g *graph.Graph, logits *graph.Node, batch, seq int) *graph.Node {
	labels := Rows(g, g.Input(LabelsName, tensor.I32, batch, seq))
	return TokenLoss(g, g.Apply(graph.CrossEntropy{}, logits, labels), batch, seq)
}

// GRUCell is one step of a gated recurrent unit with PyTorch's parameters
// NAME.weight_ih [3*hidden, in], NAME.weight_hh [3*hidden, hidden],
// NAME.bias_ih and NAME.bias_hh [3*hidden], gates in the order reset, update,
// new: h' = (1-z)*n + z*h. x is [batch, in], h [batch, hidden].
func GRUCell(g *graph.Graph, name string, x, h *graph.Node) *graph.Node {
	if !fits(g, "gru cell", name, x, 2) || !fits(g, "gru cell", name, h, 2) {
		return h
	}
	in, n := x.Shape()[1], h.Shape()[1]
	if x.Shape()[0] != h.Shape()[0] {
		g.Fail(fmt.Errorf("nn: gru cell %s: %w: input %v, state %v", name, tensor.ErrShape, x.Shape(), h.Shape()))
		return h
	}
	uniform := UniformFanIn([]int{3 * n, n})
	side := func(v *graph.Node, suffix string, size int) []*graph.Node {
		w := g.Param(graph.Param{Name: name + ".weight_" + suffix, Shape: []int{3 * n, size}, Role: graph.Weight, Init: uniform})
		b := g.Param(graph.Param{Name: name + ".bias_" + suffix, Shape: []int{3 * n}, Role: graph.Bias, Init: uniform})
		y := g.Add(g.Linear(v, w).Named(name+"."+suffix), b)
		return []*graph.Node{g.Slice(y, 1, 0, n, 1), g.Slice(y, 1, n, 2*n, 1), g.Slice(y, 1, 2*n, 3*n, 1)}
	}
	a, b := side(x, "ih", in), side(h, "hh", n)
	r, z := g.Sigmoid(g.Add(a[0], b[0])), g.Sigmoid(g.Add(a[1], b[1]))
	fresh := g.Tanh(g.Add(a[2], g.Mul(r, b[2])))
	return g.Add(fresh, g.Mul(z, g.Sub(h, fresh))).Named(name)
}
