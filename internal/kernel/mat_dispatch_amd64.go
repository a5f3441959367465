//go:build !noasm && gc

package kernel

// Which kernel runs a tile of mr rows and nv vectors. These are switches and not
// tables of functions because a direct call keeps the tile on the stack.

// rowsF32 runs the kernel for mr rows of nv vectors.
func rowsF32(is isa, mr, nv int, a, b, c *float32, t *tile) {
	if is == bf16 {
		rowsBF16(mr, nv, a, b, c, t)
		return
	}
	w := t.words()
	switch mr<<1 | (nv - 1) | int(is)<<6 {
	case 2:
		rowsF32AVX2x1x1(a, b, c, w)
	case 4:
		rowsF32AVX2x2x1(a, b, c, w)
	case 6:
		rowsF32AVX2x3x1(a, b, c, w)
	case 8:
		rowsF32AVX2x4x1(a, b, c, w)
	case 10:
		rowsF32AVX2x5x1(a, b, c, w)
	case 12:
		rowsF32AVX2x6x1(a, b, c, w)
	case 14:
		rowsF32AVX2x7x1(a, b, c, w)
	case 16:
		rowsF32AVX2x8x1(a, b, c, w)
	case 3:
		rowsF32AVX2x1x2(a, b, c, w)
	case 5:
		rowsF32AVX2x2x2(a, b, c, w)
	case 7:
		rowsF32AVX2x3x2(a, b, c, w)
	case 9:
		rowsF32AVX2x4x2(a, b, c, w)
	case 11:
		rowsF32AVX2x5x2(a, b, c, w)
	case 13:
		rowsF32AVX2x6x2(a, b, c, w)
	case 66:
		rowsF32AVX512x1x1(a, b, c, w)
	case 68:
		rowsF32AVX512x2x1(a, b, c, w)
	case 70:
		rowsF32AVX512x3x1(a, b, c, w)
	case 72:
		rowsF32AVX512x4x1(a, b, c, w)
	case 74:
		rowsF32AVX512x5x1(a, b, c, w)
	case 76:
		rowsF32AVX512x6x1(a, b, c, w)
	case 78:
		rowsF32AVX512x7x1(a, b, c, w)
	case 80:
		rowsF32AVX512x8x1(a, b, c, w)
	case 82:
		rowsF32AVX512x9x1(a, b, c, w)
	case 84:
		rowsF32AVX512x10x1(a, b, c, w)
	case 86:
		rowsF32AVX512x11x1(a, b, c, w)
	case 88:
		rowsF32AVX512x12x1(a, b, c, w)
	case 90:
		rowsF32AVX512x13x1(a, b, c, w)
	case 92:
		rowsF32AVX512x14x1(a, b, c, w)
	case 94:
		rowsF32AVX512x15x1(a, b, c, w)
	case 96:
		rowsF32AVX512x16x1(a, b, c, w)
	case 67:
		rowsF32AVX512x1x2(a, b, c, w)
	case 69:
		rowsF32AVX512x2x2(a, b, c, w)
	case 71:
		rowsF32AVX512x3x2(a, b, c, w)
	case 73:
		rowsF32AVX512x4x2(a, b, c, w)
	case 75:
		rowsF32AVX512x5x2(a, b, c, w)
	case 77:
		rowsF32AVX512x6x2(a, b, c, w)
	case 79:
		rowsF32AVX512x7x2(a, b, c, w)
	case 81:
		rowsF32AVX512x8x2(a, b, c, w)
	case 83:
		rowsF32AVX512x9x2(a, b, c, w)
	case 85:
		rowsF32AVX512x10x2(a, b, c, w)
	case 87:
		rowsF32AVX512x11x2(a, b, c, w)
	case 89:
		rowsF32AVX512x12x2(a, b, c, w)
	}
}

// gradWeightF32 runs the kernel for mr rows of nv vectors.
func gradWeightF32(is isa, mr, nv int, a, b, c *float32, t *tile) {
	if is == bf16 {
		gradWeightBF16(mr, nv, a, b, c, t)
		return
	}
	w := t.words()
	switch mr<<1 | (nv - 1) | int(is)<<6 {
	case 2:
		gradWeightF32AVX2x1x1(a, b, c, w)
	case 4:
		gradWeightF32AVX2x2x1(a, b, c, w)
	case 6:
		gradWeightF32AVX2x3x1(a, b, c, w)
	case 8:
		gradWeightF32AVX2x4x1(a, b, c, w)
	case 10:
		gradWeightF32AVX2x5x1(a, b, c, w)
	case 12:
		gradWeightF32AVX2x6x1(a, b, c, w)
	case 14:
		gradWeightF32AVX2x7x1(a, b, c, w)
	case 16:
		gradWeightF32AVX2x8x1(a, b, c, w)
	case 3:
		gradWeightF32AVX2x1x2(a, b, c, w)
	case 5:
		gradWeightF32AVX2x2x2(a, b, c, w)
	case 7:
		gradWeightF32AVX2x3x2(a, b, c, w)
	case 9:
		gradWeightF32AVX2x4x2(a, b, c, w)
	case 66:
		gradWeightF32AVX512x1x1(a, b, c, w)
	case 68:
		gradWeightF32AVX512x2x1(a, b, c, w)
	case 70:
		gradWeightF32AVX512x3x1(a, b, c, w)
	case 72:
		gradWeightF32AVX512x4x1(a, b, c, w)
	case 74:
		gradWeightF32AVX512x5x1(a, b, c, w)
	case 76:
		gradWeightF32AVX512x6x1(a, b, c, w)
	case 78:
		gradWeightF32AVX512x7x1(a, b, c, w)
	case 80:
		gradWeightF32AVX512x8x1(a, b, c, w)
	case 82:
		gradWeightF32AVX512x9x1(a, b, c, w)
	case 84:
		gradWeightF32AVX512x10x1(a, b, c, w)
	case 86:
		gradWeightF32AVX512x11x1(a, b, c, w)
	case 88:
		gradWeightF32AVX512x12x1(a, b, c, w)
	case 90:
		gradWeightF32AVX512x13x1(a, b, c, w)
	case 92:
		gradWeightF32AVX512x14x1(a, b, c, w)
	case 94:
		gradWeightF32AVX512x15x1(a, b, c, w)
	case 96:
		gradWeightF32AVX512x16x1(a, b, c, w)
	case 67:
		gradWeightF32AVX512x1x2(a, b, c, w)
	case 69:
		gradWeightF32AVX512x2x2(a, b, c, w)
	case 71:
		gradWeightF32AVX512x3x2(a, b, c, w)
	case 73:
		gradWeightF32AVX512x4x2(a, b, c, w)
	case 75:
		gradWeightF32AVX512x5x2(a, b, c, w)
	case 77:
		gradWeightF32AVX512x6x2(a, b, c, w)
	case 79:
		gradWeightF32AVX512x7x2(a, b, c, w)
	case 81:
		gradWeightF32AVX512x8x2(a, b, c, w)
	case 83:
		gradWeightF32AVX512x9x2(a, b, c, w)
	case 85:
		gradWeightF32AVX512x10x2(a, b, c, w)
	case 87:
		gradWeightF32AVX512x11x2(a, b, c, w)
	case 89:
		gradWeightF32AVX512x12x2(a, b, c, w)
	}
}

// rowsU8S8 runs the AVX-512 kernel for mr rows of nv vectors.
func rowsU8S8(mr, nv int, a *uint8, b *int8, c, bias *int32, t *tile) {
	w := t.words()
	switch mr<<1 | (nv - 1) {
	case 2:
		rowsU8S8AVX512x1x1(a, b, c, bias, w)
	case 4:
		rowsU8S8AVX512x2x1(a, b, c, bias, w)
	case 6:
		rowsU8S8AVX512x3x1(a, b, c, bias, w)
	case 8:
		rowsU8S8AVX512x4x1(a, b, c, bias, w)
	case 10:
		rowsU8S8AVX512x5x1(a, b, c, bias, w)
	case 12:
		rowsU8S8AVX512x6x1(a, b, c, bias, w)
	case 14:
		rowsU8S8AVX512x7x1(a, b, c, bias, w)
	case 16:
		rowsU8S8AVX512x8x1(a, b, c, bias, w)
	case 18:
		rowsU8S8AVX512x9x1(a, b, c, bias, w)
	case 20:
		rowsU8S8AVX512x10x1(a, b, c, bias, w)
	case 22:
		rowsU8S8AVX512x11x1(a, b, c, bias, w)
	case 24:
		rowsU8S8AVX512x12x1(a, b, c, bias, w)
	case 26:
		rowsU8S8AVX512x13x1(a, b, c, bias, w)
	case 28:
		rowsU8S8AVX512x14x1(a, b, c, bias, w)
	case 30:
		rowsU8S8AVX512x15x1(a, b, c, bias, w)
	case 32:
		rowsU8S8AVX512x16x1(a, b, c, bias, w)
	case 3:
		rowsU8S8AVX512x1x2(a, b, c, bias, w)
	case 5:
		rowsU8S8AVX512x2x2(a, b, c, bias, w)
	case 7:
		rowsU8S8AVX512x3x2(a, b, c, bias, w)
	case 9:
		rowsU8S8AVX512x4x2(a, b, c, bias, w)
	case 11:
		rowsU8S8AVX512x5x2(a, b, c, bias, w)
	case 13:
		rowsU8S8AVX512x6x2(a, b, c, bias, w)
	case 15:
		rowsU8S8AVX512x7x2(a, b, c, bias, w)
	case 17:
		rowsU8S8AVX512x8x2(a, b, c, bias, w)
	case 19:
		rowsU8S8AVX512x9x2(a, b, c, bias, w)
	case 21:
		rowsU8S8AVX512x10x2(a, b, c, bias, w)
	case 23:
		rowsU8S8AVX512x11x2(a, b, c, bias, w)
	case 25:
		rowsU8S8AVX512x12x2(a, b, c, bias, w)
	}
}

// rowsS16 runs the AVX2 kernel for mr rows of nv vectors.
func rowsS16(mr, nv int, a *int16, b *int8, c, bias *int32, t *tile) {
	w := t.words()
	switch mr<<1 | (nv - 1) {
	case 2:
		rowsS16AVX2x1x1(a, b, c, bias, w)
	case 4:
		rowsS16AVX2x2x1(a, b, c, bias, w)
	case 6:
		rowsS16AVX2x3x1(a, b, c, bias, w)
	case 8:
		rowsS16AVX2x4x1(a, b, c, bias, w)
	case 10:
		rowsS16AVX2x5x1(a, b, c, bias, w)
	case 12:
		rowsS16AVX2x6x1(a, b, c, bias, w)
	case 14:
		rowsS16AVX2x7x1(a, b, c, bias, w)
	case 16:
		rowsS16AVX2x8x1(a, b, c, bias, w)
	case 3:
		rowsS16AVX2x1x2(a, b, c, bias, w)
	case 5:
		rowsS16AVX2x2x2(a, b, c, bias, w)
	case 7:
		rowsS16AVX2x3x2(a, b, c, bias, w)
	case 9:
		rowsS16AVX2x4x2(a, b, c, bias, w)
	}
}

// conv3F32 runs the AVX-512 kernel for mr pixels, 8 to 16.
func conv3F32(is isa, mr int, a, b, c *float32, t *tile) {
	if is == bf16 {
		conv3BF16(mr, a, b, c, t)
		return
	}
	w := t.words()
	switch mr {
	case 8:
		conv3F32AVX512x8(a, b, c, w)
	case 9:
		conv3F32AVX512x9(a, b, c, w)
	case 10:
		conv3F32AVX512x10(a, b, c, w)
	case 11:
		conv3F32AVX512x11(a, b, c, w)
	case 12:
		conv3F32AVX512x12(a, b, c, w)
	case 13:
		conv3F32AVX512x13(a, b, c, w)
	case 14:
		conv3F32AVX512x14(a, b, c, w)
	case 15:
		conv3F32AVX512x15(a, b, c, w)
	case 16:
		conv3F32AVX512x16(a, b, c, w)
	}
}

// depthwiseF32 runs the kernel for mr pixels.
func depthwiseF32(is isa, mr int, a, b, c *float32, t *tile) {
	w := t.words()
	switch mr | int(is)<<4 {
	case 1:
		depthwiseF32AVX2x1(a, b, c, w)
	case 2:
		depthwiseF32AVX2x2(a, b, c, w)
	case 3:
		depthwiseF32AVX2x3(a, b, c, w)
	case 4:
		depthwiseF32AVX2x4(a, b, c, w)
	case 5:
		depthwiseF32AVX2x5(a, b, c, w)
	case 6:
		depthwiseF32AVX2x6(a, b, c, w)
	case 17:
		depthwiseF32AVX512x1(a, b, c, w)
	case 18:
		depthwiseF32AVX512x2(a, b, c, w)
	case 19:
		depthwiseF32AVX512x3(a, b, c, w)
	case 20:
		depthwiseF32AVX512x4(a, b, c, w)
	case 21:
		depthwiseF32AVX512x5(a, b, c, w)
	case 22:
		depthwiseF32AVX512x6(a, b, c, w)
	case 23:
		depthwiseF32AVX512x7(a, b, c, w)
	case 24:
		depthwiseF32AVX512x8(a, b, c, w)
	}
}

// depthwiseU8S8 runs the kernel for mr pixels.
func depthwiseU8S8(is isa, mr int, a *uint8, b *int8, c, bias *int32, t *tile) {
	w := t.words()
	switch mr | int(is)<<4 {
	case 1:
		depthwiseU8S8AVX2x1(a, b, c, bias, w)
	case 2:
		depthwiseU8S8AVX2x2(a, b, c, bias, w)
	case 3:
		depthwiseU8S8AVX2x3(a, b, c, bias, w)
	case 4:
		depthwiseU8S8AVX2x4(a, b, c, bias, w)
	case 5:
		depthwiseU8S8AVX2x5(a, b, c, bias, w)
	case 6:
		depthwiseU8S8AVX2x6(a, b, c, bias, w)
	case 17:
		depthwiseU8S8AVX512x1(a, b, c, bias, w)
	case 18:
		depthwiseU8S8AVX512x2(a, b, c, bias, w)
	case 19:
		depthwiseU8S8AVX512x3(a, b, c, bias, w)
	case 20:
		depthwiseU8S8AVX512x4(a, b, c, bias, w)
	case 21:
		depthwiseU8S8AVX512x5(a, b, c, bias, w)
	case 22:
		depthwiseU8S8AVX512x6(a, b, c, bias, w)
	case 23:
		depthwiseU8S8AVX512x7(a, b, c, bias, w)
	case 24:
		depthwiseU8S8AVX512x8(a, b, c, bias, w)
	}
}

// depthGradF32 runs the kernel for nv vectors of channels.
func depthGradF32(is isa, nv int, a, b, c *float32, t *tile) {
	w := t.words()
	switch nv | int(is)<<4 {
	case 1:
		depthGradF32AVX2x1(a, b, c, w)
	case 2:
		depthGradF32AVX2x2(a, b, c, w)
	case 3:
		depthGradF32AVX2x3(a, b, c, w)
	case 4:
		depthGradF32AVX2x4(a, b, c, w)
	case 17:
		depthGradF32AVX512x1(a, b, c, w)
	case 18:
		depthGradF32AVX512x2(a, b, c, w)
	case 19:
		depthGradF32AVX512x3(a, b, c, w)
	case 20:
		depthGradF32AVX512x4(a, b, c, w)
	}
}

// gradWeight3F32 runs the AVX-512 kernel for mr rows, 1 to 8.
func gradWeight3F32(is isa, mr int, a, b, c *float32, t *tile) {
	if is == bf16 {
		gradWeight3BF16(mr, a, b, c, t)
		return
	}
	w := t.words()
	switch mr {
	case 1:
		gradWeight3F32AVX512x1(a, b, c, w)
	case 2:
		gradWeight3F32AVX512x2(a, b, c, w)
	case 3:
		gradWeight3F32AVX512x3(a, b, c, w)
	case 4:
		gradWeight3F32AVX512x4(a, b, c, w)
	case 5:
		gradWeight3F32AVX512x5(a, b, c, w)
	case 6:
		gradWeight3F32AVX512x6(a, b, c, w)
	case 7:
		gradWeight3F32AVX512x7(a, b, c, w)
	case 8:
		gradWeight3F32AVX512x8(a, b, c, w)
	}
}
