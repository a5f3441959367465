package neuro

import "fmt"

// Forward evaluates the net in plain integers, layer by layer: the definition
// that the cores are compared with.
//
//	frame    Input.Size() bits
//	result   for each layer its output, packed in channel-height-width order
//
// The net must have passed Check.
func (n *Net) Forward(frame []byte) ([][]byte, error) {
	if want := bitBytes(n.Input.Size()); len(frame) != want {
		return nil, fmt.Errorf("neuro: forward: frame of %d bytes, want %d for %v", len(frame), want, n.Input)
	}
	out := make([][]byte, len(n.Layers))
	for i := range n.Layers {
		out[i] = n.Layers[i].forward(frame)
		frame = out[i]
	}
	return out, nil
}

func (l *Layer) forward(in []byte) []byte {
	g := l.geometry()
	x := make([]int32, g.in.Size()) // unpacked, channels permuted
	hw := g.in.H * g.in.W
	for c := range g.in.C {
		for p := range hw {
			x[c*hw+p] = int32(bitAt(in, g.source(c, 0, 0)+p))
		}
	}
	out := make([]byte, bitBytes(g.out.Size()))
	i := 0
	for o := range g.out.C {
		for y := range g.out.H {
			for xx := range g.out.W {
				if l.sum(&g, x, o, y, xx) >= l.Thresholds[o] {
					out[i>>3] |= 1 << (i & 7)
				}
				i++
			}
		}
	}
	return out
}

// sum is the weighted sum of output o at row y, column x.
func (l *Layer) sum(g *geometry, in []int32, o, y, x int) int32 {
	var s int32
	group := o / g.cout
	w := l.Weights[o*g.fanIn:]
	for c := range g.cin {
		plane := in[(group*g.cin+c)*g.in.H*g.in.W:]
		for i := range g.kh {
			row := y*g.sh - g.ph + i
			if row < 0 || row >= g.in.H {
				continue
			}
			for j := range g.kw {
				col := x*g.sw - g.pw + j
				if col >= 0 && col < g.in.W {
					s += int32(w[(c*g.kh+i)*g.kw+j]) * plane[row*g.in.W+col]
				}
			}
		}
	}
	return s
}

// Outputs returns the number of output bits.
func (n *Net) Outputs() int {
	if len(n.Layers) == 0 {
		return 0
	}
	return n.Layers[len(n.Layers)-1].OutShape().Size()
}

// Votes counts the output bits that vote for each action, output o for action
// o mod len(votes), and returns the action with most, the lowest at a tie.
//
//	out     count bits
//	votes   overwritten, at least one
func Votes(out []byte, count int, votes []int32) int {
	clear(votes)
	a := 0
	for o := range count {
		votes[a] += int32(bitAt(out, o))
		if a++; a == len(votes) {
			a = 0
		}
	}
	best := 0
	for a, v := range votes {
		if v > votes[best] {
			best = a
		}
	}
	return best
}
