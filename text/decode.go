package text

import (
	"strings"
	"unicode/utf8"
)

// How a decoder reads tokens.
const (
	decodeWords  = iota // as they are, with spaces between
	decodePieces        // as they are, after replacements
	decodeBytes         // byte-level: each character is a byte
	decodeBert          // words, and parts with a prefix
)

// decoder turns tokens back into text.
type decoder struct {
	kind         int
	replace      [][2]string // pieces: in order
	byteFallback bool        // pieces: <0xE2> is a byte
	stripLeft    int         // spaces to take off the start of the text
	prefix       string      // bert: of a part inside a word
	cleanup      bool        // bert: no space before punctuation

	raw    [][]byte // per id: its bytes
	isByte []bool   // per id: a byte of byte fallback
}

// prepare makes the bytes of each id.
func (d *decoder) prepare(tokens []string) {
	d.raw = make([][]byte, len(tokens))
	d.isByte = make([]bool, len(tokens))
	for i, s := range tokens {
		switch d.kind {
		case decodeBytes:
			if b, ok := fromByteLevel(s); ok {
				d.raw[i] = b
				continue
			}
		case decodePieces:
			if b, ok := byteToken(s); ok && d.byteFallback {
				d.raw[i], d.isByte[i] = []byte{b}, true
				continue
			}
			for _, r := range d.replace {
				s = strings.ReplaceAll(s, r[0], r[1])
			}
		}
		d.raw[i] = []byte(s)
	}
}

// byteLevel gives the character of each byte in byte-level tokens: printable
// ones stand for themselves, the others for those from U+0100 on.
var byteLevel, fromLevel = func() (to [256]rune, from map[rune]byte) {
	from = map[rune]byte{}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r = next
			next++
		}
		to[b], from[r] = r, byte(b)
	}
	return to, from
}()

// fromByteLevel returns the bytes of a byte-level token; false if it has a
// character that is none.
func fromByteLevel(s string) ([]byte, bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		b, ok := fromLevel[r]
		if !ok {
			return nil, false
		}
		out = append(out, b)
	}
	return out, true
}

// Decode returns the text of ids. Ids outside the vocabulary are left out;
// with plain, special tokens too. Bytes that are no UTF-8 come as U+FFFD: one
// for each longest beginning of a character in byte-level models, one a byte
// in byte fallback, as sentencepiece does.
func (t *Tokenizer) Decode(ids []int32, plain bool) string {
	s := t.NewStream(plain)
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(s.Push(id))
	}
	b.WriteString(s.Flush())
	return b.String()
}

// Stream decodes ids as they come: what it has returned so far is always whole
// characters. It is not safe for concurrent use.
type Stream struct {
	t       *Tokenizer
	plain   bool
	started bool
	strip   int
	held    []byte // bytes that do not yet make a character
}

// NewStream starts a text; with plain, special tokens are left out.
func (t *Tokenizer) NewStream(plain bool) *Stream {
	return &Stream{t: t, plain: plain, strip: t.dec.stripLeft}
}

// Push takes the next id and returns the text that is certain by now, often
// "". The pieces and Flush joined are Decode's result.
func (s *Stream) Push(id int32) string {
	d := &s.t.dec
	if id < 0 || int(id) >= len(d.raw) || s.plain && s.t.special[id] {
		return ""
	}
	raw := d.raw[id]
	switch d.kind {
	case decodeBytes:
		s.held = append(s.held, raw...)
		return s.take()
	case decodePieces:
		var out string
		if d.isByte[id] {
			s.held = append(s.held, raw...)
			if out = s.take(); out == "" {
				return ""
			}
		} else {
			out = s.Flush() + string(raw)
		}
		for s.strip > 0 && strings.HasPrefix(out, " ") {
			out = out[1:]
			s.strip--
		}
		if out != "" {
			s.strip = 0
		}
		return out
	}
	out := string(raw)
	switch rest, part := strings.CutPrefix(out, d.prefix); {
	case d.kind == decodeWords && s.started:
		out = " " + out
	case d.kind == decodeBert && s.started && part:
		out = rest
	case d.kind == decodeBert && s.started:
		out = " " + out
	}
	if d.kind == decodeBert && d.cleanup {
		out = cleanups.Replace(out)
	}
	s.started = true
	return out
}

// cleanups undoes the spaces that tokenizing English puts before punctuation.
var cleanups = strings.NewReplacer(" .", ".", " ?", "?", " !", "!", " ,", ",", " ' ", "'",
	" n't", "n't", " 'm", "'m", " do not", " don't", " 's", "'s", " 've", "'ve", " 're", "'re")

// Flush ends the text: bytes that never became a character are U+FFFD.
func (s *Stream) Flush() string {
	defer func() { s.held = s.held[:0] }()
	out, _ := lossy(s.held, true, s.t.dec.kind == decodePieces)
	return out
}

// take returns the whole characters of what is held.
func (s *Stream) take() string {
	out, n := lossy(s.held, false, s.t.dec.kind == decodePieces)
	s.held = append(s.held[:0], s.held[n:]...)
	return out
}

// lossy turns bytes into text with U+FFFD for each longest beginning of a
// character that is cut short (Unicode 15, section 3.9, practice for
// replacement), or, with single, for each byte of it. Unless last, an
// unfinished character at the end is not taken; n counts the bytes that were.
func lossy(b []byte, last, single bool) (s string, n int) {
	if utf8.Valid(b) {
		return string(b), len(b)
	}
	var out strings.Builder
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r != utf8.RuneError || size > 1 {
			out.Write(b[n : n+size])
			n += size
			continue
		}
		part := begun(b[n:])
		if !last && n+part == len(b) && !utf8.FullRune(b[n:]) {
			break
		}
		if single {
			part = 1
		}
		out.WriteString("\uFFFD")
		n += part
	}
	return out.String(), n
}

// begun returns how many bytes at the start of b could begin a character; at
// least 1.
func begun(b []byte) int {
	for n := min(3, len(b)); n > 1; n-- {
		if !utf8.FullRune(b[:n]) {
			return n
		}
	}
	return 1
}
