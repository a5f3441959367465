package distill

import (
	"math"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/neuro"
	"lowbit/rl"
	"lowbit/tensor"
)

// trained is a ternary corenet after a few updates, so that statistics, offsets
// and hysteresis are not those of the start.
func trained(t *testing.T) *rl.Agent {
	t.Helper()
	r, err := Run(t.Context(), tiny(CoreNet, Ternary), Job{Job: rl.Job{Engine: newEngine(t, 1)}, Teacher: Planner()})
	if err != nil {
		t.Fatal(err)
	}
	return r.Agent
}

// states are observations of random play and random bits, in turn.
func states(t *testing.T, v rl.View, n int) []byte {
	t.Helper()
	env, err := rl.New("minatar/breakout", rl.Options{Envs: 16, Format: rl.Bits})
	if err != nil {
		t.Fatal(err)
	}
	nb := v.Bytes()
	obs := make([]byte, 16*nb)
	if err := env.Reset(3, obs); err != nil {
		t.Fatal(err)
	}
	act, rew := make([]int32, 16), make([]float32, 16)
	done, trunc := make([]bool, 16), make([]bool, 16)
	p := rl.NewRandom(6, 1)
	r := rng.New(9)
	var all []byte
	for len(all) < n*nb {
		if err := p.Act(obs, nil, act); err != nil {
			t.Fatal(err)
		}
		if err := env.Step(act, obs, rew, done, trunc); err != nil {
			t.Fatal(err)
		}
		all = append(all, obs...)
		for range 16 * nb {
			all = append(all, byte(r.Uint32()))
		}
	}
	return all[:n*nb]
}

// TestTrainerEqualsIntegersAndCores compares all layers' bits and all actions on
// random and on real states, and then shows that a change of one weight or one
// threshold is found.
func TestTrainerEqualsIntegersAndCores(t *testing.T) {
	a := trained(t)
	e := newEngine(t, 2)
	net, err := Fold(e, a)
	if err != nil {
		t.Fatal(err)
	}
	nw, err := neuro.Map(net, neuro.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := neuro.Prove(net, nw); err != nil {
		t.Error(err)
	}
	n := 320
	if !testing.Short() {
		n = 640
	}
	s := states(t, a.Info.View, n)
	q, err := Verify(e, a, net, nw, s)
	if err != nil {
		t.Fatal(err)
	}
	if !q.Equal() || q.States != n || q.Decisions != int64(n) {
		t.Errorf("%+v; first difference: %s", q, q.First)
	}
	t.Logf("%d states: %d bits of trainer and integers, %d of integers and %d cores, no difference", q.States, q.Bits, q.Cores.Bits, len(nw.Cores))
	few := s[:64*a.Info.View.Bytes()]
	for what, change := range map[string]func() (undo func()){
		"weight": func() func() {
			w := &net.Layers[1].Weights[7]
			old := *w
			*w = (old+2)%3 - 1 // -1, 0, 1 to 0, 1, -1
			return func() { *w = old }
		},
		"threshold": func() func() {
			th := net.Layers[0].Thresholds
			old := append([]int32{}, th...)
			for i := range th {
				th[i]++
			}
			return func() { copy(th, old) }
		},
	} {
		undo := change()
		q, err := Verify(e, a, net, nil, few)
		undo()
		if err != nil || q.Mismatches == 0 || q.First == "" {
			t.Errorf("another %s: %+v, error %v; want mismatches", what, q, err)
		}
	}
}

// TestThresholdsAreTheFormula: theta = ceil(mean - beta*sigma/gamma), but for
// sums so near to equality that float32 decides.
func TestThresholdsAreTheFormula(t *testing.T) {
	a := trained(t)
	e := newEngine(t, 1)
	net, err := Fold(e, a)
	if err != nil {
		t.Fatal(err)
	}
	moved, all := 0, 0
	for i := range net.Layers {
		l := &net.Layers[i]
		get := func(s string) []float32 { return a.Store.Get(l.Name + ".norm." + s).Float32s() }
		mean, variance, beta, gamma := get("running_mean"), get("running_var"), get("bias"), get("weight")
		for o, got := range l.Thresholds {
			sigma := math.Sqrt(float64(variance[o]) + 1e-5)
			want, err := neuro.Threshold(float64(mean[o]), sigma, float64(gamma[o]), float64(beta[o]), l.FanIn())
			if err != nil {
				t.Fatal(err)
			}
			all++
			if got != want {
				moved++
				if d := math.Abs(float64(mean[o]) - float64(beta[o])*sigma - math.Round(float64(mean[o])-float64(beta[o])*sigma)); d > 1e-3 {
					t.Errorf("%s channel %d: threshold %d, formula %d", l.Name, o, got, want)
				}
			}
			if gamma[o] != 1 {
				t.Errorf("%s channel %d: scale %g has been trained", l.Name, o, gamma[o])
			}
		}
	}
	t.Logf("%d of %d thresholds differ from the formula by rounding", moved, all)
}

// TestFoldRefusesOtherNetworks names the node.
func TestFoldRefusesOtherNetworks(t *testing.T) {
	e := newEngine(t, 1)
	v := rl.View{C: 4, H: 10, W: 10, Code: rl.Planes}
	for _, c := range []struct{ arch, bits, want string }{
		{Conv, "fp32", "policy"}, {CoreNet, "fp32", "want a spike"}, {CoreNet, Binary, "want ternary weights"}, {Conv, Ternary, "policy"},
	} {
		g, err := DefaultStudent(c.arch, c.bits).Build(v, 3)
		if err != nil {
			t.Fatal(err)
		}
		a := &rl.Agent{Graph: g, Store: tensor.NewStore(), Info: rl.AgentInfo{View: v, Mode: rl.Greedy}}
		if err := graph.InitParams(g, a.Store, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := Fold(e, a); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: error %v, want one with %q", c.arch, c.bits, err, c.want)
		}
	}
	a := trained(t)
	gamma := a.Store.Get("conv2.norm.weight").Float32s()
	gamma[3] = -1
	if _, err := Fold(e, a); err == nil || !strings.Contains(err.Error(), "conv2.norm: channel 3") {
		t.Errorf("error %v, want one about channel 3 of conv2.norm", err)
	}
}
