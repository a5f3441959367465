package distill

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
	"lowbit/neuro"
	"lowbit/rl"
	"lowbit/tensor"
)

func newEngine(tb testing.TB, threads int) *engine.Engine {
	e := engine.New(threads)
	tb.Cleanup(e.Close)
	return e
}

// tiny is a distillation of well under a second.
func tiny(arch, bits string) Config {
	c := DefaultConfig("minatar/breakout", DefaultStudent(arch, bits))
	c.Envs, c.Batch, c.Ring, c.Start = 16, 32, 1024, 128
	c.Updates, c.Segment, c.EvalEpisodes, c.EvalSteps, c.TestEpisodes = 60, 20, 8, 60, 8
	return c
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

// TestDistillationRepeatsBitForBit: any number of threads, and a run that was
// interrupted and resumed, before and behind the quantizers.
func TestDistillationRepeatsBitForBit(t *testing.T) {
	for _, s := range []struct {
		arch, bits string
		stops      []int
	}{{Conv, "w2a2", []int{1, 2}}, {CoreNet, Ternary, []int{1}}} {
		for _, stopAt := range s.stops {
			c := tiny(s.arch, s.bits)
			one, two, resumed := t.TempDir(), t.TempDir(), t.TempDir()
			first, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: one}, Teacher: Planner()})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 3), Dir: two}, Teacher: Planner()}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			evals := 0
			job := rl.Job{Engine: newEngine(t, 2), Dir: resumed, Progress: func(m rl.Metric) {
				if m.Kind == "eval" {
					if evals++; evals == stopAt {
						cancel()
					}
				}
			}}
			if _, err := Run(ctx, c, Job{Job: job, Teacher: Planner()}); !errors.Is(err, rl.ErrInterrupted) {
				t.Fatalf("error %v, want ErrInterrupted", err)
			}
			job = rl.Job{Engine: newEngine(t, 2), Dir: resumed, Resume: true}
			r, err := Run(t.Context(), c, Job{Job: job, Teacher: Planner()})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{"last.safetensors", "best.safetensors", "checkpoint-003.safetensors", "graph.json"} {
				sameFile(t, one, two, f)
				sameFile(t, one, resumed, f)
			}
			// A finished run that is resumed says once more what came out.
			again, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: one, Resume: true}, Teacher: Planner()})
			if err != nil || again.Agreement != first.Agreement || r.Agreement != first.Agreement || !(first.Agreement > 0) || again.Student.Mean != first.Student.Mean {
				t.Errorf("agreement %v, resumed %v, asked again %+v: %v", first.Agreement, r.Agreement, again, err)
			}
			a, err := rl.OpenAgent(resumed, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range a.Graph.Params() {
				if !slices.Equal(a.Store.Get(n.Name()).Bytes(), r.Agent.Store.Get(n.Name()).Bytes()) {
					t.Errorf("%s: stored and returned agent differ", n.Name())
				}
			}
		}
	}
}

// TestStudentLearnsFromThePlanner: a 2-bit student plays far above chance after
// some seconds.
func TestStudentLearnsFromThePlanner(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for some seconds: run without -short")
	}
	c := DefaultConfig("minatar/breakout", DefaultStudent(Conv, "w2a2"))
	c.Batch, c.Start, c.Updates, c.Segment, c.EvalSteps, c.EvalEpisodes, c.TestEpisodes = 128, 2048, 500, 250, 300, 32, 32
	r, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("student %.2f, teacher %.2f, random %.2f, agreement %.3f in %.1f s", r.Student.Mean, r.Teacher.Mean, r.Random.Mean, r.Agreement, r.Seconds)
	if r.Student.Mean < 8*r.Random.Mean || r.Agreement < 0.8 {
		t.Errorf("student %.2f, random %.2f, agreement %.3f", r.Student.Mean, r.Random.Mean, r.Agreement)
	}
	quantizers := 0
	for _, n := range r.Agent.Graph.Nodes() {
		if o, ok := n.Op().(graph.FakeQuant); ok && o.Spec.Bits == 2 {
			quantizers++
		}
	}
	if quantizers != 2 {
		t.Errorf("%d quantizers of 2 bits, want weights and input of the hidden layer", quantizers)
	}
}

// TestAgentsTeach: a network teaches every student that is not a planner's.
func TestAgentsTeach(t *testing.T) {
	v := rl.View{C: 6, H: 10, W: 10, Code: rl.Planes}
	g, err := rl.BuildNet(v, 3, rl.NetConfig{Channels: 2, Hidden: 8}, true)
	if err != nil {
		t.Fatal(err)
	}
	a := &rl.Agent{Graph: g, Store: tensor.NewStore(), Info: rl.AgentInfo{Kind: "ppo", View: v, Mode: rl.Sample, Temperature: 1, Actions: []string{"fire", "left", "right"}}}
	if err := graph.InitParams(g, a.Store, 1); err != nil {
		t.Fatal(err)
	}
	for i, s := range [][2]string{{Conv, "fp32"}, {Conv, Binary}, {CoreNet, "w4a4"}, {CoreNet, Binary}} {
		c := tiny(s[0], s[1])
		c.Env, c.Updates, c.Loss, c.Mix = "minatar/space_invaders", 40, []Loss{KL, NLL, MSE, KL}[i], float64(i%2)/2
		r, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 2)}, Teacher: Source{Name: "a", Agent: a}})
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		if !slices.Equal(r.Agent.Info.Actions, a.Info.Actions) || r.Updates != 40 {
			t.Errorf("%v: actions %v after %d updates", s, r.Agent.Info.Actions, r.Updates)
		}
	}
	c := tiny(Conv, "fp32")
	if _, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Source{Agent: a}}); err == nil || !strings.Contains(err.Error(), "shows") {
		t.Errorf("error %v, want one about the shape of the observation", err)
	}
	c.Env = "minatar/freeway"
	if _, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner()}); err == nil || !strings.Contains(err.Error(), "planner") {
		t.Errorf("error %v, want one about the planner", err)
	}
}

// TestStudentStartsFromAnother: with a rate of almost nothing the weights stay
// those of the student that it started from.
func TestStudentStartsFromAnother(t *testing.T) {
	c := tiny(Conv, "fp32")
	dir := t.TempDir()
	if _, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: dir}, Teacher: Planner()}); err != nil {
		t.Fatal(err)
	}
	from, err := rl.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := from.Store.Get("fc1.weight").Clone()
	c = tiny(Conv, "w2a2")
	c.From, c.LR, c.Seed = "fp32", 1e-20, 7
	r, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner(), From: from})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.Agent.Store.Get("fc1.weight").Float32s(), start.Float32s()) {
		t.Error("the student does not start with the weights of the other")
	}
	if !slices.Equal(from.Store.Get("fc1.weight").Float32s(), start.Float32s()) {
		t.Error("the other's weights changed")
	}
	for want, change := range map[string]func(c *Config, a *rl.Agent){
		`parameter "conv1.weight" is`: func(c *Config, _ *rl.Agent) { c.Student.Width = 2 },
		`no parameter "fc1`:           func(_ *Config, a *rl.Agent) { a.Store = a.Store.Clone(); a.Store.Delete("fc1.weight") },
		"has actions":                 func(_ *Config, a *rl.Agent) { a.Info.Actions = a.Info.Actions[:2] },
	} {
		bad, a := c, *from
		change(&bad, &a)
		if _, err := Run(t.Context(), bad, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner(), From: &a}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestTargetsDivideTheTeacherAlone(t *testing.T) {
	q := []float32{1, 2, 4, 1000, 1000, -1000}
	pi, entropy := make([]float32, 6), make([]float32, 2)
	Targets(q, pi, entropy, 0.5)
	sum := math.Exp(-6) + math.Exp(-4) + 1
	want := []float64{math.Exp(-6) / sum, math.Exp(-4) / sum, 1 / sum, 0.5, 0.5, 0}
	var h [2]float64
	for i, p := range want {
		if math.Abs(float64(pi[i])-p) > 1e-6 {
			t.Errorf("pi[%d] = %g, want %g", i, pi[i], p)
		}
		if p > 0 {
			h[i/3] += p * math.Log(p)
		}
	}
	for r, w := range h {
		if math.Abs(float64(entropy[r])-w) > 1e-6 {
			t.Errorf("row %d: sum of pi ln pi is %g, want %g", r, entropy[r], w)
		}
	}
	Targets([]float32{1e30, -1e30, 0}, pi[:3], entropy[:1], 0.01)
	if pi[0] != 1 || entropy[0] != 0 {
		t.Errorf("extreme outputs give %v and %v", pi[:3], entropy[0])
	}
}

// TestLossesFollowTheirFormulas evaluates each loss and its gradient to z on
// the engine.
func TestLossesFollowTheirFormulas(t *testing.T) {
	const rows, actions, tau = 4, 3, 0.7
	r := rng.New(4)
	z, q := make([]float64, rows*actions), make([]float32, rows*actions)
	for i := range z {
		z[i], q[i] = float64(4*r.Float32()-2), 4*r.Float32()-2
	}
	e := newEngine(t, 1)
	for _, loss := range []Loss{KL, NLL, MSE} {
		g := graph.New()
		x := g.Input(rl.InputName, tensor.F32, 1, actions)
		g.Output(rl.LogitsName, g.Add(x, g.Param(graph.Param{Name: "b", Shape: []int{actions}, Role: graph.Bias})))
		store := tensor.NewStore()
		store.Put("b", tensor.New(tensor.F32, actions))
		g, err := lossGraph(g, rows, loss)
		if err != nil {
			t.Fatal(err)
		}
		grads, err := graph.Gradients(g, g.OutputNode("loss"), []*graph.Node{g.OutputNode(rl.LogitsName)})
		if err != nil {
			t.Fatal(err)
		}
		g.Output("dz", grads[0])
		p, err := e.Compile(g, store)
		if err != nil {
			t.Fatal(err)
		}
		pi, entropy := make([]float32, rows*actions), make([]float32, rows)
		switch loss {
		case KL:
			Targets(q, pi, entropy, tau)
		case NLL:
			copy(pi, q)
			oneHot(pi, entropy)
		case MSE:
			copy(pi, q)
		}
		for i, v := range z {
			p.Input(rl.InputName).Float32s()[i] = float32(v)
		}
		copy(p.Input(targetName).Float32s(), pi)
		if in := p.Input(entropyName); in != nil {
			copy(in.Float32s(), entropy)
		}
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		want, dz := lossOf(loss, z, pi, actions)
		for i, d := range dz {
			if got := float64(p.Output("dz").Float32s()[i]); math.Abs(got-d) > 1e-6 {
				t.Errorf("%s: gradient %d is %g, want %g", loss, i, got, d)
			}
		}
		if got := float64(p.Output("loss").Float32s()[0]); math.Abs(got-want) > 1e-5 {
			t.Errorf("%s is %g, want %g", loss, got, want)
		}
	}
}

// lossOf is the mean loss of rows of outputs z against targets, and its gradient.
func lossOf(loss Loss, z []float64, target []float32, actions int) (mean float64, dz []float64) {
	rows := float64(len(z) / actions)
	for at := 0; at < len(z); at += actions {
		var sum float64
		for _, v := range z[at : at+actions] {
			sum += math.Exp(v)
		}
		for k, v := range z[at : at+actions] {
			t := float64(target[at+k])
			d := math.Exp(v)/sum - t
			switch {
			case loss == MSE:
				mean += (v - t) * (v - t) / rows
				d = 2 * (v - t)
			case t > 0:
				mean += t * (math.Log(t) - v + math.Log(sum)) / rows
			}
			dz = append(dz, d/rows)
		}
	}
	return mean, dz
}

// TestCoreNetIsTheSpecifiedNetwork: layers, groups and core counts of section 4
// and 6 of the specification, for other sides and widths the fan-in.
func TestCoreNetIsTheSpecifiedNetwork(t *testing.T) {
	layers, err := corenet(4, 10, 10, 3, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := []layer{{"conv1", 32, 3, 1, 1, 0}, {"conv2", 64, 2, 2, 1, 0}, {"conv3", 128, 2, 2, 2, 1}, {"conv4", 256, 2, 1, 4, 2}, {"vote", 96, 1, 1, 2, 4}}
	if !slices.Equal(layers, want) {
		t.Errorf("board %v, want %v", layers, want)
	}
	if layers, err = corenet(4, 84, 84, 18, 1); err != nil {
		t.Fatal(err)
	}
	want = []layer{
		{"conv1", 32, 4, 4, 1, 0}, {"conv2", 64, 2, 2, 1, 0}, {"conv3", 128, 2, 2, 2, 1}, {"conv4", 256, 2, 1, 4, 2},
		{"conv5", 512, 2, 2, 8, 4}, {"conv6", 512, 1, 1, 4, 8}, {"vote", 144, 2, 1, 16, 4},
	}
	if !slices.Equal(layers, want) {
		t.Errorf("screen %v, want %v", layers, want)
	}
	for _, side := range []int{4, 7, 10, 16, 64, 80, 84, 96} {
		for _, width := range []int{1, 2, 3} {
			layers, err := corenet(6, side, side, 6, width)
			if err != nil {
				t.Errorf("side %d, width %d: %v", side, width, err)
				continue
			}
			c, s := 6, side
			for _, l := range layers {
				if f := l.kernel * l.kernel * c / l.groups; f > neuro.MaxFanIn {
					t.Errorf("side %d, width %d, %s: fan-in %d", side, width, l.name, f)
				}
				c, s = l.out, (s-l.kernel)/l.stride+1
			}
			if s != 1 || c != 96 {
				t.Errorf("side %d, width %d ends with %d channels of %d x %d", side, width, c, s, s)
			}
		}
	}
	if layers, err := corenet(16, 10, 10, 3, 1); err != nil || layers[0].groups != 2 {
		t.Errorf("16 channels: %v, error %v; want 2 groups", layers, err)
	}
	if _, err := corenet(17, 10, 10, 3, 1); !errors.Is(err, neuro.ErrLimit) {
		t.Errorf("17 channels do not divide: error %v, want ErrLimit", err)
	}
	if _, err := corenet(4, 30, 30, 3, 1); err == nil {
		t.Error("a side of 30 was accepted")
	}
}

// TestRecipesFitTheirPlayers: what plays on cores is greedy.
func TestRecipesFitTheirPlayers(t *testing.T) {
	for _, c := range []struct {
		env, arch, bits string
		mode            rl.ActMode
		envs            int
	}{
		{"ale/pong", Conv, "w2a2", BestMode, 16}, {"ale/pong", Conv, Ternary, BestMode, 16}, {"ale/pong", CoreNet, "w4a4", BestMode, 16},
		{"ale/pong", CoreNet, Ternary, rl.Greedy, 16}, {"minatar/breakout", Conv, "w2a2", rl.Greedy, 64},
	} {
		got := DefaultConfig(c.env, DefaultStudent(c.arch, c.bits))
		if got.Mode != c.mode || got.Envs != c.envs || got.Validate() != nil {
			t.Errorf("%s, %s %s: mode %q, %d games, error %v; want %q, %d", c.env, c.arch, c.bits, got.Mode, got.Envs, got.Validate(), c.mode, c.envs)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for want, change := range map[string]func(c *Config){
		"student":  func(c *Config) { c.Student.Arch = "mlp" },
		"bits":     func(c *Config) { c.Student.Bits = "w1a1" },
		"loss":     func(c *Config) { c.Loss = "l1" },
		"mode":     func(c *Config) { c.Mode = "asleep" },
		"tau":      func(c *Config) { c.Tau = math.NaN() },
		"mix":      func(c *Config) { c.Mix = 2 },
		"ring":     func(c *Config) { c.Start = c.Ring + 1 },
		"updates":  func(c *Config) { c.Updates = 0 },
		"lr":       func(c *Config) { c.LR = 0 },
		"episodes": func(c *Config) { c.TestEpisodes = 0 },
		"unknown":  func(c *Config) { c.Env = "minatar/go" },
	} {
		c := tiny(Conv, "fp32")
		change(&c)
		_, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one about %s", err, want)
		}
	}
}
