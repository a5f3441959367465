package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/model"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/tensor"
)

// numbers is a text of n tokens in documents of some lengths.
func numbers(t *testing.T, lengths ...int) *data.Packed {
	t.Helper()
	var docs [][]int32
	for k, n := range lengths {
		d := make([]int32, n)
		for i := range d {
			d[i] = int32(1 + (i*(k+3))%30)
		}
		docs = append(docs, d)
	}
	p, err := data.Pack(docs, 0, 16)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func textJob(t *testing.T, e *engine.Engine, w *Windows, out string) (Config, Job) {
	t.Helper()
	g, err := model.Llama{Vocab: 32, Dim: 16, Layers: 1, Heads: 2, KVHeads: 1, Hidden: 32, Context: 16, NormEps: 1e-5, Theta: 1e4, Tied: true}.
		Graph(model.LlamaRun{Batch: 1, Seq: 16, Packed: true})
	if err != nil {
		t.Fatal(err)
	}
	c := DefaultConfig()
	c.Epochs, c.Batch, c.DropLast = 3, 4, true
	c.Optim, c.Schedule.LR = optim.DefaultConfig(optim.AdamW, 0.01), 1e-2
	return c, Job{Engine: e, Graph: g, Store: tensor.NewStore(), Source: w, Out: out}
}

// A run on text that is stopped and resumed ends with the bytes of one that was
// not, and learns.
func TestARunOnTextResumes(t *testing.T) {
	e := engine.New(2)
	defer e.Close()
	w := func() *Windows {
		return &Windows{Name: "numbers", Sets: []*data.Packed{numbers(t, 300, 50, 400), numbers(t, 500)}, Weights: []float64{0.75, 0.25}, Examples: 40}
	}
	whole := filepath.Join(t.TempDir(), "whole")
	c, job := textJob(t, e, w(), whole)
	first := 0.0
	job.Hooks.AfterStep = func(s StepInfo) error {
		if s.Step == 0 {
			first = s.Loss
		}
		return nil
	}
	r, err := Run(context.Background(), c, job)
	if err != nil {
		t.Fatal(err)
	}
	if r.Steps != 30 || !(r.TrainLoss < first/1.5) || !(r.TrainAccuracy > 0.2) {
		t.Errorf("loss %g at first; %+v", first, r)
	}
	parts := filepath.Join(t.TempDir(), "parts")
	ctx, cancel := context.WithCancel(context.Background())
	c, job = textJob(t, e, w(), parts)
	job.Hooks.AfterStep = func(s StepInfo) error {
		if s.Step == 16 {
			cancel()
		}
		return nil
	}
	if _, err := Run(ctx, c, job); !errors.Is(err, ErrInterrupted) {
		t.Fatalf("error %v, want ErrInterrupted", err)
	}
	c, job = textJob(t, e, w(), parts)
	job.Resume = true
	if _, err := Run(context.Background(), c, job); err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(filepath.Join(whole, lastName))
	b, errB := os.ReadFile(filepath.Join(parts, lastName))
	if errA != nil || errB != nil || !slices.Equal(a, b) {
		t.Errorf("the resumed run's weights differ (%v, %v)", errA, errB)
	}
	other := w()
	other.Weights = []float64{0.5, 0.5}
	c, job = textJob(t, e, other, parts)
	job.Resume = true
	if _, err := Run(context.Background(), c, job); !errors.Is(err, ErrMismatch) {
		t.Errorf("error %v for another mixture, want ErrMismatch", err)
	}
}

// Tokens of two documents in one window do not see each other: starts and
// positions count from each one's beginning.
func TestWindowsKeepDocumentsApart(t *testing.T) {
	w := &Windows{Sets: []*data.Packed{numbers(t, 10, 40)}}
	inputs := map[string]*tensor.Tensor{}
	for _, n := range []string{nn.InputName, nn.LabelsName, nn.StartsName, nn.PositionsName} {
		inputs[n] = tensor.New(tensor.I32, 2, 16)
	}
	if err := w.Fill([]int32{0, 1}, func(n string) *tensor.Tensor { return inputs[n] }); err != nil {
		t.Fatal(err)
	}
	starts, positions, labels := inputs[nn.StartsName].Int32s(), inputs[nn.PositionsName].Int32s(), inputs[nn.LabelsName].Int32s()
	// The first document has 10 tokens and its end mark.
	if starts[10] != 0 || positions[10] != 10 || starts[11] != 11 || positions[11] != 0 || positions[15] != 4 || labels[10] != data.Ignored {
		t.Errorf("starts %v, positions %v, labels %v", starts[:16], positions[:16], labels[:16])
	}
	if starts[16] != 0 || positions[16] != 0 || positions[31] != 15 {
		t.Errorf("second window: starts %v, positions %v", starts[16:], positions[16:])
	}
	if !w.Documents() || (&Windows{Sets: []*data.Packed{numbers(t, 100)}}).Documents() {
		t.Error("Documents does not tell one text from two")
	}
	if n := len(w.First(5)); n != 3 {
		t.Errorf("%d first windows, want the 3 there are", n)
	}
	short := func(n string) *tensor.Tensor { return tensor.New(tensor.I32, 1, 8) }
	if err := w.Fill([]int32{0}, short); err == nil || !strings.Contains(err.Error(), "16") {
		t.Errorf("error %v for an input of 8 tokens", err)
	}
}

// An epoch of a mixture is a function of seed and epoch, and keeps the weights.
func TestMixturesKeepTheirWeights(t *testing.T) {
	w := &Windows{Sets: []*data.Packed{numbers(t, 200), numbers(t, 300)}, Weights: []float64{0.8, 0.2}, Examples: 2000}
	if err := w.Validate(); err != nil {
		t.Fatal(err)
	}
	a, b := w.Order(7, 2), w.Order(7, 2)
	first := 0
	for _, i := range a {
		if int(i) < w.Sets[0].Len() {
			first++
		}
	}
	if !slices.Equal(a, b) || slices.Equal(a, w.Order(7, 3)) || first < 1500 || first > 1700 {
		t.Errorf("%d of 2000 of the first set", first)
	}
	bad := &Windows{Sets: w.Sets, Weights: []float64{1}}
	if err := bad.Validate(); err == nil {
		t.Error("no error for one weight of two sets")
	}
}

// A batch in parts gives the losses of a whole one up to the order of summation,
// the same bits on one and three threads, and after a resume.
func TestAccumulatedBatchesEqualWholeOnes(t *testing.T) {
	run := func(accumulate, threads, stop int) ([]float64, *tensor.Store) {
		e := engine.New(threads)
		defer e.Close()
		out := filepath.Join(t.TempDir(), "run")
		var losses []float64
		for ; ; stop = -1 {
			ctx, cancel := context.WithCancel(context.Background())
			c, job := textJob(t, e, &Windows{Name: "numbers", Sets: []*data.Packed{numbers(t, 800)}}, out)
			c.Accumulate, job.Resume = accumulate, len(losses) > 0
			job.Hooks.AfterStep = func(s StepInfo) error {
				if losses = append(losses, s.Loss); s.Step == stop {
					cancel()
				}
				return nil
			}
			_, err := Run(ctx, c, job)
			cancel()
			if err == nil {
				return losses, job.Store
			}
			if !errors.Is(err, ErrInterrupted) || stop < 0 {
				t.Fatal(err)
			}
		}
	}
	whole, _ := run(0, 2, -1)
	for _, parts := range []int{2, 3, 4} { // of 4 examples: equal parts, 2 and 2, one by one
		got, store := run(parts, 1, -1)
		for i, l := range got {
			if math.Abs(l/whole[i]-1) > 1e-4 {
				t.Fatalf("%d parts: step %d has loss %g, in a whole batch %g", parts, i, l, whole[i])
			}
		}
		if len(got) != len(whole) {
			t.Errorf("%d parts: %d steps, want %d", parts, len(got), len(whole))
		}
		_, again := run(parts, 3, 7)
		for _, n := range store.Names() {
			if !slices.Equal(store.Get(n).Bytes(), again.Get(n).Bytes()) {
				t.Fatalf("%d parts: %s differs on three threads after a resume", parts, n)
			}
		}
	}
}

func TestBatchesThatCannotBeParted(t *testing.T) {
	e := engine.New(1)
	defer e.Close()
	for _, parts := range []int{-1, 5} {
		c, job := textJob(t, e, &Windows{Name: "numbers", Sets: []*data.Packed{numbers(t, 800)}}, "")
		c.Accumulate = parts
		if _, err := Run(context.Background(), c, job); err == nil || !strings.Contains(err.Error(), "want 1 to 4") {
			t.Errorf("%d parts: error %v", parts, err)
		}
	}
	c, job := textJob(t, e, nil, "")
	c.Accumulate, job.Source, job.Train = 2, nil, &data.Dataset{}
	if _, err := Run(context.Background(), c, job); err == nil || !strings.Contains(err.Error(), "images run whole") {
		t.Errorf("images: error %v", err)
	}
}
