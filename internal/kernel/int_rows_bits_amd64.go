//go:build !noasm && gc

package kernel

// rowsBits is rows32, or rowsU8 where there is an m, for two vectors of weights that
// are packed at b; it leaves their bytes at panel.
func rowsBits(bits, n int, a *uint8, b *int8, panel, c *uint8, start *int32, m, q *float32, shift int, t *tile) {
	switch bits {
	case 4:
		rowsS4(n, a, b, panel, c, start, m, q, shift, t)
	case 3:
		rowsS3(n, a, b, panel, c, start, m, q, shift, t)
	case 2:
		rowsS2(n, a, b, panel, c, start, m, q, shift, t)
	}
}

func rowsS4(n int, a *uint8, b *int8, panel, c *uint8, start *int32, m, q *float32, shift int, t *tile) {
	w := t.words()
	switch n {
	case 1:
		rowsS4AVX512x1(a, b, panel, c, start, m, q, shift, w)
	case 2:
		rowsS4AVX512x2(a, b, panel, c, start, m, q, shift, w)
	case 3:
		rowsS4AVX512x3(a, b, panel, c, start, m, q, shift, w)
	case 4:
		rowsS4AVX512x4(a, b, panel, c, start, m, q, shift, w)
	case 5:
		rowsS4AVX512x5(a, b, panel, c, start, m, q, shift, w)
	case 6:
		rowsS4AVX512x6(a, b, panel, c, start, m, q, shift, w)
	case 7:
		rowsS4AVX512x7(a, b, panel, c, start, m, q, shift, w)
	case 8:
		rowsS4AVX512x8(a, b, panel, c, start, m, q, shift, w)
	case 9:
		rowsS4AVX512x9(a, b, panel, c, start, m, q, shift, w)
	case 10:
		rowsS4AVX512x10(a, b, panel, c, start, m, q, shift, w)
	case 11:
		rowsS4AVX512x11(a, b, panel, c, start, m, q, shift, w)
	case 12:
		rowsS4AVX512x12(a, b, panel, c, start, m, q, shift, w)
	}
}

func rowsS3(n int, a *uint8, b *int8, panel, c *uint8, start *int32, m, q *float32, shift int, t *tile) {
	w := t.words()
	switch n {
	case 1:
		rowsS3AVX512x1(a, b, panel, c, start, m, q, shift, w)
	case 2:
		rowsS3AVX512x2(a, b, panel, c, start, m, q, shift, w)
	case 3:
		rowsS3AVX512x3(a, b, panel, c, start, m, q, shift, w)
	case 4:
		rowsS3AVX512x4(a, b, panel, c, start, m, q, shift, w)
	case 5:
		rowsS3AVX512x5(a, b, panel, c, start, m, q, shift, w)
	case 6:
		rowsS3AVX512x6(a, b, panel, c, start, m, q, shift, w)
	case 7:
		rowsS3AVX512x7(a, b, panel, c, start, m, q, shift, w)
	case 8:
		rowsS3AVX512x8(a, b, panel, c, start, m, q, shift, w)
	case 9:
		rowsS3AVX512x9(a, b, panel, c, start, m, q, shift, w)
	case 10:
		rowsS3AVX512x10(a, b, panel, c, start, m, q, shift, w)
	case 11:
		rowsS3AVX512x11(a, b, panel, c, start, m, q, shift, w)
	case 12:
		rowsS3AVX512x12(a, b, panel, c, start, m, q, shift, w)
	}
}

func rowsS2(n int, a *uint8, b *int8, panel, c *uint8, start *int32, m, q *float32, shift int, t *tile) {
	w := t.words()
	switch n {
	case 1:
		rowsS2AVX512x1(a, b, panel, c, start, m, q, shift, w)
	case 2:
		rowsS2AVX512x2(a, b, panel, c, start, m, q, shift, w)
	case 3:
		rowsS2AVX512x3(a, b, panel, c, start, m, q, shift, w)
	case 4:
		rowsS2AVX512x4(a, b, panel, c, start, m, q, shift, w)
	case 5:
		rowsS2AVX512x5(a, b, panel, c, start, m, q, shift, w)
	case 6:
		rowsS2AVX512x6(a, b, panel, c, start, m, q, shift, w)
	case 7:
		rowsS2AVX512x7(a, b, panel, c, start, m, q, shift, w)
	case 8:
		rowsS2AVX512x8(a, b, panel, c, start, m, q, shift, w)
	case 9:
		rowsS2AVX512x9(a, b, panel, c, start, m, q, shift, w)
	case 10:
		rowsS2AVX512x10(a, b, panel, c, start, m, q, shift, w)
	case 11:
		rowsS2AVX512x11(a, b, panel, c, start, m, q, shift, w)
	case 12:
		rowsS2AVX512x12(a, b, panel, c, start, m, q, shift, w)
	}
}
