package data

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"sync"

	"lowbit/internal/rng"
	"lowbit/tensor"
)

// LoaderConfig says how batches are made.
type LoaderConfig struct {
	Batch   int           // examples a batch, at least 1
	Seed    uint64        // of the order and the augmentation
	Shuffle bool          // a new order each epoch; else the dataset's
	Augment Augment       // zero: none
	Norm    Normalization // zero: the dataset's preset
	// DropLast leaves out an epoch's last batch if it is not full.
	DropLast bool
	Epochs   int // Next returns io.EOF after so many; 0: goes on for ever
	// Workers is the number of goroutines that make batches; 0: one for a
	// dataset in memory (which makes 100,000 CIFAR images a second and more),
	// else one a core. The batches do not depend on it.
	Workers int
	// Ahead is the number of finished batches that may wait; 0: one more than
	// workers.
	Ahead int
}

// Augment changes training images at random; each example has its own draw in
// each epoch.
type Augment struct {
	// Pad surrounds the image with so many black pixels on each side and takes
	// a window of the image's size from it, each place as likely. 4 is usual
	// for CIFAR-10 (He et al. 2015, section 4.2).
	Pad int
	// Flip mirrors left to right with probability 1/2.
	Flip bool
}

// CIFARAugment is padding by 4 and flipping.
var CIFARAugment = Augment{Pad: 4, Flip: true}

// Batch is what a Loader hands out. It belongs to the loader: read it before
// the next call, do not keep it.
type Batch struct {
	Images *tensor.Tensor // f32 [n, channel, height, width], normalised
	Labels *tensor.Tensor // i32 [n], class numbers
	Index  []int32        // [n], the examples' numbers in the dataset
	Epoch  int
	Step   int  // within the epoch
	Last   bool // of the epoch
}

// Loader makes batches ahead of their use. What it yields at (epoch, step) is
// a pure function of the dataset, the config and these two numbers: the same
// bits for any number of workers, wherever it was started. One goroutine at a
// time may use it. Close it.
type Loader struct {
	ds      *Dataset
	cfg     LoaderConfig
	table   [][256]float32 // [channel][pixel]
	steps   int
	slots   []*slot
	current *slot // handed out
	at      int64 // the next batch, counted from (0, 0)
	running bool
	stop    chan struct{}
	done    sync.WaitGroup

	mu    sync.Mutex // guards what follows: the workers' place
	next  int64
	order []int32
	epoch int // whose order that is; -1: none
}

// slot is one reused batch.
type slot struct {
	full, tail Batch // tail: the shorter view for an epoch's last batch
	batch      *Batch
	err        error
	free       chan struct{} // holds a token when nobody uses the slot
	ready      chan struct{} // holds a token when the batch is made
}

// NewLoader checks the config against the dataset and prepares the buffers;
// work starts at the first Next. The first batch is (epoch 0, step 0).
func NewLoader(ds *Dataset, cfg LoaderConfig) (*Loader, error) {
	if len(cfg.Norm.Mean) == 0 && len(cfg.Norm.Std) == 0 {
		cfg.Norm = ds.Normalize
	}
	if cfg.Workers == 0 {
		cfg.Workers = 1
		if !ds.InMemory() {
			cfg.Workers = runtime.GOMAXPROCS(0)
		}
	}
	if cfg.Ahead == 0 {
		cfg.Ahead = cfg.Workers + 1
	}
	if err := cfg.validate(ds); err != nil {
		return nil, err
	}
	l := &Loader{ds: ds, cfg: cfg, table: cfg.Norm.table(), epoch: -1}
	l.steps = ds.Len() / cfg.Batch
	tail := ds.Len() % cfg.Batch
	if tail > 0 && !cfg.DropLast {
		l.steps++
	}
	// One slot a waiting batch, at least one a worker, and one for the batch in
	// the caller's hands.
	for range max(cfg.Ahead, cfg.Workers) + 1 {
		l.slots = append(l.slots, newSlot(ds, min(cfg.Batch, ds.Len()), tail))
	}
	return l, nil
}

func (c LoaderConfig) validate(ds *Dataset) error {
	switch {
	case c.Batch < 1:
		return fmt.Errorf("data: loader: batch %d, want at least 1", c.Batch)
	case ds.Len() == 0:
		return fmt.Errorf("data: loader: the %s part of %s is empty", ds.Split, ds.Name)
	case c.DropLast && c.Batch > ds.Len():
		return fmt.Errorf("data: loader: batch %d of %d examples leaves no full batch; want DropLast off or a smaller batch", c.Batch, ds.Len())
	case c.Workers < 1 || c.Workers > 1024:
		return fmt.Errorf("data: loader: %d workers, want 0..1024", c.Workers)
	case c.Ahead < 1 || c.Ahead > 1024:
		return fmt.Errorf("data: loader: %d batches ahead, want 0..1024", c.Ahead)
	case c.Epochs < 0:
		return fmt.Errorf("data: loader: %d epochs, want 0 (for ever) or more", c.Epochs)
	case c.Augment.Pad < 0 || c.Augment.Pad > max(ds.Height, ds.Width):
		return fmt.Errorf("data: loader: pad %d, want 0..%d", c.Augment.Pad, max(ds.Height, ds.Width))
	case len(c.Norm.Mean) != ds.Channels || len(c.Norm.Std) != ds.Channels:
		return fmt.Errorf("data: loader: normalisation by %d means and %d deviations, want %d of each as %s has channels",
			len(c.Norm.Mean), len(c.Norm.Std), ds.Channels, ds.Name)
	}
	for i := range c.Norm.Std {
		m, s := float64(c.Norm.Mean[i]), float64(c.Norm.Std[i])
		if !(s > 0) || math.IsInf(s, 0) || math.IsNaN(m) || math.IsInf(m, 0) {
			return fmt.Errorf("data: loader: channel %d: mean %v and deviation %v, want finite, deviation above 0", i, m, s)
		}
	}
	return nil
}

func newSlot(ds *Dataset, n, tail int) *slot {
	s := &slot{free: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
	s.full = Batch{
		Images: tensor.New(tensor.F32, n, ds.Channels, ds.Height, ds.Width),
		Labels: tensor.New(tensor.I32, n),
		Index:  make([]int32, n),
	}
	if tail > 0 && tail < n { // a view; the sizes agree, so FromBytes cannot fail
		images, _ := tensor.FromBytes(tensor.F32, tensor.Shape{tail, ds.Channels, ds.Height, ds.Width}, s.full.Images.Bytes()[:4*tail*ds.ImageSize()])
		labels, _ := tensor.FromBytes(tensor.I32, tensor.Shape{tail}, s.full.Labels.Bytes()[:4*tail])
		s.tail = Batch{Images: images, Labels: labels, Index: s.full.Index[:tail]}
	}
	return s
}

// Steps returns the batches of an epoch.
func (l *Loader) Steps() int { return l.steps }

// Seek makes (epoch, step) the next batch; step Steps() is the next epoch's
// first. Going where the loader stands costs nothing.
func (l *Loader) Seek(epoch, step int) error {
	if epoch < 0 || step < 0 || step > l.steps {
		return fmt.Errorf("data: loader: seek epoch %d step %d, want epoch 0 or more and step 0..%d", epoch, step, l.steps)
	}
	if at := int64(epoch)*int64(l.steps) + int64(step); at != l.at {
		l.halt()
		l.at = at
	}
	return nil
}

// Next returns the next batch, going on into the next epoch, or io.EOF after
// cfg.Epochs. An image that cannot be decoded is an error that names its file;
// the next call goes on with the next batch.
func (l *Loader) Next() (*Batch, error) {
	if l.cfg.Epochs > 0 && l.at >= int64(l.cfg.Epochs)*int64(l.steps) {
		return nil, io.EOF
	}
	if !l.running {
		l.start()
	}
	l.release()
	s := l.slots[l.at%int64(len(l.slots))]
	<-s.ready
	l.current = s
	l.at++
	if s.err != nil {
		return nil, s.err
	}
	return s.batch, nil
}

// Epoch yields the batches of one epoch from its first, or from step `from`;
// it ends after the first error. Epochs taken one after another are made
// ahead across their border.
func (l *Loader) Epoch(epoch, from int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		if err := l.Seek(epoch, from); err != nil {
			yield(nil, err)
			return
		}
		for range l.steps - from {
			b, err := l.Next()
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Close stops the workers and waits for them. The loader can be used again.
func (l *Loader) Close() { l.halt() }

func (l *Loader) release() {
	if l.current != nil {
		l.current.free <- struct{}{}
		l.current = nil
	}
}

func (l *Loader) start() {
	l.next = l.at
	l.stop = make(chan struct{})
	for _, s := range l.slots {
		s.free <- struct{}{}
	}
	for range l.cfg.Workers {
		l.done.Go(l.work)
	}
	l.running = true
}

func (l *Loader) halt() {
	if !l.running {
		return
	}
	close(l.stop)
	l.done.Wait()
	l.running, l.current = false, nil
	for _, s := range l.slots { // take back every token
		for _, c := range []chan struct{}{s.free, s.ready} {
			select {
			case <-c:
			default:
			}
		}
	}
}

// work makes one batch after another until the loader stops.
func (l *Loader) work() {
	var pixels []uint8
	for {
		s := l.take()
		if s == nil {
			return
		}
		pixels, s.err = l.fill(s.batch, pixels)
		s.ready <- struct{}{}
	}
}

// take claims the next batch and its slot, and lists its examples; nil when
// there are no more. The lock is held while the slot is waited for: slots
// become free in the order of their batches, and a worker that let go between
// claiming a batch and its slot could lose the slot to a later batch. Claims
// in order also mean that one epoch's order is all that is ever kept.
func (l *Loader) take() *slot {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.next
	if l.cfg.Epochs > 0 && at >= int64(l.cfg.Epochs)*int64(l.steps) {
		return nil
	}
	s := l.slots[at%int64(len(l.slots))]
	select {
	case <-l.stop:
		return nil
	case <-s.free:
	}
	l.next++
	epoch, step := int(at/int64(l.steps)), int(at%int64(l.steps))
	l.arrange(epoch)
	lo := step * l.cfg.Batch
	hi := min(lo+l.cfg.Batch, len(l.order))
	s.batch = &s.full
	if hi-lo < len(s.full.Index) {
		s.batch = &s.tail
	}
	copy(s.batch.Index, l.order[lo:hi])
	s.batch.Epoch, s.batch.Step, s.batch.Last = epoch, step, step == l.steps-1
	return s
}

// arrange makes l.order that of the epoch.
func (l *Loader) arrange(epoch int) {
	if l.order == nil {
		l.order = make([]int32, l.ds.Len())
		for i := range l.order {
			l.order[i] = int32(i)
		}
	}
	if l.cfg.Shuffle && epoch != l.epoch {
		s := rng.New(orderDomain, l.cfg.Seed, uint64(epoch))
		s.Perm(l.order)
		l.epoch = epoch
	}
}

// fill makes the images and labels of b.Index.
func (l *Loader) fill(b *Batch, buf []uint8) ([]uint8, error) {
	images, labels, n := b.Images.Float32s(), b.Labels.Int32s(), l.ds.ImageSize()
	var errs []error
	for i, example := range b.Index {
		labels[i] = l.ds.Label(int(example))
		src, err := l.ds.Pixels(int(example), buf)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !l.ds.InMemory() {
			buf = src
		}
		m := l.cfg.Augment.draw(l.cfg.Seed, b.Epoch, int(example))
		m.apply(images[i*n:(i+1)*n], src, l.table, l.ds.Height, l.ds.Width)
	}
	return buf, errors.Join(errs...)
}
