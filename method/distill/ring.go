package distill

import (
	"fmt"
	"math"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/optim"
	"lowbit/rl"
	"lowbit/tensor"
)

// ring keeps the last states with the teacher's outputs. Its storage lies in
// the student's store as training state, so that checkpoints hold it.
type ring struct {
	views         []byte
	q             []float32
	head          []int64 // [1]: states written in all
	size, nb, out int
}

// newRing puts a ring of size states into a store.
func newRing(store *tensor.Store, name string, size, viewBytes, outputs int) (*ring, error) {
	parts := []*tensor.Tensor{tensor.New(tensor.U8, size, viewBytes), tensor.New(tensor.F32, size, outputs), tensor.New(tensor.I64, 1)}
	for i, what := range []string{"views", "outputs", "head"} {
		if err := store.Put(optim.StateName(name, what), parts[i]); err != nil {
			return nil, fmt.Errorf("distill: %w", err)
		}
	}
	return &ring{parts[0].Uint8s(), parts[1].Float32s(), parts[2].Int64s(), size, viewBytes, outputs}, nil
}

// push adds a state.
func (r *ring) push(view []byte, q []float32) {
	at := int(r.head[0] % int64(r.size))
	copy(r.views[at*r.nb:(at+1)*r.nb], view)
	copy(r.q[at*r.out:(at+1)*r.out], q)
	r.head[0]++
}

// len returns the states kept.
func (r *ring) len() int { return int(min(r.head[0], int64(r.size))) }

// pick writes a batch of states, uniform with repetition: the network's input
// and the teacher's outputs.
func (r *ring) pick(v rl.View, x, q []float32, s *rng.Stream) {
	n := v.Size()
	for i := range len(q) / r.out {
		k := s.Intn(r.len())
		v.Floats(x[i*n:(i+1)*n], r.views[k*r.nb:(k+1)*r.nb])
		copy(q[i*r.out:(i+1)*r.out], r.q[k*r.out:(k+1)*r.out])
	}
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

// oneHot writes 1 at each row's largest output.
func oneHot(q, pi, entropy []float32) {
	out := len(q) / len(entropy)
	for r := range entropy {
		best := argmax(q[r*out : (r+1)*out])
		for k := range out {
			pi[r*out+k] = 0
		}
		pi[r*out+best] = 1
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
