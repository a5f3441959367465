// Package nn builds networks: layers are functions that add nodes and
// parameters to a graph.Graph and return the result's node.
//
//	g := graph.New()
//	x := nn.Input(g, 1, 3, 32, 32)
//	x = nn.Conv2d(g, "conv1", x, nn.Conv{Out: 16, Kernel: 3, Pad: 1})
//	x = g.Relu(nn.BatchNorm2d(g, "bn1", x, nn.Norm{}))
//	nn.Logits(g, nn.Linear(g, "linear", g.GlobalAvgPool(x), nn.Dense{Out: 10}))
//	return g, g.Err()
//
// A layer's name is its node's name; its parameters are named as in PyTorch's
// state_dict: NAME.weight, NAME.bias, NAME.running_mean, NAME.running_var.
// Mistakes stick to the graph: build on, and ask g.Err at the end.
//
// Networks follow one convention: the input "input" [batch, channel, height,
// width], already normalised; the output "logits" [batch, classes]; and the
// graph stands for inference (graph.Training makes one to train).
package nn

import (
	"fmt"
	"hash/fnv"
	"math"

	"lowbit/graph"
	"lowbit/tensor"
)

// Names that every network of the convention has. RNGName is the input that
// dropout reads, i64 [2]: the seed and the step of the run; a network without
// dropout lacks it, and graph.Inference removes its readers.
const (
	InputName  = "input"
	LogitsName = "logits"
	RNGName    = "rng"
)

// Input adds the network's input.
func Input(g *graph.Graph, shape ...int) *graph.Node {
	return g.Input(InputName, tensor.F32, shape...)
}

// Logits makes x [batch, classes] the network's output.
func Logits(g *graph.Graph, x *graph.Node) { g.Output(LogitsName, x) }

// Init chooses how a weight of that shape, [out, in/groups, kh, kw] or [out,
// in], starts.
type Init func(shape []int) graph.Init

// KaimingFanOut is normal with standard deviation sqrt(2/(out*kh*kw)): what
// torchvision gives convolutions in front of a ReLU (He et al., arXiv
// 1502.01852, eq. 14).
func KaimingFanOut(shape []int) graph.Init {
	return graph.Init{Kind: graph.InitNormal, Value: math.Sqrt(2 / float64(fan(shape, 0)))}
}

// KaimingFanIn is normal with standard deviation sqrt(2/(in/groups*kh*kw)) (He
// et al., eq. 10).
func KaimingFanIn(shape []int) graph.Init {
	return graph.Init{Kind: graph.InitNormal, Value: math.Sqrt(2 / float64(fan(shape, 1)))}
}

// UniformFanIn is uniform in +-1/sqrt(in/groups*kh*kw): PyTorch's own default
// for weights and biases of linear layers and convolutions.
func UniformFanIn(shape []int) graph.Init {
	return graph.Init{Kind: graph.InitUniform, Value: 1 / math.Sqrt(float64(fan(shape, 1)))}
}

// Normal is normal with that standard deviation.
func Normal(sd float64) Init {
	return func([]int) graph.Init { return graph.Init{Kind: graph.InitNormal, Value: sd} }
}

// Const is that value everywhere.
func Const(v float64) Init {
	return func([]int) graph.Init { return graph.Init{Kind: graph.InitConst, Value: v} }
}

// fan is the size of axis 0 or 1 times that of the kernel, at least 1.
func fan(shape []int, axis int) int {
	n := 1
	for i, d := range shape {
		if i == axis || i > 1 {
			n *= d
		}
	}
	return max(n, 1)
}

// Conv describes a two-dimensional convolution with a square kernel. Zero
// values mean: stride, dilation and groups 1, no padding, no bias, weights by
// KaimingFanOut, bias 0.
type Conv struct {
	Out      int // channels of the result
	Kernel   int
	Stride   int
	Pad      int  // zeros on each side
	Same     bool // TensorFlow's SAME padding in place of Pad: result = ceil(size/stride), an odd zero goes to the right and bottom
	Dilation int
	Groups   int // as many as channels: depthwise
	Bias     bool
	Init     Init // of the weight
	BiasInit Init
}

// Conv2d convolves x [batch, in, h, w] with NAME.weight [Out, in/Groups,
// Kernel, Kernel] and adds NAME.bias [Out] if Bias. The convolution's node is
// named NAME; the sum with the bias NAME.bias_add.
func Conv2d(g *graph.Graph, name string, x *graph.Node, c Conv) *graph.Node {
	if !fits(g, "conv2d", name, x, 4) {
		return x
	}
	c.Stride, c.Dilation, c.Groups = max(c.Stride, 1), max(c.Dilation, 1), max(c.Groups, 1)
	in := x.Shape()[1]
	if c.Out < 1 || c.Kernel < 1 || in%c.Groups != 0 {
		g.Fail(fmt.Errorf("nn: conv2d %s: %d channels in, %d out, kernel %d, %d groups: want positive numbers and groups that divide the channels", name, in, c.Out, c.Kernel, c.Groups))
		return x
	}
	op := graph.Conv2D{
		Stride: [2]int{c.Stride, c.Stride}, Dilation: [2]int{c.Dilation, c.Dilation}, Groups: c.Groups,
		Pad: [4]int{c.Pad, c.Pad, c.Pad, c.Pad},
	}
	if c.Same {
		top, bottom := samePad(x.Shape()[2], c)
		left, right := samePad(x.Shape()[3], c)
		op.Pad = [4]int{top, left, bottom, right}
	}
	w := weight(g, name+".weight", c.Init, KaimingFanOut, c.Out, in/c.Groups, c.Kernel, c.Kernel)
	y := g.Conv2D(x, w, op).Named(name)
	if !c.Bias {
		return y
	}
	b := bias(g, name, c.BiasInit, Const(0), c.Out, w.Shape())
	return g.Add(y, g.Reshape(b, c.Out, 1, 1)).Named(name + ".bias_add")
}

// samePad returns the zeros before and after an axis of that size.
func samePad(size int, c Conv) (before, after int) {
	out := (size + c.Stride - 1) / c.Stride
	total := max((out-1)*c.Stride+c.Dilation*(c.Kernel-1)+1-size, 0)
	return total / 2, total - total/2
}

// Dense describes a linear layer. It has a bias unless Unbiased; the zero
// values of Init and BiasInit mean UniformFanIn.
type Dense struct {
	Out      int
	Unbiased bool
	Init     Init // of the weight
	BiasInit Init
}

// Linear multiplies x [..., in] with the transpose of NAME.weight [Out, in] and
// adds NAME.bias [Out]. The product's node is named NAME; the sum with the bias
// NAME.bias_add.
func Linear(g *graph.Graph, name string, x *graph.Node, d Dense) *graph.Node {
	if !fits(g, "linear", name, x, 0) {
		return x
	}
	in := x.Shape()[len(x.Shape())-1]
	if d.Out < 1 {
		g.Fail(fmt.Errorf("nn: linear %s: %d results, want at least 1", name, d.Out))
		return x
	}
	w := weight(g, name+".weight", d.Init, UniformFanIn, d.Out, in)
	y := g.Linear(x, w).Named(name)
	if d.Unbiased {
		return y
	}
	return g.Add(y, bias(g, name, d.BiasInit, UniformFanIn, d.Out, w.Shape())).Named(name + ".bias_add")
}

func weight(g *graph.Graph, name string, init, otherwise Init, shape ...int) *graph.Node {
	if init == nil {
		init = otherwise
	}
	return g.Param(graph.Param{Name: name, Shape: shape, Role: graph.Weight, Init: init(shape)})
}

// bias starts by the fan of the weight that it belongs to, as in PyTorch.
func bias(g *graph.Graph, name string, init, otherwise Init, out int, weight []int) *graph.Node {
	if init == nil {
		init = otherwise
	}
	return g.Param(graph.Param{Name: name + ".bias", Shape: []int{out}, Role: graph.Bias, Init: init(weight)})
}

// Norm describes a batch norm; the zero values mean PyTorch's defaults.
type Norm struct {
	Eps      float64 // added to the variance; 0 means 1e-5
	Momentum float64 // weight of the new statistic; 0 means 0.1
}

// BatchNorm2d normalises each channel of x [batch, c, ...] with NAME.weight,
// NAME.bias, NAME.running_mean and NAME.running_var, each [c].
func BatchNorm2d(g *graph.Graph, name string, x *graph.Node, n Norm) *graph.Node {
	if !fits(g, "batch norm", name, x, 4) {
		return x
	}
	if n.Eps == 0 {
		n.Eps = 1e-5
	}
	if n.Momentum == 0 {
		n.Momentum = 0.1
	}
	vector := func(suffix string, role graph.Role, start float64) *graph.Node {
		return g.Param(graph.Param{
			Name: name + suffix, Shape: []int{x.Shape()[1]}, Role: role,
			Init: graph.Init{Kind: graph.InitConst, Value: start},
		})
	}
	gamma, beta := vector(".weight", graph.Norm, 1), vector(".bias", graph.Norm, 0)
	mean, variance := vector(".running_mean", graph.Stat, 0), vector(".running_var", graph.Stat, 1)
	return g.Apply(graph.BatchNorm{Eps: n.Eps, Momentum: n.Momentum}, x, gamma, beta, mean, variance).Named(name)
}

// Dropout zeroes each element with that probability while training; rate 0
// adds nothing. Its randomness is keyed by the layer's name and by the input
// RNGName, which it adds to the graph.
func Dropout(g *graph.Graph, name string, x *graph.Node, rate float64) *graph.Node {
	if rate == 0 || !fits(g, "dropout", name, x, 0) {
		return x
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := g.FixedInput(RNGName, tensor.I64, 2)
	return g.Apply(graph.Dropout{Rate: rate, Key: h.Sum64()}, x, rng).Named(name)
}

// AdaptiveAvgPool averages x [batch, c, h, w] to [batch, c, size, size]; h and w
// must be multiples of size.
func AdaptiveAvgPool(g *graph.Graph, name string, x *graph.Node, size int) *graph.Node {
	if !fits(g, "average pool", name, x, 4) {
		return x
	}
	h, w := x.Shape()[2], x.Shape()[3]
	if size < 1 || h%size != 0 || w%size != 0 {
		g.Fail(fmt.Errorf("nn: average pool %s: %d x %d, want multiples of %d", name, h, w, size))
		return x
	}
	if h == size && w == size {
		return x
	}
	k := [2]int{h / size, w / size}
	return g.Apply(graph.Pool{F: graph.AvgPool, Kernel: k, Stride: k}, x).Named(name)
}

// fits checks that x is a float32 value of that rank (0: any but a scalar). On
// a mistake it records an error and the layer returns x itself.
func fits(g *graph.Graph, layer, name string, x *graph.Node, rank int) bool {
	switch {
	case x == nil:
		g.Fail(fmt.Errorf("nn: %s %s: no operand", layer, name))
		return false
	case x.Type().DType == tensor.Invalid: // the graph has its error already
		g.Fail(fmt.Errorf("nn: %s %s: the operand failed", layer, name))
		return false
	case rank != 0 && len(x.Shape()) != rank, len(x.Shape()) == 0:
		g.Fail(fmt.Errorf("nn: %s %s: %w: operand %s is %v, want rank %d", layer, name, tensor.ErrShape, x.Name(), x.Type(), max(rank, 1)))
		return false
	}
	return true
}
