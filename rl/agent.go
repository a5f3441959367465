package rl

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/tensor"
)

// ActMode names how an agent chooses among its outputs.
type ActMode string

// Modes. Greedy takes the largest output, the first of equals. Sample draws
// from softmax(outputs/temperature).
const (
	Greedy ActMode = "greedy"
	Sample ActMode = "sample"
)

// Names of an agent's graph: Input f32 [B, C, H, W]; Logits f32 [B, actions],
// Q-values or log-probabilities up to a constant; Value f32 [B, 1] if the agent
// has a critic; Memory f32 [B, n] both as input and output if it has a
// recurrent state, zero at the start of an episode.
const (
	InputName  = "input"
	LogitsName = "logits"
	ValueName  = "value"
	MemoryName = "memory"
)

// AgentInfo says how an agent sees and acts.
type AgentInfo struct {
	// Kind is how it came to be: "dqn", "ppo", "a3c", "distill", "sb3".
	Kind string `json:"kind"`
	// Env is the environment that it plays, Preset the Atari protocol.
	Env    string `json:"env"`
	Preset string `json:"preset,omitempty"`
	// Actions are the names of its outputs; empty if only their number is
	// known: then they are the environment's own, in order.
	Actions []string `json:"actions,omitempty"`
	View    View     `json:"view"`
	Mode    ActMode  `json:"mode"`
	// Temperature divides its outputs where it draws an action and where it
	// teaches; 0 means 1.
	Temperature float64 `json:"temperature,omitempty"`
}

// Tau returns Temperature, 1 if it is 0.
func (i AgentInfo) Tau() float64 {
	if i.Temperature > 0 {
		return i.Temperature
	}
	return 1
}

// Agent is a network that plays: graph at batch 1 and parameters.
type Agent struct {
	Info  AgentInfo
	Graph *graph.Graph
	Store *tensor.Store
}

// Outputs returns the number of actions that the network knows.
func (a *Agent) Outputs() int { return a.Graph.OutputNode(LogitsName).Shape()[1] }

// Check says what is wrong with the agent's graph and view.
func (a *Agent) Check() error {
	in, out := a.Graph.InputNode(InputName), a.Graph.OutputNode(LogitsName)
	if in == nil || out == nil || len(out.Shape()) != 2 {
		return fmt.Errorf("rl: agent: the graph has no input %q or no output %q of [batch actions]", InputName, LogitsName)
	}
	if err := a.Info.View.Validate(); err != nil {
		return err
	}
	if got, want := in.Shape()[1:].Size(), a.Info.View.Size(); got != want {
		return fmt.Errorf("rl: agent: the network reads %v, its view has %d elements", in.Shape(), want)
	}
	if n := len(a.Info.Actions); n != 0 && n != out.Shape()[1] {
		return fmt.Errorf("rl: agent: %d outputs for %d actions", out.Shape()[1], n)
	}
	if a.Info.Mode != Greedy && a.Info.Mode != Sample {
		return fmt.Errorf("rl: agent: mode %q, want %s or %s", a.Info.Mode, Greedy, Sample)
	}
	if m := a.Graph.InputNode(MemoryName); m != nil {
		if o := a.Graph.OutputNode(MemoryName); o == nil || !o.Shape().Equal(m.Shape()) {
			return fmt.Errorf("rl: agent: memory of %v without an output of that shape", m.Shape())
		}
	}
	return nil
}

// actionMap returns the environment's action of each output.
func (a *Agent) actionMap(s EnvSpec) ([]int32, error) {
	n := a.Outputs()
	if len(a.Info.Actions) == 0 {
		if n != len(s.Actions) {
			return nil, fmt.Errorf("rl: an agent of %d actions, but %s has %d: %s", n, s.Name, len(s.Actions), strings.Join(s.Actions, ", "))
		}
		m := make([]int32, n)
		for i := range m {
			m[i] = int32(i)
		}
		return m, nil
	}
	var m []int32
	for _, name := range a.Info.Actions {
		at := slices.Index(s.Actions, name)
		if at < 0 {
			return nil, fmt.Errorf("rl: the agent's action %q is none of %s: %s", name, s.Name, strings.Join(s.Actions, ", "))
		}
		m = append(m, int32(at))
	}
	return m, nil
}

// minimalActions returns the names of the actions that have an effect.
func minimalActions(s EnvSpec) []string {
	var names []string
	for _, a := range s.Minimal {
		names = append(names, s.Actions[a])
	}
	return names
}

// Actor lets an agent play the N games of an environment. Plans are compiled
// once for each number of games.
type Actor struct {
	Agent *Agent
	// Mode starts as the agent's own; Epsilon is the chance of a uniform action
	// in place of its choice.
	Mode    ActMode
	Epsilon float64

	actions []int32
	viewer  *Viewer
	plan    *engine.Plan
	logits  []float32 // [N, outputs], of the last observation
	memory  []float32 // the plan's own input, or nil
	stream  rng.Stream
}

// actorDomain keeps the numbers of actors apart from those of games.
const actorDomain = 0x6163746f72

// NewActor compiles the agent for an environment's number of games. It is an
// error if its view or its actions are not the environment's.
func NewActor(e *engine.Engine, a *Agent, s EnvSpec, seed uint64) (*Actor, error) {
	if err := a.Check(); err != nil {
		return nil, err
	}
	c := &Actor{Agent: a, Mode: a.Info.Mode, stream: rng.New(seed, actorDomain)}
	var err error
	if c.actions, err = a.actionMap(s); err != nil {
		return nil, err
	}
	if c.viewer, err = NewViewer(a.Info.View, s); err != nil {
		return nil, err
	}
	if c.plan, err = forwardPlan(e, a.Graph, a.Store, s.Envs); err != nil {
		return nil, err
	}
	c.logits = c.plan.Output(LogitsName).Float32s()
	if m := c.plan.Input(MemoryName); m != nil {
		c.memory = m.Float32s()
	}
	return c, nil
}

// forwardPlan compiles an inference graph for a batch.
func forwardPlan(e *engine.Engine, g *graph.Graph, store *tensor.Store, batch int) (*engine.Plan, error) {
	g, err := graph.WithBatch(g, batch)
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	if g, err = graph.Inference(g); err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	p, err := e.Compile(g, store)
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	return p, nil
}

// Actions returns the environment's action of each output; the caller must not
// change it.
func (c *Actor) Actions() []int32 { return c.actions }

// Logits runs the network on obs [N, ObsBytes] and returns its outputs
// [N, outputs], valid until the next call. fresh [N] says which games have
// just begun: their memory is cleared.
func (c *Actor) Logits(obs []byte, fresh []bool) ([]float32, error) {
	views, err := c.viewer.Show(obs, fresh)
	if err != nil {
		return nil, err
	}
	c.Agent.Info.View.Floats(c.plan.Input(InputName).Float32s(), views)
	if c.memory != nil {
		n := len(c.memory) / len(fresh)
		for i, f := range fresh {
			if f {
				clear(c.memory[i*n : (i+1)*n])
			}
		}
	}
	if err := c.plan.Run(); err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	if c.memory != nil {
		copy(c.memory, c.plan.Output(MemoryName).Float32s())
	}
	return c.logits, nil
}

// Views returns what the network saw in the last Logits, [N, View.Bytes].
func (c *Actor) Views() []byte { return c.viewer.out }

// Act implements Policy.
func (c *Actor) Act(obs []byte, fresh []bool, act []int32) error {
	logits, err := c.Logits(obs, fresh)
	if err != nil {
		return err
	}
	if len(act) != len(fresh) {
		return fmt.Errorf("rl: agent: %d actions for %d games", len(act), len(fresh))
	}
	n := len(c.actions)
	for i := range act {
		act[i] = c.actions[c.choose(logits[i*n:(i+1)*n])]
	}
	return nil
}

// choose returns an output.
func (c *Actor) choose(logits []float32) int {
	if c.Epsilon > 0 && c.stream.Float64() < c.Epsilon {
		return c.stream.Intn(len(logits))
	}
	if c.Mode == Sample {
		return sampleLogits(logits, c.Agent.Info.Tau(), c.stream.Float64())
	}
	return argmax(logits)
}

// argmax returns the first of the largest elements.
func argmax(v []float32) int {
	best := 0
	for i, x := range v {
		if x > v[best] {
			best = i
		}
	}
	return best
}

// sampleLogits returns the output in whose part of softmax(logits/tau) u, of
// [0, 1), lies.
func sampleLogits(logits []float32, tau, u float64) int {
	top := logits[argmax(logits)]
	var sum float64
	for _, v := range logits {
		sum += math.Exp(float64(v-top) / tau)
	}
	u *= sum
	for i, v := range logits {
		if u -= math.Exp(float64(v-top) / tau); u < 0 {
			return i
		}
	}
	return len(logits) - 1
}

// metaAgent is the metadata key of a weights file that holds an AgentInfo.
const metaAgent = "lowbit.agent"

// Metadata returns what makes a weights file an agent: info and graph.
func (a *Agent) Metadata() (map[string]string, error) {
	info, err := json.Marshal(a.Info)
	if err != nil {
		return nil, fmt.Errorf("rl: agent: %w", err)
	}
	g, err := graph.Encode(a.Graph)
	if err != nil {
		return nil, fmt.Errorf("rl: agent: %w", err)
	}
	return map[string]string{metaAgent: string(info), "lowbit.graph": string(g)}, nil
}

// Choose returns the output that a mode takes, drawing from s at temperature tau
// if it samples.
func Choose(logits []float32, m ActMode, tau float64, s *rng.Stream) int {
	if m == Sample {
		return sampleLogits(logits, tau, s.Float64())
	}
	return argmax(logits)
}
