package text

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalizer is a list of rewritings, in order.
type normalizer []rewrite

// rewrite makes new text; track asks for offsets.
type rewrite func(a aligned, track bool) aligned

func (n normalizer) apply(a aligned, track bool) aligned {
	for _, f := range n {
		a = f(a, track)
	}
	return a
}

// mapRunes returns the rewriting that replaces single characters: f returns
// false to keep one.
func mapRunes(f func(r rune) (string, bool)) rewrite {
	return func(a aligned, track bool) aligned {
		b, kept := (*builder)(nil), 0
		eachRune(a.s, func(r rune, i, j int) {
			s, changed := f(r)
			if !changed {
				return
			}
			if b == nil {
				b = newBuilder(a, track)
			}
			b.keep(kept, i)
			b.put(s, i, j)
			kept = j
		})
		if b == nil {
			return a
		}
		b.keep(kept, len(a.s))
		return b.done()
	}
}

// lowercase maps each character alone, without regard to its neighbours.
var lowercase = mapRunes(func(r rune) (string, bool) {
	if r == 'İ' {
		return "i̇", true
	}
	l := unicode.ToLower(r)
	return string(l), l != r
})

// dropMarks removes what BERT takes for accents in decomposed text.
var dropMarks = mapRunes(func(r rune) (string, bool) { return "", r >= 0x300 && bertMarks.has(r) })

// dropAllMarks removes marks of every kind.
var dropAllMarks = mapRunes(func(r rune) (string, bool) { return "", r >= 0x300 && unicode.Is(unicode.M, r) })

// cleanBert removes control characters, and makes white space plain spaces.
var cleanBert = mapRunes(func(r rune) (string, bool) {
	switch {
	case r == ' ' || r > ' ' && r < 0x7F:
		return "", false
	case unicode.IsSpace(r) && !(r >= 0x0B && r <= 0x0C || r == 0x85):
		return " ", true
	case r == 0 || r == utf8.RuneError || bertControls.has(r):
		return "", true
	}
	return "", false
})

// runeRanges are ascending ranges of characters, both ends included.
type runeRanges [][2]rune

func (t runeRanges) has(r rune) bool {
	i := sort.Search(len(t), func(i int) bool { return t[i][1] >= r })
	return i < len(t) && t[i][0] <= r
}

// spaceCJK puts spaces around ideographs.
var spaceCJK = mapRunes(func(r rune) (string, bool) {
	if !isIdeograph(r) {
		return "", false
	}
	return " " + string(r) + " ", true
})

// isIdeograph holds for the ranges that BERT takes as words of one character;
// the gap from U+2B820 on is the reference's.
func isIdeograph(r rune) bool {
	return r >= 0x3400 && (r <= 0x4DBF || r >= 0x4E00 && r <= 0x9FFF || r >= 0xF900 && r <= 0xFAFF ||
		r >= 0x20000 && r <= 0x2A6DF || r >= 0x2A700 && r <= 0x2B81F || r >= 0x2B920 && r <= 0x2CEAF || r >= 0x2F800 && r <= 0x2FA1F)
}

// bertNormalizer is that of BERT, in the reference's order.
func bertNormalizer(clean, cjk, accents, lower bool) normalizer {
	var n normalizer
	if clean {
		n = append(n, cleanBert)
	}
	if cjk {
		n = append(n, spaceCJK)
	}
	if accents {
		n = append(n, decompose(norm.NFD), dropMarks)
	}
	if lower {
		n = append(n, lowercase)
	}
	return n
}

// decompose is NFD or NFKD, character by character so that each part keeps its
// offset, then marks in canonical order.
func decompose(form norm.Form) rewrite {
	return func(a aligned, track bool) aligned {
		if form.IsNormalString(a.s) {
			return a
		}
		if !track {
			return aligned{s: form.String(a.s), base: a.base, lost: true}
		}
		b := newBuilder(a, true)
		eachRune(a.s, func(_ rune, i, j int) { b.put(form.String(a.s[i:j]), i, j) })
		d := b.done()
		return reorder(d)
	}
}

// reorder puts marks into canonical order with their offsets.
func reorder(a aligned) aligned {
	type char struct {
		i, j int
		ccc  uint8
	}
	var run []char
	b := &builder{of: a, track: true}
	flush := func() {
		sort.SliceStable(run, func(x, y int) bool { return run[x].ccc < run[y].ccc })
		for _, c := range run {
			b.keep(c.i, c.j)
		}
		run = run[:0]
	}
	// keep asks a for source ranges byte by byte, so offsets stay source's.
	eachRune(a.s, func(_ rune, i, j int) {
		ccc := norm.NFD.PropertiesString(a.s[i:j]).CCC()
		if ccc == 0 {
			flush()
		}
		run = append(run, char{i, j, ccc})
		if ccc == 0 {
			flush()
		}
	})
	flush()
	return b.done()
}

// compose is NFC or NFKC; what one segment of combining characters becomes has
// the offsets of the whole segment.
func compose(form norm.Form) rewrite {
	return func(a aligned, track bool) aligned {
		if form.IsNormalString(a.s) {
			return a
		}
		if !track {
			return aligned{s: form.String(a.s), base: a.base, lost: true}
		}
		b := newBuilder(a, true)
		for i := 0; i < len(a.s); {
			j := i + form.NextBoundaryInString(a.s[i:], true)
			if part := form.String(a.s[i:j]); part == a.s[i:j] {
				b.keep(i, j)
			} else {
				b.put(part, i, j)
			}
			i = j
		}
		return b.done()
	}
}

// replaceAll replaces a string that is not empty.
func replaceAll(old, with string) rewrite {
	return func(a aligned, track bool) aligned {
		if !strings.Contains(a.s, old) {
			return a
		}
		if !track {
			return aligned{s: strings.ReplaceAll(a.s, old, with), base: a.base, lost: true}
		}
		b := newBuilder(a, true)
		for at := 0; ; {
			i := strings.Index(a.s[at:], old)
			if i < 0 {
				b.keep(at, len(a.s))
				return b.done()
			}
			b.keep(at, at+i)
			b.put(with, at+i, at+i+len(old))
			at += i + len(old)
		}
	}
}

// prepend puts a string before every text that is not empty; it stands for the
// first character.
func prepend(s string) rewrite {
	return func(a aligned, track bool) aligned {
		if a.s == "" {
			return a
		}
		b := newBuilder(a, track)
		_, first := utf8.DecodeRuneInString(a.s)
		b.put(s, 0, first)
		b.keep(0, len(a.s))
		return b.done()
	}
}

// strip removes white space at the ends.
func strip(left, right bool) rewrite {
	return func(a aligned, _ bool) aligned {
		i, j := 0, len(a.s)
		if left {
			i = trimLeft(a.s, 0)
		}
		if right {
			j = max(i, trimRight(a.s, j))
		}
		return a.slice(i, j)
	}
}
