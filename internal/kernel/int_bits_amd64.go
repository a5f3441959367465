//go:build !noasm && gc

package kernel

import "unsafe"

// Weights of 4, 3 and 2 bits stay packed in memory where a layer has many of
// them, and a panel becomes bytes in scratch, in the first or second-level
// cache, while its first pixels pass (where a kernel for that fits, else before):
// for each panel a call reads half, three eighths or a quarter of the bytes.
//
// 512 bytes of a panel, parts q of 64, are packed together. Byte i of a vector
// holds, in two's complement,
//
//	4 bits: q0[i] and q1[i] of the first vector, and so on;
//	2 bits: q0[i] to q3[i] of the first vector, q4[i] to q7[i] of the second;
//	3 bits: the lower two bits as with 2, then a vector of the signs of q0[i]
//	  to q7[i].
//
// Signs are inverted, so that one subtraction extends them; not in panels that AMX's
// kernel unpacks, which copies the sign's bit. Both bring codes to their places in a
// byte, Shift bits up, as they unpack.

const (
	bitsChunk = 512
	// bitsLeast is the bytes of a layer from which its weights stay packed: they
	// do not stay in the first-level cache from one call to the next.
	bitsLeast = 32 << 10
	// bitsOverread is how far a kernel reads ahead, at 4 bits.
	bitsOverread = 1 << 10
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
			packChunk(bytesOf(dst[:bitsChunk/8*d.bits]), bytesOf(src[:bitsChunk]), d.bits, d.Shift, !d.tiled || nv == 1)
		}
	}
}

// packChunk packs 512 weights, codes times 2^shift, eight at a time; signs are
// inverted where that is wanted.
func packChunk(dst, src []uint8, bits, shift int, invert bool) {
	const ones = 0x0101010101010101
	flip, flipSigns := map[int]uint64{4: 0x88 * ones, 2: 0xaa * ones}[bits], uint64(0xff*ones)
	if !invert {
		flip, flipSigns = 0, 0
	}
	word := func(b []uint8) *uint64 { return (*uint64)(unsafe.Pointer(&b[:8][0])) }
	for i := 0; i < 64; i += 8 {
		var q [8]uint64
		for n := range q {
			q[n] = *word(src[64*n+i:]) >> shift // whatever crosses bytes is masked
		}
		for n := 0; n < 8 && bits == 4; n += 2 {
			*word(dst[32*n+i:]) = (q[n]&(15*ones) | q[n+1]&(15*ones)<<4) ^ flip
		}
		for n := 0; n < 8 && bits < 4; n += 4 {
			v := q[n]&(3*ones) | q[n+1]&(3*ones)<<2 | q[n+2]&(3*ones)<<4 | q[n+3]&(3*ones)<<6
			*word(dst[16*n+i:]) = v ^ flip
		}
		if bits == 3 {
			signs := flipSigns
			for n, v := range q {
				signs ^= v >> 2 & ones << n
			}
			*word(dst[128+i:]) = signs
		}
	}
}

// unpack sets dst to the bytes of a packed panel of that many channels.
func (d *intShape) unpack(dst []uint8, src []int8, width int) {
	chunks := roundUp(d.laneBytes()*width, bitsChunk) / bitsChunk
	dst, src = dst[:chunks*bitsChunk], src[:chunks*bitsChunk/8*d.bits]
	switch d.bits {
	case 4:
		unpackS4AVX512(&dst[0], &src[0], chunks, d.Shift)
	case 3:
		unpackS3AVX512(&dst[0], &src[0], chunks, d.Shift)
	case 2:
		unpackS2AVX512(&dst[0], &src[0], chunks, d.Shift)
	}
}

func bytesOf(v []int8) []uint8 {
	return unsafe.Slice((*uint8)(unsafe.Pointer(unsafe.SliceData(v))), len(v))
}
