package train

import (
	"fmt"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/tensor"
)

// Source is what a run learns from where that is not a set of images: Windows of
// a text, Sentences with classes. Job.Source takes one in place of Train and
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
	// Length is what the sequences of a batch of those examples are padded to; 0:
	// the graph's own length. Without examples it is the longest of all.
	Length(index []int32) int
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
	if s := r.source; s != nil {
		f := newSourceFeed(s, r.Batch, r.Config)
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

func newSourceFeed(s Source, batch int, c Config) *sourceFeed {
	return &sourceFeed{order: s.Order, n: s.Len(), batch: batch, seed: c.Seed, dropLast: c.DropLast}
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

// Divisible is a Source that can be parted as a set of images can.
type Divisible interface {
	Source
	// HoldOut draws n examples by the seed alone. kept has the others and the
	// source's own test part, held is its own test part.
	HoldOut(n int, seed uint64) (kept, held Source, err error)
	// Limit returns the first n examples; all of them if n is 0.
	Limit(n int) Source
}

// holdOut parts a source.
func holdOut(s Source, n int, seed uint64) (kept, held Source, err error) {
	d, ok := s.(Divisible)
	if !ok {
		name, _ := s.Describe()
		return nil, nil, fmt.Errorf("train: nothing can be held out of %s", name)
	}
	return d.HoldOut(n, seed)
}

// judged is a source that another one measures.
type judged struct {
	Source
	by Source
}

// MeasuredOn returns s with the test part of another source.
func MeasuredOn(s, by Source) Source { return judged{s, by} }

// Describe implements Source.
func (j judged) Describe() (name, sum string) {
	name, sum = j.Source.Describe()
	other, more := j.by.Describe()
	return name + ", measured on " + other, sha([]byte(sum + more))
}

// Evaluator implements Source.
func (j judged) Evaluator(e *engine.Engine, g *graph.Graph, store *tensor.Store) (func() (eval.Result, error), error) {
	return j.by.Evaluator(e, g, store)
}

// HoldOut implements Divisible.
func (j judged) HoldOut(n int, seed uint64) (kept, held Source, err error) {
	if kept, held, err = holdOut(j.Source, n, seed); err != nil {
		return nil, nil, err
	}
	return judged{kept, j.by}, held, nil
}

// Limit implements Divisible.
func (j judged) Limit(n int) Source {
	if d, ok := j.Source.(Divisible); ok {
		j.Source = d.Limit(n)
	}
	return j
}
