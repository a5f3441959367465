package data

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"lowbit/internal/rng"
)

// Packed is tokens of many documents in windows of one length, without
// padding: a document may begin anywhere in a window and go on in the next. It
// is safe for concurrent use.
type Packed struct {
	// Length is the number of tokens of a window.
	Length int

	tokens []int32 // all documents, each followed by the end mark
	starts []int32 // where each document begins in tokens
	scored []bool  // tokens that are targets; nil: all
}

// Ignored is the target of a position that no loss counts.
const Ignored = int32(-1)

// Pack makes windows of documents' tokens. Each document is followed by end,
// unless that is -1. What does not fill the last window is left out; it fails
// if not even one is filled.
func Pack(docs [][]int32, end int32, length int) (*Packed, error) {
	p := &Packed{Length: length}
	if length < 1 {
		return nil, fmt.Errorf("data: windows of %d tokens, want at least 1", length)
	}
	for _, d := range docs {
		if len(p.tokens)+len(d) >= math.MaxInt32 {
			return nil, fmt.Errorf("data: more than %d tokens", math.MaxInt32)
		}
		p.starts = append(p.starts, int32(len(p.tokens)))
		p.tokens = append(p.tokens, d...)
		if end >= 0 {
			p.tokens = append(p.tokens, end)
		}
	}
	if p.Len() == 0 {
		return nil, fmt.Errorf("data: %d tokens fill no window of %d and the token after it", len(p.tokens), length)
	}
	return p, nil
}

// Len returns the number of windows.
func (p *Packed) Len() int { return max(0, (len(p.tokens)-1)/p.Length) }

// Tokens returns the number of tokens, end marks counted.
func (p *Packed) Tokens() int { return len(p.tokens) }

// Window fills the three slices, of Length elements each, with window i:
//
//	tokens   the inputs
//	targets  the token after each; Ignored where that is another document's, or
//	         one that is not scored
//	segments the number of the document within the window, from 0: attention
//	         stays inside one; may be nil
//
// Like an index expression it panics if i is outside 0..Len()-1.
func (p *Packed) Window(i int, tokens, targets, segments []int32) {
	from := i * p.Length
	copy(tokens, p.tokens[from:from+p.Length])
	copy(targets, p.tokens[from+1:from+p.Length+1])
	next, found := slices.BinarySearch(p.starts, int32(from))
	for found && next < len(p.starts) && int(p.starts[next]) == from {
		next++
	}
	segment := int32(0)
	for k := range p.Length {
		for next < len(p.starts) && int(p.starts[next]) <= from+k {
			next++
			segment++
		}
		if next < len(p.starts) && int(p.starts[next]) == from+k+1 {
			targets[k] = Ignored
		}
		if p.scored != nil && !p.scored[from+k+1] {
			targets[k] = Ignored
		}
		if segments != nil {
			segments[k] = segment
		}
	}
}

// Scored reports whether some tokens alone are targets.
func (p *Packed) Scored() bool { return p.scored != nil }

// packDomain keeps the order's randomness apart from other uses of a seed.
const packDomain = 0x7061636b

// Order returns the order of the windows in an epoch: a permutation that
// depends on seed, epoch and Len alone.
func (p *Packed) Order(seed uint64, epoch int) []int32 {
	order := make([]int32, p.Len())
	s := rng.New(packDomain, seed, uint64(epoch))
	s.Perm(order)
	return order
}

// Share is one named set of a mixture.
type Share struct {
	Name   string
	Weight float64 // > 0; shares need not sum to 1
}

// ParseMixture reads "A:0.75,B:0.25". A name may hold colons itself, as
// "text:PATH" does: the last one counts where a number follows it; a single
// set may stand without a weight.
func ParseMixture(s string) ([]Share, error) {
	var shares []Share
	parts := strings.Split(s, ",")
	for _, p := range parts {
		name, weight := p, 1.0
		if i := strings.LastIndexByte(p, ':'); i >= 0 {
			if w, err := strconv.ParseFloat(p[i+1:], 64); err == nil {
				name, weight = p[:i], w
			} else if len(parts) > 1 {
				return nil, fmt.Errorf("data: mixture %q: %q has no weight, want NAME:WEIGHT", s, p)
			}
		} else if len(parts) > 1 {
			return nil, fmt.Errorf("data: mixture %q: %q has no weight, want NAME:WEIGHT", s, p)
		}
		if name == "" || !(weight > 0) || math.IsInf(weight, 0) {
			return nil, fmt.Errorf("data: mixture %q: %q, want a name and a weight above 0", s, p)
		}
		shares = append(shares, Share{name, weight})
	}
	return shares, nil
}

// Mixture draws from several sets by weight, each set in a new random order
// every time it has been gone through. The draws depend on sizes, weights and
// seed alone. It is not safe for concurrent use.
type Mixture struct {
	seed  uint64
	sizes []int
	upTo  []float64 // cumulative weights, the last 1
	drawn []uint64  // per set
	order [][]int32 // per set: of its present epoch
	at    uint64
}

// NewMixture returns a mixture of sets of those sizes at its first draw.
func NewMixture(sizes []int, weights []float64, seed uint64) (*Mixture, error) {
	if len(sizes) == 0 || len(sizes) != len(weights) {
		return nil, fmt.Errorf("data: mixture of %d sets with %d weights", len(sizes), len(weights))
	}
	m := &Mixture{seed: seed, sizes: sizes, drawn: make([]uint64, len(sizes)), order: make([][]int32, len(sizes))}
	total := 0.0
	for i, w := range weights {
		if !(w > 0) || math.IsInf(w, 0) || sizes[i] < 1 || sizes[i] > math.MaxInt32 {
			return nil, fmt.Errorf("data: mixture: set %d has %d examples and weight %v, want both above 0", i, sizes[i], w)
		}
		total += w
		m.upTo = append(m.upTo, total)
	}
	for i := range m.upTo {
		m.upTo[i] /= total
	}
	return m, nil
}

// mixDomain keeps the mixture's randomness apart from other uses of a seed.
const mixDomain = 0x6d697874

// Next returns the set and the example of the next draw.
func (m *Mixture) Next() (set, example int) {
	set = m.choose()
	k := m.drawn[set]
	m.drawn[set]++
	n := uint64(m.sizes[set])
	if k%n == 0 || m.order[set] == nil {
		m.order[set] = slices.Grow(m.order[set][:0], int(n))[:n]
		s := rng.New(mixDomain, m.seed, 1, uint64(set), k/n)
		s.Perm(m.order[set])
	}
	return set, int(m.order[set][k%n])
}

// choose draws a set.
func (m *Mixture) choose() int {
	s := rng.New(mixDomain, m.seed, 0, m.at)
	m.at++
	u := s.Float64()
	i, _ := slices.BinarySearchFunc(m.upTo, u, func(edge, u float64) int {
		if edge <= u {
			return -1
		}
		return 1
	})
	return min(i, len(m.sizes)-1)
}

// Skip goes on as after n further draws: the way to resume.
func (m *Mixture) Skip(n uint64) {
	for range n {
		m.drawn[m.choose()]++
	}
	for i := range m.order {
		m.order[i] = nil
	}
}
