package neuro_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"lowbit/neuro"
)

// generalNetwork is a random network of any neurons: all axon types, weights,
// leaks, resets and delays, loops between cores, one source for each axon.
func generalNetwork(r *rand.Rand, cores, neurons int) *neuro.Network {
	nw := &neuro.Network{Inputs: 40, Outputs: 8, Actions: 4, Latency: 3, Width: 8, Layers: []neuro.LayerInfo{{Name: "any", Units: 256, Ticks: 3}}}
	type axon struct {
		core int32
		axon uint8
	}
	var free []axon
	for c := range cores {
		for a := range neuro.CoreAxons {
			free = append(free, axon{int32(c), uint8(a)})
		}
	}
	r.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	take := func() axon { a := free[0]; free = free[1:]; return a }
	for in := range nw.Inputs {
		for range 1 + r.IntN(3) {
			a := take()
			nw.Routes = append(nw.Routes, neuro.Route{Input: int32(in), Core: a.core, Axon: a.axon})
		}
	}
	for c := range cores {
		core := neuro.Core{X: int32(c % 8), Y: int32(c / 8)}
		for a := range core.Type {
			core.Type[a] = uint8(r.IntN(neuro.AxonTypes))
		}
		for k := range neurons {
			n := neuro.Neuron{Leak: int32(r.IntN(7) - 3), Theta: int32(r.IntN(400) + 1), NegTheta: -int32(r.IntN(300)),
				VReset: int32(r.IntN(21) - 10), Reset: neuro.Reset(r.IntN(4)), Delay: uint8(1 + r.IntN(neuro.MaxDelay)), Unit: int32(k)}
			for t := range n.Weights {
				n.Weights[t] = int16(r.IntN(2*neuro.MaxWeight+1) - neuro.MaxWeight)
			}
			for w := range n.Conn {
				n.Conn[w] = r.Uint64()
			}
			a := take()
			n.Target, n.Axon = a.core, a.axon
			if c == 0 && k < nw.Outputs {
				n.Target, n.Axon = neuro.OutputTarget(k), 0
			} else if r.IntN(20) == 0 {
				n.Target, n.Axon = neuro.Nowhere, 0
			}
			core.Neurons = append(core.Neurons, n)
		}
		nw.Cores = append(nw.Cores, core)
	}
	return nw
}

// plainRun is the core's equations once more, neuron by neuron and axon by
// axon, without a trick: the spikes of all neurons for each tick, and the
// outputs.
func plainRun(nw *neuro.Network, frames [][]byte) (spikes [][]int, outputs [][]bool) {
	type arrival struct{ tick, core, axon int }
	pending := map[arrival]bool{}
	out := map[[2]int]bool{}
	v := make([][]int, len(nw.Cores))
	for c := range v {
		v[c] = make([]int, len(nw.Cores[c].Neurons))
	}
	for t, f := range frames {
		for _, r := range nw.Routes {
			if f[r.Input/8]>>(r.Input%8)&1 == 1 {
				pending[arrival{t, int(r.Core), int(r.Axon)}] = true
			}
		}
		var fired []int
		for c := range nw.Cores {
			core := &nw.Cores[c]
			for k := range core.Neurons {
				n := &core.Neurons[k]
				p := v[c][k] + int(n.Leak)
				for a := range neuro.CoreAxons {
					if pending[arrival{t, c, a}] && n.Conn[a/64]>>(a%64)&1 == 1 {
						p += int(n.Weights[core.Type[a]])
					}
				}
				p = min(max(p, neuro.MinPotential), neuro.MaxPotential)
				fires := p >= int(n.Theta)
				switch {
				case n.Reset == neuro.ResetAlways || fires && n.Reset == neuro.ResetAbsolute:
					p = int(n.VReset)
				case fires && n.Reset == neuro.ResetLinear:
					p -= int(n.Theta)
				case !fires:
					p = max(p, int(n.NegTheta))
				}
				v[c][k] = p
				if fires {
					fired = append(fired, c<<8|k)
					if n.Target >= 0 {
						pending[arrival{t + int(n.Delay), int(n.Target), int(n.Axon)}] = true
					} else if n.Target != neuro.Nowhere {
						out[[2]int{t + int(n.Delay), int(-2 - n.Target)}] = true
					}
				}
			}
		}
		spikes = append(spikes, fired)
		row := make([]bool, nw.Outputs)
		for o := range row {
			row[o] = out[[2]int{t + 1, o}]
		}
		outputs = append(outputs, row)
	}
	return spikes, outputs
}

// simulate runs the simulator and gives the same as plainRun.
func simulate(t *testing.T, nw *neuro.Network, frames [][]byte, threads int) (spikes [][]int, outputs [][]bool, e neuro.Events) {
	t.Helper()
	sim, err := neuro.NewSimulator(nw, threads)
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	for _, f := range frames {
		out, err := sim.Step(f)
		if err != nil {
			t.Fatal(err)
		}
		var fired []int
		for c := range nw.Cores {
			bits := sim.Fired(c)
			for k := range nw.Cores[c].Neurons {
				if bits[k/64]>>(k%64)&1 == 1 {
					fired = append(fired, c<<8|k)
				}
			}
		}
		row := make([]bool, nw.Outputs)
		for o := range row {
			row[o] = out[o/8]>>(o%8)&1 == 1
		}
		spikes, outputs = append(spikes, fired), append(outputs, row)
	}
	return spikes, outputs, sim.Events()
}

func bitFrames(r *rand.Rand, inputs, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = make([]byte, (inputs+7)/8)
		for k := range frames[i] {
			frames[i][k] = byte(r.Uint32())
		}
	}
	return frames
}

func TestGeneralNeuronsEqualPlainEquations(t *testing.T) {
	r := seeded(t, 5)
	spikes := 0
	for range 20 {
		nw := generalNetwork(r, 2+r.IntN(5), 10+r.IntN(40))
		if err := nw.Validate(); err != nil {
			t.Fatal(err)
		}
		frames := bitFrames(r, nw.Inputs, 60)
		for i := 30; i < 60; i++ {
			clear(frames[i]) // what the network does by itself
		}
		wantSpikes, wantOut := plainRun(nw, frames)
		gotSpikes, gotOut, e := simulate(t, nw, frames, 1)
		if !reflect.DeepEqual(gotSpikes, wantSpikes) || !reflect.DeepEqual(gotOut, wantOut) {
			t.Fatal("spikes or outputs differ from the plain equations")
		}
		all := 0
		for _, s := range wantSpikes {
			all += len(s)
		}
		if e.Spikes != int64(all) || e.Ticks != 60 {
			t.Errorf("events: %d spikes in %d ticks, want %d in 60", e.Spikes, e.Ticks, all)
		}
		spikes += all
		for _, threads := range []int{2, 3} {
			s, o, e2 := simulate(t, nw, frames, threads)
			if !reflect.DeepEqual(s, wantSpikes) || !reflect.DeepEqual(o, wantOut) || e2 != e {
				t.Fatalf("%d threads differ from one", threads)
			}
		}
	}
	if spikes < 1000 {
		t.Errorf("%d spikes, too few to mean something", spikes)
	}
}

// One neuron whose potential is worked out by hand.
func TestNeuronByHand(t *testing.T) {
	nw := &neuro.Network{Inputs: 2, Outputs: 1, Actions: 1, Latency: 1, Width: 1, Layers: []neuro.LayerInfo{{Name: "n", Units: 1, Ticks: 1}}}
	core := neuro.Core{}
	core.Type[7] = 3
	core.Neurons = []neuro.Neuron{{Conn: [4]uint64{1<<5 | 1<<7}, Weights: [4]int16{10, 0, 0, -4}, Leak: 1, Theta: 20, NegTheta: -5, VReset: 2, Delay: 1, Target: neuro.OutputTarget(0)}}
	nw.Cores = []neuro.Core{core}
	nw.Routes = []neuro.Route{{Input: 0, Core: 0, Axon: 5}, {Input: 1, Core: 0, Axon: 7}}
	frames := [][]byte{{1}, {1}, {2}, {2}, {2}, {3}, {1}, {1}}
	for _, c := range []struct {
		reset neuro.Reset
		want  string
	}{
		// V: 11 22* 2-> -1, -4, -5 (floor), 2, 13, 24*
		{neuro.ResetAbsolute, "01000001"},
		// 11 22*->2, -1 -4 -5 2 13 24*
		{neuro.ResetLinear, "01000001"},
		// 11 22* 19 16 13 20* 31* 42*
		{neuro.ResetHold, "01000111"},
		// 11, 2+11, 2-3, … never 20
		{neuro.ResetAlways, "00000000"},
	} {
		nw.Cores[0].Neurons[0].Reset = c.reset
		_, outs, _ := simulate(t, nw, frames, 1)
		got := ""
		for _, o := range outs {
			got += map[bool]string{false: "0", true: "1"}[o[0]]
		}
		if got != c.want {
			t.Errorf("reset %d: spikes %s, want %s", c.reset, got, c.want)
		}
	}
}

func TestPotentialIsHeldAndCounted(t *testing.T) {
	nw := &neuro.Network{Inputs: 1, Outputs: 1, Actions: 1, Latency: 1, Width: 1, Layers: []neuro.LayerInfo{{Name: "n", Units: 1, Ticks: 1}}}
	nw.Cores = []neuro.Core{{Neurons: []neuro.Neuron{{Leak: neuro.MaxPotential, Theta: neuro.MaxPotential, Reset: neuro.ResetHold, Delay: 1, Target: neuro.OutputTarget(0)}}}}
	_, outs, e := simulate(t, nw, [][]byte{{0}, {0}, {0}}, 1)
	if e.Overflows != 2 || !outs[0][0] || !outs[2][0] {
		t.Errorf("%d overflows, outputs %v, want 2 and three spikes", e.Overflows, outs)
	}
}
