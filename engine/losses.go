package engine

import (
	"math"

	"lowbit/graph"
	"lowbit/internal/kernel"
	"lowbit/tensor"
)

// lossBlock is the classes that the losses work on at a time.
const lossBlock = 1024

// lossRow works on one row of logits and on what it needs of the others.
type lossRow struct {
	k       *kernel.Table
	a, b, c []float32 // scratch of lossBlock each
	same    []float32 // of exp
}

func (b *builder) loss(n *graph.Node, in []*value) *value {
	switch o := n.Op().(type) {
	case graph.CrossEntropy:
		return b.lossLoop(n, in, func(r *lossRow, out []float32, in [3][]float32, label int32) {
			out[0] = r.crossEntropy(in[0], label, o.Smooth)
		})
	case graph.CrossEntropyGrad:
		return b.lossLoop(n, in, func(r *lossRow, out []float32, in [3][]float32, label int32) {
			r.crossEntropyGrad(out, in[0], label, in[2][0], o.Smooth)
		})
	case graph.KLDivergence:
		return b.lossLoop(n, in, func(r *lossRow, out []float32, in [3][]float32, _ int32) {
			out[0] = r.kl(in[0], in[1], o.T)
		})
	case graph.KLDivergenceGrad:
		return b.lossLoop(n, in, func(r *lossRow, out []float32, in [3][]float32, _ int32) {
			r.klGrad(out, in[0], in[1], in[2][0], o.T)
		})
	}
	panic("engine: no such loss")
}

// lossLoop adds an instruction that calls f for each row of the last axis.
// Operands of integers are labels.
func (b *builder) lossLoop(n *graph.Node, in []*value, f func(r *lossRow, out []float32, in [3][]float32, label int32)) *value {
	out := b.value(n.Name(), n.Type(), false)
	i := &inst{op: n.Op(), name: n.Name(), class: rowwise, out: out, domain: in[0].rows(), scratch: 4 * lossBlock}
	for _, v := range in {
		i.in = append(i.in, b.plain(v))
		i.local = append(i.local, v.dtype == tensor.F32)
	}
	classes := in[0].shape[len(in[0].shape)-1]
	per := in[0].rowSize() / classes // rows of logits in a row of dimension 0
	k := b.plan.k
	i.run = func(i *inst, w *worker, r0, r1 int) {
		w.loss = lossRow{k, w.kernel[:lossBlock], w.kernel[lossBlock : 2*lossBlock], w.kernel[2*lossBlock : 3*lossBlock], w.kernel[3*lossBlock : 4*lossBlock]}
		dst := w.rows(out, r0, r1)
		var args, row [3][]float32
		for a, v := range i.in {
			if v.dtype == tensor.F32 {
				args[a] = w.rows(v, r0, r1)
			}
		}
		loops := (r1 - r0) * per
		for l := range loops {
			label := int32(0)
			for a, v := range i.in {
				if v.dtype != tensor.F32 {
					label = v.root().i32[r0*per+l]
					continue
				}
				size := len(args[a]) / loops
				row[a] = args[a][l*size : (l+1)*size]
			}
			size := len(dst) / loops
			f(&w.loss, dst[l*size:(l+1)*size], row, label)
		}
	}
	return b.add(i)
}

// max returns the largest element.
func (r *lossRow) max(x []float32) float32 {
	m := r.a[:min(lossBlock, len(x))]
	copy(m, x)
	for at := len(m); at < len(x); at += lossBlock {
		n := min(lossBlock, len(x)-at)
		r.k.Max(m[:n], m[:n], x[at:at+n])
	}
	top := m[0]
	for _, v := range m {
		if v > top || v != v {
			top = v
		}
	}
	return top
}

// exp writes e^((x-top)/t) of a block.
func (r *lossRow) exp(dst, x []float32, top, t float32) {
	same := r.same[:len(x)]
	repeat(same, top)
	r.k.Sub(dst, x, same)
	if t != 1 {
		repeat(same, t)
		r.k.Div(dst, dst, same)
	}
	r.k.Exp(dst, dst)
}

// logSumExp returns the largest element, and log(sum(e^(x/t))).
func (r *lossRow) logSumExp(x []float32, t float64) (top float32, lse float64) {
	top = r.max(x)
	var sum float64
	for at := 0; at < len(x); at += lossBlock {
		n := min(lossBlock, len(x)-at)
		r.exp(r.a[:n], x[at:at+n], top, float32(t))
		sum += float64(r.k.Sum(r.a[:n]))
	}
	return top, float64(top)/t + math.Log(sum)
}

func (r *lossRow) crossEntropy(x []float32, label int32, smooth float64) float32 {
	if label < 0 || int(label) >= len(x) {
		return 0
	}
	_, lse := r.logSumExp(x, 1)
	loss := (1 - smooth) * (lse - float64(x[label]))
	if smooth > 0 {
		var sum float64
		for _, v := range x {
			sum += lse - float64(v)
		}
		loss += smooth * sum / float64(len(x))
	}
	return float32(loss)
}

// crossEntropyGrad writes dy*(softmax(x) - target).
func (r *lossRow) crossEntropyGrad(out, x []float32, label int32, dy float32, smooth float64) {
	if label < 0 || int(label) >= len(x) {
		clear(out)
		return
	}
	top := r.max(x)
	var sum float64
	for at := 0; at < len(x); at += lossBlock {
		n := min(lossBlock, len(x)-at)
		r.exp(out[at:at+n], x[at:at+n], top, 1)
		sum += float64(r.k.Sum(out[at : at+n]))
	}
	scale, rest := float32(float64(dy)/sum), dy*float32(smooth/float64(len(x)))
	for i, v := range out {
		out[i] = v*scale - rest
	}
	out[label] -= dy * float32(1-smooth)
}

// kl is T^2 sum p_T (log p_T - log p_S), from one pass over both rows: with e =
// e^((t-top)/T), sum(p_T*(t-s)/T) = sum(e*(t-s))/(T*sum(e)).
func (r *lossRow) kl(s, t []float32, temp float64) float32 {
	topS, topT := r.max(s), r.max(t)
	var sumS, sumT, dot float64
	for at := 0; at < len(s); at += lossBlock {
		n := min(lossBlock, len(s)-at)
		x, y := s[at:at+n], t[at:at+n]
		r.exp(r.a[:n], x, topS, float32(temp))
		sumS += float64(r.k.Sum(r.a[:n]))
		r.exp(r.b[:n], y, topT, float32(temp))
		sumT += float64(r.k.Sum(r.b[:n]))
		for i := range x { // from both tops, so that no large numbers cancel
			r.c[i] = (y[i] - topT) - (x[i] - topS)
		}
		r.k.Mul(r.c[:n], r.c[:n], r.b[:n])
		dot += float64(r.k.Sum(r.c[:n]))
	}
	return float32(temp * temp * (dot/(temp*sumT) - math.Log(sumT) + math.Log(sumS)))
}

// klGrad writes dy*T*(p_S - p_T).
func (r *lossRow) klGrad(out, s, t []float32, dy float32, temp float64) {
	topS, lseS := r.logSumExp(s, temp)
	topT, lseT := r.logSumExp(t, temp)
	ps := float32(float64(dy) * temp * math.Exp(float64(topS)/temp-lseS))
	pt := float32(float64(dy) * temp * math.Exp(float64(topT)/temp-lseT))
	for at := 0; at < len(s); at += lossBlock {
		n := min(lossBlock, len(s)-at)
		r.exp(r.a[:n], s[at:at+n], topS, float32(temp))
		r.exp(r.b[:n], t[at:at+n], topT, float32(temp))
		for i, v := range r.a[:n] {
			out[at+i] = v*ps - r.b[i]*pt
		}
	}
}
