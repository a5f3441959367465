package distill

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/optim"
	"lowbit/rl"
	"lowbit/tensor"
)

// ring keeps the last states with the teacher's outputs. Its storage lies in
// the student's store as training state, so that checkpoints hold it. Of a view
// that is a stack of screens only the newest is kept: the others are those of
// the game's states before.
type ring struct {
	views []byte // [size, frame]
	q     []float32
	head  []int64 // [1]: states written in all
	// back [size] is how many states before it the same game's last one came; 0 at
	// an episode's start. last [games] counts, as head does, each game's last state.
	back    []int32
	last    []int64
	size    int
	nb, out int    // bytes of a view, outputs
	frame   int    // bytes kept of a view
	view    []byte // [nb], of a state that is picked
}

// newRing puts a ring of size states, of any number of games, into a store.
func newRing(store *tensor.Store, name string, size, games int, v rl.View, outputs int) (*ring, error) {
	r := &ring{size: size, nb: v.Bytes(), frame: v.Bytes() / v.Screens(), out: outputs, last: make([]int64, games), view: make([]byte, v.Bytes())}
	if least := 2 * games * v.Screens(); r.frame < r.nb && size < least {
		return nil, fmt.Errorf("distill: ring of %d states, want at least %d for %d games of %d screens a view", size, least, games, v.Screens())
	}
	parts := []*tensor.Tensor{tensor.New(tensor.U8, size, r.frame), tensor.New(tensor.F32, size, outputs), tensor.New(tensor.I64, 1)}
	names := []string{"views", "outputs", "head"}
	if r.frame < r.nb {
		parts, names = append(parts, tensor.New(tensor.I32, size)), append(names, "back")
		r.back = parts[3].Int32s()
	}
	for i, what := range names {
		if err := store.Put(optim.StateName(name, what), parts[i]); err != nil {
			return nil, fmt.Errorf("distill: %w", err)
		}
	}
	r.views, r.q, r.head = parts[0].Uint8s(), parts[1].Float32s(), parts[2].Int64s()
	return r, nil
}

// push adds a state of a game. A view that is a stack of screens must begin
// with those of the game's state before, or with black ones.
func (r *ring) push(game int, view []byte, q []float32) error {
	at := int(r.head[0] % int64(r.size))
	if r.back != nil {
		older := view[:r.nb-r.frame]
		back := r.head[0] - r.last[game]
		switch {
		case blank(older):
			back = 0
		case r.head[0] == 0 || back < 1 || back > int64(r.size) || !bytes.Equal(older, r.read(int(r.last[game] % int64(r.size)))[r.frame:]):
			return fmt.Errorf("distill: the screens of game %d do not follow those of its state before", game)
		}
		r.back[at] = int32(back)
		r.last[game] = r.head[0]
	}
	copy(r.views[at*r.frame:(at+1)*r.frame], view[r.nb-r.frame:])
	copy(r.q[at*r.out:(at+1)*r.out], q)
	r.head[0]++
	return nil
}

// blank reports whether all bytes are 0.
func blank(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
	}
	for _, v := range b {
		if v != 0 {
			return false
		}
	}
	return true
}

// len returns the states kept.
func (r *ring) len() int { return int(min(r.head[0], int64(r.size))) }

// read returns the view of state k, valid until the next call, or nil if a
// screen of it is no longer kept.
func (r *ring) read(k int) []byte {
	if r.back == nil {
		return r.views[k*r.nb : (k+1)*r.nb]
	}
	age := (r.head[0] - 1 - int64(k)) % int64(r.size) // states since
	for end := r.nb; end > 0; end -= r.frame {
		copy(r.view[end-r.frame:end], r.views[k*r.frame:(k+1)*r.frame])
		back := int(r.back[k])
		if back == 0 {
			clear(r.view[:end-r.frame])
			break
		}
		if age += int64(back); end > r.frame && age >= int64(r.len()) {
			return nil
		}
		k = (k - back + r.size) % r.size
	}
	return r.view
}

// pick writes a batch of states, uniform with repetition: the network's input
// and the teacher's outputs.
func (r *ring) pick(v rl.View, x, q []float32, s *rng.Stream) {
	n := v.Size()
	for i := range len(q) / r.out {
		k := s.Intn(r.len())
		view := r.read(k)
		for view == nil { // of the oldest states
			k = s.Intn(r.len())
			view = r.read(k)
		}
		v.Floats(x[i*n:(i+1)*n], view)
		copy(q[i*r.out:(i+1)*r.out], r.q[k*r.out:(k+1)*r.out])
	}
}

// whole returns the states from k on, at most n, whose views can be read.
func (r *ring) whole(k, n int) (states []int, next int) {
	for ; k < r.len() && len(states) < n; k++ {
		if r.read(k) != nil {
			states = append(states, k)
		}
	}
	return states, k
}

// Targets writes pi = softmax((q - max q)/tau), tau above 0, of each row of out
// elements, and each row's sum of pi*ln(pi).
//
//	q        [rows, outputs]
//	pi       [rows, outputs], may be q
//	entropy  [rows]
func Targets(q, pi, entropy []float32, tau float64) {
	out := len(q) / len(entropy)
	for r := range entropy {
		row, p := q[r*out:(r+1)*out], pi[r*out:(r+1)*out]
		top := float64(row[argmax(row)])
		var sum, dot float64
		for _, v := range row {
			d := (float64(v) - top) / tau
			sum += math.Exp(d)
			dot += math.Exp(d) * d
		}
		// ln(pi) = d - ln(sum), so sum(pi*ln(pi)) = dot/sum - ln(sum).
		if math.IsNaN(dot) { // e^-inf * -inf, which counts nothing
			dot = 0
		}
		entropy[r] = float32(dot/sum - math.Log(sum))
		for k, v := range row {
			p[k] = float32(math.Exp((float64(v)-top)/tau) / sum)
		}
	}
}

// oneHot replaces each row by 1 at its largest element and 0 elsewhere.
func oneHot(q, entropy []float32) {
	out := len(q) / len(entropy)
	for r := range entropy {
		row := q[r*out : (r+1)*out]
		best := argmax(row)
		clear(row)
		row[best] = 1
		entropy[r] = 0
	}
}

// Inputs of the training graph.
const (
	targetName  = "target"  // f32 [B, actions]: pi, or q for MSE
	entropyName = "entropy" // f32 [B]: sum of pi*ln(pi)
)

// lossGraph adds the loss to an inference graph of a batch: for KL and NLL the
// mean of entropy - sum(target*log softmax(z)), for MSE that of the squared
// distance. Batch norms train and ternary weights keep their state.
func lossGraph(g *graph.Graph, batch int, loss Loss) (*graph.Graph, error) {
	g, err := graph.WithBatch(g, batch)
	if err == nil {
		g, err = graph.Training(g, nil)
	}
	if err == nil {
		g, err = graph.TrackTernary(g)
	}
	if err != nil {
		return nil, fmt.Errorf("distill: %w", err)
	}
	z := g.OutputNode(rl.LogitsName)
	target := g.Input(targetName, tensor.F32, z.Shape()...)
	if loss == MSE {
		d := g.Sub(z, target)
		g.Output("loss", g.Mean(g.Sum(g.Mul(d, d), 1)))
		return g, g.Err()
	}
	entropy := g.Input(entropyName, tensor.F32, batch)
	logp := g.Apply(graph.Softmax{Log: true}, z)
	g.Output("loss", g.Mean(g.Sub(entropy, g.Sum(g.Mul(target, logp), 1))))
	return g, g.Err()
}
