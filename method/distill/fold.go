package distill

import (
	"errors"
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/neuro"
	"lowbit/rl"
	"lowbit/tensor"
)

// Fold turns a trained ternary corenet into layers of integers: weights -1, 0,
// 1 and per channel the threshold of
//
//	spike  <=>  sum of w*x >= theta
//
// Theta is found by running the student's own batch norm and spike on every
// sum that can occur, so that both sides agree on all of them: in exact
// arithmetic it is ceil(mean - beta*sqrt(var+eps)/gamma). The gain of the votes
// is dropped: it is positive and the same for all actions.
//
// An error names the node that such a net cannot have.
func Fold(e *engine.Engine, a *rl.Agent) (*neuro.Net, error) {
	chain, err := foldable(a.Graph)
	if err != nil {
		return nil, err
	}
	g, err := graph.Clone(a.Graph)
	if err != nil {
		return nil, fmt.Errorf("distill: fold: %w", err)
	}
	for _, l := range chain {
		g.Output("weight:"+l.conv.Name(), g.Find(l.conv.In()[1].Name()))
	}
	plan, err := e.Compile(g, a.Store)
	if err != nil {
		return nil, fmt.Errorf("distill: fold: %w", err)
	}
	if err := plan.Run(); err != nil { // weights do not depend on the input
		return nil, fmt.Errorf("distill: fold: %w", err)
	}
	in := a.Graph.InputNode(rl.InputName).Shape()
	net := &neuro.Net{Input: neuro.Shape{C: in[1], H: in[2], W: in[3]}, Actions: a.Outputs()}
	for _, l := range chain {
		n, err := l.fold(e, a.Store, plan.Output("weight:"+l.conv.Name()))
		if err != nil {
			return nil, err
		}
		net.Layers = append(net.Layers, n)
	}
	if err := net.Check(); err != nil {
		return nil, fmt.Errorf("distill: fold: %w", err)
	}
	return net, nil
}

// stage is one layer of a foldable graph.
type stage struct {
	spike, norm, conv *graph.Node
	shuffle           int // groups that are interleaved in front, or 0
	in                *graph.Node
}

// foldable walks from the votes back to the input.
func foldable(g *graph.Graph) ([]stage, error) {
	n := g.OutputNode(rl.LogitsName)
	for n != nil && n.Name() != VotesName {
		if o, ok := n.Op().(graph.Binary); !ok || o.F != graph.Mul {
			return nil, fmt.Errorf("distill: fold: %s: the outputs are no votes of binary neurons: want a corenet of %s weights", n.Name(), Ternary)
		}
		n = n.In()[0]
	}
	if n = n.In()[0]; n.Op().Kind() == "reshape" {
		n = n.In()[0]
	}
	var chain []stage
	for {
		if _, ok := n.Op().(graph.Input); ok {
			break
		}
		s, err := stageOf(n)
		if err != nil {
			return nil, err
		}
		chain = append([]stage{s}, chain...)
		n = s.in
	}
	if len(chain) == 0 {
		return nil, errors.New("distill: fold: a graph without layers")
	}
	return chain, nil
}

// stageOf reads the layer that ends with n.
func stageOf(n *graph.Node) (stage, error) {
	s := stage{spike: n}
	fail := func(at *graph.Node, want string) (stage, error) {
		return s, fmt.Errorf("distill: fold: %s is a %s, want %s", at.Name(), at.Op().Kind(), want)
	}
	if _, ok := n.Op().(graph.Spike); !ok {
		return fail(n, "a spike")
	}
	s.norm = n.In()[0]
	if _, ok := s.norm.Op().(graph.BatchNorm); !ok {
		return fail(s.norm, "a batch norm")
	}
	s.conv = s.norm.In()[0]
	if _, ok := s.conv.Op().(graph.Conv2D); !ok {
		return fail(s.conv, "a convolution")
	}
	if w := s.conv.In()[1]; w.Op().Kind() != "ternary" {
		return fail(w, "ternary weights")
	}
	s.in = s.conv.In()[0]
	if _, ok := s.in.Op().(graph.Reshape); ok { // a shuffle
		turn := s.in.In()[0]
		t, ok := turn.Op().(graph.Transpose)
		if !ok || len(t.Perm) != 5 || t.Perm[1] != 2 || t.Perm[2] != 1 {
			return fail(turn, "a shuffle of channels")
		}
		split := turn.In()[0]
		s.shuffle = split.Shape()[1]
		s.in = split.In()[0]
	}
	return s, nil
}

// fold makes the integer layer.
func (s *stage) fold(e *engine.Engine, store *tensor.Store, w *tensor.Tensor) (neuro.Layer, error) {
	o := s.conv.Op().(graph.Conv2D)
	in, out := s.in.Shape(), s.conv.Shape()
	l := neuro.Layer{
		Name: s.conv.Name(), Kind: neuro.Conv, In: neuro.Shape{C: in[1], H: in[2], W: in[3]}, Out: out[1],
		Kernel: [2]int{w.Shape()[2], w.Shape()[3]}, Stride: o.Stride, Pad: [2]int{o.Pad[0], o.Pad[1]}, Groups: o.Groups,
	}
	if o.Dilation != [2]int{1, 1} || o.Pad[0] != o.Pad[2] || o.Pad[1] != o.Pad[3] {
		return l, fmt.Errorf("distill: fold: %s: dilation %v, padding %v: want none and the same on both sides", s.conv.Name(), o.Dilation, o.Pad)
	}
	l.Weights = make([]int8, w.Len())
	for i, v := range w.Float32s() {
		l.Weights[i] = int8(v)
	}
	if s.shuffle > 1 {
		l.Perm = make([]int32, in[1])
		each := in[1] / s.shuffle
		for c := range l.Perm {
			l.Perm[c] = int32(c%s.shuffle*each + c/s.shuffle)
		}
	}
	var err error
	l.Thresholds, err = s.thresholds(e, store, l.FanIn())
	return l, err
}

// thresholds runs batch norm and spike on the sums -fanIn-1 .. fanIn+1 of every
// channel.
func (s *stage) thresholds(e *engine.Engine, store *tensor.Store, fanIn int) ([]int32, error) {
	g := graph.New()
	c, n := s.conv.Shape()[1], 2*fanIn+3
	x := g.Input(rl.InputName, tensor.F32, 1, c, 1, n)
	in := []*graph.Node{x}
	for _, p := range s.norm.In()[1:] {
		in = append(in, g.Param(p.Op().(graph.Param)))
	}
	g.Output("spike", g.Spike(g.Apply(s.norm.Op(), in...)))
	p, err := e.Compile(g, store)
	if err != nil {
		return nil, fmt.Errorf("distill: fold %s: %w", s.norm.Name(), err)
	}
	v := p.Input(rl.InputName).Float32s()
	for i := range v {
		v[i] = float32(i%n - fanIn - 1)
	}
	if err := p.Run(); err != nil {
		return nil, fmt.Errorf("distill: fold %s: %w", s.norm.Name(), err)
	}
	theta := make([]int32, c)
	for o := range theta {
		row := p.Output("spike").Float32s()[o*n : (o+1)*n]
		k := 0
		for k < n && row[k] == 0 {
			k++
		}
		for _, y := range row[k:] {
			if y == 0 {
				return nil, fmt.Errorf("distill: fold %s: channel %d does not rise: its scale is not above 0", s.norm.Name(), o)
			}
		}
		theta[o] = int32(max(-fanIn, min(k-fanIn-1, fanIn+1)))
	}
	return theta, nil
}

// OnCores folds an agent, maps its net onto cores and proves them equal for every
// frame.
func OnCores(e *engine.Engine, a *rl.Agent) (*neuro.Net, *neuro.Network, error) {
	net, err := Fold(e, a)
	if err != nil {
		return nil, nil, err
	}
	nw, err := neuro.Map(net, neuro.DefaultConfig())
	if err == nil {
		err = neuro.Prove(net, nw)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("distill: %w", err)
	}
	return net, nw, nil
}

// Equality is the outcome of Verify.
type Equality struct {
	States     int
	Bits       int64 // neuron outputs of trainer and integers compared
	Mismatches int64
	Decisions  int64
	Wrong      int64  // actions that differ
	First      string // the first difference
	Cores      *neuro.Comparison
}

// Equal reports whether something was compared and nothing differed.
func (q *Equality) Equal() bool {
	return q.Bits > 0 && q.Mismatches == 0 && q.Wrong == 0 && (q.Cores == nil || q.Cores.Equal())
}

// Verify compares, state by state, the spikes of every layer and the actions of
// the trained network on the engine with those of the folded integers, and
// these with every neuron of the cores, if nw is not nil. states are views,
// View.Bytes each, one after the other.
func Verify(e *engine.Engine, a *rl.Agent, net *neuro.Net, nw *neuro.Network, states []byte) (*Equality, error) {
	const batch = 32
	nb := a.Info.View.Bytes()
	q := &Equality{States: len(states) / nb}
	plan, names, err := tapped(e, a, batch)
	if err != nil {
		return nil, err
	}
	var frames [][]byte
	x := plan.Input(rl.InputName).Float32s()
	size := a.Info.View.Size()
	for at := 0; at < q.States; at += batch {
		n := min(batch, q.States-at)
		a.Info.View.Floats(x[:n*size], states[at*nb:(at+n)*nb])
		if err := plan.Run(); err != nil {
			return nil, fmt.Errorf("distill: verify: %w", err)
		}
		for i := range n {
			frame := states[(at+i)*nb : (at+i+1)*nb]
			frames = append(frames, frame)
			if err := q.compare(plan, names, net, frame, at+i, i, batch); err != nil {
				return nil, err
			}
		}
	}
	if nw != nil {
		if q.Cores, err = neuro.Compare(net, nw, frames, e.Threads()); err != nil {
			return nil, fmt.Errorf("distill: verify: %w", err)
		}
	}
	return q, nil
}

// tapped compiles the agent with the spikes of every layer as outputs.
func tapped(e *engine.Engine, a *rl.Agent, batch int) (*engine.Plan, []string, error) {
	g, err := graph.WithBatch(a.Graph, batch)
	if err != nil {
		return nil, nil, fmt.Errorf("distill: %w", err)
	}
	var names []string
	for _, n := range g.Nodes() {
		if _, ok := n.Op().(graph.Spike); ok {
			names = append(names, n.Name())
			g.Output("spike:"+n.Name(), n)
			g.Output("potential:"+n.Name(), n.In()[0])
		}
	}
	p, err := e.Compile(g, a.Store)
	if err != nil {
		return nil, nil, fmt.Errorf("distill: %w", err)
	}
	return p, names, nil
}

// compare checks row i of a batch against the integers.
func (q *Equality) compare(plan *engine.Plan, names []string, net *neuro.Net, frame []byte, state, i, batch int) error {
	layers, err := net.Forward(frame)
	if err != nil {
		return fmt.Errorf("distill: verify: %w", err)
	}
	if len(layers) != len(names) {
		return fmt.Errorf("distill: verify: %d layers of neurons, the net has %d", len(names), len(layers))
	}
	for k, bits := range layers {
		all := plan.Output("spike:" + names[k]).Float32s()
		n := len(all) / batch
		for u, v := range all[i*n : (i+1)*n] {
			q.Bits++
			if got := bits[u>>3] >> (u & 7) & 1; float32(got) != v {
				if q.Mismatches++; q.First == "" {
					q.First = fmt.Sprintf("state %d, layer %q, unit %d: %d, trained %g", state, net.Layers[k].Name, u, got, v)
				}
			}
		}
	}
	logits := plan.Output(rl.LogitsName).Float32s()
	n := len(logits) / batch
	q.Decisions++
	votes := make([]int32, net.Actions)
	if got, want := neuro.Votes(layers[len(layers)-1], net.Outputs(), votes), argmax(logits[i*n:(i+1)*n]); got != want {
		if q.Wrong++; q.First == "" {
			q.First = fmt.Sprintf("state %d: action %d, trained %d", state, got, want)
		}
	}
	return nil
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
