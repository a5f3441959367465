package model

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
)

// ResNets for 224 x 224 images: He et al., arXiv 1512.03385, table 1, with
// torchvision's names and its stride in the 3 x 3 convolution of a bottleneck;
// and the same in pre-activation form (arXiv 1603.05027).
func init() {
	for _, r := range []resNet{
		{18, []int{2, 2, 2, 2}, false},
		{34, []int{3, 4, 6, 3}, false},
		{50, []int{3, 4, 6, 3}, true},
		{101, []int{3, 4, 23, 3}, true},
		{152, []int{3, 8, 36, 3}, true},
	} {
		must(fmt.Sprintf("resnet%d", r.depth), imagenet(fmt.Sprintf("ResNet-%d, as in torchvision", r.depth)), r.build)
		must(fmt.Sprintf("preresnet%d", r.depth),
			imagenet(fmt.Sprintf("ResNet-%d with norm and activation in front of each convolution", r.depth)), r.buildPre)
	}
}

type resNet struct {
	depth      int
	blocks     []int // of each stage
	bottleneck bool
}

// stages adds the residual blocks.
func (r resNet) stages(c Config, g *graph.Graph, x *graph.Node, block func(*graph.Graph, string, *graph.Node, nn.Residual) *graph.Node) *graph.Node {
	for stage, n := range r.blocks {
		for j := range n {
			b := nn.Residual{Out: c.Channels(64 << stage), Stride: 1}
			if r.bottleneck {
				b.Inner, b.Out = b.Out, 4*b.Out
			}
			if stage > 0 && j == 0 {
				b.Stride = 2
			}
			x = block(g, fmt.Sprintf("layer%d.%d", stage+1, j), x, b)
		}
	}
	return x
}

func (r resNet) head(c Config, g *graph.Graph, x *graph.Node) (*graph.Graph, error) {
	x = g.GlobalAvgPool(x).Named("avgpool")
	nn.Logits(g, nn.Linear(g, "fc", x, nn.Dense{Out: c.Classes}))
	return g, g.Err()
}

func (r resNet) stem(c Config) nn.Conv {
	return nn.Conv{Out: c.Channels(64), Kernel: 7, Stride: 2, Pad: 3}
}

func (r resNet) build(c Config) (*graph.Graph, error) {
	g, x := c.Input()
	x = nn.ConvNorm(g, "conv1", "bn1", x, r.stem(c), nn.Norm{}, g.Relu)
	x = g.MaxPool2D(x, 3, 2, 1).Named("maxpool")
	return r.head(c, g, r.stages(c, g, x, nn.ResidualBlock))
}

// buildPre has neither norm nor activation behind the first convolution, since
// the first block begins with both, and has them, named bn, behind the last
// block.
func (r resNet) buildPre(c Config) (*graph.Graph, error) {
	g, x := c.Input()
	x = nn.Conv2d(g, "conv1", x, r.stem(c))
	x = g.MaxPool2D(x, 3, 2, 1).Named("maxpool")
	x = r.stages(c, g, x, nn.PreResidualBlock)
	x = g.Relu(nn.BatchNorm2d(g, "bn", x, nn.Norm{})).Named("bn.act")
	return r.head(c, g, x)
}
