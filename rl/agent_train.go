package rl

import (
	"context"
	"fmt"
	"math"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// Learning is what DQN and PPO have in common.
type Learning struct {
	// Env is the environment's name, Envs the games in lock-step, MaxSteps the
	// decisions after which an episode is cut (0: the game's own).
	Env      string `json:"env"`
	Envs     int    `json:"envs"`
	MaxSteps int    `json:"max_steps,omitempty"`
	// Steps is the number of decisions of all games together.
	Steps int64 `json:"steps"`
	// Segment is the number of decisions between checkpoints. All games begin
	// anew with each segment, so that a resumed run is the same run: the state
	// of a game is never stored.
	Segment int64  `json:"segment"`
	Seed    uint64 `json:"seed"`
	// Gamma discounts rewards by the decision.
	Gamma float64   `json:"gamma"`
	Net   NetConfig `json:"net"`
	// LR is Adam's first learning rate; it falls linearly to 0.
	LR       float64 `json:"lr"`
	ClipNorm float64 `json:"clip_norm"`
	// EvalEpisodes are played after each segment on held-out seeds, each cut
	// after EvalSteps decisions; the best mean return chooses the weights.
	EvalEpisodes int `json:"eval_episodes"`
	EvalSteps    int `json:"eval_steps"`
}

// Validate returns an error that names the first setting that makes no sense.
func (c Learning) Validate() error {
	switch {
	case c.Envs < 1 || c.Envs > MaxEnvs || c.MaxSteps < 0:
		return fmt.Errorf("rl: %d games of at most %d steps, want 1..%d and not negative", c.Envs, c.MaxSteps, MaxEnvs)
	case c.Steps < 1 || c.Segment < int64(c.Envs):
		return fmt.Errorf("rl: %d steps in segments of %d, want at least 1 and the number of games", c.Steps, c.Segment)
	case !(c.Gamma >= 0 && c.Gamma < 1):
		return fmt.Errorf("rl: gamma %g outside [0, 1)", c.Gamma)
	case !(c.LR > 0) || math.IsInf(c.LR, 0) || !(c.ClipNorm >= 0):
		return fmt.Errorf("rl: lr %g, clip norm %g: want a positive rate", c.LR, c.ClipNorm)
	case c.EvalEpisodes < 1 || c.EvalSteps < 0:
		return fmt.Errorf("rl: evaluation of %d episodes of %d steps, want at least 1", c.EvalEpisodes, c.EvalSteps)
	}
	return c.Net.Validate()
}

// Seeds of a run's parts are kept apart.
const (
	evalSeedDomain    = 0x6576616c
	segmentSeedDomain = 0x7365676d
)

// learner is one training.
type learner struct {
	base  Learning
	job   Job
	run   *Run
	agent *Agent
	env   VecEnv
	spec  EnvSpec
	at    Progress
	best  *tensor.Store

	actions []int32
	viewer  *Viewer
	stepper *train.Stepper
	optim   optim.Config

	obs         []byte
	act         []int32
	rew         []float32
	done, trunc []bool
	fresh       []bool

	// since the last report
	losses  float64
	count   int
	ended   []Episode
	entropy float64
}

// newLearner opens the environment and builds the agent.
func newLearner(job Job, c Learning, kind string, critic bool) (*learner, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	env, err := openBits(c.Env, c.Envs, c.MaxSteps)
	if err != nil {
		return nil, err
	}
	l := &learner{base: c, job: job, env: env, spec: env.Spec()}
	n := c.Envs
	l.obs = make([]byte, n*l.spec.ObsBytes())
	l.act, l.rew = make([]int32, n), make([]float32, n)
	l.done, l.trunc, l.fresh = make([]bool, n), make([]bool, n), make([]bool, n)
	mode := Greedy
	if critic {
		mode = Sample
	}
	l.agent = &Agent{Store: tensor.NewStore(), Info: AgentInfo{
		Kind: kind, Env: c.Env, Actions: minimalActions(l.spec), View: PlainView(l.spec), Mode: mode,
	}}
	if info, ok := AtariInfoOf(env); ok {
		l.agent.Info.Preset = info.Preset.Name
	}
	if l.agent.Graph, err = BuildNet(l.agent.Info.View, len(l.agent.Info.Actions), c.Net, critic); err == nil {
		err = graph.InitParams(l.agent.Graph, l.agent.Store, c.Seed)
	}
	if err == nil {
		l.viewer, err = NewViewer(l.agent.Info.View, l.spec)
	}
	if err == nil {
		l.actions, err = l.agent.actionMap(l.spec)
	}
	if err != nil {
		env.Close()
		return nil, err
	}
	l.optim = optim.DefaultConfig(optim.Adam, 0)
	l.optim.ClipNorm = c.ClipNorm
	l.optim.Eps = 1e-5
	return l, nil
}

// openBits opens an environment with packed bits where it has them.
func openBits(name string, envs, maxSteps int) (VecEnv, error) {
	o := Options{Envs: envs, MaxSteps: maxSteps}
	if len(name) > 8 && name[:8] == "minatar/" {
		o.Format = Bits
	}
	return New(name, o)
}

// begin starts the games of the segment that comes next.
func (l *learner) begin() error {
	for i := range l.fresh {
		l.fresh[i] = true
	}
	return l.env.Reset(segmentSeed(l.base.Seed, l.at.Epoch), l.obs)
}

// play makes one decision of every game with the actions l.act.
func (l *learner) play() error {
	if err := l.env.Step(l.act, l.obs, l.rew, l.done, l.trunc); err != nil {
		return err
	}
	for i := range l.fresh {
		l.fresh[i] = l.done[i] || l.trunc[i]
	}
	for _, e := range l.env.Finished() {
		e.Final = nil
		l.ended = append(l.ended, e)
	}
	l.at.Steps += int64(l.base.Envs)
	return nil
}

// rate is the learning rate now.
func (l *learner) rate() float64 {
	return l.base.LR * max(0, 1-float64(l.at.Steps)/float64(l.base.Steps))
}

// optimise applies one update and notes its loss.
func (l *learner) optimise(s *train.Stepper) error {
	loss, err := s.Gradient()
	if err != nil {
		return fmt.Errorf("rl: update %d: %w", l.at.Total+1, err)
	}
	l.at.Total++
	l.losses += loss
	l.count++
	return s.Apply(l.rate(), l.at.Total)
}

// report writes a line about the segment.
func (l *learner) report() error {
	m := Metric{Kind: "train", Step: l.at.Steps, Updates: l.at.Total, LR: l.rate(), Episodes: len(l.ended)}
	if l.count > 0 {
		m.Loss, m.Entropy = l.losses/float64(l.count), l.entropy/float64(l.count)
	}
	if len(l.ended) > 0 {
		s := Summarize(l.ended)
		m.Return, m.ReturnSE = &s.Mean, s.SE
	}
	l.losses, l.entropy, l.count, l.ended = 0, 0, 0, l.ended[:0]
	return l.run.Report(m)
}

// evaluate plays held-out games with the current weights and keeps the best.
func (l *learner) evaluate() error {
	s, err := EvaluateAgent(l.job.Engine, l.agent, EvalOptions{
		Env: l.base.Env, Episodes: l.base.EvalEpisodes, MaxSteps: l.base.EvalSteps, Seed: l.base.Seed,
	})
	if err != nil {
		return err
	}
	l.at.Last = Score{Return: s.Mean, SE: s.SE, Episodes: s.Episodes, Updates: l.at.Total}
	if !l.at.Started || s.Mean > l.at.Best.Return {
		l.at.Best, l.at.Started = l.at.Last, true
		if l.best, err = Parameters(l.agent.Graph, l.agent.Store); err != nil {
			return err
		}
		if err := l.run.Weights(true, l.best, l.at); err != nil {
			return err
		}
	}
	return l.run.Report(Metric{Kind: "eval", Step: l.at.Steps, Updates: l.at.Total, Return: &s.Mean, ReturnSE: s.SE, Episodes: s.Episodes})
}

// segments runs the training: body makes l.Segment decisions.
func (l *learner) segments(ctx context.Context, body func(ctx context.Context) error) (Result, error) {
	for l.at.Steps < l.base.Steps {
		if err := l.begin(); err != nil {
			return Result{}, err
		}
		if err := body(ctx); err != nil {
			return Result{}, err
		}
		l.at.Epoch++
		if err := l.report(); err != nil {
			return Result{}, err
		}
		if err := l.evaluate(); err != nil {
			return Result{}, err
		}
		if err := l.run.Checkpoint(l.at); err != nil {
			return Result{}, err
		}
	}
	return l.finish()
}

func (l *learner) finish() (Result, error) {
	if err := l.run.Weights(false, l.agent.Store, l.at); err != nil {
		return Result{}, err
	}
	if err := l.run.Finish(l.at); err != nil {
		return Result{}, err
	}
	if l.best == nil { // chosen by an earlier session
		a, err := OpenRun(l.job.Dir)
		if err != nil {
			return Result{}, err
		}
		l.best = a.Store
	}
	a := &Agent{Info: l.agent.Info, Graph: l.agent.Graph, Store: l.best}
	return Result{
		Agent: a, Best: l.at.Best, Last: l.at.Last, Updates: l.at.Total, Steps: l.at.Steps,
		Seconds: l.run.Seconds(), Dir: l.job.Dir,
	}, nil
}

// interrupted reports the end of ctx. The segment in progress is lost; the last
// checkpoint stands.
func interrupted(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("rl: %w", ErrInterrupted)
	}
	return nil
}

// segmentSeed is the seed of a segment's games.
func segmentSeed(seed uint64, segment int) uint64 {
	return mix(seed, segmentSeedDomain, uint64(segment))
}

// EvalOptions say how an agent is measured.
type EvalOptions struct {
	Env      string
	Envs     int // games in lock-step; 0: as many as episodes, at most 64
	Episodes int
	MaxSteps int // decisions before an episode is cut
	Seed     uint64
	Mode     ActMode // "": the agent's own
	Epsilon  float64
	Atari    *AtariOptions
}

// Open opens the environment of an evaluation; a's preset is used where Atari
// does not say otherwise. a may be nil.
func (o EvalOptions) Open(a *Agent) (VecEnv, error) {
	n := o.Envs
	if n == 0 {
		n = min(o.Episodes, 64)
	}
	opt := Options{Envs: n, MaxSteps: o.MaxSteps, Atari: o.Atari}
	if len(o.Env) > 8 && o.Env[:8] == "minatar/" {
		opt.Format = Bits
	} else if opt.Atari == nil && a != nil && a.Info.Preset != "" {
		d := DefaultAtari()
		d.Preset = a.Info.Preset
		opt.Atari = &d
	}
	return New(o.Env, opt)
}

// EvalSeed is the seed of held-out games: apart from all training seeds.
func (o EvalOptions) EvalSeed() uint64 { return mix(o.Seed, evalSeedDomain) }

// EvaluateAgent plays episodes on held-out seeds.
func EvaluateAgent(e *engine.Engine, a *Agent, o EvalOptions) (Stats, error) {
	env, err := o.Open(a)
	if err != nil {
		return Stats{}, err
	}
	defer env.Close()
	c, err := NewActor(e, a, env.Spec(), o.EvalSeed())
	if err != nil {
		return Stats{}, err
	}
	if o.Mode != "" {
		c.Mode = o.Mode
	}
	c.Epsilon = o.Epsilon
	return Evaluate(env, c, o.Episodes, o.EvalSeed())
}
