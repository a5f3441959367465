package train_test

import (
	"fmt"

	"lowbit/engine"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

// A Stepper minimises any graph with an output "loss": here (w-3)^2.
func ExampleStepper() {
	g := graph.New()
	w := g.Param(graph.Param{Name: "w", Role: graph.Weight, Init: graph.Init{Kind: graph.InitConst, Value: 1}})
	d := g.Sub(w, g.Scalar(3))
	g.Output("loss", g.Mul(d, d))
	store := tensor.NewStore()
	if err := graph.InitParams(g, store, 1); err != nil {
		fmt.Println(err)
		return
	}
	e := engine.New(1)
	defer e.Close()
	s, err := train.NewStepper(e, g, store, optim.Config{Kind: optim.SGD})
	if err != nil {
		fmt.Println(err)
		return
	}
	for t := 1; t <= 3; t++ {
		loss, err := s.Gradient()
		if err == nil {
			err = s.Apply(0.25, t)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("loss %.4f, then w = %.4f\n", loss, store.Get("w").Float32s()[0])
	}
	// Output:
	// loss 4.0000, then w = 2.0000
	// loss 1.0000, then w = 2.5000
	// loss 0.2500, then w = 2.7500
}
