package safetensors_test

import (
	"bytes"
	"fmt"

	"lowbit/format/safetensors"
	"lowbit/tensor"
)

func Example() {
	store := tensor.NewStore()
	if err := store.Put("fc.weight", tensor.FromFloat32s([]float32{1, 2, 3, 4}, 2, 2)); err != nil {
		fmt.Println(err)
		return
	}
	var file bytes.Buffer
	if err := safetensors.Encode(&file, store, map[string]string{"format": "pt"}); err != nil {
		fmt.Println(err)
		return
	}
	got, meta, err := safetensors.Decode(file.Bytes())
	fmt.Println(got.Get("fc.weight"), meta["format"], err)
	// Output: f32[2 2] pt <nil>
}
