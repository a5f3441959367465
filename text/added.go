package text

import (
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is found in the text before any model sees it.
type addedToken struct {
	id         int32
	content    string
	special    bool
	singleWord bool // only where no word character touches it
	lstrip     bool // takes the white space before it
	rstrip     bool // takes the white space after it
}

// added finds added tokens: leftmost, then longest.
type added struct {
	tokens []addedToken
	all    trie // content -> index in tokens
	plain  trie // the same without special tokens
	only   bool // match plain alone
}

func newAdded(tokens []addedToken) added {
	a := added{tokens: tokens}
	for i, t := range tokens {
		if t.content == "" {
			continue
		}
		a.all.put(t.content, int32(i))
		if !t.special {
			a.plain.put(t.content, int32(i))
		}
	}
	return a
}

// ordinary returns the same without special tokens.
func (a added) ordinary() added {
	a.only = true
	return a
}

// split calls f with each added token in p (id >= 0) and the text between
// (id -1), in order.
func (a *added) split(p aligned, f func(p aligned, id int32)) {
	t := &a.all
	if a.only {
		t = &a.plain
	}
	if len(t.value) == 0 {
		if p.s != "" {
			f(p, -1)
		}
		return
	}
	from := 0 // what is not yet given to f
	for i := 0; i < len(p.s); {
		if !t.first[p.s[i]] {
			i++
			continue
		}
		k, n := t.longest(p.s[i:])
		if n == 0 {
			i++
			continue
		}
		tok := &a.tokens[k]
		start, stop := i, i+n
		i = stop
		if tok.singleWord && !standsAlone(p.s, start, stop) {
			continue
		}
		if tok.lstrip {
			start = max(from, trimRight(p.s, start))
		}
		if tok.rstrip {
			stop = trimLeft(p.s, stop)
			i = stop
		}
		if from < start {
			f(p.slice(from, start), -1)
		}
		f(p.slice(start, stop), tok.id)
		from = stop
	}
	if from < len(p.s) {
		f(p.slice(from, len(p.s)), -1)
	}
}

func standsAlone(s string, i, j int) bool {
	before, n := utf8.DecodeLastRuneInString(s[:i])
	after, m := utf8.DecodeRuneInString(s[j:])
	return !(n > 0 && isWord(before)) && !(m > 0 && isWord(after))
}

// isWord is \w of the reference's regular expressions.
func isWord(r rune) bool {
	return unicode.IsOneOf([]*unicode.RangeTable{unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc,
		unicode.Other_Alphabetic, unicode.Join_Control}, r)
}

// trimRight returns where the white space that ends at i begins.
func trimRight(s string, i int) int {
	for i > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:i])
		if !unicode.IsSpace(r) {
			break
		}
		i -= n
	}
	return i
}

// trimLeft returns where the white space that begins at i ends.
func trimLeft(s string, i int) int {
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		if !unicode.IsSpace(r) {
			break
		}
		i += n
	}
	return i
}
