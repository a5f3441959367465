package model

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
)

// ResNets for 32 x 32 images: He et al., arXiv 1512.03385, section 4.2: 6n+2
// layers, 16, 32 and 64 channels.
func init() {
	for _, depth := range []int{20, 32, 44, 56, 110} {
		n := (depth - 2) / 6
		must(fmt.Sprintf("resnet%d", depth),
			cifar10(fmt.Sprintf("ResNet-%d for 32x32 images, shortcuts without parameters (option A)", depth)),
			func(c Config) (*graph.Graph, error) { return resNetCIFAR(c, n, false) })
		must(fmt.Sprintf("resnet%d-b", depth),
			cifar10(fmt.Sprintf("ResNet-%d for 32x32 images, 1x1 convolutions as shortcuts (option B)", depth)),
			func(c Config) (*graph.Graph, error) { return resNetCIFAR(c, n, true) })
	}
}

// resNetCIFAR has three stages of n blocks. Names are those of the published
// checkpoints: conv1, bn1, layerK.J.{conv1,bn1,conv2,bn2}, linear.
func resNetCIFAR(c Config, n int, project bool) (*graph.Graph, error) {
	g, x := c.Input()
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: c.Channels(16), Kernel: 3, Pad: 1, Init: nn.KaimingFanIn}, nn.Norm{}, g.Relu)
	for stage := range 3 {
		for j := range n {
			name := fmt.Sprintf("layer%d.%d", stage+1, j)
			r := nn.Residual{Out: c.Channels(16 << stage), Stride: 1, Init: nn.KaimingFanIn}
			if stage > 0 && j == 0 {
				r.Stride = 2
			}
			if !project {
				r.Shortcut = func(x *graph.Node) *graph.Node {
					return nn.SubsampleShortcut(g, name+".shortcut", x, r.Out, r.Stride)
				}
			}
			x = nn.ResidualBlock(g, name, x, r)
		}
	}
	x = g.GlobalAvgPool(x).Named("avgpool")
	nn.Logits(g, nn.Linear(g, "linear", x, nn.Dense{Out: c.Classes, Init: nn.KaimingFanIn}))
	return g, g.Err()
}
