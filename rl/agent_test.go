package rl

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/internal/testenv"
	"lowbit/nn"
	"lowbit/tensor"
)

func newEngine(tb testing.TB, threads int) *engine.Engine {
	e := engine.New(threads)
	tb.Cleanup(e.Close)
	return e
}

// tinyPPO and tinyDQN train three segments in well under a second.
func tinyPPO() PPOConfig {
	c := DefaultPPO("minatar/breakout")
	c.Envs, c.Horizon, c.Minibatches, c.Epochs = 16, 8, 2, 2
	c.Steps, c.Segment, c.EvalEpisodes, c.EvalSteps = 3*1024, 1024, 8, 100
	c.Net = NetConfig{Channels: 4, Hidden: 16}
	return c
}

func tinyDQN() DQNConfig {
	c := DefaultDQN("minatar/breakout")
	c.Envs, c.Batch, c.Every, c.Replay, c.Start, c.Target = 8, 16, 16, 700, 128, 20
	c.Steps, c.Segment, c.EvalEpisodes, c.EvalSteps = 3*1024, 1024, 8, 100
	c.Net = NetConfig{Channels: 4, Hidden: 16}
	return c
}

type trainer func(ctx context.Context, j Job) (Result, error)

var trainers = map[string]trainer{
	"ppo": func(ctx context.Context, j Job) (Result, error) { return TrainPPO(ctx, tinyPPO(), j) },
	"dqn": func(ctx context.Context, j Job) (Result, error) { return TrainDQN(ctx, tinyDQN(), j) },
}

func sameFile(t *testing.T, a, b, name string) {
	t.Helper()
	x, err := os.ReadFile(filepath.Join(a, name))
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(filepath.Join(b, name))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(x, y) {
		t.Errorf("%s differs", name)
	}
}

func TestTrainingRepeatsBitForBit(t *testing.T) {
	for name, run := range trainers {
		t.Run(name, func(t *testing.T) {
			one, two, resumed := t.TempDir(), t.TempDir(), t.TempDir()
			r, err := run(t.Context(), Job{Engine: newEngine(t, 1), Dir: one})
			if err != nil {
				t.Fatal(err)
			}
			if r.Steps != 3*1024 || r.Updates == 0 || r.Best.Episodes != 8 {
				t.Errorf("result %+v", r)
			}
			if _, err := run(t.Context(), Job{Engine: newEngine(t, 3), Dir: two}); err != nil {
				t.Fatal(err)
			}
			// Interrupted in the second segment, then resumed.
			ctx, cancel := context.WithCancel(t.Context())
			stop := Job{Engine: newEngine(t, 2), Dir: resumed, Progress: func(m Metric) {
				if m.Kind == "eval" {
					cancel()
				}
			}}
			if _, err := run(ctx, stop); !errors.Is(err, ErrInterrupted) {
				t.Fatalf("error %v, want ErrInterrupted", err)
			}
			if _, err := run(t.Context(), Job{Engine: newEngine(t, 2), Dir: resumed}); !errors.Is(err, ErrExists) {
				t.Errorf("error %v, want ErrExists", err)
			}
			if _, err := run(t.Context(), Job{Engine: newEngine(t, 2), Dir: resumed, Resume: true}); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{lastFile, bestFile, "checkpoint-003.safetensors"} {
				sameFile(t, one, two, f)
				sameFile(t, one, resumed, f)
			}
			ms, err := ReadMetrics(resumed)
			if err != nil || len(ms) != 6 {
				t.Errorf("%d lines of metrics, error %v; want 6", len(ms), err)
			}
			a, err := OpenAgent(one, nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := EvaluateAgent(newEngine(t, 1), a, EvalOptions{Env: "minatar/breakout", Episodes: 8, MaxSteps: 100, Seed: 1})
			if err != nil || s.Mean != r.Best.Return {
				t.Errorf("the stored agent returns %v (%v), training measured %v", s.Mean, err, r.Best.Return)
			}
		})
	}
}

func TestResumeRefusesOtherSettings(t *testing.T) {
	dir := t.TempDir()
	e := newEngine(t, 1)
	c := tinyPPO()
	c.Steps = 1024
	if _, err := TrainPPO(t.Context(), c, Job{Engine: e, Dir: dir}); err != nil {
		t.Fatal(err)
	}
	c.LR *= 2
	if _, err := TrainPPO(t.Context(), c, Job{Engine: e, Dir: dir, Resume: true}); !errors.Is(err, ErrMismatch) {
		t.Errorf("error %v, want ErrMismatch", err)
	}
}

// TestAgentsLearn: both learn a board game far above random play in a few
// seconds.
func TestAgentsLearn(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for some seconds: run without -short")
	}
	e := newEngine(t, 2)
	random, err := New("minatar/breakout", Options{Envs: 64, MaxSteps: 1000})
	if err != nil {
		t.Fatal(err)
	}
	base, err := Evaluate(random, NewRandom(6, 1), 64, 1)
	if err != nil {
		t.Fatal(err)
	}
	c := tinyPPO()
	c.Envs, c.Horizon, c.Minibatches, c.Steps, c.Segment = 64, 16, 4, 3<<15, 3<<14
	c.Net = NetConfig{Channels: 8, Hidden: 32}
	c.EvalEpisodes, c.EvalSteps = 32, 500
	p, err := TrainPPO(t.Context(), c, Job{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ppo %.2f after %d decisions in %.1f s, random %.2f", p.Best.Return, p.Steps, p.Seconds, base.Mean)
	if p.Best.Return < 4*base.Mean {
		t.Errorf("ppo returns %.2f, random play %.2f", p.Best.Return, base.Mean)
	}
	d := tinyDQN()
	d.Envs, d.Batch, d.Every, d.Replay, d.Start, d.Target = 16, 32, 4, 1<<15, 2000, 200
	d.Steps, d.Segment, d.Net = 3<<13, 1<<13, NetConfig{Channels: 8, Hidden: 32}
	d.LR, d.ExploreShare, d.EvalEpisodes, d.EvalSteps = 1e-3, 0.4, 32, 500
	q, err := TrainDQN(t.Context(), d, Job{Engine: e})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("dqn %.2f after %d decisions in %.1f s", q.Best.Return, q.Steps, q.Seconds)
	if q.Best.Return < 3*base.Mean {
		t.Errorf("dqn returns %.2f, random play %.2f", q.Best.Return, base.Mean)
	}
}

func TestConfigsAreChecked(t *testing.T) {
	for want, change := range map[string]func(c *PPOConfig){
		"games":      func(c *PPOConfig) { c.Envs = 0 },
		"segments":   func(c *PPOConfig) { c.Segment = 1 },
		"gamma":      func(c *PPOConfig) { c.Gamma = 1 },
		"lr":         func(c *PPOConfig) { c.LR = math.NaN() },
		"minibatch":  func(c *PPOConfig) { c.Minibatches = 7 },
		"clip":       func(c *PPOConfig) { c.Clip = 0 },
		"hidden":     func(c *PPOConfig) { c.Net.Hidden = 0 },
		"evaluation": func(c *PPOConfig) { c.EvalEpisodes = 0 },
		"unknown":    func(c *PPOConfig) { c.Env = "minatar/chess" },
	} {
		c := tinyPPO()
		change(&c)
		if _, err := TrainPPO(t.Context(), c, Job{Engine: newEngine(t, 1)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
	d := tinyDQN()
	d.Start = d.Replay + 1
	if _, err := TrainDQN(t.Context(), d, Job{Engine: newEngine(t, 1)}); err == nil {
		t.Error("a start beyond the replay was accepted")
	}
}

// TestDQNPicksUsableTransitions: neither the row that is being written nor one
// that was cut.
func TestDQNPicksUsableTransitions(t *testing.T) {
	d := &dqn{learner: &learner{agent: &Agent{}}, DQNConfig: tinyDQN(), capacity: 10, head: tensor.New(tensor.I64, 2)}
	d.Envs = 4
	d.flags = make([]uint8, 40)
	d.head.Int64s()[0] = 23 // newest row 22: slot 2; oldest row 13: slot 3
	for i := range 4 {
		d.flags[5*4+i] = flagCut
	}
	at := make([]int, 2000)
	d.pick(at)
	seen := map[int]int{}
	for _, k := range at {
		seen[k/4]++
	}
	if len(seen) != 8 || seen[2] != 0 || seen[5] != 0 {
		t.Errorf("rows picked: %v, want all but 2 (no next row yet) and 5 (cut)", seen)
	}
}

func TestViews(t *testing.T) {
	s := EnvSpec{Name: "x", Envs: 1, C: 1, H: 2, W: 2}
	for _, c := range []struct {
		view View
		obs  [][]byte
		want []byte
	}{
		{View{C: 1, H: 2, W: 2, Code: Gray, Stack: 2}, [][]byte{{1, 2, 3, 4}, {5, 6, 7, 8}}, []byte{1, 2, 3, 4, 5, 6, 7, 8}},
		{View{C: 1, H: 2, W: 2, Code: Thermometer, Levels: 3}, [][]byte{{63, 64, 128, 255}}, []byte{0b1100_1110, 0b1000}},
		{View{C: 1, H: 2, W: 2, Code: Change, Levels: 1, Stack: 2}, [][]byte{{100, 100, 100, 100}, {115, 116, 84, 200}}, []byte{0b1010_1000, 0b0100}},
	} {
		w, err := NewViewer(c.view, s)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for i, o := range c.obs {
			if got, err = w.Show(o, []bool{i == 0}); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %08b, want %08b", c.view, got, c.want)
		}
	}
	plane := EnvSpec{Name: "y", Envs: 2, C: 1, H: 3, W: 3, Format: Bits, Channels: []string{"a"}}
	v := View{C: 1, H: 3, W: 3, Code: Planes, Stack: 2}
	w, err := NewViewer(v, plane)
	if err != nil {
		t.Fatal(err)
	}
	w.Show([]byte{0b1010_0001, 1, 0, 1}, []bool{true, true})
	got, _ := w.Show([]byte{0b0000_0010, 0, 3, 0}, []bool{false, true})
	x := make([]float32, 2*v.Size())
	v.Floats(x, got)
	want := []float32{1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0}
	if !slices.Equal(x, want) {
		t.Errorf("stacked planes %v, want %v", x, want)
	}
	if _, err := NewViewer(View{C: 2, H: 3, W: 3, Code: Planes}, plane); err == nil {
		t.Error("a view of another shape was accepted")
	}
	if _, err := NewViewer(View{C: 1, H: 3, W: 3, Code: Change, Levels: 1}, plane); err == nil {
		t.Error("a change of one screen was accepted")
	}
}

func TestAgentWithOtherActionsIsRefused(t *testing.T) {
	g := graph.New()
	x := nn.Input(g, 1, 4, 10, 10)
	nn.Logits(g, nn.Linear(g, "policy", g.Flatten(x), nn.Dense{Out: 2}))
	a := &Agent{Graph: g, Store: tensor.NewStore(), Info: AgentInfo{Mode: Greedy, View: View{C: 4, H: 10, W: 10, Code: Planes}, Actions: []string{"left", "jump"}}}
	if err := graph.InitParams(g, a.Store, 1); err != nil {
		t.Fatal(err)
	}
	env, err := New("minatar/breakout", Options{Format: Bits})
	if err != nil {
		t.Fatal(err)
	}
	e := newEngine(t, 1)
	if _, err := NewActor(e, a, env.Spec(), 1); err == nil || !strings.Contains(err.Error(), `"jump"`) {
		t.Errorf("error %v, want one about jump", err)
	}
	a.Info.Actions = nil
	if _, err := NewActor(e, a, env.Spec(), 1); err == nil || !strings.Contains(err.Error(), "2 actions") {
		t.Errorf("error %v, want one about 2 actions", err)
	}
	a.Info.Actions = []string{"right", "left"}
	c, err := NewActor(e, a, env.Spec(), 1)
	if err != nil || !slices.Equal(c.Actions(), []int32{actRight, actLeft}) {
		t.Errorf("actions %v, error %v", c.Actions(), err)
	}
}

func TestSampleLogitsFollowsSoftmax(t *testing.T) {
	logits := []float32{0, float32(math.Log(2)), -200, float32(math.Log(5))}
	r := rng.New(1)
	const draws = 80000
	for tau, shares := range map[float64][]float64{1: {1. / 8, 2. / 8, 0, 5. / 8}, 0.5: {1. / 30, 4. / 30, 0, 25. / 30}} {
		var n [4]float64
		for range draws {
			n[sampleLogits(logits, tau, r.Float64())]++
		}
		for i, want := range shares {
			if got := n[i] / draws; math.Abs(got-want) > 0.01 {
				t.Errorf("temperature %g: output %d drawn with %v, want %v", tau, i, got, want)
			}
		}
	}
}

// TestImportedAtariAgentsEqualPlainLoops runs the published networks on the
// engine and in the plain loops of the teacher test, over an episode's start
// with memory.
func TestImportedAtariAgentsEqualPlainLoops(t *testing.T) {
	e := newEngine(t, 2)
	const tol = 2e-5 // float32 sums of up to 2,592 terms in other orders
	for _, file := range []string{"baby-a3c_pong-v4", "baby-a3c_breakout-v4", "baby-a3c_spaceinvaders-v4", "async-rl_a3c-ff_breakout"} {
		path := testenv.Shared(t, "models", "atari", file+".safetensors")
		a, err := OpenAgent(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if a.Info.Mode != Sample || a.Info.Env == "" || (a.Info.Preset == "baby-a3c") != strings.HasPrefix(file, "baby") {
			t.Errorf("%s: info %+v", file, a.Info)
		}
		s := EnvSpec{Name: a.Info.Env, Envs: 2, C: a.Info.View.C, H: a.Info.View.H, W: a.Info.View.W, Actions: make([]string, a.Outputs())}
		c, err := NewActor(e, a, s, 1)
		if err != nil {
			t.Fatal(err)
		}
		ref := &teacher{p: readTensors(t, path), memory: make([]float32, 256)}
		r := rng.New(7)
		obs := make([]byte, 2*s.ObsBytes())
		for step := range 3 {
			for i := range obs {
				obs[i] = byte(r.Uint32() >> (8 * (i / 97 % 3)))
			}
			logits, err := c.Logits(obs, []bool{step == 0, step == 2})
			if err != nil {
				t.Fatal(err)
			}
			x := make([]float32, s.ObsBytes())
			for i := range x {
				x[i] = float32(obs[i]) / 255
			}
			want := ref.async
			if a.Info.Preset == "baby-a3c" {
				want = ref.baby
			}
			for i, v := range want(x) {
				if math.Abs(float64(v-logits[i])) > tol*math.Max(1, math.Abs(float64(v))) {
					t.Errorf("%s step %d: output %d is %v, want %v", file, step, i, logits[i], v)
				}
			}
		}
	}
}

func TestOpenAgentRefusesStrangers(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{"missing.safetensors": "no such file", "a.bin": "want a run directory", "a.zip": "zip"} {
		p := filepath.Join(dir, name)
		if !strings.HasPrefix(name, "missing") {
			if err := os.WriteFile(p, []byte("nothing"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := OpenAgent(p, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", name, err, want)
		}
	}
	if _, err := OpenAgent(dir, nil); err == nil {
		t.Error("an empty folder was opened")
	}
}
