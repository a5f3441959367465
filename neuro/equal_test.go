package neuro_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"lowbit/neuro"
)

// proved maps a net and proves the result.
func proved(t *testing.T, net *neuro.Net) *neuro.Network {
	t.Helper()
	nw := mustMap(t, net)
	if err := neuro.Prove(net, nw); err != nil {
		t.Fatal(err)
	}
	return nw
}

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
		nw := proved(t, size.net)
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

// The figure to reach: 100,000 decisions without a wrong one.
func TestCoresDecideAsNetOnHundredThousandFrames(t *testing.T) {
	if testing.Short() {
		t.Skip("100,000 frames: run without -short")
	}
	r := seeded(t, 19)
	net := chain(r, neuro.Shape{C: 4, H: 10, W: 10}, 6, conv("a", 16, 3, 2, 0, 1), conv("b", 32, 2, 2, 0, 1), linear("vote", 96, 1))
	c := compare(t, net, proved(t, net), randomFrames(r, net, 100_000), 1)
	if !c.Equal() || c.Decisions != 100_000 {
		t.Errorf("%d of %d decisions wrong, %d mismatches; first: %s", c.Wrong, c.Decisions, c.Mismatches, c.First)
	}
	t.Logf("%d units, %d bits", c.Units, c.Bits)
}

// randomNet is a random chain that obeys the fan-in rule; now and then one of
// its layers has so many readers that splitters are needed.
func randomNet(r *rand.Rand) *neuro.Net {
	in := neuro.Shape{C: 1 + r.IntN(6), H: 3 + r.IntN(7), W: 3 + r.IntN(7)}
	net := &neuro.Net{Input: in}
	for depth := 1 + r.IntN(4); len(net.Layers) < depth; {
		var l neuro.Layer
		if r.IntN(4) > 0 && net.Layers == nil || len(net.Layers) > 0 && net.Layers[len(net.Layers)-1].Kind == neuro.Conv && r.IntN(2) == 0 {
			l = conv("conv", 0, 1, 1, 0, 0)
			for i, size := range []int{in.H, in.W} {
				l.Pad[i] = r.IntN(3)
				l.Kernel[i] = 1 + r.IntN(min(5, size+2*l.Pad[i]))
				l.Stride[i] = 1 + r.IntN(3)
			}
		} else {
			l = linear("linear", 0, 0)
		}
		l.In = in
		channels := in.C
		if l.Kind == neuro.Linear {
			channels = in.Size()
		}
		var groups []int
		for g := 1; g <= channels; g++ {
			if fan := channels / g * max(1, l.Kernel[0]) * max(1, l.Kernel[1]); channels%g == 0 && fan <= neuro.MaxFanIn {
				groups = append(groups, g)
			}
		}
		l.Groups = groups[r.IntN(min(3, len(groups)))]
		l.Out = l.Groups * (1 + r.IntN(max(1, 60/l.Groups)))
		if r.IntN(6) == 0 {
			l.Out *= 12 // many readers of each input
		}
		net.Layers = append(net.Layers, l)
		in = l.OutShape()
	}
	return chain(r, net.Input, 1+r.IntN(min(6, net.Outputs())), net.Layers...)
}

func TestRandomNetsEqualTheirCores(t *testing.T) {
	r := seeded(t, 2)
	splitters, units := 0, int64(0)
	for i := range 150 {
		net := randomNet(r)
		nw := proved(t, net)
		c := compare(t, net, nw, randomFrames(r, net, 12), 1+i%3)
		if !c.Equal() {
			t.Fatalf("net %d %+v: %d mismatches of %d; first: %s", i, net.Input, c.Mismatches, c.Bits, c.First)
		}
		splitters += nw.Resources().Splitters
		units += c.Units
	}
	if splitters == 0 {
		t.Error("no net needed splitters")
	}
	t.Logf("%d units, %d splitters", units, splitters)
}

// Bits with 314 axons each: more than a core has neurons, so that a unit drives
// several splitters.
func TestWideFanOut(t *testing.T) {
	r := seeded(t, 3)
	net := chain(r, neuro.Shape{C: 3, H: 1, W: 1}, 2, linear("few", 3, 1), linear("many", 40000, 1))
	nw := proved(t, net)
	c := compare(t, net, nw, randomFrames(r, net, 16), 2)
	if !c.Equal() {
		t.Errorf("%d mismatches; first: %s", c.Mismatches, c.First)
	}
	t.Logf("%v", nw.Resources())
}

// Constant neurons: thresholds no sum reaches, and such that every sum does.
func TestConstantNeurons(t *testing.T) {
	r := seeded(t, 4)
	net := chain(r, neuro.Shape{C: 4, H: 4, W: 4}, 2, conv("a", 6, 3, 1, 1, 1), linear("b", 8, 1))
	copy(net.Layers[0].Thresholds, []int32{1 << 30, -1 << 30, 0, 37, -36})
	clear(net.Layers[0].Weights[:36])
	clear(net.Layers[1].Weights[:96])
	c := compare(t, net, proved(t, net), append(randomFrames(r, net, 20), make([]byte, 8)), 1)
	if !c.Equal() {
		t.Errorf("%d mismatches; first: %s", c.Mismatches, c.First)
	}
}

// A layer that ignores its input leaves nothing of the layers before it.
func TestUnreadLayersTakeNoCores(t *testing.T) {
	r := seeded(t, 18)
	net := chain(r, neuro.Shape{C: 4, H: 4, W: 4}, 2, conv("a", 6, 3, 1, 1, 1), linear("b", 8, 1))
	clear(net.Layers[1].Weights)
	nw := proved(t, net)
	if len(nw.Cores) != 1 || len(nw.Routes) != 0 {
		t.Errorf("%d cores, %d routes, want 1 and none", len(nw.Cores), len(nw.Routes))
	}
	if c := compare(t, net, nw, randomFrames(r, net, 5), 1); !c.Equal() {
		t.Error(c.First)
	}
}

func TestPipelineEqualsOneFrameAtATime(t *testing.T) {
	r := seeded(t, 6)
	net := minatarNet(r)
	nw := proved(t, net)
	frames := randomFrames(r, net, 40)
	single, err := neuro.NewSimulator(nw, 1)
	if err != nil {
		t.Fatal(err)
	}
	piped, err := neuro.NewSimulator(nw, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer piped.Close()
	votes, want := make([]int32, net.Actions), make([]int32, net.Actions)
	for i := range len(frames) + nw.Latency - 1 {
		var frame []byte
		if i < len(frames) {
			frame = frames[i]
		}
		out, err := piped.Step(frame)
		if err != nil {
			t.Fatal(err)
		}
		if f := i - (nw.Latency - 1); f >= 0 {
			action, err := single.Decide(frames[f], want)
			if err != nil {
				t.Fatal(err)
			}
			if got := neuro.Votes(out, nw.Outputs, votes); got != action || !slices.Equal(votes, want) {
				t.Fatalf("frame %d: action %d, votes %v, alone %d, %v", f, got, votes, action, want)
			}
		}
	}
}

// flips are the faults that the comparison must find.
var flips = []struct {
	name string
	flip func(r *rand.Rand, c *neuro.Core, n *neuro.Neuron)
}{
	{"synapse", func(r *rand.Rand, c *neuro.Core, n *neuro.Neuron) {
		a := connected(r, c)
		n.Conn[a/64] ^= 1 << (a % 64)
	}},
	{"threshold", func(r *rand.Rand, _ *neuro.Core, n *neuro.Neuron) { n.Theta += int32(2*r.IntN(2) - 1) }},
	{"delay", func(_ *rand.Rand, _ *neuro.Core, n *neuro.Neuron) { n.Delay++ }},
}

// connected draws an axon that some neuron of the core reads.
func connected(r *rand.Rand, c *neuro.Core) int {
	for {
		a := r.IntN(neuro.CoreAxons)
		for i := range c.Neurons {
			if c.Neurons[i].Conn[a/64]>>(a%64)&1 == 1 {
				return a
			}
		}
	}
}

func TestFlippedSynapseThresholdOrDelayIsCaught(t *testing.T) {
	r := seeded(t, 7)
	net := chain(r, neuro.Shape{C: 3, H: 6, W: 6}, 3, conv("a", 8, 3, 1, 0, 1), conv("b", 16, 2, 2, 0, 1), linear("c", 12, 1))
	nw := proved(t, net)
	frames := randomFrames(r, net, 400)
	if c := compare(t, net, nw, frames, 1); !c.Equal() {
		t.Fatal(c.First)
	}
	for _, f := range flips {
		seen := 0
		for i := range flipCount {
			c := &nw.Cores[r.IntN(len(nw.Cores))]
			n := &c.Neurons[r.IntN(len(c.Neurons))]
			kept := *n
			f.flip(r, c, n)
			got := compare(t, net, nw, frames, 1)
			err := neuro.Prove(net, nw)
			*n = kept
			if err == nil {
				t.Errorf("%s %d: not caught by structure", f.name, i)
			}
			if !got.Equal() {
				seen++
			}
		}
		t.Logf("%s: %d of %d seen by frames", f.name, seen, flipCount)
		if seen < flipCount*4/5 {
			t.Errorf("%s: %d of %d caught by frames", f.name, seen, flipCount)
		}
	}
}

// flipCount is the number of faults of each kind. Structure must catch all.
// Frames miss those that change no bit of 400 frames, such as a synapse of a
// neuron that hardly ever spikes; they must catch four of five.
const flipCount = 60
