package data_test

import (
	"fmt"

	"lowbit/data"
)

// Four grey pictures of 2x2 pixels, two a batch, in the order of the dataset.
func ExampleLoader() {
	pixels := []uint8{0, 0, 0, 0, 85, 85, 85, 85, 170, 170, 170, 170, 255, 255, 255, 255}
	ds, err := data.New("grey", "train", []string{"dark", "bright"}, 1, 2, 2, pixels, []int32{0, 0, 1, 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := data.NewLoader(ds, data.LoaderConfig{
		Batch: 2, Seed: 1, Norm: data.Normalization{Mean: []float32{0.5}, Std: []float32{0.5}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	for b, err := range l.Epoch(0, 0) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("step %d: %v, labels %v, first pixel %.2f\n", b.Step, b.Images.Shape(), b.Labels.Int32s(), b.Images.Float32s()[0])
	}
	// Output:
	// step 0: [2 1 2 2], labels [0 0], first pixel -1.00
	// step 1: [2 1 2 2], labels [1 1], first pixel 0.33
}
