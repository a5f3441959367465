package torchzip_test

import (
	"fmt"

	"lowbit/format/torchzip"
)

// A training script's checkpoint: the weights come out, the rest stays.
func Example() {
	store, err := torchzip.Read("testdata/checkpoint_zip.th")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range store.Names() {
		fmt.Println(name, store.Get(name))
	}
	// Output:
	// bn.bias f32[2]
	// bn.num_batches_tracked i64[]
	// bn.running_mean f32[2]
	// bn.running_var f32[2]
	// bn.weight f32[2]
	// conv.bias f32[2]
	// conv.weight f32[2 1 3 3]
	// fc.bias f32[2]
	// fc.weight f32[2 4]
}
