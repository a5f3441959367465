// Package play lets a policy play a game: its return, the latency of its
// decisions, missed deadlines at the screen's rate, a picture in the terminal
// and an animation. It also runs a distillation from names to numbers.
package play

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"slices"
	"strings"
	"time"

	"lowbit/engine"
	"lowbit/internal/atomicfile"
	"lowbit/rl"
)

// Config says what plays what.
type Config struct {
	// Model is an agent (see rl.OpenAgent) or "planner"; Env the environment.
	Model string `json:"model"`
	Env   string `json:"env"`
	// Engine is Float, Integer or Cores; default Float.
	Engine string `json:"engine"`
	// Episodes to play, each cut after MaxSteps decisions (0: the game's own
	// limit); Seconds, if positive, ends the play after that time.
	Episodes int     `json:"episodes"`
	MaxSteps int     `json:"max_steps,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
	Seed     uint64  `json:"seed"`
	// Mode overrides how the agent chooses; Epsilon is the chance of a random
	// action.
	Mode    rl.ActMode `json:"mode,omitempty"`
	Epsilon float64    `json:"epsilon,omitempty"`
	// Realtime waits for the screen: frames come at Hz (0: 60), a decision is due
	// when its frame is there and late when the next one is.
	Realtime bool    `json:"realtime,omitempty"`
	Hz       float64 `json:"hz,omitempty"`
	// Threads of the engine; 0: one. A decision is a small job: a thread that has
	// to be woken for its part of it comes late.
	Threads int `json:"threads,omitempty"`
	// GIF is a file for an animation of at most GIFFrames decisions (0: 900).
	GIF       string `json:"gif,omitempty"`
	GIFFrames int    `json:"gif_frames,omitempty"`
	// Scale is the pixels of a cell in the GIF; 0: 16 for boards, 2 for screens.
	Scale int `json:"scale,omitempty"`
	// Atari says how Atari games are started; nil: the agent's preset.
	Atari *rl.AtariOptions `json:"-"`
	// Render, if not nil, gets the picture of each decision for a terminal.
	Render io.Writer `json:"-"`
}

// Latency is the distribution of decisions in milliseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Report is what came of it.
type Report struct {
	Model   string `json:"model"`
	Env     string `json:"env"`
	Version string `json:"version"` // of the environment
	Preset  string `json:"preset,omitempty"`
	Engine  string `json:"engine"`
	Seed    uint64 `json:"seed"`
	Mode    string `json:"mode"`
	// Temperature divides the outputs that an action is drawn from.
	Temperature float64   `json:"temperature,omitempty"`
	Epsilon     float64   `json:"epsilon"`
	Episodes    int       `json:"episodes"` // finished
	MeanReturn  float64   `json:"mean_return"`
	ReturnSE    float64   `json:"return_se"`
	Returns     []float64 `json:"returns"`
	MeanLength  float64   `json:"mean_length"`
	Decisions   int       `json:"decisions"`
	DecisionMs  Latency   `json:"decision_ms"`
	// AloneMs is the decision itself; with Realtime DecisionMs counts from when
	// the frame was due, the system's delay in waking the player included.
	AloneMs Latency `json:"alone_ms"`
	// Missed deadlines; 0 without Realtime.
	Missed   int     `json:"missed_deadlines"`
	Realtime bool    `json:"realtime"`
	Seconds  float64 `json:"seconds"`
	GIF      string  `json:"gif,omitempty"`

	// MaxSteps are the decisions after which an episode was cut; 0: the game's
	// own limit.
	MaxSteps int `json:"max_steps"`

	// IntegerUse is of engine Integer alone, CoreUse of Cores.
	IntegerUse *IntegerUse `json:"integer,omitempty"`
	CoreUse    *CoreUse    `json:"cores,omitempty"`
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Model == "" || c.Env == "":
		return errors.New("play: want a model and an environment")
	case c.Engine != "" && !slices.Contains(Engines(), c.Engine):
		return fmt.Errorf("play: engine %q, want %s", c.Engine, strings.Join(Engines(), ", "))
	case c.Episodes < 1 || c.MaxSteps < 0 || !(c.Seconds >= 0):
		return fmt.Errorf("play: %d episodes of %d steps in %g s, want at least 1", c.Episodes, c.MaxSteps, c.Seconds)
	case !(c.Epsilon >= 0 && c.Epsilon <= 1):
		return fmt.Errorf("play: epsilon %g outside 0..1", c.Epsilon)
	case !(c.Hz >= 0 && c.Hz <= 10000) || c.Threads < 0 || c.GIFFrames < 0 || c.Scale < 0:
		return fmt.Errorf("play: %g Hz, %d threads, %d frames of scale %d: want none negative", c.Hz, c.Threads, c.GIFFrames, c.Scale)
	case c.Mode != "" && c.Mode != rl.Greedy && c.Mode != rl.Sample:
		return fmt.Errorf("play: mode %q, want %s or %s", c.Mode, rl.Greedy, rl.Sample)
	}
	return nil
}

// player is one play.
type player struct {
	Config
	env     rl.VecEnv
	spec    rl.EnvSpec
	decider decider
	report  Report
	spent   []time.Duration // from the frame, or the question, to the decision
	alone   []time.Duration // of the decisions themselves
	played  []rl.Episode
	frames  []*image.Paletted
	due     time.Time
	start   time.Time
}

// Run plays. When ctx ends it returns the report of the episodes so far with
// rl.ErrInterrupted.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Engine == "" {
		c.Engine = Float
	}
	if c.Hz == 0 {
		c.Hz = 60
	}
	if c.GIFFrames == 0 {
		c.GIFFrames = 900
	}
	c.Threads = max(c.Threads, 1)
	p := &player{Config: c}
	e := engine.New(c.Threads)
	defer e.Close()
	if err := p.open(e); err != nil {
		return nil, err
	}
	defer p.env.Close()
	err := p.play(ctx)
	if err != nil && !errors.Is(err, rl.ErrInterrupted) {
		return nil, err
	}
	p.finish()
	if c.GIF != "" && len(p.frames) > 0 {
		write := func(w io.Writer) error { return rl.WriteGIF(w, p.frames, gifDelay) }
		if e := atomicfile.Write(c.GIF, write); e != nil {
			return nil, fmt.Errorf("play: %w", e)
		}
		p.report.GIF = c.GIF
	}
	return &p.report, err
}

// gifDelay is the time of a picture in hundredths of a second: slow enough to
// follow a ball.
const gifDelay = 6

// OpenModel reads an agent; spec of the environment completes one that does not
// name its actions.
func OpenModel(model, env string, atari *rl.AtariOptions) (*rl.Agent, error) {
	a, err := rl.OpenAgent(model, nil)
	if err == nil {
		return a, nil
	}
	e, envErr := (rl.EvalOptions{Env: env, Episodes: 1, Atari: atari}).Open(nil)
	if envErr != nil {
		return nil, errors.Join(err, envErr)
	}
	defer e.Close()
	spec := e.Spec()
	return rl.OpenAgent(model, &spec)
}

// open makes environment and decider.
func (p *player) open(e *engine.Engine) error {
	var a *rl.Agent
	var err error
	if p.Model != "planner" {
		if a, err = OpenModel(p.Model, p.Env, p.Atari); err != nil {
			return err
		}
	}
	o := rl.EvalOptions{Env: p.Env, Envs: 1, Episodes: 1, MaxSteps: p.MaxSteps, Seed: p.Seed, Atari: p.Atari}
	if p.env, err = o.Open(a); err != nil {
		return err
	}
	p.spec = p.env.Spec()
	p.report = Report{Model: p.Model, Env: p.Env, Version: p.spec.Version, Engine: p.Engine, Seed: p.Seed, Epsilon: p.Epsilon, MaxSteps: p.MaxSteps, Realtime: p.Realtime, Mode: string(rl.Greedy)}
	if info, ok := rl.AtariInfoOf(p.env); ok {
		p.report.Preset = info.Preset.Name
	}
	if p.decider, err = p.decide(e, a); err != nil {
		p.env.Close()
		return err
	}
	return nil
}

// play makes decisions until the episodes are done, the time is over or ctx
// ends.
func (p *player) play(ctx context.Context) error {
	obs := make([]byte, p.spec.ObsBytes())
	act, rew := make([]int32, 1), make([]float32, 1)
	done, trunc := make([]bool, 1), make([]bool, 1)
	if err := p.env.Reset(rl.EvalOptions{Seed: p.Seed}.EvalSeed(), obs); err != nil {
		return err
	}
	p.start = time.Now()
	p.due = p.start
	fresh := true
	for len(p.played) < p.Episodes && (p.Seconds == 0 || time.Since(p.start).Seconds() < p.Seconds) {
		if err := p.wait(ctx); err != nil {
			return err
		}
		from := time.Now()
		a, err := p.decider.decide(obs, fresh)
		if err != nil {
			return err
		}
		now := time.Now()
		p.alone = append(p.alone, now.Sub(from))
		if p.Realtime {
			from = p.due
		}
		p.note(now.Sub(from))
		if err := p.decider.after(); err != nil {
			return err
		}
		if err := p.show(obs); err != nil {
			return err
		}
		act[0] = a
		if err := p.env.Step(act, obs, rew, done, trunc); err != nil {
			return err
		}
		fresh = done[0] || trunc[0]
		for _, ep := range p.env.Finished() {
			ep.Final = nil
			p.played = append(p.played, ep)
		}
	}
	return nil
}

// note records the latency of a decision.
func (p *player) note(d time.Duration) {
	p.spent = append(p.spent, d)
	if p.Realtime && d.Seconds() > 1/p.Hz {
		p.report.Missed++
	}
}

// period is the time between two decisions: the frames that an action lasts.
func (p *player) period() time.Duration {
	frames := 1.0
	if info, ok := rl.AtariInfoOf(p.env); ok {
		frames = float64(info.Preset.SkipMin+info.Preset.SkipMax) / 2
	}
	return time.Duration(frames / p.Hz * float64(time.Second))
}

// wait sleeps until the next decision is due. When play is behind by a whole
// period it goes on from the next point of the grid.
func (p *player) wait(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("play: %w", rl.ErrInterrupted)
	}
	if !p.Realtime {
		return nil
	}
	period := p.period()
	p.due = p.due.Add(period)
	if late := time.Since(p.due); late >= period {
		p.due = p.due.Add(late.Truncate(period))
	}
	t := time.NewTimer(time.Until(p.due) - early)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("play: %w", rl.ErrInterrupted)
	case <-t.C:
	}
	for time.Now().Before(p.due) {
	}
	return nil
}

// early is how long before a frame the player wakes and looks at the clock: a
// timer alone comes about that late.
const early = time.Millisecond

// show draws the state that was decided on.
func (p *player) show(obs []byte) error {
	if p.Render != nil {
		img, err := rl.Render(p.spec, obs, 1)
		if err != nil {
			return err
		}
		head := "\x1b[H" // the cursor goes home; the first picture clears the screen
		if len(p.spent) == 1 {
			head = "\x1b[2J\x1b[H"
		}
		if _, err := io.WriteString(p.Render, head); err != nil {
			return fmt.Errorf("play: render: %w", err)
		}
		if err := rl.WriteTerminal(p.Render, img); err != nil {
			return fmt.Errorf("play: render: %w", err)
		}
		if _, err := fmt.Fprintf(p.Render, "%s  episode %d  decision %d  %.2f ms\x1b[K\n", p.Env, len(p.played)+1, len(p.spent), ms(p.spent[len(p.spent)-1])); err != nil {
			return fmt.Errorf("play: render: %w", err)
		}
	}
	if p.GIF != "" && len(p.frames) < p.GIFFrames {
		scale := p.Scale
		if scale == 0 {
			scale = 16
			if p.spec.Channels == nil {
				scale = 2
			}
		}
		img, err := rl.Render(p.spec, obs, scale)
		if err != nil {
			return err
		}
		p.frames = append(p.frames, img)
	}
	return nil
}

// finish fills the report.
func (p *player) finish() {
	r := &p.report
	r.Seconds = time.Since(p.start).Seconds()
	s := rl.Summarize(p.played)
	r.Episodes, r.MeanReturn, r.ReturnSE, r.MeanLength, r.Returns = s.Episodes, s.Mean, s.SE, s.MeanLength, s.Returns
	r.Decisions = len(p.spent)
	r.DecisionMs, r.AloneMs = latency(p.spent), latency(p.alone)
	p.decider.close(r)
}

// latency sorts d.
func latency(d []time.Duration) Latency {
	n := len(d)
	if n == 0 {
		return Latency{}
	}
	slices.Sort(d)
	return Latency{ms(d[(n-1)/2]), ms(d[min(n-1, n*99/100)]), ms(d[n-1])}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
