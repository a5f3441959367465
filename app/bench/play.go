package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/method/distill"
	"lowbit/neuro"
	"lowbit/rl"
	"lowbit/tensor"
)

// EnvConfig says which games are stepped.
type EnvConfig struct {
	Env     string  `json:"env"`
	Envs    int     `json:"envs"` // games in lock-step
	Seconds float64 `json:"measured_seconds"`
	Seed    uint64  `json:"seed"`
	Preset  string  `json:"preset,omitempty"`
}

// EnvResult is how fast an environment is.
type EnvResult struct {
	EnvConfig
	Version string `json:"version"`
	// DecisionsPerS is that of the median stretch of random play, of a few
	// milliseconds, NanosecondsEach its time for one; MeanPerS counts all the time,
	// other programs' share of it too.
	DecisionsPerS   float64 `json:"decisions_per_s"`
	NanosecondsEach float64 `json:"ns_per_decision"`
	MeanPerS        float64 `json:"mean_decisions_per_s"`
	Decisions       int64   `json:"decisions"`
	Episodes        int     `json:"episodes"`
}

// Env plays at random for some seconds. A minatar game runs on the calling
// goroutine, an Atari game in one worker process beside it.
func Env(ctx context.Context, c EnvConfig) (EnvResult, error) {
	r := EnvResult{EnvConfig: c}
	if c.Envs < 1 || !(c.Seconds > 0) {
		return r, fmt.Errorf("bench: %d games for %g s, want at least 1 and more than 0", c.Envs, c.Seconds)
	}
	o := rl.Options{Envs: c.Envs, Atari: &rl.AtariOptions{Preset: c.Preset, Workers: 1}}
	if strings.HasPrefix(c.Env, "minatar/") {
		o.Format = rl.Bits
	}
	env, err := rl.New(c.Env, o)
	if err != nil {
		return r, err
	}
	defer env.Close()
	s := env.Spec()
	r.Version = s.Version
	obs := make([]byte, c.Envs*s.ObsBytes())
	rew, done, trunc := make([]float32, c.Envs), make([]bool, c.Envs), make([]bool, c.Envs)
	acts := make([]int32, 64*c.Envs) // drawn before: it is the games that are measured
	random := rl.NewRandom(len(s.Actions), c.Seed)
	if err := random.Act(nil, nil, acts); err != nil {
		return r, err
	}
	if err := env.Reset(c.Seed, obs); err != nil {
		return r, err
	}
	stretch := 64
	if o.Format != rl.Bits { // milliseconds a step
		stretch = 4
	}
	var spent []time.Duration
	start := time.Now()
	for from, k := start, 0; from.Sub(start).Seconds() < c.Seconds && ctx.Err() == nil; k += stretch {
		for i := range stretch {
			if err := env.Step(acts[(k+i)%64*c.Envs:][:c.Envs], obs, rew, done, trunc); err != nil {
				return r, err
			}
			r.Decisions += int64(c.Envs)
			r.Episodes += len(env.Finished())
		}
		now := time.Now()
		spent = append(spent, now.Sub(from))
		from = now
	}
	if err := ctx.Err(); err != nil {
		return r, err
	}
	r.MeanPerS = float64(r.Decisions) / time.Since(start).Seconds()
	r.NanosecondsEach = float64(medianOf(spent)) / float64(stretch*c.Envs)
	r.DecisionsPerS = 1e9 / r.NanosecondsEach
	return r, nil
}

// medianOf sorts d and returns its median.
func medianOf(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[(len(d)-1)/2]
}

// CoresConfig says what is simulated.
type CoresConfig struct {
	// Agent is a ternary corenet; nil: one for a screen of 84 x 84 with random
	// weights and six actions.
	Agent *rl.Agent `json:"-"`
	// Ticks are timed, one frame entering each.
	Ticks int `json:"ticks"`
	// States are compared with the trained network, spike by spike.
	States int `json:"states"`
	// Seconds of play at Hz frames a second, each frame alone through all ticks;
	// 0: none.
	Seconds float64 `json:"seconds"`
	Hz      float64 `json:"hz"`
	Threads int     `json:"threads"`
	Seed    uint64  `json:"seed"`
}

// CoresResult is what was measured.
type CoresResult struct {
	CoresConfig
	Resources neuro.Resources `json:"resources"`
	// Equality of the network on the engine, the folded integers and every neuron
	// of the cores on random states.
	Outputs      int64  `json:"outputs"`      // of neurons, trained and folded
	CoreOutputs  int64  `json:"core_outputs"` // of neurons on cores, copies too
	Decisions    int64  `json:"decisions"`    // compared
	Mismatches   int64  `json:"mismatches"`   // of all these
	FirstDiffers string `json:"first,omitempty"`
	// MSPerTick is the median, USPerCoreTick that over the cores that have work
	// in a tick; SynapticEventsS counts in the median's time, too.
	MSPerTick       float64 `json:"ms_per_tick"`
	USPerCoreTick   float64 `json:"us_per_core_tick"`
	SynapticEventsS float64 `json:"synaptic_events_per_s"`
	// Realtime is nil without Seconds.
	Realtime *RealtimeResult `json:"realtime,omitempty"`
}

// RealtimeResult is play on the grid of a screen.
type RealtimeResult struct {
	Frames int     `json:"frames"`
	Missed int     `json:"missed_deadlines"`
	P50MS  float64 `json:"p50_ms"`
	P99MS  float64 `json:"p99_ms"`
	MaxMS  float64 `json:"max_ms"`
}

// Cores maps a net, proves and compares it, and measures its simulation.
func Cores(ctx context.Context, e *engine.Engine, c CoresConfig) (CoresResult, error) {
	r := CoresResult{CoresConfig: c}
	if c.Ticks < 1 || c.States < 1 || !(c.Seconds >= 0) || !(c.Hz > 0) {
		return r, fmt.Errorf("bench: %d ticks, %d states, %g s at %g Hz: want at least 1, and none negative", c.Ticks, c.States, c.Seconds, c.Hz)
	}
	a := c.Agent
	if a == nil {
		var err error
		if a, err = randomCorenet(c.Seed); err != nil {
			return r, err
		}
	}
	net, nw, err := distill.OnCores(e, a)
	if err != nil {
		return r, fmt.Errorf("bench: %w", err)
	}
	r.Resources = nw.Resources()
	size := a.Info.View.Bytes()
	states := make([]byte, c.States*size)
	s := rng.New(c.Seed, 'c')
	for i := range states {
		states[i] = byte(s.Intn(256))
	}
	q, err := distill.Verify(e, a, net, nw, states)
	if err != nil {
		return r, fmt.Errorf("bench: %w", err)
	}
	r.Outputs, r.CoreOutputs, r.Decisions = q.Bits, q.Cores.Bits, q.Decisions
	r.Mismatches = q.Mismatches + q.Wrong + q.Cores.Mismatches + q.Cores.Wrong
	if r.FirstDiffers = q.First; q.First == "" {
		r.FirstDiffers = q.Cores.First
	}
	return r, r.simulate(ctx, nw, func(i int) []byte { return states[i%c.States*size:][:size] })
}

// simulate times the ticks, then the play.
func (r *CoresResult) simulate(ctx context.Context, nw *neuro.Network, frame func(i int) []byte) error {
	sim, err := neuro.NewSimulator(nw, max(r.Threads, 1))
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer sim.Close()
	spent := make([]time.Duration, r.Ticks)
	for i := range spent {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		from := time.Now()
		if _, err := sim.Step(frame(i)); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		spent[i] = time.Since(from)
	}
	median, events := medianOf(spent).Seconds(), sim.Events()
	r.MSPerTick = median * 1e3
	r.USPerCoreTick = median * 1e6 * float64(r.Ticks) / float64(max(events.CoreTicks, 1))
	r.SynapticEventsS = float64(events.Synaptic) / float64(r.Ticks) / median
	frames := int(r.Seconds * r.Hz)
	if frames < 1 {
		return nil
	}
	t, err := sim.Play(ctx, neuro.Pace{Hz: r.Hz, Frames: frames},
		func(i int, bits []byte) error { copy(bits, frame(i)); return nil }, func(int, int, []int32) error { return nil })
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	r.Realtime = &RealtimeResult{t.Frames, t.Missed, ms(t.Median), ms(t.P99), ms(t.Worst)}
	return nil
}

// randomCorenet is a student for Atari that has learned nothing.
func randomCorenet(seed uint64) (*rl.Agent, error) {
	a := &rl.Agent{Store: tensor.NewStore(), Info: rl.AgentInfo{
		Kind: "distill", Mode: rl.Greedy, View: rl.View{C: 4, H: 84, W: 84, Stack: 1, Code: rl.Change, Levels: 2},
	}}
	var err error
	if a.Graph, err = distill.DefaultStudent(distill.CoreNet, distill.Ternary).Build(a.Info.View, 6); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if err := graph.InitParams(a.Graph, a.Store, seed); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return a, nil
}
