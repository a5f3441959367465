package onnx

import (
	"fmt"
	"math"
	"math/bits"
	"slices"

	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// coded is an integer tensor of codes: QuantizeLinear's result.
type coded struct {
	x      *graph.Node // what is quantized
	name   string
	scale  float32
	scales []float32 // of channels, x being divided by them; nil: one scale
	zero   int
	lo, hi int         // stored numbers that occur
	fake   *graph.Node // the quantizer, once it is made
	real   *graph.Node // with scales: its values times them, once they are made
	onGrid bool        // x holds values of the grid already
}

// sums are the 32-bit sums of ConvInteger or MatMulInteger.
type sums struct {
	x      *coded
	w      *constant // codes, [out, in, kh, kw] or [in, out]
	conv   *call     // the attributes of a convolution; nil: a product
	bias   []float64
	isReal bool // behind Cast
}

var quantRange = map[Type][2]int{
	Uint8: {0, 255}, Int8: {-128, 127}, Uint16: {0, 65535}, Int16: {-32768, 32767},
	Uint4: {0, 15}, Int4: {-8, 7}, Uint2: {0, 3}, Int2: {-2, 1},
}

// gridOf returns the quantizer whose codes are all of a..b.
func gridOf(a, b int) (quant.Spec, error) {
	for bits := 1; bits <= 16; bits++ {
		s := quant.Spec{Bits: bits, Zero: -a}
		if b-a == 1<<bits-1 && a <= 0 && s.Validate() == nil {
			return s, nil
		}
		s = quant.Spec{Bits: bits, Signed: true}
		if s.Validate() == nil && a == -s.Qn() && b == s.Qp() {
			return s, nil
		}
	}
	return quant.Spec{}, fmt.Errorf("codes from %d to %d, want a power of two of at most 256 codes around 0", a, b)
}

// scales returns a scale and zero point: lists of equal length.
func scales(c call) (scale []float32, zero []int, typ Type, err error) {
	if len(c.in) < 2 || c.in[1] == nil || c.in[1].c == nil {
		return nil, nil, 0, fmt.Errorf("the scale is computed, want a stored one")
	}
	if scale, err = c.in[1].c.floats(); err != nil {
		return nil, nil, 0, err
	}
	for _, s := range scale {
		if s == 0 || math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) {
			return nil, nil, 0, fmt.Errorf("scale %g, want a finite one that is not 0", s)
		}
	}
	zero, typ = make([]int, len(scale)), Uint8
	if a := c.Attr("output_dtype"); a != nil && a.I != 0 {
		typ = Type(a.I)
	}
	if len(c.in) > 2 {
		if c.in[2].c == nil {
			return nil, nil, 0, fmt.Errorf("the zero point is computed, want a stored one")
		}
		typ = c.in[2].c.typ
		if zero, err = c.in[2].c.ints(); err != nil {
			return nil, nil, 0, err
		}
	}
	if len(zero) != len(scale) || len(scale) == 0 {
		return nil, nil, 0, fmt.Errorf("%d scales and %d zero points", len(scale), len(zero))
	}
	return scale, zero, typ, nil
}

func importQuantize(im *importer, c call) ([]*value, error) {
	scale, zero, typ, err := scales(c)
	if err != nil {
		return nil, err
	}
	r, ok := quantRange[typ]
	if !ok {
		return nil, fmt.Errorf("codes of %v", typ)
	}
	if x := c.in[0].c; x != nil {
		axis, run, err := channelAxis(c, x.shape, len(scale))
		if err != nil {
			return nil, err
		}
		f, err := x.floats()
		if err != nil {
			return nil, err
		}
		out, err := im.fold(x.name, typ, x.shape)
		if err != nil {
			return nil, err
		}
		for i, v := range f {
			k := i / run % axis
			out.v[i] = float64(min(max(int(quant.RoundEven(v/scale[k]))+zero[k], r[0]), r[1]))
		}
		return []*value{{c: out}}, nil
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	if len(scale) > 1 {
		for i, z := range zero {
			if z != zero[0] {
				return nil, fmt.Errorf("activations with zero points %d and %d of channels 0 and %d, want one", zero[0], z, i)
			}
		}
		if x, err = im.divided(c, x, scale); err != nil {
			return nil, err
		}
		q := &coded{x: x, name: c.Outputs[0], scale: 1, scales: scale, zero: zero[0], lo: r[0], hi: r[1]}
		return []*value{{q: q}}, nil
	}
	if scale[0] < 0 {
		return nil, fmt.Errorf("activations with the scale %g, want one above 0", scale[0])
	}
	q := &coded{x: x, name: c.Outputs[0], scale: scale[0], zero: zero[0], lo: r[0], hi: r[1]}
	return []*value{{q: q}}, nil
}

// channelAxis returns the number of channels along the node's axis and the
// elements from one to the next.
func channelAxis(c call, shape tensor.Shape, n int) (channels, run int, err error) {
	if n == 1 {
		return 1, 1, nil
	}
	axis := 1
	if a := c.Attr("axis"); a != nil {
		axis = int(a.I)
	}
	if axis < 0 {
		axis += len(shape)
	}
	if axis < 0 || axis >= len(shape) || shape[axis] != n {
		return 0, 0, fmt.Errorf("%w: %d scales along axis %d of %v", tensor.ErrShape, n, axis, shape)
	}
	return n, shape[axis+1:].Size(), nil
}

func importDequantize(im *importer, c call) ([]*value, error) {
	if q := c.in[0].q; q != nil {
		scale, zero, _, err := scales(c)
		if err != nil {
			return nil, err
		}
		if q.scales != nil && slices.Equal(scale, q.scales) && zero[0] == q.zero {
			return []*value{{channels: q}}, nil
		}
		if len(scale) != 1 || q.scales != nil || scale[0] != q.scale || zero[0] != q.zero {
			return nil, fmt.Errorf("scale %v and zero point %v for codes of %g and %d", scale, zero, q.scale, q.zero)
		}
		n, err := im.dequantize(q)
		return []*value{{n: n}}, err
	}
	codes := c.in[0].c
	if codes == nil {
		return nil, fmt.Errorf("its codes are neither stored nor those of QuantizeLinear")
	}
	out, err := im.dequantizeStored(c, codes)
	return []*value{{c: out}}, err
}

// dequantizeStored makes floats of stored codes, and remembers their grid.
func (im *importer) dequantizeStored(c call, codes *constant) (*constant, error) {
	scale, zero, _, err := scales(c)
	if err != nil {
		return nil, err
	}
	v, err := codes.numbers()
	if err != nil {
		return nil, err
	}
	out, err := im.fold(codes.name, Float, codes.shape)
	if err != nil {
		return nil, err
	}
	if a := c.Attr("block_size"); a != nil && a.I > 0 {
		return out, dequantizeBlocks(out, v, scale, zero, c, int(a.I))
	}
	channels, run, err := channelAxis(c, codes.shape, len(scale))
	if err != nil {
		return nil, err
	}
	least, most, all := 0, 0, 0
	g := &grid{steps: make([]float32, len(scale))}
	for i, s := range scale {
		g.steps[i] = float32(math.Abs(float64(s)))
		if s < 0 && g.signs == nil {
			g.signs = make([]float32, len(scale))
			for k, s := range scale {
				g.signs[k] = float32(math.Copysign(1, float64(s)))
			}
		}
	}
	for i, q := range v {
		k := i / run % channels
		code := int(q) - zero[k]
		least, most, all = min(least, code), max(most, code), all|code
		out.v[i] = float64(float32(code) * g.steps[k])
	}
	if codes.typ == Int32 { // a bias: its steps are others', its values floats
		for i := range out.v {
			if scale[i/run%channels] < 0 {
				out.v[i] = -out.v[i]
			}
		}
		return out, nil
	}
	shift := g.coarsen(all)
	g.spec = weightSpec(least>>shift, most>>shift)
	if len(scale) > 1 {
		g.spec.Granularity = quant.PerChannel
		for g.spec.Axis = 0; codes.shape[g.spec.Axis+1:].Size() != run || codes.shape[g.spec.Axis] != len(scale); {
			g.spec.Axis++
		}
	}
	out.grid = g
	return out, nil
}

// coarsen takes the largest power of two out of codes, whose bits together are all,
// into the steps, and returns its exponent: weights written as codes times a power
// of two, for a finer unit of the bias, are those codes again.
func (g *grid) coarsen(all int) (shift int) {
	if all == 0 {
		return 0
	}
	shift = min(bits.TrailingZeros(uint(all)), 16) // codes of Int64 are no grid's
	for _, s := range g.steps {
		if math.IsInf(float64(s*float32(int(1)<<shift)), 0) {
			return 0
		}
	}
	for i := range g.steps {
		g.steps[i] *= float32(int(1) << shift)
	}
	return shift
}

// weightSpec is the narrowest signed grid that holds codes.
func weightSpec(least, most int) quant.Spec {
	for bits := 2; bits <= 8; bits++ {
		if s := (quant.Spec{Bits: bits, Signed: true}); least >= -s.Qn() && most <= s.Qp() {
			return s
		}
	}
	return quant.Spec{Bits: 16, Signed: true}
}

// dequantizeBlocks makes floats of codes with a scale for each block of an axis;
// no grid of a graph has such blocks along that axis.
func dequantizeBlocks(out *constant, v []float64, scale []float32, zero []int, c call, block int) error {
	axis := 1
	if a := c.Attr("axis"); a != nil {
		axis = int(a.I)
	}
	if axis < 0 {
		axis += len(out.shape)
	}
	if axis < 0 || axis >= len(out.shape) || len(scale)*block != out.size() || out.shape[axis]%block != 0 {
		return fmt.Errorf("%w: blocks of %d along axis %d of %v with %d scales", tensor.ErrShape, block, axis, out.shape, len(scale))
	}
	run := out.shape[axis+1:].Size()
	for i, q := range v {
		k := i/(run*block)*run + i%run
		out.v[i] = float64(float32(int(q)-zero[k]) * scale[k])
	}
	return nil
}

// dequantize makes the quantizer of codes.
func (im *importer) dequantize(q *coded) (*graph.Node, error) {
	if q.fake != nil {
		return q.fake, nil
	}
	if q.onGrid {
		return q.x, nil
	}
	spec, err := gridOf(q.lo-q.zero, q.hi-q.zero)
	if err != nil {
		return nil, err
	}
	q.fake, err = im.quantizer(q.x, spec, []float32{q.scale}, q.name+"_step")
	return q.fake, err
}

// quantizer adds a FakeQuant with stored steps.
func (im *importer) quantizer(x *graph.Node, spec quant.Spec, steps []float32, name string) (*graph.Node, error) {
	step, err := im.stored(name, steps, tensor.Shape{len(steps)}, graph.Step)
	if err != nil {
		return nil, err
	}
	n := im.g.FakeQuant(x, step, graph.FakeQuant{Spec: spec, StepGrad: graph.StepFrozen})
	im.label(n, x.Name()+"_quantized")
	return n, nil
}

// narrow cuts codes at stored bounds.
func narrow(q *coded, name string, lo, hi *value) (*value, error) {
	out := *q
	out.name, out.fake, out.real = name, nil, nil
	for _, b := range []struct {
		v   *value
		cut func(int)
	}{{lo, func(b int) { out.lo = max(out.lo, b) }}, {hi, func(b int) { out.hi = min(out.hi, b) }}} {
		if b.v == nil {
			continue
		}
		if b.v.c == nil || b.v.c.size() != 1 {
			return nil, fmt.Errorf("codes are cut at a computed bound")
		}
		n, err := b.v.c.ints()
		if err != nil {
			return nil, err
		}
		b.cut(n[0])
	}
	return &value{q: &out}, nil
}

// overCodes applies an operation that only arranges or compares values to codes.
func (im *importer) overCodes(v *value, f func(x *graph.Node) (*graph.Node, error)) (*value, error) {
	if v != nil && v.q != nil && v.q.scales != nil {
		return nil, fmt.Errorf("codes with a scale a channel are arranged, want values")
	}
	n, err := im.computed(v)
	if err != nil {
		return nil, err
	}
	y, err := f(n)
	if err != nil || v.q == nil {
		return &value{n: y}, err
	}
	out := *v.q
	out.x, out.fake, out.real, out.onGrid = y, nil, nil, true
	return &value{q: &out}, nil
}

// importSums handles ConvInteger and MatMulInteger.
func importSums(_ *importer, c call) ([]*value, error) {
	if len(c.in) < 2 || c.in[0].q == nil || c.in[1].c == nil {
		return nil, fmt.Errorf("want codes of QuantizeLinear and stored weights")
	}
	s := &sums{x: c.in[0].q, w: c.in[1].c}
	if c.Op == "ConvInteger" {
		s.conv = &c
	}
	for i, want := range []int{s.x.zero, 0} {
		zero := 0
		if len(c.in) > 2+i && c.in[2+i] != nil {
			z := c.in[2+i].c
			if z == nil {
				return nil, fmt.Errorf("a zero point is computed")
			}
			v, err := z.ints()
			if err != nil || len(v) == 0 {
				return nil, fmt.Errorf("zero point %v", v)
			}
			for _, x := range v {
				if zero = x; x != want {
					break
				}
			}
		}
		if zero != want {
			return nil, fmt.Errorf("zero point %d, want %d", zero, want)
		}
	}
	return []*value{{s: s}}, nil
}

// addBias adds stored 32-bit numbers to sums.
func (s *sums) addBias(c *constant) (*value, error) {
	out := *s
	v, err := c.numbers()
	if err != nil {
		return nil, err
	}
	if out.isReal || out.bias != nil {
		return nil, fmt.Errorf("a second bias of 32-bit sums")
	}
	out.bias = v
	return &value{s: &out}, nil
}

// scaled ends sums: each channel times a stored multiplier, which is the product
// of the activations' step and a step of the weights.
func (im *importer) scaled(c call, s *sums, by *constant) (*value, error) {
	m, err := by.floats()
	if err != nil {
		return nil, err
	}
	channels := s.w.shape[0]
	if s.conv == nil {
		channels = s.w.shape[len(s.w.shape)-1]
	}
	if !s.isReal || len(m) != 1 && len(m) != channels || s.bias != nil && len(s.bias) != channels {
		return nil, fmt.Errorf("%d multipliers of sums of %d channels", len(m), channels)
	}
	steps := make([]float32, channels)
	for i := range steps {
		steps[i] = stepFor(m[i%len(m)], s.x.scale)
	}
	axis := 0
	if s.conv == nil {
		axis = len(s.w.shape) - 1
	}
	d := call{Node: &Node{Op: "DequantizeLinear", Attributes: []Attribute{IntAttr("axis", axis)}}}
	d.in = []*value{nil, {c: &constant{typ: Float, shape: tensor.Shape{channels}, v: widen(steps)}}}
	w, err := im.dequantizeStored(d, s.w)
	if err != nil {
		return nil, err
	}
	x, err := im.dequantize(s.x)
	if err != nil {
		return nil, err
	}
	l := layer{call: c, x: x, w: w}
	if s.conv != nil {
		l.call.Node = &Node{Op: "Conv", Name: c.Name, Outputs: c.Outputs, Attributes: s.conv.Attributes}
	}
	if s.bias != nil {
		l.bias = make([]float32, channels)
		for i, b := range s.bias {
			l.bias[i] = float32(b * float64(s.x.scale) * float64(steps[i]))
		}
	}
	n, err := im.layer(l)
	return &value{n: n}, err
}

// stepFor returns the step w whose product with x, in float32, is m, or the
// nearest; 0 gives a step that multiplies nothing.
func stepFor(m, x float32) float32 {
	w := m / x
	for _, c := range []float32{w, math.Nextafter32(w, math.MaxFloat32), math.Nextafter32(w, -math.MaxFloat32)} {
		if float32(x*c) == m && c != 0 {
			return c
		}
	}
	if w == 0 {
		return math.SmallestNonzeroFloat32
	}
	return w
}

func widen(f []float32) []float64 {
	v := make([]float64, len(f))
	for i, x := range f {
		v[i] = float64(x)
	}
	return v
}
