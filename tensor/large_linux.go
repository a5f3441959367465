package tensor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of Linux's large pages on most machines.
const hugePage = 2 << 20

// LargeBytes is AlignedBytes for memory that is walked through again and again,
// such as a network's weights or the values of a training step. Where there are
// many bytes they lie on large pages, if the system has some to give: a walk
// through the page tables for each 4 KiB costs as much as the work on them.
func LargeBytes(n int) []byte {
	if n < hugePage {
		return AlignedBytes(n)
	}
	size := (n + hugePage - 1) &^ (hugePage - 1)
	b := make([]byte, size+hugePage)
	from := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (hugePage - 1)
	b = b[from:][:size:size]
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // else small pages
	return b[:n]
}
