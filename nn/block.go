package nn

import "lowbit/graph"

// Act is an activation; nil means none.
type Act func(x *graph.Node) *graph.Node

// ConvNorm is a convolution named CONV, a batch norm named BN and an
// activation named BN.act.
func ConvNorm(g *graph.Graph, conv, bn string, x *graph.Node, c Conv, n Norm, act Act) *graph.Node {
	x = BatchNorm2d(g, bn, Conv2d(g, conv, x, c), n)
	if act == nil {
		return x
	}
	return act(x).Named(bn + ".act")
}

// Separable describes a depthwise-separable block, as in MobileNet (arXiv
// 1704.04861, table 1).
type Separable struct {
	Out, Stride int
	Norm        Norm
	Act         Act
}

// SeparableConv is a depthwise 3 x 3 convolution and a 1 x 1 convolution, each
// with batch norm and activation: NAME.conv1, NAME.bn1, NAME.conv2, NAME.bn2.
func SeparableConv(g *graph.Graph, name string, x *graph.Node, s Separable) *graph.Node {
	if !fits(g, "separable conv", name, x, 4) {
		return x
	}
	in := x.Shape()[1]
	x = ConvNorm(g, name+".conv1", name+".bn1", x, Conv{Out: in, Kernel: 3, Stride: s.Stride, Pad: 1, Groups: in}, s.Norm, s.Act)
	return ConvNorm(g, name+".conv2", name+".bn2", x, Conv{Out: s.Out, Kernel: 1}, s.Norm, s.Act)
}

// Residual describes a residual block of two or three convolutions (He et al.,
// arXiv 1512.03385, fig. 5).
type Residual struct {
	Out    int // channels of the result
	Stride int
	Inner  int // channels between the 1 x 1 convolutions of a bottleneck; 0: two 3 x 3 convolutions
	// Shortcut carries the block's input to the result's shape; nil: the
	// identity where the shapes agree, else a 1 x 1 convolution with batch norm,
	// NAME.downsample.0 and NAME.downsample.1 (option B of the paper).
	Shortcut func(x *graph.Node) *graph.Node
	Init     Init
}

// ResidualBlock is conv1, bn1, relu, conv2, bn2, (relu, conv3, bn3 in a
// bottleneck), the sum with the shortcut, relu; all names below NAME. A
// bottleneck strides in its 3 x 3 convolution, as torchvision's does.
func ResidualBlock(g *graph.Graph, name string, x *graph.Node, r Residual) *graph.Node {
	if !fits(g, "residual block", name, x, 4) {
		return x
	}
	sub := func(s string) string { return name + "." + s }
	y := x
	if r.Inner == 0 {
		y = ConvNorm(g, sub("conv1"), sub("bn1"), y, Conv{Out: r.Out, Kernel: 3, Stride: r.Stride, Pad: 1, Init: r.Init}, Norm{}, g.Relu)
		y = ConvNorm(g, sub("conv2"), sub("bn2"), y, Conv{Out: r.Out, Kernel: 3, Pad: 1, Init: r.Init}, Norm{}, nil)
	} else {
		y = ConvNorm(g, sub("conv1"), sub("bn1"), y, Conv{Out: r.Inner, Kernel: 1, Init: r.Init}, Norm{}, g.Relu)
		y = ConvNorm(g, sub("conv2"), sub("bn2"), y, Conv{Out: r.Inner, Kernel: 3, Stride: r.Stride, Pad: 1, Init: r.Init}, Norm{}, g.Relu)
		y = ConvNorm(g, sub("conv3"), sub("bn3"), y, Conv{Out: r.Out, Kernel: 1, Init: r.Init}, Norm{}, nil)
	}
	switch {
	case r.Shortcut != nil:
		x = r.Shortcut(x)
	case r.Stride > 1 || x.Shape()[1] != r.Out:
		x = ConvNorm(g, sub("downsample.0"), sub("downsample.1"), x, Conv{Out: r.Out, Kernel: 1, Stride: r.Stride, Init: r.Init}, Norm{}, nil)
	}
	return g.Relu(g.Add(y, x).Named(sub("add"))).Named(sub("relu"))
}

// PreResidualBlock is the pre-activation form (He et al., arXiv 1603.05027,
// fig. 4e): bn1, relu, conv1, bn2, relu, conv2, (bn3, relu, conv3,) and the sum
// with the input, or, where the shape changes, with a 1 x 1 convolution
// NAME.downsample.0 of the first activation. Shortcut is not used.
func PreResidualBlock(g *graph.Graph, name string, x *graph.Node, r Residual) *graph.Node {
	if !fits(g, "residual block", name, x, 4) {
		return x
	}
	sub := func(s string) string { return name + "." + s }
	act := func(n string, x *graph.Node) *graph.Node {
		return g.Relu(BatchNorm2d(g, sub(n), x, Norm{})).Named(sub(n) + ".act")
	}
	first := act("bn1", x)
	if r.Stride > 1 || x.Shape()[1] != r.Out {
		x = Conv2d(g, sub("downsample.0"), first, Conv{Out: r.Out, Kernel: 1, Stride: r.Stride, Init: r.Init})
	}
	var y *graph.Node
	if r.Inner == 0 {
		y = Conv2d(g, sub("conv1"), first, Conv{Out: r.Out, Kernel: 3, Stride: r.Stride, Pad: 1, Init: r.Init})
		y = Conv2d(g, sub("conv2"), act("bn2", y), Conv{Out: r.Out, Kernel: 3, Pad: 1, Init: r.Init})
	} else {
		y = Conv2d(g, sub("conv1"), first, Conv{Out: r.Inner, Kernel: 1, Init: r.Init})
		y = Conv2d(g, sub("conv2"), act("bn2", y), Conv{Out: r.Inner, Kernel: 3, Stride: r.Stride, Pad: 1, Init: r.Init})
		y = Conv2d(g, sub("conv3"), act("bn3", y), Conv{Out: r.Out, Kernel: 1, Init: r.Init})
	}
	return g.Add(y, x).Named(sub("add"))
}

// SubsampleShortcut is option A of the paper: every second pixel, and zero
// channels up to Out, half of them (rounded down) in front. It has no
// parameters.
func SubsampleShortcut(g *graph.Graph, name string, x *graph.Node, out, stride int) *graph.Node {
	if !fits(g, "shortcut", name, x, 4) {
		return x
	}
	if stride > 1 {
		x = g.Slice(g.Slice(x, 2, 0, 0, stride), 3, 0, 0, stride)
	}
	more := out - x.Shape()[1]
	if more == 0 {
		return x
	}
	return g.Pad(x, []int{0, more / 2, 0, 0}, []int{0, more - more/2, 0, 0}, 0).Named(name)
}
