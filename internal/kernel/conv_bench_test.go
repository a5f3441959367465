package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchConvs are the convolutions of ResNet-20 on 32x32 images, and a few
// others.
func benchConvs() []ConvShape {
	sq := func(h, c, o, k, stride, groups int) ConvShape {
		p := k / 2
		return ConvShape{H: h, W: h, C: c, O: o, KH: k, KW: k, SH: stride, SW: stride, DH: 1, DW: 1, PT: p, PL: p, PB: p, PR: p, Groups: groups}
	}
	return []ConvShape{
		sq(32, 16, 16, 3, 1, 1), sq(16, 32, 32, 3, 1, 1), sq(8, 64, 64, 3, 1, 1), sq(32, 3, 16, 3, 1, 1),
		sq(32, 16, 32, 3, 2, 1), sq(16, 32, 64, 3, 2, 1), sq(32, 16, 32, 1, 2, 1), sq(16, 64, 64, 1, 1, 1),
		sq(14, 256, 256, 3, 1, 1), sq(16, 64, 64, 3, 1, 64), sq(16, 64, 64, 3, 2, 64),
	}
}

// BenchmarkConv works through 128 images in calls of 4, as the engine does.
func BenchmarkConv(b *testing.B) {
	const images, chunk = 128, 4
	for _, s := range benchConvs() {
		r := rand.New(rand.NewPCG(1, 2))
		in, out, nw := s.H*s.W*s.C, s.OH()*s.OW()*s.O, s.O*s.C/s.Groups*s.KH*s.KW
		x, y, w := randF32(r, images*in), randF32(r, images*out), randF32(r, nw)
		q, qw, acc := randU8(r, images*in), randS8(r, nw), make([]int32, images*out)
		flops := 2 * float64(images*s.OH()*s.OW()*s.O) * float64(s.KH*s.KW*s.C/s.Groups)
		for _, row := range Rows() {
			packed := make([]float32, max(row.ConvPackSize(&s), row.ConvPackGradSize(&s)))
			scratch, dw := make([]float32, row.ConvScratch(&s)), make([]float32, row.ConvGradWeightSize(&s))
			qp, qs := make([]int8, row.ConvPackS8Size(&s)), make([]uint8, row.ConvS8Scratch(&s))
			name := fmt.Sprintf("h=%d/c=%d/o=%d/k=%d/s=%d/g=%d/impl=%s", s.H, s.C, s.O, s.KH, s.SH, s.Groups, row.Name)
			pass := func(what string, prepare func(), f func(i int)) {
				b.Run(name+"/pass="+what, func(b *testing.B) {
					prepare()
					for b.Loop() {
						for i := 0; i < images; i += chunk {
							f(i)
						}
					}
					b.ReportMetric(flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gop/s")
				})
			}
			pass("forward", func() { row.ConvPack(&s, packed, w) }, func(i int) {
				row.ConvForward(&s, y[i*out:], x[i*in:], packed, chunk, scratch)
			})
			pass("gradinput", func() { row.ConvPackGrad(&s, packed, w) }, func(i int) {
				row.ConvGradInput(&s, x[i*in:], y[i*out:], packed, chunk, scratch)
			})
			pass("gradweight", func() { clear(dw) }, func(i int) {
				row.ConvGradWeight(&s, dw, x[i*in:], y[i*out:], chunk, scratch)
			})
			pass("u8s8", func() { row.ConvPackS8(&s, qp, qw) }, func(i int) {
				row.ConvForwardU8S8(&s, acc[i*out:], q[i*in:], 128, qp, chunk, qs)
			})
		}
	}
}

// BenchmarkTile runs one register tile on operands in L1: what the rest can
// hope for.
func BenchmarkTile(b *testing.B) {
	for _, row := range Rows() {
		const m, n, k = 12, 32, 256
		r := rand.New(rand.NewPCG(1, 2))
		a, w, c := randF32(r, m*k), randF32(r, k*n), make([]float32, m*n)
		packed, scratch := make([]float32, row.PackBSize(k, n)), make([]float32, row.GemmScratch(k, n))
		row.PackB(packed, w, n, k, n, false)
		b.Run(fmt.Sprintf("m=%d/n=%d/k=%d/impl=%s", m, n, k, row.Name), func(b *testing.B) {
			for b.Loop() {
				row.Gemm(c, a, packed, m, n, k, k, n, false, false, scratch)
			}
			b.ReportMetric(2*m*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gop/s")
		})
	}
}
