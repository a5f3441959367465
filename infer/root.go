package infer

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/quant"
)

// root is an integer sum: a convolution or a product of codes, or the mean of
// codes, which is a convolution with weights of 1. It is the same for the
// reference and for the plan.
type root struct {
	node   *graph.Node
	x      *graph.Node
	in     target // the grid of x
	shape  kernel.ConvShape
	load   func() []int8 // the weights' codes, [O, KH, KW, C/Groups]
	steps  []float32     // [O], of the weights: of their codes, divided by 2^shift
	bits   int           // of the weights' codes; 0: a mean
	shift  int           // the weights are their codes times 2^shift
	accMax int64         // bound of |sum|
	loaded []int8
}

// weights returns the codes times 2^shift, [O, KH, KW, C/Groups].
func (t *root) weights() []int8 {
	if t.loaded == nil {
		t.loaded = t.load()
		if t.shift > 0 {
			shiftCodes(t.loaded, t.shift)
		}
	}
	return t.loaded
}

// maxWindow bounds the windows of a mean, whose weights are made.
const maxWindow = 1 << 24

// integerRoot returns n as an integer sum; nil if it is none. An error says why
// a layer with quantizers is none.
func (r *rules) integerRoot(n *graph.Node) (*root, error) {
	switch o := n.Op().(type) {
	case graph.Conv2D:
		return r.convRoot(n, o)
	case graph.MatMul:
		return r.matmulRoot(n, o)
	case graph.Reduce:
		x := n.In()[0].Shape()
		if m, err := o.Mask(len(x)); o.F != graph.Mean || err != nil || len(x) != 4 || m[0] || m[1] || !m[2] || !m[3] {
			return nil, nil
		}
		return r.meanRoot(n, graph.Pool{Kernel: [2]int{x[2], x[3]}, Stride: [2]int{1, 1}})
	case graph.Pool:
		if o.F == graph.AvgPool && (o.CountPad || o.Pad == [4]int{}) {
			return r.meanRoot(n, o)
		}
	}
	return nil, nil
}

func (r *rules) convRoot(n *graph.Node, o graph.Conv2D) (*root, error) {
	x, w := n.In()[0], n.In()[1]
	in, ok := r.gridOf(x)
	if !ok {
		return nil, fmt.Errorf("its input is not quantized to one step of at most 8 bits")
	}
	codes, steps, bits, err := r.weightCodes(w, 0)
	if err != nil {
		return nil, err
	}
	ws, xs := w.Shape(), x.Shape()
	s := kernel.ConvShape{
		H: xs[2], W: xs[3], C: xs[1], O: ws[0], KH: ws[2], KW: ws[3],
		SH: o.Stride[0], SW: o.Stride[1], DH: o.Dilation[0], DW: o.Dilation[1],
		PT: o.Pad[0], PL: o.Pad[1], PB: o.Pad[2], PR: o.Pad[3], Groups: o.Groups,
	}
	load := func() []int8 {
		w, last := codes()
		if last {
			return w
		}
		return channelsLast(w, ws[0], ws[1], ws[2]*ws[3])
	}
	t := &root{node: n, x: x, in: in, shape: s, load: load, steps: steps, bits: bits}
	return t.bounded()
}

// channelsLast turns weights [o, c, taps] into [o, taps, c].
func channelsLast(w []int8, o, c, taps int) []int8 {
	if taps == 1 || c == 1 {
		return w
	}
	out := make([]int8, len(w))
	for i := range o {
		src, dst := w[i*c*taps:][:c*taps], out[i*c*taps:][:c*taps]
		for t := range taps {
			row := dst[t*c:][:c]
			for k := range row {
				row[k] = src[k*taps+t]
			}
		}
	}
	return out
}

func (r *rules) matmulRoot(n *graph.Node, o graph.MatMul) (*root, error) {
	x, w := n.In()[0], n.In()[1]
	if len(x.Shape()) != 2 || len(w.Shape()) != 2 || o.TransA {
		return nil, fmt.Errorf("product of %v and %v, want a linear layer on [1, features]", x.Shape(), w.Shape())
	}
	in, ok := r.gridOf(x)
	if !ok {
		return nil, fmt.Errorf("its input is not quantized to one step of at most 8 bits")
	}
	axis := 0
	if !o.TransB {
		axis = 1
	}
	codes, steps, bits, err := r.weightCodes(w, axis)
	if err != nil {
		return nil, err
	}
	_, k, out := o.Dims(x.Shape(), w.Shape())
	load := func() []int8 {
		w, _ := codes()
		if o.TransB {
			return w
		}
		return channelsLast(w, 1, k, out)
	}
	s := kernel.ConvShape{H: 1, W: 1, C: k, O: out, KH: 1, KW: 1, SH: 1, SW: 1, DH: 1, DW: 1, Groups: 1}
	t := &root{node: n, x: x, in: in, shape: s, load: load, steps: steps, bits: bits}
	return t.bounded()
}

// meanRoot is the mean of windows of codes; nil if the operand has no grid.
func (r *rules) meanRoot(n *graph.Node, o graph.Pool) (*root, error) {
	x := n.In()[0]
	in, ok := r.gridOf(x)
	if !ok {
		return nil, nil
	}
	xs := x.Shape()
	s := kernel.ConvShape{
		H: xs[2], W: xs[3], C: xs[1], O: xs[1], KH: o.Kernel[0], KW: o.Kernel[1],
		SH: o.Stride[0], SW: o.Stride[1], DH: 1, DW: 1, PT: o.Pad[0], PL: o.Pad[1], PB: o.Pad[2], PR: o.Pad[3], Groups: xs[1],
	}
	t := &root{node: n, x: x, in: in, shape: s, steps: make([]float32, s.O)}
	for i := range t.steps {
		t.steps[i] = 1
	}
	if float64(s.KH)*float64(s.KW)*float64(s.C) > maxWindow {
		return nil, fmt.Errorf("window %d x %d of %d channels, want at most %d elements", s.KH, s.KW, s.C, maxWindow)
	}
	t.load = func() []int8 {
		w := make([]int8, s.C*s.KH*s.KW)
		for i := range w {
			w[i] = 1
		}
		return w
	}
	return t.bounded()
}

// post is what the sum itself means: a mean divides by its count.
func (t *root) post() []quant.Affine {
	scale := 1.0
	if t.bits == 0 {
		scale /= float64(t.shape.KH * t.shape.KW)
	}
	fs := make([]quant.Affine, t.shape.O)
	for i := range fs {
		fs[i].Scale = scale
	}
	return fs
}

// bounded sets accMax, from the widths alone.
func (t *root) bounded() (*root, error) {
	k := int64(t.shape.KH) * int64(t.shape.KW) * int64(t.shape.C/t.shape.Groups)
	most := int64(1)
	if t.bits > 0 {
		most = 1 << (t.bits - 1)
	}
	if k > math.MaxInt32 {
		return nil, fmt.Errorf("sums of %d products, want at most %d", k, math.MaxInt32)
	}
	t.accMax = k * most * int64(max(-t.in.lo, t.in.hi))
	t.refine()
	return t, nil
}

// A layer's bias is a whole number of units of the product of the steps, which
// are coarse where there are few bits. So weights are their codes times a power
// of two, and their steps are divided by it, which is exact: sums and multiplier
// mean the same, and the unit is finer.
//
// fineBits is the bits of the products of codes and power: 7, because pairs of
// products of them with 8 bits fit 16 bits, so that neither our kernels nor those
// of ONNX Runtime on AVX2 saturate. fineSums bounds the sums: a bias has at least
// 2^9 times that room, so that a channel that folding makes constant (quant.Fold)
// moves by less than a 511th.
const (
	fineBits = 7
	fineSums = 1 << 22
)

// refine chooses the power of two, from widths and shapes alone. A step stays
// above 0.
func (t *root) refine() {
	if t.bits == 0 {
		return
	}
	for t.bits+t.shift < fineBits && t.accMax <= fineSums/2 {
		t.accMax *= 2
		t.shift++
	}
	for o := range t.steps {
		t.steps[o] = max(t.steps[o]/float32(int(1)<<t.shift), math.SmallestNonzeroFloat32)
	}
}

// shiftCodes multiplies codes by 2^shift, eight at a time; products fit 8 bits.
func shiftCodes(w []int8, shift int) {
	mask := uint64(0xff>>shift) * 0x0101010101010101
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), len(w))
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)&mask<<shift)
	}
	for i := range b {
		b[i] <<= shift
	}
}

// weightCodes returns what gives the codes of a weight, the caller's own, row-major in its logical
// shape or with the input channels last, and one step for each index of axis,
// that of the output channels.
func (r *rules) weightCodes(q *graph.Node, axis int) (codes func() (w []int8, last bool), steps []float32, bits int, err error) {
	o, ok := q.Op().(graph.FakeQuant)
	if !ok {
		return nil, nil, 0, fmt.Errorf("its weights are not quantized")
	}
	s := o.Spec
	if !s.Signed || s.Bits > 8 || s.Granularity != quant.PerTensor && (s.Granularity != quant.PerChannel || s.Axis != axis) {
		return nil, nil, 0, fmt.Errorf("weights of %v, want signed, at most 8 bits, one step a tensor or an output channel", s)
	}
	p, ok := q.In()[0].Op().(graph.Param)
	if !ok {
		return nil, nil, 0, fmt.Errorf("its weights are computed, want a parameter")
	}
	step, ok := r.constant(q.In()[1])
	if !ok {
		return nil, nil, 0, fmt.Errorf("the step of its weights is not stored")
	}
	for _, v := range step {
		if !(v > 0) || math.IsInf(float64(v), 0) {
			return nil, nil, 0, fmt.Errorf("step %g of its weights, want positive", v)
		}
	}
	shape := q.Shape()
	steps = make([]float32, shape[axis])
	for i := range steps {
		steps[i] = step[i%len(step)]
	}
	if codes = r.params.codes(p.Name); codes != nil {
		return codes, steps, s.Bits, nil
	}
	w := r.params.floats(p.Name)
	if len(w) != shape.Size() {
		return nil, nil, 0, fmt.Errorf("its weights %q: %d values, want %v", p.Name, len(w), shape)
	}
	run := shape[axis+1:].Size()
	made := make([]int8, len(w))
	for i, v := range w {
		if v != v {
			return nil, nil, 0, fmt.Errorf("its weights %q hold a NaN", p.Name)
		}
		made[i] = int8(s.Code(v, steps[i/run%len(steps)]))
	}
	return func() ([]int8, bool) { return slices.Clone(made), false }, steps, s.Bits, nil
}

// fold returns the deploy form of each channel for a target.
func (t *root) fold(post []quant.Affine, to target) ([]quant.Requant, error) {
	out := make([]quant.Requant, t.shape.O)
	codes := quant.Codes{Lo: to.lo, Hi: to.hi, Grain: 1 << t.shift}
	for o := range out {
		var err error
		if to.codes {
			out[o], err = quant.Fold(post[o], t.in.step, t.steps[o], to.step, t.accMax)
		} else {
			out[o], err = quant.FoldReal(post[o], t.in.step, t.steps[o])
		}
		if err != nil {
			return nil, fmt.Errorf("channel %d: %w", o, err)
		}
		if to.codes {
			out[o] = out[o].Settle(post[o], t.in.step, t.steps[o], to.step, t.accMax, codes)
		}
	}
	return out, nil
}

// chain follows n back through functions per channel to an integer sum; nil if
// there is none. An error comes from a layer that cannot be one.
func (r *rules) chain(n *graph.Node) (*root, []quant.Affine, error) {
	var fs [][]quant.Affine
	at := n
	for {
		x, f, ok := r.affine(at)
		if !ok {
			break
		}
		fs, at = append(fs, f), x
	}
	t := r.roots[at]
	if t == nil {
		var err error
		if t, err = r.integerRoot(at); err != nil {
			return nil, nil, fmt.Errorf("%s %q: %w", at.Op().Kind(), at.Name(), err)
		}
		if t == nil {
			return nil, nil, nil
		}
		r.roots[at] = t
	}
	post := t.post()
	for i := len(fs) - 1; i >= 0; i-- {
		for c := range post {
			post[c] = post[c].Then(fs[i][c])
		}
	}
	return t, post, nil
}
