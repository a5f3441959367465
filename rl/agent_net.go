package rl

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
)

// NetConfig describes the network of an agent that is trained here: three
// convolutions for screens (Mnih et al. 2015), one for boards of up to 16 x 16,
// then a hidden layer, the outputs and, if asked, a value.
type NetConfig struct {
	// Channels of the board's convolution (3 x 3, stride 1, no padding).
	Channels int `json:"channels"`
	// Hidden is the width of the hidden layer.
	Hidden int `json:"hidden"`
}

// DefaultNet is 16 channels and 128 hidden units.
func DefaultNet() NetConfig { return NetConfig{Channels: 16, Hidden: 128} }

// Validate returns an error that names the first setting that makes no sense.
func (c NetConfig) Validate() error {
	if c.Channels < 1 || c.Channels > 1024 || c.Hidden < 1 || c.Hidden > 8192 {
		return fmt.Errorf("rl: network of %d channels and %d hidden units, want 1..1024 and 1..8192", c.Channels, c.Hidden)
	}
	return nil
}

// boardSide is the largest side that counts as a board.
const boardSide = 16

// BuildNet returns the network for a view and a number of actions at batch 1.
func BuildNet(v View, actions int, c NetConfig, critic bool) (*graph.Graph, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := v.Validate(); err != nil {
		return nil, err
	}
	g := graph.New()
	ch, h, w := v.Shape()
	x := nn.Input(g, 1, ch, h, w)
	if max(h, w) <= boardSide {
		x = g.Relu(nn.Conv2d(g, "conv1", x, nn.Conv{Out: c.Channels, Kernel: 3, Bias: true, Init: nn.KaimingFanIn})).Named("conv1.act")
	} else {
		for i, l := range []nn.Conv{{Out: 32, Kernel: 8, Stride: 4}, {Out: 64, Kernel: 4, Stride: 2}, {Out: 64, Kernel: 3}} {
			name := fmt.Sprintf("conv%d", i+1)
			l.Bias, l.Init = true, nn.KaimingFanIn
			x = g.Relu(nn.Conv2d(g, name, x, l)).Named(name + ".act")
		}
	}
	x = nn.Linear(g, "fc1", g.Flatten(x), nn.Dense{Out: c.Hidden, Init: nn.KaimingFanIn, BiasInit: nn.Const(0)})
	x = g.Relu(x).Named("fc1.act")
	head := func(name string, out int, sd float64) *graph.Node {
		return nn.Linear(g, name, x, nn.Dense{Out: out, Init: nn.Normal(sd), BiasInit: nn.Const(0)})
	}
	nn.Logits(g, head("policy", actions, 0.01))
	if critic {
		g.Output(ValueName, head("value", 1, 0.05))
	}
	if g.Err() != nil {
		return nil, fmt.Errorf("rl: %w", g.Err())
	}
	return g, nil
}
