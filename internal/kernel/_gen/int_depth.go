package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// depth: one row of a depthwise convolution of kernel k x k, as codes (U8) or
// sums (I32): groups times four pixels, for blocks of 16 channels, the last of
// cols. Four pixels of the image become a vector of words, one for each channel
// with a byte of each pixel; a word of an output pixel's window times a word of
// its weights is one VPDPBUSD. The window of output pixel i begins in byte
// i*stride%4 of a word: b holds, for each block, each kernel row and each such
// place, the words of weights that lie there, and those that are not all zero
// alone (depthPlaces). Pixels lie pixel bytes apart in a and as many elements in
// c; a is read up to seven pixels beyond the last window's first.
func depth(kind string, k, stride int) {
	c, m := "*uint8", ", m, q *float32"
	if kind == "I32" {
		c, m = "*int32", ""
	}
	begin(fmt.Sprintf("depth%sAVX512x%dx%d", kind, k, stride),
		fmt.Sprintf("func(a *uint8, b *int8, c %s, start *int32%s, pixel, pitch, groups, blocks, cols int)", c, m))
	d := depthGen{kind: kind, k: k, stride: stride, isa: &matISA{name: "AVX512", lanes: 16}}
	d.begin()
	Label("block")
	d.block()
	d.next()
	VZEROUPPER()
	RET()
}

type depthGen struct {
	kind      string
	k, stride int
	isa       *matISA

	pixel, thrice reg.GPVirtual
	rows          []reg.GPVirtual
	c, groups, b  reg.GPVirtual
	order         reg.VecVirtual
	mask          reg.Register
	muls          reg.VecVirtual
	packer
}

// advance changes a pointer argument in place, after a block.
func advance(name string, n int) {
	p := param(name)
	ADDQ(I32(int32(n)), p)
	addr, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	MOVQ(p, addr.Addr)
}

func (d *depthGen) begin() {
	d.mask = K()
	d.pixel, d.thrice = param("pixel"), GP64()
	LEAQ(Mem{Base: d.pixel, Index: d.pixel, Scale: 2}, d.thrice)
	d.order = ZMM()
	VMOVDQU32(wordOrder(), d.order)
	if d.kind == "U8" {
		q := param("q")
		d.packer = newPacker(Mem{Base: q}, Mem{Base: q, Disp: 4}, Mem{Base: q, Disp: 8}, false)
	}
}

// wordOrder is the constant that makes words of four bytes, one of each of four
// lanes.
func wordOrder() Mem {
	return byteTable("wordOrder", func(i int) int { return i%4*16 + i/4 })
}

// setMask selects the channels of the block: all but of the last.
func (d *depthGen) setMask() {
	bits, blocks := GP64(), param("blocks")
	MOVQ(I32(0xffff), bits)
	CMPQ(blocks, I32(1))
	JNE(LabelRef("whole"))
	cols, one := param("cols"), GP64()
	MOVQ(cols, reg.RCX)
	MOVQ(I32(1), one)
	SHLQ(reg.CL, one)
	DECQ(one)
	MOVQ(one, bits)
	Label("whole")
	KMOVW(bits.As32(), d.mask)
}

// words makes a vector of words of the four pixels at p and moves p behind them.
func (d *depthGen) words(p reg.GPVirtual) reg.VecVirtual {
	z := ZMM()
	VMOVDQU32(Mem{Base: p}, z.AsX())
	VINSERTI32X4(U8(1), Mem{Base: p, Index: d.pixel, Scale: 1}, z, z)
	VINSERTI32X4(U8(2), Mem{Base: p, Index: d.pixel, Scale: 2}, z, z)
	VINSERTI32X4(U8(3), Mem{Base: p, Index: d.thrice, Scale: 1}, z, z)
	VPERMB(z, d.order, z)
	LEAQ(Mem{Base: p, Index: d.pixel, Scale: 4}, p)
	return z
}

// block computes 16 channels.
func (d *depthGen) block() {
	d.setMask()
	d.rows = make([]reg.GPVirtual, d.k)
	pitch := param("pitch")
	carried := make([]reg.VecVirtual, d.k) // words at the group's first pixel
	for i := range d.rows {
		d.rows[i] = GP64()
		if i == 0 {
			Load(Param("a"), d.rows[0])
		} else {
			LEAQ(Mem{Base: d.rows[i-1], Index: pitch, Scale: 1}, d.rows[i])
		}
	}
	for i, p := range d.rows {
		carried[i] = ZMM()
		VMOVDQA64(d.words(p), carried[i])
	}
	d.b, d.c, d.groups = param("b"), param("c"), param("groups")
	begin := ZMM()
	VMOVDQU32(Mem{Base: param("start")}, begin)
	if d.kind == "U8" {
		d.muls = ZMM()
		VMOVUPS_Z(Mem{Base: param("m")}, d.mask, d.muls)
	}
	places := depthPlaces(d.k, d.stride)
	Label("group")
	var acc [4]reg.VecVirtual
	for i := range acc {
		acc[i] = ZMM()
		VMOVDQA64(begin, acc[i])
	}
	for row, p := range d.rows {
		w := []reg.VecVirtual{carried[row]}
		for range d.stride {
			w = append(w, d.words(p))
		}
		for i, v := range acc {
			for n, place := range places {
				if place.off == i*d.stride%4 {
					VPDPBUSD(Mem{Base: d.b, Disp: 64 * (row*len(places) + n)}, w[i*d.stride/4+place.word], v)
				}
			}
		}
		VMOVDQA64(w[d.stride], carried[row])
	}
	d.store(acc)
	DECQ(d.groups)
	JNZ(LabelRef("group"))
}

func (d *depthGen) store(acc [4]reg.VecVirtual) {
	at := func(i, size int) Mem {
		return []Mem{{Base: d.c}, {Base: d.c, Index: d.pixel, Scale: uint8(size)}, {Base: d.c, Index: d.pixel, Scale: uint8(2 * size)}, {Base: d.c, Index: d.thrice, Scale: uint8(size)}}[i]
	}
	if d.kind == "I32" {
		for i, v := range acc {
			VMOVDQU32(v, d.mask, at(i, 4))
		}
		LEAQ(Mem{Base: d.c, Index: d.pixel, Scale: 8}, d.c)
		LEAQ(Mem{Base: d.c, Index: d.pixel, Scale: 8}, d.c)
		return
	}
	for _, v := range acc {
		VCVTDQ2PS(v, v)
		VMULPS(d.muls, v, v)
	}
	d.pack(acc[:]...)
	x := XMM()
	VMOVDQU8(acc[0].AsX(), d.mask, at(0, 1))
	for i := 1; i < 4; i++ {
		VEXTRACTI32X4(U8(uint8(i)), acc[0], x)
		VMOVDQU8(x, d.mask, at(i, 1))
	}
	LEAQ(Mem{Base: d.c, Index: d.pixel, Scale: 4}, d.c)
}

// next goes on to the next block.
func (d *depthGen) next() {
	places := len(depthPlaces(d.k, d.stride))
	advance("a", 16)
	advance("b", 64*places*d.k)
	advance("start", 64)
	if d.kind == "U8" {
		advance("c", 16)
		advance("m", 64)
	} else {
		advance("c", 64)
	}
	advance("blocks", -1)
	CMPQ(param("blocks"), I32(0))
	JG(LabelRef("block"))
}

// depthPlace is where a window may lie: it begins in byte off of a word, and
// reaches into word 0 or 1 from there.
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
