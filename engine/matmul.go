package engine

import (
	"lowbit/graph"
	"lowbit/tensor"
)

// How a product with a shared right operand, a linear layer over tokens, is
// split. The numbers were best for 2048 x 576 x 1536 on a Zen 5 core with 1 MiB
// of L2; shapes alone decide.
const (
	packCols    = 512     // columns of the right operand packed by one task
	bigWeight   = 1 << 16 // elements from which a chunk takes more rows
	hugeWeight  = 1 << 22 // beyond the last-level cache: read it as rarely as possible
	chunkRows   = 96      // rows of a chunk, a multiple of the kernel's 12
	hugeRows    = 192
	fewRows     = 16  // up to here the right operand is read as it lies
	fewCols     = 256 // columns of the result that one task then computes
	gradRows    = 384 // tile of a weight gradient
	gradCols    = 288
	gradInner   = 256 // inner places packed at a time
	perfectTile = 12
)

// matmul multiplies by a matrix that all rows of x share, or by one for each
// leading index.
func (b *builder) matmul(n *graph.Node, x, y *value, o graph.MatMul) *value {
	x, y = b.plain(x), b.plain(y)
	out := b.value(n.Name(), n.Type(), false)
	switch {
	case len(y.shape) > 2:
		return b.batchedMatmul(n, x, y, out, o)
	case o.TransA:
		return b.innerMatmul(n, x, y, out, o)
	case o.TransB && out.size()/y.shape[0] <= fewRows && y.size() >= bigWeight:
		return b.thinMatmul(n, x, y, out)
	}
	k := b.plan.k
	_, inner, cols := o.Dims(x.shape, y.shape)
	packB, gemm := b.products(n, o)
	packed, size := b.packBlocks(y, inner, cols, o.TransB, packB)
	i := &inst{op: o, name: n.Name(), in: []*value{x, packed}, out: out, scratch: k.GemmScratch(inner, min(cols, packCols))}
	i.class, i.local = rowwise, []bool{true, false}
	i.minRows = rowsFor(out.rows(), inner*cols)
	i.run = func(i *inst, wk *worker, r0, r1 int) {
		a, c := wk.rows(i.in[0], r0, r1), wk.rows(out, r0, r1)
		for j := 0; j < cols; j += packCols {
			w := min(packCols, cols-j)
			gemm(c[j:], a, packed.data[j/packCols*size:][:k.PackBSize(inner, w)], len(c)/cols, w, inner, inner, cols, false, false, wk.kernel)
		}
	}
	return b.add(i)
}

// products returns the kernels of a product: those that may round to bfloat16 for a
// gradient, or for all of a plan.
func (b *builder) products(n *graph.Node, o graph.MatMul) (packB packFunc, gemm gemmFunc) {
	k := b.plan.k
	if b.plan.bf16 || o.OfGradient && b.plan.engine.bf16Gradient(n) {
		return k.PackBBF16, k.GemmBF16
	}
	return k.PackB, k.Gemm
}

type (
	packFunc = func(dst, b []float32, ldb, k, n int, trans bool)
	gemmFunc = func(c, a, packedB []float32, m, n, k, lda, ldc int, transA, acc bool, scratch []float32)
)

// rowsFor returns the rows that a chunk should have at least.
func rowsFor(rows, weight int) int {
	switch {
	case weight < bigWeight:
		return 1
	case weight >= hugeWeight:
		return hugeRows
	}
	return min(chunkRows, max(1, rows/16/perfectTile)*perfectTile)
}

// packBlocks packs a matrix in blocks of packCols columns, each size floats
// apart.
func (b *builder) packBlocks(y *value, inner, cols int, trans bool, packB packFunc) (packed *value, size int) {
	k := b.plan.k
	size = k.PackBSize(inner, min(cols, packCols))
	blocks := (cols + packCols - 1) / packCols
	packed = &value{name: y.name + ".pack", dtype: tensor.F32, shape: tensor.Shape{blocks * size}, phys: []int{blocks * size}}
	ld := y.shape[1]
	block := func(t int) {
		j := t * packCols
		w := min(packCols, cols-j)
		src := y.root().data
		if trans {
			src = src[j*ld:]
		} else {
			src = src[j:]
		}
		packB(packed.data[t*size:][:k.PackBSize(inner, w)], src, ld, inner, w, trans)
	}
	i := &inst{op: packOp, in: []*value{y}, out: packed, class: global}
	if blocks == 1 {
		i.parallel, i.all = true, func(*Plan) { block(0) }
	} else {
		i.tasks, i.task = blocks, func(_ *worker, t int) { block(t) }
	}
	b.add(i)
	return packed, size
}

// packOp marks instructions that bring weights into a kernel's form.
const packOp = "pack"

// thinMatmul computes few rows times the transpose of w [cols, inner]: the rows
// of w are read as they lie, once, and make the rows of a transposed result.
func (b *builder) thinMatmul(n *graph.Node, x, w, out *value) *value {
	k := b.plan.k
	cols, inner := w.shape[0], w.shape[1]
	rows := out.size() / cols
	pack := k.PackBSize(inner, rows)
	i := &inst{op: n.Op(), name: n.Name(), in: []*value{x, w}, out: out, class: global}
	i.scratch = pack + fewCols*rows + k.GemmScratch(inner, rows)
	i.tasks = (cols + fewCols - 1) / fewCols
	i.task = func(wk *worker, t int) {
		j := t * fewCols
		m := min(fewCols, cols-j)
		p, c, rest := wk.kernel[:pack], wk.kernel[pack:][:m*rows], wk.kernel[pack+fewCols*rows:]
		k.PackB(p, x.root().data, inner, inner, rows, true)
		k.Gemm(c, w.root().data[j*inner:], p, m, rows, inner, inner, rows, false, false, rest)
		for r := range rows {
			dst := out.data[r*cols+j:][:m]
			for q := range dst {
				dst[q] = c[q*rows+r]
			}
		}
	}
	return b.add(i)
}

// innerMatmul computes the product of x [inner, rows], transposed, and y: a
// weight gradient, a sum over tokens. Each task computes a tile of the result
// and packs what it needs, gradInner tokens at a time.
func (b *builder) innerMatmul(n *graph.Node, x, y, out *value, o graph.MatMul) *value {
	k := b.plan.k
	rows, inner, cols := o.Dims(x.shape, y.shape)
	ld := y.shape[1]
	packB, gemm := b.products(n, o)
	tr, tc := evenTile(rows, gradRows), evenTile(cols, gradCols)
	pack := k.PackBSize(min(inner, gradInner), tc)
	i := &inst{op: o, name: n.Name(), in: []*value{x, y}, out: out, class: global}
	i.scratch = pack + k.GemmScratch(min(inner, gradInner), tc)
	across := (cols + tc - 1) / tc
	i.tasks = (rows + tr - 1) / tr * across
	i.task = func(wk *worker, t int) {
		r, c := t/across*tr, t%across*tc
		m, w := min(tr, rows-r), min(tc, cols-c)
		for p := 0; p < inner; p += gradInner {
			depth := min(gradInner, inner-p)
			src := y.root().data
			if o.TransB {
				src = src[c*ld+p:]
			} else {
				src = src[p*ld+c:]
			}
			packed := wk.kernel[:k.PackBSize(depth, w)]
			packB(packed, src, ld, depth, w, o.TransB)
			gemm(out.data[r*cols+c:], x.root().data[p*rows+r:], packed, m, w, depth, rows, cols, true, p > 0, wk.kernel[pack:])
		}
	}
	return b.add(i)
}

// evenTile splits n into equal tiles of at most about most, a multiple of 96 (12
// rows, 32 columns) where there are several.
func evenTile(n, most int) int {
	if n <= most {
		return n
	}
	parts := (n + most - 1) / most
	return min(most, (((n+parts-1)/parts)+95)/96*96)
}

// batchedMatmul multiplies the matrices of each leading index on its own.
func (b *builder) batchedMatmul(n *graph.Node, x, y, out *value, o graph.MatMul) *value {
	k := b.plan.k
	m, inner, cols := o.Dims(x.shape, y.shape)
	xs, ys := x.shape[len(x.shape)-1], y.shape[len(y.shape)-1]
	pack := k.PackBSize(inner, cols)
	return b.add(&inst{
		op: o, name: n.Name(), in: []*value{x, y}, local: []bool{true, true}, out: out, class: rowwise,
		scratch: pack + k.GemmScratch(inner, cols),
		run: func(i *inst, wk *worker, r0, r1 int) {
			a, bb, c := wk.rows(i.in[0], r0, r1), wk.rows(i.in[1], r0, r1), wk.rows(out, r0, r1)
			for ; len(c) > 0; a, bb, c = a[m*inner:], bb[inner*cols:], c[m*cols:] {
				k.PackB(wk.kernel[:pack], bb, ys, inner, cols, o.TransB)
				k.Gemm(c, a, wk.kernel[:pack], m, cols, inner, xs, cols, o.TransA, false, wk.kernel[pack:])
			}
		},
	})
}

// keep marks the packing of parameters that takes less memory than they do: codes.
func keep(insts []*inst) {
	for _, i := range insts {
		ok, floats := i.op == packOp && !i.out.pinned, 0
		for _, v := range i.in {
			ok = ok && v.root().param
			floats += v.size()
		}
		i.kept = ok && i.out.size() < floats
	}
}

// sink moves the packing of weights, and what computes the weights from
// parameters alone, to the level before their first reader, so that few of them
// are in memory at a time. Uses must be known.
func sink(insts []*inst) {
	fromParams := map[*inst]bool{}
	for _, i := range insts {
		ok := i.op == packOp || i.class == elementwise
		for _, v := range i.in {
			d := v.def
			ok = ok && (d == nil && v.root().place == external || d != nil && fromParams[d])
		}
		fromParams[i] = ok && !i.updates && !i.out.pinned
	}
	for n := len(insts) - 1; n >= 0; n-- {
		i := insts[n]
		if !fromParams[i] || len(i.out.uses) == 0 {
			continue
		}
		level := 1 << 30
		for _, u := range i.out.uses {
			l := u.level
			for k, v := range u.in {
				if v.root() == i.out && !u.fusable(k) {
					l = u.level - 1
				}
			}
			level = min(level, l)
		}
		i.level = max(i.level, level)
	}
}
