// Package ownnet shows how a program adds a network of its own to the zoo.
//
// A network is a function from a model.Config to a graph, written with the
// layers of package nn. Once registered, its name works wherever a zoo name
// does: training, quantization, selection of bits, evaluation, export. What the
// methods need is in the graph itself: a layer's name, the roles of its
// parameters, and which of them start how.
//
// Three rules make a graph a network (package nn has them in full):
//
//   - the input comes from Config.Input: [batch, channel, height, width],
//     already normalised with the Mean and Std of the info;
//   - nn.Logits names the output, [batch, classes];
//   - channel numbers go through Config.Channels, so that --width works.
package ownnet

import (
	"fmt"

	"lowbit/graph"
	"lowbit/model"
	"lowbit/nn"
)

// Name is the network's name in the zoo.
const Name = "tri-branch"

// Register adds the network to the zoo. A program calls it once, before it
// asks for the network by name.
func Register() error {
	return model.Register(Name, model.Info{
		Description: "example of an own network: blocks of three parallel branches",
		InputShape:  []int{3, 32, 32},
		Classes:     10,
		Dataset:     "cifar10",
		Mean:        []float32{.485, .456, .406},
		Std:         []float32{.229, .224, .225},
	}, Build)
}

// Build makes the network: a stem, three blocks, and one linear layer over the
// averages of the channels.
func Build(c model.Config) (*graph.Graph, error) {
	g, x := c.Input()
	x = nn.ConvNorm(g, "stem.conv", "stem.bn", x, nn.Conv{Out: c.Channels(16), Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	for i, channels := range []int{16, 32, 64} {
		x = triBranch(g, fmt.Sprintf("block%d", i+1), x, c.Channels(channels))
		if i < 2 {
			x = g.MaxPool2D(x, 2, 2, 0).Named(fmt.Sprintf("pool%d", i+1))
		}
	}
	x = g.GlobalAvgPool(x).Named("average")
	nn.Logits(g, nn.Linear(g, "head", x, nn.Dense{Out: c.Classes}))
	return g, g.Err() // the first mistake of all the lines above, or nil
}

// triBranch is a block that no published network has: a 1 x 1, a 3 x 3 and a
// depthwise convolution read the same input; their results are joined, and a
// 1 x 1 convolution mixes them.
func triBranch(g *graph.Graph, name string, x *graph.Node, out int) *graph.Node {
	branch := func(kind string, c nn.Conv) *graph.Node {
		return nn.ConvNorm(g, name+"."+kind, name+"."+kind+"_bn", x, c, nn.Norm{}, g.Relu)
	}
	in := 0
	if len(x.Shape()) == 4 { // else the graph has its error already
		in = x.Shape()[1]
	}
	joined := g.Concat(1,
		branch("point", nn.Conv{Out: out / 2, Kernel: 1}),
		branch("spatial", nn.Conv{Out: out / 2, Kernel: 3, Pad: 1}),
		branch("depthwise", nn.Conv{Out: in, Kernel: 3, Pad: 1, Groups: in}),
	).Named(name + ".joined")
	return nn.ConvNorm(g, name+".mix", name+".mix_bn", joined, nn.Conv{Out: out, Kernel: 1}, nn.Norm{}, g.Relu)
}
