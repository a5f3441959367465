package mixed_test

import (
	"fmt"

	"lowbit/mixed"
)

// Three groups, two precisions each; the widest of all costs 60.
func ExampleSolve() {
	groups := [][]mixed.Option{
		{{Cost: 10, Gain: 0}, {Cost: 20, Gain: 2.5}},
		{{Cost: 10, Gain: 0}, {Cost: 20, Gain: 3}},
		{{Cost: 10, Gain: 0}, {Cost: 20, Gain: 1}},
	}
	s, err := mixed.Solve(groups, 50)
	fmt.Println(s.Choice, s.Cost, s.Gain, s.Exact, err)
	_, err = mixed.Solve(groups, 29)
	fmt.Println(err)
	// Output:
	// [1 1 0] 50 5.5 true <nil>
	// mixed: capacity 29, the cheapest choice costs 30: no choice fits
}
