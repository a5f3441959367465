package text

import (
	"math"
	"unicode/utf8"
)

// unigram takes the cut of the text whose tokens have the highest sum of
// scores (Kudo 2018), by Viterbi's algorithm.
type unigram struct {
	pieces   trie
	scores   []float64
	unknown  int32
	penalty  float64 // score of an unknown character: the lowest minus ten
	fallback bool
	bytes    [256]int32
}

func newUnigram(tokens []string, scores []float64, unknown int32) *unigram {
	m := &unigram{scores: scores, unknown: unknown, penalty: math.Inf(1)}
	for i, s := range tokens {
		m.penalty = min(m.penalty, scores[i])
		if s != "" {
			m.pieces.put(s, int32(i))
		}
	}
	m.penalty -= 10
	return m
}

// pathStep is the best way to a byte.
type pathStep struct {
	score float64
	from  int32 // where its last token begins; -1: not reached
	id    int32
}

func (m *unigram) tokenize(s string, w *scratch) {
	w.path = w.path[:0]
	for range len(s) + 1 {
		w.path = append(w.path, pathStep{from: -1})
	}
	for i := 0; i < len(s); {
		_, size := utf8.DecodeRuneInString(s[i:])
		here := w.path[i].score
		node, alone := int32(0), false
		for j := i; j < len(s); {
			next, ok := m.pieces.step(node, s[j])
			if !ok {
				break
			}
			node = next
			j++
			if id := m.pieces.value[node]; id >= 0 {
				w.reach(i, j, here+m.scores[id], id)
				alone = alone || j == i+size
			}
		}
		if !alone {
			w.reach(i, i+size, here+m.penalty, m.unknown)
		}
		i += size
	}
	m.backtrack(s, w)
}

// reach notes a way to byte j if it is better than the one known.
func (w *scratch) reach(i, j int, score float64, id int32) {
	if p := &w.path[j]; p.from < 0 || score > p.score {
		*p = pathStep{score, int32(i), id}
	}
}

// backtrack appends the best path; unknown characters side by side are one
// token, or their bytes.
func (m *unigram) backtrack(s string, w *scratch) {
	before := len(w.out)
	for end := int32(len(s)); end > 0; {
		p := w.path[end]
		n := len(w.out)
		if p.id == m.unknown && n > before && w.out[n-1].id == m.unknown {
			w.out[n-1].start = p.from
		} else {
			w.out = append(w.out, token{p.id, p.from, end})
		}
		end = p.from
	}
	list := w.out[before:]
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	if !m.fallback {
		return
	}
	all := append([]token(nil), list...)
	w.out = w.out[:before]
	for _, t := range all {
		if t.id != m.unknown {
			w.out = append(w.out, t)
			continue
		}
		for k := t.start; k < t.end; k++ {
			w.out = append(w.out, token{m.bytes[s[k]], k, k + 1})
		}
	}
}
