//go:build !noasm && gc

package kernel

import "unsafe"

// Weights of 4, 3 and 2 bits stay packed in memory where a layer has many of
// them, and a panel becomes bytes in scratch, in the first or second-level
// cache, before its pixels pass: for each panel a call reads half, three
// eighths or a quarter of the bytes.
//
// 256 bytes of a panel, quarters q of 64, are packed together. Byte i of a
// vector holds, in two's complement xor the sign bit,
//
//	4 bits: q0[i] and q1[i] of the first vector, q2[i] and q3[i] of the second;
//	2 bits: q0[i], q1[i], q2[i], q3[i];
//	3 bits: the lower two bits as with 2, then for each quarter 64 sign bits.

const (
	bitsChunk = 256
	// bitsLeast is the bytes of a layer from which its weights stay packed: they
	// do not stay in the first-level cache from one call to the next.
	bitsLeast = 32 << 10
)

// panelBytes is the scratch for a panel.
func (d *intShape) panelBytes() int { return roundUp(d.laneBytes()*2*d.lanes(), bitsChunk) }

// bitsSize is the bytes of a packed panel of that many channels.
func (d *intShape) bitsSize(width int) int {
	return roundUp(d.laneBytes()*width, bitsChunk) / 8 * d.bits
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// packBits packs all panels of the only group.
func (d *intShape) packBits(w []int8) {
	panel := make([]int8, d.panelBytes())
	row := d.outs * d.runs * d.run
	for j := 0; j < d.og; j += 2 * d.lanes() {
		clear(panel)
		d.packPanel(panel, w[j*row:], j)
		nv, _ := d.panel(d.og - j)
		dst := d.Packed[d.panelAt(0, j):][:d.bitsSize(nv*d.lanes())]
		for src := panel; len(dst) > 0; src, dst = src[bitsChunk:], dst[bitsChunk/8*d.bits:] {
			packChunk(bytesOf(dst[:bitsChunk/8*d.bits]), bytesOf(src[:bitsChunk]), d.bits)
		}
	}
}

// packChunk packs 256 codes, eight at a time.
func packChunk(dst, src []uint8, bits int) {
	const ones = 0x0101010101010101
	word := func(b []uint8) *uint64 { return (*uint64)(unsafe.Pointer(&b[:8][0])) }
	for i := 0; i < 64; i += 8 {
		q := [4]uint64{*word(src[i:]), *word(src[64+i:]), *word(src[128+i:]), *word(src[192+i:])}
		if bits == 4 {
			for h := range 2 {
				v := q[2*h]&(15*ones) | q[2*h+1]&(15*ones)<<4
				*word(dst[64*h+i:]) = v ^ 0x88*ones
			}
			continue
		}
		v := q[0]&(3*ones) | q[1]&(3*ones)<<2 | q[2]&(3*ones)<<4 | q[3]&(3*ones)<<6
		if bits == 2 {
			v ^= 0xaa * ones
		}
		*word(dst[i:]) = v
		for n := 0; n < 4 && bits == 3; n++ {
			dst[64+8*n+i/8] = uint8(q[n] >> 7 & ones * 0x0102040810204080 >> 56)
		}
	}
}

// unpack sets dst to the bytes of a packed panel of that many channels.
func (d *intShape) unpack(dst []uint8, src []int8, width int) {
	chunks := roundUp(d.laneBytes()*width, bitsChunk) / bitsChunk
	dst, src = dst[:chunks*bitsChunk], src[:chunks*bitsChunk/8*d.bits]
	switch d.bits {
	case 4:
		unpackS4AVX512(&dst[0], &src[0], chunks)
	case 3:
		unpackS3AVX512(&dst[0], &src[0], chunks)
	case 2:
		unpackS2AVX512(&dst[0], &src[0], chunks)
	}
}

func bytesOf(v []int8) []uint8 {
	return unsafe.Slice((*uint8)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}
