package engine

import (
	"lowbit/graph"
	"lowbit/quant"
	"lowbit/tensor"
)

// maxIntegerInner is the most products that a sum of 32 bits holds: they are below
// 255*128.
const maxIntegerInner = 1 << 16

// sumRows are the rows whose sums of packCols columns stand in a worker's first
// caches before they are multiplied by steps.
const sumRows = 24

// integerLinear reports whether a product is a linear layer of rows enough to be
// worth packing its weights.
func integerLinear(o graph.MatMul, x, w tensor.Shape) bool {
	return !o.TransA && o.TransB && len(w) == 2 && len(x) > 1 && w[1] <= maxIntegerInner && x.Size()/w[1] > fewRows
}

// linearInteger adds the product of the codes of quantizers xq [..., inner] and wq
// [cols, inner].
func (b *builder) linearInteger(n, xq, wq *graph.Node) *value {
	k := b.plan.k
	in := func(q *graph.Node, i int) *value { return b.at[q.In()[i].ID()] }
	spec := xq.Op().(graph.FakeQuant).Spec
	cols, inner := wq.Shape()[0], wq.Shape()[1]
	step := in(xq, 1)
	codes, zero := b.activationCodes(xq, b.plain(in(xq, 0)), step)
	packed, size := b.linearCodes(wq, in(wq, 0), in(wq, 1))
	out := b.value(n.Name(), n.Type(), false)
	i := &inst{op: n.Op(), name: n.Name(), out: out, class: rowwise, minRows: rowsFor(out.rows(), inner*cols), scratch: (sumRows + 1) * packCols}
	perToken := spec.Granularity == quant.PerToken
	if perToken {
		i.in = []*value{codes, packed, b.stepProducts(wq.Name(), nil, in(wq, 1), cols, cols), step}
		i.local = []bool{true, false, false, stepIsLocal(stepPattern(spec, codes, step), codes)}
	} else {
		i.in = []*value{codes, packed, b.stepProducts(wq.Name(), step, in(wq, 1), cols, cols)}
		i.local = []bool{true, false, false}
	}
	scale := i.in[2]
	i.run = func(i *inst, wk *worker, r0, r1 int) {
		x, dst := wk.bytes(i.in[0], r0, r1), wk.rows(out, r0, r1)
		rows := len(x) / inner
		var steps []float32
		if perToken {
			if steps = wk.rowsOf(i.in[3], i.domain, r0, r1); !i.local[3] {
				steps = i.in[3].root().data[r0*len(x)/inner/(r1-r0):]
			}
		}
		sums, factor := int32s(wk.kernel[:sumRows*packCols]), wk.kernel[sumRows*packCols:]
		for j := 0; j < cols; j += packCols {
			w := min(packCols, cols-j)
			weights := int8s(floatBytes(packed.root().data[j/packCols*size:][:size]))[:k.PackS8Size(w, inner)]
			for r := 0; r < rows; r += sumRows {
				m := min(sumRows, rows-r)
				k.GemmU8S8(sums, x[r*inner:], zero, weights, m, w, inner, inner, w, nil)
				for q := range m {
					row := dst[(r+q)*cols+j:][:w]
					k.ScaleI32(row, sums[q*w:][:w], scale.root().data[j:j+w])
					if perToken {
						repeat(factor[:w], steps[r+q])
						k.Mul(row, row, factor[:w])
					}
				}
			}
		}
	}
	return b.add(i)
}

// repeat sets all of dst to v.
func repeat(dst []float32, v float32) {
	if len(dst) == 0 {
		return
	}
	dst[0] = v
	for n := 1; n < len(dst); n *= 2 {
		copy(dst[n:], dst[:n])
	}
}

// linearCodes adds the instruction that rounds weights and packs their codes, in
// blocks of packCols output channels, each size floats apart.
func (b *builder) linearCodes(q *graph.Node, w, step *value) (packed *value, size int) {
	k := b.plan.k
	spec := q.Op().(graph.FakeQuant).Spec
	w = b.plain(w)
	cols, inner := w.shape[0], w.shape[1]
	size = (k.PackS8Size(min(cols, packCols), inner) + 63) / 64 * 16
	key := packKey{w, "linear_pack_s8", [2]any{step, spec}}
	if v := b.packs[key]; v != nil {
		return v, size
	}
	blocks := (cols + packCols - 1) / packCols
	packed = &value{name: q.Name() + ".codes", dtype: tensor.F32, shape: tensor.Shape{blocks * size}, phys: []int{blocks * size}}
	b.packs[key] = packed
	pat := stepPattern(spec, w, step)
	lo, hi := -float32(spec.Qn()), float32(spec.Qp())
	i := &inst{op: packOp, name: packed.name, in: []*value{w, step}, out: packed, class: global, tasks: blocks}
	i.scratch = (min(cols, packCols)*inner+3)/4 + blockFloats
	i.task = func(wk *worker, t int) {
		first := t * packCols
		m := min(packCols, cols-first)
		src := w.root().data[first*inner:][:m*inner]
		steps, codes := wk.kernel[:blockFloats], int8s(floatBytes(wk.kernel[blockFloats:]))[:m*inner]
		for at := 0; at < len(src); at += blockFloats {
			n := min(blockFloats, len(src)-at)
			expand(steps[:n], step.root().data, pat, first*inner+at)
			k.QuantS8(codes[at:at+n], src[at:at+n], steps[:n], lo, hi)
		}
		k.PackS8(int8s(floatBytes(packed.data[t*size:][:size]))[:k.PackS8Size(m, inner)], codes, m, inner)
	}
	return b.add(i), size
}
