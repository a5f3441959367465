//go:build !noasm && gc

package kernel

import (
	"math"
	"unsafe"
)

// Products of matrices on words of two bfloat16, neighbours along the inner
// dimension. B is packed in the panels of packB, each [k/2][columns] words.

// Rows of A that are converted at a time, and the distance between two of them
// where it is large, which keeps them out of the same sets of the first-level cache.
const (
	bf16Rows  = 48
	bf16Apart = 16
)

func packBBF16(dst, b []float32, ldb, k, n int, trans bool) {
	is, words := bf16, (k+1)/2
	dst = dst[:words*is.padCols(n)]
	for j := 0; j < n; j += 2 * is.lanes() {
		nv, _ := is.panel(n - j)
		width, cols := nv*is.lanes(), min(nv*is.lanes(), n-j)
		if trans {
			packTransBF16(dst[:words*width], b[j*ldb:], ldb, k, width, cols)
			dst = dst[words*width:]
			continue
		}
		for p := 0; p < words; p++ {
			row := dst[p*width:][:width]
			switch {
			case 2*p+1 < k:
				pairBF16(row[:cols], b[2*p*ldb+j:], b[(2*p+1)*ldb+j:])
			default:
				for l := range cols {
					row[l] = wordBF16(b[2*p*ldb+j+l], 0)
				}
			}
			clear(row[cols:])
		}
		dst = dst[words*width:]
	}
}

// packTransBF16 packs cols rows of b as the columns of a panel.
func packTransBF16(panel, b []float32, ldb, k, width, cols int) {
	if cols < width {
		clear(panel)
	}
	const lanes, most = 16, 128 // columns, words at a time
	var rows [lanes * most]float32
	for l := 0; l < cols; l += lanes {
		count := min(lanes, cols-l)
		for p := 0; p < k; p += 2 * most {
			values := min(2*most, k-p)
			words, whole := (values+1)/2, 0
			for i := range count {
				narrowBF16(rows[i*most:], b[(l+i)*ldb+p:][:values])
			}
			dst := panel[p/2*width+l:]
			if count == lanes && words >= 16 {
				transposeAVX512x16(&dst[0], &rows[0], 4*most, 4*width, words/16)
				whole = words &^ 15
			}
			for w := whole; w < words; w++ {
				for i := range count {
					dst[w*width+i] = rows[i*most+w]
				}
			}
		}
	}
}

// at is b[i], or 0 from index k.
func at(b []float32, i, k int) float32 {
	if i < k {
		return b[i]
	}
	return 0
}

// gemmBF16 sums blocks of gemmK products as gemm does.
func gemmBF16(c, a, packedB []float32, m, n, k, lda, ldc int, transA, acc bool, scratch []float32) {
	if m == 0 || n == 0 {
		return
	}
	if !acc && (transA || k == 0) {
		for r := range m {
			clear(c[r*ldc:][:n])
		}
	}
	for pc := 0; pc < k; pc += gemmK {
		g := gemmBlock{isa: bf16, c: c, b: packedB, n: n, k: (k + 1) / 2, pc: pc / 2, kc: (min(gemmK, k-pc) + 1) / 2, ldc: ldc, add: acc || pc > 0}
		if transA {
			g.gradient(a, m, lda, pc, min(gemmK, k-pc), scratch[:avx512.gemmScratch(k)])
			continue
		}
		g.lda = g.kc
		if g.kc >= 128 {
			g.lda += bf16Apart
		}
		for r := 0; r < m; r += bf16Rows {
			rows := min(bf16Rows, m-r)
			for i := range rows {
				narrowBF16(scratch[i*g.lda:][:g.kc], a[(r+i)*lda+pc:][:min(gemmK, k-pc)])
			}
			g.a, g.c = scratch[:rows*g.lda], c[r*ldc:]
			g.inPlace(0, rows)
		}
	}
}

// gradient adds the product of rows pc..pc+kc of an A stored [k, m], transposed. A
// is packed in strips of bf16Strip columns, each [k/2][columns] words, row by row,
// so that memory is read as it lies.
func (g *gemmBlock) gradient(a []float32, m, lda, pc, kc int, scratch []float32) {
	for r0 := 0; r0 < m; r0 += 2 * gemmM {
		rows := min(2*gemmM, m-r0)
		for p := 0; p < kc; p += 2 {
			low := a[(pc+p)*lda+r0:][:rows]
			for r := 0; r < rows; r += bf16Strip {
				strip := min(bf16Strip, rows-r)
				dst := scratch[r*g.kc+p/2*strip:][:strip]
				if p+1 < kc {
					pairBF16(dst, low[r:], a[(pc+p+1)*lda+r0+r:])
					continue
				}
				for i := range dst {
					dst[i] = wordBF16(low[r+i], 0)
				}
			}
		}
		for j := 0; j < g.n; j += 2 * g.lanes() {
			for r := 0; r < rows; r += bf16Strip {
				g.gradientPanel(scratch[r*g.kc:], j, r0+r, min(bf16Strip, rows-r))
			}
		}
	}
}

// bf16Strip is the columns of a strip: as many words, 384 bytes apart, come from
// different sets of the first-level cache.
const bf16Strip = 96

// gradientPanel adds a strip of A times the panel of columns j.. of B to rows r0..
// of c.
func (g *gemmBlock) gradientPanel(strip []float32, j, r0, rows int) {
	nv, cols := g.panel(g.n - j)
	t := tile{k: g.kc, runs: 1, cStep: 4 * g.ldc, cols: cols, kStep: 4 * rows, bStep: 4 * nv * g.lanes()}
	b := &g.b[j*g.k+g.pc*nv*g.lanes()]
	tiles, size, extra := split(rows, g.gradMost(nv))
	for i, r := 0, 0; i < tiles; i++ {
		n := size + b2i(i < extra)
		gradWeightBF16(n, nv, &strip[r], b, &g.c[(r0+r)*g.ldc+j], &t)
		r += n
	}
}

// narrowBF16 writes src as words of two neighbours; an odd last one has 0 beside it.
func narrowBF16(dst, src []float32) {
	n := len(src) &^ 15
	dst = dst[:(len(src)+1)/2]
	if n > 0 {
		narrowBF16AVX512((*uint16)(unsafe.Pointer(&dst[0])), &src[0], n)
	}
	for i := n; i < len(src); i += 2 {
		dst[i/2] = wordBF16(src[i], at(src, i+1, len(src)))
	}
}

// pairBF16: word i of dst is low[i] and high[i].
func pairBF16(dst, low, high []float32) {
	if n := len(dst); n > 0 {
		low, high = low[:n], high[:n]
		pairBF16AVX512(&dst[0], &low[0], &high[0], n)
	}
}

// wordBF16 is a word of two values, the first in the lower half. The word is a
// float32 in name alone: nothing computes with it.
func wordBF16(low, high float32) float32 {
	return math.Float32frombits(roundBF16(low)>>16 | roundBF16(high)&^0xffff)
}

// roundBF16 returns bits whose upper half is v as bfloat16, to the nearest, ties
// to even, NaN for NaN and 0 for denormal numbers.
func roundBF16(v float32) uint32 {
	b := math.Float32bits(v)
	switch {
	case v != v:
		return b | 1<<22
	case b<<1 < 1<<24: // the CPU's conversion makes denormal numbers 0
		return b & (1 << 31)
	}
	return b + 0x7fff + b>>16&1
}
