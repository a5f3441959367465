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
	w := l.Weights[o*g.fanIn : (o+1)*g.fanIn]
	first := o / g.cout * g.cin
	if g.in.H*g.in.W == 1 && g.kh*g.kw == 1 && g.ph+g.pw == 0 { // a dense layer
		return dot(w, in[first:])
	}
	top, left := y*g.sh-g.ph, x*g.sw-g.pw
	j0, j1 := max(0, -left), min(g.kw, g.in.W-left) // columns that are not padding
	var s int32
	for c := range g.cin {
		for i := max(0, -top); i < min(g.kh, g.in.H-top); i++ {
			if j0 < j1 {
				at := (c*g.kh + i) * g.kw
				s += dot(w[at+j0:at+j1], in[((first+c)*g.in.H+top+i)*g.in.W+left+j0:])
			}
		}
	}
	return s
}

func dot(w []int8, x []int32) int32 {
	var s int32
	x = x[:len(w)]
	for i, v := range w {
		s += int32(v) * x[i]
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
