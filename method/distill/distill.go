// Package distill turns a policy into a network of few bits: a teacher labels
// the states of games, a student learns its choices (McKinstry et al., arXiv
// 1809.09260; losses of Rusu et al., arXiv 1511.06295).
//
// Students are float networks, networks with learned quantizer steps (method/lsq)
// at 8 to 2 bits, and networks of binary neurons with float or ternary weights.
// Fold makes a ternary student a chain of integer layers for package neuro.
package distill

import (
	"fmt"
	"math"
	"strings"

	"lowbit/rl"
)

// Loss names what the student minimises.
type Loss string

// Losses, with q the teacher's outputs, z the student's and pi =
// softmax((q - max q)/Tau); Tau divides the teacher alone. KL: sum of
// pi*ln(pi/softmax(z)). NLL: -ln softmax(z) at the teacher's best action. MSE:
// the squared distance of z to q.
const (
	KL  Loss = "kl"
	NLL Loss = "nll"
	MSE Loss = "mse"
)

// BestMode stands for the way to act that plays best on held-out seeds.
const BestMode rl.ActMode = "best"

// Config is a distillation.
type Config struct {
	// Env is the environment, Preset the Atari protocol of its frames, MaxSteps
	// the decisions after which a training episode is cut.
	Env      string `json:"env"`
	Preset   string `json:"preset,omitempty"`
	MaxSteps int    `json:"max_steps,omitempty"`
	// Student is what learns, View what it sees; the zero View is chosen for it.
	Student Student `json:"student"`
	View    rl.View `json:"view"`
	// From names the agent whose weights the student starts with (Job.From).
	From string `json:"from,omitempty"`
	// Mode is how it acts; "" is the teacher's way. BestMode learns in the teacher's
	// way and, at the end, takes what the kept weights play best with on held-out
	// seeds: drawing at one of several temperatures, or the best action.
	Mode rl.ActMode `json:"mode"`

	Loss Loss `json:"loss"`
	// Tau divides the teacher's outputs; 0 means the teacher's own: 0.01 for
	// Q-values, 0.1 for a planner's choice, 1 for a policy.
	Tau float64 `json:"tau"`
	// Mix is the share of the games that the student plays, labelled by the
	// teacher all the same; 0 is Rusu et al.'s teacher-driven data.
	Mix float64 `json:"mix"`
	// Epsilon is the chance of a random action in both.
	Epsilon float64 `json:"epsilon"`

	// Envs games in lock-step make Collect decisions each between two updates of
	// Batch states; Ring states are kept, Start before the first update.
	Envs    int `json:"envs"`
	Collect int `json:"collect"`
	Batch   int `json:"batch"`
	Ring    int `json:"ring"`
	Start   int `json:"start"`
	// HoldOut is the share of the episodes whose states are never trained on and
	// serve to measure agreement.
	HoldOut float64 `json:"hold_out"`

	// Updates in all, Segment between evaluations and checkpoints; all games
	// begin anew with each segment, so that a resumed run is the same run.
	Updates int `json:"updates"`
	Segment int `json:"segment"`
	// Float is the share of the updates, whole segments, that a student with
	// learned steps makes in full precision before its quantizers are put in; with
	// 0 they are put in before the first update.
	Float float64 `json:"float"`
	// LR is Adam's first rate, falling along half a cosine to FinalLR times LR.
	LR      float64 `json:"lr"`
	FinalLR float64 `json:"final_lr"`
	Seed    uint64  `json:"seed"`

	// EvalEpisodes, each cut after EvalSteps decisions, choose the best weights
	// on held-out seeds. TestEpisodes, cut after TestSteps, measure student, teacher
	// and random play at the end on other seeds still. 0 steps cut nothing.
	EvalEpisodes int `json:"eval_episodes"`
	EvalSteps    int `json:"eval_steps"`
	TestEpisodes int `json:"test_episodes"`
	TestSteps    int `json:"test_steps"`
}

// DefaultConfig is the recipe for an environment and a student.
func DefaultConfig(env string, s Student) Config {
	c := Config{
		Env: env, Student: s, Mode: rl.Greedy, Loss: KL, Mix: 0.5, Epsilon: 0.02,
		Envs: 64, Collect: 2, Batch: 256, Ring: 1 << 16, Start: 8192, HoldOut: 1. / 16,
		Updates: 10000, Segment: 1000, Float: 0.4, LR: 2e-3, FinalLR: 0.01, Seed: 1,
		EvalEpisodes: 64, EvalSteps: 1000, TestEpisodes: 128, TestSteps: 1000,
	}
	if _, spiking, _ := s.plan(); spiking {
		c.Float, c.LR, c.Updates, c.Segment = 0, 0.012, 20000, 1000
	}
	if strings.HasPrefix(env, "ale/") {
		c.screens()
	}
	return c
}

// screens changes what Atari games need otherwise: each of few games plays 4,000
// decisions a segment, so that it gets far; episodes that count last five minutes;
// the student learns to draw its actions as the teacher does, and draws them at a
// lower temperature or takes its best ones in the end if it plays better so; on
// cores, which only count votes, it always takes those.
func (c *Config) screens() {
	c.Envs, c.Collect = 16, 4
	if _, spiking, _ := c.Student.plan(); !spiking || c.Student.Arch != CoreNet {
		c.Mode = BestMode
	}
	c.EvalEpisodes, c.EvalSteps, c.TestEpisodes, c.TestSteps = 16, 4500, 30, 4500
	if c.LR < 0.01 {
		c.LR, c.Updates, c.Segment, c.Collect = 1e-3, 8000, 2000, 2
		c.Batch, c.Ring, c.Start = 128, 40000, 4096 // a screen has 7,056 bytes
	}
}

// DefaultStudent has the hysteresis of the specification.
func DefaultStudent(arch, bits string) Student {
	return Student{Arch: arch, Bits: bits, Width: 1, Hysteresis: 0.1}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	if err := c.Student.Validate(); err != nil {
		return err
	}
	share := func(v float64) bool { return v >= 0 && v <= 1 }
	switch {
	case c.Loss != KL && c.Loss != NLL && c.Loss != MSE:
		return fmt.Errorf("distill: loss %q, want %s, %s or %s", c.Loss, KL, NLL, MSE)
	case c.Mode != "" && c.Mode != BestMode && c.Mode != rl.Greedy && c.Mode != rl.Sample:
		return fmt.Errorf("distill: mode %q, want %s, %s or %s", c.Mode, rl.Greedy, rl.Sample, BestMode)
	case !(c.Tau >= 0) || math.IsInf(c.Tau, 0):
		return fmt.Errorf("distill: tau %g, want above 0", c.Tau)
	case !share(c.Mix) || !share(c.Epsilon) || !(c.HoldOut >= 0 && c.HoldOut < 1) || !share(c.Float):
		return fmt.Errorf("distill: mix %g, epsilon %g, hold out %g, float %g outside 0..1", c.Mix, c.Epsilon, c.HoldOut, c.Float)
	case c.Envs < 1 || c.Envs > rl.MaxEnvs || c.Collect < 1 || c.Batch < 1 || c.MaxSteps < 0:
		return fmt.Errorf("distill: %d games of %d steps, %d decisions for %d states: want at least 1", c.Envs, c.MaxSteps, c.Collect, c.Batch)
	case c.Ring < c.Envs || c.Start < 1 || c.Start > c.Ring:
		return fmt.Errorf("distill: ring of %d states, start at %d: want at least one a game, start within the ring", c.Ring, c.Start)
	case c.Updates < 1 || c.Segment < 1:
		return fmt.Errorf("distill: %d updates in segments of %d, want at least 1", c.Updates, c.Segment)
	case !(c.LR > 0) || math.IsInf(c.LR, 0) || !share(c.FinalLR):
		return fmt.Errorf("distill: lr %g, final %g: want above 0, and 0..1", c.LR, c.FinalLR)
	case c.EvalEpisodes < 1 || c.TestEpisodes < 1 || c.EvalSteps < 0 || c.TestSteps < 0:
		return fmt.Errorf("distill: %d and %d episodes of %d and %d steps, want at least 1", c.EvalEpisodes, c.TestEpisodes, c.EvalSteps, c.TestSteps)
	}
	return nil
}

// rate is the learning rate of an update, counted from 0.
func (c Config) rate(update int) float64 {
	part := float64(update) / float64(c.Updates)
	return c.LR * (c.FinalLR + (1-c.FinalLR)*(1+math.Cos(math.Pi*part))/2)
}

// learnsSteps reports whether the student gets quantizers of learned steps.
func (c Config) learnsSteps() bool {
	plan, spiking, _ := c.Student.plan()
	return !spiking && (plan.Default.Weight != 0 || plan.Default.Act != 0)
}

// floatUpdates is the number of updates before the quantizers: whole segments.
func (c Config) floatUpdates() int {
	n := int(math.Ceil(c.Float * float64(c.Updates) / float64(c.Segment)))
	return min(n*c.Segment, c.Updates)
}

// view chooses what a student sees of an environment.
func (c Config) view(s rl.EnvSpec) rl.View {
	if c.View != (rl.View{}) {
		return c.View
	}
	v := rl.PlainView(s)
	if s.Channels != nil {
		return v
	}
	if s.C == 1 { // one screen tells no motion
		v.Stack = 4
	}
	if _, spiking, _ := c.Student.plan(); spiking && c.Student.Arch == CoreNet {
		v.Code, v.Levels, v.Stack = rl.Change, 2, 1
		if s.C == 1 {
			v.Stack = 2
		}
	}
	return v
}
