package kernel

import "unsafe"

// Generic packed weights are [O][KH, KW, C/Groups] followed by the bias of each
// output channel as four bytes.

func genericInt() IntOps {
	return IntOps{
		IntPackSize: func(s *ConvShape) int { return convWeights(s) + 4*s.O },
		IntPack:     intPackGeneric,
		IntScratch:  func(s *ConvShape, _, _ int) int { return 4 * s.OW() * s.O },
		IntConv:     intConvGeneric,
		IntConvU8:   intConvU8Generic,
		RequantU8:   requantU8Generic,
		AddU8:       addU8Generic,
		AddF32:      addF32Generic,
		MaxU8:       maxU8Generic,
	}
}

func intPackGeneric(s *ConvShape, dst []int8, w []int8, bias []int32, _ uint8) {
	n := convWeights(s)
	copy(dst[:n], w[:n])
	for o, b := range bias[:s.O] {
		putSum(dst[n:], o, b)
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

func intConvGeneric(s *ConvShape, acc []int32, x []uint8, pitch int, zero uint8, packed []int8, r0, r1 int, _ []uint8) {
	ow, cg, og := s.OW(), s.C/s.Groups, s.O/s.Groups
	size := s.KH * s.KW * cg
	sums := packed[s.O*size:]
	z := int32(zero)
	for r := r0; r < r1; r++ {
		for c := 0; c < ow; c++ {
			dst := acc[((r-r0)*ow+c)*s.O:][:s.O]
			for o := range dst {
				w, sum := packed[o*size:][:size], sumAt(sums, o)
				for kh := 0; kh < s.KH; kh++ {
					for kw := 0; kw < s.KW; kw++ {
						src := x[(r*s.SH+kh*s.DH)*pitch+(c*s.SW+kw*s.DW)*s.C+o/og*cg:][:cg]
						tap := w[(kh*s.KW+kw)*cg:][:cg]
						for i, v := range src {
							sum += (int32(v) - z) * int32(tap[i])
						}
					}
				}
				dst[o] = sum
			}
		}
	}
}

// sumsIn returns the first n int32 of scratch, which is aligned to 4 bytes.
func sumsIn(scratch []uint8, n int) []int32 {
	scratch = scratch[:4*n]
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(scratch))), n)
}

func intConvU8Generic(s *ConvShape, dst []uint8, dstPitch int, x []uint8, pitch int, zero uint8, packed []int8, m []float32, q *Clamp, r0, r1 int, scratch []uint8) {
	n := s.OW() * s.O
	acc := sumsIn(scratch, n)
	for r := r0; r < r1; r++ {
		intConvGeneric(s, acc, x, pitch, zero, packed, r, r+1, nil)
		requantU8Generic(dst[r*dstPitch:][:n], acc, m, q)
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
