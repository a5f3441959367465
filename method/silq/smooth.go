package silq

import (
	"context"
	"fmt"
	"math"
	"strings"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// SmoothScales returns what SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4)
// divides each of a layer's inputs by, and multiplies its weights with:
//
//	s_j = max|x_j|^alpha / max|w_j|^(1-alpha)
//
// for the largest magnitudes of input j and of the weights that read it. It is 1
// where one of them is 0. alpha runs from 0 to 1: what is hard to round moves from
// the activations into the weights.
func SmoothScales(inputs, weights []float32, alpha float64) []float32 {
	s := make([]float32, len(inputs))
	for j, x := range inputs {
		v := math.Pow(float64(x), alpha) / math.Pow(float64(weights[j]), 1-alpha)
		if !(v > 0) || math.IsInf(v, 0) {
			v = 1
		}
		s[j] = float32(v)
	}
	return s
}

// smoothing is a norm and the linear layers that read its result, and nothing
// else does.
type smoothing struct {
	norm    *graph.Node // its result [tokens, dim]
	scale   string      // the norm's weight [dim]
	weights []string    // [out, dim]
	largest []float32   // magnitude of each feature of the result
}

// smoothings finds the norms of g whose scale can be moved into linear layers. A
// weight that something else reads, too, a tied head's say, stays as it is.
func smoothings(g *graph.Graph) []*smoothing {
	uses := g.Uses()
	var all []*smoothing
	for _, p := range g.Params() {
		name, ok := strings.CutSuffix(p.Name(), ".weight")
		norm := g.Find(name)
		if !ok || norm == nil || len(p.Shape()) != 1 {
			continue
		}
		s := &smoothing{norm: norm, scale: p.Name()}
		for _, user := range uses[norm.ID()] {
			o, ok := user.Op().(graph.MatMul)
			if !ok || !o.TransB || user.In()[0] != norm || !isParam(user.In()[1]) || len(uses[user.In()[1].ID()]) != 1 {
				s = nil
				break
			}
			s.weights = append(s.weights, user.In()[1].Name())
		}
		if s != nil && len(s.weights) > 0 {
			s.largest = make([]float32, p.Shape()[0])
			all = append(all, s)
		}
	}
	return all
}

// smooth moves scales from norms into the layers behind them, in the store: the
// model in full precision computes what it did, up to rounding.
func (c Calibration) smooth(ctx context.Context, store *tensor.Store, alpha float64, windows int) error {
	all := smoothings(c.Graph)
	if len(all) == 0 {
		return fmt.Errorf("silq: smoothing: the model has no norm that only linear layers read")
	}
	if err := c.largest(ctx, all, windows); err != nil {
		return fmt.Errorf("silq: smoothing: %w", err)
	}
	for _, s := range all {
		columns := make([]float32, len(s.largest))
		for _, name := range s.weights {
			for i, v := range store.Get(name).Float32s() {
				columns[i%len(columns)] = max(columns[i%len(columns)], abs(v))
			}
		}
		scales := SmoothScales(s.largest, columns, alpha)
		for j, v := range store.Get(s.scale).Float32s() {
			store.Get(s.scale).Float32s()[j] = v / scales[j]
		}
		for _, name := range s.weights {
			w := store.Get(name).Float32s()
			for i := range w {
				w[i] *= scales[i%len(scales)]
			}
		}
	}
	return nil
}

// largest observes the norms' results on the windows.
func (c Calibration) largest(ctx context.Context, all []*smoothing, windows int) error {
	if len(c.Windows) < windows {
		return fmt.Errorf("%d windows of text, want %d", len(c.Windows), windows)
	}
	g, err := graph.Clone(c.Graph)
	if err != nil {
		return err
	}
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = fmt.Sprintf("observed:%d", i)
		g.Output(names[i], g.Nodes()[s.norm.ID()])
	}
	if g, err = graph.Select(g, names...); err != nil {
		return err
	}
	plan, err := c.Engine.Compile(g, c.Store)
	if err != nil {
		return err
	}
	for i, ids := range c.Windows[:windows] {
		if err := ctx.Err(); err != nil {
			return err
		}
		input := plan.Input(nn.InputName).Int32s()
		if len(ids) != len(input) {
			return fmt.Errorf("window %d has %d tokens, the graph reads %d", i, len(ids), len(input))
		}
		copy(input, ids)
		if err := plan.Run(); err != nil {
			return err
		}
		for k, s := range all {
			for j, v := range plan.Output(names[k]).Float32s() {
				s.largest[j%len(s.largest)] = max(s.largest[j%len(s.largest)], abs(v))
			}
		}
		if c.Progress != nil {
			c.Progress(i+1, windows)
		}
	}
	return nil
}

func abs(v float32) float32 { return float32(math.Abs(float64(v))) }
