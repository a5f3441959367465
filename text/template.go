package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// templatePart is a mark (source -1) or a text (0 or 1).
type templatePart struct {
	id     int32
	source int8
	kind   int32 // segment number
}

// template puts marks around one or two texts.
type template struct {
	single, pair []templatePart
	trimOffsets  bool // offsets leave out the white space around a token
	prefixSpace  bool // but for one space at the start
}

var bare = []templatePart{{source: 0}}
var barePair = []templatePart{{source: 0}, {source: 1}}

// surround is the template of a mark before and after a text; -1 for none.
// A pair of such texts follow each other.
func surround(before, after int32) template {
	var t template
	for k := range int8(2) {
		var one []templatePart
		if before >= 0 {
			one = append(one, templatePart{id: before, source: -1})
		}
		one = append(one, templatePart{source: k})
		if after >= 0 {
			one = append(one, templatePart{id: after, source: -1})
		}
		if k == 0 {
			t.single = one
		}
		t.pair = append(t.pair, one...)
	}
	return t
}

// bertTemplate is [CLS] a [SEP] b [SEP], segment 1 from b on.
func bertTemplate(cls, sep int32) template {
	single := []templatePart{{id: cls, source: -1}, {source: 0}, {id: sep, source: -1}}
	pair := append(single[:3:3], templatePart{source: 1, kind: 1}, templatePart{id: sep, source: -1, kind: 1})
	return template{single: single, pair: pair}
}

// marks counts the tokens that the template itself adds.
func (t *template) marks(parts []templatePart) int {
	n := 0
	for _, p := range parts {
		if p.source < 0 {
			n++
		}
	}
	return n
}

func (t *template) assemble(parts []templatePart, ids [2][]int32, spans [2][]Span) Encoding {
	var e Encoding
	n := len(ids[0]) + len(ids[1]) + len(parts)
	e.IDs, e.Types = make([]int32, 0, n), make([]int32, 0, n)
	e.Sources, e.Offsets = make([]int8, 0, n), make([]Span, 0, n)
	for _, p := range parts {
		list, at := []int32{p.id}, []Span{{}}
		if p.source >= 0 {
			list, at = ids[p.source], spans[p.source]
		}
		e.IDs = append(e.IDs, list...)
		e.Offsets = append(e.Offsets, at...)
		for range list {
			e.Types = append(e.Types, p.kind)
			e.Sources = append(e.Sources, p.source)
		}
	}
	return e
}

// trim leaves the white space at both ends of a token out of its offset in s,
// one character for each, if asked for. The reference spares the space that a
// prefix would have put before the first word.
func (t *template) trim(token, s string, p Span) Span {
	if !t.trimOffsets {
		return p
	}
	blank := func(r rune) bool { return r == byteLevel[' '] || unicode.IsSpace(r) }
	count := utf8.RuneCountInString
	lead := count(token) - count(strings.TrimLeftFunc(token, blank))
	trail := count(token) - count(strings.TrimRightFunc(token, blank))
	if p.Start == 0 && t.prefixSpace {
		lead--
	}
	for ; lead > 0 && p.Start < p.End; lead-- {
		_, n := utf8.DecodeRuneInString(s[p.Start:p.End])
		p.Start += n
	}
	for ; trail > 0 && p.Start < p.End; trail-- {
		_, n := utf8.DecodeLastRuneInString(s[p.Start:p.End])
		p.End -= n
	}
	return p
}
