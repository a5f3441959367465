package rl

import (
	"context"
	"fmt"
	"math"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/tensor"
	"lowbit/train"
)

// PPOConfig is proximal policy optimization (Schulman et al., arXiv
// 1707.06347) with generalized advantage estimation (arXiv 1506.02438).
type PPOConfig struct {
	Learning
	// Horizon is the decisions of each game between updates.
	Horizon int `json:"horizon"`
	// Epochs passes over them are made in Minibatches parts each.
	Epochs      int `json:"epochs"`
	Minibatches int `json:"minibatches"`
	// Lambda is that of the advantage estimate, Clip the range of the ratio.
	Lambda float64 `json:"lambda"`
	Clip   float64 `json:"clip"`
	// ValueWeight and EntropyWeight weigh the critic's loss and the bonus.
	ValueWeight   float64 `json:"value_weight"`
	EntropyWeight float64 `json:"entropy_weight"`
}

// DefaultPPO is the recipe for a minatar game: 128 games, 32 decisions, three
// epochs, lr 2e-3 falling to 0.
func DefaultPPO(env string) PPOConfig {
	return PPOConfig{
		Learning: Learning{
			Env: env, Envs: 128, Steps: 5 << 20, Segment: 1 << 19, Seed: 1, Gamma: 0.99, Net: DefaultNet(),
			LR: 2e-3, ClipNorm: 0.5, EvalEpisodes: 64, EvalSteps: 1000,
		},
		Horizon: 32, Epochs: 3, Minibatches: 8, Lambda: 0.95, Clip: 0.2, ValueWeight: 0.5, EntropyWeight: 0.01,
	}
}

// Validate returns an error that names the first setting that makes no sense.
func (c PPOConfig) Validate() error {
	if err := c.Learning.Validate(); err != nil {
		return err
	}
	switch {
	case c.Horizon < 1 || c.Epochs < 1 || c.Minibatches < 1 || c.Envs*c.Horizon%c.Minibatches != 0:
		return fmt.Errorf("rl: ppo: horizon %d, epochs %d, %d minibatches of %d decisions: want positive numbers that divide", c.Horizon, c.Epochs, c.Minibatches, c.Envs*c.Horizon)
	case !(c.Lambda >= 0 && c.Lambda <= 1) || !(c.Clip > 0) || !(c.ValueWeight >= 0) || !(c.EntropyWeight >= 0):
		return fmt.Errorf("rl: ppo: lambda %g, clip %g, value weight %g, entropy weight %g: want 0..1, above 0, not negative", c.Lambda, c.Clip, c.ValueWeight, c.EntropyWeight)
	}
	return nil
}

// ppo is one training.
type ppo struct {
	*learner
	PPOConfig
	forward *engine.Plan

	// one roll-out, [Horizon, Envs]
	views           []byte
	chosen          []int32
	logp, value     []float32
	reward          []float32
	over, cut       []bool
	advantage, goal []float32
	order           []int32
}

// TrainPPO trains an agent; the result depends on the configuration alone. It
// ends with ErrInterrupted when ctx does.
func TrainPPO(ctx context.Context, c PPOConfig, job Job) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	l, err := newLearner(job, c.Learning, "ppo", true)
	if err != nil {
		return Result{}, err
	}
	defer l.env.Close()
	l.agent.Info.Temperature = 1
	p := &ppo{learner: l, PPOConfig: c}
	if err := p.build(); err != nil {
		return Result{}, err
	}
	if l.run, l.at, err = job.Open("ppo", c, l.agent); err != nil {
		return Result{}, err
	}
	defer l.run.Close()
	return l.segments(ctx, p.segment)
}

// build makes the plans and buffers.
func (p *ppo) build() error {
	var err error
	if p.forward, err = forwardPlan(p.job.Engine, p.agent.Graph, p.agent.Store, p.Envs); err != nil {
		return err
	}
	n := p.Envs * p.Horizon
	g, err := p.loss(n / p.Minibatches)
	if err != nil {
		return err
	}
	if p.stepper, err = train.NewStepper(p.job.Engine, g, p.agent.Store, p.optim); err != nil {
		return err
	}
	p.views = make([]byte, n*p.agent.Info.View.Bytes())
	p.chosen, p.order = make([]int32, n), make([]int32, n)
	p.logp, p.reward = make([]float32, n), make([]float32, n)
	p.value = make([]float32, n+p.Envs) // and of the observations after them
	p.over, p.cut = make([]bool, n), make([]bool, n)
	p.advantage, p.goal = make([]float32, n), make([]float32, n)
	return nil
}

// loss adds the clipped objective, equations 7 and 9 of the paper:
// -mean(min(ratio*A, clip(ratio, 1-Clip, 1+Clip)*A)) + ValueWeight/2 *
// mean((V - goal)^2) - EntropyWeight*mean(entropy).
func (p *ppo) loss(batch int) (*graph.Graph, error) {
	g, err := graph.WithBatch(p.agent.Graph, batch)
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	logits := g.OutputNode(LogitsName)
	vector := func(name string) *graph.Node { return g.Input(name, tensor.F32, batch) }
	taken := g.Input("taken", tensor.F32, logits.Shape()...)
	old, adv, goal := vector("old"), vector("advantage"), vector("goal")
	scalar := func(v float64) *graph.Node { return g.Scalar(float32(v)) }
	logp := g.Apply(graph.Softmax{Log: true}, logits)
	ratio := g.Exp(g.Sub(g.Sum(g.Mul(logp, taken), 1), old))
	held := g.Min(g.Max(ratio, scalar(1-p.Clip)), scalar(1+p.Clip))
	policy := g.Neg(g.Mean(g.Min(g.Mul(ratio, adv), g.Mul(held, adv))))
	d := g.Sub(g.Reshape(g.OutputNode(ValueName), batch), goal)
	critic := g.Mul(g.Mean(g.Mul(d, d)), scalar(p.ValueWeight/2))
	entropy := g.Neg(g.Mean(g.Sum(g.Mul(g.Exp(logp), logp), 1)))
	g.Output("entropy", entropy)
	g.Output("loss", g.Sub(g.Add(policy, critic), g.Mul(entropy, scalar(p.EntropyWeight))))
	return g, g.Err()
}

// segment makes Segment decisions.
func (p *ppo) segment(ctx context.Context) error {
	end := min(p.at.Steps+p.Learning.Segment, p.Learning.Steps)
	for round := uint64(0); p.at.Steps < end; round++ {
		if err := interrupted(ctx); err != nil {
			return err
		}
		if err := p.roll(); err != nil {
			return err
		}
		p.estimate()
		if err := p.learn(); err != nil {
			return err
		}
	}
	return nil
}

// see runs the network on the observations and writes the values.
func (p *ppo) see(values []float32) ([]byte, error) {
	views, err := p.viewer.Show(p.obs, p.fresh)
	if err != nil {
		return nil, err
	}
	p.agent.Info.View.Floats(p.forward.Input(InputName).Float32s(), views)
	if err := p.forward.Run(); err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	copy(values, p.forward.Output(ValueName).Float32s())
	return views, nil
}

// roll plays Horizon decisions of every game.
func (p *ppo) roll() error {
	n, a := p.Envs, len(p.actions)
	nb := p.agent.Info.View.Bytes()
	for t := range p.Horizon {
		views, err := p.see(p.value[t*n : (t+1)*n])
		if err != nil {
			return err
		}
		copy(p.views[t*n*nb:], views)
		logits := p.forward.Output(LogitsName).Float32s()
		draws := rng.New(p.Seed, actorDomain, uint64(p.at.Steps))
		for i := range n {
			row := logits[i*a : (i+1)*a]
			k := sampleLogits(row, 1, draws.Float64())
			p.chosen[t*n+i], p.act[i] = int32(k), p.actions[k]
			p.logp[t*n+i] = logProb(row, k)
		}
		if err := p.play(); err != nil {
			return err
		}
		copy(p.reward[t*n:], p.rew)
		copy(p.over[t*n:], p.done)
		copy(p.cut[t*n:], p.trunc)
	}
	_, err := p.see(p.value[p.Horizon*n:])
	return err
}

// logProb returns log softmax(logits)[k].
func logProb(logits []float32, k int) float32 {
	top := logits[argmax(logits)]
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v - top))
	}
	return float32(float64(logits[k]-top) - math.Log(sum))
}

// estimate computes advantages and returns. An episode that was cut goes on
// with the value of its last observation but one.
func (p *ppo) estimate() {
	n := p.Envs
	for i := range n {
		var next float64
		for t := p.Horizon - 1; t >= 0; t-- {
			k := t*n + i
			v, after := float64(p.value[k]), float64(p.value[k+n])
			if p.over[k] {
				after, next = 0, 0
			} else if p.cut[k] {
				after, next = v, 0
			}
			delta := float64(p.reward[k]) + p.Gamma*after - v
			next = delta + p.Gamma*p.Lambda*next
			p.advantage[k], p.goal[k] = float32(next), float32(next+v)
		}
	}
}

// learn passes over the roll-out; the order is a function of the seed and the
// update.
func (p *ppo) learn() error {
	n := len(p.order)
	size := n / p.Minibatches
	for range p.Epochs {
		for i := range p.order {
			p.order[i] = int32(i)
		}
		s := rng.New(p.Seed, orderDomain, uint64(p.at.Total))
		for i := n - 1; i > 0; i-- {
			j := s.Intn(i + 1)
			p.order[i], p.order[j] = p.order[j], p.order[i]
		}
		for b := 0; b < n; b += size {
			p.fill(p.order[b : b+size])
			if err := p.optimise(p.stepper); err != nil {
				return err
			}
			p.entropy += float64(p.stepper.Forward.Output("entropy").Float32s()[0])
		}
	}
	return nil
}

// orderDomain keeps the numbers of minibatches apart.
const orderDomain = 0x6f72646572

// fill sets the inputs of one minibatch; advantages are normalised over it.
func (p *ppo) fill(rows []int32) {
	in := func(name string) []float32 { return p.stepper.Forward.Input(name).Float32s() }
	x, taken, old, adv, goal := in(InputName), in("taken"), in("old"), in("advantage"), in("goal")
	v := p.agent.Info.View
	nb, size, a := v.Bytes(), v.Size(), len(p.actions)
	clear(taken)
	var sum, squares float64
	for r, k := range rows {
		v.Floats(x[r*size:(r+1)*size], p.views[int(k)*nb:][:nb])
		taken[r*a+int(p.chosen[k])] = 1
		old[r], goal[r] = p.logp[k], p.goal[k]
		d := float64(p.advantage[k])
		sum, squares = sum+d, squares+d*d
	}
	m := sum / float64(len(rows))
	sd := math.Sqrt(max(0, squares/float64(len(rows))-m*m)) + 1e-8
	for r, k := range rows {
		adv[r] = float32((float64(p.advantage[k]) - m) / sd)
	}
}
