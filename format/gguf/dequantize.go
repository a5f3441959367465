package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"lowbit/tensor"
)

// DequantizeRow sets dst to the values that src encodes; it allocates nothing.
//
//	dst  [n]                   n a multiple of t's block
//	src  [t.RowBytes(n)]bytes  must not overlap dst
//
// Any whole number of rows or blocks will do. The arithmetic is float32 in
// the order of ggml's reference: scale of the group first, then the code,
// then the minimum, each rounded.
func DequantizeRow(t Type, dst []float32, src []byte) error {
	tr := traits[t]
	if tr.dequantize == nil {
		return fmt.Errorf("gguf: %v cannot be turned into float32", t)
	}
	if want, err := t.RowBytes(len(dst)); err != nil {
		return err
	} else if len(src) != want {
		return fmt.Errorf("gguf: %d values of %v need %d bytes, got %d", len(dst), t, want, len(src))
	}
	if tr.elements == 1 {
		tr.dequantize(dst, src)
		return nil
	}
	for len(dst) > 0 {
		tr.dequantize(dst[:tr.elements:tr.elements], src[:tr.bytes:tr.bytes])
		dst, src = dst[tr.elements:], src[tr.bytes:]
	}
	return nil
}

func dequantizeF32(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
}

func dequantizeF16(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = half(b[2*i:])
	}
}

func dequantizeBF16(dst []float32, b []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(b[2*i:])) << 16)
	}
}

func half(b []byte) float32 { return tensor.Float16ToFloat32(binary.LittleEndian.Uint16(b)) }

// Blocks of 32: d [m] [qh: 32 fifth bits] qs. A byte of qs holds elements i
// (low nibble) and i+16.

// d*(q-8)
func dequantizeQ4_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:18] {
		dst[i] = d * float32(int(q&15)-8)
		dst[i+16] = d * float32(int(q>>4)-8)
	}
}

// d*q + m
func dequantizeQ4_1(dst []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for i, q := range b[4:20] {
		dst[i] = float32(d*float32(q&15)) + m
		dst[i+16] = float32(d*float32(q>>4)) + m
	}
}

// d*(q-16)
func dequantizeQ5_0(dst []float32, b []byte) {
	d, qh := half(b), binary.LittleEndian.Uint32(b[2:])
	for i, q := range b[6:22] {
		dst[i] = d * float32(int(q&15)+int(qh>>i&1)<<4-16)
		dst[i+16] = d * float32(int(q>>4)+int(qh>>(i+16)&1)<<4-16)
	}
}

// d*q + m
func dequantizeQ5_1(dst []float32, b []byte) {
	d, m, qh := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, q := range b[8:24] {
		dst[i] = float32(d*float32(int(q&15)+int(qh>>i&1)<<4)) + m
		dst[i+16] = float32(d*float32(int(q>>4)+int(qh>>(i+16)&1)<<4)) + m
	}
}

// d*q
func dequantizeQ8_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:34] {
		dst[i] = d * float32(int8(q))
	}
}

// Super-blocks of 256 in groups of 16 or 32 with a scale each. Two-bit fields
// lie in planes: in each half h of 128, byte h*32+l holds elements
// h*128 + 32j + l at bits 2j.

// sc[16] qs[64] d dmin; d*(sc&15)*q - dmin*(sc>>4), a scale for 16
func dequantizeQ2_K(dst []float32, b []byte) {
	sc, qs, d, dmin := b[:16], b[16:80], half(b[80:]), half(b[82:])
	for g := range 16 {
		dl, ml := d*float32(sc[g]&15), dmin*float32(sc[g]>>4)
		plane, shift := qs[g/8*32+g%2*16:], g%8/2*2
		for i := range 16 {
			dst[g*16+i] = float32(dl*float32(plane[i]>>shift&3)) - ml
		}
	}
}

// hmask[32] qs[64] sc[12] d; d*(sc-32)*(q - 4 if the mask bit is off)
func dequantizeQ3_K(dst []float32, b []byte) {
	hmask, qs, sc, d := b[:32], b[32:96], b[96:108], half(b[108:])
	for g := range 16 {
		dl := d * float32(int(scaleQ3_K(sc, g))-32)
		plane, mask, shift := qs[g/8*32+g%2*16:], hmask[g%2*16:], g%8/2*2
		for i := range 16 {
			q := int(plane[i]>>shift&3) + int(mask[i]>>(g/2)&1)<<2
			dst[g*16+i] = dl * float32(q-4)
		}
	}
}

// scaleQ3_K returns six bits: four in the nibbles of bytes 0-7, two in 8-11.
func scaleQ3_K(sc []byte, g int) byte {
	return sc[g%8]>>(g/8*4)&15 | sc[8+g%4]>>(g/4*2)&3<<4
}

// d dmin sc[12] qs[128]; d*sc*q - dmin*m, a scale and a minimum for 32
func dequantizeQ4_K(dst []float32, b []byte) {
	d, dmin, sc, qs := half(b), half(b[2:]), b[4:16], b[16:144]
	for g := range 8 {
		s, m := scaleMin(sc, g)
		dl, ml := d*float32(s), dmin*float32(m)
		shift := g % 2 * 4
		for i, q := range qs[g/2*32 : g/2*32+32] {
			dst[g*32+i] = float32(dl*float32(q>>shift&15)) - ml
		}
	}
}

// d dmin sc[12] qh[32] qs[128]; bit g of qh[i] is the fifth of element 32g+i
func dequantizeQ5_K(dst []float32, b []byte) {
	d, dmin, sc, qh, qs := half(b), half(b[2:]), b[4:16], b[16:48], b[48:176]
	for g := range 8 {
		s, m := scaleMin(sc, g)
		dl, ml := d*float32(s), dmin*float32(m)
		shift := g % 2 * 4
		for i, q := range qs[g/2*32 : g/2*32+32] {
			dst[g*32+i] = float32(dl*float32(q>>shift&15|qh[i]>>g&1<<4)) - ml
		}
	}
}

// scaleMin returns the six-bit scale and minimum of a group of Q4_K and Q5_K.
func scaleMin(sc []byte, g int) (s, m byte) {
	if g < 4 {
		return sc[g] & 63, sc[g+4] & 63
	}
	return sc[g+4]&15 | sc[g-4]>>6<<4, sc[g+4]>>4 | sc[g]>>6<<4
}

// ql[128] qh[64] int8 sc[16] d; d*sc*(q-32). In each half, byte i of 64 in ql
// holds elements i and i+64; qh is a plane of two-bit fields.
func dequantizeQ6_K(dst []float32, b []byte) {
	ql, qh, sc, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for g := range 16 {
		dl := d * float32(int8(sc[g]))
		at := g % 8 * 16 // within the half
		low, high := ql[g/8*64+at%64:], qh[g/8*32+at%32:]
		for i := range 16 {
			q := low[i]>>(at/64*4)&15 | high[i]>>(at/32*2)&3<<4
			dst[g*16+i] = dl * float32(int(q)-32)
		}
	}
}

// qs[48] qh[4] d; d*(t-1). A byte holds trits as a fraction of 256: digit n is
// the integer part of 3*frac(byte*3^n). Bytes 0-31 hold elements 32n+m, bytes
// 32-47 elements 160+16n+m, five each; qh holds elements 240+4n+m, four each.
func dequantizeTQ1_0(dst []float32, b []byte) {
	d := half(b[52:])
	trits(dst[:160], b[:32], d)
	trits(dst[160:240], b[32:48], d)
	trits(dst[240:], b[48:52], d)
}

func trits(dst []float32, b []byte, d float32) {
	power := byte(1)
	for n := range len(dst) / len(b) {
		for m, q := range b {
			t := int(q*power) * 3 >> 8
			dst[n*len(b)+m] = d * float32(t-1)
		}
		power *= 3
	}
}

// qs[64] d; d*(q-1), two-bit planes
func dequantizeTQ2_0(dst []float32, b []byte) {
	d := half(b[64:])
	for i := range dst {
		q := b[i/128*32+i%32] >> (i % 128 / 32 * 2) & 3
		dst[i] = d * float32(int(q)-1)
	}
}
