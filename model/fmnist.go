package model

import (
	"lowbit/graph"
	"lowbit/nn"
)

func init() {
	must("fmnist-cnn", Info{
		Description: "small network for 28x28 grey images: three convolutions and one linear layer",
		InputShape:  []int{1, 28, 28}, Classes: 10, Dataset: "fashion-mnist",
		Mean: []float32{.2860}, Std: []float32{.3530}, // of the training images
	}, fmnistCNN)
}

// fmnistCNN takes 1.9 M MACs an image.
func fmnistCNN(c Config) (*graph.Graph, error) {
	g, x := c.Input()
	conv := func(conv, bn string, x *graph.Node, out int) *graph.Node {
		return nn.ConvNorm(g, conv, bn, x, nn.Conv{Out: c.Channels(out), Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	}
	x = conv("conv1", "bn1", x, 16)
	x = g.MaxPool2D(x, 2, 2, 0).Named("pool1") // 14 x 14
	x = conv("conv2", "bn2", x, 32)
	x = g.MaxPool2D(x, 2, 2, 0).Named("pool2") // 7 x 7
	x = conv("conv3", "bn3", x, 64)
	x = g.GlobalAvgPool(x).Named("avgpool")
	nn.Logits(g, nn.Linear(g, "fc", x, nn.Dense{Out: c.Classes}))
	return g, g.Err()
}
