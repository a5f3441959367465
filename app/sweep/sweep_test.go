package sweep

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lowbit/engine"
	"lowbit/method/lsq"
	"lowbit/method/lsq/lsqtest"
	"lowbit/mixed"
	"lowbit/train"
)

// small is a sweep over a 4-bit network trained on stripes.
func small(t testing.TB, dir string) (Config, train.Job) {
	t.Helper()
	e := engine.New(1)
	t.Cleanup(func() { e.Close() })
	base, job, _ := lsqtest.Pretrained(t, e)
	recipe := lsq.ShortConfig(lsqtest.Bits(t, "w4a4"), 2)
	g, _, err := lsq.Train(context.Background(), base, job, recipe)
	if err != nil {
		t.Fatal(err)
	}
	job.Graph, job.Out, job.Train = g, dir, job.Train.Limit(128)
	c := DefaultConfig(base)
	c.Methods, c.Budgets, c.Seeds = []string{"eagl", "first-to-last", "random"}, []float64{0.6, 0.8}, []uint64{1, 2}
	c.LSQ.Start = lsq.BestStart()
	c.LSQ.Epochs = 1
	c.Scoring.ALPS.HoldOut = 64
	c.Scoring.ALPS.Limit = 64
	c.Scoring.ALPS.LSQ.Start = lsq.BestStart()
	c.Scoring.HAWQ.Probes, c.Scoring.HAWQ.Examples = 2, 64
	c.Scoring.Oracle.Repeats = 2
	return c, job
}

func TestEveryMethodSelects(t *testing.T) {
	c, job := small(t, "")
	n, err := mixed.Link(job.Graph, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, job.Store, c.Widths, mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	choices := map[string][]int{}
	for _, m := range Methods() {
		s, err := NewScorer(m, c.Scoring, Source{Base: c.Base, Job: job}, 1)
		if err != nil {
			t.Fatal(err)
		}
		sel, err := mixed.SelectBy(context.Background(), p, m, s, 0.7)
		if err != nil {
			t.Fatal(err)
		}
		if sel.Method != m || sel.Cost > 0.7 || sel.Cost < 0.5 || sel.Seconds <= 0 || len(sel.Layers) != len(p.Layers) {
			t.Errorf("%s: %+v", m, sel)
		}
		choices[m] = sel.Choice
	}
	if slices.Equal(choices["eagl"], choices["inverse-eagl"]) || slices.Equal(choices["first-to-last"], choices["last-to-first"]) {
		t.Errorf("opposites choose alike: %v", choices)
	}
	if _, err := NewScorer("tea-leaves", c.Scoring, Source{}, 1); err == nil {
		t.Error("an unknown method scores")
	}
	if _, err := mixed.SelectBy(context.Background(), p, "eagl", c.Scoring.EAGL, 0.3); !errors.Is(err, mixed.ErrInfeasible) {
		t.Errorf("%v", err)
	}
}

// unclocked leaves out what differs between runs.
func unclocked(r *Result) *Result {
	c := *r
	c.Points, c.Scored = slices.Clone(r.Points), slices.Clone(r.Scored)
	for i := range c.Points {
		c.Points[i].Seconds = 0
	}
	for i := range c.Scored {
		c.Scored[i].Seconds, c.Scored[i].Gains.TrialSeconds = 0, 0
		if f := c.Scored[i].Fit; f != nil {
			fit := *f
			fit.TrialSeconds = 0
			c.Scored[i].Fit = &fit
		}
	}
	return &c
}

func TestSweepIsInterruptedAndGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sweep")
	c, job := small(t, dir)
	before := mixed.Checksum(job.Store)
	ctx, cancel := context.WithCancel(context.Background())
	part, err := Run(ctx, c, job, func(p Progress) {
		if p.Done >= 3 {
			cancel()
		}
	})
	if !errors.Is(err, train.ErrInterrupted) {
		t.Fatalf("interrupted: %v", err)
	}
	if part.Complete || len(part.Frontier) == 0 {
		t.Errorf("after the interruption: %+v", part)
	}
	trained := 0
	got, err := Run(context.Background(), c, job, func(p Progress) {
		if p.Train.Steps == 0 && !p.Scoring {
			trained++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	runs := map[string]bool{}
	for _, p := range got.Points {
		runs[p.Run] = true
		if !p.Done || p.Accuracy < 0.3 || p.Cost > p.Budget+1e-12 {
			t.Errorf("%+v", p)
		}
		if _, _, err := mixed.ReadBits(filepath.Join(dir, p.Bits), job.Graph); err != nil {
			t.Error(err)
		}
	}
	// 2 uniform widths and 3 methods at 2 budgets, 2 seeds.
	if len(got.Points) != 16 || trained >= len(runs) || !got.Complete || mixed.Checksum(job.Store) != before {
		t.Errorf("%d points, %d of %d runs trained in the second part, complete %t", len(got.Points), trained, len(runs), got.Complete)
	}
	whole, err := Run(context.Background(), c, withOut(job, filepath.Join(t.TempDir(), "whole")), nil)
	if err != nil || !reflect.DeepEqual(unclocked(whole), unclocked(got)) {
		t.Errorf("in one go: %+v, %v\nin two: %+v", whole, err, got)
	}
	loaded, err := Load(dir)
	if err != nil || !reflect.DeepEqual(unclocked(loaded), unclocked(got)) {
		t.Errorf("read back: %+v, %v", loaded, err)
	}
	grows(t, c, job)
}

func TestSweepsInOneFolderShareTheTrainings(t *testing.T) {
	c, job := small(t, filepath.Join(t.TempDir(), "alone"))
	alone, err := Run(context.Background(), c, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "shared")
	type outcome struct {
		result  *Result
		err     error
		trained int
	}
	ended := make(chan outcome)
	for range 2 {
		go func() {
			e := engine.New(1)
			defer e.Close()
			mine := withOut(job, dir)
			mine.Engine = e
			var o outcome
			o.result, o.err = Run(context.Background(), c, mine, func(p Progress) {
				if p.Train.Steps == 0 && !p.Scoring {
					o.trained++
				}
			})
			ended <- o
		}()
	}
	runs := map[string]bool{}
	for _, p := range alone.Points {
		runs[p.Run] = true
	}
	trained := 0
	for range 2 {
		o := <-ended
		if o.err != nil || !reflect.DeepEqual(unclocked(o.result), unclocked(alone)) {
			t.Errorf("shared: %+v, %v\nalone: %+v", o.result, o.err, alone)
		}
		trained += o.trained
	}
	if trained != len(runs) {
		t.Errorf("%d trainings by both, want %d", trained, len(runs))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, c, withOut(job, dir+"2"), nil); !errors.Is(err, train.ErrInterrupted) {
		t.Errorf("cancelled: %v", err)
	}
}

// grows adds gains to a sweep that is done, then a method, then another recipe.
func grows(t *testing.T, c Config, job train.Job) {
	t.Helper()
	c.Ranked = []string{"eagl-bits", "eagl", "eagl-difference"}
	if more, err := Run(context.Background(), c, job, nil); err != nil || len(more.Points) != 16 || !more.Complete ||
		!slices.Equal(more.Correlation.Methods, []string{"eagl", "eagl-bits", "eagl-difference"}) {
		t.Errorf("gains to rank: %+v, %v", more, err)
	}
	c.Ranked = nil
	c.Methods = append(c.Methods, "last-to-first")
	if more, err := Run(context.Background(), c, job, nil); err != nil || len(more.Points) != 20 {
		t.Errorf("a method more: %v", err)
	}
	c.LSQ.LR = 0.5
	if _, err := Run(context.Background(), c, job, nil); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "another lsq") {
		t.Errorf("another recipe: %v", err)
	}
}

func withOut(job train.Job, dir string) train.Job {
	job.Out = dir
	return job
}

func TestSweepRefuses(t *testing.T) {
	c, job := small(t, filepath.Join(t.TempDir(), "sweep"))
	for want, change := range map[string]func(*Config, *train.Job){
		"ranks":          func(c *Config, _ *train.Job) { c.Ranked = []string{"ranks"} },
		"method":         func(c *Config, _ *train.Job) { c.Methods = []string{"luck"} },
		"outside (0, 1]": func(c *Config, _ *train.Job) { c.Budgets = []float64{1.2} },
		"no choice fits": func(c *Config, _ *train.Job) { c.Budgets = []float64{0.4} },
		"no seeds":       func(c *Config, _ *train.Job) { c.Seeds = nil },
		"twice":          func(c *Config, _ *train.Job) { c.Seeds = []uint64{1, 1} },
		"cost":           func(c *Config, _ *train.Job) { c.Cost = "watts" },
		"teacher":        func(c *Config, _ *train.Job) { c.LSQ.Distill = 1 },
		"test data":      func(_ *Config, j *train.Job) { j.Test = nil },
		"precision":      func(c *Config, _ *train.Job) { c.Widths = c.Widths[:1] },
	} {
		c, job := c, job
		change(&c, &job)
		if _, err := Run(context.Background(), c, job, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
		if _, err := os.Stat(job.Out); err == nil {
			t.Errorf("%s: the folder was made", want)
		}
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "letter.txt"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), c, withOut(job, full), nil); !errors.Is(err, ErrMismatch) {
		t.Errorf("a folder with other things: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("an empty folder holds a result")
	}
}

const killedDir = "LOWBIT_SWEEP_TEST_DIR"

// killable is a small sweep with trials.
func killable(t testing.TB, dir string) (Config, train.Job) {
	c, job := small(t, dir)
	c.Methods, c.Budgets, c.Seeds = []string{"alps", "regression", "random"}, []float64{0.7}, []uint64{1}
	return c, job
}

// TestKilledSweepGoesOn kills a sweep amid its trainings; another process ends
// it.
func TestKilledSweepGoesOn(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" { // the process to be killed
		c, job := killable(t, dir)
		_, err := Run(context.Background(), c, job, nil)
		t.Fatalf("it ended before it was killed: %v", err)
	}
	if testing.Short() {
		t.Skip("three sweeps: run without -short")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "sweep")
	cmd := exec.Command(exe, "-test.run", "^TestKilledSweepGoesOn$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3000 { // until two points are on record
		if done, err := filepath.Glob(filepath.Join(dir, "points", "*.json")); err == nil && len(done) > 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || strings.Contains(err.Error(), "exit status 1") {
		t.Fatalf("the process was not killed in time: %v", err)
	}
	c, job := killable(t, dir)
	got, err := Run(context.Background(), c, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f := got.Scored[1].Fit; f == nil || f.Configurations != 18 || got.Scored[1].Seconds < f.TrialSeconds {
		t.Errorf("regression: %+v", got.Scored[1])
	}
	want, err := Run(context.Background(), c, withOut(job, filepath.Join(t.TempDir(), "whole")), nil)
	if err != nil || !reflect.DeepEqual(unclocked(got), unclocked(want)) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}
