package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// preTokenizer is a list of cuts: each is applied to every piece of the one
// before.
type preTokenizer []cut

// cut calls yield with the pieces of p that are not empty, in order.
type cut func(p aligned, track bool, yield func(aligned))

func (t preTokenizer) split(p aligned, track bool, yield func(aligned)) {
	if len(t) == 0 {
		yield(p)
		return
	}
	t[0](p, track, func(q aligned) { t[1:].split(q, track, yield) })
}

// behavior tells what becomes of a delimiter.
type behavior int

const (
	removed behavior = iota
	isolated
	mergedWithPrevious
	mergedWithNext
	contiguous
)

var behaviors = map[string]behavior{
	"Removed": removed, "Isolated": isolated, "MergedWithPrevious": mergedWithPrevious,
	"MergedWithNext": mergedWithNext, "Contiguous": contiguous,
}

// match is a range of bytes, a delimiter or what stands between two.
type match struct {
	i, j  int
	delim bool
}

// cutAt cuts by a list of ranges that cover a text.
func cutAt(p aligned, all []match, b behavior, yield func(aligned)) {
	var out []match
	for k, m := range all {
		n := len(out)
		switch {
		case m.i == m.j:
		case b == removed && m.delim:
		case b == contiguous && n > 0 && out[n-1].j == m.i && out[n-1].delim == m.delim,
			b == mergedWithPrevious && m.delim && n > 0 && !out[n-1].delim:
			out[n-1].j, out[n-1].delim = m.j, m.delim
		case b == mergedWithNext && m.delim && k+1 < len(all) && !all[k+1].delim:
			all[k+1].i = m.i
		default:
			out = append(out, m)
		}
	}
	for _, m := range out {
		yield(p.slice(m.i, m.j))
	}
}

// byRune cuts where a predicate holds: each such character is a delimiter.
func byRune(is func(r rune) bool, b behavior) cut {
	return func(p aligned, _ bool, yield func(aligned)) {
		var all []match
		eachRune(p.s, func(r rune, i, j int) {
			d := is(r)
			if n := len(all); !d && n > 0 && !all[n-1].delim {
				all[n-1].j = j
				return
			}
			all = append(all, match{i, j, d})
		})
		cutAt(p, all, b, yield)
	}
}

// byString cuts at a string that is not empty.
func byString(sep string, b behavior) cut {
	return func(p aligned, _ bool, yield func(aligned)) {
		var all []match
		at := 0
		for {
			i := strings.Index(p.s[at:], sep)
			if i < 0 {
				break
			}
			if i > 0 {
				all = append(all, match{at, at + i, false})
			}
			at += i + len(sep)
			all = append(all, match{at - len(sep), at, true})
		}
		cutAt(p, append(all, match{at, len(p.s), false}), b, yield)
	}
}

// byScanner cuts into the tokens of a scanner, which returns the length of the
// first one of a text; each is a delimiter of its own.
func byScanner(next func(s string) int) cut {
	return func(p aligned, _ bool, yield func(aligned)) {
		for i := 0; i < len(p.s); {
			n := next(p.s[i:])
			yield(p.slice(i, i+n))
			i += n
		}
	}
}

// isPunctuation is what BERT cuts at: ASCII punctuation and category P of its
// day.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= '!' && r <= '/' || r >= ':' && r <= '@' || r >= '[' && r <= '`' || r >= '{' && r <= '~'
	}
	return bertPunctuation.has(r)
}

// bertCuts are words and single punctuation characters.
var bertCuts = preTokenizer{byRune(unicode.IsSpace, removed), byRune(isPunctuation, isolated)}

// prefixSpace puts a space before a piece that does not begin with one.
func prefixSpace(p aligned, track bool, yield func(aligned)) {
	if !strings.HasPrefix(p.s, " ") {
		p = prepend(" ")(p, track)
	}
	yield(p)
}

// When a metaspace goes before a text.
const (
	prependAlways = iota
	prependFirst
	prependNever
)

// metaspace makes spaces a visible mark, puts one before the text, and cuts
// before each mark if asked to.
func metaspace(mark string, scheme int, split bool) preTokenizer {
	replace := replaceAll(" ", mark)
	before := prepend(mark)
	t := preTokenizer{func(p aligned, track bool, yield func(aligned)) {
		start := p.atStart()
		p = replace(p, track)
		if (scheme == prependAlways || scheme == prependFirst && start) && !strings.HasPrefix(p.s, mark) {
			p = before(p, track)
		}
		yield(p)
	}}
	if split {
		t = append(t, byString(mark, mergedWithNext))
	}
	return t
}

// whitespaceCuts are words and runs of other characters that are not space:
// \w+|[^\w\s]+.
func whitespaceCuts(p aligned, _ bool, yield func(aligned)) {
	kind := func(r rune) int {
		switch {
		case isWord(r):
			return 1
		case unicode.IsSpace(r):
			return 0
		}
		return 2
	}
	from, was := 0, 0
	eachRune(p.s, func(r rune, i, j int) {
		if k := kind(r); k != was {
			if was != 0 {
				yield(p.slice(from, i))
			}
			from, was = i, k
		}
	})
	if was != 0 {
		yield(p.slice(from, len(p.s)))
	}
}
