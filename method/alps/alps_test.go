package alps

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/method/lsq/lsqtest"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/tensor"
)

// trainer is one over a 4-bit network trained on stripes.
func trainer(t testing.TB) (*Trainer, *mixed.Problem) {
	t.Helper()
	e := engine.New(1)
	t.Cleanup(func() { e.Close() })
	base, job, _ := lsqtest.Pretrained(t, e)
	c := lsq.ShortConfig(lsqtest.Bits(t, "w4a4"), 2)
	g, _, err := lsq.Train(context.Background(), base, job, c)
	if err != nil {
		t.Fatal(err)
	}
	job.Graph, job.Teacher = g, nil
	tr := &Trainer{Config: DefaultConfig(lsqtest.Bits(t, "w4a4")), Base: base, Job: job}
	tr.HoldOut, tr.Metric = 128, mixed.HeldOutLoss // accuracies on stripes are equal too often
	tr.LSQ.Start = lsq.BestStart()
	n, err := mixed.Link(g, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, job.Store, mixed.Square(2, 4), mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	return tr, p
}

func TestScoreTrainsEachGroupFromOneCheckpoint(t *testing.T) {
	tr, p := trainer(t)
	before := mixed.Checksum(tr.Job.Store)
	done := 0
	s := Scorer{Trainer: tr, Progress: func(d, all int) {
		if all != 7 {
			t.Errorf("%d trials, want one for each of 6 groups and the reference", all)
		}
		done = d
	}}
	g, err := s.Score(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Check(p); err != nil || done != 7 {
		t.Errorf("%v after %d trials", err, done)
	}
	if mixed.Checksum(tr.Job.Store) != before {
		t.Error("the checkpoint changed")
	}
	// The same with a directory: interrupted after some trials, continued,
	// then read back without training.
	dir := filepath.Join(t.TempDir(), "alps")
	ctx, cancel := context.WithCancel(context.Background())
	s.Dir, s.Progress = dir, func(d, _ int) {
		if d == 3 {
			cancel()
		}
	}
	if _, err := s.Score(ctx, p); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	s.Progress = nil
	again, err := s.Score(context.Background(), p)
	again.TrialSeconds, g.TrialSeconds = 0, 0
	if err != nil || !reflect.DeepEqual(again, g) {
		t.Errorf("continued: %+v, %v, want %+v", again, err, g)
	}
	began := time.Now()
	tr.Metric = mixed.TrainLoss
	loss, err := s.Score(context.Background(), p)
	if err != nil || reflect.DeepEqual(loss.Values, g.Values) {
		t.Errorf("by the training loss: %+v, %v", loss, err)
	}
	t.Logf("held-out loss %v, training loss %v, read in %v", g.Values, loss.Values, time.Since(began))
	tr.LSQ.LR = 0.02
	if _, err := s.Score(context.Background(), p); !errors.Is(err, mixed.ErrMismatch) {
		t.Errorf("with another recipe: %v", err)
	}
}

// A group at 2 bits has new steps; all else goes on from the checkpoint.
func TestRequantizeStartsFromTheCheckpoint(t *testing.T) {
	tr, p := trainer(t)
	c := tr.LSQ
	choice := p.Uniform(1)
	choice[2] = 0 // layer2.0.conv1 and its shortcut
	c.Bits = p.Plan(choice)
	g, store, err := Requantize(tr.Base, tr.Job, c)
	if err != nil {
		t.Fatal(err)
	}
	var changed []string
	for _, n := range g.Params() {
		if !slices.Equal(store.Get(n.Name()).Float32s(), tr.Job.Store.Get(n.Name()).Float32s()) {
			changed = append(changed, n.Name())
		}
	}
	slices.Sort(changed)
	if want := []string{"layer2.0.conv1.input_step", "layer2.0.conv1.weight_step", "layer2.0.downsample.0.weight_step"}; !slices.Equal(changed, want) {
		t.Errorf("changed %v, want %v", changed, want)
	}
	c.Bits = p.Plan(p.Uniform(1))
	same, store, err := Requantize(tr.Base, tr.Job, c)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := encode(t, same), encode(t, tr.Job.Graph); a != b {
		t.Error("at its own widths the network is another one")
	}
	if mixed.Checksum(store) != mixed.Checksum(tr.Job.Store) {
		t.Error("at its own widths the network has other parameters")
	}
}

func encode(t *testing.T, g *graph.Graph) string {
	t.Helper()
	b, err := graph.Encode(g)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestResidual8Stays(t *testing.T) {
	plan := lsqtest.Bits(t, "w4a4")
	plan.Residual = quant.Residual8
	g, err := lsq.Insert(lsqtest.Net(t, 1, 3), lsq.DefaultQuantizers(plan))
	if err != nil {
		t.Fatal(err)
	}
	n, err := mixed.Link(g, mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, tensor.NewStore(), mixed.Square(2, 4), mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	back, err := lsq.Insert(n.Float, lsq.DefaultQuantizers(p.Plan(p.Uniform(1))))
	if err != nil || encode(t, back) != encode(t, g) {
		t.Errorf("the network is another one: %v", err)
	}
}

func TestGainsAreDifferencesFromTheReference(t *testing.T) {
	_, p := trainerless(t, 2, 3, 4)
	results := []mixed.Metrics{{HeldOutAccuracy: 0.9, TrainLoss: 0.3}}
	for i := range p.Select {
		low := 0.9 - 0.1*float64(i-1) // the first group does better than the reference
		results = append(results, mixed.Metrics{HeldOutAccuracy: low, TrainLoss: 1}, mixed.Metrics{HeldOutAccuracy: 0.85, TrainLoss: 0.5})
	}
	g, err := Gains(p, results, mixed.HeldOutAccuracy)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]float64{{0, 0, 0}, {0, 0, 0}, {0, 0.05, 0.1}, {0, 0.15, 0.2}} {
		for k := range want {
			if math.Abs(g.Values[i][k]-want[k]) > 1e-12 {
				t.Errorf("group %d: %v, want %v", i, g.Values[i], want)
			}
		}
	}
	if len(g.Notes) != 1 || !strings.HasPrefix(g.Notes[0], "3 of 12 gains") {
		t.Errorf("%q", g.Notes)
	}
	if g, err = Gains(p, results, mixed.TrainLoss); err != nil || math.Abs(g.Values[0][1]-0.5) > 1e-12 || math.Abs(g.Values[0][2]-0.7) > 1e-12 {
		t.Errorf("%v, %v", g.Values, err)
	}
	if _, err := Gains(p, results[1:], mixed.TrainLoss); err == nil {
		t.Error("results are missing and it has gains")
	}
	if _, err := Gains(p, results, "mood"); err == nil {
		t.Error("an unknown metric has gains")
	}
}

func trainerless(t *testing.T, bits ...int) (*mixed.Network, *mixed.Problem) {
	t.Helper()
	n, err := mixed.Link(lsqtest.Net(t, 1, 3), mixed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := mixed.NewProblem(n, tensor.NewStore(), mixed.Square(bits...), mixed.BitMACs{})
	if err != nil {
		t.Fatal(err)
	}
	return n, p
}

func TestConfigIsValidated(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"epochs": func(c *Config) { c.LSQ.Epochs = 0 }, "metric": func(c *Config) { c.Metric = "" },
		"hold out": func(c *Config) { c.HoldOut = 0 }, "limit": func(c *Config) { c.Limit = -1 }, "lr": func(c *Config) { c.LSQ.LR = -1 },
	} {
		c := DefaultConfig(lsqtest.Bits(t, "w4a4"))
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

const killedDir = "LOWBIT_ALPS_TEST_DIR"

// TestKilledScoringGoesOn kills a process amid its trials; another one ends
// with the gains of an undisturbed one.
func TestKilledScoringGoesOn(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" { // the process to be killed
		tr, p := trainer(t)
		_, err := Scorer{Trainer: tr, Dir: dir}.Score(context.Background(), p)
		t.Fatalf("it ended before it was killed: %v", err)
	}
	if testing.Short() {
		t.Skip("three trainings: run without -short")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "alps")
	cmd := exec.Command(exe, "-test.run", "^TestKilledScoringGoesOn$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 2000 { // until the second trial is on record
		if _, err := os.Stat(filepath.Join(dir, "group000-w2a2.json")); err == nil {
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
	tr, p := trainer(t)
	got, err := Scorer{Trainer: tr, Dir: dir}.Score(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Scorer{Trainer: tr}.Score(context.Background(), p)
	got.TrialSeconds, want.TrialSeconds = 0, 0
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v, %v", got, want, err)
	}
}

// Trials that follow each other, which share their memory, measure what each
// does by itself, and leave nothing but their results.
func TestTrialsDoNotSeeEachOther(t *testing.T) {
	tr, p := trainer(t)
	trials := Trials(p, tr.Base.Seed)[:4]
	dir := filepath.Join(t.TempDir(), "alps")
	together, err := mixed.RunTrials(context.Background(), dir, trials, tr, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, trial := range trials {
		alone := &Trainer{Config: tr.Config, Base: tr.Base, Job: tr.Job}
		m, err := alone.Trial(context.Background(), trial, "")
		if err != nil {
			t.Fatal(err)
		}
		if m.Seconds = together[i].Seconds; m != together[i] {
			t.Errorf("%s: %+v alone, %+v after others", trial.Key, m, together[i])
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			t.Errorf("%s stays", e.Name())
		}
	}
}
