package model

import (
	"fmt"

	"lowbit/graph"
	"lowbit/nn"
)

func init() {
	must("mobilenet-small", cifar10("small MobileNet for 32x32 images: depthwise convolutions and ReLU6"), mobileNetSmall)
	lite := imagenet("EfficientNet-Lite0: inverted bottlenecks, ReLU6, no squeeze and excitation")
	lite.Mean = []float32{127. / 255, 127. / 255, 127. / 255} // (p - 127)/128
	lite.Std = []float32{128. / 255, 128. / 255, 128. / 255}
	must("efficientnet-lite0", lite, efficientNetLite0)
}

// mobileNetSmall is MobileNet (arXiv 1704.04861) cut down for 32 x 32 images:
// a 3 x 3 convolution and six separable blocks.
func mobileNetSmall(c Config) (*graph.Graph, error) {
	g, x := c.Input()
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: c.Channels(32), Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu6)
	for i, b := range []struct{ out, stride int }{{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {256, 1}} {
		x = nn.SeparableConv(g, fmt.Sprintf("blocks.%d", i), x, nn.Separable{Out: c.Channels(b.out), Stride: b.stride, Act: g.Relu6})
	}
	x = g.GlobalAvgPool(x).Named("avgpool")
	nn.Logits(g, nn.Linear(g, "fc", x, nn.Dense{Out: c.Classes}))
	return g, g.Err()
}

// efficientNetLite0 is the mobile EfficientNet (arXiv 1905.11946, table 1,
// without squeeze and excitation, ReLU6 for swish), with the names, the
// TensorFlow padding and the norms of its PyTorch checkpoint.
func efficientNetLite0(c Config) (*graph.Graph, error) {
	stages := []struct{ expand, kernel, stride, out, repeat int }{
		{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2}, {6, 5, 2, 40, 2}, {6, 3, 2, 80, 3},
		{6, 5, 1, 112, 3}, {6, 5, 2, 192, 4}, {6, 3, 1, 320, 1},
	}
	norm := nn.Norm{Eps: 1e-3, Momentum: 0.01} // the checkpoint's
	g, x := c.Input()
	convNorm := func(conv, bn string, x *graph.Node, k nn.Conv, act nn.Act) *graph.Node {
		k.Same = true
		return nn.ConvNorm(g, conv, bn, x, k, norm, act)
	}
	x = convNorm("_conv_stem", "_bn0", x, nn.Conv{Out: c.Channels(32), Kernel: 3, Stride: 2}, g.Relu6)
	block := 0
	in := c.Channels(32)
	for _, s := range stages {
		for i := range s.repeat {
			name := fmt.Sprintf("_blocks.%d.", block)
			out, stride := c.Channels(s.out), 1
			if i == 0 {
				stride = s.stride
			}
			y, wide := x, in*s.expand
			if s.expand > 1 {
				y = convNorm(name+"_expand_conv", name+"_bn0", y, nn.Conv{Out: wide, Kernel: 1}, g.Relu6)
			}
			y = convNorm(name+"_depthwise_conv", name+"_bn1", y, nn.Conv{Out: wide, Kernel: s.kernel, Stride: stride, Groups: wide}, g.Relu6)
			y = convNorm(name+"_project_conv", name+"_bn2", y, nn.Conv{Out: out, Kernel: 1}, nil)
			if stride == 1 && in == out {
				y = g.Add(y, x).Named(name + "add")
			}
			x, in = y, out
			block++
		}
	}
	x = convNorm("_conv_head", "_bn1", x, nn.Conv{Out: c.Channels(1280), Kernel: 1}, g.Relu6)
	x = nn.Dropout(g, "_dropout", g.GlobalAvgPool(x).Named("_avg_pooling"), 0.2)
	nn.Logits(g, nn.Linear(g, "_fc", x, nn.Dense{Out: c.Classes}))
	return g, g.Err()
}
