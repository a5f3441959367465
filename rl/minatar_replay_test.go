package rl

import "testing"

// twister is numpy's RandomState: MT19937 (Matsumoto, Nishimura 1998), seeded
// by one integer.
type twister struct {
	state [624]uint32
	next  int
}

func newTwister(seed uint32) *twister {
	m := &twister{next: 624}
	m.state[0] = seed
	for i := 1; i < len(m.state); i++ {
		prev := m.state[i-1]
		m.state[i] = 1812433253*(prev^prev>>30) + uint32(i)
	}
	return m
}

func (m *twister) uint32() uint32 {
	if m.next == len(m.state) {
		for i := range m.state {
			y := m.state[i]&0x80000000 | m.state[(i+1)%624]&0x7fffffff
			v := m.state[(i+397)%624] ^ y>>1
			if y&1 == 1 {
				v ^= 0x9908b0df
			}
			m.state[i] = v
		}
		m.next = 0
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// unit is RandomState.rand: 53 bits of two words.
func (m *twister) unit() float64 {
	a, b := m.uint32()>>5, m.uint32()>>6
	return (float64(a)*67108864 + float64(b)) / 9007199254740992
}

// below is RandomState.randint: masked words until one is in range. One value
// draws nothing.
func (m *twister) below(n int) int {
	top := uint32(n - 1)
	if top == 0 {
		return 0
	}
	mask := top
	for k := 1; k < 32; k *= 2 {
		mask |= mask >> k
	}
	for {
		if v := m.uint32() & mask; v <= top {
			return int(v)
		}
	}
}

// TestTwisterIsMT19937 checks the stream against the reference output for the
// default seed 5489: the 10,000th word is 4123659995 (ISO C++, mt19937).
func TestTwisterIsMT19937(t *testing.T) {
	m := newTwister(5489)
	for range 9999 {
		m.uint32()
	}
	if got := m.uint32(); got != 4123659995 {
		t.Fatalf("word 10000 is %d, want 4123659995", got)
	}
}
