package text

import (
	"unicode"
	"unicode/utf8"
)

// scanner cuts text as the regular expressions of the GPT family do, without a
// regular expression: each alternative is tried once, in time that is linear
// in the token. The family:
//
//	contraction | letters | digits | others | white space
//
// with \s+(?!\S)|\s+ at the end: white space leaves its last character to the
// word after it.
type scanner struct {
	// foldCase takes 'S like 's.
	foldCase bool
	// anyPrefix lets letters take one character before them that is neither
	// letter, digit nor line end ([^\r\n\p{L}\p{N}]?); else one space may
	// stand before letters and before digits.
	anyPrefix bool
	// digits is the longest run of digits; 0 for any length.
	digits int
	// lineEnds makes line ends part of others before them, and cuts white
	// space after its last line end (\s*[\r\n]+).
	lineEnds bool
}

// The known regular expressions, spelled as tokenizer.json does.
var knownScanners = map[string]scanner{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                          gpt2Scanner,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: llama3Scanner,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      qwen2Scanner,
}

var (
	gpt2Scanner   = scanner{}
	llama3Scanner = scanner{foldCase: true, anyPrefix: true, digits: 3, lineEnds: true}
	qwen2Scanner  = scanner{foldCase: true, anyPrefix: true, digits: 1, lineEnds: true}
)

// class is what a scanner needs to know of a character.
type class uint8

const (
	other class = iota
	letter
	digit
	space
	lineEnd // \r or \n: white space too
)

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for r := range rune(utf8.RuneSelf) {
		t[r] = slowClass(r)
	}
	return t
}()

func slowClass(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return digit
	case r == '\r' || r == '\n':
		return lineEnd
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// classAt returns the class and length of the character at s[i:]; length 0 at
// the end. A bad byte is other.
func classAt(s string, i int) (class, int) {
	if i >= len(s) {
		return other, 0
	}
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return slowClass(r), n
}

func isSpaceClass(c class) bool { return c >= space }

// run returns where the characters of one class that begin at i end; at most
// limit of them if limit > 0.
func run(s string, i int, c class, limit int) int {
	for n := 1; ; n++ {
		k, size := classAt(s, i)
		if size == 0 || k != c {
			return i
		}
		i += size
		if n == limit {
			return i
		}
	}
}

// next returns the length of the first token of s, which is not empty.
func (o *scanner) next(s string) int {
	if s[0] == '\'' {
		if n := contraction(s, o.foldCase); n > 0 {
			return n
		}
	}
	c, n := classAt(s, 0)
	after, _ := classAt(s, n)
	more := n < len(s)
	switch {
	case c == letter:
		return run(s, n, letter, 0)
	case more && after == letter && (s[0] == ' ' || o.anyPrefix && (c == other || c == space)):
		return run(s, n, letter, 0)
	case c == digit:
		if o.digits == 1 {
			return n
		}
		return run(s, n, digit, max(0, o.digits-1))
	case more && after == digit && s[0] == ' ' && !o.anyPrefix:
		return run(s, n, digit, 0)
	case c == other || more && after == other && s[0] == ' ':
		end := run(s, n, other, 0)
		for o.lineEnds && end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	return o.white(s)
}

// white returns the length of the white space token that s begins with.
func (o *scanner) white(s string) int {
	end, last, ends := 0, 0, 0 // end; begin of the last character; after the last line end
	for {
		c, n := classAt(s, end)
		if n == 0 || !isSpaceClass(c) {
			break
		}
		last = end
		if end += n; c == lineEnd {
			ends = end
		}
	}
	switch {
	case o.lineEnds && ends > 0:
		return ends
	case end == len(s) || last == 0:
		return end
	}
	return last
}

// contraction returns the length of 's 't 're 've 'm 'll or 'd at the start of
// s; 0 if there is none.
func contraction(s string, fold bool) int {
	if len(s) < 2 {
		return 0
	}
	at := func(i int) byte {
		if i >= len(s) {
			return 0
		}
		if b := s[i]; fold && b >= 'A' && b <= 'Z' {
			return b | 0x20
		}
		return s[i]
	}
	switch a, b := at(1), at(2); {
	case a == 's' || a == 't' || a == 'm' || a == 'd':
		return 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return 3
	}
	if fold && len(s) >= 3 && s[1:3] == "ſ" { // U+017F folds to s
		return 3
	}
	return 0
}
