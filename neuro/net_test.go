package neuro_test

import (
	"math/rand/v2"
	"testing"

	"lowbit/neuro"
)

// randomWeights are ternary with about two fifths zeros, and thresholds near
// the middle of what the sums reach, so that bits are mixed.
func randomWeights(r *rand.Rand, l *neuro.Layer) {
	fanIn := l.FanIn()
	l.Weights = make([]int8, l.Out*fanIn)
	l.Thresholds = make([]int32, l.Out)
	for o := range l.Out {
		sum := 0
		for i := range fanIn {
			w := int8(0)
			if k := r.IntN(10); k < 3 {
				w = -1
			} else if k < 6 {
				w = 1
			}
			l.Weights[o*fanIn+i] = w
			sum += int(w)
		}
		l.Thresholds[o] = int32(sum/2 + r.IntN(5) - 1)
	}
}

func conv(name string, out, kernel, stride, pad, groups int) neuro.Layer {
	return neuro.Layer{Name: name, Kind: neuro.Conv, Out: out, Kernel: [2]int{kernel, kernel}, Stride: [2]int{stride, stride}, Pad: [2]int{pad, pad}, Groups: groups}
}

func linear(name string, out, groups int) neuro.Layer {
	return neuro.Layer{Name: name, Kind: neuro.Linear, Out: out, Groups: groups}
}

// chain gives the layers their input shapes, random weights, and a random
// permutation of the channels before each grouped layer.
func chain(r *rand.Rand, in neuro.Shape, actions int, layers ...neuro.Layer) *neuro.Net {
	net := &neuro.Net{Input: in, Actions: actions, Layers: layers}
	for i := range layers {
		l := &layers[i]
		l.In = in
		if l.Groups > 1 {
			n := in.C
			if l.Kind == neuro.Linear {
				n = in.Size()
			}
			for _, p := range r.Perm(n) {
				l.Perm = append(l.Perm, int32(p))
			}
		}
		randomWeights(r, l)
		in = l.OutShape()
	}
	return net
}

// minatarNet is the specification's net for 10x10 games.
func minatarNet(r *rand.Rand) *neuro.Net {
	return chain(r, neuro.Shape{C: 4, H: 10, W: 10}, 6,
		conv("conv1", 32, 3, 1, 0, 1), conv("conv2", 64, 2, 2, 0, 1), conv("conv3", 128, 2, 2, 0, 2),
		conv("conv4", 256, 2, 1, 0, 4), conv("vote", 96, 1, 1, 0, 2))
}

// atariNet is the specification's net for 84x84 frames.
func atariNet(r *rand.Rand) *neuro.Net {
	return chain(r, neuro.Shape{C: 4, H: 84, W: 84}, 18,
		conv("conv1", 32, 4, 4, 0, 1), conv("conv2", 64, 2, 2, 0, 1), conv("conv3", 128, 2, 2, 0, 2),
		conv("conv4", 256, 2, 1, 0, 4), conv("conv5", 512, 2, 2, 0, 8), conv("conv6", 512, 1, 1, 0, 4), conv("vote", 144, 2, 1, 0, 16))
}

func randomFrames(r *rand.Rand, net *neuro.Net, n int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		f := make([]byte, (net.Input.Size()+7)/8)
		for k := range f {
			f[k] = byte(r.Uint32())
			if i%3 == 1 {
				f[k] &= byte(r.Uint32()) // sparser frames
			}
		}
		frames[i] = f
	}
	return frames
}

func mustMap(tb testing.TB, net *neuro.Net) *neuro.Network {
	tb.Helper()
	nw, err := neuro.Map(net, neuro.DefaultConfig())
	if err != nil {
		tb.Fatal(err)
	}
	return nw
}

func seeded(tb testing.TB, seed uint64) *rand.Rand {
	tb.Helper()
	tb.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
