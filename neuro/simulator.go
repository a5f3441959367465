package neuro

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"lowbit/internal/pool"
)

// ringSlots is the number of ticks for which spikes are kept: the present one
// and MaxDelay to come.
const ringSlots = 16

// Events are what happened on the cores since the start or ResetEvents.
type Events struct {
	Ticks     int64 // simulated
	CoreTicks int64 // cores that had something to do, summed over ticks
	Axons     int64 // spikes that arrived at an axon
	Synaptic  int64 // arrived spikes times connected neurons
	Updates   int64 // neurons of the cores that had something to do
	Spikes    int64
	Hops      int64 // mesh links that spikes between cores crossed
	Inputs    int64 // spikes injected from outside, each axon counted
	Outputs   int64 // spikes that left to the outside
	Overflows int64 // potentials that left 20 bits and were held there
}

func (e *Events) add(o Events) {
	e.Ticks += o.Ticks
	e.CoreTicks += o.CoreTicks
	e.Axons += o.Axons
	e.Synaptic += o.Synaptic
	e.Updates += o.Updates
	e.Spikes += o.Spikes
	e.Hops += o.Hops
	e.Inputs += o.Inputs
	e.Outputs += o.Outputs
	e.Overflows += o.Overflows
}

// ring holds spikes on their way, one slot a tick: the axons of all cores, then
// the outputs.
type ring [ringSlots][]uint64

// target is a compiled (core, axon) or output.
type target struct {
	word  uint32 // of a ring slot
	bit   uint8
	delay uint8
}

// unit is one distinct neuron of a core: copies behave alike, so they are
// computed once and spike to several targets.
type unit struct {
	theta           int32
	targets, copies uint32 // first in Simulator.targets, and number of neurons
	hops            uint32 // of all copies together
	outs            uint32 // copies that leave to the outside
	reach           uint32 // entries in targets: copies less those that go nowhere
}

// program is one compiled core.
type program struct {
	first, count uint32 // units
	detail       uint32 // first detail, if not plain
	neurons      uint32
	plain        bool // see Core.plain
	restless     bool // acts without input
}

// Simulator runs a Network tick by tick. It is not safe for concurrent use;
// many can share one Network, which must not change.
type Simulator struct {
	nw       *Network
	pool     *pool.Pool // nil for one thread
	programs []program
	units    []unit
	masks    [][4]uint64 // by unit: synapses
	details  []detail    // of the units of cores that are not plain
	targets  []target
	unitOf   [][]uint8 // by core: the unit of each neuron, less the core's first

	now     int64
	rings   []ring      // by worker: what it has sent; the axons see all of them or-ed
	outs    int         // word of a ring slot where outputs begin
	fired   [][4]uint64 // by core: units that spiked in the last tick
	charged []bool      // by core: a potential is not 0
	routes  []target
	routeAt []uint32 // first route of each input
	out     []byte
	counts  []Events // by worker
	total   Events
	chunk   int // cores that a worker takes at once
	body    func(worker, lo, hi int)
}

// NewSimulator compiles a network for a number of threads, 0 for all cores of
// the machine. Results and events do not depend on it. Close ends it.
func NewSimulator(nw *Network, threads int) (*Simulator, error) {
	if err := nw.Validate(); err != nil {
		return nil, err
	}
	if threads < 0 {
		return nil, fmt.Errorf("neuro: simulator: %d threads, want 0 or more", threads)
	}
	s := &Simulator{nw: nw, outs: 4 * len(nw.Cores)}
	s.compile()
	s.out = make([]byte, bitBytes(nw.Outputs))
	s.fired = make([][4]uint64, len(nw.Cores))
	s.charged = make([]bool, len(nw.Cores))
	workers := 1
	if threads != 1 {
		s.pool = pool.New(threads)
		workers = s.pool.Workers()
		s.body = s.run
	}
	s.counts = make([]Events, workers)
	s.rings = make([]ring, workers)
	for w := range s.rings {
		for i := range s.rings[w] {
			s.rings[w][i] = make([]uint64, s.outs+(nw.Outputs+63)/64)
		}
	}
	s.chunk = max(1, min(maxChunk, len(nw.Cores)/(4*workers)))
	s.Reset()
	return s, nil
}

// Close ends the worker threads.
func (s *Simulator) Close() {
	if s.pool != nil {
		s.pool.Close()
		s.pool = nil
	}
}

// Reset sets all potentials and pending spikes back to the start, and keeps
// the event counts.
func (s *Simulator) Reset() {
	s.now = 0
	for w := range s.rings {
		for i := range s.rings[w] {
			clear(s.rings[w][i])
		}
	}
	for i := range s.details {
		s.details[i].v = 0
	}
	clear(s.fired)
	clear(s.charged)
}

// Step injects a frame, runs one tick and returns the outputs that arrive at
// its end. A frame may enter each tick: its outputs come with the
// (Latency-1)-th call after its own.
//
//	frame   Inputs bits, or nil for none; bits behind the last are ignored
//	result  Outputs bits, valid until the next call
func (s *Simulator) Step(frame []byte) ([]byte, error) {
	if frame != nil {
		if want := bitBytes(s.nw.Inputs); len(frame) != want {
			return nil, fmt.Errorf("neuro: step: frame of %d bytes, want %d for %d inputs", len(frame), want, s.nw.Inputs)
		}
		s.inject(frame)
	}
	if s.pool != nil {
		s.pool.For(len(s.programs), s.chunk, s.body)
	} else {
		s.run(0, 0, len(s.programs))
	}
	s.now++
	s.total.Ticks++
	clear(s.out)
	for w := range s.rings {
		slot := s.rings[w][s.now%ringSlots][s.outs:]
		for i := range s.out {
			s.out[i] |= byte(slot[i>>3] >> (8 * (i & 7)))
		}
		clear(slot)
	}
	return s.out, nil
}

// maxChunk is how many cores a worker takes at most at once, about 15 us of
// work.
const maxChunk = 16

func (s *Simulator) inject(frame []byte) {
	slot := s.rings[0][s.now%ringSlots]
	for base := 0; base < s.nw.Inputs; base += 64 {
		var w uint64
		if rest := frame[base/8:]; len(rest) >= 8 {
			w = binary.LittleEndian.Uint64(rest)
		} else {
			for i, b := range rest {
				w |= uint64(b) << (8 * i)
			}
		}
		if n := s.nw.Inputs - base; n < 64 {
			w &= 1<<n - 1
		}
		for ; w != 0; w &= w - 1 {
			in := base + bits.TrailingZeros64(w)
			routes := s.routes[s.routeAt[in]:s.routeAt[in+1]]
			s.total.Inputs += int64(len(routes))
			for _, r := range routes {
				slot[r.word] |= 1 << r.bit
			}
		}
	}
}

// Decide runs one frame alone through the network, Latency ticks, and counts
// its votes (see Votes).
//
//	votes   [Actions], overwritten; may be nil
func (s *Simulator) Decide(frame []byte, votes []int32) (int, error) {
	if votes == nil {
		votes = make([]int32, s.nw.Actions)
	}
	if len(votes) != s.nw.Actions {
		return 0, fmt.Errorf("neuro: decide: %d votes, want %d", len(votes), s.nw.Actions)
	}
	out, err := s.Step(frame)
	for i := 1; i < s.nw.Latency && err == nil; i++ {
		out, err = s.Step(nil)
	}
	if err != nil {
		return 0, err
	}
	return Votes(out, s.nw.Outputs, votes), nil
}

// Fired returns the neurons of a core that spiked in the last tick, neuron i in
// bit i%64 of word i/64.
func (s *Simulator) Fired(core int) [4]uint64 {
	var f [4]uint64
	units := &s.fired[core]
	for i, u := range s.unitOf[core] {
		f[i>>6] |= units[u>>6] >> (u & 63) & 1 << (i & 63)
	}
	return f
}

// Events returns what happened so far.
func (s *Simulator) Events() Events {
	e := s.total
	for i := range s.counts {
		e.add(s.counts[i])
	}
	return e
}

// ResetEvents sets all counts to 0.
func (s *Simulator) ResetEvents() {
	s.total = Events{}
	clear(s.counts)
}
