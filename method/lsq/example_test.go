package lsq_test

import (
	"fmt"

	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/nn"
	"lowbit/quant"
)

func ExampleInsert() {
	g := graph.New()
	x := nn.Input(g, 1, 3, 8, 8)
	x = g.Relu(nn.Conv2d(g, "conv1", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}))
	x = g.Relu(nn.Conv2d(g, "conv2", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}))
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: 2}))
	bits, err := quant.ParseBits("w2a4")
	if err != nil {
		fmt.Println(err)
		return
	}
	q, err := lsq.Insert(g, lsq.DefaultQuantizers(bits))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, l := range graph.Layers(q) {
		fmt.Println(l.Name, l.WeightQuant.Op().(graph.FakeQuant).Spec, l.InputQuant.Op().(graph.FakeQuant).Spec)
	}
	// Output:
	// conv1 s8 s8
	// conv2 s2 u4
	// fc s8 u8
}
