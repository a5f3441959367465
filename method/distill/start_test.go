package distill

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/rl"
	"lowbit/tensor"
)

// stranger is an agent with the layers of a board's student under names of its
// own, and a critic; act is its activation.
func stranger(t *testing.T, act func(g *graph.Graph, x *graph.Node) *graph.Node) *rl.Agent {
	t.Helper()
	v := rl.View{C: 4, H: 10, W: 10, Code: rl.Planes}
	g := graph.New()
	x := nn.Input(g, 1, 4, 10, 10)
	x = act(g, nn.Conv2d(g, "eye", x, nn.Conv{Out: 16, Kernel: 3, Bias: true, Init: nn.KaimingFanIn}))
	x = act(g, nn.Linear(g, "mind", g.Flatten(x), nn.Dense{Out: 128, Init: nn.KaimingFanIn, BiasInit: nn.Const(0.1)}))
	nn.Logits(g, nn.Linear(g, "hand", x, nn.Dense{Out: 3, BiasInit: nn.Const(0)}))
	g.Output(rl.ValueName, nn.Linear(g, "critic", x, nn.Dense{Out: 1, BiasInit: nn.Const(0)}))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	a := &rl.Agent{Graph: g, Store: tensor.NewStore(), Info: rl.AgentInfo{Kind: "a3c", View: v, Mode: rl.Sample, Temperature: 1, Actions: []string{"none", "left", "right"}}}
	if err := graph.InitParams(g, a.Store, 5); err != nil {
		t.Fatal(err)
	}
	return a
}

func relu(g *graph.Graph, x *graph.Node) *graph.Node { return g.Relu(x) }

// TestStudentStartsFromItsTeacher: layers are found by their place where the
// names differ, so that a student in full precision has no loss at all.
func TestStudentStartsFromItsTeacher(t *testing.T) {
	a := stranger(t, relu)
	c := tiny(Conv, "fp32")
	c.From, c.LR, c.Mode = "teacher", 1e-20, ""
	var loss []float64
	job := rl.Job{Engine: newEngine(t, 1), Progress: func(m rl.Metric) {
		if m.Kind == "train" {
			loss = append(loss, m.Loss)
		}
	}}
	r, err := Run(t.Context(), c, Job{Job: job, Teacher: Source{Name: "a", Agent: a}, From: a})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range loss {
		if math.Abs(v) > 1e-5 {
			t.Errorf("loss %g of a student with its teacher's weights", v)
		}
	}
	if r.Agreement != 1 || len(loss) == 0 {
		t.Errorf("agreement %g after %d segments", r.Agreement, len(loss))
	}
	for ours, theirs := range map[string]string{"conv1.weight": "eye.weight", "fc1.bias": "mind.bias", "policy.weight": "hand.weight"} {
		if !slices.Equal(r.Agent.Store.Get(ours).Float32s(), a.Store.Get(theirs).Float32s()) {
			t.Errorf("%s is not %s", ours, theirs)
		}
	}
	for want, from := range map[string]*rl.Agent{
		"want unary": stranger(t, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.ELU(x) }),
		"steps":      stranger(t, func(g *graph.Graph, x *graph.Node) *graph.Node { return g.Relu(g.Relu(x)) }),
	} {
		if _, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Source{Agent: a}, From: from}); err == nil || !strings.Contains(err.Error(), "same layers") {
			t.Errorf("error %v, want one that asks for the same layers (%s)", err, want)
		}
	}
}

// TestQuantizersFromTheFirstUpdate: without updates in full precision all
// weights that are kept are of few bits, and a resumed run is the same run.
func TestQuantizersFromTheFirstUpdate(t *testing.T) {
	a := stranger(t, relu)
	c := tiny(Conv, "w2a2")
	c.From, c.Float, c.Mode = "teacher", 0, BestMode
	one, two := t.TempDir(), t.TempDir()
	r, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: one}, Teacher: Source{Name: "a", Agent: a}, From: a})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	job := rl.Job{Engine: newEngine(t, 1), Dir: two, Progress: func(m rl.Metric) {
		if m.Kind == "eval" {
			cancel()
		}
	}}
	if _, err := Run(ctx, c, Job{Job: job, Teacher: Source{Name: "a", Agent: a}, From: a}); !errors.Is(err, rl.ErrInterrupted) {
		t.Fatalf("error %v, want ErrInterrupted", err)
	}
	job = rl.Job{Engine: newEngine(t, 1), Dir: two, Resume: true}
	if _, err := Run(t.Context(), c, Job{Job: job, Teacher: Source{Name: "a", Agent: a}, From: a}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"last.safetensors", "best.safetensors", "checkpoint-003.safetensors"} {
		sameFile(t, one, two, f)
	}
	if r.Agent.Graph.Find("fc1.weight_quant") == nil || r.Best.Updates < c.Segment {
		t.Errorf("best weights after %d updates, without quantizers", r.Best.Updates)
	}
}

// TestBestModeIsTheBetterOne: both modes are measured on held-out seeds, and the
// weights file says which the student takes.
func TestBestModeIsTheBetterOne(t *testing.T) {
	a := stranger(t, relu)
	c := tiny(Conv, "w4a4")
	c.From, c.Float, c.Mode = "teacher", 0, BestMode
	dir := t.TempDir()
	r, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: dir}, Teacher: Source{Name: "a", Agent: a}, From: a})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.HeldOut) != 4 {
		t.Fatalf("held out %+v, want greedy and three temperatures", r.HeldOut)
	}
	want, different, ways := r.HeldOut[0], false, map[[2]any]bool{}
	for _, h := range r.HeldOut {
		different = different || h.Return != want.Return
		if ways[[2]any{h.Mode, h.Temperature}] {
			t.Errorf("%q at %g was tried twice", h.Mode, h.Temperature)
		}
		ways[[2]any{h.Mode, h.Temperature}] = true
		if h.Return > want.Return {
			want = h
		}
	}
	stored, err := rl.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []rl.AgentInfo{r.Agent.Info, stored.Info} {
		if i.Mode != want.Mode || i.Temperature != want.Temperature {
			t.Errorf("held out %+v, but it acts by %q at %g", r.HeldOut, i.Mode, i.Temperature)
		}
	}
	if r.HeldOut[0].Return != r.Best.Return || r.HeldOut[0].Temperature != 1 || !different {
		t.Errorf("held out %+v, best %v", r.HeldOut, r.Best.Return)
	}
	again, err := Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: dir, Resume: true}, Teacher: Source{Name: "a", Agent: a}, From: a})
	if err != nil || !slices.Equal(again.HeldOut, r.HeldOut) || again.Student.Mean != r.Student.Mean {
		t.Errorf("asked again: held out %+v, error %v", again.HeldOut, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, c, Job{Job: rl.Job{Engine: newEngine(t, 1), Dir: dir, Resume: true}, Teacher: Source{Name: "a", Agent: a}, From: a}); !errors.Is(err, rl.ErrInterrupted) {
		t.Errorf("error %v of measurements at the end, want ErrInterrupted", err)
	}
	c.Mode = ""
	if r, err = Run(t.Context(), c, Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Source{Name: "a", Agent: a}, From: a}); err != nil || r.Agent.Info.Mode != rl.Sample || len(r.HeldOut) != 1 {
		t.Errorf("the teacher's way: %+v, error %v", r, err)
	}
}

// TestTuneStepTakesTheLowestLoss, of a loss with its lowest point at a quarter of
// the first step; and it leaves a step alone that is best as it is.
func TestTuneStepTakesTheLowestLoss(t *testing.T) {
	for _, want := range []float32{0.25, 1, 2} {
		step := []float32{1, 1}
		loss := func() (float32, error) { return (step[0] - want) * (step[1] - want), nil }
		first, _ := loss()
		best, err := tuneStep(step, first, loss)
		if err != nil || step[0] != want || step[1] != want || best != 0 {
			t.Errorf("step %v of loss %g, want %g, error %v", step, best, want, err)
		}
	}
	step := []float32{1}
	fails := func() (float32, error) { return 0, errors.New("no") }
	if _, err := tuneStep(step, 1, fails); err == nil {
		t.Error("an error was lost")
	}
}

// TestInputStepStays: the step of the boards' quantizer is no part of the
// training, those of the other layers are.
func TestInputStepStays(t *testing.T) {
	c := tiny(Conv, "w4a4")
	c.Float = 0
	d := &distiller{Config: c, job: Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner()}}
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	defer d.env.Close()
	var err error
	if d.run, d.at, err = d.job.Open("distill", nil, d.student); err != nil {
		t.Fatal(err)
	}
	if err := d.compile(); err != nil {
		t.Fatal(err)
	}
	if err := d.segment(t.Context()); err != nil {
		t.Fatal(err)
	}
	trained := func(name string) bool {
		p := d.student.Graph.Find(name).Op().(graph.Param)
		o := d.optimizer()
		return o.Trains(p)
	}
	if trained("conv1.input_step") || !trained("fc1.input_step") || !trained("conv1.weight_step") || !trained("conv1.weight") {
		t.Error("what learns is not all but the step of the input")
	}
	if d.stepper.Forward.Output("grad:conv1.input_step") != nil {
		t.Error("a gradient of the input's step is computed")
	}
}
