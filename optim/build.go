package optim

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/tensor"
)

// clipEps is what torch.nn.utils.clip_grad_norm_ adds to the norm.
const clipEps = 1e-6

// builder holds what the updates of one optimizer graph share.
type builder struct {
	g            *graph.Graph
	c            Config
	lr           *graph.Node
	bias1, bias2 *graph.Node // 1 - Beta1^t, sqrt(1 - Beta2^t)
	clip         *graph.Node // the factor of every gradient, or nil
	rates        map[float64]*graph.Node
	constants    map[float64]*graph.Node
}

// Build returns the optimizer of the given parameter nodes (of any graph: name,
// shape and role count). Every node must be a parameter that Trains. Its
// inputs are "grad:<param>" in the parameter's shape, the scalar "lr" and, for
// Adam and AdamW, the scalars "bias1" and "bias2" (SetScalars). If ClipNorm is
// positive the output "grad_norm" is the global norm before clipping, its parts
// added in the order of params. Call Prepare before compiling.
func Build(params []*graph.Node, c Config) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b := &builder{g: graph.New(), c: c, rates: map[float64]*graph.Node{}, constants: map[float64]*graph.Node{}}
	b.lr = b.g.FixedInput("lr", tensor.F32)
	if c.Kind != SGD {
		b.bias1, b.bias2 = b.g.FixedInput("bias1", tensor.F32), b.g.FixedInput("bias2", tensor.F32)
	}
	ps, grads := make([]*graph.Node, len(params)), make([]*graph.Node, len(params))
	for i, n := range params {
		p, ok := n.Op().(graph.Param)
		if !ok || !c.Trains(p) {
			return nil, fmt.Errorf("optim: %s %q: want a trained parameter", n.Op().Kind(), n.Name())
		}
		ps[i] = b.g.Param(p)
		grads[i] = b.g.FixedInput(GradInput(p.Name), tensor.F32, p.Shape...)
	}
	if c.ClipNorm > 0 && len(grads) > 0 {
		b.clipNorm(grads)
	}
	for i, p := range ps {
		b.update(p, grads[i])
	}
	if err := b.g.Err(); err != nil {
		return nil, fmt.Errorf("optim: %w", err)
	}
	return b.g, nil
}

// constant returns the scalar v, one node a value.
func (b *builder) constant(v float64) *graph.Node {
	if b.constants[v] == nil {
		b.constants[v] = b.g.Scalar(float32(v))
	}
	return b.constants[v]
}

// times returns v*x, or x itself for 1.
func (b *builder) times(v float64, x *graph.Node) *graph.Node {
	if v == 1 {
		return x
	}
	return b.g.Mul(x, b.constant(v))
}

// rate returns the learning rate of a group's multiplier.
func (b *builder) rate(multiplier float64) *graph.Node {
	if b.rates[multiplier] == nil {
		b.rates[multiplier] = b.times(multiplier, b.lr)
	}
	return b.rates[multiplier]
}

// state adds a state parameter of p's shape.
func (b *builder) state(p *graph.Node, what string) *graph.Node {
	return b.g.Param(graph.Param{
		Name: StateName(p.Name(), what), Shape: p.Shape(), Role: graph.Stat,
		Init: graph.Init{Kind: graph.InitConst},
	})
}

// clipNorm sets the factor min(1, ClipNorm/(norm+1e-6)).
func (b *builder) clipNorm(grads []*graph.Node) {
	g := b.g
	var sum *graph.Node
	for _, d := range grads {
		s := g.Sum(g.Mul(d, d))
		if sum == nil {
			sum = s
		} else {
			sum = g.Add(sum, s)
		}
	}
	norm := g.Sqrt(sum)
	g.Output("grad_norm", norm)
	b.clip = g.Min(b.constant(1), g.Div(b.constant(b.c.ClipNorm), g.Add(norm, b.constant(clipEps))))
}

// update adds the replacement of one parameter and its state.
func (b *builder) update(p, grad *graph.Node) {
	g := b.g
	group := b.c.GroupOf(p.Op().(graph.Param))
	lr := b.rate(group.LR)
	if b.clip != nil {
		grad = g.Mul(grad, b.clip)
	}
	old := p
	if group.WeightDecay > 0 {
		if b.c.Kind == AdamW {
			old = g.Mul(p, g.Sub(b.constant(1), b.times(group.WeightDecay, lr)))
		} else {
			grad = g.Add(grad, b.times(group.WeightDecay, p))
		}
	}
	var delta *graph.Node
	if b.c.Kind == SGD {
		delta = g.Mul(b.momentum(p, grad), lr)
	} else {
		delta = g.Mul(b.adam(p, grad), g.Div(lr, b.bias1))
	}
	value := g.Sub(old, delta)
	if group.Floor > 0 {
		value = g.Max(value, b.constant(float64(atLeast(group.Floor))))
	}
	g.Update(p, value)
	if b.c.EMA > 0 {
		a := b.state(p, "ema")
		g.Update(a, g.Add(b.times(b.c.EMA, a), b.times(1-b.c.EMA, value)))
	}
}

// atLeast returns the smallest float32 that is not below v.
func atLeast(v float64) float32 {
	f := float32(v)
	if float64(f) < v {
		f = math.Nextafter32(f, math.MaxFloat32)
	}
	return f
}

// momentum returns SGD's direction: buf = Momentum*buf + grad, and grad +
// Momentum*buf for Nesterov.
func (b *builder) momentum(p, grad *graph.Node) *graph.Node {
	if b.c.Momentum == 0 {
		return grad
	}
	g, old := b.g, b.state(p, "momentum")
	buf := g.Add(b.times(b.c.Momentum, old), grad)
	g.Update(old, buf)
	if b.c.Nesterov {
		return g.Add(grad, b.times(b.c.Momentum, buf))
	}
	return buf
}

// adam returns m / (sqrt(v)/bias2 + Eps) with m += (1-Beta1)*(grad-m) and
// v = Beta2*v + (1-Beta2)*grad^2; lr/bias1 is the caller's.
func (b *builder) adam(p, grad *graph.Node) *graph.Node {
	g, c := b.g, b.c
	m0, v0 := b.state(p, "m"), b.state(p, "v")
	m := g.Add(m0, b.times(1-c.Beta1, g.Sub(grad, m0)))
	v := g.Add(b.times(c.Beta2, v0), b.times(1-c.Beta2, g.Mul(grad, grad)))
	g.Update(m0, m)
	g.Update(v0, v)
	return g.Div(m, g.Add(g.Div(g.Sqrt(v), b.bias2), b.constant(c.Eps)))
}
