package rl

import (
	"context"
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// mix folds keys to one seed.
func mix(keys ...uint64) uint64 { return rng.Uint64(keys...) }

// DQNConfig is deep Q-learning (Mnih et al. 2015) with the double estimate
// (van Hasselt et al., arXiv 1509.06461).
type DQNConfig struct {
	Learning
	// Batch of an update; Every decisions of all games together there is one.
	Batch int `json:"batch"`
	Every int `json:"every"`
	// Replay is the number of transitions kept, Start that before the first
	// update.
	Replay int `json:"replay"`
	Start  int `json:"start"`
	// Target is the number of updates between copies to the target network.
	Target int `json:"target"`
	// Single uses the target network's own maximum, as in the first paper.
	Single bool `json:"single,omitempty"`
	// Exploration falls linearly from 1 to FinalEpsilon over the first
	// ExploreShare of all decisions.
	FinalEpsilon float64 `json:"final_epsilon"`
	ExploreShare float64 `json:"explore_share"`
}

// DefaultDQN is a recipe for a minatar game.
func DefaultDQN(env string) DQNConfig {
	return DQNConfig{
		Learning: Learning{
			Env: env, Envs: 32, Steps: 2 << 20, Segment: 1 << 18, Seed: 1, Gamma: 0.99, Net: DefaultNet(),
			LR: 5e-4, ClipNorm: 10, EvalEpisodes: 64, EvalSteps: 1000,
		},
		Batch: 64, Every: 8, Replay: 1 << 18, Start: 1 << 14, Target: 500, FinalEpsilon: 0.02, ExploreShare: 0.2,
	}
}

// Validate returns an error that names the first setting that makes no sense.
func (c DQNConfig) Validate() error {
	if err := c.Learning.Validate(); err != nil {
		return err
	}
	switch {
	case c.Batch < 1 || c.Every < 1 || c.Target < 1:
		return fmt.Errorf("rl: dqn: batch %d every %d decisions, target every %d updates: want at least 1", c.Batch, c.Every, c.Target)
	case c.Replay < 4*c.Envs || c.Start < 2*c.Envs || c.Start > c.Replay:
		return fmt.Errorf("rl: dqn: replay %d, start %d of %d games: want at least 4 and 2 decisions of each, start within the replay", c.Replay, c.Start, c.Envs)
	case !(c.FinalEpsilon >= 0 && c.FinalEpsilon <= 1) || !(c.ExploreShare >= 0 && c.ExploreShare <= 1):
		return fmt.Errorf("rl: dqn: final epsilon %g, explore share %g outside 0..1", c.FinalEpsilon, c.ExploreShare)
	}
	return nil
}

// dqn is one training. The replay is a ring of rows, a row being one decision
// of every game; observations are kept as views, a bit an element where they
// are bits.
type dqn struct {
	*learner
	DQNConfig
	forward *engine.Plan // of the training games
	next    *engine.Plan // online network on the next states
	target  *engine.Plan
	frozen  *tensor.Store // the target network's

	capacity int // rows
	views    []byte
	action   []uint8
	reward   []float32
	flags    []uint8
	head     *tensor.Tensor // i64 [2]: rows written in all; update of the last copy
}

// Flags of a transition.
const (
	flagOver = 1 // the episode ended: no future
	flagCut  = 2 // what follows in the ring is not the next observation: not used
)

// TrainDQN trains an agent; the result depends on the configuration alone. It
// ends with ErrInterrupted when ctx does.
func TrainDQN(ctx context.Context, c DQNConfig, job Job) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	l, err := newLearner(job, c.Learning, "dqn", false)
	if err != nil {
		return Result{}, err
	}
	defer l.env.Close()
	l.agent.Info.Temperature = 0.01
	d := &dqn{learner: l, DQNConfig: c}
	if err := d.build(); err != nil {
		return Result{}, err
	}
	if l.run, l.at, err = job.Open("dqn", c, l.agent); err != nil {
		return Result{}, err
	}
	defer l.run.Close()
	return l.segments(ctx, d.segment)
}

// replayState is the name of a part of the replay in the store: training
// state, as the optimizer's.
func replayState(what string) string { return optim.StateName("replay", what) }

// build makes plans and the replay, whose storage lies in the agent's store so
// that checkpoints hold it.
func (d *dqn) build() error {
	d.frozen = tensor.NewStore()
	for _, n := range d.agent.Graph.Params() {
		t := tensor.New(tensor.F32, n.Shape()...)
		copy(t.Float32s(), d.agent.Store.Get(n.Name()).Float32s())
		if err := d.frozen.Put(n.Name(), t); err != nil {
			return fmt.Errorf("rl: %w", err)
		}
		if err := d.agent.Store.Put(optim.StateName(n.Name(), "target"), t); err != nil {
			return fmt.Errorf("rl: %w", err)
		}
	}
	d.capacity = d.Replay / d.Envs
	n := d.capacity * d.Envs
	parts := map[string]*tensor.Tensor{
		"views":  tensor.New(tensor.U8, n, d.agent.Info.View.Bytes()),
		"action": tensor.New(tensor.U8, n), "reward": tensor.New(tensor.F32, n), "flags": tensor.New(tensor.U8, n),
		"head": tensor.New(tensor.I64, 2),
	}
	for what, t := range parts {
		if err := d.agent.Store.Put(replayState(what), t); err != nil {
			return fmt.Errorf("rl: %w", err)
		}
	}
	d.views, d.action, d.reward = parts["views"].Uint8s(), parts["action"].Uint8s(), parts["reward"].Float32s()
	d.flags, d.head = parts["flags"].Uint8s(), parts["head"]
	return d.plans()
}

func (d *dqn) plans() error {
	e, a := d.job.Engine, d.agent
	g, err := d.loss()
	if err == nil {
		d.stepper, err = train.NewStepper(e, g, a.Store, d.optim)
	}
	if err == nil {
		d.forward, err = forwardPlan(e, a.Graph, a.Store, d.Envs)
	}
	if err == nil {
		d.next, err = forwardPlan(e, a.Graph, a.Store, d.Batch)
	}
	if err == nil {
		d.target, err = forwardPlan(e, a.Graph, d.frozen, d.Batch)
	}
	if err != nil {
		return err
	}
	return d.target.SetInput(InputName, d.next.Input(InputName))
}

// loss is the Huber loss of Q(s, taken) against goal, of width 1: with m =
// min(|d|, 1), mean(m*(|d| - m/2)).
func (d *dqn) loss() (*graph.Graph, error) {
	g, err := graph.WithBatch(d.agent.Graph, d.Batch)
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	q := g.OutputNode(LogitsName)
	taken := g.Input("taken", tensor.F32, q.Shape()...)
	goal := g.Input("goal", tensor.F32, d.Batch)
	off := g.Apply(graph.Unary{F: graph.Abs}, g.Sub(g.Sum(g.Mul(q, taken), 1), goal))
	m := g.Min(off, g.Scalar(1))
	g.Output("loss", g.Mean(g.Mul(m, g.Sub(off, g.Mul(m, g.Scalar(0.5))))))
	return g, g.Err()
}

// epsilon is the chance of a random action now.
func (d *dqn) epsilon() float64 {
	span := d.ExploreShare * float64(d.Learning.Steps)
	if span == 0 {
		return d.FinalEpsilon
	}
	return max(d.FinalEpsilon, 1-(1-d.FinalEpsilon)*float64(d.at.Steps)/span)
}

// segment makes Segment decisions.
func (d *dqn) segment(ctx context.Context) error {
	end := min(d.at.Steps+d.Learning.Segment, d.Learning.Steps)
	for d.at.Steps < end {
		if err := interrupted(ctx); err != nil {
			return err
		}
		if err := d.decide(); err != nil {
			return err
		}
		before := d.at.Steps
		last := before+int64(d.Envs) >= end
		if err := d.play(); err != nil {
			return err
		}
		d.keep(last)
		if d.at.Steps < int64(d.Start) {
			continue
		}
		for u := before/int64(d.Every) + 1; u*int64(d.Every) <= d.at.Steps; u++ {
			if err := d.learn(); err != nil {
				return err
			}
		}
	}
	return nil
}

// decide chooses the actions and writes views and actions to the ring.
func (d *dqn) decide() error {
	views, err := d.viewer.Show(d.obs, d.fresh)
	if err != nil {
		return err
	}
	v := d.agent.Info.View
	v.Floats(d.forward.Input(InputName).Float32s(), views)
	if err := d.forward.Run(); err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	q := d.forward.Output(LogitsName).Float32s()
	row := int(d.head.Int64s()[0]) % d.capacity * d.Envs
	copy(d.views[row*v.Bytes():], views)
	a, eps := len(d.actions), d.epsilon()
	draws := rng.New(d.Seed, actorDomain, uint64(d.at.Steps))
	for i := range d.act {
		k := argmax(q[i*a : (i+1)*a])
		if draws.Float64() < eps {
			k = draws.Intn(a)
		}
		d.action[row+i], d.act[i] = uint8(k), d.actions[k]
	}
	return nil
}

// keep completes the row that decide began; last is that of a segment, after
// which all games begin anew.
func (d *dqn) keep(last bool) {
	h := d.head.Int64s()
	row := int(h[0]) % d.capacity * d.Envs
	for i, r := range d.rew {
		var f uint8
		switch {
		case d.done[i]:
			f = flagOver
		case d.trunc[i] || last:
			f = flagCut
		}
		d.reward[row+i], d.flags[row+i] = r, f
	}
	h[0]++
}

// replayDomain keeps the numbers that choose transitions apart.
const replayDomain = 0x7265706c6179

// pick writes the positions of a batch: uniform over the transitions whose next
// row is there, without those that were cut.
func (d *dqn) pick(at []int) {
	written := int(d.head.Int64s()[0])
	rows := min(written, d.capacity)
	s := rng.New(d.Seed, replayDomain, uint64(d.at.Total))
	for i := range at {
		for {
			row := (written - rows + s.Intn(rows-1)) % d.capacity
			at[i] = row*d.Envs + s.Intn(d.Envs)
			if d.flags[at[i]] != flagCut {
				break
			}
		}
	}
}

// learn makes one update: goal = r + Gamma*Qtarget(s', argmax Q(s')).
func (d *dqn) learn() error {
	if h := d.head.Int64s(); h[1] == 0 || int64(d.at.Total)-h[1] >= int64(d.Target) {
		for _, n := range d.frozen.Names() {
			copy(d.frozen.Get(n).Float32s(), d.agent.Store.Get(n).Float32s())
		}
		h[1] = max(1, int64(d.at.Total))
	}
	at := make([]int, d.Batch)
	d.pick(at)
	v, a := d.agent.Info.View, len(d.actions)
	nb, size := v.Bytes(), v.Size()
	f := d.stepper.Forward
	x, y := f.Input(InputName).Float32s(), d.next.Input(InputName).Float32s()
	taken, goal := f.Input("taken").Float32s(), f.Input("goal").Float32s()
	clear(taken)
	for i, k := range at {
		v.Floats(x[i*size:(i+1)*size], d.views[k*nb:][:nb])
		after := (k + d.Envs) % (d.capacity * d.Envs)
		v.Floats(y[i*size:(i+1)*size], d.views[after*nb:][:nb])
		taken[i*a+int(d.action[k])] = 1
	}
	if err := d.next.Run(); err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	if err := d.target.Run(); err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	online, frozen := d.next.Output(LogitsName).Float32s(), d.target.Output(LogitsName).Float32s()
	if d.Single {
		online = frozen
	}
	for i, k := range at {
		goal[i] = d.reward[k]
		if d.flags[k] != flagOver {
			goal[i] += float32(d.Gamma) * frozen[i*a+argmax(online[i*a:(i+1)*a])]
		}
	}
	return d.optimise(d.stepper)
}
