package gguf_test

import (
	"bytes"
	"fmt"

	"lowbit/format/gguf"
	"lowbit/tensor"
)

// A layer of 4-bit codes with a step for each of its two rows, written and
// read back without loss.
func Example() {
	rows := [][]int8{make([]int8, 32), make([]int8, 32)}
	rows[0][0], rows[1][31] = -8, 7
	steps := []float32{0.5, 0.25}

	home, _ := gguf.Home(4, 32)
	var data []byte
	for i, codes := range rows {
		var err error
		if data, err = gguf.AppendCodes(data, home, codes, steps[i]); err != nil {
			fmt.Println(err)
			return
		}
	}
	var file bytes.Buffer
	err := gguf.Encode(&file,
		[]gguf.KV{{Key: "general.architecture", Value: "llama"}},
		[]gguf.Tensor{{Name: "blk.0.ffn_up.weight", Type: home, Shape: tensor.Shape{2, 32}, Data: data}})
	if err != nil {
		fmt.Println(err)
		return
	}

	f, err := gguf.Parse(file.Bytes())
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := f.Tensor("blk.0.ffn_up.weight")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(home, w, w.Float32s()[0], w.Float32s()[63])
	// Output: Q4_0 f32[2 32] -4 1.75
}
