package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/reg"
)

func init() { sets["bf16"] = genBF16 }

// genBF16 emits the products of pairs of bfloat16: the kernels of matrix products
// and convolutions whose words of 4 bytes hold two values.
func genBF16() {
	wide := &matISA{name: "AVX512", lanes: 16}
	for mr := 1; mr <= 16; mr++ {
		for nv := 1; nv <= 2 && mr*nv <= 24; nv++ {
			wide.rows("BF16", mr, nv)
			wide.gradWeight("BF16", mr, nv)
		}
	}
	for mr := 8; mr <= 16; mr++ {
		wide.conv3("BF16", mr)
	}
	for mr := 1; mr <= 8; mr++ {
		wide.gradWeight3("BF16", mr)
	}
	narrowBF16()
	pairBF16()
	pass.Compile = pass.Concat(pass.Compile, pass.InstructionPass(encodeBF16), pass.FunctionPass(func(f *ir.Function) error {
		f.ISA = nil // of the instructions that stood there
		return pass.RequiredISAExtensions(f)
	}))
}

// Go's assembler knows none of the instructions of AVX512_BF16. Instructions of the
// same operands stand for them until registers are allocated; encodeBF16 then
// replaces these by bytes.
var bf16Codes = map[string]struct{ prefix, opcode byte }{
	"VPDPWSSD":  {2, 0x52}, // VDPBF16PS: acc += the products of both halves of a word
	"VPACKUSDW": {3, 0x72}, // VCVTNE2PS2BF16: low half from the first operand, high from the second
}

func dotBF16(b, a, acc reg.VecVirtual) { VPDPWSSD(b, a, acc) }

func convertBF16(low, high, dst reg.VecVirtual) { VPACKUSDW(low, high, dst) }

// encodeBF16 gives an instruction its bytes: EVEX, 512 bits, map 0F38, W0.
func encodeBF16(i *ir.Instruction) error {
	code, ok := bf16Codes[i.Opcode]
	if !ok {
		return nil
	}
	n := func(k int) byte { return byte(i.Operands[k].(reg.Register).(reg.Physical).PhysicalIndex()) }
	rm, v, r := n(0), n(1), n(2)
	not := func(x, bit byte) byte { return ^x >> bit & 1 }
	b := [6]byte{
		0x62,
		not(r, 3)<<7 | not(rm, 4)<<6 | not(rm, 3)<<5 | not(r, 4)<<4 | 2,
		(^v&15)<<3 | 4 | code.prefix,
		0x40 | not(v, 4)<<3,
		code.opcode,
		0xc0 | r&7<<3 | rm&7,
	}
	i.Opcode, i.ISA = "LONG", []string{"AVX512_BF16"}
	i.Operands = []Op{rawOp(fmt.Sprintf("$0x%02x%02x%02x%02x; WORD $0x%02x%02x", b[3], b[2], b[1], b[0], b[5], b[4]))}
	return nil
}

// rawOp is an operand that is printed as it is.
type rawOp string

func (o rawOp) Asm() string { return string(o) }

// narrowBF16: dst[i] = src[i] rounded, for n floats, a multiple of 16.
func narrowBF16() {
	begin("narrowBF16AVX512", "func(dst *uint16, src *float32, n int)")
	d, s, n := param("dst"), param("src"), param("n")
	SUBQ(I32(32), n)
	JL(LabelRef("rest"))
	Label("loop")
	lo, hi := ZMM(), ZMM()
	VMOVUPS(Mem{Base: s}, lo)
	VMOVUPS(Mem{Base: s, Disp: 64}, hi)
	convertBF16(lo, hi, lo)
	VMOVDQU64(lo, Mem{Base: d})
	ADDQ(I32(128), s)
	ADDQ(I32(64), d)
	SUBQ(I32(32), n)
	JGE(LabelRef("loop"))
	Label("rest")
	ADDQ(I32(32), n)
	JZ(LabelRef("done"))
	VMOVUPS(Mem{Base: s}, lo)
	convertBF16(lo, lo, lo)
	VMOVDQU(lo.AsY(), Mem{Base: d})
	Label("done")
	VZEROUPPER()
	RET()
}

// pairBF16: word i of dst is low[i] and high[i], rounded, for n words, n > 0.
func pairBF16() {
	order := GLOBL("bf16Order", attr.RODATA|attr.NOPTR)
	for i := 0; i < 32; i++ {
		DATA(2*i, U16(i/2+i%2*16))
	}
	begin("pairBF16AVX512", "func(dst, low, high *float32, n int)")
	d, l, h, n := param("dst"), param("low"), param("high"), param("n")
	idx, lo, hi := ZMM(), ZMM(), ZMM()
	VMOVDQU64(order, idx)
	SUBQ(I32(16), n)
	JL(LabelRef("rest"))
	Label("loop")
	VMOVUPS(Mem{Base: l}, lo)
	VMOVUPS(Mem{Base: h}, hi)
	convertBF16(lo, hi, lo)
	VPERMW(lo, idx, lo)
	VMOVUPS(lo, Mem{Base: d})
	for _, p := range []reg.GPVirtual{d, l, h} {
		ADDQ(I32(64), p)
	}
	SUBQ(I32(16), n)
	JGE(LabelRef("loop"))
	Label("rest")
	ADDQ(I32(16), n)
	JZ(LabelRef("done"))
	k := (&matISA{lanes: 16}).mask(n)
	VMOVUPS_Z(Mem{Base: l}, k, lo)
	VMOVUPS_Z(Mem{Base: h}, k, hi)
	convertBF16(lo, hi, lo)
	VPERMW(lo, idx, lo)
	VMOVUPS(lo, k, Mem{Base: d})
	Label("done")
	VZEROUPPER()
	RET()
}
