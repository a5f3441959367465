package infer

import (
	"encoding/binary"
	"unsafe"
)

// Codes are packed as the format compressed-tensors packs them: a code k of b
// bits as u = k + 2^(b-1), element i of a row in bits [i*b, i*b+b) of the row's
// little-endian stream of 32-bit words. Codes may straddle words; a row begins
// with a new one.

// packedWords is the words of a row of n codes.
func packedWords(n, bits int) int { return (n*bits + 31) / 32 }

// packCodes packs rows of n codes into dst.
func packCodes(dst []byte, codes []int8, n, bits int) {
	size, offset := 4*packedWords(n, bits), 1<<(bits-1)
	for ; len(codes) > 0; codes, dst = codes[n:], dst[size:] {
		row, word, have, at := dst[:size], uint64(0), 0, 0
		for _, k := range codes[:n] {
			word |= uint64(int(k)+offset) << have
			if have += bits; have >= 32 {
				binary.LittleEndian.PutUint32(row[at:], uint32(word))
				word, have, at = word>>32, have-32, at+4
			}
		}
		if have > 0 {
			binary.LittleEndian.PutUint32(row[at:], uint32(word))
		}
	}
}

// unpackCodes is the inverse of packCodes; bits are 2 to 8. Any bytes are codes.
func unpackCodes(codes []int8, src []byte, n, bits int) {
	size := 4 * packedWords(n, bits)
	for ; len(codes) > 0; codes, src = codes[n:], src[size:] {
		unpackRow(codes[:n], src[:size], bits)
	}
}

func unpackRow(row []int8, src []byte, bits int) {
	offset, mask := int8(-1)<<(bits-1), byte(1<<bits-1)
	switch bits {
	case 8:
		for len(row) >= 8 {
			to := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(row))), 8)
			binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(src)^0x8080808080808080)
			row, src = row[8:], src[8:]
		}
		for i := range row {
			row[i] = int8(src[i] ^ 0x80)
		}
		return
	case 4:
		for len(row) >= 2 {
			row[0], row[1] = int8(src[0]&15)+offset, int8(src[0]>>4)+offset
			row, src = row[2:], src[1:]
		}
	case 2:
		for len(row) >= 4 {
			b := src[0]
			row[0], row[1] = int8(b&3)+offset, int8(b>>2&3)+offset
			row[2], row[3] = int8(b>>4&3)+offset, int8(b>>6)+offset
			row, src = row[4:], src[1:]
		}
	case 3:
		for len(row) >= 8 {
			b := uint32(src[0]) | uint32(src[1])<<8 | uint32(src[2])<<16
			for i := range 8 {
				row[i] = int8(b>>(3*i)&7) + offset
			}
			row, src = row[8:], src[3:]
		}
	}
	word, have := uint32(0), 0
	for i := range row {
		if have < bits {
			word |= uint32(src[0]) << have
			src, have = src[1:], have+8
		}
		row[i] = int8(byte(word)&mask) + offset
		word, have = word>>bits, have-bits
	}
}
