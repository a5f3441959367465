package kernel

// genericMat is the definition of MatOps in plain Go.
func genericMat() MatOps {
	return MatOps{
		PackBSize:            func(k, n int) int { return k * n },
		PackB:                packBGeneric,
		GemmScratch:          func(k, n int) int { return 0 },
		Gemm:                 gemmGeneric,
		PackBBF16:            packBGeneric,
		GemmBF16:             gemmGeneric,
		ConvPackSize:         convWeights,
		ConvPackGradSize:     convWeights,
		ConvPack:             convPackGeneric,
		ConvPackGrad:         convPackGradGeneric,
		ConvScratch:          func(*ConvShape) int { return 0 },
		ConvForward:          convForwardGeneric,
		ConvGradInput:        convGradInputGeneric,
		ConvGradWeightSize:   convWeights,
		ConvGradWeight:       convGradWeightGeneric,
		ConvUnpackGradWeight: convUnpackGradWeightGeneric,
		ConvPackS8Size:       convWeights,
		ConvPackS8:           convPackS8Generic,
		ConvS8Scratch:        func(*ConvShape) int { return 0 },
		ConvForwardU8S8:      convForwardU8S8Generic,
		PackS8Size:           func(n, k int) int { return n * k },
		PackS8:               packS8Generic,
		GemmU8S8:             gemmU8S8Generic,
		ScaleI32:             scaleI32Generic,
		RealI32:              realI32Generic,
	}
}

// packBGeneric stores b as [k, n] without gaps.
func packBGeneric(dst, b []float32, ldb, k, n int, trans bool) {
	for p := 0; p < k; p++ {
		row := dst[p*n:][:n]
		if !trans {
			copy(row, b[p*ldb:])
			continue
		}
		for j := range row {
			row[j] = b[j*ldb+p]
		}
	}
}

func gemmGeneric(c, a, packedB []float32, m, n, k, lda, ldc int, transA, acc bool, _ []float32) {
	for i := 0; i < m; i++ {
		row := c[i*ldc:][:n]
		if !acc {
			clear(row)
		}
		if transA {
			for p := 0; p < k; p++ {
				mulAdd(row, packedB[p*n:], a[p*lda+i])
			}
			continue
		}
		vecMat(row, a[i*lda:][:k], packedB)
	}
}

// vecMat adds the row vector x times the matrix w [len(x), len(dst)] to dst,
// in the order of x.
func vecMat(dst, x, w []float32) {
	n := len(dst)
	p := 0
	for ; p+4 <= len(x); p += 4 {
		x0, x1, x2, x3 := x[p], x[p+1], x[p+2], x[p+3]
		w0, w1, w2, w3 := w[p*n:][:n], w[(p+1)*n:][:n], w[(p+2)*n:][:n], w[(p+3)*n:][:n]
		for j, d := range dst {
			d += float32(x0 * w0[j])
			d += float32(x1 * w1[j])
			d += float32(x2 * w2[j])
			dst[j] = d + float32(x3*w3[j])
		}
	}
	for ; p < len(x); p++ {
		mulAdd(dst, w[p*n:], x[p])
	}
}

// mulAdd: dst[j] += x * w[j].
func mulAdd(dst, w []float32, x float32) {
	w = w[:len(dst)]
	for j := range dst {
		dst[j] += float32(x * w[j])
	}
}

func packS8Generic(dst, b []int8, n, k int) { copy(dst[:n*k], b) }

func gemmU8S8Generic(c []int32, a []uint8, zero uint8, packed []int8, m, n, k, lda, ldc int, _ []uint8) {
	z := int32(zero)
	for i := 0; i < m; i++ {
		row, x := c[i*ldc:][:n], a[i*lda:][:k]
		for j := range row {
			w := packed[j*k:][:k]
			var sum int32
			for p, v := range x {
				sum += (int32(v) - z) * int32(w[p])
			}
			row[j] = sum
		}
	}
}

func realI32Generic(dst []float32, a, b []int32, s, c []float32) {
	a, b, s, c = a[:len(dst)], b[:len(dst)], s[:len(dst)], c[:len(dst)]
	for i := range dst {
		dst[i] = float32(float32(a[i]-b[i])*s[i]) + c[i]
	}
}

func scaleI32Generic(dst []float32, a []int32, s []float32) {
	a, s = a[:len(dst)], s[:len(dst)]
	for i := range dst {
		dst[i] = float32(a[i]) * s[i]
	}
}
