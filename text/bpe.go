package text

import (
	"fmt"
	"math"
	"unicode/utf8"
)

// bpe merges pairs of symbols, best rank first and leftmost of equal ones,
// until no pair of the text has a rank (Sennrich et al. 2016).
type bpe struct {
	pairs table // left<<32 | right -> rank, merged id
	// bytes gives the id of each byte: the first symbols of a byte-level
	// model, and what a byte-fallback model writes for unknown characters.
	// -1 where there is none.
	bytes [256]int32
	level bool // the first symbols are bytes, not characters

	chars map[rune]int32 // first symbols of a character model
	// inside holds the pairs of characters that stand side by side in some
	// token: a merge never crosses any other pair, so that the text can be
	// cut there before the merging starts.
	inside   table
	whole    map[string]int32 // pieces that are one token whatever the merges say
	unknown  int32            // -1: unknown characters vanish
	fuse     bool             // one unknown token for a run of them
	fallback bool             // unknown characters as bytes
	late     bool             // bytes and unknowns come after merging (sentencepiece)
	tokens   int32            // symbols from this on are characters that are no token
}

func newBPE() *bpe {
	m := &bpe{unknown: -1}
	for i := range m.bytes {
		m.bytes[i] = -1
	}
	return m
}

func pairKey(a, b int32) uint64 { return uint64(uint32(a))<<32 | uint64(uint32(b)) }

// bpeWork is the working memory of merging: parallel lists of symbols.
type bpeWork struct {
	id   []int32 // symbol
	at   []int32 // its first byte; one more than id, the last being the end
	rank []int32 // of the pair that begins here, noRank if it has none
	into []int32 // what that pair becomes
	next []int32 // links and queue of the long case
	prev []int32
	heap []uint64 // rank<<32 | symbol
}

const noRank = math.MaxInt32

// shortWord is the number of symbols up to which all pairs are looked at for
// each merge; a queue takes over before the square of it hurts.
const shortWord = 96

func (m *bpe) tokenize(s string, w *scratch) {
	if id, ok := m.whole[s]; ok {
		w.out = append(w.out, token{id, 0, int32(len(s))})
		return
	}
	if m.level {
		m.byBytes(s, w)
		return
	}
	m.byChars(s, w)
}

func (m *bpe) byBytes(s string, w *scratch) {
	b := &w.work
	b.reset()
	for i := range len(s) {
		if id := m.bytes[s[i]]; id >= 0 {
			b.add(id, i)
		} else if m.unknown >= 0 {
			b.add(m.unknown, i)
		}
	}
	m.merge(b, len(s), w)
}

// byChars cuts s where no token spans, and merges each part.
func (m *bpe) byChars(s string, w *scratch) {
	b := &w.work
	b.reset()
	before := rune(-1)
	eachRune(s, func(r rune, i, j int) {
		if before >= 0 {
			if _, _, ok := m.inside.get(pairKey(before, r)); !ok {
				m.merge(b, i, w)
				b.reset()
			}
		}
		before = r
		m.addChar(b, s[i:j], r, i)
	})
	m.merge(b, len(s), w)
	if m.late {
		m.resolve(s, w)
	} else if m.fuse {
		m.fuseUnknown(w)
	}
}

// unresolved stands for a character that is no symbol, until resolve.
const unresolved = -2

// addChar appends the first symbols of one character.
func (m *bpe) addChar(b *bpeWork, s string, r rune, at int) {
	id, ok := m.chars[r]
	if r == utf8.RuneError && len(s) == 1 { // a bad byte
		ok = false
	}
	switch {
	case ok:
		b.add(id, at)
	case m.late:
		b.add(unresolved, at)
	case m.fallback && m.hasBytes(s):
		for k := range len(s) {
			b.add(m.bytes[s[k]], at+k)
		}
	case m.unknown >= 0:
		b.add(m.unknown, at)
	}
}

func (m *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if m.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}

// fuseUnknown joins runs of unknown tokens.
func (m *bpe) fuseUnknown(w *scratch) {
	out := w.out[:0]
	for _, t := range w.out {
		if n := len(out); t.id == m.unknown && n > 0 && out[n-1].id == m.unknown && out[n-1].end == t.start {
			out[n-1].end = t.end
			continue
		}
		out = append(out, t)
	}
	w.out = out
}

// resolve writes bytes, or the unknown token, for symbols that are no token.
func (m *bpe) resolve(s string, w *scratch) {
	all := append([]token(nil), w.out...)
	w.out = w.out[:0]
	for _, t := range all {
		switch part := s[t.start:t.end]; {
		case t.id >= 0 && t.id < m.tokens:
			w.out = append(w.out, t)
		case m.fallback && m.hasBytes(part):
			for k := range len(part) {
				w.out = append(w.out, token{m.bytes[part[k]], t.start + int32(k), t.start + int32(k) + 1})
			}
		case m.unknown >= 0:
			w.out = append(w.out, token{m.unknown, t.start, t.end})
		}
	}
	if m.fuse {
		m.fuseUnknown(w)
	}
}

func (b *bpeWork) reset() { b.id, b.at = b.id[:0], b.at[:0] }

func (b *bpeWork) add(id int32, at int) {
	b.id, b.at = append(b.id, id), append(b.at, int32(at))
}

// pair returns rank and result of a pair of symbols.
func (m *bpe) pair(a, b int32) (rank, into int32) {
	if a < 0 || b < 0 {
		return noRank, 0
	}
	rank, into, ok := m.pairs.get(pairKey(a, b))
	if !ok {
		return noRank, 0
	}
	return rank, into
}

// merge appends to w.out what the symbols of b become; the text ends at end.
func (m *bpe) merge(b *bpeWork, end int, w *scratch) {
	n := len(b.id)
	if n == 0 {
		return
	}
	b.at = append(b.at, int32(end))
	b.rank, b.into = b.rank[:0], b.into[:0]
	for i := range n - 1 {
		r, to := m.pair(b.id[i], b.id[i+1])
		b.rank, b.into = append(b.rank, r), append(b.into, to)
	}
	b.rank, b.into = append(b.rank, noRank), append(b.into, 0)
	if n <= shortWord {
		m.mergeShort(b)
		for i, id := range b.id {
			w.out = append(w.out, token{id, b.at[i], b.at[i+1]})
		}
		return
	}
	m.mergeLong(b)
	for i := int32(0); i >= 0; i = b.next[i] {
		stop := int32(end)
		if k := b.next[i]; k >= 0 {
			stop = b.at[k]
		}
		w.out = append(w.out, token{b.id[i], b.at[i], stop})
	}
}

// mergeShort looks at all pairs for each merge and closes the gap.
func (m *bpe) mergeShort(b *bpeWork) {
	for n := len(b.id); n > 1; n-- {
		best, at := int32(noRank), -1
		for i, r := range b.rank[:n-1] {
			if r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			return
		}
		b.id[at] = b.into[at]
		copy(b.id[at+1:], b.id[at+2:])
		copy(b.at[at+1:], b.at[at+2:])
		copy(b.rank[at+1:], b.rank[at+2:])
		copy(b.into[at+1:], b.into[at+2:])
		b.id, b.at = b.id[:n-1], b.at[:n]
		b.rank, b.into = b.rank[:n-1], b.into[:n-1]
		b.rank[at] = noRank
		if at+1 < n-1 {
			b.rank[at], b.into[at] = m.pair(b.id[at], b.id[at+1])
		}
		if at > 0 {
			b.rank[at-1], b.into[at-1] = m.pair(b.id[at-1], b.id[at])
		}
	}
}

// mergeLong keeps the pairs in a queue: n log n for any text.
func (m *bpe) mergeLong(b *bpeWork) {
	n := int32(len(b.id))
	b.next, b.prev, b.heap = b.next[:0], b.prev[:0], b.heap[:0]
	for i := range n {
		b.next, b.prev = append(b.next, i+1), append(b.prev, i-1)
		if b.rank[i] != noRank {
			b.heap = append(b.heap, pairKey(b.rank[i], i))
		}
	}
	b.next[n-1] = -1
	for i := len(b.heap)/2 - 1; i >= 0; i-- {
		sink(b.heap, i)
	}
	refresh := func(i int32) {
		b.rank[i] = noRank
		if k := b.next[i]; k >= 0 {
			b.rank[i], b.into[i] = m.pair(b.id[i], b.id[k])
		}
		if b.rank[i] != noRank {
			b.heap = append(b.heap, pairKey(b.rank[i], i))
			rise(b.heap)
		}
	}
	for len(b.heap) > 0 {
		top := b.heap[0]
		last := len(b.heap) - 1
		b.heap[0] = b.heap[last]
		b.heap = b.heap[:last]
		sink(b.heap, 0)
		i := int32(uint32(top))
		if b.rank[i] != int32(top>>32) {
			continue // the pair has changed since
		}
		k := b.next[i]
		b.id[i] = b.into[i]
		b.rank[k] = noRank
		b.next[i] = b.next[k]
		if b.next[k] >= 0 {
			b.prev[b.next[k]] = i
		}
		refresh(i)
		if b.prev[i] >= 0 {
			refresh(b.prev[i])
		}
	}
}

// sink restores a heap whose element i may be too large.
func sink(h []uint64, i int) {
	for {
		k := 2*i + 1
		if k >= len(h) {
			return
		}
		if k+1 < len(h) && h[k+1] < h[k] {
			k++
		}
		if h[i] <= h[k] {
			return
		}
		h[i], h[k] = h[k], h[i]
		i = k
	}
}

// rise restores a heap whose last element may be too small.
func rise(h []uint64) {
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] <= h[i] {
			return
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

// addMerges fills the pairs in order of rank. ids finds a symbol.
func (m *bpe) addMerges(merges [][2]string, ids map[string]int32) error {
	for rank, p := range merges {
		a, okA := ids[p[0]]
		b, okB := ids[p[1]]
		to, ok := ids[p[0]+p[1]]
		if !okA || !okB || !ok {
			return fmt.Errorf("merge %d of %s and %s: parts and result must be in the vocabulary", rank, quote(p[0]), quote(p[1]))
		}
		m.pairs.put(pairKey(a, b), int32(rank), to)
	}
	return nil
}

// noteInside records the character pairs of a token.
func (m *bpe) noteInside(token string) {
	before := rune(-1)
	for _, r := range token {
		if before >= 0 {
			m.inside.put(pairKey(before, r), 0, 0)
		}
		before = r
	}
}
