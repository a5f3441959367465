// Package optim builds optimizers as graphs and computes learning rates.
//
// An optimizer is a graph of element-wise ops: it reads parameters, their
// state and the inputs "grad:<param>", and updates parameters and state when
// it has run. The engine that trains the network runs it too. State lives in
// the Store as "optim.<param>.<what>" with role Stat, so a checkpoint of the
// Store holds the optimizer. What changes from step to step are scalar inputs:
// "lr" and, for Adam, the bias corrections.
//
// The rules are those of PyTorch's SGD, Adam and AdamW.
package optim

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"lowbit/graph"
	"lowbit/tensor"
)

// Kind names an optimizer.
type Kind string

// Optimizers.
const (
	SGD   Kind = "sgd"   // decay is added to the gradient
	Adam  Kind = "adam"  // decay is added to the gradient
	AdamW Kind = "adamw" // decay shrinks the parameter directly
)

// DefaultStepFloor is the least value of a quantizer's step: far below any
// useful step (an 8-bit grid of weights of size 0.01 has one of 1e-4), so it
// only stops a step from reaching zero or changing its sign.
const DefaultStepFloor = 1e-6

// Group is how a set of parameters is trained. A parameter belongs to the
// first group that matches it.
type Group struct {
	// Name is for messages.
	Name string `json:"name"`
	// Roles that match; every role if empty.
	Roles []graph.Role `json:"roles,omitempty"`
	// Pattern is a regular expression that the parameter's name must match;
	// every name if empty.
	Pattern string `json:"pattern,omitempty"`
	// LR multiplies the learning rate; 0 means 1. Frozen stops training.
	LR float64 `json:"lr,omitempty"`
	// WeightDecay is the factor of the parameter in its own gradient (SGD,
	// Adam) or of lr in the shrinking (AdamW).
	WeightDecay float64 `json:"weight_decay"`
	// Floor, if positive, is the least value after an update.
	Floor float64 `json:"floor,omitempty"`
	// Frozen leaves the parameters as they are.
	Frozen bool `json:"frozen,omitempty"`
}

// Config describes an optimizer. DefaultConfig gives the common recipe.
type Config struct {
	Kind Kind `json:"kind"`
	// Momentum of SGD; 0 keeps no state.
	Momentum float64 `json:"momentum,omitempty"`
	// Nesterov looks ahead along the momentum (SGD).
	Nesterov bool `json:"nesterov,omitempty"`
	// Beta1 and Beta2 are Adam's decay rates, Eps its denominator's guard.
	Beta1 float64 `json:"beta1,omitempty"`
	Beta2 float64 `json:"beta2,omitempty"`
	Eps   float64 `json:"eps,omitempty"`
	// ClipNorm, if positive, scales all gradients so that their global
	// 2-norm is at most ClipNorm, as torch.nn.utils.clip_grad_norm_ does.
	ClipNorm float64 `json:"clip_norm,omitempty"`
	// EMA, if positive, keeps an average of each parameter:
	// ema = EMA*ema + (1-EMA)*new value. Running statistics are not averaged.
	EMA float64 `json:"ema,omitempty"`
	// Groups; a parameter that none matches is trained without decay.
	Groups []Group `json:"groups,omitempty"`
}

// DefaultGroups decays weights alone, and keeps quantizer steps above
// DefaultStepFloor.
func DefaultGroups(weightDecay float64) []Group {
	return []Group{
		{Name: "weights", Roles: []graph.Role{graph.Weight}, WeightDecay: weightDecay},
		{Name: "steps", Roles: []graph.Role{graph.Step}, Floor: DefaultStepFloor},
		{Name: "others"},
	}
}

// DefaultConfig is SGD with momentum 0.9 and the default groups, or Adam and
// AdamW with the rates of their paper (arXiv 1412.6980, 1711.05101).
func DefaultConfig(kind Kind, weightDecay float64) Config {
	c := Config{Kind: kind, Groups: DefaultGroups(weightDecay)}
	if kind == SGD {
		c.Momentum = 0.9
	} else {
		c.Beta1, c.Beta2, c.Eps = 0.9, 0.999, 1e-8
	}
	return c
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	switch c.Kind {
	case SGD:
		if c.Momentum < 0 || c.Momentum >= 1 {
			return fmt.Errorf("optim: momentum %g outside [0, 1)", c.Momentum)
		}
		if c.Nesterov && c.Momentum == 0 {
			return fmt.Errorf("optim: nesterov needs a momentum above 0")
		}
	case Adam, AdamW:
		if c.Beta1 < 0 || c.Beta1 >= 1 || c.Beta2 < 0 || c.Beta2 >= 1 || c.Eps <= 0 {
			return fmt.Errorf("optim: %s: beta1 %g, beta2 %g outside [0, 1) or eps %g not above 0", c.Kind, c.Beta1, c.Beta2, c.Eps)
		}
	default:
		return fmt.Errorf("optim: unknown optimizer %q, want %s, %s or %s", c.Kind, SGD, Adam, AdamW)
	}
	if c.EMA < 0 || c.EMA >= 1 || c.ClipNorm < 0 {
		return fmt.Errorf("optim: ema %g outside [0, 1) or clip norm %g negative", c.EMA, c.ClipNorm)
	}
	for _, g := range c.Groups {
		if _, err := regexp.Compile(g.Pattern); err != nil {
			return fmt.Errorf("optim: group %q: %w", g.Name, err)
		}
		if g.LR < 0 || g.WeightDecay < 0 || g.Floor < 0 || badNumber(g.LR+g.WeightDecay+g.Floor) {
			return fmt.Errorf("optim: group %q: lr %g, weight decay %g, floor %g: want finite, not negative", g.Name, g.LR, g.WeightDecay, g.Floor)
		}
	}
	return nil
}

func badNumber(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }

// GroupOf returns the group that trains p, with LR resolved (never 0). The
// config must be valid.
func (c Config) GroupOf(p graph.Param) Group {
	out := Group{Name: "default"}
	for _, g := range c.Groups {
		if len(g.Roles) > 0 && !slices.Contains(g.Roles, p.Role) {
			continue
		}
		if g.Pattern != "" && !regexp.MustCompile(g.Pattern).MatchString(p.Name) {
			continue
		}
		out = g
		break
	}
	if out.LR == 0 {
		out.LR = 1
	}
	return out
}

// Trains reports whether the optimizer trains p: it is no statistic and its
// group is not frozen. The config must be valid.
func (c Config) Trains(p graph.Param) bool {
	return p.Role != graph.Stat && !c.GroupOf(p).Frozen
}

// GradInput is the name of the input with a parameter's gradient.
func GradInput(param string) string { return "grad:" + param }

// statePrefix starts the name of every state tensor.
const statePrefix = "optim."

// StateName is the name of a parameter's state, such as
// "optim.conv1.weight.momentum".
func StateName(param, what string) string { return statePrefix + param + "." + what }

// IsState reports whether a Store's tensor is optimizer state.
func IsState(name string) bool { return strings.HasPrefix(name, statePrefix) }

// Prepare puts into the store the state that the optimizer graph g needs and
// the store lacks: averages start as their parameter, all else as zero.
func Prepare(g *graph.Graph, store *tensor.Store) error {
	for _, n := range g.Params() {
		p := n.Op().(graph.Param)
		if !IsState(p.Name) || store.Get(p.Name) != nil {
			continue
		}
		t := tensor.New(tensor.F32, p.Shape...)
		if name, ok := averaged(p.Name); ok {
			src := store.Get(name)
			if src == nil || src.DType() != tensor.F32 || !src.Shape().Equal(p.Shape) {
				return fmt.Errorf("optim: average of %q: the store has %v, want f32%v", name, src, p.Shape)
			}
			t = src.Clone()
		}
		if err := store.Put(p.Name, t); err != nil {
			return fmt.Errorf("optim: state: %w", err)
		}
	}
	return nil
}

// averaged returns the parameter whose average has that state name.
func averaged(state string) (string, bool) {
	s, ok := strings.CutSuffix(strings.TrimPrefix(state, statePrefix), ".ema")
	return s, ok && IsState(state)
}

// Averaged returns a copy of the store without optimizer state in which each
// parameter that has an average (Config.EMA) is replaced by it.
func Averaged(store *tensor.Store) (*tensor.Store, error) {
	out := tensor.NewStore()
	for _, name := range store.Names() {
		if IsState(name) {
			continue
		}
		t := store.Get(name)
		if a := store.Get(StateName(name, "ema")); a != nil {
			t = a
		}
		if err := out.Put(name, t.Clone()); err != nil {
			return nil, fmt.Errorf("optim: average: %w", err)
		}
	}
	return out, nil
}

// SetScalars sets the inputs of the optimizer graph that change from step to
// step: the learning rate and, for Adam, the bias corrections 1-Beta1^t and
// sqrt(1-Beta2^t), computed in float64. t counts updates from 1; input is the
// plan's Input method.
func (c Config) SetScalars(input func(name string) *tensor.Tensor, lr float64, t int) error {
	if t < 1 {
		return fmt.Errorf("optim: update %d, want at least 1", t)
	}
	values := map[string]float64{"lr": lr}
	if c.Kind != SGD {
		values["bias1"] = 1 - math.Pow(c.Beta1, float64(t))
		values["bias2"] = math.Sqrt(1 - math.Pow(c.Beta2, float64(t)))
	}
	for name, v := range values {
		x := input(name)
		if x == nil {
			continue // nothing reads it
		}
		x.Float32s()[0] = float32(v)
	}
	return nil
}
