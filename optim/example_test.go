package optim_test

import (
	"fmt"

	"lowbit/optim"
)

func ExampleSchedule_At() {
	s := optim.Schedule{Kind: optim.Cosine, LR: 0.1, Warmup: 1}
	const stepsPerEpoch, epochs = 4, 5
	for _, step := range []int{0, 2, 4, 12, 19} {
		fmt.Printf("step %2d: %.4f\n", step, s.At(step, stepsPerEpoch, epochs))
	}
	// Output:
	// step  0: 0.0200
	// step  2: 0.0600
	// step  4: 0.1000
	// step 12: 0.0500
	// step 19: 0.0010
}
