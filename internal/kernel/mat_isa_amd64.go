//go:build !noasm && gc

package kernel

import "unsafe"

// isa is an instruction set with kernels of its own.
type isa int

const (
	avx2 isa = iota
	avx512
	bf16 // AVX-512 on words of two bfloat16
)

// lanes is the number of words in a vector.
func (is isa) lanes() int { return 8 << min(is, avx512) }

// values is the values in a word of an activation or gradient.
func (is isa) values() int {
	if is == bf16 {
		return 2
	}
	return 1
}

// tile tells a kernel where its operands lie; distances are in bytes. The
// generator's field numbers have the same order, and its comments say what
// each kernel does with them.
type tile struct {
	k, runs, runStep, outs, outStep int
	rowStep                         int // of a
	cStep                           int // rows of c
	cols                            int // columns of c in the last vector
	acc                             int // 1 adds to c
	bRun, kStep, bStep              int
}

const tileWords = 12

// words is t as the assembly sees it.
func (t *tile) words() *[tileWords]int { return (*[tileWords]int)(unsafe.Pointer(t)) }

// The sizes agree, or this does not compile.
var _ = [1]struct{}{}[unsafe.Sizeof(tile{})-tileWords*unsafe.Sizeof(int(0))]

// split divides count rows into the fewest tiles of at most most rows, as equal
// as can be: the first extra tiles have size+1 rows.
func split(count, most int) (tiles, size, extra int) {
	tiles = (count + most - 1) / most
	return tiles, count / tiles, count % tiles
}

// panel gives the vectors, 1 or 2, that hold the next of left columns, and
// lastCols how many columns the last of them holds.
func (is isa) panel(left int) (nv, lastCols int) {
	if l := is.lanes(); left > l {
		return 2, min(left-l, l)
	}
	return 1, left
}

// padCols is the width of n columns in panels.
func (is isa) padCols(n int) int {
	l := is.lanes()
	return (n + l - 1) / l * l
}

// rowsMost is the most rows that rowsF32 takes with nv vectors: the tile
// fills the registers.
func (is isa) rowsMost(nv int) int {
	if is != avx2 {
		return [3]int{1: 16, 2: 12}[nv]
	}
	return [3]int{1: 8, 2: 6}[nv]
}

// gradMost is the most rows that gradWeightF32 takes.
func (is isa) gradMost(nv int) int {
	if is != avx2 {
		return [3]int{1: 16, 2: 12}[nv]
	}
	return [3]int{1: 8, 2: 4}[nv]
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// depthMost is the most pixels that the depthwise kernels take.
func (is isa) depthMost() int {
	if is == avx512 {
		return 8
	}
	return 6
}
