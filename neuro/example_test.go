package neuro_test

import (
	"fmt"
	"log"

	"lowbit/neuro"
)

// A net with one layer: output 0 wants bits 0 and 1, output 1 wants bit 2
// without bit 0.
func Example() {
	net := &neuro.Net{Input: neuro.Shape{C: 3, H: 1, W: 1}, Actions: 2, Layers: []neuro.Layer{{
		Name: "vote", Kind: neuro.Linear, In: neuro.Shape{C: 3, H: 1, W: 1}, Out: 2,
		Weights: []int8{1, 1, 0, -1, 0, 1}, Thresholds: []int32{2, 1},
	}}}
	cores, err := neuro.Map(net, neuro.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	if err := neuro.Prove(net, cores); err != nil {
		log.Fatal(err)
	}
	sim, err := neuro.NewSimulator(cores, 1)
	if err != nil {
		log.Fatal(err)
	}
	defer sim.Close()
	for _, frame := range []byte{0b011, 0b100, 0b111} {
		votes := make([]int32, 2)
		action, err := sim.Decide([]byte{frame}, votes)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%03b: votes %v, action %d\n", frame, votes, action)
	}
	fmt.Println(sim.Events().Synaptic, "synaptic events")
	// Output:
	// 011: votes [1 0], action 0
	// 100: votes [0 1], action 1
	// 111: votes [1 0], action 0
	// 8 synaptic events
}
