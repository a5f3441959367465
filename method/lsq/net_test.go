package lsq

import (
	"testing"

	"lowbit/graph"
	"lowbit/nn"
)

// smallNet is the network of peer/golden_lsq_step.py: a CIFAR-type ResNet of
// width 4, one block a stage, for images of size x size.
func smallNet(t testing.TB, batch, size, classes int) *graph.Graph {
	t.Helper()
	g := graph.New()
	x := nn.Input(g, batch, 3, size, size)
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	x = nn.ResidualBlock(g, "layer1.0", x, nn.Residual{Out: 4, Stride: 1})
	x = nn.ResidualBlock(g, "layer2.0", x, nn.Residual{Out: 8, Stride: 2})
	x = nn.ResidualBlock(g, "layer3.0", x, nn.Residual{Out: 16, Stride: 2})
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: classes}))
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	return g
}
