package gguf

import "fmt"

// Type is how a tensor's values are stored: plain numbers, or blocks that
// share scales. The numbers are ggml's.
type Type uint32

// The types that this package knows by name. Those without a row function
// (IQ…, MXFP4 and others) can be listed and copied as bytes only.
const (
	F32   Type = 0
	F16   Type = 1
	Q4_0  Type = 2
	Q4_1  Type = 3
	Q5_0  Type = 6
	Q5_1  Type = 7
	Q8_0  Type = 8
	Q2_K  Type = 10
	Q3_K  Type = 11
	Q4_K  Type = 12
	Q5_K  Type = 13
	Q6_K  Type = 14
	I8    Type = 24
	I16   Type = 25
	I32   Type = 26
	I64   Type = 27
	F64   Type = 28
	BF16  Type = 30
	TQ1_0 Type = 34
	TQ2_0 Type = 35
)

// trait says how a type is laid out.
type trait struct {
	name       string
	elements   int // of a block along a row; 1 for plain numbers
	bytes      int // of a block
	dequantize func(dst []float32, b []byte)
	lo, hi     int // the codes that encode takes
	encode     func(b []byte, codes []int8, step uint16)
}

// traits is filled from ggml's table of sizes. IQ and other codebook types
// have sizes only.
var traits = map[Type]trait{
	F32:   {name: "F32", elements: 1, bytes: 4, dequantize: dequantizeF32},
	F16:   {name: "F16", elements: 1, bytes: 2, dequantize: dequantizeF16},
	BF16:  {name: "BF16", elements: 1, bytes: 2, dequantize: dequantizeBF16},
	F64:   {name: "F64", elements: 1, bytes: 8},
	I8:    {name: "I8", elements: 1, bytes: 1},
	I16:   {name: "I16", elements: 1, bytes: 2},
	I32:   {name: "I32", elements: 1, bytes: 4},
	I64:   {name: "I64", elements: 1, bytes: 8},
	Q4_0:  {name: "Q4_0", elements: 32, bytes: 18, dequantize: dequantizeQ4_0, lo: -8, hi: 7, encode: encodeQ4_0},
	Q4_1:  {name: "Q4_1", elements: 32, bytes: 20, dequantize: dequantizeQ4_1},
	Q5_0:  {name: "Q5_0", elements: 32, bytes: 22, dequantize: dequantizeQ5_0, lo: -16, hi: 15, encode: encodeQ5_0},
	Q5_1:  {name: "Q5_1", elements: 32, bytes: 24, dequantize: dequantizeQ5_1},
	Q8_0:  {name: "Q8_0", elements: 32, bytes: 34, dequantize: dequantizeQ8_0, lo: -128, hi: 127, encode: encodeQ8_0},
	Q2_K:  {name: "Q2_K", elements: 256, bytes: 84, dequantize: dequantizeQ2_K, lo: -2, hi: 1, encode: encodeQ2_K},
	Q3_K:  {name: "Q3_K", elements: 256, bytes: 110, dequantize: dequantizeQ3_K, lo: -4, hi: 3, encode: encodeQ3_K},
	Q4_K:  {name: "Q4_K", elements: 256, bytes: 144, dequantize: dequantizeQ4_K, lo: -8, hi: 7, encode: encodeQ4_K},
	Q5_K:  {name: "Q5_K", elements: 256, bytes: 176, dequantize: dequantizeQ5_K, lo: -16, hi: 15, encode: encodeQ5_K},
	Q6_K:  {name: "Q6_K", elements: 256, bytes: 210, dequantize: dequantizeQ6_K, lo: -32, hi: 31, encode: encodeQ6_K},
	TQ1_0: {name: "TQ1_0", elements: 256, bytes: 54, dequantize: dequantizeTQ1_0},
	TQ2_0: {name: "TQ2_0", elements: 256, bytes: 66, dequantize: dequantizeTQ2_0, lo: -1, hi: 1, encode: encodeTQ2_0},

	9:  {name: "Q8_1", elements: 32, bytes: 40},
	15: {name: "Q8_K", elements: 256, bytes: 292},
	16: {name: "IQ2_XXS", elements: 256, bytes: 66},
	17: {name: "IQ2_XS", elements: 256, bytes: 74},
	18: {name: "IQ3_XXS", elements: 256, bytes: 98},
	19: {name: "IQ1_S", elements: 256, bytes: 50},
	20: {name: "IQ4_NL", elements: 32, bytes: 18},
	21: {name: "IQ3_S", elements: 256, bytes: 110},
	22: {name: "IQ2_S", elements: 256, bytes: 82},
	23: {name: "IQ4_XS", elements: 256, bytes: 136},
	29: {name: "IQ1_M", elements: 256, bytes: 56},
	39: {name: "MXFP4", elements: 32, bytes: 17},
	40: {name: "NVFP4", elements: 64, bytes: 36},
	41: {name: "Q1_0", elements: 128, bytes: 18},
	42: {name: "Q2_0", elements: 64, bytes: 18},
}

// String returns ggml's name, such as "Q4_K", or "type(77)".
func (t Type) String() string {
	if tr, ok := traits[t]; ok {
		return tr.name
	}
	return fmt.Sprintf("type(%d)", uint32(t))
}

// BlockElements returns how many neighbours of a row share a block: 1 for
// plain numbers, 0 for an unknown type.
func (t Type) BlockElements() int { return traits[t].elements }

// BlockBytes returns the bytes of a block, 0 for an unknown type.
func (t Type) BlockBytes() int { return traits[t].bytes }

// RowBytes returns the bytes of a row of n values, or an error if the type is
// unknown or n is no multiple of its block.
func (t Type) RowBytes(n int) (int, error) {
	tr, ok := traits[t]
	if !ok {
		return 0, fmt.Errorf("gguf: %v is not known", t)
	}
	if n < 0 || n%tr.elements != 0 {
		return 0, fmt.Errorf("gguf: row of %d values, want a multiple of %d for %v", n, tr.elements, t)
	}
	return n / tr.elements * tr.bytes, nil
}
