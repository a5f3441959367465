//go:build !linux

package tensor

// LargeBytes is AlignedBytes.
func LargeBytes(n int) []byte { return AlignedBytes(n) }
