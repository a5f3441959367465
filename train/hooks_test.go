package train

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"lowbit/data"
	"lowbit/graph"
	"lowbit/tensor"
)

func TestStudentLearnsFromTeacherAlone(t *testing.T) {
	c := tinyConfig()
	c.Epochs = 12
	tj := job(t, 0, netOptions{})
	if r := mustRun(t, c, tj); r.Accuracy < 0.95 {
		t.Fatalf("teacher: %+v", r)
	}
	before := storeSHA(tj.Store, nil)
	c.Loss = Loss{Distill: 1, Temperature: 2}
	c.Seed++
	j := job(t, 0, netOptions{quantized: true})
	if _, err := Run(context.Background(), c, j); err == nil {
		t.Error("distillation without a teacher is accepted")
	}
	j.Teacher = &Teacher{Name: "tiny", Graph: tj.Graph, Store: tj.Store}
	if r := mustRun(t, c, j); r.Accuracy < 0.95 || r.TrainLoss > 0.5 {
		t.Errorf("student: %+v, want an accuracy of at least 0.95", r)
	}
	if storeSHA(tj.Store, nil) != before {
		t.Error("the teacher changed")
	}
	c.Loss = Loss{CrossEntropy: 1}
	if _, err := Run(context.Background(), c, j); err == nil {
		t.Error("a teacher without distillation is accepted")
	}
}

func TestFrozenNormKeepsTheStatistics(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{})
	c.FrozenNorm, c.Schedule.LR = true, 0.01
	mustRun(t, c, j)
	for i := range 6 {
		if m, v := j.Store.Get("bn.running_mean").Float32s()[i], j.Store.Get("bn.running_var").Float32s()[i]; m != 0 || v != 1 {
			t.Errorf("channel %d: mean %g, variance %g; want 0 and 1", i, m, v)
		}
	}
	c.FrozenNorm = false
	mustRun(t, c, j)
	if j.Store.Get("bn.running_mean").Float32s()[0] == 0 {
		t.Error("the statistics do not move")
	}
}

func TestHooksSeeAndChangeTheRun(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{})
	c.Epochs, c.DropLast = 1, true
	var losses []float64
	batches, changed := 0, 0
	j.Hooks = Hooks{
		Taps: []string{"conv"}, GradTaps: []string{"relu", "fc.weight"},
		Loss: func(g *graph.Graph, loss *graph.Node) (*graph.Node, error) {
			w := g.ParamNode("fc.weight")
			g.Output("penalty", g.Sum(g.Mul(w, w)))
			return g.Add(loss, g.OutputNode("penalty")), nil
		},
		Batch: func(b *data.Batch) error {
			batches++
			return nil
		},
		AfterGradients: func(s StepInfo) error {
			clear(s.Plan.Output("grad:conv.weight").Float32s())
			return nil
		},
		AfterStep: func(s StepInfo) error {
			if s.Step != len(losses) || s.LR <= 0 {
				t.Errorf("step info %+v, want step %d", s, len(losses))
			}
			losses = append(losses, s.Loss)
			if tap := s.Plan.Output("tap:conv"); !tap.Shape().Equal(tensor.Shape{16, 6, 8, 8}) {
				t.Errorf("tap %v", tap)
			}
			if d := s.Plan.Output("grad:relu"); !d.Shape().Equal(tensor.Shape{16, 6, 8, 8}) || d.Float32s()[0] == 0 {
				t.Errorf("gradient tap %v", d)
			}
			if s.Plan.Output("penalty").Float32s()[0] > 0 {
				changed++
			}
			return nil
		},
	}
	g := j.Graph
	if err := graph.InitParams(g, j.Store, c.Seed); err != nil {
		t.Fatal(err)
	}
	c.Optim.Groups, c.Optim.Momentum = nil, 0 // no decay: a zero gradient moves nothing
	before := j.Store.Get("conv.weight").Clone()
	mustRun(t, c, j)
	if batches != 7 || len(losses) != 7 || changed != 7 {
		t.Errorf("%d batches, %d losses, %d penalties; want 7 = 120/16", batches, len(losses), changed)
	}
	if string(before.Bytes()) != string(j.Store.Get("conv.weight").Bytes()) {
		t.Error("the weights moved along a gradient that a hook cleared")
	}
	stop := errors.New("enough")
	j.Hooks = Hooks{AfterStep: func(StepInfo) error { return stop }}
	if r, err := Run(context.Background(), c, j); !errors.Is(err, stop) || r.Steps != 1 || r.Complete {
		t.Errorf("a hook's error: %v after %d steps", err, r.Steps)
	}
}

func TestNoEpochsEvaluates(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{})
	c.Epochs = 0
	j.Out = t.TempDir()
	r := mustRun(t, c, j)
	if r.Examples != 90 || r.Steps != 0 || !r.Complete || r.Weights != lastName {
		t.Errorf("%+v", r)
	}
}

func TestConfigValidateRejects(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"epochs -1":         func(c *Config) { c.Epochs = -1 },
		"batch 0":           func(c *Config) { c.Batch = 0 },
		"hold out -1":       func(c *Config) { c.HoldOut = -1 },
		"best needs":        func(c *Config) { c.Best = true },
		"loss weights":      func(c *Config) { c.Loss = Loss{} },
		"label smoothing 1": func(c *Config) { c.Loss.Smooth = 1 },
		"temperature 0":     func(c *Config) { c.Loss.Distill = 1 },
		"optim: ":           func(c *Config) { c.Optim.Kind = "" },
		"schedule":          func(c *Config) { c.Schedule.LR = math.NaN() },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}
