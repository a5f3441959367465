package infer

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"lowbit/tensor"
)

// hugePage is the size of Linux's large pages on most machines.
const hugePage = 2 << 20

// largeBytes returns n zeros, aligned for kernels. Where there are many they lie
// on large pages, if the system has some to give: the weights of a network pass
// once for each example, and a walk through the page tables for each 4 KiB of
// them costs as much as the multiplications.
func largeBytes(n int) []byte {
	if n < hugePage {
		return tensor.AlignedBytes(n)
	}
	size := (n + hugePage - 1) &^ (hugePage - 1)
	b := make([]byte, size+hugePage)
	from := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (hugePage - 1)
	b = b[from:][:size:size]
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // else small pages
	return b[:n]
}
