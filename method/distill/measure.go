package distill

import (
	"context"
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/rl"
)

// evaluate reports on the segment, plays held-out games and keeps the best
// weights. A student that will be quantized counts from then on.
func (d *distiller) evaluate() error {
	m := rl.Metric{Kind: "train", Step: d.at.Steps, Updates: d.at.Total, LR: d.rate(d.at.Total)}
	if d.count > 0 {
		m.Loss = d.losses / float64(d.count)
	}
	d.losses, d.count = 0, 0
	var err error
	if d.out.len() > 0 {
		var share float64
		if share, m.Recall, err = d.agreement(); err != nil {
			return err
		}
		m.Agreement = &share
		d.at.Agreement = share
		if m.Layers, err = d.health(); err != nil {
			return err
		}
	}
	if err := d.run.Report(m); err != nil {
		return err
	}
	s, err := d.evalPlay(context.Background(), d.student) // a segment that is played is kept
	if err != nil {
		return err
	}
	d.at.Last = rl.Score{Return: s.Mean, SE: s.SE, Episodes: s.Episodes, Updates: d.at.Total}
	final := !d.learnsSteps() || d.quantized
	if final && (!d.at.Started || s.Mean > d.at.Best.Return) {
		d.at.Best, d.at.Started = d.at.Last, true
		if d.best, err = rl.Parameters(d.student.Graph, d.student.Store); err != nil {
			return err
		}
		if err := d.run.Weights(true, d.best, d.at); err != nil {
			return err
		}
	}
	return d.run.Report(rl.Metric{Kind: "eval", Step: d.at.Steps, Updates: d.at.Total, Return: &s.Mean, ReturnSE: s.SE, Episodes: s.Episodes})
}

// evalGames is the number of games in lock-step of an evaluation.
const evalGames = 64

// evalPlay measures an agent on the seeds that choose.
func (d *distiller) evalPlay(ctx context.Context, a *rl.Agent) (rl.Stats, error) {
	seed := rng.Uint64(d.Seed, evalDomain)
	return d.measure(ctx, d.EvalEpisodes, d.EvalSteps, seed, func(env rl.VecEnv) (rl.Policy, error) {
		return rl.NewActor(d.job.Engine, a, env.Spec(), seed)
	})
}

// test measures a player on the seeds that nothing was chosen by.
func (d *distiller) test(ctx context.Context, make func(env rl.VecEnv, seed uint64) (rl.Policy, error)) (rl.Stats, error) {
	seed := rng.Uint64(d.Seed, testDomain)
	return d.measure(ctx, d.TestEpisodes, d.TestSteps, seed, func(env rl.VecEnv) (rl.Policy, error) { return make(env, seed) })
}

func (d *distiller) measure(ctx context.Context, episodes, steps int, seed uint64, make func(env rl.VecEnv) (rl.Policy, error)) (rl.Stats, error) {
	env, err := rl.New(d.Env, d.envOptions(min(episodes, evalGames), steps))
	if err != nil {
		return rl.Stats{}, err
	}
	defer env.Close()
	p, err := make(env)
	if err != nil {
		return rl.Stats{}, err
	}
	return rl.Evaluate(env, interruptible{p, ctx}, episodes, seed)
}

// interruptible is a player that stops when a context ends.
type interruptible struct {
	rl.Policy
	ctx context.Context
}

func (p interruptible) Act(obs []byte, fresh []bool, act []int32) error {
	if p.ctx.Err() != nil {
		return fmt.Errorf("distill: %w", rl.ErrInterrupted)
	}
	return p.Policy.Act(obs, fresh, act)
}

// finish chooses how the student acts, writes the last weights and measures on
// seeds of its own.
func (d *distiller) finish(ctx context.Context) (*Result, error) {
	if d.best == nil {
		if d.job.Dir == "" {
			return nil, fmt.Errorf("distill: no weights of the student's bits: float %g leaves no updates for them", d.Float)
		}
		a, err := rl.OpenRun(d.job.Dir)
		if err != nil {
			return nil, err
		}
		d.best = a.Store
	}
	r := &Result{Agreement: d.at.Agreement}
	var err error
	if r.HeldOut, err = d.chooseActing(ctx); err != nil {
		return nil, err
	}
	if err := d.run.Weights(false, d.student.Store, d.at); err != nil {
		return nil, err
	}
	if err := d.compare(ctx, r); err != nil {
		return nil, err
	}
	r.Share = (r.Student.Mean - r.Random.Mean) / (r.Teacher.Mean - r.Random.Mean)
	if math.IsNaN(r.Share) || math.IsInf(r.Share, 0) {
		r.Share = 0 // the teacher plays no better than chance
	}
	r.Result = rl.Result{
		Agent: d.kept(), Best: d.at.Best, Last: d.at.Last, Updates: d.at.Total, Steps: d.at.Steps,
		Seconds: d.run.Seconds(), Dir: d.job.Dir,
	}
	return r, d.run.Finish(d.at)
}

// kept is the student with the weights that are kept.
func (d *distiller) kept() *rl.Agent {
	return &rl.Agent{Info: d.student.Info, Graph: d.student.Graph, Store: d.best}
}

// compare measures student, teacher and random play on the same seeds.
func (d *distiller) compare(ctx context.Context, r *Result) (err error) {
	student := d.kept()
	for _, m := range []struct {
		to     *rl.Stats
		player func(env rl.VecEnv, seed uint64) (rl.Policy, error)
	}{
		{&r.Student, func(env rl.VecEnv, seed uint64) (rl.Policy, error) {
			return rl.NewActor(d.job.Engine, student, env.Spec(), seed)
		}},
		{&r.Teacher, func(env rl.VecEnv, seed uint64) (rl.Policy, error) {
			return d.job.Teacher.policy(d.job.Engine, env, seed)
		}},
		{&r.Random, func(env rl.VecEnv, seed uint64) (rl.Policy, error) {
			return rl.NewRandom(len(env.Spec().Actions), seed), nil
		}},
	} {
		if *m.to, err = d.test(ctx, m.player); err != nil {
			return err
		}
	}
	return nil
}

// agreement is the share of held-out states in which the student's best action
// is the teacher's, and the recall of each of the teacher's actions.
func (d *distiller) agreement() (float64, []rl.Recall, error) {
	const batch = 256
	g, err := graph.WithBatch(d.student.Graph, batch)
	if err != nil {
		return 0, nil, fmt.Errorf("distill: %w", err)
	}
	p, err := d.job.Engine.Compile(g, d.student.Store)
	if err != nil {
		return 0, nil, fmt.Errorf("distill: %w", err)
	}
	a, n := d.out.out, 0
	seen, right := make([]int, a), make([]int, a)
	x := p.Input(rl.InputName).Float32s()
	z := p.Output(rl.LogitsName).Float32s()
	for at := 0; at < d.out.len(); {
		states, next := d.out.whole(at, batch)
		d.show(x, states)
		at = next
		if err := p.Run(); err != nil {
			return 0, nil, fmt.Errorf("distill: %w", err)
		}
		n += len(states)
		for i, k := range states {
			want := argmax(d.out.q[k*a : (k+1)*a])
			seen[want]++
			if argmax(z[i*a:(i+1)*a]) == want {
				right[want]++
			}
		}
	}
	var recall []rl.Recall
	total := 0
	for k, name := range d.student.Info.Actions {
		total += right[k]
		recall = append(recall, rl.Recall{Action: name, Share: float64(seen[k]) / float64(max(1, n)), Recall: float64(right[k]) / float64(max(1, seen[k]))})
	}
	return float64(total) / float64(max(1, n)), recall, nil
}

// show writes the network's input for held-out states.
func (d *distiller) show(x []float32, states []int) {
	size := d.View.Size()
	for i, k := range states {
		d.View.Floats(x[i*size:(i+1)*size], d.out.read(k))
	}
}

// health describes the binary layers on held-out states.
func (d *distiller) health() ([]rl.LayerHealth, error) {
	states, _ := d.out.whole(0, 256)
	batch := len(states)
	if batch == 0 {
		return nil, nil
	}
	p, names, err := tapped(d.job.Engine, d.student, batch)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	d.show(p.Input(rl.InputName).Float32s(), states)
	if err := p.Run(); err != nil {
		return nil, fmt.Errorf("distill: %w", err)
	}
	var all []rl.LayerHealth
	for _, name := range names {
		y, r := p.Output("spike:"+name).Float32s(), p.Output("potential:"+name).Float32s()
		h := rl.LayerHealth{Layer: name[:len(name)-len(".spike")]}
		units := len(y) / batch
		for u := range units {
			sum := 0
			for i := range batch {
				sum += int(y[i*units+u])
			}
			h.Spikes += float64(sum) / float64(len(y))
			if sum == 0 || sum == batch {
				h.Constant += 1 / float64(units)
			}
		}
		for _, v := range r {
			if v >= 1 || v <= -1 {
				h.Silent += 1 / float64(len(r))
			}
		}
		h.Zeros = d.zeros(h.Layer)
		all = append(all, h)
	}
	return all, nil
}

// zeros is the share of a ternary layer's weights that were 0 in the last
// update; 0 for other layers.
func (d *distiller) zeros(layer string) float64 {
	t := d.student.Store.Get(layer + lastSuffix)
	if t == nil {
		return 0
	}
	n := 0
	for _, v := range t.Float32s() {
		if v == 0 {
			n++
		}
	}
	return float64(n) / float64(t.Len())
}
