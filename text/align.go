package text

import "unicode/utf8"

// aligned is normalised text that remembers the source. from and to hold, for
// each byte of s, the range of the source that it came from; both are nil
// where s is the source itself from byte base on.
type aligned struct {
	s        string
	base     int
	from, to []int32
	// lost is set where offsets were not asked for and s is not the source.
	lost bool
}

func source(s string) aligned { return aligned{s: s} }

func (a aligned) slice(i, j int) aligned {
	b := aligned{s: a.s[i:j], base: a.base + i, lost: a.lost}
	if a.from != nil {
		b.from, b.to = a.from[i:j], a.to[i:j]
	}
	return b
}

// source returns the source bytes of s[i:j].
func (a aligned) source(i, j int) (from, to int) {
	switch {
	case a.from == nil:
		return a.base + i, a.base + j
	case len(a.from) == 0:
		return 0, 0
	case i >= j:
		at := int(a.from[min(i, len(a.from)-1)])
		return at, at
	}
	return int(a.from[i]), int(a.to[j-1])
}

// atStart reports whether s begins where the source does.
func (a aligned) atStart() bool {
	if a.lost {
		return a.base == 0
	}
	from, _ := a.source(0, min(1, len(a.s)))
	return from == 0
}

// builder makes an aligned text out of another.
type builder struct {
	of    aligned
	track bool
	s     []byte
	from  []int32
	to    []int32
}

func newBuilder(of aligned, track bool) *builder {
	b := &builder{of: of, track: track, s: make([]byte, 0, len(of.s)+8)}
	if track {
		b.from = make([]int32, 0, len(of.s)+8)
		b.to = make([]int32, 0, len(of.s)+8)
	}
	return b
}

// put appends text that stands for of.s[i:j].
func (b *builder) put(s string, i, j int) {
	b.s = append(b.s, s...)
	if b.track {
		from, to := b.of.source(i, j)
		for range len(s) {
			b.from, b.to = append(b.from, int32(from)), append(b.to, int32(to))
		}
	}
}

// keep appends of.s[i:j] itself.
func (b *builder) keep(i, j int) {
	if !b.track {
		b.s = append(b.s, b.of.s[i:j]...)
		return
	}
	for k := i; k < j; k++ {
		b.s = append(b.s, b.of.s[k])
		from, to := b.of.source(k, k+1)
		b.from, b.to = append(b.from, int32(from)), append(b.to, int32(to))
	}
}

func (b *builder) done() aligned {
	a := aligned{s: string(b.s), base: b.of.base, from: b.from, to: b.to, lost: !b.track}
	if b.track && a.from == nil {
		a.from, a.to = []int32{}, []int32{}
	}
	return a
}

// eachRune calls f with each character and its bytes; a bad byte comes as
// U+FFFD with one byte.
func eachRune(s string, f func(r rune, i, j int)) {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		f(r, i, i+n)
		i += n
	}
}
