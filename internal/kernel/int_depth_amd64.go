//go:build !noasm && gc

package kernel

import "unsafe"

// Depthwise layers of kernels 3 x 3 and 5 x 5 and of stride 1 or 2 go on VNNI
// where the CPU shuffles bytes: words of four neighbouring pixels of a channel
// times words of its weights. All others multiply a tap at a time, in words of
// which half is 0.
//
// Packed weights are [block of 16 channels][kernel row][place][channel][4
// bytes], the places as the generator lists them, or [tap][channel], and then
// the starts.

// depthWords reports whether a layer goes on words of pixels.
func (is intISA) depthWords(l *IntLayer) bool {
	return is.isa == avx512 && hasByteShuffles && l.KH == l.KW && (l.KW == 3 || l.KW == 5) &&
		l.SH == l.SW && l.SW <= 2 && l.DH*l.DW == 1 && l.OW() >= 4
}

// depthPlace is where a window may lie: it begins in byte off of a word, and
// word counts from there.
type depthPlace struct{ off, word int }

// depthPlaces lists the places whose weights are not all zero.
func depthPlaces(k, stride int) (list []depthPlace) {
	for off := 0; off < 4; off += stride {
		for word := 0; word < 2; word++ {
			if off+k > 4*word {
				list = append(list, depthPlace{off, word})
			}
		}
	}
	return list
}

// depthTaps is the bytes of a channel's weights.
func (is intISA) depthTaps(l *IntLayer) int {
	if is.depthWords(l) {
		return 4 * l.KH * len(depthPlaces(l.KW, l.SW))
	}
	return l.KH * l.KW
}

// intPackDepth packs the weights and what the sums start from. Both instruction
// sets keep the activations in bytes around the zero point.
func (is intISA) intPackDepth(l *IntLayer, w []int8, bias []int32) {
	width, kk := is.padCols(l.C), l.KH*l.KW
	starts := l.Packed[is.depthTaps(l)*width:]
	for c := 0; c < l.C; c++ {
		start, taps := bias[c], w[c*kk:][:kk]
		for tap, v := range taps {
			if !is.depthWords(l) {
				l.Packed[tap*width+c] = v
			}
			start -= int32(l.Zero) * int32(v)
		}
		if is.depthWords(l) {
			is.packDepthWords(l, taps, c)
		}
		putSum(starts, c, start)
	}
}

func (is intISA) packDepthWords(l *IntLayer, taps []int8, c int) {
	places := depthPlaces(l.KW, l.SW)
	block := l.Packed[c/16*16*is.depthTaps(l):]
	for row := range l.KH {
		for n, p := range places {
			word := block[64*(row*len(places)+n)+4*(c%16):][:4]
			for b := range word {
				if tap := 4*p.word + b - p.off; tap >= 0 && tap < l.KW {
					word[b] = taps[row*l.KW+tap]
				}
			}
		}
	}
}

// depthCodes makes codes of rows output rows from x on.
func (is intISA) depthCodes(l *IntLayer, dst []uint8, dstPitch int, x []uint8, pitch int, m []float32, q *Clamp, rows int) {
	b, start, m := &l.Packed[0], is.depthStarts(l), m[:l.C]
	blocks, cols := is.blocks(l.C)
	for r := range rows {
		row := dst[r*dstPitch:][:l.OW()*l.C]
		depthGroups(l, func(px, groups int) {
			a, c := &x[r*l.SH*pitch+px*l.SW*l.C], &row[px*l.C]
			switch l.KW<<2 | l.SW {
			case 3<<2 | 1:
				depthU8AVX512x3x1(a, b, c, start, &m[0], &q.Lo, l.C, pitch, groups, blocks, cols)
			case 3<<2 | 2:
				depthU8AVX512x3x2(a, b, c, start, &m[0], &q.Lo, l.C, pitch, groups, blocks, cols)
			case 5<<2 | 1:
				depthU8AVX512x5x1(a, b, c, start, &m[0], &q.Lo, l.C, pitch, groups, blocks, cols)
			case 5<<2 | 2:
				depthU8AVX512x5x2(a, b, c, start, &m[0], &q.Lo, l.C, pitch, groups, blocks, cols)
			}
		})
	}
}

// depthSums is depthCodes for sums.
func (is intISA) depthSums(l *IntLayer, acc []int32, x []uint8, pitch, rows int) {
	b, start := &l.Packed[0], is.depthStarts(l)
	blocks, cols := is.blocks(l.C)
	for r := range rows {
		row := acc[r*l.OW()*l.C:][:l.OW()*l.C]
		depthGroups(l, func(px, groups int) {
			a, c := &x[r*l.SH*pitch+px*l.SW*l.C], &row[px*l.C]
			switch l.KW<<2 | l.SW {
			case 3<<2 | 1:
				depthI32AVX512x3x1(a, b, c, start, l.C, pitch, groups, blocks, cols)
			case 3<<2 | 2:
				depthI32AVX512x3x2(a, b, c, start, l.C, pitch, groups, blocks, cols)
			case 5<<2 | 1:
				depthI32AVX512x5x1(a, b, c, start, l.C, pitch, groups, blocks, cols)
			case 5<<2 | 2:
				depthI32AVX512x5x2(a, b, c, start, l.C, pitch, groups, blocks, cols)
			}
		})
	}
}

// depthGroups calls f for a row's groups of four pixels, the last of which ends
// with the row.
func depthGroups(l *IntLayer, f func(px, groups int)) {
	ow := l.OW()
	f(0, ow/4)
	if ow%4 > 0 {
		f(ow-4, 1)
	}
}

func (is intISA) depthStarts(l *IntLayer) *int32 {
	return (*int32)(unsafe.Pointer(&l.Packed[is.depthTaps(l)*is.padCols(l.C)]))
}

// intDepth is intConv for one channel a group: rows output rows from x on.
func (is intISA) intDepth(l *IntLayer, acc []int32, x []uint8, pitch, rows int) {
	if is.depthWords(l) {
		is.depthSums(l, acc, x, pitch, rows)
		return
	}
	width := is.padCols(l.C)
	t := tile{
		k: l.KW, kStep: l.DW * l.C, outs: l.KH, outStep: l.DH * pitch, bStep: width,
		rowStep: l.SW * l.C, cStep: 4 * l.C,
	}
	t.runs, t.cols = is.blocks(l.C)
	start := is.depthStarts(l)
	ow := l.OW()
	tiles, size, extra := split(ow, is.depthMost())
	for r := 0; r < rows; r++ {
		a, c := r*l.SH*pitch, r*ow*l.C
		for i := 0; i < tiles; i++ {
			m := size + b2i(i < extra)
			depthwiseU8S8(is.isa, m, &x[a], &l.Packed[0], &acc[c], start, &t)
			a, c = a+m*t.rowStep, c+m*l.C
		}
	}
}
