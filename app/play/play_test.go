package play

import (
	"bytes"
	"context"
	"errors"
	"image/gif"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lowbit/engine"
	"lowbit/infer"
	"lowbit/method/distill"
	"lowbit/rl"
)

const breakout = "minatar/breakout"

// student distils for well under a second and returns the run directory.
func student(t *testing.T, arch, bits string) string {
	t.Helper()
	dir := t.TempDir()
	c := distill.DefaultConfig(breakout, distill.DefaultStudent(arch, bits))
	c.Envs, c.Batch, c.Ring, c.Start = 16, 32, 1024, 128
	c.Updates, c.Segment, c.EvalEpisodes, c.EvalSteps, c.TestEpisodes = 40, 20, 4, 60, 4
	e := engine.New(1)
	defer e.Close()
	r, err := Distill(t.Context(), DistillConfig{Teacher: "planner", Distill: c}, rl.Job{Engine: e, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if r.Run != dir || r.Episodes != 4 || r.TeacherReturn <= r.RandomReturn || r.Updates != 40 {
		t.Errorf("report %+v", r)
	}
	if kept, err := ReadReport(dir); err != nil || !reflect.DeepEqual(kept, r) {
		t.Errorf("stored report %+v, error %v; want %+v", kept, err, r)
	}
	return dir
}

// TestEnginesPlayTheSameGame: a ternary student on float engine and cores makes
// the same decisions, and so the same returns.
func TestEnginesPlayTheSameGame(t *testing.T) {
	dir := student(t, distill.CoreNet, distill.Ternary)
	picture := filepath.Join(t.TempDir(), "play.gif")
	c := Config{Model: dir, Env: breakout, Episodes: 4, MaxSteps: 100, Seed: 5, Threads: 1}
	float, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Engine, c.GIF = Cores, picture
	var screen bytes.Buffer
	c.Render = &screen
	cores, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if cores.Decisions != float.Decisions || cores.MeanReturn != float.MeanReturn || cores.MeanLength != float.MeanLength {
		t.Errorf("cores %+v\nfloat %+v", cores, float)
	}
	u := cores.CoreUse
	if u == nil || u.Different != 0 || u.Cores < 10 || u.Events.Spikes == 0 || u.Events.Ticks != int64(u.Latency*cores.Decisions) {
		t.Errorf("core use %+v for %d decisions", u, cores.Decisions)
	}
	if d := cores.DecisionMs; !(d.P50 > 0 && d.P50 <= d.P99 && d.P99 <= d.Max) || cores.Missed != 0 {
		t.Errorf("latency %+v, missed %d", d, cores.Missed)
	}
	f, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g, err := gif.DecodeAll(f)
	if err != nil || len(g.Image) != cores.Decisions {
		t.Errorf("%v, want an animation of %d pictures", err, cores.Decisions)
	}
	if n := strings.Count(screen.String(), "decision"); n != cores.Decisions {
		t.Errorf("%d pictures in the terminal, want %d", n, cores.Decisions)
	}
}

// TestIntegersPlayTheSameGame: a student of learned steps on the packed runtime.
// Every decision is that of the deploy form in plain loops; those of the float
// engine, which rounds elsewhere, are nearly all the same.
func TestIntegersPlayTheSameGame(t *testing.T) {
	dir := student(t, distill.Conv, "w2a2")
	c := Config{Model: dir, Env: breakout, Engine: Integer, Episodes: 4, MaxSteps: 200, Seed: 5}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	u := r.IntegerUse
	if u == nil || u.WeightBytes == 0 || u.Kernel == "" || u.Different*100 > r.Decisions || r.Decisions < 40 || r.MaxSteps != 200 {
		t.Errorf("%+v, integers %+v", r, u)
	}
	again := c
	again.Threads = 2
	if s, err := Run(t.Context(), again); err != nil || !slices.Equal(s.Returns, r.Returns) {
		t.Errorf("returns %v, with two threads %v, error %v", r.Returns, s.Returns, err)
	}
	a, err := rl.OpenAgent(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	reference, err := infer.NewReference(a.Graph, a.Store)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{Config: c}
	p.Threads = 1
	e := engine.New(1)
	defer e.Close()
	if err := p.open(e); err != nil {
		t.Fatal(err)
	}
	defer p.env.Close()
	d := p.decider.(*integers)
	obs := make([]byte, p.spec.ObsBytes())
	act, rew, done, trunc := make([]int32, 1), make([]float32, 1), make([]bool, 1), make([]bool, 1)
	if err := p.env.Reset(9, obs); err != nil {
		t.Fatal(err)
	}
	for step := range 500 {
		if act[0], err = d.decide(obs, done[0]); err != nil {
			t.Fatal(err)
		}
		want, err := reference.Run(d.in)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(d.out, want) {
			t.Fatalf("step %d: outputs %v, the reference's %v", step, d.out, want)
		}
		if err := p.env.Step(act, obs, rew, done, trunc); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRealtimeKeepsTheGrid: decisions come at the screen's rate and slow ones
// are counted.
func TestRealtimeKeepsTheGrid(t *testing.T) {
	c := Config{Model: "planner", Env: breakout, Episodes: 1, MaxSteps: 30, Seed: 1, Threads: 1, Realtime: true, Hz: 100}
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if a, d := r.AloneMs, r.DecisionMs; !(a.P50 > 0 && a.P50 <= d.P50 && a.P99 <= d.Max) {
		t.Errorf("a decision alone took %+v, from its frame %+v", a, d)
	}
	if r.Seconds < 0.29 {
		t.Errorf("%d decisions at 100 Hz took %.3f s", r.Decisions, r.Seconds)
	}
	p := &player{Config: c}
	for _, d := range []time.Duration{time.Millisecond, 9 * time.Millisecond, 11 * time.Millisecond, 40 * time.Millisecond} {
		p.note(d)
	}
	if p.report.Missed != 2 {
		t.Errorf("%d missed, want the 2 above 10 ms", p.report.Missed)
	}
	c.Seconds, c.Episodes, c.MaxSteps = 0.1, 1000, 0
	if r, err = Run(t.Context(), c); err != nil || r.Seconds > 1 || r.Decisions < 5 {
		t.Errorf("%+v, error %v; want an end after 0.1 s", r, err)
	}
}

func TestInterruptedPlayReportsWhatWasPlayed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, err := Run(ctx, Config{Model: "planner", Env: breakout, Episodes: 1 << 30, MaxSteps: 50, Threads: 1})
	if !errors.Is(err, rl.ErrInterrupted) || r == nil || r.Decisions == 0 {
		t.Errorf("%+v, error %v", r, err)
	}
}

func TestBadPlaysAreRefused(t *testing.T) {
	dir := student(t, distill.Conv, "fp32")
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Env: breakout, Episodes: 1}, "want a model"},
		{Config{Model: dir, Env: breakout}, "episodes"},
		{Config{Model: dir, Env: breakout, Episodes: 1, Engine: "gpu"}, "engine"},
		{Config{Model: dir, Env: breakout, Episodes: 1, Engine: Cores}, "no votes"},
		{Config{Model: dir, Env: breakout, Episodes: 1, Engine: Integer}, "full precision"},
		{Config{Model: student(t, distill.CoreNet, distill.Ternary), Env: breakout, Episodes: 1, Engine: Integer}, "binary neurons"},
		{Config{Model: student(t, distill.CoreNet, "w2a2"), Env: breakout, Episodes: 1, Engine: Integer}, "shuffled"},
		{Config{Model: "planner", Env: breakout, Episodes: 1, Engine: Cores}, "no network"},
		{Config{Model: "planner", Env: breakout, Episodes: 1, Engine: Integer}, "no network"},
		{Config{Model: "planner", Env: "minatar/freeway", Episodes: 1}, "planner"},
		{Config{Model: dir, Env: "minatar/seaquest", Episodes: 1}, "shows"},
		{Config{Model: dir, Env: "minatar/chess", Episodes: 1}, "unknown"},
		{Config{Model: "nowhere", Env: breakout, Episodes: 1}, "nowhere"},
		{Config{Model: dir, Env: breakout, Episodes: 1, Mode: "best"}, "mode"},
	} {
		if _, err := Run(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.config, err, c.want)
		}
	}
}

// TestTeacherIsTrainedFirst: PPO, then a student of it; once more with Resume
// uses what is there.
func TestTeacherIsTrainedFirst(t *testing.T) {
	if testing.Short() {
		t.Skip("trains a teacher for some seconds: run without -short")
	}
	dir := t.TempDir()
	c := distill.DefaultConfig(breakout, distill.DefaultStudent(distill.Conv, "w4a4"))
	c.Envs, c.Batch, c.Ring, c.Start = 16, 32, 1024, 128
	c.Updates, c.Segment, c.EvalEpisodes, c.EvalSteps, c.TestEpisodes = 20, 10, 4, 60, 4
	e := engine.New(1)
	defer e.Close()
	d := DistillConfig{Teacher: "ppo", TeacherSteps: 4096, Distill: c}
	one, err := Distill(t.Context(), d, rl.Job{Engine: e, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rl.OpenAgent(filepath.Join(dir, "teacher"), nil); err != nil {
		t.Error(err)
	}
	two, err := Distill(t.Context(), d, rl.Job{Engine: e, Dir: dir, Resume: true})
	if err != nil {
		t.Fatal(err)
	}
	if one.StudentReturn != two.StudentReturn || one.TeacherReturn != two.TeacherReturn {
		t.Errorf("first %+v, then %+v", one, two)
	}
	if _, err := Distill(t.Context(), d, rl.Job{Engine: e, Dir: dir}); !errors.Is(err, rl.ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	d.Teacher = ""
	if _, err := Distill(t.Context(), d, rl.Job{Engine: e, Dir: dir}); err == nil || !strings.Contains(err.Error(), "want a teacher") {
		t.Errorf("error %v, want one about the teacher", err)
	}
}
