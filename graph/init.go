package graph

import (
	"fmt"
	"hash/fnv"
	"math"

	"lowbit/internal/rng"
	"lowbit/tensor"
)

// InitParams fills the parameters of g that the store lacks, each as its Init
// says; those that the store holds stay as they are. The value of an element
// depends on the seed, the parameter's name and the element's position alone,
// so neither the order of parameters nor other networks in the same store
// matter.
//
// It is an error if the store holds a parameter with another type or shape, or
// if an Init is unknown; the store is unchanged then.
func InitParams(g *Graph, store *tensor.Store, seed uint64) error {
	if g.err != nil {
		return g.err
	}
	var missing []Param
	for _, n := range g.Params() {
		p := n.op.(Param)
		switch have := store.Get(p.Name); {
		case have == nil:
			if err := p.Init.check(); err != nil {
				return fmt.Errorf("graph: param %q: %w", p.Name, err)
			}
			missing = append(missing, p)
		case have.DType() != tensor.F32 || !have.Shape().Equal(p.Shape):
			return fmt.Errorf("graph: param %q: %w: store has %v, want %v", p.Name, tensor.ErrShape, have, n.typ)
		}
	}
	for _, p := range missing {
		t := tensor.New(tensor.F32, p.Shape...)
		p.Init.fill(t.Float32s(), seed, p.Name)
		if err := store.Put(p.Name, t); err != nil {
			return err
		}
	}
	return nil
}

func (i Init) check() error {
	switch i.Kind {
	case InitConst, InitNormal, InitUniform:
	default:
		return fmt.Errorf("init %q, want %s, %s or %s", i.Kind, InitConst, InitNormal, InitUniform)
	}
	if math.IsNaN(i.Value) || math.IsInf(i.Value, 0) {
		return fmt.Errorf("init value %g, want a finite number", i.Value)
	}
	return nil
}

// fill sets v. Four elements share one block of random words, so a network of
// 100 million weights takes seconds.
func (i Init) fill(v []float32, seed uint64, name string) {
	if i.Kind == InitConst {
		for k := range v {
			v[k] = float32(i.Value)
		}
		return
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	s := rng.New(seed, h.Sum64())
	var four [4]float64
	for at := 0; at < len(v); at += 4 {
		w := s.At(uint64(at / 4))
		if i.Kind == InitNormal {
			four[0], four[1] = boxMuller(w[0], w[1])
			four[2], four[3] = boxMuller(w[2], w[3])
		} else {
			for k := range four {
				four[k] = 2*float64(rng.Unit32(w[k])) - 1
			}
		}
		for k := range min(4, len(v)-at) {
			v[at+k] = float32(i.Value * four[k])
		}
	}
}

// boxMuller makes two standard normal numbers of two random words. The largest
// magnitude is 6.7: the radius comes from 32 bits.
func boxMuller(a, b uint32) (x, y float64) {
	u := (float64(a) + 1) * 0x1p-32 // (0, 1]: the logarithm is finite
	r := math.Sqrt(-2 * math.Log(u))
	sin, cos := math.Sincos(2 * math.Pi * 0x1p-32 * float64(b))
	return r * cos, r * sin
}
