package distill

import (
	"errors"
	"fmt"
	"regexp"

	"lowbit/graph"
	"lowbit/nn"
	"lowbit/quant"
	"lowbit/rl"
)

// Student describes the network that learns.
type Student struct {
	// Arch is "conv" (a convolution and a hidden layer on boards; the network of
	// Mnih et al. 2013 on screens) or "corenet" (grouped convolutions whose
	// fan-in fits a core; see corenet).
	Arch string `json:"arch"`
	// Bits is "fp32"; "wXaY" (learned steps, first and last layer 8 bits);
	// "binary" (float weights, binary neurons) or "ternary" (ternary weights and
	// binary neurons).
	Bits string `json:"bits"`
	// Width multiplies the channels of every hidden layer; 0 means 1.
	Width int `json:"width,omitempty"`
	// Hysteresis of ternary weights.
	Hysteresis float64 `json:"hysteresis"`
}

// Names of architectures and of the two kinds of bits that have neurons.
const (
	Conv    = "conv"
	CoreNet = "corenet"
	Binary  = "binary"
	Ternary = "ternary"
)

// VotesName is the node of a corenet's graph that counts votes, a mean for each
// action.
const VotesName = "votes"

// maxWidth bounds Student.Width.
const maxWidth = 64

// plan returns the bit plan of a student whose bits are "fp32" or "wXaY";
// spiking is true for the other two.
func (s Student) plan() (plan quant.BitPlan, spiking bool, err error) {
	if s.Bits == Binary || s.Bits == Ternary {
		return plan, true, nil
	}
	if plan, err = quant.ParseBits(s.Bits); err != nil {
		return plan, false, fmt.Errorf("distill: bits %q, want fp32, such as w2a2, %s or %s", s.Bits, Binary, Ternary)
	}
	return plan, false, nil
}

// Validate returns an error that names the first setting that makes no sense.
func (s Student) Validate() error {
	if s.Arch != Conv && s.Arch != CoreNet {
		return fmt.Errorf("distill: student %q, want %s or %s", s.Arch, Conv, CoreNet)
	}
	if s.Width < 0 || s.Width > maxWidth {
		return fmt.Errorf("distill: width %d, want 1..%d", s.Width, maxWidth)
	}
	if !(s.Hysteresis >= 0 && s.Hysteresis < 0.5) {
		return fmt.Errorf("distill: hysteresis %g outside [0, 0.5)", s.Hysteresis)
	}
	_, _, err := s.plan()
	return err
}

// layer is one convolution of a student. Shuffle interleaves the channels of so
// many groups in front of it.
type layer struct {
	name                string
	out, kernel, stride int
	groups, shuffle     int
}

// Build returns the student for a view and a number of actions at batch 1,
// without the quantizers of "wXaY".
func (s Student) Build(v rl.View, actions int) (*graph.Graph, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if err := v.Validate(); err != nil {
		return nil, err
	}
	if actions < 1 {
		return nil, fmt.Errorf("distill: a student of %d actions", actions)
	}
	_, spiking, _ := s.plan()
	g := graph.New()
	b := &builder{g: g, Student: s, spiking: spiking}
	c, h, w := v.Shape()
	x := nn.Input(g, 1, c, h, w)
	if s.Arch == CoreNet {
		if spiking && !v.Binary() {
			return nil, errors.New("distill: a corenet reads bits: choose the view's code thermometer or change")
		}
		layers, err := corenet(c, h, w, actions, max(s.Width, 1))
		if err != nil {
			return nil, err
		}
		b.votes(x, layers, actions)
	} else {
		b.conv(x, actions)
	}
	if g.Err() != nil {
		return nil, fmt.Errorf("distill: %w", g.Err())
	}
	return g, nil
}

type builder struct {
	g *graph.Graph
	Student
	spiking bool
}

// conv is the plain student.
func (b *builder) conv(x *graph.Node, actions int) {
	w := max(b.Width, 1)
	layers := []layer{{name: "conv1", out: 16 * w, kernel: 3, stride: 1}}
	hidden := 128
	if x.Shape()[2] > 16 {
		layers = []layer{{name: "conv1", out: 16 * w, kernel: 8, stride: 4}, {name: "conv2", out: 32 * w, kernel: 4, stride: 2}}
		hidden = 256
	}
	for _, l := range layers {
		x = b.layer(x, l)
	}
	if b.spiking { // a batch norm needs channels: a convolution of the map's size
		x = b.layer(x, layer{name: "fc1", out: hidden * w, kernel: x.Shape()[2], stride: 1})
		x = b.g.Flatten(x)
	} else {
		x = nn.Linear(b.g, "fc1", b.g.Flatten(x), nn.Dense{Out: hidden * w, Init: nn.KaimingFanIn, BiasInit: nn.Const(0)})
		x = b.g.Relu(x).Named("fc1.act")
	}
	nn.Logits(b.g, nn.Linear(b.g, "policy", x, nn.Dense{Out: actions, BiasInit: nn.Const(0)}))
}

// votes is the core-mappable student: output o of the last layer votes for
// action o mod actions; logits = gain * mean of an action's votes.
func (b *builder) votes(x *graph.Node, layers []layer, actions int) {
	g := b.g
	for i, l := range layers {
		if i < len(layers)-1 || b.spiking {
			x = b.layer(x, l)
			continue
		}
		x = b.affine(b.shuffled(x, l), l)
	}
	x = g.Mean(g.Reshape(x, 0, -1, actions), 1).Named(VotesName)
	if b.spiking {
		gain := g.Param(graph.Param{Name: "log_gain", Shape: []int{1}, Role: graph.Bias, Init: graph.Init{Kind: graph.InitConst, Value: startLogGain}})
		x = g.Mul(x, g.Exp(gain))
	}
	nn.Logits(g, x)
}

// startLogGain starts the gain at e^2: with all votes on one of three actions
// the softmax gives it 0.999.
const startLogGain = 2

// layer is a convolution with its neurons: batch norm and spike, or bias and
// relu.
func (b *builder) layer(x *graph.Node, l layer) *graph.Node {
	x = b.affine(b.shuffled(x, l), l)
	if b.spiking {
		return b.g.Spike(x).Named(l.name + ".spike")
	}
	return b.g.Relu(x).Named(l.name + ".act")
}

// affine is the convolution with batch norm, or with a bias.
func (b *builder) affine(x *graph.Node, l layer) *graph.Node {
	c := nn.Conv{Out: l.out, Kernel: l.kernel, Stride: l.stride, Groups: l.groups, Init: nn.KaimingFanIn}
	switch {
	case !b.spiking:
		c.Bias = true
		return nn.Conv2d(b.g, l.name, x, c)
	case b.Bits == Ternary:
		return nn.BatchNorm2d(b.g, l.name+".norm", b.ternary(x, l), nn.Norm{})
	}
	return nn.BatchNorm2d(b.g, l.name+".norm", nn.Conv2d(b.g, l.name, x, c), nn.Norm{})
}

// Suffixes of a ternary layer's parameters: the shadow weight that learns and
// the ternary value of the last step.
const (
	shadowSuffix = ".shadow"
	lastSuffix   = ".ternary"
)

// ternary is a convolution whose weights are -1, 0 or 1.
func (b *builder) ternary(x *graph.Node, l layer) *graph.Node {
	groups := max(l.groups, 1)
	shape := []int{l.out, x.Shape()[1] / groups, l.kernel, l.kernel}
	shadow := b.g.Param(graph.Param{Name: l.name + shadowSuffix, Shape: shape, Role: graph.Weight, Init: graph.Init{Kind: graph.InitUniform, Value: 1}})
	last := b.g.Param(graph.Param{Name: l.name + lastSuffix, Shape: shape, Role: graph.Stat, Init: graph.Init{Kind: graph.InitConst}})
	w := b.g.Apply(graph.Ternary{Hysteresis: b.Hysteresis}, shadow, last).Named(l.name + ".weight")
	o := graph.Conv2D{Stride: [2]int{l.stride, l.stride}, Dilation: [2]int{1, 1}, Groups: groups}
	return b.g.Conv2D(x, w, o).Named(l.name)
}

// shuffled interleaves the channels of groups: channel j*G+i of the result is
// channel i*(C/G)+j of x.
func (b *builder) shuffled(x *graph.Node, l layer) *graph.Node {
	if l.shuffle < 2 {
		return x
	}
	s := x.Shape()
	y := b.g.Reshape(x, 0, l.shuffle, s[1]/l.shuffle, s[2], s[3])
	return b.g.Reshape(b.g.Transpose(y, 0, 2, 1, 3, 4), 0, s[1], s[2], s[3]).Named(l.name + ".shuffle")
}

// gammaPattern matches the scales of the students' batch norms. They stay 1: a
// negative one would turn a threshold's comparison round.
var gammaPattern = regexp.MustCompile(`\.norm\.weight$`)
