//go:build !noasm && gc

package kernel

// rowsBits is rows32, or rowsU8 where there is an m, for n pixels and two vectors of
// weights that are packed at b; it leaves their bytes at panel.
func rowsBits(bits, n int, a *uint8, b *int8, panel, c *uint8, start *int32, m, q *float32, shift int, t *tile) {
	w := t.words()
	switch bits<<4 | n {
	case 65:
		rowsS4AVX512x1(a, b, panel, c, start, m, q, shift, w)
	case 66:
		rowsS4AVX512x2(a, b, panel, c, start, m, q, shift, w)
	case 67:
		rowsS4AVX512x3(a, b, panel, c, start, m, q, shift, w)
	case 68:
		rowsS4AVX512x4(a, b, panel, c, start, m, q, shift, w)
	case 69:
		rowsS4AVX512x5(a, b, panel, c, start, m, q, shift, w)
	case 70:
		rowsS4AVX512x6(a, b, panel, c, start, m, q, shift, w)
	case 71:
		rowsS4AVX512x7(a, b, panel, c, start, m, q, shift, w)
	case 72:
		rowsS4AVX512x8(a, b, panel, c, start, m, q, shift, w)
	case 73:
		rowsS4AVX512x9(a, b, panel, c, start, m, q, shift, w)
	case 74:
		rowsS4AVX512x10(a, b, panel, c, start, m, q, shift, w)
	case 75:
		rowsS4AVX512x11(a, b, panel, c, start, m, q, shift, w)
	case 76:
		rowsS4AVX512x12(a, b, panel, c, start, m, q, shift, w)
	case 49:
		rowsS3AVX512x1(a, b, panel, c, start, m, q, shift, w)
	case 50:
		rowsS3AVX512x2(a, b, panel, c, start, m, q, shift, w)
	case 51:
		rowsS3AVX512x3(a, b, panel, c, start, m, q, shift, w)
	case 52:
		rowsS3AVX512x4(a, b, panel, c, start, m, q, shift, w)
	case 53:
		rowsS3AVX512x5(a, b, panel, c, start, m, q, shift, w)
	case 54:
		rowsS3AVX512x6(a, b, panel, c, start, m, q, shift, w)
	case 55:
		rowsS3AVX512x7(a, b, panel, c, start, m, q, shift, w)
	case 56:
		rowsS3AVX512x8(a, b, panel, c, start, m, q, shift, w)
	case 57:
		rowsS3AVX512x9(a, b, panel, c, start, m, q, shift, w)
	case 58:
		rowsS3AVX512x10(a, b, panel, c, start, m, q, shift, w)
	case 59:
		rowsS3AVX512x11(a, b, panel, c, start, m, q, shift, w)
	case 60:
		rowsS3AVX512x12(a, b, panel, c, start, m, q, shift, w)
	case 33:
		rowsS2AVX512x1(a, b, panel, c, start, m, q, shift, w)
	case 34:
		rowsS2AVX512x2(a, b, panel, c, start, m, q, shift, w)
	case 35:
		rowsS2AVX512x3(a, b, panel, c, start, m, q, shift, w)
	case 36:
		rowsS2AVX512x4(a, b, panel, c, start, m, q, shift, w)
	case 37:
		rowsS2AVX512x5(a, b, panel, c, start, m, q, shift, w)
	case 38:
		rowsS2AVX512x6(a, b, panel, c, start, m, q, shift, w)
	case 39:
		rowsS2AVX512x7(a, b, panel, c, start, m, q, shift, w)
	case 40:
		rowsS2AVX512x8(a, b, panel, c, start, m, q, shift, w)
	case 41:
		rowsS2AVX512x9(a, b, panel, c, start, m, q, shift, w)
	case 42:
		rowsS2AVX512x10(a, b, panel, c, start, m, q, shift, w)
	case 43:
		rowsS2AVX512x11(a, b, panel, c, start, m, q, shift, w)
	case 44:
		rowsS2AVX512x12(a, b, panel, c, start, m, q, shift, w)
	}
}
