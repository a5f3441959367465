package train

import (
	"fmt"
	"math"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/tensor"
)

// Stepper trains a graph step by step: forward, backward, optimizer. Run is
// built on it; loops with other data (policies, language) can be, too.
type Stepper struct {
	// Forward is the plan of the loss and the gradients: the graph's outputs
	// and "grad:<param>" of each trained parameter. Its inputs are the graph's.
	Forward *engine.Plan
	// Update is the optimizer's plan.
	Update *engine.Plan

	config optim.Config
	params []string
	grads  []*tensor.Tensor
	loss   *tensor.Tensor
	steps  []positive
}

// positive is a quantizer's step parameter.
type positive struct {
	name   string
	values []float32
}

// NewStepper makes a Stepper of a graph with the scalar output "loss": it adds
// the gradients of all parameters that c trains and that the loss depends on,
// and of the nodes named in gradTaps (outputs "grad:<name>"), puts missing
// optimizer state into the store and compiles both plans. The store must hold
// the graph's parameters. g is extended and must not be used further.
func NewStepper(e *engine.Engine, g *graph.Graph, store *tensor.Store, c optim.Config, gradTaps ...string) (*Stepper, error) {
	return Stepping{GradTaps: gradTaps}.New(e, nil, g, store, c)
}

// Stepping is how steps compute; Config says what Recompute and BF16 do.
type Stepping struct {
	GradTaps        []string
	Recompute, BF16 bool
}

// New is NewStepper with the values of the forward plan in m, if it is not nil.
func (how Stepping) New(e *engine.Engine, m *engine.Memory, g *graph.Graph, store *tensor.Store, c optim.Config) (*Stepper, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	params, err := addGradients(g, c, how.GradTaps, how.Recompute)
	if err != nil {
		return nil, err
	}
	if g, err = graph.Prune(g); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	og, err := optim.Build(params, c)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if err := optim.Prepare(og, store); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	s := &Stepper{config: c}
	compile := e.CompileIn
	if how.BF16 {
		compile = e.CompileRounded
	}
	if s.Forward, err = compile(m, g, store); err != nil {
		return nil, fmt.Errorf("train: compile: %w", err)
	}
	if s.Update, err = e.Compile(og, store); err != nil {
		return nil, fmt.Errorf("train: compile the optimizer: %w", err)
	}
	s.loss = s.Forward.Output("loss")
	return s, s.bind(g, params, store)
}

// bind connects the gradients with the optimizer and finds the steps.
func (s *Stepper) bind(g *graph.Graph, params []*graph.Node, store *tensor.Store) error {
	for _, p := range params {
		name := optim.GradInput(p.Name())
		grad := s.Forward.Output(name)
		if err := s.Update.SetInput(name, grad); err != nil {
			return fmt.Errorf("train: %w", err)
		}
		s.params, s.grads = append(s.params, p.Name()), append(s.grads, grad)
	}
	for _, n := range g.Params() {
		if p := n.Op().(graph.Param); p.Role == graph.Step {
			s.steps = append(s.steps, positive{p.Name, store.Get(p.Name).Float32s()})
		}
	}
	return s.CheckSteps()
}

// addGradients adds the outputs "grad:<name>" and returns the trained
// parameters. With again, values between blocks are computed a second time.
func addGradients(g *graph.Graph, c optim.Config, taps []string, again bool) ([]*graph.Node, error) {
	loss := g.OutputNode("loss")
	if loss == nil {
		return nil, fmt.Errorf("train: the graph has no output \"loss\"")
	}
	var wrt []*graph.Node
	for _, n := range g.Params() {
		if c.Trains(n.Op().(graph.Param)) {
			wrt = append(wrt, n)
		}
	}
	trained := len(wrt)
	for _, name := range taps {
		n := g.Find(name)
		if n == nil {
			return nil, fmt.Errorf("train: no node %q to tap the gradient of", name)
		}
		wrt = append(wrt, n)
	}
	var grads []*graph.Node
	var err error
	if again {
		grads, err = graph.RecomputedGradients(g, loss, wrt, g.InputNode(nn.InputName))
	} else {
		grads, err = graph.Gradients(g, loss, wrt)
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var params []*graph.Node
	for i, d := range grads {
		switch name := optim.GradInput(wrt[i].Name()); {
		case d == nil && i >= trained:
			return nil, fmt.Errorf("train: the loss does not depend on %q, so its gradient cannot be tapped", wrt[i].Name())
		case d == nil:
		case i < trained:
			params = append(params, wrt[i])
			g.Output(name, d)
		case g.OutputNode(name) == nil:
			g.Output(name, d)
		}
	}
	if len(params) == 0 {
		return nil, fmt.Errorf("train: the loss depends on no trained parameter")
	}
	return params, g.Err()
}

// Params returns the names of the trained parameters, in graph order.
func (s *Stepper) Params() []string { return s.params }

// Gradient computes loss and gradients for the inputs that are set and applies
// the graph's own updates (running statistics). It fails with ErrNotFinite if
// the loss or a gradient is not finite; no parameter has changed then.
func (s *Stepper) Gradient() (loss float64, err error) {
	if err := s.Forward.Run(); err != nil {
		return 0, fmt.Errorf("train: %w", err)
	}
	loss = float64(s.loss.Float32s()[0])
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, fmt.Errorf("train: the loss is %g: %w", loss, ErrNotFinite)
	}
	for i, g := range s.grads {
		if !finite(g.Float32s()) {
			return loss, fmt.Errorf("train: the gradient of %q: %w", s.params[i], ErrNotFinite)
		}
	}
	return loss, nil
}

// Apply updates the parameters with the gradients of the last Gradient. t
// counts updates from 1.
func (s *Stepper) Apply(lr float64, t int) error {
	if err := s.config.SetScalars(s.Update.Input, lr, t); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := s.Update.Run(); err != nil {
		return fmt.Errorf("train: optimizer: %w", err)
	}
	return s.CheckSteps()
}

// CheckSteps returns an error that names the first quantizer step that is not
// positive and finite.
func (s *Stepper) CheckSteps() error {
	for _, p := range s.steps {
		for i, v := range p.values {
			if !(v > 0) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("train: quantizer step %q[%d] is %g, want positive", p.name, i, v)
			}
		}
	}
	return nil
}

// finite reports whether no value is infinite or NaN: v-v is 0 only then. Four
// sums, so that the additions do not wait for each other.
func finite(v []float32) bool {
	var a, b, c, d float32
	for len(v) >= 4 {
		a += v[0] - v[0]
		b += v[1] - v[1]
		c += v[2] - v[2]
		d += v[3] - v[3]
		v = v[4:]
	}
	for _, x := range v {
		a += x - x
	}
	return a+b+c+d == 0
}
