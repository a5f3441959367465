package text

import (
	"strings"
	"unicode/utf8"
)

// wordPiece cuts a word into the longest tokens of the vocabulary from the
// left (Wu et al. 2016; greedy as in BERT).
type wordPiece struct {
	start   trie // tokens that begin a word
	inside  trie // tokens that go on with one, without their prefix
	unknown int32
	longest int // in characters; a longer word is unknown
}

func newWordPiece(tokens []string, prefix string, unknown int32, longest int) *wordPiece {
	m := &wordPiece{unknown: unknown, longest: longest}
	for i, s := range tokens {
		if s == "" {
			continue
		}
		m.start.put(s, int32(i))
		if rest, ok := strings.CutPrefix(s, prefix); ok && rest != "" {
			m.inside.put(rest, int32(i))
		}
	}
	return m
}

func (m *wordPiece) tokenize(s string, w *scratch) {
	before := len(w.out)
	if utf8.RuneCountInString(s) <= m.longest {
		from := &m.start
		for at := 0; at < len(s); {
			id, n := from.longest(s[at:])
			if n == 0 {
				w.out = w.out[:before]
				break
			}
			w.out = append(w.out, token{id, int32(at), int32(at + n)})
			at += n
			from = &m.inside
		}
	}
	if len(w.out) == before {
		w.out = append(w.out, token{m.unknown, 0, int32(len(s))})
	}
}
