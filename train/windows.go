package train

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// Windows is a Source of windows of text for a causal language model: one set,
// or several that are drawn from by weight. Where documents share a window, a
// graph with the inputs "starts" and "positions" keeps them apart.
type Windows struct {
	Name    string
	Sets    []*data.Packed // of one window length
	Weights []float64      // of the sets; nil: all windows of all sets, each once an epoch
	// Examples is the number of windows of an epoch; 0: as many as there are.
	Examples int
	// Test measures the network; nil: no test.
	Test func(e *engine.Engine, g *graph.Graph, store *tensor.Store) (func() (eval.Result, error), error)

	tokens, targets, segments []int32
}

// Validate returns an error that names what does not fit.
func (w *Windows) Validate() error {
	if len(w.Sets) == 0 || w.Weights != nil && len(w.Weights) != len(w.Sets) {
		return fmt.Errorf("train: %d sets of windows with %d weights", len(w.Sets), len(w.Weights))
	}
	for _, s := range w.Sets {
		if s.Length != w.Sets[0].Length {
			return fmt.Errorf("train: windows of %d and of %d tokens", w.Sets[0].Length, s.Length)
		}
	}
	_, err := w.mixture(1)
	return err
}

func (w *Windows) all() int {
	n := 0
	for _, s := range w.Sets {
		n += s.Len()
	}
	return n
}

// Len implements Source.
func (w *Windows) Len() int {
	if w.Examples > 0 {
		return w.Examples
	}
	return w.all()
}

// Describe implements Source.
func (w *Windows) Describe() (name, sum string) {
	h := sha256.New()
	window := make([]int32, w.Sets[0].Length)
	other := make([]int32, 2*len(window))
	b := make([]byte, 0, 4*len(window))
	for i, s := range w.Sets {
		fmt.Fprintf(h, "set %d: %d windows, weights %v\n", i, s.Len(), w.Weights)
		for k := range s.Len() {
			s.Window(k, window, other[:len(window)], other[len(window):])
			b = b[:0]
			for _, id := range window {
				b = append(b, byte(id), byte(id>>8), byte(id>>16), byte(id>>24))
			}
			if s.Scored() {
				for _, target := range other[:len(window)] {
					b = append(b, byte(target))
				}
			}
			h.Write(b)
		}
	}
	return fmt.Sprintf("%s %d windows of %d tokens", w.Name, w.Len(), w.Sets[0].Length), hex.EncodeToString(h.Sum(nil))
}

func (w *Windows) mixture(seed uint64) (*data.Mixture, error) {
	sizes, weights := make([]int, len(w.Sets)), w.Weights
	for i, s := range w.Sets {
		sizes[i] = s.Len()
	}
	if weights == nil {
		for _, n := range sizes {
			weights = append(weights, float64(n))
		}
	}
	m, err := data.NewMixture(sizes, weights, seed)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return m, nil
}

// Order implements Source: the sets' windows are numbered one set after the
// other.
func (w *Windows) Order(seed uint64, epoch int) []int32 {
	if len(w.Sets) == 1 && w.Len() == w.all() {
		return w.Sets[0].Order(seed, epoch)
	}
	m, err := w.mixture(seed)
	if err != nil {
		return nil // Validate says why
	}
	first := make([]int, len(w.Sets))
	for i := 1; i < len(first); i++ {
		first[i] = first[i-1] + w.Sets[i-1].Len()
	}
	m.Skip(uint64(epoch) * uint64(w.Len()))
	order := make([]int32, w.Len())
	for i := range order {
		set, example := m.Next()
		order[i] = int32(first[set] + example)
	}
	return order
}

// Length implements Source: all windows are as long as the graph's sequences.
func (w *Windows) Length([]int32) int { return 0 }

// Fill implements Source.
func (w *Windows) Fill(index []int32, input func(name string) *tensor.Tensor) error {
	n := w.Sets[0].Length
	if w.tokens == nil {
		w.tokens, w.targets, w.segments = make([]int32, n), make([]int32, n), make([]int32, n)
	}
	in := input(nn.InputName)
	if in == nil || in.Len() != len(index)*n {
		return fmt.Errorf("windows of %d tokens for the input %v", n, in)
	}
	for row, i := range index {
		set := 0
		for int(i) >= w.Sets[set].Len() {
			i -= int32(w.Sets[set].Len())
			set++
		}
		w.Sets[set].Window(int(i), w.tokens, w.targets, w.segments)
		copy(in.Int32s()[row*n:], w.tokens)
		if t := input(nn.LabelsName); t != nil {
			copy(t.Int32s()[row*n:], w.targets)
		}
		if t := input(nn.WeightsName); t != nil {
			for k, target := range w.targets {
				t.Float32s()[row*n+k] = 0
				if target != data.Ignored {
					t.Float32s()[row*n+k] = 1
				}
			}
		}
		w.keepApart(row*n, input(nn.StartsName), input(nn.PositionsName))
	}
	return nil
}

// keepApart tells for the rows from first on where each token's document begins
// in its window, and the token's place in the document.
func (w *Windows) keepApart(first int, starts, positions *tensor.Tensor) {
	if starts == nil || positions == nil {
		return
	}
	begin := 0
	for k, s := range w.segments {
		if k > 0 && s != w.segments[k-1] {
			begin = k
		}
		starts.Int32s()[first+k] = int32(begin)
		positions.Int32s()[first+k] = int32(k - begin)
	}
}

// Documents reports whether any window holds parts of several documents.
func (w *Windows) Documents() bool {
	n := w.Sets[0].Length
	tokens, targets, segments := make([]int32, n), make([]int32, n), make([]int32, n)
	for _, s := range w.Sets {
		for i := range s.Len() {
			if s.Window(i, tokens, targets, segments); segments[n-1] > 0 {
				return true
			}
		}
	}
	return false
}

// Scored reports whether a set has tokens that are no targets, such as the
// questions of chats.
func (w *Windows) Scored() bool {
	return slices.ContainsFunc(w.Sets, (*data.Packed).Scored)
}

// First returns the first n windows of the sets in turn, or as many as there
// are.
func (w *Windows) First(n int) [][]int32 {
	var all [][]int32
	for i := 0; len(all) < n; i++ {
		more := false
		for _, s := range w.Sets {
			if i >= s.Len() || len(all) == n {
				continue
			}
			more = true
			tokens := make([]int32, s.Length)
			s.Window(i, tokens, make([]int32, s.Length), nil)
			all = append(all, tokens)
		}
		if !more {
			break
		}
	}
	return all
}

// Evaluator implements Source.
func (w *Windows) Evaluator(e *engine.Engine, g *graph.Graph, store *tensor.Store) (func() (eval.Result, error), error) {
	if w.Test == nil {
		return nil, nil
	}
	return w.Test(e, g, store)
}
