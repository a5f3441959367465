//go:build !noasm && gc

package kernel

// packS8Size: panels of words, then an int32 sum for each packed column.
func (is isa) packS8Size(n, k int) int { return 4 * is.padCols(n) * (is.words(k) + 1) }

// packS8 packs b [n, k] for gemmU8S8.
func (is isa) packS8(dst, b []int8, n, k int) {
	dst, b = dst[:is.packS8Size(n, k)], b[:n*k]
	clear(dst)
	sums := dst[4*is.padCols(n)*is.words(k):]
	for j := range n {
		first := j / (2 * is.lanes()) * 2 * is.lanes()
		nv, _ := is.panel(n - first)
		panel, width := dst[4*first*is.words(k):], nv*is.lanes()
		row := b[j*k:][:k]
		whole := 0
		if is == avx512 {
			whole = k &^ 3
			for p, at := 0, 4*(j-first); p < whole; p, at = p+4, at+4*width {
				*(*[4]int8)(panel[at:]) = *(*[4]int8)(row[p:])
			}
		}
		for p, w := range row[whole:] {
			is.putWeight(panel, width, j-first, whole+p, w)
		}
		putSum(sums, j, sumS8(row))
	}
}

// intAhead is the most values of a row that gemmU8S8 brings into the kernel's
// form at a time, on the stack, for intRows rows.
const (
	intRows  = 12
	intAhead = 512
)

// gemmU8S8 needs no scratch. Whole words of a row are read where they lie
// (AVX-512); what has to be widened or padded goes over a buffer on the stack.
func (is isa) gemmU8S8(c []int32, a []uint8, zero uint8, packed []int8, m, n, k, lda, ldc int, _ []uint8) {
	if m == 0 || n == 0 {
		return
	}
	c, a, packed = c[:(m-1)*ldc+n], a[:max(0, (m-1)*lda+k)], packed[:is.packS8Size(n, k)]
	direct := 0
	if is == avx512 {
		direct = k / 4 * 4
		if direct == k { // a panel of b stays in the first cache for all rows
			is.gemmU8S8Direct(c, a, zero, packed, 0, m, n, k, k, lda, ldc)
			return
		}
	}
	for r := 0; r < m; r += intRows {
		count := min(intRows, m-r)
		is.gemmU8S8Direct(c, a, zero, packed, r, count, n, k, direct, lda, ldc)
		if is == avx512 && direct < k {
			var buf [intRows * 4]uint8
			is.gemmU8S8Aside(buf[:], c, a, zero, packed, r, count, n, k, direct, lda, ldc)
			continue
		}
		if is == avx2 {
			is.gemmU8S8Wide(c, a, zero, packed, r, count, n, k, lda, ldc)
		}
	}
}

// gemmU8S8Wide adds the product of all columns of count rows of a.
func (is isa) gemmU8S8Wide(c []int32, a []uint8, zero uint8, packed []int8, r, count, n, k, lda, ldc int) {
	var buf [intRows * intAhead * 2]uint8
	for p := 0; p < k; p += intAhead {
		is.gemmU8S8Aside(buf[:], c, a, zero, packed, r, count, n, k, p, lda, ldc)
	}
}

// gemmU8S8Direct sets count rows of c to the product of the first direct
// columns of a, less the part of the zero point for all of them.
func (is isa) gemmU8S8Direct(c []int32, a []uint8, zero uint8, packed []int8, r, count, n, k, direct, lda, ldc int) {
	sums := packed[4*is.padCols(n)*is.words(k):]
	var bias [32]int32
	for j := 0; j < n; j += 2 * is.lanes() {
		nv, cols := is.panel(n - j)
		if is == avx512 {
			for l := range bias[:nv*16] {
				bias[l] = -int32(zero) * sumAt(sums, j+l)
			}
		}
		t := tile{k: direct / 4, runs: 1, outs: 1, rowStep: lda, cStep: 4 * ldc, cols: cols}
		b := &packed[4*j*is.words(k)]
		tiles, size, extra := split(count, is.intMost(nv))
		for i, row := 0, r; i < tiles; i++ {
			m := size + b2i(i < extra)
			from := &zeroWord[0]
			if direct > 0 {
				from = &a[row*lda]
			}
			is.rowsInt(m, nv, from, b, &c[row*ldc+j], &bias[0], &t)
			row += m
		}
	}
}

// zeroWord stands for a where no word is read.
var zeroWord [4]uint8

// gemmU8S8Aside adds the product of up to intAhead columns of a from p on.
func (is isa) gemmU8S8Aside(buf []uint8, c []int32, a []uint8, zero uint8, packed []int8, r, count, n, k, p, lda, ldc int) {
	var bias [32]int32
	kc := min(intAhead, k-p)
	pitch := is.words(kc) * 4
	for i := 0; i < count; i++ {
		row := buf[i*pitch:][:pitch]
		is.load(row, a[(r+i)*lda+p:][:kc], zero)
		clear(row[kc*is.actBytes():])
	}
	for j := 0; j < n; j += 2 * is.lanes() {
		nv, cols := is.panel(n - j)
		t := tile{k: is.words(kc), runs: 1, outs: 1, rowStep: pitch, cStep: 4 * ldc, cols: cols, acc: 1}
		b := &packed[4*j*is.words(k)+p/is.perWord()*4*nv*is.lanes()]
		tiles, size, extra := split(count, is.intMost(nv))
		for i, row := 0, 0; i < tiles; i++ {
			m := size + b2i(i < extra)
			is.rowsInt(m, nv, &buf[row*pitch], b, &c[(r+row)*ldc+j], &bias[0], &t)
			row += m
		}
	}
}
