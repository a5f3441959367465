//go:build !noasm && gc

package kernel

// rowsU8 runs the kernel for n rows of nv vectors.
func rowsU8(n, nv int, a *uint8, b *int8, c *uint8, start *int32, m *float32, q *Clamp, t *tile) {
	w := t.words()
	switch n<<1 | (nv - 1) {
	case 2:
		rowsU8AVX512x1x1(a, b, c, start, m, &q.Lo, w)
	case 4:
		rowsU8AVX512x2x1(a, b, c, start, m, &q.Lo, w)
	case 6:
		rowsU8AVX512x3x1(a, b, c, start, m, &q.Lo, w)
	case 8:
		rowsU8AVX512x4x1(a, b, c, start, m, &q.Lo, w)
	case 10:
		rowsU8AVX512x5x1(a, b, c, start, m, &q.Lo, w)
	case 12:
		rowsU8AVX512x6x1(a, b, c, start, m, &q.Lo, w)
	case 14:
		rowsU8AVX512x7x1(a, b, c, start, m, &q.Lo, w)
	case 16:
		rowsU8AVX512x8x1(a, b, c, start, m, &q.Lo, w)
	case 18:
		rowsU8AVX512x9x1(a, b, c, start, m, &q.Lo, w)
	case 20:
		rowsU8AVX512x10x1(a, b, c, start, m, &q.Lo, w)
	case 22:
		rowsU8AVX512x11x1(a, b, c, start, m, &q.Lo, w)
	case 24:
		rowsU8AVX512x12x1(a, b, c, start, m, &q.Lo, w)
	case 26:
		rowsU8AVX512x13x1(a, b, c, start, m, &q.Lo, w)
	case 28:
		rowsU8AVX512x14x1(a, b, c, start, m, &q.Lo, w)
	case 30:
		rowsU8AVX512x15x1(a, b, c, start, m, &q.Lo, w)
	case 32:
		rowsU8AVX512x16x1(a, b, c, start, m, &q.Lo, w)
	case 3:
		rowsU8AVX512x1x2(a, b, c, start, m, &q.Lo, w)
	case 5:
		rowsU8AVX512x2x2(a, b, c, start, m, &q.Lo, w)
	case 7:
		rowsU8AVX512x3x2(a, b, c, start, m, &q.Lo, w)
	case 9:
		rowsU8AVX512x4x2(a, b, c, start, m, &q.Lo, w)
	case 11:
		rowsU8AVX512x5x2(a, b, c, start, m, &q.Lo, w)
	case 13:
		rowsU8AVX512x6x2(a, b, c, start, m, &q.Lo, w)
	case 15:
		rowsU8AVX512x7x2(a, b, c, start, m, &q.Lo, w)
	case 17:
		rowsU8AVX512x8x2(a, b, c, start, m, &q.Lo, w)
	case 19:
		rowsU8AVX512x9x2(a, b, c, start, m, &q.Lo, w)
	case 21:
		rowsU8AVX512x10x2(a, b, c, start, m, &q.Lo, w)
	case 23:
		rowsU8AVX512x11x2(a, b, c, start, m, &q.Lo, w)
	case 25:
		rowsU8AVX512x12x2(a, b, c, start, m, &q.Lo, w)
	}
}

// rowsBytes runs the kernel of 256 bits for n rows of nv vectors.
func rowsBytes(vnni bool, n, nv int, a *uint8, b *int8, c, start *int32, t *tile) {
	w := t.words()
	switch n<<2 | (nv-1)<<1 | b2i(vnni) {
	case 4:
		rowsU8S7AVX2x1x1(a, b, c, start, w)
	case 8:
		rowsU8S7AVX2x2x1(a, b, c, start, w)
	case 12:
		rowsU8S7AVX2x3x1(a, b, c, start, w)
	case 16:
		rowsU8S7AVX2x4x1(a, b, c, start, w)
	case 20:
		rowsU8S7AVX2x5x1(a, b, c, start, w)
	case 24:
		rowsU8S7AVX2x6x1(a, b, c, start, w)
	case 28:
		rowsU8S7AVX2x7x1(a, b, c, start, w)
	case 32:
		rowsU8S7AVX2x8x1(a, b, c, start, w)
	case 6:
		rowsU8S7AVX2x1x2(a, b, c, start, w)
	case 10:
		rowsU8S7AVX2x2x2(a, b, c, start, w)
	case 14:
		rowsU8S7AVX2x3x2(a, b, c, start, w)
	case 18:
		rowsU8S7AVX2x4x2(a, b, c, start, w)
	case 22:
		rowsU8S7AVX2x5x2(a, b, c, start, w)
	case 5:
		rowsU8S8AVXVNNIx1x1(a, b, c, start, w)
	case 9:
		rowsU8S8AVXVNNIx2x1(a, b, c, start, w)
	case 13:
		rowsU8S8AVXVNNIx3x1(a, b, c, start, w)
	case 17:
		rowsU8S8AVXVNNIx4x1(a, b, c, start, w)
	case 21:
		rowsU8S8AVXVNNIx5x1(a, b, c, start, w)
	case 25:
		rowsU8S8AVXVNNIx6x1(a, b, c, start, w)
	case 29:
		rowsU8S8AVXVNNIx7x1(a, b, c, start, w)
	case 33:
		rowsU8S8AVXVNNIx8x1(a, b, c, start, w)
	case 7:
		rowsU8S8AVXVNNIx1x2(a, b, c, start, w)
	case 11:
		rowsU8S8AVXVNNIx2x2(a, b, c, start, w)
	case 15:
		rowsU8S8AVXVNNIx3x2(a, b, c, start, w)
	case 19:
		rowsU8S8AVXVNNIx4x2(a, b, c, start, w)
	case 23:
		rowsU8S8AVXVNNIx5x2(a, b, c, start, w)
	case 27:
		rowsU8S8AVXVNNIx6x2(a, b, c, start, w)
	}
}
