package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() { sets["amx"] = genAMX }

// genAMX emits integer convolutions on tiles of AMX, registers of 16 rows of 64
// bytes. Neither avo nor Go's assembler knows its instructions: they are bytes.
func genAMX() {
	for _, kind := range []string{"U8", "I32"} {
		tiles(kind, 8, 1)
		for _, bits := range []int{8, 4, 3, 2} {
			tiles(kind, bits, 2)
		}
	}
	peakTiles()
}

// peakTiles: n rounds of four products of whole tiles.
func peakTiles() {
	TEXT("peakTilesAMX", attr.NOSPLIT, "func(n int, config *[64]uint8)")
	Pragma("noescape")
	Load(Param("config"), reg.RAX)
	tileConfig()
	Load(Param("n"), amxK)
	Label("round")
	for acc := byte(0); acc < 4; acc++ {
		tileDot(acc, 4+acc/2, 6+acc%2)
	}
	DECQ(amxK)
	JNZ(LabelRef("round"))
	tileRelease()
	RET()
}

// Registers that the bytes of AMX instructions name.
var (
	amxTable   = reg.RAX // the next pair's entry
	amxLeft    = reg.RBX // tiles left
	amxB       = reg.RCX
	amxBStep   = reg.RDX // from a row of b, or of the sums, to the next
	amxA       = [2]reg.GPPhysical{reg.RSI, reg.RDI}
	amxSums    = reg.RSI // of the pair that goes to c
	amxPixel   = reg.R8  // from a row of a to the next
	amxK       = reg.R9
	amxRuns    = reg.R10
	amxOuts    = reg.R11
	amxScratch = reg.R12
	amxT       = reg.R13
	amxAhead   = reg.R14 // what is fetched ahead
	amxStart   = reg.R15
)

// Fields of the Go type tilesCall.
const (
	tilesK = iota // steps of 64 values in a run
	tilesRuns
	tilesRunSkip // from the end of a run to the next
	tilesOuts
	tilesOutSkip
	tilesPixel  // from a pixel of a to the next
	tilesOut    // from a pixel of c to the next
	tilesWidth  // pixels of a row of c
	tilesGap    // less the pixels between two rows, which are not stored
	tilesRow    // from behind the gap to the next row of c
	tilesCols   // columns of the last vector
	tilesRows   // pixels of a tile
	tilesCount  // tiles
	tilesRate   // lines of the next panel that are fetched ahead at a step
	tilesLines  // lines left to fetch
	tilesSource // where weights of fewer bits lie
	tilesBlocks // blocks left
	tilesPair   // from the sums of a pair of tiles to the next one's
	tilesTurn   // -1 turns that round after each pair: two places are enough; else 0
	tilesShift  // weights of fewer bits are codes times 2^shift
	// What follows is the kernel's own.
	tilesA      // offset of the block in a
	tilesSteps  // steps of 64 values left to unpack
	tilesFirst  // not 0: sums begin with their starts, 0: with what a block left
	tilesSecond // from where the first tile's sums begin to the second one's
	tilesEndB   // where the block's weights end
	tilesBefore // the sums of the pair before, which are not brought to c yet; 0: none
	tilesFields
)

// Fields of a block: its offset in a, steps in a run, runs, from the end of a
// run to the next, steps in all.
var blockFields = []int{tilesA, tilesK, tilesRuns, tilesRunSkip, tilesSteps}

// raw emits the bytes of an instruction that reads the given registers.
func raw(bytes []byte, in ...reg.GPPhysical) {
	for i, b := range bytes {
		n := &ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(b)}}
		if i == 0 {
			n.ISA = []string{"AMX_INT8", "AMX_TILE"}
			for _, r := range in {
				n.Inputs = append(n.Inputs, r)
			}
		}
		Instruction(n)
	}
}

// number is the register's number in an instruction's encoding.
func number(r reg.GPPhysical) byte { return byte(r.PhysicalIndex()) }

// sib is a tile instruction (opcode 4B of map 0F38) with a memory operand
// base + disp, rows index bytes apart; prefix is 2 (F3) or 3 (F2).
func sib(prefix, tile byte, base, index reg.GPPhysical, disp int8) {
	b, x := number(base), number(index)
	raw([]byte{0xc4, 0x82 | (^x>>3&1)<<6 | (^b>>3&1)<<5, 0x78 | prefix, 0x4b, 0x44 | tile<<3, x&7<<3 | b&7, byte(disp)}, base, index)
}

func tileLoad(tile byte, base, index reg.GPPhysical, disp int8)  { sib(3, tile, base, index, disp) }
func tileStore(tile byte, base, index reg.GPPhysical, disp int8) { sib(2, tile, base, index, disp) }

// tileDot: acc += a * b, TDPBUSD.
func tileDot(acc, a, b byte) {
	raw([]byte{0xc4, 0xe2, 0x01 | (^b&15)<<3, 0x5e, 0xc0 | acc<<3 | a})
}

// tileConfig loads the configuration at RAX; tileRelease ends it.
func tileConfig()  { raw([]byte{0xc4, 0xe2, 0x78, 0x49, 0x00}, reg.RAX) }
func tileRelease() { raw([]byte{0xc4, 0xe2, 0x78, 0x49, 0xc0}) }

// tiles: for each entry of a table {offset in a, offset in c, pixels left in
// the row of c}, the sums of t.Rows pixels times nt vectors of output channels,
// two entries at a time. Pixels lie t.Pixel bytes apart in a; runs of k times 64
// values, and groups of runs, as in rows. b is nt vectors for each word, and
// each sum begins with its start. As codes (U8) or sums (I32) the pixels go to
// c; those that a row of c has no room for are dropped.
//
// The sum goes over blocks of weights that fit the first-level cache: each
// passes all pixels, whose sums lie in scratch meanwhile, before the next.
//
// The sums of a pair of tiles go to c while the next pair is multiplied.
//
// While the tiles are multiplied, the panel at ahead is fetched, a few lines at a
// step. Weights of fewer bits lie at t.Source: the first two entries' pass
// unpacks a block to b, two steps before they are multiplied.
func tiles(kind string, bits, nt int) {
	sig := "func(a *uint8, b *int8, c *int32, start *int32"
	if kind == "U8" {
		sig = "func(a *uint8, b *int8, c *uint8, start *int32, m, q *float32"
	}
	TEXT(fmt.Sprintf("tiles%sS%dAMXx%d", kind, bits, nt), attr.NOSPLIT, sig+fmt.Sprintf(", t *[%d]int, table *[3]int, blocks *[%d]int, config *[64]uint8, scratch *uint8, ahead *int8)", tilesFields, len(blockFields)))
	Pragma("noescape")
	Load(Param("t"), amxT)
	e := tilesEnd{kind: kind, nt: nt}
	e.begin()
	Load(Param("config"), reg.RAX)
	tileConfig()
	Load(Param("ahead"), amxAhead)
	MOVQ(field(amxT, tilesPixel), amxPixel)
	MOVQ(I32(int32(64*nt)), amxBStep)
	MOVQ(I32(1), reg.R9)
	MOVQ(reg.R9, field(amxT, tilesFirst))
	XORQ(reg.R9, reg.R9)
	MOVQ(reg.R9, field(amxT, tilesSecond))
	u := unpacker{}
	if bits < 8 {
		u = newUnpacker(bits)
		u.load()
	}
	Label("block")
	tilesBlock()
	if bits < 8 {
		e.unpacked(u)
	}
	Label("pairs")
	CMPQ(amxLeft, I32(2))
	JLT(LabelRef("single"))
	tilesSum("two", 2, nt, fetch)
	Label("stores")
	CMPQ(field(amxT, tilesBefore), I32(0))
	JE(LabelRef("first"))
	e.before(0, "loop")
	tilesKeep(2, nt) // the multiplications have ended by now
	e.before(1, "loop")
	JMP(LabelRef("stored"))
	Label("first")
	tilesKeep(2, nt)
	CMPQ(field(amxT, tilesBlocks), I32(0))
	JNE(LabelRef("kept"))
	Label("stored")
	MOVQ(amxScratch, field(amxT, tilesBefore))
	Label("kept")
	MOVQ(field(amxT, tilesPair), amxK)
	ADDQ(amxK, amxScratch)
	XORQ(field(amxT, tilesTurn), amxK)
	SUBQ(field(amxT, tilesTurn), amxK)
	MOVQ(amxK, field(amxT, tilesPair))
	ADDQ(I32(48), amxTable)
	SUBQ(I32(2), amxLeft)
	JMP(LabelRef("pairs"))
	Label("single")
	TESTQ(amxLeft, amxLeft)
	JZ(LabelRef("flush"))
	tilesSum("one", 1, nt, fetch)
	Label("alone")
	tilesKeep(1, nt)
	Label("flush")
	CMPQ(field(amxT, tilesBlocks), I32(0))
	JNE(LabelRef("end"))
	CMPQ(field(amxT, tilesBefore), I32(0))
	JE(LabelRef("own"))
	e.before(0, "end")
	e.before(1, "end")
	Label("own")
	TESTQ(amxLeft, amxLeft)
	JZ(LabelRef("end"))
	MOVQ(amxScratch, amxSums)
	e.store(0, 0, "last")
	Label("end")
	tilesNextBlock(bits, nt)
	tileRelease()
	VZEROUPPER()
	RET()
}

// tilesBlock begins a block.
func tilesBlock() {
	p := amxStart
	Load(Param("blocks"), p)
	for i, f := range blockFields {
		MOVQ(field(p, i), amxK)
		MOVQ(amxK, field(amxT, f))
	}
	ADDQ(I32(int32(8*len(blockFields))), p)
	store("blocks", p)
	DECQ(field(amxT, tilesBlocks))
	Load(Param("table"), amxTable)
	Load(Param("scratch"), amxScratch)
	MOVQ(field(amxT, tilesCount), amxLeft)
	XORQ(amxK, amxK)
	MOVQ(amxK, field(amxT, tilesBefore))
}

// tilesNextBlock goes on to the next block, if there is one.
func tilesNextBlock(bits, nt int) {
	CMPQ(field(amxT, tilesBlocks), I32(0))
	JE(LabelRef("done"))
	XORQ(amxK, amxK)
	MOVQ(amxK, field(amxT, tilesFirst))
	MOVQ(I32(int32(1024*nt)), amxK)
	MOVQ(amxK, field(amxT, tilesSecond))
	if bits == 8 {
		MOVQ(field(amxT, tilesEndB), amxK)
		store("b", amxK)
	}
	JMP(LabelRef("block"))
	Label("done")
}

// store changes an argument.
func store(name string, r reg.Register) {
	addr, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	MOVQ(r, addr.Addr)
}

// fetch is what a step does beside: it fetches lines of the next panel.
func fetch(tag string) {
	n := reg.R15
	MOVQ(field(amxT, tilesLines), n)
	SUBQ(field(amxT, tilesRate), n)
	JL(LabelRef("fetched" + tag))
	MOVQ(n, field(amxT, tilesLines))
	MOVQ(field(amxT, tilesRate), n)
	Label("fetch" + tag)
	PREFETCHT1(Mem{Base: amxAhead})
	ADDQ(I32(64), amxAhead)
	DECQ(n)
	JNZ(LabelRef("fetch" + tag))
	Label("fetched" + tag)
}

// tilesSum sums mt tiles of pixels, which tilesKeep brings into the scratch,
// [pixel][nt vectors].
// Tiles 0 to 3 are the sums, 4 and 5 pixels, 6 and 7 weights.
func tilesSum(tag string, mt, nt int, beside func(tag string)) {
	for i := 0; i < mt; i++ {
		Load(Param("a"), amxA[i])
		ADDQ(field(amxT, tilesA), amxA[i])
		ADDQ(Mem{Base: amxTable, Disp: 24 * i}, amxA[i])
	}
	Load(Param("b"), amxB)
	MOVQ(amxScratch, amxStart)
	MOVQ(amxBStep, amxK)
	CMPQ(field(amxT, tilesFirst), I32(0))
	JE(LabelRef("begun" + tag))
	Load(Param("start"), amxStart)
	XORQ(amxK, amxK) // the same row 16 times
	Label("begun" + tag)
	for i := 0; i < mt; i++ {
		for j := 0; j < nt; j++ {
			tileLoad(byte(2*i+j), amxStart, amxK, int8(64*j))
		}
		if i+1 < mt {
			ADDQ(field(amxT, tilesSecond), amxStart)
		}
	}
	MOVQ(field(amxT, tilesOuts), amxOuts)
	Label("out" + tag)
	MOVQ(field(amxT, tilesRuns), amxRuns)
	Label("run" + tag)
	MOVQ(field(amxT, tilesK), amxK)
	Label("k" + tag)
	for i := 0; i < mt; i++ {
		tileLoad(byte(4+i), amxA[i], amxPixel, 0)
		for j := 0; j < nt; j++ {
			if i == 0 {
				tileLoad(byte(6+j), amxB, amxBStep, int8(64*j))
			}
			tileDot(byte(2*i+j), byte(4+i), byte(6+j))
		}
	}
	beside(tag)
	for i := 0; i < mt; i++ {
		ADDQ(I32(64), amxA[i])
	}
	ADDQ(I32(int32(1024*nt)), amxB)
	DECQ(amxK)
	JNZ(LabelRef("k" + tag))
	for i := 0; i < mt; i++ {
		ADDQ(field(amxT, tilesRunSkip), amxA[i])
	}
	DECQ(amxRuns)
	JNZ(LabelRef("run" + tag))
	for i := 0; i < mt; i++ {
		ADDQ(field(amxT, tilesOutSkip), amxA[i])
	}
	DECQ(amxOuts)
	JNZ(LabelRef("out" + tag))
	MOVQ(amxB, field(amxT, tilesEndB))
}

// tilesKeep stores mt tiles of sums.
func tilesKeep(mt, nt int) {
	for i := 0; i < mt; i++ {
		MOVQ(amxScratch, amxB)
		ADDQ(I32(int32(1024*nt*i)), amxB)
		for j := 0; j < nt; j++ {
			tileStore(byte(2*i+j), amxB, amxBStep, int8(64*j))
		}
	}
}
