package eval

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
	"lowbit/text"
)

// Encoder is a network that reads whole sequences, such as a BERT. Build makes
// its graph for a batch of sequences of a length: inputs "input" and "types",
// i32 [batch, length], and "lengths", i32 [batch]; output "logits".
type Encoder struct {
	Build func(batch, length int) (*graph.Graph, error)
	Store *tensor.Store
	// Longest is the most tokens that the network reads; 0: no bound.
	Longest int
}

// encoderStep is what lengths are rounded up to: sequences of like lengths share
// a plan.
const encoderStep = 8

// typesName is the input of token types.
const typesName = "types"

// Outputs runs an encoder on texts and returns the logits of each: a row of its
// own, or a row for each token, one after the other, where the network has such.
// Texts of like lengths are read together, which changes no result: padding is
// masked. progress may be nil.
func Outputs(ctx context.Context, e *engine.Engine, m Encoder, texts []text.Encoding, batch int, progress func(done, of int)) ([][]float32, error) {
	if batch < 1 || len(texts) == 0 {
		return nil, fmt.Errorf("eval: %d texts in batches of %d, want at least 1", len(texts), batch)
	}
	order := make([]int, len(texts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(texts[b].IDs), len(texts[a].IDs)) })
	out := make([][]float32, len(texts))
	var p *engine.Plan
	length := -1
	for from := 0; from < len(order); from += batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part := order[from:min(from+batch, len(order))]
		longest := max(1, len(texts[part[0]].IDs))
		if m.Longest > 0 && longest > m.Longest {
			return nil, fmt.Errorf("eval: a text of %d tokens, the network reads at most %d", longest, m.Longest)
		}
		n := (longest + encoderStep - 1) / encoderStep * encoderStep
		if m.Longest > 0 {
			n = min(n, m.Longest)
		}
		if n != length {
			g, err := m.Build(batch, n)
			if err != nil {
				return nil, err
			}
			if p, err = m.compile(e, g); err != nil {
				return nil, fmt.Errorf("eval: %w", err)
			}
			length = n
		}
		if err := encode(p, texts, part, length, out); err != nil {
			return nil, err
		}
		if progress != nil {
			progress(from+len(part), len(texts))
		}
	}
	return out, nil
}

// compile plans the part of a graph that gives the logits.
func (m Encoder) compile(e *engine.Engine, g *graph.Graph) (*engine.Plan, error) {
	g, err := graph.Inference(g)
	if err != nil {
		return nil, err
	}
	if g, err = graph.Select(g, nn.LogitsName); err != nil {
		return nil, err
	}
	return e.Compile(g, m.Store)
}

// encode runs one batch and writes its texts' logits.
func encode(p *engine.Plan, texts []text.Encoding, part []int, length int, out [][]float32) error {
	ids, types, lengths := p.Input(nn.InputName), p.Input(typesName), p.Input(nn.LengthsName)
	if ids == nil || types == nil || lengths == nil {
		return fmt.Errorf("eval: the graph lacks an input: want %q, %q and %q", nn.InputName, typesName, nn.LengthsName)
	}
	clear(ids.Int32s())
	clear(types.Int32s())
	for i := range lengths.Int32s() {
		lengths.Int32s()[i] = 1 // rows without a text
	}
	for row, k := range part {
		t := texts[k]
		copy(ids.Int32s()[row*length:], t.IDs)
		copy(types.Int32s()[row*length:], t.Types)
		lengths.Int32s()[row] = int32(max(1, len(t.IDs)))
	}
	if err := p.Run(); err != nil {
		return fmt.Errorf("eval: %w", err)
	}
	logits := p.Output(nn.LogitsName)
	values, batch := logits.Float32s(), len(lengths.Int32s())
	each := len(values) / batch
	for row, k := range part {
		n := each
		if logits.Shape()[0] == batch*length && length > 1 {
			n = each / length * len(texts[k].IDs)
		}
		out[k] = slices.Clone(values[row*each:][:n])
	}
	return nil
}
