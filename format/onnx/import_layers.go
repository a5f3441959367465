package onnx

import (
	"fmt"
	"slices"
	"strings"

	"lowbit/graph"
	"lowbit/tensor"
)

// layer is a convolution or a linear layer with stored weights.
type layer struct {
	call
	x    *graph.Node
	w    *constant // [out, in/groups, kh, kw], or of a product [in, out]
	bias []float32
	// transposed: of a product, w is [out, in] already.
	transposed bool
}

// name is what the layer is called: by its weight, or by its node.
func (l *layer) name() string {
	if n, ok := strings.CutSuffix(l.w.name, ".weight"); ok && !strings.HasPrefix(n, "onnx::") {
		return n
	}
	n := strings.TrimSuffix(strings.TrimPrefix(l.Name, "/"), "/"+l.Op)
	if n == "" {
		n = l.Outputs[0]
	}
	return n
}

// layer adds a layer: the product, signs of scales below 0, the bias.
func (im *importer) layer(l layer) (*graph.Node, error) {
	conv := l.Op == "Conv"
	w := l.w
	if !conv && !l.transposed {
		var err error
		if w, err = im.transposed(w); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(w.name, "onnx::") || w.name == "" {
		named := *w
		named.name = l.name() + ".weight"
		w = &named
	}
	wn, err := im.param(w, graph.Weight)
	if err != nil {
		return nil, err
	}
	var y *graph.Node
	if conv {
		o, err := convAttributes(l.call, l.x.Shape(), w.shape)
		if err != nil {
			return nil, err
		}
		y = im.g.Conv2D(l.x, wn, o)
	} else {
		y = im.g.Linear(l.x, wn)
	}
	im.label(y, l.name())
	if w.grid != nil && w.grid.signs != nil {
		y = im.g.Mul(y, im.perChannel(im.constants(w.grid.signs), y))
	}
	if l.bias == nil {
		return y, nil
	}
	b, err := im.stored(l.name()+".bias", l.bias, tensor.Shape{len(l.bias)}, graph.Bias)
	if err != nil {
		return nil, err
	}
	return im.g.Add(y, im.perChannel(b, y)), nil
}

func (im *importer) constants(v []float32) *graph.Node {
	return im.g.Apply(graph.Const{Shape: []int{len(v)}, Values: v})
}

// perChannel gives a vector the shape that broadcasts along y's channels.
func (im *importer) perChannel(v, y *graph.Node) *graph.Node {
	if len(y.Shape()) != 4 {
		return v
	}
	return im.g.Reshape(v, v.Shape().Size(), 1, 1)
}

// transposed swaps the two axes of a matrix.
func (im *importer) transposed(c *constant) (*constant, error) {
	if len(c.shape) != 2 {
		return nil, fmt.Errorf("%w: weights %v, want a matrix", tensor.ErrShape, c.shape)
	}
	rows, cols := c.shape[0], c.shape[1]
	t, err := im.gather(c.name, c, tensor.Shape{cols, rows}, func(i []int) int { return i[1]*cols + i[0] })
	if err == nil && c.grid != nil {
		g := *c.grid
		g.spec.Axis = max(0, 1-g.spec.Axis)
		if len(g.steps) == 1 {
			g.spec.Axis = 0
		}
		t.grid = &g
	}
	return t, err
}

func attrInts(c call, name string, n int, def int) ([]int, error) {
	out := slices.Repeat([]int{def}, n)
	a := c.Attr(name)
	if a == nil || len(a.Ints) == 0 {
		return out, nil
	}
	if len(a.Ints) != n {
		return nil, fmt.Errorf("%s %v, want %d numbers", name, a.Ints, n)
	}
	for i, v := range a.Ints {
		if v < -1<<30 || v > 1<<30 {
			return nil, fmt.Errorf("%s %v", name, a.Ints)
		}
		out[i] = int(v)
	}
	return out, nil
}

func attrInt(c call, name string, def int) int {
	if a := c.Attr(name); a != nil {
		return int(min(max(a.I, -1<<30), 1<<30))
	}
	return def
}

// padding returns the pads of a window: top, left, bottom, right.
func padding(c call, size, kernel, stride, dilation []int) (p [4]int, err error) {
	v, err := attrInts(c, "pads", 4, 0)
	if err != nil {
		return p, err
	}
	mode := ""
	if a := c.Attr("auto_pad"); a != nil {
		mode = string(a.S)
	}
	switch mode {
	case "", "NOTSET":
		copy(p[:], v)
	case "VALID":
	case "SAME_UPPER", "SAME_LOWER":
		for i := range 2 {
			out := (size[i] + stride[i] - 1) / max(stride[i], 1)
			all := max(0, (out-1)*stride[i]+dilation[i]*(kernel[i]-1)+1-size[i])
			p[i], p[i+2] = all/2, all-all/2
			if mode == "SAME_LOWER" {
				p[i], p[i+2] = p[i+2], p[i]
			}
		}
	default:
		return p, fmt.Errorf("auto_pad %q", mode)
	}
	return p, nil
}

func convAttributes(c call, x, w tensor.Shape) (o graph.Conv2D, err error) {
	if len(x) != 4 || len(w) != 4 {
		return o, fmt.Errorf("%w: a convolution of %v with %v, want two dimensions of space", tensor.ErrShape, x, w)
	}
	stride, err := attrInts(c, "strides", 2, 1)
	if err != nil {
		return o, err
	}
	dilation, err := attrInts(c, "dilations", 2, 1)
	if err != nil {
		return o, err
	}
	o = graph.Conv2D{Stride: [2]int(stride), Dilation: [2]int(dilation), Groups: attrInt(c, "group", 1)}
	o.Pad, err = padding(c, x[2:], w[2:], stride, dilation)
	return o, err
}

func importConv(im *importer, c call) ([]*value, error) {
	if len(c.in) < 2 || c.in[1] == nil || c.in[1].c == nil {
		return nil, fmt.Errorf("its weights are computed, want stored ones")
	}
	l, ok, err := layer{call: c, w: c.in[1].c}, false, error(nil)
	if in := c.in[0]; in != nil && in.channels != nil {
		var w *constant
		if l.x, w, ok, err = im.depthwise(in.channels, attrInt(c, "group", 1), l.w); ok {
			l.w = w
		}
	}
	if err == nil && !ok {
		l.x, err = im.computed(c.in[0])
	}
	if err != nil {
		return nil, err
	}
	if len(c.in) > 2 {
		if c.in[2].c == nil {
			return nil, fmt.Errorf("its bias is computed, want a stored one")
		}
		if l.bias, err = c.in[2].c.floats(); err != nil {
			return nil, err
		}
	}
	n, err := im.layer(l)
	return []*value{{n: n}}, err
}

func importGemm(im *importer, c call) ([]*value, error) {
	if len(c.in) < 2 || c.in[1] == nil || c.in[1].c == nil || attrInt(c, "transA", 0) != 0 {
		return nil, fmt.Errorf("want stored weights and transA 0")
	}
	for _, name := range []string{"alpha", "beta"} {
		if a := c.Attr(name); a != nil && a.F != 1 {
			return nil, fmt.Errorf("%s %g, want 1", name, a.F)
		}
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	l := layer{call: c, x: x, w: c.in[1].c, transposed: attrInt(c, "transB", 0) != 0}
	if len(c.in) > 2 {
		b := c.in[2].c
		if b == nil || len(b.shape) > 2 || len(b.shape) == 2 && b.shape[0] != 1 {
			return nil, fmt.Errorf("its bias is no stored vector")
		}
		if l.bias, err = b.floats(); err != nil {
			return nil, err
		}
	}
	n, err := im.layer(l)
	return []*value{{n: n}}, err
}

func importMatMul(im *importer, c call) ([]*value, error) {
	if len(c.in) != 2 || c.in[0] == nil || c.in[1] == nil {
		return nil, fmt.Errorf("%d operands, want 2", len(c.in))
	}
	a, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	if w := c.in[1].c; w != nil && len(w.shape) == 2 {
		n, err := im.layer(layer{call: c, x: a, w: w})
		return []*value{{n: n}}, err
	}
	b, err := im.computed(c.in[1])
	return []*value{{n: im.g.MatMul(a, b)}}, err
}

func importBatchNorm(im *importer, c call) ([]*value, error) {
	if len(c.in) != 5 || attrInt(c, "training_mode", 0) != 0 {
		return nil, fmt.Errorf("want five operands and training_mode 0")
	}
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	in := []*graph.Node{x}
	for i, role := range []graph.Role{graph.Norm, graph.Norm, graph.Stat, graph.Stat} {
		if c.in[1+i] == nil || c.in[1+i].c == nil {
			return nil, fmt.Errorf("its statistics are computed, want stored ones")
		}
		p, err := im.param(c.in[1+i].c, role)
		if err != nil {
			return nil, err
		}
		in = append(in, p)
	}
	eps := 1e-5
	if a := c.Attr("epsilon"); a != nil {
		eps = float64(a.F)
	}
	return []*value{{n: im.g.Apply(graph.BatchNorm{Eps: eps, Momentum: 0.1}, in...)}}, nil
}

func importLayerNorm(im *importer, c call) ([]*value, error) {
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	rank := len(x.Shape())
	if axis := attrInt(c, "axis", -1); axis != -1 && axis != rank-1 || len(c.in) < 2 || c.in[1].c == nil {
		return nil, fmt.Errorf("axis %d with %d operands, want the last axis and a stored scale", axis, len(c.in))
	}
	gamma, err := im.param(c.in[1].c, graph.Norm)
	if err != nil {
		return nil, err
	}
	beta := im.constants(make([]float32, x.Shape()[rank-1]))
	if len(c.in) > 2 {
		if c.in[2].c == nil {
			return nil, fmt.Errorf("its shift is computed, want a stored one")
		}
		if beta, err = im.param(c.in[2].c, graph.Norm); err != nil {
			return nil, err
		}
	}
	eps := 1e-5
	if a := c.Attr("epsilon"); a != nil {
		eps = float64(a.F)
	}
	return []*value{{n: im.g.LayerNorm(x, gamma, beta, eps)}}, nil
}

func importPool(im *importer, c call) ([]*value, error) {
	f := graph.MaxPool
	if c.Op == "AveragePool" {
		f = graph.AvgPool
	}
	v, err := im.overCodes(c.in[0], func(x *graph.Node) (*graph.Node, error) {
		p, err := poolAttributes(c, x.Shape(), f)
		if err != nil {
			return nil, err
		}
		return im.g.Apply(p, x), nil
	})
	if err == nil && f == graph.AvgPool && v.q != nil {
		err = fmt.Errorf("an average of codes")
	}
	return []*value{v}, err
}

func poolAttributes(c call, x tensor.Shape, f graph.PoolKind) (p graph.Pool, err error) {
	if len(x) != 4 {
		return p, fmt.Errorf("%w: a pool of %v, want two dimensions of space", tensor.ErrShape, x)
	}
	kernel, err := attrInts(c, "kernel_shape", 2, 0)
	if err != nil {
		return p, err
	}
	stride, err := attrInts(c, "strides", 2, 1)
	if err != nil {
		return p, err
	}
	dilation, err := attrInts(c, "dilations", 2, 1)
	if err != nil || dilation[0] != 1 || dilation[1] != 1 {
		return p, fmt.Errorf("dilations %v, want 1 (%v)", dilation, err)
	}
	p = graph.Pool{F: f, Kernel: [2]int(kernel), Stride: [2]int(stride), CountPad: attrInt(c, "count_include_pad", 0) != 0}
	if p.Pad, err = padding(c, x[2:], kernel, stride, dilation); err != nil {
		return p, err
	}
	if attrInt(c, "ceil_mode", 0) != 0 && stride[0] > 0 && stride[1] > 0 {
		for i := range 2 {
			over := (x[2+i] + p.Pad[i] + p.Pad[i+2] - kernel[i]) % stride[i]
			if over <= 0 {
				continue
			}
			if p.CountPad {
				return p, fmt.Errorf("ceil_mode of an average that counts pads")
			}
			if last := x[2+i] + p.Pad[i]; (x[2+i]+p.Pad[i]+p.Pad[i+2]-kernel[i])/stride[i]*stride[i]+stride[i] < last {
				p.Pad[i+2] += stride[i] - over
			}
		}
	}
	return p, nil
}

func importGlobalPool(im *importer, c call) ([]*value, error) {
	x, err := im.computed(c.in[0])
	if err != nil {
		return nil, err
	}
	if len(x.Shape()) != 4 {
		return nil, fmt.Errorf("%w: of %v, want two dimensions of space", tensor.ErrShape, x.Shape())
	}
	n := im.g.GlobalAvgPool(x)
	im.label(n, c.Outputs[0]+"_mean")
	return []*value{{n: im.g.Apply(graph.Reshape{Dims: []int{0, -1, 1, 1}}, n)}}, nil
}
