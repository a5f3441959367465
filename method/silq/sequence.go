package silq

import (
	"context"
	"fmt"
	"slices"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/nn"
	"lowbit/tensor"
)

// sharing is an input and the quantized layers that read it.
type sharing struct {
	x      *graph.Node
	layers []*graph.Node
}

// sharings lists the quantized layers by their inputs, in the order in which the
// inputs are computed.
func sharings(g *graph.Graph) []*sharing {
	var all []*sharing
	of := map[*graph.Node]*sharing{}
	for _, n := range g.Nodes() {
		if !isQuantizedLayer(n) {
			continue
		}
		x := n.In()[0]
		if of[x] == nil {
			of[x] = &sharing{x: x}
			all = append(all, of[x])
		}
		of[x].layers = append(of[x].layers, n)
	}
	return all
}

// sequence finds the weights' steps again, group after group: each from the
// inputs that the quantized layers in front of it give with the steps, and with
// move the weights, that they got before. The steps are those of least squared
// error weighted by the diagonal of the inputs' Hessian; move then rounds the
// weights by GPTQ with the whole of it. A weight that is read elsewhere, too (a
// tied head), is not moved.
func (c Calibration) sequence(ctx context.Context, g *graph.Graph, store *tensor.Store, start Start, move bool) error {
	f := newFlow(c, g, store, start.Windows)
	groups := sharings(g)
	for i, s := range groups {
		hessian, err := f.advance(ctx, s.x)
		if err == nil {
			err = s.fit(ctx, g.Uses(), store, hessian, move)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.layers[0].Name(), err)
		}
		if c.Progress != nil {
			c.Progress(i+1, len(groups))
		}
	}
	return nil
}

// fit puts the steps of the group's layers, and with move their weights, into the
// store.
func (s *sharing) fit(ctx context.Context, uses [][]*graph.Node, store *tensor.Store, hessian []float64, move bool) error {
	n := s.x.Shape()[len(s.x.Shape())-1]
	squares := make([]float64, n)
	for i := range squares {
		squares[i] = hessian[i*n+i]
	}
	var order []int
	var u []float64
	h := overMean(squares)
	if move {
		var err error
		if order, u, err = compensation(hessian, n); err != nil {
			return err
		}
	}
	var tiles []tile
	for _, layer := range s.layers {
		q := layer.In()[1]
		w, steps := store.Get(q.In()[0].Name()).Float32s(), store.Get(q.In()[1].Name()).Float32s()
		t := tile{bits: q.Op().(graph.FakeQuant).Spec.Bits, move: move && len(uses[q.In()[0].ID()]) == 1}
		for r := 0; r < len(steps); r += compensated {
			t.steps = steps[r:min(r+compensated, len(steps))]
			t.w = w[r*n:][:len(t.steps)*n]
			tiles = append(tiles, t)
		}
	}
	return each(ctx, tiles, func(t tile) error {
		for r := range t.steps {
			t.steps[r] = storedStep(StepMSE(t.w[r*n:][:n], h, t.bits))
		}
		if t.move {
			compensate(t.w, u, order, t.steps, t.bits)
		}
		return nil
	})
}

// tile is some rows of a layer's weights and their steps.
type tile struct {
	w, steps []float32
	bits     int
	move     bool
}

// flow runs a graph on several windows piece by piece. Between two pieces it
// keeps, of each window, the values that later ones read: a pass through all
// layers costs as much as one run of the whole graph.
type flow struct {
	c       Calibration
	g       *graph.Graph
	store   *tensor.Store
	uses    [][]*graph.Node
	varies  []bool // by node: differs between windows
	done    []bool // by node: computed by a piece, or not needed again
	kept    []map[int]*tensor.Tensor
	memory  engine.Memory
	windows [][]int32
}

func newFlow(c Calibration, g *graph.Graph, store *tensor.Store, windows int) *flow {
	f := &flow{c: c, g: g, store: store, uses: g.Uses(), varies: make([]bool, len(g.Nodes())), done: make([]bool, len(g.Nodes()))}
	for _, n := range g.Nodes() {
		_, f.varies[n.ID()] = n.Op().(graph.Input)
		for _, x := range n.In() {
			f.varies[n.ID()] = f.varies[n.ID()] || f.varies[x.ID()]
		}
	}
	f.windows = c.Windows[:windows]
	for range f.windows {
		f.kept = append(f.kept, map[int]*tensor.Tensor{})
	}
	return f
}

// advance computes x [tokens, n] of every window and returns the sum of x'x,
// [n, n].
func (f *flow) advance(ctx context.Context, x *graph.Node) ([]float64, error) {
	f.finish(x)
	var next []*graph.Node // what is kept for later pieces
	for _, n := range f.g.Nodes() {
		later := slices.ContainsFunc(f.uses[n.ID()], func(u *graph.Node) bool { return !f.done[u.ID()] })
		if _, input := n.Op().(graph.Input); f.done[n.ID()] && f.varies[n.ID()] && later && !input {
			next = append(next, n)
		}
	}
	plan, err := f.piece(x, next)
	if err != nil {
		return nil, err
	}
	n := x.Shape()[len(x.Shape())-1]
	hessian := make([]float64, n*n)
	for i, ids := range f.windows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := f.run(plan, i, ids, next); err != nil {
			return nil, err
		}
		for j, v := range plan.Output(hessianName).Float32s() {
			hessian[j] += float64(v)
		}
	}
	return hessian, nil
}

const hessianName = "hessian"

func keptName(n *graph.Node) string { return fmt.Sprintf("kept:%d", n.ID()) }

// finish marks x and all that it derives from.
func (f *flow) finish(x *graph.Node) {
	if f.done[x.ID()] {
		return
	}
	f.done[x.ID()] = true
	for _, in := range x.In() {
		f.finish(in)
	}
}

// piece compiles what computes the next values, and the Hessian of x, from those
// that are kept.
func (f *flow) piece(x *graph.Node, next []*graph.Node) (*engine.Plan, error) {
	to, at := graph.New(), map[*graph.Node]*graph.Node{}
	var carry func(n *graph.Node) *graph.Node
	carry = func(n *graph.Node) *graph.Node {
		if at[n] != nil {
			return at[n]
		}
		if f.kept[0][n.ID()] != nil {
			at[n] = to.Input(keptName(n), n.Type().DType, n.Shape()...)
			return at[n]
		}
		in := make([]*graph.Node, len(n.In()))
		for i, y := range n.In() {
			in[i] = carry(y)
		}
		at[n] = to.Copy(n, in)
		return at[n]
	}
	to.Output(hessianName, to.Apply(graph.MatMul{TransA: true}, carry(x), carry(x)))
	for _, n := range next {
		if f.kept[0][n.ID()] == nil {
			to.Output(keptName(n), carry(n))
		}
	}
	if err := to.Err(); err != nil {
		return nil, err
	}
	return f.c.Engine.CompileIn(&f.memory, to, f.store)
}

// run computes a piece for one window and replaces the kept values by the next.
func (f *flow) run(plan *engine.Plan, window int, ids []int32, next []*graph.Node) error {
	kept := f.kept[window]
	if in := plan.Input(nn.InputName); in != nil {
		copy(in.Int32s(), ids)
	}
	for id, v := range kept {
		if in := plan.Input(keptName(f.g.Nodes()[id])); in != nil {
			copy(in.Float32s(), v.Float32s())
		}
	}
	if err := plan.Run(); err != nil {
		return err
	}
	f.kept[window] = map[int]*tensor.Tensor{}
	for _, n := range next {
		v := kept[n.ID()]
		if v == nil {
			v = plan.Output(keptName(n)).Clone()
		}
		f.kept[window][n.ID()] = v
	}
	return nil
}
