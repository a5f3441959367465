package mixed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"lowbit/quant"
)

// runner counts its trials; each measures its seed.
type runner struct {
	id    string
	count atomic.Int64
	fail  string
	// If not nil, each trial sends to begun and takes from slow first.
	begun, slow chan struct{}
}

func (r *runner) Identity() any { return map[string]string{"id": r.id} }

func (r *runner) Trial(ctx context.Context, t Trial, dir string) (Metrics, error) {
	r.count.Add(1)
	if r.slow != nil {
		r.begun <- struct{}{}
		<-r.slow
	}
	if t.Key == r.fail {
		return Metrics{}, errors.New("broken")
	}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return Metrics{}, err
		}
	}
	return Metrics{TrainLoss: float64(t.Seed)}, nil
}

func trials(n int) []Trial {
	ts := make([]Trial, n)
	for i := range ts {
		ts[i] = Trial{Key: string(rune('a' + i)), Plan: quant.Uniform(quant.Width{Weight: 4, Act: 4}, 8), Seed: uint64(i)}
	}
	return ts
}

func TestTrialsAreDoneOnceAndShared(t *testing.T) {
	dir := t.TempDir()
	r := &runner{id: "x", fail: "d"}
	if _, err := RunTrials(context.Background(), dir, trials(6), r, nil); err == nil {
		t.Fatal("a broken trial passes")
	}
	if r.count.Load() != 4 {
		t.Errorf("%d trials before the broken one", r.count.Load())
	}
	// Two workers go on; each trial that is left is done once.
	rest := &runner{id: "x"}
	var wg sync.WaitGroup
	var out [2][]Metrics
	for i := range out {
		wg.Go(func() {
			var err error
			if out[i], err = RunTrials(context.Background(), dir, trials(6), rest, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rest.count.Load() != 3 || !reflect.DeepEqual(out[0], out[1]) || out[0][5].TrainLoss != 5 {
		t.Errorf("%d trials, results %v and %v", rest.count.Load(), out[0], out[1])
	}
	if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a trial's folder stays: %v", err)
	}
	alone, err := RunTrials(context.Background(), "", trials(6), &runner{}, nil)
	if err != nil || !reflect.DeepEqual(alone, out[0]) {
		t.Errorf("without a directory: %v, %v", alone, err)
	}
}

func TestAHeldTrialIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	first := &runner{id: "x", begun: make(chan struct{}, 1), slow: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := RunTrials(context.Background(), dir, trials(1), first, nil)
		done <- err
	}()
	<-first.begun
	second := &runner{id: "x"}
	go func() { first.slow <- struct{}{} }()
	m, err := RunTrials(context.Background(), dir, trials(1), second, nil)
	if err != nil || len(m) != 1 || second.count.Load() != 0 {
		t.Errorf("%v, %v, %d trials of the second", m, err, second.count.Load())
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := RunTrials(ctx, t.TempDir(), trials(1), second, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v", err)
	}
}

func TestOtherTrialsInTheDirectoryAreRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := RunTrials(context.Background(), dir, trials(2), &runner{id: "x"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := RunTrials(context.Background(), dir, trials(2), &runner{id: "y"}, nil); !errors.Is(err, ErrMismatch) {
		t.Errorf("another identity: %v", err)
	}
	other := trials(2)
	other[1].Seed = 9
	if _, err := RunTrials(context.Background(), dir, other, &runner{id: "x"}, nil); !errors.Is(err, ErrMismatch) {
		t.Errorf("another trial of that key: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte("{"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := RunTrials(context.Background(), dir, trials(2), &runner{id: "x"}, nil); err == nil {
		t.Error("a broken record passes")
	}
}
