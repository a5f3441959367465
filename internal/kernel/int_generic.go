package kernel

import "unsafe"

// Generic packed weights are [O][KH, KW, C/Groups] followed by the bias of each
// output channel as four bytes.

func genericInt() IntOps {
	return IntOps{
		IntPackSize: func(l *IntLayer) int { return convWeights(&l.ConvShape) + 4*l.O },
		IntPack:     intPackGeneric,
		IntKernel:   func(*IntLayer) (string, int) { return "generic", 8 },
		IntScratch:  func(l *IntLayer, _, _ int) int { return 4 * l.OW() * l.O },
		IntConv:     intConvGeneric,
		IntConvU8:   intConvU8Generic,
		RequantU8:   requantU8Generic,
		AddPrepare:  func(*Addition) {},
		AddU8:       addU8Generic,
		AddF32:      addF32Generic,
		MapU8:       mapU8Generic, QuantStepU8: quantStepU8Generic, InterleaveU8: interleaveU8Generic,
		MaxU8: maxU8Generic,
	}
}

func intPackGeneric(l *IntLayer, w []int8, bias []int32) {
	n := convWeights(&l.ConvShape)
	copy(l.Packed[:n], w[:n])
	for o, b := range bias[:l.O] {
		putSum(l.Packed[n:], o, b)
	}
}

// putSum and sumAt access int32 numbers behind packed weights.
func putSum(dst []int8, i int, v int32) {
	for k := range 4 {
		dst[4*i+k] = int8(v >> (8 * k))
	}
}

func sumAt(src []int8, i int) (v int32) {
	for k := range 4 {
		v |= int32(uint8(src[4*i+k])) << (8 * k)
	}
	return v
}

func intConvGeneric(l *IntLayer, acc []int32, x []uint8, pitch int, part IntPart, _ []uint8) {
	ow := l.OW()
	for r := part.R0; r < part.R1; r++ {
		for c := range ow {
			at := r*l.SH*pitch + c*l.SW*l.C
			l.pixelGeneric(acc[((r-part.R0)*ow+c)*l.O:][:l.O], x[at:], pitch, part)
		}
	}
}

// pixelGeneric sums the part's channels of one pixel, whose window begins x.
func (l *IntLayer) pixelGeneric(dst []int32, x []uint8, pitch int, part IntPart) {
	cg, og, z := l.C/l.Groups, l.O/l.Groups, int32(l.Zero)
	size := l.KH * l.KW * cg
	starts := l.Packed[l.O*size:]
	for o := part.O0; o < part.O1; o++ {
		w, sum := l.Packed[o*size:][:size], sumAt(starts, o)
		for kh := 0; kh < l.KH; kh++ {
			for kw := 0; kw < l.KW; kw++ {
				src := x[kh*l.DH*pitch+kw*l.DW*l.C+o/og*cg:][:cg]
				tap := w[(kh*l.KW+kw)*cg:][:cg]
				for i, v := range src {
					sum += (int32(v) - z) * int32(tap[i])
				}
			}
		}
		dst[o] = sum
	}
}

// sumsIn returns the first n int32 of scratch, which is aligned to 4 bytes.
func sumsIn(scratch []uint8, n int) []int32 {
	scratch = scratch[:4*n]
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(scratch))), n)
}

func intConvU8Generic(l *IntLayer, dst []uint8, dstPitch int, x []uint8, pitch int, m []float32, q *Clamp, part IntPart, scratch []uint8) {
	acc := sumsIn(scratch, l.OW()*l.O)
	for r := part.R0; r < part.R1; r++ {
		intConvGeneric(l, acc, x, pitch, IntPart{r, r + 1, part.O0, part.O1}, nil)
		l.requantRow(dst[r*dstPitch:], acc, m, q, part, requantU8Generic)
	}
}

// requantRow makes codes of the part's channels of a row of sums.
func (l *IntLayer) requantRow(dst []uint8, acc []int32, m []float32, q *Clamp, part IntPart, requant func(dst []uint8, acc []int32, m []float32, q *Clamp)) {
	n := l.OW() * l.O
	if part.O0 == 0 && part.O1 == l.O {
		requant(dst[:n], acc, m, q)
		return
	}
	for at := 0; at < n; at += l.O {
		requant(dst[at+part.O0:at+part.O1], acc[at+part.O0:at+part.O1], m[part.O0:part.O1], q)
	}
}

func requantU8Generic(dst []uint8, acc []int32, m []float32, q *Clamp) {
	acc = acc[:len(dst)]
	for at := 0; at < len(dst); at += len(m) {
		d, a := dst[at:][:len(m)], acc[at:][:len(m)]
		for i, v := range m {
			x := clip(float32(float32(a[i])*v), q.Lo, q.Hi)
			d[i] = uint8(int32(rne(x)) + q.Zero)
		}
	}
}

// code returns the code of a sum.
func (p *Addition) code(v float32) uint8 {
	return uint8(int32(rne(clip(v/p.Step, p.Lo, p.Hi)) + p.Zero))
}

func addU8Generic(dst, a, b []uint8, p *Addition) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		x := float32((float32(a[i]) - p.ZeroA) * p.StepA)
		y := float32((float32(b[i]) - p.ZeroB) * p.StepB)
		dst[i] = p.code(x + y)
	}
}

func addF32Generic(dst []uint8, y, a, b []float32, p *Addition) {
	y, a, b = y[:len(dst)], a[:len(dst)], b[:len(dst)]
	for i := range dst {
		v := a[i] + b[i]
		dst[i] = p.code(v)
		if p.Floor > v {
			v = p.Floor
		}
		y[i] = v
	}
}

func maxU8Generic(dst, a, b []uint8) {
	a, b = a[:len(dst)], b[:len(dst)]
	for i := range dst {
		dst[i] = max(a[i], b[i])
	}
}

func mapU8Generic(dst, src []uint8, table *[256]uint8) {
	src = src[:len(dst)]
	for i, v := range src {
		dst[i] = table[v]
	}
}

func quantStepU8Generic(dst []uint8, v []float32, step float32, q *Clamp) {
	v = v[:len(dst)]
	zero := float32(q.Zero)
	for i, x := range v {
		dst[i] = uint8(int32(rne(clip(x/step, q.Lo, q.Hi)) + zero))
	}
}

func interleaveU8Generic(dst, src []uint8) {
	n := len(dst) / 3
	r, g, b := src[:n], src[n:][:n], src[2*n:][:n]
	for i := range r {
		to := dst[3*i : 3*i+3 : 3*i+3]
		to[0], to[1], to[2] = r[i], g[i], b[i]
	}
}
