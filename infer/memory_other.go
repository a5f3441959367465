//go:build !linux

package infer

import "lowbit/tensor"

// largeBytes returns n zeros, aligned for kernels.
func largeBytes(n int) []byte { return tensor.AlignedBytes(n) }
