package neuro_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"lowbit/neuro"
)

// The specification's counts: 46 cores, and 509 without the copies that
// overlapping patches take.
func TestCoreCounts(t *testing.T) {
	r := seeded(t, 10)
	small, big := mustMap(t, minatarNet(r)), mustMap(t, atariNet(r))
	if n := len(small.Cores); n > 46 {
		t.Errorf("10x10 net: %d cores, want at most 46", n)
	}
	if n := len(big.Cores); n < 400 || n > 560 {
		t.Errorf("84x84 net: %d cores, want about 509", n)
	}
	res := big.Resources()
	var direct, split int
	for i := range big.Cores {
		for _, n := range big.Cores[i].Neurons {
			if big.Layers[big.Cores[i].Layer].Ticks == 2 && !big.Cores[i].Splitter {
				if n.Delay == 2 {
					direct++
				} else {
					split++
				}
			}
		}
	}
	if res.Splitters == 0 || split == 0 {
		t.Error("the 84x84 net has no splitters: the test says nothing")
	}
	t.Logf("%d splitters; in their layers %d neurons reach their axon with delay 2, %d drive a splitter", res.Splitters, direct, split)
	cores, neurons := 0, 0
	for _, l := range res.Layers {
		cores += l.Cores
		neurons += l.Neurons
	}
	if cores != res.Cores || neurons != res.Neurons || res.LatencyTicks != 8 {
		t.Errorf("resources do not add up: %+v", res)
	}
}

func TestPlacementShortensTheWay(t *testing.T) {
	net := minatarNet(seeded(t, 11))
	snake := neuro.DefaultConfig()
	snake.Swaps = 0
	a, err := neuro.Map(net, snake)
	if err != nil {
		t.Fatal(err)
	}
	b := mustMap(t, net)
	if before, after := a.Resources().LinkHops, b.Resources().LinkHops; after >= before {
		t.Errorf("%d hops after the exchanges, %d before", after, before)
	} else {
		t.Logf("hops %d -> %d", before, after)
	}
}

// Errors name the layer, what it needs, the limit, and what would fit.
func TestMapRefusesWhatDoesNotFit(t *testing.T) {
	r := seeded(t, 12)
	wide := chain(r, neuro.Shape{C: 64, H: 4, W: 4}, 2, conv("wide", 96, 3, 1, 1, 1))
	odd := chain(r, neuro.Shape{C: 1, H: 12, W: 12}, 2, conv("big", 4, 12, 1, 0, 1))
	flat := chain(r, neuro.Shape{C: 5, H: 10, W: 10}, 2, linear("full", 100, 1))
	many := chain(r, neuro.Shape{C: 1, H: 64, W: 64}, 2, conv("many", 32, 1, 1, 0, 1))
	small := neuro.Config{MaxCores: 20}
	for _, c := range []struct {
		net  *neuro.Net
		cfg  neuro.Config
		want []string
	}{
		{wide, neuro.DefaultConfig(), []string{`layer "wide"`, "fan-in 576", "at most 128", "groups 8 is the smallest"}},
		{odd, neuro.DefaultConfig(), []string{`layer "big"`, "fan-in 144", "no group count that divides 1 inputs and 4 outputs"}},
		{flat, neuro.DefaultConfig(), []string{`layer "full"`, "fan-in 500", "groups 4 is"}},
		{many, small, []string{`layer "many"`, "cores", "want at most 20"}},
	} {
		_, err := neuro.Map(c.net, c.cfg)
		if !errors.Is(err, neuro.ErrLimit) {
			t.Errorf("error %v, want a core limit", err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q lacks %q", err, w)
			}
		}
	}
	wide.Layers[0] = chain(r, wide.Input, 2, conv("wide", 96, 3, 1, 1, 8)).Layers[0]
	proved(t, wide) // the advice is right
	for _, cfg := range []neuro.Config{{MaxCores: 0}, {MaxCores: 5000}, {MaxCores: 1, Swaps: -1}} {
		if _, err := neuro.Map(wide, cfg); err == nil {
			t.Errorf("config %+v is accepted", cfg)
		}
	}
}

func TestCheckNamesTheFault(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*neuro.Net)
	}{
		{"no layers", func(n *neuro.Net) { n.Layers = nil }},
		{"shape 0x5x5", func(n *neuro.Net) { n.Input.C = 0 }},
		{"elements", func(n *neuro.Net) { n.Input = neuro.Shape{C: 1 << 12, H: 1 << 12, W: 2} }},
		{"input shape 9x5x5", func(n *neuro.Net) { n.Layers[0].In.C = 9 }},
		{`kind "pool"`, func(n *neuro.Net) { n.Layers[0].Kind = "pool" }},
		{"stride 0", func(n *neuro.Net) { n.Layers[0].Stride[1] = 0 }},
		{"larger than the padded input", func(n *neuro.Net) { n.Layers[0].Kernel[0] = 9 }},
		{"groups do not divide", func(n *neuro.Net) { n.Layers[0].Groups = 3 }},
		{"weights and", func(n *neuro.Net) { n.Layers[0].Weights = n.Layers[0].Weights[1:] }},
		{"weight 3 of output 0 is 2", func(n *neuro.Net) { n.Layers[0].Weights[3] = 2 }},
		{"permutation of 1", func(n *neuro.Net) { n.Layers[0].Perm = []int32{0} }},
		{"not a permutation", func(n *neuro.Net) { n.Layers[0].Perm = []int32{0, 1, 1, 2} }},
		{"99 actions", func(n *neuro.Net) { n.Actions = 99 }},
		{"output: shape 0x4x4", func(n *neuro.Net) { n.Layers[0].Out = 0 }},
	} {
		net := chain(seeded(t, 13), neuro.Shape{C: 4, H: 5, W: 5}, 2, conv("c", 8, 2, 1, 0, 2), linear("l", 6, 1))
		if err := net.Check(); err != nil {
			t.Fatal(err)
		}
		c.change(net)
		_, mapErr := neuro.Map(net, neuro.DefaultConfig())
		for _, err := range []error{net.Check(), mapErr} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		}
	}
}

// a >= Threshold is the sign of the batch norm for every integer a.
func TestThresholdFoldsBatchNorm(t *testing.T) {
	r := seeded(t, 14)
	for range 2000 {
		mean, sigma := r.NormFloat64()*10, math.Exp(r.NormFloat64())
		gamma, beta := math.Exp(r.NormFloat64()), r.NormFloat64()
		th, err := neuro.Threshold(mean, sigma, gamma, beta, 128)
		if err != nil {
			t.Fatal(err)
		}
		for a := -128; a <= 128; a++ {
			v := gamma*(float64(a)-mean)/sigma + beta
			if math.Abs(v) < 1e-9 {
				continue // rounding decides
			}
			if (v >= 0) != (int32(a) >= th) {
				t.Fatalf("mean %v, sigma %v, gamma %v, beta %v: a=%d gives %v, threshold %d", mean, sigma, gamma, beta, a, v, th)
			}
		}
	}
	for _, bad := range [][4]float64{{0, 0, 1, 0}, {0, 1, -1, 0}, {math.NaN(), 1, 1, 0}, {0, math.NaN(), 1, 0}} {
		if _, err := neuro.Threshold(bad[0], bad[1], bad[2], bad[3], 8); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

// Every limit of the core, one at a time.
func TestValidateNamesTheLimit(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*neuro.Network)
	}{
		{"0 cores", func(n *neuro.Network) { n.Cores = nil }},
		{"4097 cores", func(n *neuro.Network) { n.Cores = make([]neuro.Core, 4097) }},
		{"9 outputs of", func(n *neuro.Network) { n.Outputs, n.Cores = 9, n.Cores[:1] }},
		{"mesh of side 65", func(n *neuro.Network) { n.Width = 65 }},
		{"0 inputs", func(n *neuro.Network) { n.Inputs = 0 }},
		{"latency 0", func(n *neuro.Network) { n.Latency = 0 }},
		{"no layers", func(n *neuro.Network) { n.Layers = nil }},
		{"start 9", func(n *neuro.Network) { n.Layers[0].Start = 9 }},
		{"layer 7 of", func(n *neuro.Network) { n.Cores[0].Layer = 7 }},
		{"outside the mesh", func(n *neuro.Network) { n.Cores[0].X = 99 }},
		{"place", func(n *neuro.Network) { n.Cores[0].X, n.Cores[0].Y = n.Cores[1].X, n.Cores[1].Y }},
		{"257 neurons", func(n *neuro.Network) { n.Cores[0].Neurons = make([]neuro.Neuron, 257) }},
		{"axon 3 has type 4", func(n *neuro.Network) { n.Cores[0].Type[3] = 4 }},
		{"weight 256 of type 2", func(n *neuro.Network) { n.Cores[0].Neurons[0].Weights[2] = 256 }},
		{"leak", func(n *neuro.Network) { n.Cores[0].Neurons[0].Leak = 1 << 19 }},
		{"threshold", func(n *neuro.Network) { n.Cores[0].Neurons[0].Theta = -1<<19 - 1 }},
		{"negative threshold 1", func(n *neuro.Network) { n.Cores[0].Neurons[0].NegTheta = 1 }},
		{"reset potential", func(n *neuro.Network) { n.Cores[0].Neurons[0].VReset = 1 << 20 }},
		{"delay 16", func(n *neuro.Network) { n.Cores[0].Neurons[0].Delay = 16 }},
		{"reset mode 4", func(n *neuro.Network) { n.Cores[0].Neurons[0].Reset = 4 }},
		{"linear reset", func(n *neuro.Network) {
			n.Cores[0].Neurons[0].Reset, n.Cores[0].Neurons[0].Theta = neuro.ResetLinear, -1
		}},
		{"unit -1", func(n *neuro.Network) { n.Cores[0].Neurons[0].Unit = -1 }},
		{"target core 99", func(n *neuro.Network) { n.Cores[0].Neurons[0].Target = 99 }},
		{"output 99", func(n *neuro.Network) { n.Cores[0].Neurons[0].Target = neuro.OutputTarget(99) }},
		{"has another neuron", func(n *neuro.Network) { n.Cores[0].Neurons[0].Target = neuro.OutputTarget(0) }},
		{"route 0", func(n *neuro.Network) { n.Routes[0].Core = 99 }},
		{"sorted", func(n *neuro.Network) { n.Routes[0].Input = 5 }},
	} {
		nw := tiny(t)
		c.change(nw)
		if err := nw.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
		if _, err := neuro.NewSimulator(nw, 1); err == nil {
			t.Errorf("%s: the simulator takes it", c.want)
		}
	}
}
