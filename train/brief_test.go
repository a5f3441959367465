package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lowbit/tensor"
)

// runFiles lists what a run left in its directory beside the lock.
func runFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	return names
}

// same compares two stores by their bits.
func same(t *testing.T, a, b *tensor.Store) {
	t.Helper()
	if len(a.Names()) != len(b.Names()) {
		t.Errorf("%d and %d tensors", len(a.Names()), len(b.Names()))
	}
	for _, n := range a.Names() {
		if x := b.Get(n); x == nil || string(x.Bytes()) != string(a.Get(n).Bytes()) {
			t.Errorf("%s differs", n)
		}
	}
}

// A brief run computes what any run does and leaves no files; another one in the
// same memory, and one that goes on after it was interrupted, end with the same
// bits.
func TestBriefRunLeavesNoFiles(t *testing.T) {
	options := netOptions{quantized: true, dropout: true}
	c := tinyConfig()
	c.HoldOut, c.Optim.EMA = 24, 0.9
	whole := job(t, 1, options)
	want := mustRun(t, c, whole)

	memory := new(Memory)
	for range 2 {
		j := job(t, 1, options)
		j.Out, j.Resume, j.Brief, j.Memory = filepath.Join(t.TempDir(), "brief"), true, true, memory
		got := mustRun(t, c, j)
		if names := runFiles(t, j.Out); len(names) != 0 {
			t.Errorf("it left %v", names)
		}
		same(t, j.Store, whole.Store)
		if got.Accuracy != want.Accuracy || got.Loss != want.Loss || got.TrainLoss != want.TrainLoss || !got.Complete {
			t.Errorf("%+v, want %+v", got, want)
		}
	}

	j := job(t, 1, options)
	j.Out, j.Resume, j.Brief = filepath.Join(t.TempDir(), "parts"), true, true
	ctx, cancel := context.WithCancel(context.Background())
	j.Hooks.AfterStep = func(s StepInfo) error {
		if s.Step == 5 {
			cancel()
		}
		return nil
	}
	if _, err := Run(ctx, c, j); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	if s := stateOf(j.Out); s == "the start" {
		t.Errorf("interrupted, it kept %v", runFiles(t, j.Out))
	}
	j.Hooks, j.Store = Hooks{}, tensor.NewStore()
	mustRun(t, c, j)
	same(t, j.Store, whole.Store)
	if r, err := ReadRecord(j.Out); err != nil || len(r.Sessions) != 2 || !r.Result.Complete {
		t.Errorf("%+v, %v", r, err)
	}
}

// A brief run that takes longer than a checkpoint's time is kept as any other,
// and so is one whose best weights are wanted.
func TestBriefRunThatLastsIsKept(t *testing.T) {
	c := tinyConfig()
	for name, change := range map[string]func(*Config, *Job){
		"time": func(_ *Config, j *Job) { j.CheckpointSeconds = 1e-9 },
		"best": func(c *Config, _ *Job) { c.HoldOut, c.Best = 24, true },
	} {
		plain, brief := c, c
		a, b := job(t, 1, netOptions{quantized: true}), job(t, 1, netOptions{quantized: true})
		a.Out, b.Out, b.Brief = filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b"), true
		change(&plain, &a)
		change(&brief, &b)
		mustRun(t, plain, a)
		mustRun(t, brief, b)
		if digest(t, a.Out, lastName) != digest(t, b.Out, lastName) {
			t.Errorf("%s: other weights", name)
		}
		if x, y := runFiles(t, a.Out), runFiles(t, b.Out); len(x) != len(y) {
			t.Errorf("%s: files %v, want %v", name, y, x)
		}
	}
}

// A brief run that fails before it has files says why.
func TestBriefRunThatFails(t *testing.T) {
	j := job(t, 1, netOptions{})
	j.Out, j.Brief = filepath.Join(t.TempDir(), "nan"), true
	j.Hooks.AfterStep = at10(func(s *tensor.Store) { s.Get("fc.weight").Float32s()[0] = float32(math.Inf(1)) })
	if _, err := Run(context.Background(), tinyConfig(), j); !errors.Is(err, ErrNotFinite) {
		t.Errorf("%v", err)
	}
	if names := runFiles(t, j.Out); len(names) != 0 {
		t.Errorf("it left %v", names)
	}
}
