//go:build !noasm && gc

package kernel

// Blocks of a product: gemmK columns of A (and so rows of B) at a time, which
// fixes the order of a sum; up to gemmM rows of A are packed at once, 400 KB
// of the 1 MiB of L2 (best of 144..336 for 1024^3 on a Zen 5 core).
const (
	gemmK = 512
	gemmM = 192
	// gemmInPlace: A is read where it lies for fewer rows than this, or fewer
	// panels of B than gemmPanels: packing would cost more than it saves.
	gemmInPlace = 24
	gemmPanels  = 3
)

// gemmRows is the rows of the packed kernel's tile.
func (is isa) gemmRows() int { return 6 << is }

func (is isa) packBSize(k, n int) int { return k * is.padCols(n) }

// packB stores b in panels of two vectors of columns (one where that is
// enough), each [k][columns], zeros beyond n.
func (is isa) packB(dst, b []float32, ldb, k, n int, trans bool) {
	dst = dst[:is.packBSize(k, n)]
	for j := 0; j < n; j += 2 * is.lanes() {
		nv, _ := is.panel(n - j)
		width, cols := nv*is.lanes(), min(nv*is.lanes(), n-j)
		panel := dst[:k*width]
		dst = dst[k*width:]
		if trans {
			is.packPanelTrans(panel, b[j*ldb:], ldb, k, width, cols)
			continue
		}
		for p := 0; p < k; p++ {
			row := panel[p*width:][:width]
			copy(row, b[p*ldb+j:][:cols])
			clear(row[cols:])
		}
	}
}

// packPanelTrans packs cols rows of b as the columns of a panel.
func (is isa) packPanelTrans(panel, b []float32, ldb, k, width, cols int) {
	if cols < width {
		clear(panel)
	}
	for l := 0; l < cols; {
		p := 0
		if is == avx512 && cols-l >= 16 && k >= 16 {
			_ = b[(l+15)*ldb+k-1]
			transposeAVX512x16(&panel[l], &b[l*ldb], 4*ldb, 4*width, k/16)
			p = k &^ 15
		}
		rows := 1
		if p > 0 {
			rows = 16
		}
		for ; rows > 0; rows, l = rows-1, l+1 {
			row := b[l*ldb:][:k]
			for q := p; q < k; q++ {
				panel[q*width+l] = row[q]
			}
		}
	}
}

func (is isa) gemmScratch(k int) int {
	tile := is.gemmRows() * 2 * is.lanes()
	return gemmM*min(k, gemmK) + 16 + tile // packed A, overhang of the last row, a partial tile
}

// gemm: the sum of an element goes over blocks of gemmK products, each summed
// on its own from its first to its last and then added to c; neither m nor the
// way A is read changes that.
func (is isa) gemm(c, a, packedB []float32, m, n, k, lda, ldc int, transA, acc bool, scratch []float32) {
	if m == 0 || n == 0 {
		return
	}
	packedB, c = packedB[:is.packBSize(k, n)], c[:(m-1)*ldc+n]
	if k == 0 {
		for r := 0; r < m && !acc; r++ {
			clear(c[r*ldc:][:n])
		}
		return
	}
	if transA {
		a = a[:(k-1)*lda+m]
	} else {
		a = a[:(m-1)*lda+k]
	}
	inPlace := !transA && (m < gemmInPlace || n <= (gemmPanels-1)*2*is.lanes())
	for pc := 0; pc < k; pc += gemmK {
		g := gemmBlock{isa: is, c: c, a: a, b: packedB, n: n, k: k, pc: pc, ac: pc, kc: min(gemmK, k-pc), lda: lda, ldc: ldc, add: acc || pc > 0}
		if inPlace {
			for r := 0; r < m; r += 48 { // rows of A that stay in L1 while the panels pass
				g.inPlace(r, min(m, r+48))
			}
			continue
		}
		for r := 0; r < m; r += gemmM {
			g.packed(r, min(m, r+gemmM), transA, scratch[:is.gemmScratch(k)])
		}
	}
}

// gemmBlock is the product of columns pc..pc+kc of A with those rows of B.
type gemmBlock struct {
	isa
	c, a, b      []float32
	n, k, pc, kc int
	ac           int // the column of a that pc is
	lda, ldc     int
	add          bool
}

func (g *gemmBlock) tile(cols int) tile {
	t := tile{k: g.kc, runs: 1, outs: 1, rowStep: 4 * g.lda, cStep: 4 * g.ldc, cols: cols}
	if g.add {
		t.acc = 1
	}
	return t
}

// inPlace computes rows r0..r1 of c from A as it lies.
func (g *gemmBlock) inPlace(r0, r1 int) {
	for j := 0; j < g.n; j += 2 * g.lanes() {
		nv, cols := g.panel(g.n - j)
		t := g.tile(cols)
		b := &g.b[j*g.k+g.pc*nv*g.lanes()]
		tiles, size, extra := split(r1-r0, g.rowsMost(nv))
		for i, r := 0, r0; i < tiles; i++ {
			m := size + b2i(i < extra)
			rowsF32(g.isa, m, nv, &g.a[r*g.lda+g.ac], b, &g.c[r*g.ldc+j], &t)
			r += m
		}
	}
}

// packed computes rows r0..r1 of c from a packed copy of A. Rows that do not
// fill a tile are computed in place, or, of a transposed A, in a tile aside.
func (g *gemmBlock) packed(r0, r1 int, transA bool, scratch []float32) {
	mr := g.gemmRows()
	aside, block := scratch[:2*mr*g.lanes()], scratch[2*mr*g.lanes():]
	whole := r0 + (r1-r0)/mr*mr
	end := whole
	if transA {
		end = r1
	}
	for r := r0; r < end; r += mr {
		dst := block[(r-r0)*g.kc:]
		if transA {
			g.packTrans(dst, r, min(mr, r1-r))
		} else {
			g.packRows(dst, r)
		}
	}
	for j := 0; j < g.n; j += 2 * g.lanes() {
		nv, cols := g.panel(g.n - j)
		t := g.tile(cols)
		b := &g.b[j*g.k+g.pc*nv*g.lanes()]
		for r := r0; r < whole; r += mr {
			g.kernel(nv, &block[(r-r0)*g.kc], b, &g.c[r*g.ldc+j], &t)
		}
		if whole < end {
			t.acc, t.cStep = 0, 4*nv*g.lanes()
			g.kernel(nv, &block[(whole-r0)*g.kc], b, &aside[0], &t)
			g.take(aside, whole, r1, j, nv*g.lanes())
		}
	}
	if end < r1 {
		g.inPlace(end, r1)
	}
}

func (g *gemmBlock) kernel(nv int, a, b, c *float32, t *tile) {
	switch {
	case g.isa == avx512 && nv == 2:
		gemmF32AVX512x12x2(a, b, c, t.words())
	case g.isa == avx512:
		gemmF32AVX512x12x1(a, b, c, t.words())
	case nv == 2:
		gemmF32AVX2x6x2(a, b, c, t.words())
	default:
		gemmF32AVX2x6x1(a, b, c, t.words())
	}
}

// take moves the rows of a tile aside to c.
func (g *gemmBlock) take(aside []float32, r0, r1, j, width int) {
	for r := r0; r < r1; r++ {
		dst, src := g.c[r*g.ldc+j:][:min(width, g.n-j)], aside[(r-r0)*width:]
		if !g.add {
			copy(dst, src)
			continue
		}
		for i := range dst {
			dst[i] += src[i]
		}
	}
}

// packRows packs the rows r, r+1, ... of a tile: dst [kc][rows].
func (g *gemmBlock) packRows(dst []float32, r int) {
	mr, p := g.gemmRows(), 0
	if g.isa == avx512 && g.kc >= 16 {
		_ = dst[g.kc*mr+3] // the last row is written 16 wide
		transposeAVX512x12(&dst[0], &g.a[r*g.lda+g.pc], 4*g.lda, 4*mr, g.kc/16)
		p = g.kc &^ 15
	}
	for i := 0; i < mr; i++ {
		row := g.a[(r+i)*g.lda+g.pc:][:g.kc]
		for q := p; q < g.kc; q++ {
			dst[q*mr+i] = row[q]
		}
	}
}

// packTrans packs m columns of an A stored [k, m], zeros up to a whole tile.
func (g *gemmBlock) packTrans(dst []float32, r, m int) {
	mr := g.gemmRows()
	for p := 0; p < g.kc; p++ {
		row, src := dst[p*mr:][:mr], g.a[(g.pc+p)*g.lda+r:][:m]
		if m == 12 && mr == 12 {
			*(*[12]float32)(row) = *(*[12]float32)(src)
			continue
		}
		copy(row, src)
		clear(row[m:])
	}
}
