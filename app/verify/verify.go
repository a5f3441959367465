package verify

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/infer"
	"lowbit/internal/rng"
	"lowbit/tensor"
)

// noise is an input of uniform numbers in -2..2.
func noise(shape []int) []float32 {
	x := make([]float32, tensor.Shape(shape).Size())
	s := rng.New(1, 'v')
	for i := range x {
		x[i] = float32(4*s.Float64() - 2)
	}
	return x
}

// Result is what Compare found on all examples.
type Result struct {
	Equal bool `json:"equal"`
	// MaxAbsDiff is the largest difference of two logits.
	MaxAbsDiff float64 `json:"max_abs_diff"`
	// FirstDifference is in the first example that differs, Example its number.
	FirstDifference *infer.Difference `json:"first_difference"`
	Example         int               `json:"example,omitempty"`
	Differing       int               `json:"differing"` // examples
	Examples        int               `json:"examples"`
	Layers          int               `json:"layers"`   // values compared in each
	Elements        int64             `json:"elements"` // of them, over all examples
}

// Compare runs the examples of ds through a's kernels and through plain loops
// over b's graph, and compares the codes and floats of every layer. With so many
// threads (0: all), each takes examples; the result does not depend on them. It
// says how many examples are done to progress, one call at a time; nil: to
// nobody.
func Compare(ctx context.Context, a, b *Network, ds *data.Dataset, norm data.Normalization, threads int, progress func(done int)) (Result, error) {
	if err := a.fits(ds); err != nil {
		return Result{}, err
	}
	r := Result{Examples: ds.Len()}
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	loader, err := data.NewLoader(ds, data.LoaderConfig{Batch: min(threads, ds.Len()), Norm: norm, Epochs: 1})
	if err != nil {
		return r, fmt.Errorf("verify: %w", err)
	}
	defer loader.Close()
	references := make([]*infer.Reference, threads)
	for i := range references {
		if references[i], err = infer.NewReference(b.Graph, b.Store); err != nil {
			return r, err
		}
	}
	done := 0
	compare := a.Model.Compare
	if a.foreign || b.foreign {
		compare = a.Model.CompareNamed
	}
	for batch, err := range loader.Epoch(0, 0) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return r, fmt.Errorf("verify: %w", err)
		}
		found := a.compareBatch(references, batch, compare)
		for i, f := range found {
			if f.err != nil {
				return r, fmt.Errorf("verify: example %d: %w", batch.Index[i], f.err)
			}
			r.add(f, int(batch.Index[i]))
		}
		if done += len(found); progress != nil {
			progress(done)
		}
	}
	r.Equal = r.Differing == 0
	return r, nil
}

// outcome is what one example gave.
type outcome struct {
	*infer.Comparison
	diff float64
	err  error
}

// add counts one example.
func (r *Result) add(f outcome, example int) {
	r.Layers = max(r.Layers, f.Layers)
	r.Elements += f.Elements
	if f.Equal() {
		return
	}
	r.Differing++
	r.MaxAbsDiff = math.Max(r.MaxAbsDiff, f.diff)
	if r.FirstDifference == nil {
		r.FirstDifference, r.Example = f.First, example
	}
}

// comparing is Model.Compare or Model.CompareNamed.
type comparing func(r *infer.Reference, in []float32) (*infer.Comparison, error)

// compareBatch compares each example of a batch, each with its own reference.
func (n *Network) compareBatch(references []*infer.Reference, b *data.Batch, compare comparing) []outcome {
	found := make([]outcome, len(b.Index))
	x := b.Images.Float32s()
	size := len(x) / len(b.Index)
	var wg sync.WaitGroup
	for i := range found {
		wg.Go(func() { found[i] = n.compareOne(references[i], x[i*size:][:size], compare) })
	}
	wg.Wait()
	return found
}

// compareOne compares one example; where something differs it runs both again
// for their logits.
func (n *Network) compareOne(r *infer.Reference, x []float32, compare comparing) (o outcome) {
	if o.Comparison, o.err = compare(r, x); o.err != nil || o.Equal() {
		return o
	}
	var want []float32
	if want, o.err = r.Run(x); o.err != nil {
		return o
	}
	got := make([]float32, tensor.Shape(n.Model.OutputShape()).Size())
	s := n.Model.NewSession(infer.Options{Threads: 1})
	defer s.Close()
	if o.err = s.Run(x, got); o.err != nil {
		return o
	}
	if len(got) != len(want) {
		o.err = fmt.Errorf("%d results, the reference has %d", len(got), len(want))
		return o
	}
	for i := range got {
		o.diff = math.Max(o.diff, math.Abs(float64(got[i])-float64(want[i])))
	}
	return o
}

// Evaluate measures the network's accuracy on integers, in batches of that size.
// Results are the same for any number of threads (0: all). norm replaces the
// dataset's normalisation, if set. keep, if not nil, gets each batch's logits,
// [n, classes], in the order of the examples.
func (n *Network) Evaluate(ctx context.Context, ds *data.Dataset, norm data.Normalization, batch, threads int, confusion bool, keep func(logits []float32)) (eval.Result, error) {
	if err := n.fits(ds); err != nil {
		return eval.Result{}, err
	}
	loader, err := data.NewLoader(ds, data.LoaderConfig{Batch: min(batch, ds.Len()), Norm: norm, Epochs: 1})
	if err != nil {
		return eval.Result{}, fmt.Errorf("verify: %w", err)
	}
	defer loader.Close()
	s := n.Model.NewSession(infer.Options{Threads: threads})
	defer s.Close()
	t := eval.Tally{Classes: n.Model.OutputShape()[0]}
	if confusion {
		t.Confusion = make([][]int, t.Classes)
		for i := range t.Confusion {
			t.Confusion[i] = make([]int, t.Classes)
		}
	}
	logits := make([]float32, batch*t.Classes)
	for b, err := range loader.Epoch(0, 0) {
		if err != nil {
			return eval.Result{}, fmt.Errorf("verify: %w", err)
		}
		out := logits[:len(b.Index)*t.Classes]
		if err := s.RunContext(ctx, b.Images.Float32s(), out); err != nil {
			return eval.Result{}, err
		}
		t.Add(out, b.Labels.Int32s())
		if keep != nil {
			keep(out)
		}
	}
	return t.Result(), nil
}

// fits compares a dataset with the network's shapes.
func (n *Network) fits(ds *data.Dataset) error {
	if have, want := (tensor.Shape{ds.Channels, ds.Height, ds.Width}), tensor.Shape(n.Model.InputShape()); !have.Equal(want) {
		return fmt.Errorf("verify: %w: %s has images %v, the network wants %v", tensor.ErrShape, ds.Name, have, want)
	}
	if out := n.Model.OutputShape(); len(out) != 1 || len(ds.Classes) > out[0] {
		return fmt.Errorf("verify: %s has %d classes, the network results of %v", ds.Name, len(ds.Classes), out)
	}
	return nil
}
