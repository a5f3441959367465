package generate

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"lowbit/internal/rng"
)

// Sampling says how the next token is chosen.
type Sampling struct {
	// Temperature divides the logits; 0: the likeliest token, always.
	Temperature float64
	// TopK leaves the K likeliest tokens; 0: all.
	TopK int
	// TopP then leaves the likeliest tokens that together have at least this
	// probability (Holtzman et al., arXiv 1904.09751); 0 or 1: all.
	TopP float64
	// Seed is that of the draws.
	Seed uint64
}

// Validate returns an error that names the first setting that makes no sense.
func (s Sampling) Validate() error {
	switch {
	case !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0):
		return fmt.Errorf("generate: temperature %g, want 0 or more", s.Temperature)
	case s.TopK < 0:
		return fmt.Errorf("generate: top-k %d, want 0 or more", s.TopK)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("generate: top-p %g, want 0 to 1", s.TopP)
	}
	return nil
}

// sampler draws tokens.
type sampler struct {
	Sampling
	rank []candidate
}

type candidate struct {
	id int32
	p  float64 // logit, then probability
}

// drawDomain keeps these draws apart from others of the same seed.
const drawDomain = 'g'

// next chooses the token behind position at: the draw depends on the seed and
// the position alone.
func (s *sampler) next(logits []float32, at int) int32 {
	if s.Temperature == 0 {
		return int32(slices.Index(logits, slices.Max(logits)))
	}
	s.rank = s.rank[:0]
	for i, v := range logits {
		s.rank = append(s.rank, candidate{int32(i), float64(v) / s.Temperature})
	}
	slices.SortFunc(s.rank, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.p, a.p), cmp.Compare(a.id, b.id))
	})
	if s.TopK > 0 && s.TopK < len(s.rank) {
		s.rank = s.rank[:s.TopK]
	}
	top, total := s.rank[0].p, 0.0
	for i := range s.rank {
		s.rank[i].p = math.Exp(s.rank[i].p - top)
		total += s.rank[i].p
	}
	if s.TopP > 0 && s.TopP < 1 {
		total = s.nucleus(s.TopP * total)
	}
	random := rng.New(drawDomain, s.Seed, uint64(at))
	u := random.Float64() * total
	for _, c := range s.rank {
		if u -= c.p; u < 0 {
			return c.id
		}
	}
	return s.rank[len(s.rank)-1].id
}

// nucleus leaves the likeliest candidates that have at least enough, and
// returns what they have.
func (s *sampler) nucleus(enough float64) float64 {
	var sum float64
	for i, c := range s.rank {
		if sum += c.p; sum >= enough {
			s.rank = s.rank[:i+1]
			break
		}
	}
	return sum
}
