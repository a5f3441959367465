package train

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/nn"
	"lowbit/tensor"
	"lowbit/text"
)

// typesName is the input of token types.
const typesName = "types"

// Sentences is a Source of tokenized texts, or pairs of texts, with classes, for
// an encoder that reads "input" (token ids) and "types", i32 [batch, length], and
// "lengths", i32 [batch]. A batch is padded to its longest text, rounded up so
// that few lengths occur; an epoch's order puts texts of like lengths into one
// batch.
type Sentences struct {
	Name   string
	Texts  []text.Encoding
	Labels []int32 // classes, one for each text
	// Classes is the number of classes; Longest, if positive, the most tokens that
	// the network reads.
	Classes, Longest int
	// Batch is the number of texts that Order brings together: the run's.
	Batch int
	// Test is what Evaluator measures on; nil: nothing.
	Test *Sentences
}

// Validate returns an error that names what does not fit.
func (s *Sentences) Validate() error {
	if len(s.Texts) == 0 || len(s.Labels) != len(s.Texts) || s.Batch < 1 {
		return fmt.Errorf("train: %s: %d texts with %d labels in batches of %d, want at least 1 of each", s.Name, len(s.Texts), len(s.Labels), s.Batch)
	}
	for i, t := range s.Texts {
		switch y := s.Labels[i]; {
		case y < 0 || int(y) >= s.Classes:
			return fmt.Errorf("train: %s: label %d of text %d, want 0..%d", s.Name, y, i+1, s.Classes-1)
		case len(t.IDs) == 0 || len(t.Types) != len(t.IDs) || s.Longest > 0 && len(t.IDs) > s.Longest:
			return fmt.Errorf("train: %s: text %d has %d tokens with %d types, want 1 to %d", s.Name, i+1, len(t.IDs), len(t.Types), s.Longest)
		}
	}
	if s.Test != nil {
		return s.Test.Validate()
	}
	return nil
}

// Len implements Source.
func (s *Sentences) Len() int { return len(s.Texts) }

// Describe implements Source. The test part is part of it.
func (s *Sentences) Describe() (name, sum string) {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d %d\n", s.Classes, s.Longest, s.Batch)
	for i, t := range s.Texts {
		fmt.Fprintln(h, s.Labels[i], t.IDs, t.Types)
	}
	name = fmt.Sprintf("%s %d texts", s.Name, s.Len())
	if s.Test != nil {
		other, more := s.Test.Describe()
		name += ", " + other
		fmt.Fprintln(h, more)
	}
	return name, hex.EncodeToString(h.Sum(nil))
}

// padded is the length that n tokens are padded to.
func (s *Sentences) padded(n int) int {
	step := 8
	switch {
	case n > 64:
		step = 32
	case n > 32:
		step = 16
	}
	n = (n + step - 1) / step * step
	if s.Longest > 0 {
		n = min(n, s.Longest)
	}
	return n
}

// Length implements Source.
func (s *Sentences) Length(index []int32) int {
	if len(index) == 0 {
		return s.Greatest()
	}
	n := 1
	for _, i := range index {
		n = max(n, len(s.Texts[i].IDs))
	}
	return s.padded(n)
}

// Greatest is the length of batches with the longest texts.
func (s *Sentences) Greatest() int {
	n := 1
	for _, t := range s.Texts {
		n = max(n, len(t.IDs))
	}
	return s.padded(n)
}

// sentenceDomain keeps the order's randomness apart from other uses of a seed;
// poolBatches is how many batches' texts are sorted by length together: enough
// for batches of one length, few enough that an epoch's batches differ from
// another's.
const (
	sentenceDomain = 0x73656e74
	poolBatches    = 64
)

// Order implements Source: a random order, sorted by length within pools and cut
// into batches, whose order is random again. The texts that fill no batch come
// last.
func (s *Sentences) Order(seed uint64, epoch int) []int32 {
	r := rng.New(sentenceDomain, seed, uint64(epoch))
	order := make([]int32, s.Len())
	r.Perm(order)
	full := len(order) / s.Batch * s.Batch
	for from := 0; from < full; from += poolBatches * s.Batch {
		pool := order[from:min(from+poolBatches*s.Batch, full)]
		slices.SortStableFunc(pool, func(a, b int32) int { return cmp.Compare(len(s.Texts[a].IDs), len(s.Texts[b].IDs)) })
	}
	batches := make([]int32, full/s.Batch)
	r.Perm(batches)
	mixed := make([]int32, 0, len(order))
	for _, b := range batches {
		mixed = append(mixed, order[int(b)*s.Batch:][:s.Batch]...)
	}
	return append(mixed, order[full:]...)
}

// Fill implements Source.
func (s *Sentences) Fill(index []int32, input func(name string) *tensor.Tensor) error {
	ids, types, lengths := input(nn.InputName), input(typesName), input(nn.LengthsName)
	if ids == nil || types == nil || lengths == nil || len(ids.Shape()) != 2 || ids.Shape()[0] != len(index) || lengths.Len() != len(index) || types.Len() != ids.Len() {
		return fmt.Errorf("texts for the inputs %v, %v and %v, want i32 [%d, length] for tokens and types, and [%d] for lengths", ids, types, lengths, len(index), len(index))
	}
	clear(ids.Int32s())
	clear(types.Int32s())
	width := ids.Shape()[1]
	for row, i := range index {
		t := s.Texts[i]
		if len(t.IDs) > width {
			return fmt.Errorf("text %d of %d tokens in a batch of length %d", i+1, len(t.IDs), width)
		}
		copy(ids.Int32s()[row*width:], t.IDs)
		copy(types.Int32s()[row*width:], t.Types)
		lengths.Int32s()[row] = int32(len(t.IDs))
	}
	if labels := input(nn.LabelsName); labels != nil {
		if labels.Len() != len(index) {
			return fmt.Errorf("%d labels for the input %v", len(index), labels)
		}
		for row, i := range index {
			labels.Int32s()[row] = s.Labels[i]
		}
	}
	return nil
}

// Evaluator implements Source.
func (s *Sentences) Evaluator(e *engine.Engine, g *graph.Graph, store *tensor.Store) (func() (eval.Result, error), error) {
	if s.Test == nil {
		return nil, nil
	}
	logits := g.OutputNode(nn.LogitsName)
	if logits == nil || len(logits.Shape()) != 2 || logits.Shape()[0] != g.Batch() || logits.Shape()[1] < s.Classes {
		return nil, fmt.Errorf("the graph gives %v, want logits of %d classes for each text", logits, s.Classes)
	}
	classes := logits.Shape()[1]
	m := eval.Encoder{Store: store, Longest: s.Longest, Build: func(batch, length int) (*graph.Graph, error) {
		return graph.WithShape(g, batch, length)
	}}
	return func() (eval.Result, error) {
		rows, err := eval.Outputs(context.Background(), e, m, s.Test.Texts, s.Batch, nil)
		if err != nil {
			return eval.Result{}, err
		}
		t := eval.Tally{Classes: classes}
		for i, row := range rows {
			t.Add(row, s.Test.Labels[i:i+1])
		}
		return t.Result(), nil
	}, nil
}

// part returns the texts of those numbers.
func (s *Sentences) part(name string, index []int32) *Sentences {
	p := *s
	p.Name, p.Texts, p.Labels = name, make([]text.Encoding, len(index)), make([]int32, len(index))
	for i, k := range index {
		p.Texts[i], p.Labels[i] = s.Texts[k], s.Labels[k]
	}
	return &p
}

// HoldOut implements Divisible.
func (s *Sentences) HoldOut(n int, seed uint64) (kept, held Source, err error) {
	if n < 0 || n >= s.Len() {
		return nil, nil, fmt.Errorf("train: %s: hold out %d of %d texts, want fewer", s.Name, n, s.Len())
	}
	r := rng.New(sentenceDomain, seed)
	order := make([]int32, s.Len())
	r.Perm(order)
	slices.Sort(order[:n])
	slices.Sort(order[n:])
	h := s.part(s.Name+" held out", order[:n])
	if h.Test = nil; n > 0 {
		test := *h
		h.Test = &test
	}
	return s.part(s.Name+" kept", order[n:]), h, nil
}

// Limit implements Divisible.
func (s *Sentences) Limit(n int) Source {
	if n <= 0 || n >= s.Len() {
		return s
	}
	p := *s
	p.Texts, p.Labels = s.Texts[:n], s.Labels[:n]
	return &p
}
