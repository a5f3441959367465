package train

import (
	"fmt"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/tensor"
)

// Source is what a run learns from where that is not a set of images: windows
// of a text, sentences with classes. Job.Source takes one in place of Train and
// Test. The training graph reads, beside the network's own inputs, "labels",
// i32 [rows], one for each row of the logits; negative ones have no cross
// entropy.
type Source interface {
	// Describe names the examples, and gives a checksum of all that decides what
	// they are: a run goes on only with equal ones.
	Describe() (name, sha256 string)
	// Len is the number of examples of an epoch.
	Len() int
	// Order returns the order of the examples in an epoch: a function of seed and
	// epoch alone.
	Order(seed uint64, epoch int) []int32
	// Fill writes the examples of those numbers into inputs of the training
	// graph; input returns nil for one that the graph lacks.
	Fill(index []int32, input func(name string) *tensor.Tensor) error
	// Evaluator makes what measures the network with a store's weights, as often
	// as it is called; nil for a source without a test part.
	Evaluator(e *engine.Engine, g *graph.Graph, store *tensor.Store) (func() (eval.Result, error), error)
}

// feed hands out the batches of a run in their order.
type feed interface {
	Steps() int // of an epoch
	Seek(epoch, step int) error
	Next() (*data.Batch, error)
	Close()
}

// newFeed begins the run's batches.
func (r *run) newFeed() (feed, error) {
	if s := r.job.Source; s != nil {
		f := &sourceFeed{order: s.Order, n: s.Len(), batch: r.Batch, seed: r.Seed, dropLast: r.DropLast}
		if f.Steps() == 0 {
			return nil, fmt.Errorf("train: %d examples, want a batch of %d at least", s.Len(), r.Batch)
		}
		return f, nil
	}
	return data.NewLoader(r.train, data.LoaderConfig{
		Batch: r.Batch, Seed: r.Seed, Shuffle: true, Augment: r.Augment, Norm: r.Norm, DropLast: r.DropLast, Epochs: r.Epochs,
	})
}

// sourceFeed cuts a source's order into batches; they hold the examples'
// numbers alone.
type sourceFeed struct {
	order       func(seed uint64, epoch int) []int32
	n, batch    int
	seed        uint64
	dropLast    bool
	epoch, step int
	now         []int32 // the epoch's order
}

func (f *sourceFeed) Steps() int {
	if f.dropLast {
		return f.n / f.batch
	}
	return (f.n + f.batch - 1) / f.batch
}

func (f *sourceFeed) Seek(epoch, step int) error {
	if step < 0 || step > f.Steps() {
		return fmt.Errorf("step %d of an epoch of %d", step, f.Steps())
	}
	f.epoch, f.step, f.now = epoch, step, nil
	return nil
}

func (f *sourceFeed) Next() (*data.Batch, error) {
	if f.step == f.Steps() {
		f.epoch, f.step, f.now = f.epoch+1, 0, nil
	}
	if f.now == nil {
		if f.now = f.order(f.seed, f.epoch); len(f.now) != f.n {
			return nil, fmt.Errorf("an order of %d examples, want %d", len(f.now), f.n)
		}
	}
	from := f.step * f.batch
	b := &data.Batch{Index: f.now[from:min(from+f.batch, f.n)], Epoch: f.epoch, Step: f.step}
	f.step++
	b.Last = f.step == f.Steps()
	return b, nil
}

func (f *sourceFeed) Close() {}

// evaluator measures the network with a store's weights, on the held-out or the
// test part.
func (r *run) evaluator(store *tensor.Store, ds *data.Dataset) (func() (eval.Result, error), error) {
	if r.job.Source != nil {
		f, err := r.job.Source.Evaluator(r.job.Engine, r.job.Graph, store)
		if err != nil {
			return nil, fmt.Errorf("train: %w", err)
		}
		return f, nil
	}
	c, err := eval.NewClassifier(r.job.Engine, r.job.Graph, store, r.EvalBatch)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	c.Norm = r.Norm
	return func() (eval.Result, error) { return c.Evaluate(ds) }, nil
}
