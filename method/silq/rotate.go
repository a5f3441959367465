package silq

import (
	"fmt"
	"math"

	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/tensor"
)

// turn is an orthogonal transform R of vectors of n = 2^k * m values: random signs,
// a cosine transform (DCT-II) over m, a Hadamard transform over 2^k. What one
// feature holds is spread over all of them.
type turn struct {
	signs  []float64
	cosine [][]float64 // [m][m], orthonormal rows
	buffer []float64
}

func newTurn(n int, key uint64) *turn {
	m := n
	for m%2 == 0 {
		m /= 2
	}
	t := &turn{signs: make([]float64, n), cosine: make([][]float64, m), buffer: make([]float64, n)}
	random := rng.New('t', key)
	for i := range t.signs {
		t.signs[i] = float64(1 - 2*random.Intn(2))
	}
	for f := range t.cosine {
		t.cosine[f] = make([]float64, m)
		scale := math.Sqrt(2 / float64(m))
		if f == 0 {
			scale = math.Sqrt(1 / float64(m))
		}
		for j := range m {
			t.cosine[f][j] = scale * math.Cos(math.Pi*(float64(j)+0.5)*float64(f)/float64(m))
		}
	}
	return t
}

// apply replaces v, every step-th value from the first, by its product with R.
func (t *turn) apply(v []float32, step int) {
	m, n := len(t.cosine), len(t.buffer)
	x := t.buffer
	for i := 0; i < n; i += m {
		for f, row := range t.cosine {
			var sum float64
			for j, c := range row {
				sum += c * t.signs[i+j] * float64(v[(i+j)*step])
			}
			x[i+f] = sum
		}
	}
	for half := m; half < n; half *= 2 {
		for i := 0; i < n; i += 2 * half {
			for j := i; j < i+half; j++ {
				x[j], x[j+half] = x[j]+x[j+half], x[j]-x[j+half]
			}
		}
	}
	scale := math.Sqrt(float64(m) / float64(n))
	for i, y := range x {
		v[i*step] = float32(y * scale)
	}
}

// rows applies R to each row of a matrix, in pieces of R's size.
func (t *turn) rows(v []float32) {
	for ; len(v) > 0; v = v[len(t.buffer):] {
		t.apply(v, 1)
	}
}

// columns applies R to each column of a matrix [out, in], in pieces of R's size.
func (t *turn) columns(v []float32, in int) {
	for n := len(t.buffer) * in; len(v) > 0; v = v[n:] {
		for j := range in {
			t.apply(v[j:n], in)
		}
	}
}

// Rotate turns a decoder's residual stream, and its values within each head, by
// orthogonal transforms that are folded into the weights, after QuaRot (Ashkboos et
// al., arXiv 2404.00456): the model computes what it did, up to rounding, but no
// feature of the stream stands out, and every weight is a mixture of many. Gains of
// norms go into the weights behind them; a tied head becomes one of its own. What
// QuaRot does at run time, keys and the input of down_proj, stays as it is.
//
// The store's tensors are replaced or changed; it returns the description of the
// turned model. Errors: a weight is missing or of another shape.
func Rotate(c model.Llama, s *tensor.Store) (model.Llama, error) {
	g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: 1})
	if err != nil {
		return c, fmt.Errorf("silq: rotation: %w", err)
	}
	for _, p := range g.Params() {
		if t := s.Get(p.Name()); t == nil || t.DType() != tensor.F32 || !t.Shape().Equal(p.Shape()) {
			return c, fmt.Errorf("silq: rotation: %q: the store has %v, want f32%v", p.Name(), t, p.Shape())
		}
	}
	embedding := s.Get("model.embed_tokens.weight")
	if c.Tied {
		if err := put(s, "lm_head.weight", embedding.Clone()); err != nil {
			return c, fmt.Errorf("silq: rotation: %w", err)
		}
		c.Tied = false
	}
	r := rotator{s: s, stream: newTurn(c.Dim, 'r'), head: newTurn(c.HeadWidth(), 'h')}
	r.stream.rows(embedding.Float32s())
	for i := range c.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		r.values(p + "self_attn.")
		r.read(p+"input_layernorm", p+"self_attn.q_proj", p+"self_attn.k_proj", p+"self_attn.v_proj")
		r.write(p+"self_attn.o_proj", p+"mlp.down_proj")
		r.read(p+"post_attention_layernorm", p+"mlp.gate_proj", p+"mlp.up_proj")
	}
	r.read("model.norm", "lm_head")
	return c, nil
}

// rotator turns the weights of a store.
type rotator struct {
	s            *tensor.Store
	stream, head *turn
}

// read turns layers that read the stream behind a norm, whose gains they take.
func (r rotator) read(norm string, layers ...string) {
	gains := r.s.Get(norm + ".weight").Float32s()
	for _, name := range layers {
		w := r.s.Get(name + ".weight").Float32s()
		for i := range w {
			w[i] *= gains[i%len(gains)]
		}
		r.stream.rows(w)
	}
	for i := range gains {
		gains[i] = 1
	}
}

// write turns layers that add to the stream.
func (r rotator) write(layers ...string) {
	for _, name := range layers {
		w := r.s.Get(name + ".weight")
		r.stream.columns(w.Float32s(), w.Shape()[1])
		if b := r.s.Get(name + ".bias"); b != nil {
			r.stream.rows(b.Float32s())
		}
	}
}

// values turns the values of each head: what writes them and what reads them.
func (r rotator) values(attention string) {
	v := r.s.Get(attention + "v_proj.weight")
	r.head.columns(v.Float32s(), v.Shape()[1])
	if b := r.s.Get(attention + "v_proj.bias"); b != nil {
		r.head.rows(b.Float32s())
	}
	r.head.rows(r.s.Get(attention + "o_proj.weight").Float32s())
}
