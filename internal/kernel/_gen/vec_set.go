package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/gotypes"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { sets["vec"] = genVec }

func genVec() {
	for _, zmm := range []bool{false, true} {
		vecArith(zmm)
		vecMath(zmm)
		vecQuant(zmm)
		vecReduce(zmm)
		vecPeak(zmm)
	}
	vecPrefetch()
}

// vecPrefetch emits a loop that asks for cache lines and waits for none.
func vecPrefetch() {
	TEXT("prefetchLines", NOSPLIT, "func(n int, a *float32)")
	Doc("prefetchLines asks for n cache lines from a on into the second-level cache.")
	n := Load(Param("n"), GP64())
	a := Load(Param("a"), GP64())
	Label("line")
	PREFETCHT1(Mem{Base: a.(reg.Register)})
	ADDQ(U8(64), a)
	DECQ(n)
	JNZ(LabelRef("line"))
	RET()
}

// vec emits one element-wise loop: body once for each vector of elements, with
// every operand at the same index. AVX-512 loops end with a masked vector;
// AVX2 loops take a multiple of 8 elements.
type vec struct {
	zmm    bool
	w      int // floats in a vector
	ptr    map[string]reg.GPVirtual
	scalar map[string]reg.VecVirtual
	consts map[uint32]Op
	index  reg.GPVirtual // elements done
	off    int           // elements beyond index
	mask   Op            // of the last vector, or nil
}

// loopSpec describes a loop: pointer operands (a name that begins with "q" is
// of bytes), float arguments, constants, and how many vectors an iteration of
// the main loop takes.
type loopSpec struct {
	name    string
	ptrs    []string
	scalars []string
	consts  []uint32
	unroll  int
	before  func(k *vec)
	body    func(k *vec)
}

// isaName appends the row to a name.
func isaName(name string, zmm bool) string {
	if zmm {
		return name + "AVX512"
	}
	return name + "AVX2"
}

func signature(s *loopSpec) string {
	sig := "func(n int"
	for _, p := range s.ptrs {
		typ := "float32"
		if p[0] == 'q' {
			typ = "byte"
		}
		sig += fmt.Sprintf(", %s *%s", p, typ)
	}
	for _, p := range s.scalars {
		sig += fmt.Sprintf(", %s float32", p)
	}
	return sig + ")"
}

// maxRegConsts is how many constants of a loop stay in registers; the others
// are memory operands.
func maxRegConsts(zmm bool) int {
	if zmm {
		return 18
	}
	return 6
}

func newVec(zmm bool) *vec {
	k := &vec{zmm: zmm, w: 8, ptr: map[string]reg.GPVirtual{}, scalar: map[string]reg.VecVirtual{}, consts: map[uint32]Op{}}
	if zmm {
		k.w = 16
	}
	return k
}

func vecLoop(zmm bool, s loopSpec) {
	k := newVec(zmm)
	name := isaName(s.name, zmm)
	TEXT(name, NOSPLIT, signature(&s))
	Pragma("noescape")
	Doc(fmt.Sprintf("%s is the loop of %sGeneric.", name, s.name))
	n := Load(Param("n"), GP64()).(reg.GPVirtual)
	for _, p := range s.ptrs {
		k.ptr[p] = Load(Param(p), GP64()).(reg.GPVirtual)
	}
	for _, p := range s.scalars {
		k.scalar[p] = k.broadcastParam(Param(p))
	}
	for _, c := range s.consts {
		if k.consts[c] != nil {
			continue
		}
		inReg := len(k.consts) < maxRegConsts(zmm)
		k.consts[c] = constant(c)
		if inReg {
			k.consts[c] = k.load(constant(c))
		}
	}
	if s.before != nil {
		s.before(k)
	}
	k.index = GP64()
	XORQ(k.index, k.index)
	if s.unroll > 1 {
		k.blocks(name+"_main", n, s.unroll, s.body)
	}
	k.blocks(name+"_one", n, 1, s.body)
	if zmm {
		TESTQ(n, n)
		JEQ(LabelRef(name + "_done"))
		k.mask = tailMask(n)
		s.body(k)
		Label(name + "_done")
	}
	VZEROUPPER()
	RET()
}

// blocks repeats body on u vectors while at least that many elements are left.
func (k *vec) blocks(label string, n reg.GPVirtual, u int, body func(k *vec)) {
	step := U32(uint32(u * k.w))
	CMPQ(n, step)
	JLT(LabelRef(label + "_end"))
	Label(label)
	for k.off = 0; k.off < u*k.w; k.off += k.w {
		body(k)
	}
	k.off = 0
	ADDQ(step, k.index)
	SUBQ(step, n)
	CMPQ(n, step)
	JGE(LabelRef(label))
	Label(label + "_end")
}

// tailMask returns a mask of the lowest n < 16 lanes.
func tailMask(n reg.GPVirtual) Op {
	bits, m := GP32(), K()
	XORL(bits, bits)
	BTSL(n.As32(), bits)
	DECL(bits)
	KMOVW(bits, m)
	return m
}

var constants = map[uint32]Mem{}

// constant returns the address of 64 bytes that repeat the 32 bits.
func constant(bits uint32) Mem {
	m, ok := constants[bits]
	if !ok {
		m = GLOBL(fmt.Sprintf("vec_%08x", bits), RODATA|NOPTR)
		for i := range 16 {
			DATA(4*i, U32(bits))
		}
		constants[bits] = m
	}
	return m
}

// f32 lists the bits of float constants.
func f32(x ...float32) (bits []uint32) {
	for _, v := range x {
		bits = append(bits, math.Float32bits(v))
	}
	return bits
}

func (k *vec) reg() reg.VecVirtual {
	if k.zmm {
		return ZMM()
	}
	return YMM()
}

func (k *vec) load(m Op) reg.VecVirtual {
	r := k.reg()
	VMOVUPS(m, r)
	return r
}

func (k *vec) broadcastParam(c gotypes.Component) reg.VecVirtual {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	r := k.reg()
	VBROADCASTSS(b.Addr, r)
	return r
}

// c is a float constant of the loop, bits one given by its bits.
func (k *vec) c(x float32) Op { return k.bits(math.Float32bits(x)) }

func (k *vec) bits(b uint32) Op {
	op, ok := k.consts[b]
	if !ok {
		panic(fmt.Sprintf("constant %#x is not declared", b))
	}
	return op
}

// addr is where the current vector of an operand lies.
func (k *vec) addr(name string) Mem {
	if name[0] == 'q' {
		return Mem{Base: k.ptr[name], Index: k.index, Scale: 1, Disp: k.off}
	}
	return Mem{Base: k.ptr[name], Index: k.index, Scale: 4, Disp: 4 * k.off}
}

// ld loads the current vector of an operand; at is the same as an operand in
// memory where that is allowed.
func (k *vec) ld(name string) reg.VecVirtual {
	if k.mask == nil {
		return k.load(k.addr(name))
	}
	r := k.reg()
	VMOVUPS_Z(k.addr(name), k.mask, r)
	return r
}

func (k *vec) at(name string) Op {
	if k.mask == nil {
		return k.addr(name)
	}
	return k.ld(name)
}

func (k *vec) st(name string, v Op) {
	if k.mask == nil {
		VMOVUPS(v, k.addr(name))
		return
	}
	VMOVUPS(v, k.mask, k.addr(name))
}

// The operations below return x op y in a new register; y may be in memory.

func (k *vec) op(f func(...Op), x, y Op) reg.VecVirtual {
	r := k.reg()
	f(y, x, r)
	return r
}

func (k *vec) add(x, y Op) reg.VecVirtual { return k.op(VADDPS, x, y) }
func (k *vec) sub(x, y Op) reg.VecVirtual { return k.op(VSUBPS, x, y) }
func (k *vec) mul(x, y Op) reg.VecVirtual { return k.op(VMULPS, x, y) }
func (k *vec) div(x, y Op) reg.VecVirtual { return k.op(VDIVPS, x, y) }
func (k *vec) max(x, y Op) reg.VecVirtual { return k.op(VMAXPS, x, y) }
func (k *vec) min(x, y Op) reg.VecVirtual { return k.op(VMINPS, x, y) }
func (k *vec) and(x, y Op) reg.VecVirtual { return k.op(VANDPS, x, y) }
func (k *vec) or(x, y Op) reg.VecVirtual  { return k.op(VORPS, x, y) }

func (k *vec) addInt(x, y Op) reg.VecVirtual { return k.op(VPADDD, x, y) }
func (k *vec) subInt(x, y Op) reg.VecVirtual { return k.op(VPSUBD, x, y) }
func (k *vec) shl(n uint8, x Op) reg.VecVirtual {
	return k.op(VPSLLD, x, U8(n))
}
func (k *vec) sar(n uint8, x Op) reg.VecVirtual { return k.op(VPSRAD, x, U8(n)) }

// clip bounds x; a NaN in x passes, since VMAXPS returns its second operand.
func (k *vec) clip(x, lo, hi Op) reg.VecVirtual { return k.min(hi, k.max(lo, x)) }

// rne rounds to the nearest integer, ties to even.
func (k *vec) rne(x Op) reg.VecVirtual {
	r := k.reg()
	if k.zmm {
		VRNDSCALEPS(U8(8), x, r)
	} else {
		VROUNDPS(U8(8), x, r)
	}
	return r
}

// Comparison predicates, quiet and false on NaN, but notLess.
const (
	equal   = 0x00
	less    = 0x11
	greater = 0x1e
	notLess = 0x15
)

// cmp returns the condition x pred y: a mask register or a vector of ones.
func (k *vec) cmp(pred uint8, x, y Op) Op {
	if k.zmm {
		m := K()
		VCMPPS(U8(pred), y, x, m)
		return m
	}
	m := k.reg()
	VCMPPS(U8(pred), y, x, m)
	return m
}

func (k *vec) both(a, b Op) Op {
	if k.zmm {
		m := K()
		KANDW(a, b, m)
		return m
	}
	return k.and(a, b)
}

// keep is v, which may be in memory, where the condition holds, else 0.
func (k *vec) keep(cond, v Op) reg.VecVirtual {
	if k.zmm {
		r := k.reg()
		VMOVUPS_Z(v, cond, r)
		return r
	}
	return k.and(cond, v)
}

// sel is yes where the condition holds, else no; yes may be in memory.
func (k *vec) sel(cond, yes, no Op) reg.VecVirtual {
	r := k.reg()
	if k.zmm {
		VBLENDMPS(yes, no, cond, r)
	} else {
		VBLENDVPS(cond, yes, no, r)
	}
	return r
}
