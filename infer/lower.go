package infer

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/quant"
	"lowbit/tensor"
)

// lowering makes a plan from a prepared graph. It asks for the result as floats
// and follows the rules back; each value in each form is made once.
type lowering struct {
	rules    rules
	plan     *plan
	made     map[demand]*value
	sums     map[*root][]*sumOp
	floatOps map[*graph.Node]*floatOp
	inputOp  *inputOp
	problems []error
}

// lower makes the plan of a prepared graph.
func lower(g *graph.Graph, params source) (*plan, error) {
	l, err := trace(g, params)
	if err != nil {
		return nil, err
	}
	for _, o := range l.floatOps {
		o.finish(l.plan.k)
	}
	l.pack()
	l.plan.place()
	return l.plan, nil
}

// trace makes the instructions of a prepared graph; nothing is packed yet.
func trace(g *graph.Graph, params source) (*lowering, error) {
	l := &lowering{
		rules: newRules(g, params),
		plan:  &plan{k: kernel.Active(), constants: map[float32][]float32{}},
		made:  map[demand]*value{}, sums: map[*root][]*sumOp{}, floatOps: map[*graph.Node]*floatOp{},
	}
	p := l.plan
	in := g.Inputs()[0]
	p.input = in.Shape()[1:].Clone()
	result := g.OutputNode(outputName)
	p.output, p.outputShape = l.value(result, floats()), result.Shape()[1:].Clone()
	if len(l.problems) > 0 {
		return nil, errors.Join(l.problems...)
	}
	return l, p.check()
}

// fail notes why n cannot be computed and returns a value that is not used.
func (l *lowering) fail(n *graph.Node, to target, err error) *value {
	return l.problem(n, to, fmt.Errorf("%s %q: %w", n.Op().Kind(), n.Name(), err))
}

// maxProblems is the most errors that are listed.
const maxProblems = 50

// problem notes an error and goes on to what stands in front of n, so that all
// errors come at once.
func (l *lowering) problem(n *graph.Node, to target, err error) *value {
	if len(l.problems) < maxProblems && !slices.ContainsFunc(l.problems, func(e error) bool { return e.Error() == err.Error() }) {
		l.problems = append(l.problems, err)
	}
	for _, x := range n.In() {
		from := x
		if _, ok := x.Op().(graph.FakeQuant); ok {
			from = x.In()[0]
		}
		if _, ok := l.rules.constant(from); !ok && len(l.made) < maxValues {
			l.value(x, floats())
		}
	}
	return newValue(n, to)
}

// pack packs the weights of all sums, several at a time, and makes what their
// sinks need.
func (l *lowering) pack() {
	var roots [][]*sumOp
	for _, ops := range l.sums {
		roots = append(roots, ops)
	}
	l.placeWeights()
	var next atomic.Int32
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(roots); i = int(next.Add(1)) - 1 {
				for _, o := range roots[i] {
					o.pack(l.plan.k)
				}
			}
		})
	}
	all.Wait()
	for _, ops := range roots {
		for _, o := range ops {
			o.finish(l.plan)
		}
	}
}

// placeWeights gives all sums a place for their weights, one behind the other in
// the order in which they are read.
func (l *lowering) placeWeights() {
	var ops []*sumOp
	total := 0
	sizes := map[*sumOp]int{}
	for _, i := range l.plan.instructions {
		if o, ok := i.op.(*sumOp); ok {
			sizes[o] = o.describe(l.plan.k)
			ops, total = append(ops, o), total+sizes[o]
		}
	}
	all := int8sOf(tensor.LargeBytes(total))
	for _, o := range ops {
		n := sizes[o]
		o.layer.Packed, all = all[:n:n], all[n:]
	}
	var after []int8
	for _, o := range slices.Backward(ops) {
		o.layer.Next, after = after, o.layer.Packed
	}
}

// emit adds an instruction.
func (l *lowering) emit(op operator, info OpInfo, rows int, in []*value, out ...*value) *instruction {
	i := &instruction{op: op, in: in, out: out, rows: rows, info: info}
	l.plan.instructions = append(l.plan.instructions, i)
	return i
}

// value returns n in the form that is wanted.
func (l *lowering) value(n *graph.Node, to target) *value {
	key := demand{n, to}
	v := l.made[key]
	switch {
	case v != nil:
	case len(l.made) >= maxValues:
		return l.fail(l.rules.g.Inputs()[0], to, fmt.Errorf("the network has more than %d values in different forms", maxValues))
	default:
		v = l.compute(n, to)
		l.made[key] = v
	}
	return v
}

// source returns n's values in the cheapest form: codes where it has a grid.
func (l *lowering) source(n *graph.Node) *value {
	if g, ok := l.rules.gridOf(n); ok {
		return l.value(n, g)
	}
	return l.value(n, floats())
}

func (l *lowering) compute(n *graph.Node, to target) *value {
	if rank := len(n.Shape()); rank != 2 && rank != 4 {
		return l.fail(n, to, fmt.Errorf("its shape is %v, want [1, channels] or [1, channels, height, width]", n.Shape()))
	}
	if o, ok := n.Op().(graph.Unary); ok && isRelu(o) {
		return l.value(n.In()[0], to.within(reluRange(o)))
	}
	t, post, err := l.rules.chain(n)
	if err != nil {
		return l.problem(n, to, err)
	}
	if t != nil {
		return l.sum(n, t, post, to)
	}
	switch o := n.Op().(type) {
	case graph.FakeQuant:
		return l.quantized(n, to)
	case graph.Reshape:
		return l.reshape(n, to)
	case graph.Slice, graph.Pad, graph.Concat:
		return l.moved(n, to)
	case graph.Pool:
		if o.F == graph.MaxPool {
			x := l.value(n.In()[0], to)
			v := newValue(n, to)
			l.emit(&maxPoolOp{o, x, v}, l.info(n, to), v.h, []*value{x}, v)
			return v
		}
	case graph.Input:
		return l.input(n, to)
	}
	return l.float(n, to)
}

// quantized is a quantizer's values: its own codes, or another grid's, or
// floats.
func (l *lowering) quantized(n *graph.Node, to target) *value {
	g, err := l.rules.quantizer(n)
	if err != nil {
		return l.fail(n, to, err)
	}
	if to.sameGrid(g) {
		return l.value(n.In()[0], to)
	}
	x := l.value(n.In()[0], g)
	return l.addSink(l.floatOp(n, "requantize", floatOp{src: []*value{x}, kind: copyFloats}), n, to)
}

// sum adds the codes or floats of an integer sum to the instruction that
// computes it.
func (l *lowering) sum(n *graph.Node, t *root, post []quant.Affine, to target) *value {
	form, err := t.fold(post, to)
	if err != nil {
		return l.fail(t.node, to, err)
	}
	v := newValue(n, to)
	s := &sink{out: v, form: form, m: make([]float32, len(form)), min: to.min, max: to.max}
	s.clamp = kernel.Clamp{Lo: float32(to.lo), Hi: float32(to.hi), Zero: to.zero()}
	for i, f := range form {
		s.m[i] = f.M
	}
	for _, op := range l.sums[t] {
		if op.add(s) {
			op.instruction.out = append(op.instruction.out, v)
			return v
		}
	}
	op := &sumOp{root: t, in: l.value(t.x, t.in), sinks: []*sink{s}}
	if to.codes {
		op.form = form
	}
	op.in.widen(t.shape.PT, t.shape.PL, t.shape.PB, t.shape.PR)
	op.instruction = l.emit(op, l.layerInfo(t), t.shape.OH(), []*value{op.in}, v)
	l.sums[t] = append(l.sums[t], op)
	return v
}

// input is the network's input in a form.
func (l *lowering) input(n *graph.Node, to target) *value {
	v := newValue(n, to)
	s := l.newSink(v)
	if l.inputOp == nil {
		l.inputOp = &inputOp{c: v.c, h: v.h, w: v.w}
		l.inputOp.instruction = l.emit(l.inputOp, l.info(n, to), v.h, nil)
	}
	l.inputOp.sinks = append(l.inputOp.sinks, s)
	l.inputOp.instruction.out = append(l.inputOp.instruction.out, v)
	return v
}

// newSink is where a float operation puts a value.
func (l *lowering) newSink(v *value) *sink {
	s := &sink{out: v, min: v.to.min, max: v.to.max}
	if v.to.codes {
		s.clamp = kernel.Clamp{Lo: float32(v.to.lo), Hi: float32(v.to.hi), Zero: v.to.zero()}
		s.step = l.plan.constant(v.to.step)
	} else {
		s.low, s.high = l.plan.constant(s.min), l.plan.constant(s.max)
	}
	return s
}

// floatOp returns the instruction of a float operation, made once.
func (l *lowering) floatOp(n *graph.Node, what string, op floatOp) *floatOp {
	if o := l.floatOps[n]; o != nil {
		return o
	}
	for _, s := range op.src {
		op.in = append(op.in, floatSource{s, l.plan.constant(s.to.step)})
	}
	info := l.info(n, floats())
	info.Kind = what
	op.instruction = l.emit(&op, info, newValue(n, floats()).h, op.src)
	l.floatOps[n] = &op
	return &op
}

// addSink adds a form of a float operation's result.
func (l *lowering) addSink(op *floatOp, n *graph.Node, to target) *value {
	v := newValue(n, to)
	op.sinks = append(op.sinks, l.newSink(v))
	if op.place == nil && !to.codes {
		op.place = op.sinks[len(op.sinks)-1]
	}
	op.instruction.out = append(op.instruction.out, v)
	return v
}

// float is an operation in floats, or an error.
func (l *lowering) float(n *graph.Node, to target) *value {
	if x, fs, ok := l.rules.affine(n); ok {
		op := floatOp{src: []*value{l.source(x)}, kind: affineFloats, channels: n.Shape()[1]}
		op.setAffine(floatPairs(fs))
		return l.addSink(l.floatOp(n, n.Op().Kind(), op), n, to)
	}
	switch o := n.Op().(type) {
	case graph.Binary:
		if kind, ok := floatKinds[o.F]; ok && sameShape(n) {
			src := []*value{l.source(n.In()[0]), l.source(n.In()[1])}
			return l.addSink(l.floatOp(n, n.Op().Kind(), floatOp{src: src, kind: kind}), n, to)
		}
	case graph.Reduce:
		if isGlobalMean(n, o) {
			s := n.In()[0].Shape()
			return l.mean(n, graph.Pool{Kernel: [2]int{s[2], s[3]}, Stride: [2]int{1, 1}}, to)
		}
	case graph.Pool:
		return l.mean(n, o, to)
	case graph.Softmax:
		if len(n.Shape()) == 2 {
			x := l.value(n.In()[0], floats())
			v := newValue(n, floats())
			l.emit(&softmaxOp{x, v, o.Log}, l.info(n, floats()), 1, []*value{x}, v)
			return l.converted(n, v, to)
		}
	}
	return l.fail(n, to, fmt.Errorf("the runtime has no such operation on %v", n.Shape()))
}

// mean averages windows of floats.
func (l *lowering) mean(n *graph.Node, o graph.Pool, to target) *value {
	x := l.value(n.In()[0], floats())
	v := newValue(n, floats())
	l.emit(&meanOp{o, x, v}, l.info(n, floats()), v.h, []*value{x}, v)
	return l.converted(n, v, to)
}

// converted brings floats into another form.
func (l *lowering) converted(n *graph.Node, v *value, to target) *value {
	if to == floats() {
		return v
	}
	return l.addSink(l.floatOp(n, "quantize", floatOp{src: []*value{v}, kind: copyFloats}), n, to)
}
