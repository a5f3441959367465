package eval_test

import (
	"fmt"

	"lowbit/eval"
)

func ExampleTally() {
	t := eval.Tally{Classes: 3}
	t.Add([]float32{2, 0, 0, 0, 3, 1}, []int32{0, 2}) // two rows of logits: one right
	r := t.Result()
	fmt.Printf("%d examples, accuracy %.2f, loss %.3f\n", r.Examples, r.Accuracy, r.Loss)
	// Output: 2 examples, accuracy 0.50, loss 1.205
}
