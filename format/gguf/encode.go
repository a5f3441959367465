package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"lowbit/tensor"
)

// Home returns the smallest type that holds codes of a signed uniform grid of
// 2 to 8 bits, or ternary codes {-1, 0, 1} for bits 1, without loss, given the
// length of a row. Four bits prefer Q4_0 to Q4_K: equal size, and llama.cpp
// repacks it for its fastest kernels. false: no block type fits the row, and
// the values must be stored as F16 (where that is exact) or F32.
func Home(bits, rowLength int) (Type, bool) {
	fits := func(t Type) bool { return rowLength > 0 && rowLength%t.BlockElements() == 0 }
	var choice []Type
	switch bits {
	case 1:
		choice = []Type{TQ2_0, Q4_0}
	case 2:
		choice = []Type{Q2_K, Q4_0}
	case 3:
		choice = []Type{Q3_K, Q4_0}
	case 4:
		choice = []Type{Q4_0}
	case 5:
		choice = []Type{Q5_K, Q5_0}
	case 6:
		choice = []Type{Q6_K, Q8_0}
	case 7, 8:
		choice = []Type{Q8_0}
	}
	for _, t := range choice {
		if fits(t) {
			return t, true
		}
	}
	return 0, false
}

// CodeRange returns the codes that AppendCodes takes for a type, both ends
// included; false if it takes none.
func (t Type) CodeRange() (lo, hi int, ok bool) {
	tr := traits[t]
	return tr.lo, tr.hi, tr.encode != nil
}

// AppendCodes appends blocks of type t that stand for step*codes[i] exactly:
// DequantizeRow gives step*codes[i] without any error.
//
//	codes  [n]  n a multiple of t's block: a row, or a group with its own step
//	step   must be a float16 number and finite; round it before the last
//	       evaluation, so that what was measured is what is written
//
// It returns dst unchanged, and an error, if the type takes no codes, a code
// is outside CodeRange or the step is not a float16 number.
func AppendCodes(dst []byte, t Type, codes []int8, step float32) ([]byte, error) {
	tr := traits[t]
	if tr.encode == nil {
		return dst, fmt.Errorf("gguf: %v takes no codes", t)
	}
	size, err := t.RowBytes(len(codes))
	if err != nil {
		return dst, err
	}
	h := tensor.Float32ToFloat16(step)
	if tensor.Float16ToFloat32(h) != step || math.IsInf(float64(step), 0) {
		return dst, fmt.Errorf("gguf: step %v is not a finite float16 number (nearest %v)", step, tensor.Float16ToFloat32(h))
	}
	for i, k := range codes {
		if int(k) < tr.lo || int(k) > tr.hi {
			return dst, fmt.Errorf("gguf: code %d at %d is outside %d..%d of %v", k, i, tr.lo, tr.hi, t)
		}
	}
	at := len(dst)
	dst = append(dst, make([]byte, size)...)
	for b := dst[at:]; len(b) > 0; b = b[tr.bytes:] {
		tr.encode(b[:tr.bytes], codes[:tr.elements], h)
		codes = codes[tr.elements:]
	}
	return dst, nil
}

// AppendFloats appends values as plain numbers of type F32, F16 or BF16, ties
// to even.
func AppendFloats(dst []byte, t Type, values []float32) ([]byte, error) {
	for _, v := range values {
		switch t {
		case F32:
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
		case F16:
			dst = binary.LittleEndian.AppendUint16(dst, tensor.Float32ToFloat16(v))
		case BF16:
			dst = binary.LittleEndian.AppendUint16(dst, tensor.Float32ToBFloat16(v))
		default:
			return dst, fmt.Errorf("gguf: %v is no plain float type, want F32, F16 or BF16", t)
		}
	}
	return dst, nil
}

// The encoders fill a zeroed block. Every group scale is 1, so that a value
// is step*(q - offset); types with a minimum use minimum = offset and
// dmin = step.

func put(b []byte, h uint16) { binary.LittleEndian.PutUint16(b, h) }

func encodeQ8_0(b []byte, codes []int8, step uint16) {
	put(b, step)
	for i, k := range codes {
		b[2+i] = byte(k)
	}
}

func encodeQ4_0(b []byte, codes []int8, step uint16) {
	put(b, step)
	for i := range 16 {
		b[2+i] = byte(codes[i]+8) | byte(codes[i+16]+8)<<4
	}
}

func encodeQ5_0(b []byte, codes []int8, step uint16) {
	put(b, step)
	var high uint32
	for i, k := range codes {
		q := byte(k + 16)
		b[6+i%16] |= q & 15 << (i / 16 * 4)
		high |= uint32(q>>4) << i
	}
	binary.LittleEndian.PutUint32(b[2:], high)
}

// putPlanes stores the low two bits of codes+offset.
func putPlanes(b []byte, codes []int8, offset int8) {
	for i, k := range codes {
		b[i/128*32+i%32] |= byte(k+offset) & 3 << (i % 128 / 32 * 2)
	}
}

func encodeQ2_K(b []byte, codes []int8, step uint16) {
	for g := range 16 {
		b[g] = 1 | 2<<4 // scale, minimum
	}
	putPlanes(b[16:80], codes, 2)
	put(b[80:], step)
	put(b[82:], step)
}

func encodeQ3_K(b []byte, codes []int8, step uint16) {
	for i, k := range codes {
		b[i%32] |= byte(k+4) >> 2 << (i / 32)
	}
	putPlanes(b[32:96], codes, 4)
	for i := range 8 {
		b[96+i] = 1 | 1<<4 // scale 33 = 1 + 32: the low four bits of two groups
	}
	for i := range 4 {
		b[104+i] = 2 | 2<<2 | 2<<4 | 2<<6 // the high two bits of four groups
	}
	put(b[108:], step)
}

// putScaleMin gives all groups of Q4_K and Q5_K scale 1 and a minimum < 16.
func putScaleMin(sc []byte, minimum byte) {
	for i := range 4 {
		sc[i], sc[i+4], sc[i+8] = 1, minimum&63, 1|minimum<<4
		sc[i+4] |= minimum >> 4 << 6
	}
}

// putNibbles stores the low four bits of codes+offset, groups of 32.
func putNibbles(b []byte, codes []int8, offset int8) {
	for i, k := range codes {
		b[i/64*32+i%32] |= byte(k+offset) & 15 << (i % 64 / 32 * 4)
	}
}

func encodeQ4_K(b []byte, codes []int8, step uint16) {
	put(b, step)
	put(b[2:], step)
	putScaleMin(b[4:16], 8)
	putNibbles(b[16:144], codes, 8)
}

func encodeQ5_K(b []byte, codes []int8, step uint16) {
	put(b, step)
	put(b[2:], step)
	putScaleMin(b[4:16], 16)
	for i, k := range codes {
		b[16+i%32] |= byte(k+16) >> 4 << (i / 32)
	}
	putNibbles(b[48:176], codes, 16)
}

func encodeQ6_K(b []byte, codes []int8, step uint16) {
	for i, k := range codes {
		q := byte(k + 32)
		b[i/128*64+i%64] |= q & 15 << (i % 128 / 64 * 4)
		b[128+i/128*32+i%32] |= q >> 4 << (i % 128 / 32 * 2)
	}
	for g := range 16 {
		b[192+g] = 1
	}
	put(b[208:], step)
}

func encodeTQ2_0(b []byte, codes []int8, step uint16) {
	putPlanes(b[:64], codes, 1)
	put(b[64:], step)
}
