package quant_test

import (
	"fmt"

	"lowbit/quant"
	"lowbit/tensor"
)

func Example() {
	weights := []float32{-0.9, -0.4, 0.1, 0.3, 0.5, 1.2}
	spec := quant.Spec{Bits: 2, Signed: true}
	step := quant.StepMSE(weights, spec)
	codes := make([]int32, len(weights))
	if err := quant.Quantize(codes, weights, []float32{step}, tensor.Shape{6}, spec); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("step %.4f codes %v\n", step, codes)
	// Output: step 0.8667 codes [-1 0 0 0 1 1]
}
