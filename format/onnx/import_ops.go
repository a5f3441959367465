package onnx

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/tensor"
)

// handlers import the ops; each returns the results in order.
var handlers map[string]func(*importer, call) ([]*value, error)

func init() {
	handlers = map[string]func(*importer, call) ([]*value, error){
		"Conv": importConv, "Gemm": importGemm, "MatMul": importMatMul, "BatchNormalization": importBatchNorm,
		"ConvInteger": importSums, "MatMulInteger": importSums, "LayerNormalization": importLayerNorm,
		"MaxPool": importPool, "AveragePool": importPool, "GlobalAveragePool": importGlobalPool,
		"QuantizeLinear": importQuantize, "DequantizeLinear": importDequantize,
		"Clip": importClip, "Pow": importPow, "HardSigmoid": importHard, "HardSwish": importHard,
		"Softmax": importSoftmax, "LogSoftmax": importSoftmax, "Gelu": importGelu, "Sum": importSum,
		"Identity": importSame, "Dropout": importSame, "Cast": importCast,
		"Constant": importConstant, "ConstantOfShape": importConstantOfShape, "Shape": importShape, "Range": importRange,
		"Where": importWhere, "And": importLogic, "Or": importLogic, "Not": importNot, "IsNaN": importIsNaN, "Expand": importExpand,
		"Reshape": importReshape, "Flatten": importFlatten, "Squeeze": importSqueeze, "Unsqueeze": importUnsqueeze,
		"Transpose": importTranspose, "Concat": importConcat, "Slice": importSlice, "Split": importSplit,
		"Gather": importGather, "GatherND": importGatherND, "Pad": importPad, "ReduceMean": importReduce, "ReduceSum": importReduce,
	}
	for op := range binaries {
		handlers[op] = importBinary
	}
	for op := range unaries {
		handlers[op] = importUnary
	}
	for op := range comparisons {
		handlers[op] = importComparison
	}
}

var binaries = map[string]struct {
	kind graph.BinaryKind
	f    func(x, y float64) float64
}{
	"Add": {graph.Add, func(x, y float64) float64 { return x + y }},
	"Sub": {graph.Sub, func(x, y float64) float64 { return x - y }},
	"Mul": {graph.Mul, func(x, y float64) float64 { return x * y }},
	"Div": {graph.Div, func(x, y float64) float64 { return x / y }},
	"Max": {graph.Max, math.Max},
	"Min": {graph.Min, math.Min},
}

var unaries = map[string]struct {
	kind graph.UnaryKind
	f    func(x float64) float64
}{
	"Relu":       {graph.Relu, func(x float64) float64 { return math.Max(x, 0) }},
	"Sigmoid":    {graph.Sigmoid, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }},
	"Tanh":       {graph.Tanh, math.Tanh},
	"Erf":        {graph.Erf, math.Erf},
	"Neg":        {graph.Neg, func(x float64) float64 { return -x }},
	"Abs":        {graph.Abs, math.Abs},
	"Sqrt":       {graph.Sqrt, math.Sqrt},
	"Exp":        {graph.Exp, math.Exp},
	"Log":        {graph.Log, math.Log},
	"Reciprocal": {"", func(x float64) float64 { return 1 / x }},
}

func importUnary(im *importer, c call) ([]*value, error) {
	o := unaries[c.Op]
	if k := c.in[0].c; k != nil {
		out, err := im.foldUnary(c.Outputs[0], k, o.f)
		return []*value{{c: out}}, err
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	if o.kind == "" {
		return []*value{{n: im.g.Div(im.g.Scalar(1), x)}}, nil
	}
	return []*value{{n: im.g.Apply(graph.Unary{F: o.kind}, x)}}, nil
}

func importBinary(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 || c.in[0] == nil || c.in[1] == nil {
		return nil, fmt.Errorf("%d operands, want 2", len(c.in))
	}
	a, b := c.in[0], c.in[1]
	o := binaries[c.Op]
	switch {
	case a.c != nil && b.c != nil:
		if c.Op == "Div" && !a.c.isFloat() {
			o.f = func(x, y float64) float64 { return math.Trunc(x / y) }
		}
		out, err := im.foldBinary(c.Outputs[0], a.c, b.c, o.f)
		return []*value{{c: out}}, err
	case a.s != nil && b.c != nil && c.Op == "Add":
		v, err := a.s.addBias(b.c)
		return []*value{v}, err
	case a.s != nil && b.c != nil && c.Op == "Mul":
		v, err := im.scaled(c, a.s, b.c)
		return []*value{v}, err
	case a.q != nil && b.c != nil && c.Op == "Max":
		v, err := narrow(a.q, c.Outputs[0], b, nil)
		return []*value{v}, err
	case a.q != nil && b.c != nil && c.Op == "Min":
		v, err := narrow(a.q, c.Outputs[0], nil, b)
		return []*value{v}, err
	}
	x, err := im.computed(a)
	if err != nil {
		return nil, err
	}
	y, err := im.computed(b)
	if err != nil {
		return nil, err
	}
	return []*value{{n: im.g.Apply(graph.Binary{F: o.kind}, x, y)}}, nil
}

func importSum(im *importer, c call) ([]*value, error) {
	var sum *graph.Node
	for _, v := range c.in {
		x, err := im.computed(v)
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = x
		} else {
			sum = im.g.Add(sum, x)
		}
	}
	return []*value{{n: sum}}, nil
}

func importClip(im *importer, c call) ([]*value, error) {
	bounds := [2]*value{}
	for i, name := range []string{"min", "max"} {
		if a := c.Attr(name); a != nil { // before opset 11
			bounds[i] = &value{c: &constant{typ: Float, v: []float64{float64(a.F)}}}
		} else if len(c.in) > 1+i {
			bounds[i] = c.in[1+i]
		}
	}
	if q := c.in[0].q; q != nil {
		v, err := narrow(q, c.Outputs[0], bounds[0], bounds[1])
		return []*value{v}, err
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	limits := [2]float64{math.Inf(-1), math.Inf(1)}
	for i, b := range bounds {
		if b == nil {
			continue
		}
		if b.c == nil || b.c.size() != 1 {
			return nil, fmt.Errorf("its bounds are computed, want stored numbers")
		}
		v, err := b.c.numbers()
		if err != nil {
			return nil, err
		}
		limits[i] = v[0]
	}
	switch {
	case limits == [2]float64{0, 6}:
		return []*value{{n: im.g.Relu6(x)}}, nil
	case limits[0] == 0:
		x = im.g.Relu(x)
	case limits[0] > -math.MaxFloat32:
		x = im.g.Max(x, im.g.Scalar(float32(limits[0])))
	}
	if limits[1] < math.MaxFloat32 {
		x = im.g.Min(x, im.g.Scalar(float32(limits[1])))
	}
	return []*value{{n: x}}, nil
}

func importPow(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 || c.in[1] == nil || c.in[1].c == nil || c.in[1].c.size() != 1 {
		return nil, fmt.Errorf("want a stored exponent")
	}
	e, err := c.in[1].c.numbers()
	if err != nil {
		return nil, err
	}
	if k := c.in[0].c; k != nil {
		out, err := im.foldUnary(c.Outputs[0], k, func(x float64) float64 { return math.Pow(x, e[0]) })
		return []*value{{c: out}}, err
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	switch e[0] {
	case 2:
		return []*value{{n: im.g.Mul(x, x)}}, nil
	case 0.5:
		return []*value{{n: im.g.Sqrt(x)}}, nil
	case 1:
		return []*value{{n: x}}, nil
	case 3:
		return []*value{{n: im.g.Mul(im.g.Mul(x, x), x)}}, nil
	}
	return nil, fmt.Errorf("exponent %g, want 3, 2, 1 or 0.5", e[0])
}

// importHard: HardSigmoid is min(max(alpha*x+beta, 0), 1), HardSwish x times
// that with alpha 1/6 and beta 1/2.
func importHard(im *importer, c call) ([]*value, error) {
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	alpha, beta := float32(0.2), float32(0.5)
	if c.Op == "HardSwish" {
		alpha = 1.0 / 6
	}
	for name, to := range map[string]*float32{"alpha": &alpha, "beta": &beta} {
		if a := c.Attr(name); a != nil {
			*to = a.F
		}
	}
	y := im.g.Relu(im.g.Add(im.g.Mul(x, im.g.Scalar(alpha)), im.g.Scalar(beta)))
	y = im.g.Min(y, im.g.Scalar(1))
	if c.Op == "HardSwish" {
		y = im.g.Mul(x, y)
	}
	return []*value{{n: y}}, nil
}

func importSoftmax(im *importer, c call) ([]*value, error) {
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	def := -1
	if im.m.Opset < 13 {
		def = 1
	}
	rank := len(x.Shape())
	axis := attrInt(c, "axis", def)
	if axis < 0 {
		axis += rank
	}
	last := axis == rank-1
	for _, d := range x.Shape()[min(max(axis, 0)+1, rank):] {
		last = last || d == 1 && axis == 1 && rank == 4 && x.Shape()[2]*x.Shape()[3] == 1
	}
	if !last {
		return nil, fmt.Errorf("along axis %d of %v, want the last", axis, x.Shape())
	}
	if axis == rank-1 {
		return []*value{{n: im.g.Apply(graph.Softmax{Log: c.Op == "LogSoftmax"}, x)}}, nil
	}
	y := im.g.Apply(graph.Softmax{Log: c.Op == "LogSoftmax"}, im.g.Flatten(x))
	return []*value{{n: im.g.Apply(graph.Reshape{Dims: []int{0, -1, 1, 1}}, y)}}, nil
}

func importGelu(im *importer, c call) ([]*value, error) {
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	if a := c.Attr("approximate"); a != nil && string(a.S) == "tanh" {
		return []*value{{n: im.g.GELUTanh(x)}}, nil
	}
	return []*value{{n: im.g.GELU(x)}}, nil
}

func importSame(_ *importer, c call) ([]*value, error) {
	if len(c.in) == 0 {
		return nil, fmt.Errorf("no operand")
	}
	return []*value{c.in[0]}, nil
}

func importCast(im *importer, c call) ([]*value, error) {
	to := Type(attrInt(c, "to", 0))
	v := c.in[0]
	switch {
	case v.s != nil && to == Float:
		out := *v.s
		out.isReal = true
		return []*value{{s: &out}}, nil
	case v.c != nil:
		f := func(x float64) float64 { return x }
		if to == Int64 || to == Int32 {
			f = math.Trunc
		} else if to == Bool {
			f = func(x float64) float64 { return float64(b2i(x != 0)) }
		}
		out, err := im.foldUnary(c.Outputs[0], v.c, f)
		if err == nil {
			out.typ = to
		}
		return []*value{{c: out}}, err
	case v.n != nil && (v.n.Type().DType == tensor.I32) == (to == Int64 || to == Int32):
		return []*value{v}, nil
	}
	return nil, fmt.Errorf("to %v of a computed value", to)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func importReduce(im *importer, c call) ([]*value, error) {
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	o := graph.Reduce{F: graph.Mean, KeepDims: attrInt(c, "keepdims", 1) != 0}
	if c.Op == "ReduceSum" {
		o.F = graph.Sum
	}
	axes, err := im.axes(c, len(x.Shape()))
	if err != nil {
		return nil, err
	}
	if len(axes) == 0 && attrInt(c, "noop_with_empty_axes", 0) != 0 {
		return []*value{{n: x}}, nil
	}
	o.Axes = axes
	return []*value{{n: im.g.Apply(o, x)}}, nil
}

// axes returns the axes of an operation, from its attribute or its second
// operand, none negative.
func (im *importer) axes(c call, rank int) ([]int, error) {
	var axes []int
	if a := c.Attr("axes"); a != nil {
		for _, v := range a.Ints {
			axes = append(axes, int(v))
		}
	} else if len(c.in) > 1 {
		if c.in[1].c == nil {
			return nil, fmt.Errorf("its axes are computed, want stored ones")
		}
		var err error
		if axes, err = c.in[1].c.ints(); err != nil {
			return nil, err
		}
	}
	for i := range axes {
		if axes[i] < 0 {
			axes[i] += rank
		}
		if axes[i] < 0 || axes[i] >= rank {
			return nil, fmt.Errorf("axes %v of rank %d", axes, rank)
		}
	}
	return axes, nil
}
