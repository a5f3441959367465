package distill

import (
	"fmt"

	"lowbit/engine"
	"lowbit/rl"
)

// Teacher labels the states of the N games of one environment.
type Teacher interface {
	// Label writes q [N, actions]: its outputs for the states that obs shows.
	// fresh [N] says which games have just begun.
	Label(obs []byte, fresh []bool, q []float32) error
	// Actions are the environment's actions that the columns of q stand for.
	Actions() []int32
	// Mode is how the teacher acts on q.
	Mode() rl.ActMode
	// Tau is the divisor of its outputs that suits it, also where it draws.
	Tau() float64
}

// Source makes a teacher for each environment that it shall label or play.
type Source struct {
	// Name stands in records.
	Name string
	// Agent teaches; nil: the planner of minatar/breakout.
	Agent *rl.Agent
}

// Planner is the source of the exact look-ahead of minatar/breakout.
func Planner() Source { return Source{Name: "planner"} }

// Open returns the teacher of an environment's games.
func (s Source) Open(e *engine.Engine, env rl.VecEnv, seed uint64) (Teacher, error) {
	spec := env.Spec()
	if s.Agent == nil {
		p, err := rl.NewPlanner(env)
		if err != nil {
			return nil, fmt.Errorf("distill: teacher: %w", err)
		}
		return &planner{plan: p, actions: spec.Minimal, choice: make([]int32, spec.Envs)}, nil
	}
	c, err := rl.NewActor(e, s.Agent, spec, seed)
	if err != nil {
		return nil, fmt.Errorf("distill: teacher: %w", err)
	}
	return agent{c}, nil
}

// policy returns the source as a player.
func (s Source) policy(e *engine.Engine, env rl.VecEnv, seed uint64) (rl.Policy, error) {
	if s.Agent == nil {
		return rl.NewPlanner(env)
	}
	return rl.NewActor(e, s.Agent, env.Spec(), seed)
}

// agent is a network that teaches.
type agent struct{ actor *rl.Actor }

func (t agent) Label(obs []byte, fresh []bool, q []float32) error {
	out, err := t.actor.Logits(obs, fresh)
	if err != nil {
		return fmt.Errorf("distill: teacher: %w", err)
	}
	copy(q, out)
	return nil
}

func (t agent) Actions() []int32 { return t.actor.Actions() }
func (t agent) Mode() rl.ActMode { return t.actor.Mode }
func (t agent) Tau() float64     { return t.actor.Agent.Info.Tau() }

// planner gives its choice the output 1 and all others 0.
type planner struct {
	plan    *rl.Planner
	actions []int32
	choice  []int32
}

func (t *planner) Label(obs []byte, fresh []bool, q []float32) error {
	if err := t.plan.Act(obs, fresh, t.choice); err != nil {
		return fmt.Errorf("distill: teacher: %w", err)
	}
	n := len(t.actions)
	for i, a := range t.choice {
		for k, b := range t.actions {
			q[i*n+k] = 0
			if a == b {
				q[i*n+k] = 1
			}
		}
	}
	return nil
}

func (t *planner) Actions() []int32 { return t.actions }
func (t *planner) Mode() rl.ActMode { return rl.Greedy }
func (t *planner) Tau() float64     { return 0.1 }
