package neuro_test

import (
	"testing"

	"lowbit/neuro"
)

func compare(t *testing.T, net *neuro.Net, nw *neuro.Network, frames [][]byte, threads int) *neuro.Comparison {
	t.Helper()
	c, err := neuro.Compare(net, nw, frames, threads)
	if err != nil {
		t.Fatal(err)
	}
	if c.Events.Overflows != 0 {
		t.Errorf("%d potentials left 20 bits", c.Events.Overflows)
	}
	return c
}

// The figure to reach: 1 million neuron outputs without a mismatch.
func TestCoresEqualNetOnMillionOutputs(t *testing.T) {
	r := seeded(t, 1)
	var units, bits, decisions int64
	for _, size := range []struct {
		name   string
		net    *neuro.Net
		frames int
	}{{"minatar", minatarNet(r), 300}, {"atari", atariNet(r), 24}} {
		nw := mustMap(t, size.net)
		if err := nw.CheckTiming(); err != nil {
			t.Fatal(err)
		}
		c := compare(t, size.net, nw, randomFrames(r, size.net, size.frames), 1)
		if !c.Equal() {
			t.Errorf("%s: %d mismatches, %d wrong actions; first: %s", size.name, c.Mismatches, c.Wrong, c.First)
		}
		t.Logf("%s: %d cores (%d splitters), %d units, %d bits, %d decisions\n%v", size.name, len(nw.Cores), nw.Resources().Splitters, c.Units, c.Bits, c.Decisions, nw.Resources())
		units, bits, decisions = units+c.Units, bits+c.Bits, decisions+c.Decisions
	}
	if units < 1_000_000 {
		t.Errorf("%d neuron outputs compared, want a million", units)
	}
	t.Logf("together %d units, %d bits, %d decisions", units, bits, decisions)
}
