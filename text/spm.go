package text

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// The token types of a GGUF file, those of sentencepiece.
const (
	typeNormal  = 1
	typeUnknown = 2
	typeControl = 3
	typeUser    = 4
	typeUnused  = 5
	typeByte    = 6
)

// metaMark is how sentencepiece writes a space.
const metaMark = "▁"

// scored makes a BPE model of tokens with scores: the pair is merged whose
// token has the highest score. merged tells which tokens take part.
//
// The pairs of symbols that can make a token are all cuts of it into two
// symbols, a symbol being a taking-part token or one character.
func scored(tokens []string, scores []float32, merged func(i int) bool) *bpe {
	m := newBPE()
	m.late, m.tokens = true, int32(len(tokens))
	m.chars = map[rune]int32{}
	symbols := map[string]int32{}
	for i, s := range tokens {
		if s == "" || !merged(i) {
			continue
		}
		symbols[s] = int32(i)
		m.noteInside(s)
	}
	next := int32(len(tokens))
	for _, s := range tokens {
		eachRune(s, func(r rune, i, j int) {
			c := s[i:j]
			if !utf8.ValidString(c) {
				return
			}
			if _, ok := symbols[c]; !ok {
				symbols[c] = next
				next++
			}
			m.chars[r] = symbols[c]
		})
	}
	rank := ranks(scores)
	for i, s := range tokens {
		if symbols[s] != int32(i) || !merged(i) {
			continue
		}
		for k := range s {
			a, okA := symbols[s[:k]]
			b, okB := symbols[s[k:]]
			if k > 0 && okA && okB {
				m.pairs.put(pairKey(a, b), rank[i], int32(i))
			}
		}
	}
	return m
}

// ranks numbers scores from the highest down; equal ones share a number.
func ranks(scores []float32) []int32 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch x, y := scores[a], scores[b]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	r := make([]int32, len(scores))
	for k, i := range order {
		if r[i] = int32(k); k > 0 && scores[order[k-1]] == scores[i] {
			r[i] = r[order[k-1]]
		}
	}
	return r
}

// byteToken returns the byte that <0xE2> stands for.
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	hi, lo := unhex(s[3]), unhex(s[4])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

func unhex(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}

// setBytes finds the byte tokens.
func (m *bpe) setBytes(tokens []string) {
	for i, s := range tokens {
		if b, ok := byteToken(s); ok {
			m.bytes[b] = int32(i)
			m.fallback = true
		}
	}
}

// llamaText sets what all tokenizers of Llama's kind share: spaces are written
// as marks, one goes before the text, and decoding takes it off again.
func (t *Tokenizer) llamaText(spaceBefore bool) {
	t.normal = normalizer{replaceAll(" ", metaMark)}
	t.dec = decoder{kind: decodePieces, replace: [][2]string{{metaMark, " "}}, byteFallback: true}
	if spaceBefore {
		t.normal = normalizer{prepend(" "), replaceAll(" ", metaMark)}
		t.dec.stripLeft = 1
	}
}

// ParseLlama2C reads llama2.c's table of tokens (tokenizer.bin): the longest
// token's length as int32, then for each token its score (float32), length
// (int32) and bytes, little endian. size is the number of tokens, which the
// file does not hold; 0 for as many as there are. Ids 0, 1 and 2 are <unk>, <s>
// and </s>, and 3 to 258 the bytes. Text begins with <s>.
func ParseLlama2C(r io.Reader, size int) (*Tokenizer, error) {
	tokens, scores, err := readLlama2C(r, size)
	if err != nil {
		return nil, err
	}
	return llama2C(tokens, scores)
}

func readLlama2C(r io.Reader, size int) ([]string, []float32, error) {
	var longest int32
	if err := binary.Read(r, binary.LittleEndian, &longest); err != nil || longest < 1 || longest > maxTokenBytes {
		return nil, nil, fmt.Errorf("text: llama2.c table: longest token of %d bytes, want 1..%d", longest, maxTokenBytes)
	}
	var tokens []string
	var scores []float32
	buf := make([]byte, longest)
	for size == 0 || len(tokens) < size {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err == io.EOF && size == 0 {
			break
		} else if err != nil {
			return nil, nil, fmt.Errorf("text: llama2.c table: token %d: %w", len(tokens), err)
		}
		n := int32(binary.LittleEndian.Uint32(head[4:]))
		if n < 0 || n > longest || len(tokens) >= maxTokens {
			return nil, nil, fmt.Errorf("text: llama2.c table: token %d has %d bytes, want 0..%d", len(tokens), n, longest)
		}
		if _, err := io.ReadFull(r, buf[:n]); err != nil {
			return nil, nil, fmt.Errorf("text: llama2.c table: token %d: %w", len(tokens), err)
		}
		tokens = append(tokens, string(buf[:n]))
		scores = append(scores, math.Float32frombits(binary.LittleEndian.Uint32(head[:])))
	}
	return tokens, scores, nil
}

// firstByte is the id of byte 0 in llama2.c's order.
const firstByte = 3

func llama2C(tokens []string, scores []float32) (*Tokenizer, error) {
	if len(tokens) < firstByte+256 {
		return nil, fmt.Errorf("text: llama2.c table: %d tokens, want at least <unk>, <s>, </s> and 256 bytes", len(tokens))
	}
	t := &Tokenizer{}
	names := []string{"<unk>", "<s>", "</s>"}
	for i := range tokens {
		if i < len(names) {
			tokens[i] = names[i]
		}
	}
	m := scored(tokens, scores, func(i int) bool { return i >= firstByte+256 })
	for b := range 256 {
		tokens[firstByte+b] = fmt.Sprintf("<0x%02X>", b)
		m.bytes[b] = int32(firstByte + b)
	}
	m.fallback, m.unknown = true, 0
	t.setTokens(tokens)
	t.model = m
	t.special = map[int32]bool{0: true, 1: true, 2: true}
	t.roles = map[string]int32{"unk": 0, "bos": 1, "eos": 2}
	t.normal = normalizer{prepend(" ")} // the table writes spaces as they are
	t.post = surround(1, -1)
	t.dec = decoder{kind: decodePieces, byteFallback: true, stripLeft: 1}
	t.finish()
	return t, nil
}

// PieceTable is a sentencepiece vocabulary as GGUF holds it.
type PieceTable struct {
	Tokens []string // spaces as U+2581
	Scores []float32
	Types  []int32 // 1 normal, 2 unknown, 3 control, 6 byte
}

// Llama2CTable reads llama2.c's table of tokens as a sentencepiece vocabulary;
// r and size are those of ParseLlama2C.
func Llama2CTable(r io.Reader, size int) (PieceTable, error) {
	tokens, scores, err := readLlama2C(r, size)
	if err != nil {
		return PieceTable{}, err
	}
	if _, err := llama2C(tokens, scores); err != nil { // gives marks and bytes their names
		return PieceTable{}, err
	}
	t := PieceTable{Tokens: tokens, Scores: scores, Types: make([]int32, len(tokens))}
	for i := range tokens {
		switch {
		case i == 0:
			t.Types[i] = 2
		case i < firstByte:
			t.Types[i] = 3
		case i < firstByte+256:
			t.Types[i] = 6
		default:
			t.Types[i] = 1
			tokens[i] = strings.ReplaceAll(tokens[i], " ", "\u2581")
		}
	}
	return t, nil
}
