package rl

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"lowbit/internal/rng"
)

// MinAtarOptions are the two settings that the five games share.
type MinAtarOptions struct {
	// Sticky is the probability that the previous action is repeated in place
	// of the given one; the previous action survives the end of an episode.
	Sticky float64
	// Ramp lets the games that can become harder do so.
	Ramp bool
}

// DefaultMinAtar returns sticky actions of 0.1 and difficulty ramping, the
// defaults of the MinAtar paper (arXiv 1903.03176).
func DefaultMinAtar() MinAtarOptions { return MinAtarOptions{Sticky: 0.1, Ramp: true} }

// The six actions of every minatar game, by index.
const (
	actNone = iota
	actLeft
	actUp
	actRight
	actDown
	actFire
)

var minatarActions = []string{"none", "left", "up", "right", "down", "fire"}

const (
	side  = 10          // the games are played on a 10 x 10 board
	cells = side * side // of one channel
)

// planes is one observation: bit c*100 + y*10 + x says whether cell (x, y) of
// channel c is set. Ten channels fit.
type planes [16]uint64

func (p *planes) set(c, y, x int) {
	b := uint(c*cells + y*side + x)
	p[b>>6&15] |= 1 << (b & 63)
}

// setRange sets bits from .. from+n-1 of channel c to the low n <= 64 bits of v.
func (p *planes) setRange(c, from int, v uint64) {
	b := uint(c*cells + from)
	p[b>>6&15] |= v << (b & 63)
	if b&63 != 0 {
		p[(b>>6+1)&15] |= v >> (64 - b&63)
	}
}

// dice is the randomness of one game. feed, where set, replaces the draws: the
// replay of a recorded game.
type dice struct {
	s    rng.Stream
	feed drawSource
}

// drawSource gives the numbers of a recorded game in the order it drew them.
type drawSource interface {
	unit() float64
	below(n int) int
}

// unit draws from [0, 1), a multiple of 2^-32.
func (d *dice) unit() float64 {
	if d.feed != nil {
		return d.feed.unit()
	}
	return float64(d.s.Uint32()) * 0x1p-32
}

// below draws one of 0 .. n-1.
func (d *dice) below(n int) int {
	if d.feed != nil {
		return d.feed.below(n)
	}
	return d.s.Intn(n)
}

// game is the rules of one minatar game over all its boards. Methods get the
// board's number and its dice.
type game interface {
	make(n int, ramp bool)
	reset(i int, d *dice)
	step(i int, action int32, d *dice) (reward float32, done bool)
	observe(i int, p *planes)
}

// gameInfo is the table entry of a game.
type gameInfo struct {
	name     string
	version  int
	channels []string
	minimal  []int32
	open     func() game
}

var minatarGames = []gameInfo{breakoutInfo, asterixInfo, freewayInfo, seaquestInfo, spaceInvadersInfo}

// MinAtarNames returns the names of the built-in environments.
func MinAtarNames() []string {
	var names []string
	for _, g := range minatarGames {
		names = append(names, "minatar/"+g.name)
	}
	return names
}

// minatar is N boards of one game.
type minatar struct {
	spec     EnvSpec
	words    int // 64-bit words of an observation that are in use
	obsBytes int
	sticky   float64
	maxSteps int
	rules    game
	board    planes // scratch of write
	dice     []dice
	last     []int32   // action played last
	ret      []float64 // return so far
	length   []int
	finished []Episode
	final    []byte // last observations of finished episodes
	started  bool
}

func newMinAtar(name string, o Options) (VecEnv, error) {
	at := slices.IndexFunc(minatarGames, func(g gameInfo) bool { return g.name == name })
	if at < 0 {
		return nil, fmt.Errorf("rl: unknown minatar game %q, want one of %s", name, strings.Join(MinAtarNames(), ", "))
	}
	opt := DefaultMinAtar()
	if o.MinAtar != nil {
		opt = *o.MinAtar
	}
	if !(opt.Sticky >= 0 && opt.Sticky <= 1) {
		return nil, fmt.Errorf("rl: minatar/%s: sticky action probability %v outside 0..1", name, opt.Sticky)
	}
	g := minatarGames[at]
	e := &minatar{
		spec: EnvSpec{
			Name: "minatar/" + name, Version: fmt.Sprintf("minatar/%s-%d", name, g.version), Envs: o.Envs,
			C: len(g.channels), H: side, W: side, Format: o.Format,
			Actions: minatarActions, Minimal: g.minimal, Channels: g.channels,
		},
		words:    (len(g.channels)*cells + 63) / 64,
		sticky:   opt.Sticky,
		maxSteps: o.MaxSteps,
		rules:    g.open(),
		dice:     make([]dice, o.Envs),
		last:     make([]int32, o.Envs),
		ret:      make([]float64, o.Envs),
		length:   make([]int, o.Envs),
		finished: make([]Episode, 0, o.Envs),
	}
	e.obsBytes = e.spec.ObsBytes()
	e.final = make([]byte, o.Envs*e.obsBytes)
	e.rules.make(o.Envs, opt.Ramp)
	return e, nil
}

func (e *minatar) Spec() EnvSpec       { return e.spec }
func (e *minatar) Close() error        { return nil }
func (e *minatar) Finished() []Episode { return e.finished }

func (e *minatar) Reset(seed uint64, obs []byte) error {
	if err := checkObs(&e.spec, obs); err != nil {
		return err
	}
	e.started = true
	e.finished = e.finished[:0]
	for i := range e.dice {
		if e.dice[i].feed == nil {
			e.dice[i].s = rng.New(seed, uint64(i))
		}
		e.last[i], e.ret[i], e.length[i] = actNone, 0, 0
		e.rules.reset(i, &e.dice[i])
		e.write(i, obs[i*e.obsBytes:][:e.obsBytes])
	}
	return nil
}

func (e *minatar) Step(act []int32, obs []byte, rew []float32, done, trunc []bool) error {
	if !e.started {
		return fmt.Errorf("rl: %s: Step before Reset", e.spec.Name)
	}
	if err := checkStep(&e.spec, act, obs, rew, done, trunc); err != nil {
		return err
	}
	e.finished = e.finished[:0]
	for i, a := range act {
		d := &e.dice[i]
		if d.unit() < e.sticky {
			a = e.last[i]
		}
		e.last[i] = a
		r, over := e.rules.step(i, a, d)
		e.ret[i] += float64(r)
		e.length[i]++
		cut := !over && e.length[i] == e.maxSteps
		rew[i], done[i], trunc[i] = r, over, cut
		if over || cut {
			e.end(i)
		}
		e.write(i, obs[i*e.obsBytes:][:e.obsBytes])
	}
	return nil
}

// end records the episode of board i and starts the next.
func (e *minatar) end(i int) {
	final := e.final[i*e.obsBytes:][:e.obsBytes]
	e.write(i, final)
	e.finished = append(e.finished, Episode{Env: i, Return: e.ret[i], Length: e.length[i], Final: final})
	e.ret[i], e.length[i] = 0, 0
	e.rules.reset(i, &e.dice[i])
}

// write puts the observation of board i into dst.
func (e *minatar) write(i int, dst []byte) {
	p := &e.board // on the stack it would escape through the interface
	*p = planes{}
	e.rules.observe(i, p)
	if e.spec.Format == Bytes {
		expand(dst, p[:e.words])
		return
	}
	for _, w := range p[:e.words] {
		if len(dst) < 8 {
			for k := range dst {
				dst[k] = byte(w >> (8 * k))
			}
			return
		}
		binary.LittleEndian.PutUint64(dst, w)
		dst = dst[8:]
	}
}

// eight maps a byte to eight bytes of 0 or 1, its lowest bit first.
var eight = func() (t [256]uint64) {
	for v := range t {
		for b := range 8 {
			t[v] |= uint64(v>>b&1) << (8 * b)
		}
	}
	return t
}()

// expand writes the bits of words as one byte each, len(dst) of them, a
// multiple of four.
func expand(dst []byte, words []uint64) {
	for _, w := range words {
		if len(dst) >= 64 {
			block := dst[:64]
			for k := 0; k < 64; k += 8 {
				binary.LittleEndian.PutUint64(block[k:], eight[byte(w>>k)])
			}
			dst = dst[64:]
			continue
		}
		for ; len(dst) >= 8; dst = dst[8:] {
			binary.LittleEndian.PutUint64(dst, eight[byte(w)])
			w >>= 8
		}
		for k := range dst {
			dst[k] = byte(w >> k & 1)
		}
		return
	}
}

// between returns v held within lo .. hi.
func between(lo, v, hi int8) int8 { return max(lo, min(v, hi)) }
