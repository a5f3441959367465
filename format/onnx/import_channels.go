package onnx

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/quant"
)

// Activations with a scale a channel, as NNCF writes them in front of depthwise
// convolutions. The graph's quantizers of activations have one step, so that the
// values are divided by their scales, quantized with the step 1, and multiplied
// again: in floats, or, of a depthwise convolution, by its weights' steps, which
// keeps the layer on integers.

// divided returns x over one scale for each channel. Division passes a relu in
// front of it, for the sake of a batch norm or bias that it can be folded with.
func (im *importer) divided(c call, x *graph.Node, scale []float32) (*graph.Node, error) {
	axis := 1
	if a := c.Attr("axis"); a != nil {
		axis = int(a.I)
	}
	if s := x.Shape(); axis != 1 && axis != 1-len(s) || len(s) < 2 || s[1] != len(scale) {
		return nil, fmt.Errorf("activations %v with %d scales along axis %d, want one, or one for each channel of axis 1", x.Shape(), len(scale), axis)
	}
	for i, s := range scale {
		if s <= 0 {
			return nil, fmt.Errorf("scale %g of channel %d, want one above 0", s, i)
		}
	}
	over := func(x *graph.Node) *graph.Node { return im.g.Div(x, im.perChannel(im.constants(scale), x)) }
	if o, ok := x.Op().(graph.Unary); ok && o.F == graph.Relu {
		return im.g.Relu(over(x.In()[0])), nil
	}
	return over(x), nil
}

// scaledBack returns the floats of codes with a scale a channel.
func (im *importer) scaledBack(q *coded) (*graph.Node, error) {
	if q.real != nil {
		return q.real, nil
	}
	n, err := im.dequantize(q)
	if err != nil {
		return nil, err
	}
	q.real = im.g.Mul(n, im.perChannel(im.constants(q.scales), n))
	return q.real, nil
}

// depthwise returns what a convolution reads of codes with a scale a channel, and
// its weights with those scales in their steps; ok is false of a convolution whose
// output channels read more than one.
func (im *importer) depthwise(q *coded, groups int, w *constant) (x *graph.Node, by *constant, ok bool, err error) {
	if len(w.shape) != 4 || groups != len(q.scales) || w.shape[1] != 1 || w.shape[0]%groups != 0 {
		return nil, nil, false, nil
	}
	f, err := w.floats()
	if err != nil {
		return nil, nil, false, err
	}
	if by, err = im.fold(w.name, Float, w.shape); err != nil {
		return nil, nil, false, err
	}
	outs, size := w.shape[0], w.shape[2]*w.shape[3]
	channel := func(o int) float32 { return q.scales[o/(outs/groups)] }
	for i, v := range f {
		by.v[i] = float64(v * channel(i/size))
	}
	if g := w.grid; g != nil {
		if len(g.steps) > 1 && g.spec.Axis != 0 {
			return nil, nil, false, nil
		}
		all := grid{spec: g.spec, steps: make([]float32, outs), signs: g.signs}
		all.spec.Granularity, all.spec.Axis = quant.PerChannel, 0
		for o := range all.steps {
			all.steps[o] = g.steps[o%len(g.steps)] * channel(o)
			if s := all.steps[o]; s == 0 || math.IsInf(float64(s), 0) {
				return nil, nil, false, fmt.Errorf("channel %d: the product of its scales is %g", o, s)
			}
		}
		if len(g.steps) == 1 && g.signs != nil {
			all.signs = make([]float32, outs)
			for o := range all.signs {
				all.signs[o] = g.signs[0]
			}
		}
		by.grid = &all
		// The floats are those of the grid: code times step.
		for i, v := range f {
			step := g.steps[i/size%len(g.steps)]
			by.v[i] = float64(quant.RoundEven(v/step) * all.steps[i/size])
		}
	}
	x, err = im.dequantize(q)
	return x, by, err == nil, err
}
