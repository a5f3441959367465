//go:build !noasm && gc

package kernel

// rowsBF16 runs the kernel for mr rows of nv vectors: words of a and b are pairs of
// bfloat16.
func rowsBF16(mr, nv int, a, b, c *float32, t *tile) {
	w := t.words()
	switch mr<<1 | (nv - 1) {
	case 2:
		rowsBF16AVX512x1x1(a, b, c, w)
	case 4:
		rowsBF16AVX512x2x1(a, b, c, w)
	case 6:
		rowsBF16AVX512x3x1(a, b, c, w)
	case 8:
		rowsBF16AVX512x4x1(a, b, c, w)
	case 10:
		rowsBF16AVX512x5x1(a, b, c, w)
	case 12:
		rowsBF16AVX512x6x1(a, b, c, w)
	case 14:
		rowsBF16AVX512x7x1(a, b, c, w)
	case 16:
		rowsBF16AVX512x8x1(a, b, c, w)
	case 18:
		rowsBF16AVX512x9x1(a, b, c, w)
	case 20:
		rowsBF16AVX512x10x1(a, b, c, w)
	case 22:
		rowsBF16AVX512x11x1(a, b, c, w)
	case 24:
		rowsBF16AVX512x12x1(a, b, c, w)
	case 26:
		rowsBF16AVX512x13x1(a, b, c, w)
	case 28:
		rowsBF16AVX512x14x1(a, b, c, w)
	case 30:
		rowsBF16AVX512x15x1(a, b, c, w)
	case 32:
		rowsBF16AVX512x16x1(a, b, c, w)
	case 3:
		rowsBF16AVX512x1x2(a, b, c, w)
	case 5:
		rowsBF16AVX512x2x2(a, b, c, w)
	case 7:
		rowsBF16AVX512x3x2(a, b, c, w)
	case 9:
		rowsBF16AVX512x4x2(a, b, c, w)
	case 11:
		rowsBF16AVX512x5x2(a, b, c, w)
	case 13:
		rowsBF16AVX512x6x2(a, b, c, w)
	case 15:
		rowsBF16AVX512x7x2(a, b, c, w)
	case 17:
		rowsBF16AVX512x8x2(a, b, c, w)
	case 19:
		rowsBF16AVX512x9x2(a, b, c, w)
	case 21:
		rowsBF16AVX512x10x2(a, b, c, w)
	case 23:
		rowsBF16AVX512x11x2(a, b, c, w)
	case 25:
		rowsBF16AVX512x12x2(a, b, c, w)
	}
}

// gradWeightBF16 runs the kernel for mr rows of nv vectors.
func gradWeightBF16(mr, nv int, a, b, c *float32, t *tile) {
	w := t.words()
	switch mr<<1 | (nv - 1) {
	case 2:
		gradWeightBF16AVX512x1x1(a, b, c, w)
	case 4:
		gradWeightBF16AVX512x2x1(a, b, c, w)
	case 6:
		gradWeightBF16AVX512x3x1(a, b, c, w)
	case 8:
		gradWeightBF16AVX512x4x1(a, b, c, w)
	case 10:
		gradWeightBF16AVX512x5x1(a, b, c, w)
	case 12:
		gradWeightBF16AVX512x6x1(a, b, c, w)
	case 14:
		gradWeightBF16AVX512x7x1(a, b, c, w)
	case 16:
		gradWeightBF16AVX512x8x1(a, b, c, w)
	case 18:
		gradWeightBF16AVX512x9x1(a, b, c, w)
	case 20:
		gradWeightBF16AVX512x10x1(a, b, c, w)
	case 22:
		gradWeightBF16AVX512x11x1(a, b, c, w)
	case 24:
		gradWeightBF16AVX512x12x1(a, b, c, w)
	case 26:
		gradWeightBF16AVX512x13x1(a, b, c, w)
	case 28:
		gradWeightBF16AVX512x14x1(a, b, c, w)
	case 30:
		gradWeightBF16AVX512x15x1(a, b, c, w)
	case 32:
		gradWeightBF16AVX512x16x1(a, b, c, w)
	case 3:
		gradWeightBF16AVX512x1x2(a, b, c, w)
	case 5:
		gradWeightBF16AVX512x2x2(a, b, c, w)
	case 7:
		gradWeightBF16AVX512x3x2(a, b, c, w)
	case 9:
		gradWeightBF16AVX512x4x2(a, b, c, w)
	case 11:
		gradWeightBF16AVX512x5x2(a, b, c, w)
	case 13:
		gradWeightBF16AVX512x6x2(a, b, c, w)
	case 15:
		gradWeightBF16AVX512x7x2(a, b, c, w)
	case 17:
		gradWeightBF16AVX512x8x2(a, b, c, w)
	case 19:
		gradWeightBF16AVX512x9x2(a, b, c, w)
	case 21:
		gradWeightBF16AVX512x10x2(a, b, c, w)
	case 23:
		gradWeightBF16AVX512x11x2(a, b, c, w)
	case 25:
		gradWeightBF16AVX512x12x2(a, b, c, w)
	}
}

// conv3BF16 is conv3F32 for words of two channels.
func conv3BF16(mr int, a, b, c *float32, t *tile) {
	w := t.words()
	switch mr {
	case 8:
		conv3BF16AVX512x8(a, b, c, w)
	case 9:
		conv3BF16AVX512x9(a, b, c, w)
	case 10:
		conv3BF16AVX512x10(a, b, c, w)
	case 11:
		conv3BF16AVX512x11(a, b, c, w)
	case 12:
		conv3BF16AVX512x12(a, b, c, w)
	case 13:
		conv3BF16AVX512x13(a, b, c, w)
	case 14:
		conv3BF16AVX512x14(a, b, c, w)
	case 15:
		conv3BF16AVX512x15(a, b, c, w)
	case 16:
		conv3BF16AVX512x16(a, b, c, w)
	}
}

// gradWeight3BF16 is gradWeight3F32 for words of two pixels.
func gradWeight3BF16(mr int, a, b, c *float32, t *tile) {
	w := t.words()
	switch mr {
	case 1:
		gradWeight3BF16AVX512x1(a, b, c, w)
	case 2:
		gradWeight3BF16AVX512x2(a, b, c, w)
	case 3:
		gradWeight3BF16AVX512x3(a, b, c, w)
	case 4:
		gradWeight3BF16AVX512x4(a, b, c, w)
	case 5:
		gradWeight3BF16AVX512x5(a, b, c, w)
	case 6:
		gradWeight3BF16AVX512x6(a, b, c, w)
	case 7:
		gradWeight3BF16AVX512x7(a, b, c, w)
	case 8:
		gradWeight3BF16AVX512x8(a, b, c, w)
	}
}
