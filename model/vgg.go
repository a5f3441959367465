package model

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
)

// VGG networks: Simonyan and Zisserman, arXiv 1409.1556, with batch norm.
func init() {
	must("vgg16bn", imagenet("VGG-16 with batch norm, as in torchvision"), vgg16)
	must("vgg-small", cifar10("VGG-small, six convolutions of 128 to 512 channels and one linear layer"), vggSmall)
}

// pool stands for a 2 x 2 maximum in a list of channel numbers.
const pool = 0

// vggFeatures adds convolution, norm and activation for each number of the
// list. Names count all modules as torchvision's Sequential does:
// features.0 is the first convolution, features.1 its norm, features.3 the
// second convolution. Biases come with the convolutions if biased.
func vggFeatures(c Config, g *graph.Graph, x *graph.Node, list []int, biased bool) *graph.Node {
	module := 0
	for _, out := range list {
		name := fmt.Sprintf("features.%d", module)
		if out == pool {
			x = g.MaxPool2D(x, 2, 2, 0).Named(name)
			module++
			continue
		}
		conv := nn.Conv{Out: c.Channels(out), Kernel: 3, Pad: 1, Bias: biased}
		x = nn.ConvNorm(g, name, fmt.Sprintf("features.%d", module+1), x, conv, nn.Norm{}, g.Relu)
		module += 3
	}
	return x
}

func vgg16(c Config) (*graph.Graph, error) {
	g, x := c.Input()
	x = vggFeatures(c, g, x, []int{
		64, 64, pool, 128, 128, pool, 256, 256, 256, pool, 512, 512, 512, pool, 512, 512, 512, pool,
	}, true)
	x = g.Flatten(nn.AdaptiveAvgPool(g, "avgpool", x, 7))
	dense := func(name string, x *graph.Node, out int) *graph.Node {
		return nn.Linear(g, name, x, nn.Dense{Out: out, Init: nn.Normal(0.01), BiasInit: nn.Const(0)})
	}
	x = nn.Dropout(g, "classifier.2", g.Relu(dense("classifier.0", x, c.Channels(4096))), 0.5)
	x = nn.Dropout(g, "classifier.5", g.Relu(dense("classifier.3", x, c.Channels(4096))), 0.5)
	nn.Logits(g, dense("classifier.6", x, c.Classes))
	return g, g.Err()
}

// vggSmall is the network of the low-bit literature on CIFAR-10 (LQ-Nets,
// arXiv 1807.10029, section 4.3).
func vggSmall(c Config) (*graph.Graph, error) {
	g, x := c.Input()
	x = vggFeatures(c, g, x, []int{128, 128, pool, 256, 256, pool, 512, 512, pool}, false)
	nn.Logits(g, nn.Linear(g, "classifier", g.Flatten(x), nn.Dense{Out: c.Classes}))
	return g, g.Err()
}
