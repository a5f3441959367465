package distill_test

import (
	"fmt"

	"lowbit/method/distill"
)

// Three actions of nearly equal value: a small Tau makes the teacher's choice
// plain.
func ExampleTargets() {
	q := []float32{1.00, 1.02, 0.90}
	pi, entropy := make([]float32, 3), make([]float32, 1)
	for _, tau := range []float64{1, 0.01} {
		distill.Targets(q, pi, entropy, tau)
		fmt.Printf("tau %.2f: %.2f\n", tau, pi)
	}
	// Output:
	// tau 1.00: [0.34 0.35 0.31]
	// tau 0.01: [0.12 0.88 0.00]
}
