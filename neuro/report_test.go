package neuro_test

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"lowbit/neuro"
)

func TestPictureIsXMLWithACellForEachCore(t *testing.T) {
	nw := tiny(t)
	svg := nw.SVG()
	d := xml.NewDecoder(strings.NewReader(svg))
	titles := 0
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := tok.(xml.StartElement); ok && e.Name.Local == "title" {
			titles++
		}
	}
	if titles != len(nw.Cores) || !strings.Contains(svg, "a&amp;b") {
		t.Errorf("%d cells for %d cores in %.300s", titles, len(nw.Cores), svg)
	}
	if s := nw.Resources().String(); !strings.Contains(s, "a&b") || strings.Count(s, "\n") != 4 {
		t.Errorf("table:\n%s", s)
	}
}

// Events of a network small enough to count by hand: one input on two axons of
// core 0, a neuron that reads both and sends to core 1, two places away, whose
// two neurons each read it and drive an output.
func TestEventsByHand(t *testing.T) {
	first := neuro.Neuron{Conn: [4]uint64{3}, Weights: [4]int16{1}, Theta: 1, Delay: 1, Target: 1, Axon: 9}
	last := neuro.Neuron{Conn: [4]uint64{1 << 9}, Weights: [4]int16{1}, Theta: 1, Delay: 1}
	a, b := last, last
	a.Target, b.Target = neuro.OutputTarget(0), neuro.OutputTarget(1)
	nw := &neuro.Network{Inputs: 1, Outputs: 2, Actions: 2, Latency: 2, Width: 2, Layers: []neuro.LayerInfo{{Name: "x", Units: 1, Ticks: 1}},
		Cores:  []neuro.Core{{Neurons: []neuro.Neuron{first}}, {X: 1, Y: 1, Neurons: []neuro.Neuron{a, b}}},
		Routes: []neuro.Route{{Axon: 0}, {Axon: 1}}}
	_, outs, e := simulate(t, nw, [][]byte{{1}, {0}, {0}}, 1)
	want := neuro.Events{Ticks: 3, CoreTicks: 2, Axons: 3, Synaptic: 4, Updates: 3, Spikes: 3, Hops: 2, Inputs: 2, Outputs: 2}
	if e != want || !outs[1][0] || !outs[1][1] || outs[0][0] || outs[2][0] {
		t.Errorf("events %+v, want %+v; outputs %v", e, want, outs)
	}
	m, err := neuro.DefaultEnergyModel()
	if err != nil {
		t.Fatal(err)
	}
	est := m.Estimate(e, 2)
	if est.TotalJ != 4*26e-12 || est.Verified || !strings.Contains(est.String(), "remembered constants, not a measurement") {
		t.Errorf("estimate %+v, %s", est, est)
	}
	if i, j := strings.Index(est.String(), "events"), strings.Index(est.String(), "estimate"); i < 0 || j < i {
		t.Errorf("counts do not come first: %s", est)
	}
}

func TestEnergyConstants(t *testing.T) {
	m, err := neuro.DefaultEnergyModel()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Constants {
		if c.Source == "" || c.Verified {
			t.Errorf("%s: source %q, verified %v: no constant has a source on file yet", c.Name, c.Source, c.Verified)
		}
	}
	line := func(name, value string) string {
		return `{"name":"` + name + `","value":` + value + `,"per":"x","verified":true,"source":"s"}`
	}
	all := []string{line("synaptic_event_j", "1"), line("neuron_update_j", "2"), line("spike_j", "3"), line("hop_j", "4"), line("static_chip_w", "4096"), line("tick_s", "0.5")}
	own, err := neuro.ParseEnergyModel([]byte("[" + strings.Join(all, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	e := own.Estimate(neuro.Events{Ticks: 2, Synaptic: 10, Updates: 100, Spikes: 1000, Hops: 10000}, 3)
	if e.TotalJ != 10+200+3000+40000+3 || e.ChipS != 1 || !e.Verified || strings.Contains(e.String(), "remembered") {
		t.Errorf("estimate %+v: %s", e, e)
	}
	for _, c := range []struct{ text, want string }{
		{"{", "constants"},
		{"[" + strings.Join(all[1:], ",") + "]", "missing"},
		{"[" + strings.Join(append(all, all[0]), ",") + "]", "twice"},
		{"[" + strings.Join(append(all, line("more", "1")), ",") + "]", "names"},
		{"[" + line("hop_j", "-1") + "]", "at least 0"},
	} {
		if _, err := neuro.ParseEnergyModel([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40s: error %v, want %q", c.text, err, c.want)
		}
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	r := seeded(t, 15)
	net := minatarNet(r)
	for _, threads := range []int{1, 2} {
		sim, err := neuro.NewSimulator(mustMap(t, net), threads)
		if err != nil {
			t.Fatal(err)
		}
		frame := randomFrames(r, net, 1)[0]
		if n := testing.AllocsPerRun(50, func() {
			if _, err := sim.Step(frame); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("%d threads: %v allocations", threads, n)
		}
		sim.Close()
	}
}

func TestWrongFramesAndSettings(t *testing.T) {
	nw := tiny(t)
	sim, err := neuro.NewSimulator(nw, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sim.Step(make([]byte, 9)); err == nil || !strings.Contains(err.Error(), "9 bytes, want 1") {
		t.Errorf("long frame: %v", err)
	}
	if _, err := sim.Decide([]byte{1}, make([]int32, 5)); err == nil || !strings.Contains(err.Error(), "5 votes, want 2") {
		t.Errorf("votes: %v", err)
	}
	if _, err := neuro.NewSimulator(nw, -1); err == nil {
		t.Error("-1 threads are accepted")
	}
	net := chain(seeded(t, 8), neuro.Shape{C: 3, H: 2, W: 1}, 2, conv("a", 2, 1, 1, 0, 1), linear("b", 3, 1))
	if _, err := net.Forward(nil); err == nil || !strings.Contains(err.Error(), "want 1 for 3x2x1") {
		t.Errorf("reference: %v", err)
	}
	other := mustMap(t, minatarNet(seeded(t, 1)))
	if _, err := neuro.Compare(net, other, nil, 1); err == nil {
		t.Error("a net is compared with another net's cores")
	}
	if err := neuro.Prove(net, other); err == nil {
		t.Error("another net's cores are proved")
	}
	if c := compare(t, net, nw, nil, 1); c.Equal() {
		t.Error("a comparison without frames claims equality")
	}
}

// Faults of kinds that a flip does not make.
func TestProveFindsEveryKindOfFault(t *testing.T) {
	net := chain(seeded(t, 16), neuro.Shape{C: 3, H: 1, W: 1}, 2, linear("few", 3, 1), linear("many", 40000, 1))
	nw := mustMap(t, net)
	last, splitter, first := &nw.Cores[len(nw.Cores)-1], (*neuro.Core)(nil), &nw.Cores[0]
	for i := range nw.Cores {
		if nw.Cores[i].Splitter {
			splitter = &nw.Cores[i]
		}
	}
	if splitter == nil {
		t.Fatal("no splitter")
	}
	for _, c := range []struct {
		want   string
		neuron *neuro.Neuron
		change func(*neuro.Neuron)
	}{
		{"memory", &last.Neurons[0], func(n *neuro.Neuron) { n.Reset = neuro.ResetAbsolute }},
		{"memory", &last.Neurons[0], func(n *neuro.Neuron) { n.Leak = 1 }},
		{"which nothing drives", &last.Neurons[0], func(n *neuro.Neuron) { n.Conn[1] |= 1 << 60 }},
		{"weight", &first.Neurons[0], func(n *neuro.Neuron) { n.Weights[0] = 2 }},
		{"output", &last.Neurons[0], func(n *neuro.Neuron) { n.Target = neuro.Nowhere }},
		{"output", &last.Neurons[0], func(n *neuro.Neuron) { n.Unit ^= 1 }},
		{"splitter", &splitter.Neurons[0], func(n *neuro.Neuron) { n.Theta = 0 }},
		{"driven by", &splitter.Neurons[0], func(n *neuro.Neuron) {
			n.Axon = splitter.Neurons[1].Axon
			n.Target = splitter.Neurons[1].Target
			n.Unit = (n.Unit + 1) % 3
		}},
	} {
		kept := *c.neuron
		c.change(c.neuron)
		err := neuro.Prove(net, nw)
		*c.neuron = kept
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if err := neuro.Prove(net, nw); err != nil {
		t.Error(err)
	}
}

func TestPlayKeepsTheGrid(t *testing.T) {
	r := seeded(t, 17)
	net := minatarNet(r)
	nw := mustMap(t, net)
	frames := randomFrames(r, net, 20)
	source := func(i int, b []byte) error { copy(b, frames[i]); return nil }
	run := func(p neuro.Pace) (neuro.Timing, map[int]int) {
		sim, err := neuro.NewSimulator(nw, 1)
		if err != nil {
			t.Fatal(err)
		}
		got := map[int]int{}
		timing, err := sim.Play(context.Background(), p, source, func(i, action int, _ []int32) error { got[i] = action; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return timing, got
	}
	timing, single := run(neuro.Pace{Hz: 100, Frames: 20})
	if timing.Elapsed < 190*time.Millisecond || timing.Frames != 20 || len(single) != 20 {
		t.Errorf("20 frames at 100 Hz: %+v, %d actions", timing, len(single))
	}
	if timing.Median > timing.P99 || timing.P99 > timing.Worst || timing.Median <= 0 {
		t.Errorf("timing %+v is not in order", timing)
	}
	_, piped := run(neuro.Pace{Frames: 20, Pipelined: true})
	if len(piped) != 20-nw.Latency+1 {
		t.Errorf("%d actions of the pipeline, want %d", len(piped), 20-nw.Latency+1)
	}
	for i, a := range piped {
		if single[i] != a {
			t.Errorf("frame %d: action %d in the pipeline, %d alone", i, a, single[i])
		}
	}
}

func TestPlayCountsMissesAndStops(t *testing.T) {
	sim, err := neuro.NewSimulator(tiny(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	slow := func(i int, _ []byte) error {
		if i == 1 {
			time.Sleep(25 * time.Millisecond)
		}
		return nil
	}
	ignore := func(int, int, []int32) error { return nil }
	timing, err := sim.Play(context.Background(), neuro.Pace{Hz: 100, Frames: 4}, slow, ignore)
	if err != nil || timing.Missed == 0 {
		t.Errorf("a frame of 25 ms at 100 Hz: %+v, %v", timing, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	timing, err = sim.Play(ctx, neuro.Pace{Hz: 10, Frames: 100}, func(i int, _ []byte) error { cancel(); return nil }, ignore)
	if !errors.Is(err, context.Canceled) || timing.Frames > 2 {
		t.Errorf("cancelled: %+v, %v", timing, err)
	}
	broken := errors.New("no frame")
	if _, err := sim.Play(context.Background(), neuro.Pace{Frames: 1}, func(int, []byte) error { return broken }, ignore); !errors.Is(err, broken) {
		t.Errorf("source's error: %v", err)
	}
	if _, err := sim.Play(context.Background(), neuro.Pace{}, slow, ignore); err == nil {
		t.Error("0 frames are accepted")
	}
}
