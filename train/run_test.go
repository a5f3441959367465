package train

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/optim"
	"lowbit/tensor"
)

// job returns a tiny job with an engine of that many threads.
func job(t testing.TB, threads int, o netOptions) Job {
	t.Helper()
	e := engine.New(threads)
	t.Cleanup(e.Close)
	return Job{
		Engine: e, Graph: tinyNet(t, o), Store: tensor.NewStore(),
		Train: stripes(t, 120, 1), Test: stripes(t, 90, 2), MetricsEvery: 4, Kernel: "test",
	}
}

func mustRun(t testing.TB, c Config, j Job) Result {
	t.Helper()
	r, err := Run(context.Background(), c, j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// digest is the sha256 of a file of a run.
func digest(t testing.TB, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func TestTrainingLearns(t *testing.T) {
	for _, o := range []netOptions{{}, {quantized: true}, {dropout: true}} {
		c := tinyConfig()
		c.Epochs = 12
		j := job(t, 0, o)
		r := mustRun(t, c, j)
		if r.Accuracy < 0.95 || !r.Complete || r.Examples != 90 || r.Epochs != 12 || r.Steps != 12*8 {
			t.Errorf("%+v: %+v, want an accuracy of at least 0.95", o, r)
		}
		if o.quantized && j.Store.Get("conv.weight_step").Float32s()[0] == 0.1 {
			t.Error("the quantizer's step did not learn")
		}
	}
}

func TestSameBitsForAnyThreads(t *testing.T) {
	var want string
	for _, threads := range []int{1, 2, 3} {
		c, j := tinyConfig(), job(t, threads, netOptions{quantized: true, dropout: true})
		j.Out = filepath.Join(t.TempDir(), "run")
		mustRun(t, c, j)
		got := digest(t, j.Out, lastName)
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("%d threads: other bytes", threads)
		}
	}
	c, j := tinyConfig(), job(t, 1, netOptions{quantized: true, dropout: true})
	c.Seed++
	j.Out = filepath.Join(t.TempDir(), "run")
	mustRun(t, c, j)
	if digest(t, j.Out, lastName) == want {
		t.Error("another seed gives the same bytes")
	}
}

func TestBF16Learns(t *testing.T) {
	digests := map[bool]string{}
	for _, rounds := range []bool{false, true} {
		for _, threads := range []int{1, 3} {
			c, j := tinyConfig(), job(t, threads, netOptions{})
			c.Epochs, c.BF16 = 12, rounds
			j.Out = filepath.Join(t.TempDir(), "run")
			if r := mustRun(t, c, j); r.Accuracy < 0.95 {
				t.Errorf("bf16 %v: accuracy %g, want at least 0.95", rounds, r.Accuracy)
			}
			d := digest(t, j.Out, lastName)
			if have := digests[rounds]; have != "" && have != d {
				t.Errorf("bf16 %v: %d threads give other bytes than one", rounds, threads)
			}
			digests[rounds] = d
		}
	}
	if (digests[false] == digests[true]) == kernel.Active().BF16 {
		t.Error("other bytes are wanted where the kernel row has such products, and only there")
	}
}

func TestRunDirectoryIsComplete(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{quantized: true})
	c.HoldOut, c.Best, c.Optim.EMA = 24, true, 0.9
	j.Out, j.Model, j.Command = filepath.Join(t.TempDir(), "a", "run"), "tiny", []string{"lowbit", "train"}
	shown := 0
	j.Progress = func(p Progress) {
		shown++
		if p.Epochs != 3 || p.Steps != 6 || p.Loss <= 0 || p.HeldOut < 0 {
			t.Errorf("progress %+v", p)
		}
	}
	r := mustRun(t, c, j)
	if r.Weights != bestName || r.BestEpoch == 0 || r.BestHeldOut < r.HeldOut || shown < 3 {
		t.Errorf("%+v, %d times shown", r, shown)
	}
	rec, err := ReadRecord(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Result != r || rec.Model != "tiny" || len(rec.Sessions) != 1 || rec.Sessions[0].Kernel != "test" || rec.Versions["go"] == "" {
		t.Errorf("record %+v", rec)
	}
	ms, err := ReadMetrics(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, m := range ms {
		kinds[m.Kind]++
		if m.Kind == "epoch" && m.HeldOut == nil || m.Kind == "step" && m.GradNorm == nil {
			t.Errorf("metric %+v", m)
		}
	}
	if kinds["epoch"] != 3 || kinds["step"] != 4 || kinds["test"] != 1 {
		t.Errorf("metrics %v", kinds)
	}
	cs, err := checkpoints(j.Out)
	if err != nil || len(cs) != 2 || cs[1].epoch != 3 {
		t.Errorf("checkpoints %v, %v", cs, err)
	}
	g, store, _, err := Open(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range g.Params() {
		if string(store.Get(n.Name()).Bytes()) != string(j.Store.Get(n.Name()).Bytes()) {
			t.Errorf("%s differs from the run's store", n.Name())
		}
	}
}

func TestDirectoryRules(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{})
	c.Epochs = 1
	j.Out = t.TempDir()
	first := mustRun(t, c, j)
	if _, err := Run(context.Background(), c, j); !errors.Is(err, ErrExists) {
		t.Errorf("an old run without resume or force: %v", err)
	}
	j.Resume = true
	if again := mustRun(t, c, j); again != first {
		t.Errorf("resuming a complete run: %+v, want %+v", again, first)
	}
	other := c
	other.Schedule.LR = 0.3
	if _, err := Run(context.Background(), other, j); !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), "config.schedule.lr is 0.3 here, 0.2 there") {
		t.Errorf("resuming with another config: %v", err)
	}
	quantized := j
	quantized.Graph = tinyNet(t, netOptions{quantized: true})
	if _, err := Run(context.Background(), c, quantized); !errors.Is(err, ErrMismatch) {
		t.Errorf("resuming with another graph: %v", err)
	}
	unlock, err := lock(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), c, j); !errors.Is(err, ErrLocked) {
		t.Errorf("a locked directory: %v", err)
	}
	unlock()
	record := filepath.Join(j.Out, recordName)
	if err := os.Rename(record, record+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), c, j); !errors.Is(err, ErrExists) {
		t.Errorf("weights without a record: %v", err)
	}
	note := filepath.Join(j.Out, "note.txt")
	if err := os.WriteFile(note, []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	j.Resume, j.Force = false, true
	mustRun(t, other, j)
	if _, err := os.Stat(note); err != nil {
		t.Errorf("force removed a file that is no run's: %v", err)
	}
}

func TestInterruptedRunGoesOn(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{quantized: true, dropout: true})
	c.HoldOut, c.Optim.EMA, c.Best = 24, 0.9, true
	whole := filepath.Join(t.TempDir(), "whole")
	j.Out = whole
	mustRun(t, c, j)

	j = job(t, 1, netOptions{quantized: true, dropout: true})
	j.Out, j.Resume = filepath.Join(t.TempDir(), "parts"), true
	warned := 0
	j.Warn = func(string) { warned++ }
	for steps, done := 0, false; !done; steps++ {
		ctx, cancel := context.WithCancel(context.Background())
		j.Hooks.AfterStep = func(s StepInfo) error {
			if s.Step == 4*steps+1 {
				cancel()
			}
			return nil
		}
		j.Store = tensor.NewStore()
		j.Kernel = fmt.Sprint("row", steps)
		r, err := Run(ctx, c, j)
		cancel()
		if err != nil && !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		done = r.Complete
	}
	for _, name := range []string{lastName, bestName} {
		if digest(t, j.Out, name) != digest(t, whole, name) {
			t.Errorf("%s has other bytes than that of an unbroken run", name)
		}
	}
	rec, err := ReadRecord(j.Out)
	if err != nil || len(rec.Sessions) < 3 || warned != len(rec.Sessions)-1 {
		t.Errorf("%d sessions, %d warnings of another kernel row, %v", len(rec.Sessions), warned, err)
	}
	ms, err := ReadMetrics(j.Out)
	if err != nil {
		t.Fatal(err)
	}
	step := 0
	for _, m := range ms {
		if m.Kind == "step" {
			if m.Step <= step {
				t.Errorf("step %d after %d in the metrics", m.Step, step)
			}
			step = m.Step
		}
	}
}

// at10 returns a hook that changes the store after the tenth step.
func at10(change func(s *tensor.Store)) func(StepInfo) error {
	return func(s StepInfo) error {
		if s.Step == 9 {
			change(s.Store)
		}
		return nil
	}
}

func TestNotFiniteNamesTheLayer(t *testing.T) {
	inf := float32(math.Inf(1))
	for name, k := range map[string]struct {
		hooks Hooks
		want  string
	}{
		"overflow": {Hooks{AfterStep: at10(func(s *tensor.Store) { // 3e38 times several inputs overflows in the sum
			for i := range s.Get("fc.weight").Float32s() {
				s.Get("fc.weight").Float32s()[i] = 3e38
			}
		})}, `output of "fc"`},
		"parameter": {Hooks{AfterStep: at10(func(s *tensor.Store) {
			s.Get("conv.weight").Float32s()[3] = inf
		})}, `parameter "conv.weight" is not finite`},
		"images": {Hooks{Batch: func(b *data.Batch) error {
			if b.Step == 5 && b.Epoch == 1 {
				b.Images.Float32s()[7] = inf
			}
			return nil
		}}, "the batch's images"},
		"gradient": {Hooks{Loss: func(g *graph.Graph, loss *graph.Node) (*graph.Node, error) {
			x := g.Find("bn") // the root has an infinite slope at 0
			return g.Add(loss, g.Mean(g.Sqrt(g.Sub(x, x).Named("zero")))), nil
		}}, `gradient of "zero" (sub)`},
	} {
		c, j := tinyConfig(), job(t, 1, netOptions{})
		j.Out, j.Hooks = filepath.Join(t.TempDir(), "run"), k.hooks
		r, err := Run(context.Background(), c, j)
		if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s: %v, want %q", name, err, k.want)
			continue
		}
		if r.Complete {
			t.Errorf("%s: complete", name)
		}
		store, pos, err := latest(j.Out, func(m string) { t.Error(m) })
		if err != nil || store == nil {
			t.Fatalf("%s: no checkpoint: %v", name, err)
		}
		for _, n := range store.Names() {
			if !finite(store.Get(n).Float32s()) || string(store.Get(n).Bytes()) != string(j.Store.Get(n).Bytes()) {
				t.Errorf("%s: %s at %+v is not finite or not what the store holds", name, n, pos)
			}
		}
	}
}

func TestBrokenCheckpointIsLeftOut(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{})
	whole := filepath.Join(t.TempDir(), "whole")
	j.Out = whole
	mustRun(t, c, j)

	j.Out, j.Resume, j.Store = filepath.Join(t.TempDir(), "broken"), true, tensor.NewStore()
	ctx, cancel := context.WithCancel(context.Background())
	j.Hooks.AfterStep = func(s StepInfo) error {
		if s.Step == 19 {
			cancel()
		}
		return nil
	}
	if _, err := Run(ctx, c, j); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	cs, err := checkpoints(j.Out)
	if err != nil || len(cs) != 2 {
		t.Fatalf("checkpoints %v, %v", cs, err)
	}
	if err := os.Truncate(cs[1].path, 1000); err != nil {
		t.Fatal(err)
	}
	warned := ""
	j.Warn = func(m string) { warned += m }
	j.Store = tensor.NewStore()
	mustRun(t, c, j)
	if !strings.Contains(warned, filepath.Base(cs[1].path)) {
		t.Errorf("warning %q does not name the broken file", warned)
	}
	if digest(t, j.Out, lastName) != digest(t, whole, lastName) {
		t.Error("another result from the checkpoint before")
	}
}

func TestStepsMustBePositive(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{quantized: true})
	c.Optim.Groups = nil // no floor
	j.Hooks.AfterGradients = func(s StepInfo) error {
		s.Plan.Output("grad:conv.weight_step").Float32s()[0] = 100
		return nil
	}
	if _, err := Run(context.Background(), c, j); err == nil || !strings.Contains(err.Error(), `"conv.weight_step"[0]`) {
		t.Errorf("a negative step: %v", err)
	}
	c.Optim.Groups = optim.DefaultGroups(0)
	j.Store = tensor.NewStore()
	if _, err := Run(context.Background(), c, j); err != nil {
		t.Errorf("with a floor: %v", err)
	}
	if err := j.Store.Put("conv.weight_step", tensor.FromFloat32s([]float32{0}, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), c, j); err == nil {
		t.Error("training starts with a step of 0")
	}
}
