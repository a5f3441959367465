package play

import (
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/infer"
	"lowbit/internal/rng"
	"lowbit/method/distill"
	"lowbit/neuro"
	"lowbit/rl"
)

// Engines that decide.
const (
	Float   = "float"   // the network on package engine
	Integer = "integer" // its packed codes on package infer; students of learned steps alone
	Cores   = "cores"   // its folded integers on simulated cores; ternary corenets alone
)

// Engines returns their names.
func Engines() []string { return []string{Float, Integer, Cores} }

// IntegerUse tells what ran on integers.
type IntegerUse struct {
	Kernel      string `json:"kernel"`
	WeightBytes int    `json:"weight_bytes"` // packed
	// Different counts decisions that the trained network on floats would have
	// made otherwise. The deploy form rounds biases and multipliers once, so a
	// code can differ by one where a sum lies next to a border.
	Different int `json:"different"`
}

// CoreUse tells what ran on the cores.
type CoreUse struct {
	Cores   int `json:"cores"`
	Latency int `json:"latency_ticks"`
	// Different counts decisions that the trained network would have made
	// otherwise: it must be 0.
	Different int          `json:"different"`
	Events    neuro.Events `json:"events"`
}

// decider chooses the action of one game.
type decider interface {
	decide(obs []byte, fresh bool) (int32, error)
	// after runs behind the timed part.
	after() error
	close(r *Report)
}

// decide makes the decider.
func (p *player) decide(e *engine.Engine, a *rl.Agent) (decider, error) {
	if a == nil {
		if p.Engine != Float {
			return nil, fmt.Errorf("play: the planner is no network, want engine %s", Float)
		}
		plan, err := rl.NewPlanner(p.env)
		return &policy{policy: plan}, err
	}
	actor, err := rl.NewActor(e, a, p.spec, p.Seed)
	if err != nil {
		return nil, err
	}
	if p.Mode != "" {
		actor.Mode = p.Mode
	}
	actor.Epsilon = p.Epsilon
	if p.report.Mode = string(actor.Mode); actor.Mode == rl.Sample {
		p.report.Temperature = a.Info.Tau()
	}
	switch p.Engine {
	case Float:
		return &policy{policy: actor}, nil
	case Integer:
		return newIntegers(a, actor, p.spec, p.Config)
	}
	if actor.Mode != rl.Greedy || p.Epsilon != 0 {
		return nil, fmt.Errorf("play: cores are greedy, want mode %s and epsilon 0", rl.Greedy)
	}
	return newCores(e, a, actor, p.spec, p.Threads)
}

// policy plays on the float engine, or by planning.
type policy struct {
	policy rl.Policy
	act    [1]int32
	fresh  [1]bool
}

func (d *policy) decide(obs []byte, fresh bool) (int32, error) {
	d.fresh[0] = fresh
	err := d.policy.Act(obs, d.fresh[:], d.act[:])
	return d.act[0], err
}

func (d *policy) after() error  { return nil }
func (d *policy) close(*Report) {}

// cores plays on simulated cores.
type cores struct {
	nw      *neuro.Network
	sim     *neuro.Simulator
	viewer  *rl.Viewer
	actor   *rl.Actor
	obs     []byte
	fresh   [1]bool
	votes   []int32
	last    int
	differs int
}

func newCores(e *engine.Engine, a *rl.Agent, actor *rl.Actor, spec rl.EnvSpec, threads int) (*cores, error) {
	net, nw, err := distill.OnCores(e, a)
	if err != nil {
		return nil, fmt.Errorf("play: %w", err)
	}
	d := &cores{nw: nw, actor: actor, votes: make([]int32, net.Actions)}
	if d.viewer, err = rl.NewViewer(a.Info.View, spec); err != nil {
		return nil, err
	}
	d.sim, err = neuro.NewSimulator(d.nw, threads)
	return d, err
}

func (d *cores) decide(obs []byte, fresh bool) (int32, error) {
	d.obs, d.fresh[0] = obs, fresh
	view, err := d.viewer.Show(obs, d.fresh[:])
	if err != nil {
		return 0, err
	}
	if d.last, err = d.sim.Decide(view, d.votes); err != nil {
		return 0, err
	}
	return d.actor.Actions()[d.last], nil
}

// after compares the decision with the trained network's.
func (d *cores) after() error {
	z, err := d.actor.Logits(d.obs, d.fresh[:])
	if err != nil {
		return err
	}
	if rl.Choose(z, rl.Greedy, 1, nil) != d.last {
		d.differs++
	}
	return nil
}

func (d *cores) close(r *Report) {
	r.CoreUse = &CoreUse{Cores: len(d.nw.Cores), Latency: d.nw.Latency, Different: d.differs, Events: d.sim.Events()}
	d.sim.Close()
}

// integers plays on the packed integer runtime.
type integers struct {
	model   *infer.Model
	session *infer.Session
	viewer  *rl.Viewer
	view    rl.View
	actor   *rl.Actor // the same network on floats
	mode    rl.ActMode
	epsilon float64
	stream  rng.Stream

	in, out []float32
	obs     []byte
	fresh   [1]bool
	differs int
}

// integersDomain keeps the numbers of a player on integers apart from those of
// games.
const integersDomain = 0x696e7467

func newIntegers(a *rl.Agent, actor *rl.Actor, spec rl.EnvSpec, c Config) (*integers, error) {
	if a.Graph.InputNode(rl.MemoryName) != nil {
		return nil, fmt.Errorf("play: %s has a memory, which engine %s cannot keep, want engine %s", c.Model, Integer, Float)
	}
	if err := onIntegers(a.Graph); err != nil {
		return nil, fmt.Errorf("play: %s: %w", c.Model, err)
	}
	d := &integers{actor: actor, view: a.Info.View, mode: actor.Mode, epsilon: c.Epsilon, stream: rng.New(c.Seed, integersDomain)}
	var err error
	if d.model, err = infer.Lower(a.Graph, a.Store); err != nil {
		return nil, fmt.Errorf("play: %s: %w", c.Model, err)
	}
	if d.viewer, err = rl.NewViewer(d.view, spec); err != nil {
		return nil, err
	}
	d.session = d.model.NewSession(infer.Options{Threads: c.Threads})
	d.in, d.out = make([]float32, d.view.Size()), make([]float32, a.Outputs())
	return d, nil
}

// onIntegers refuses students that the runtime of learned steps is not for; the
// runtime itself names whatever else it lacks.
func onIntegers(g *graph.Graph) error {
	quantized := false
	for _, n := range g.Nodes() {
		switch n.Op().(type) {
		case graph.Spike:
			return fmt.Errorf("it has binary neurons, want engine %s for a ternary corenet, else %s", Cores, Float)
		case graph.FakeQuant:
			quantized = true
		}
		if n.Name() == distill.VotesName {
			return fmt.Errorf("the integer runtime has no shuffled channels and votes of a corenet, want a student %s, or engine %s", distill.Conv, Float)
		}
	}
	if !quantized {
		return fmt.Errorf("it is in full precision, engine %s wants a student of few bits, such as w2a2", Integer)
	}
	return nil
}

func (d *integers) decide(obs []byte, fresh bool) (int32, error) {
	d.obs, d.fresh[0] = obs, fresh
	views, err := d.viewer.Show(obs, d.fresh[:])
	if err != nil {
		return 0, err
	}
	d.view.Floats(d.in, views)
	if err := d.session.Run(d.in, d.out); err != nil {
		return 0, err
	}
	actions := d.actor.Actions()
	if d.epsilon > 0 && d.stream.Float64() < d.epsilon {
		return actions[d.stream.Intn(len(actions))], nil
	}
	return actions[rl.Choose(d.out, d.mode, d.actor.Agent.Info.Tau(), &d.stream)], nil
}

// after compares the best action with the trained network's.
func (d *integers) after() error {
	z, err := d.actor.Logits(d.obs, d.fresh[:])
	if err != nil {
		return err
	}
	if rl.Choose(z, rl.Greedy, 1, nil) != rl.Choose(d.out, rl.Greedy, 1, nil) {
		d.differs++
	}
	return nil
}

func (d *integers) close(r *Report) {
	r.IntegerUse = &IntegerUse{Kernel: d.model.Kernel(), WeightBytes: d.model.WeightBytes(), Different: d.differs}
	d.session.Close()
}
