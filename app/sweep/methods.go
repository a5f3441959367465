package sweep

import (
	"fmt"
	"slices"
	"strings"

	"lowbit/method/alps"
	"lowbit/method/eagl"
	"lowbit/method/hawq"
	"lowbit/method/oracle"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/train"
)

// Scoring are the settings of all methods.
type Scoring struct {
	EAGL   eagl.Scorer             `json:"eagl"`
	ALPS   alps.Config             `json:"alps"`
	HAWQ   hawq.Config             `json:"hawq"`
	Oracle oracle.Config           `json:"oracle"`
	Error  mixed.QuantizationError `json:"error"`
}

// DefaultScoring has every method's defaults; bits is the plan that the network
// was trained with.
func DefaultScoring(bits quant.BitPlan) Scoring {
	return Scoring{EAGL: eagl.New(), ALPS: alps.DefaultConfig(bits), HAWQ: hawq.DefaultConfig(), Oracle: oracle.DefaultConfig()}
}

// Source is what scorers work on.
type Source struct {
	// Base is the recipe that trials take batch, augmentation and seed from.
	Base train.Config
	// Job has the engine, the trained network and the training data; methods
	// that train nothing need only the first two.
	Job train.Job
	// Dir keeps trials, so that they are resumed and shared; empty: nothing is
	// kept.
	Dir string
	// Trials is told how many trials are done; nil: nobody.
	Trials func(done, all int)
}

// builders make each method's scorer; seed is that of random.
var builders = []struct {
	name  string
	build func(s Scoring, src Source, seed uint64) mixed.Scorer
}{
	{"eagl", func(s Scoring, _ Source, _ uint64) mixed.Scorer { return s.EAGL }},
	{"eagl-difference", func(s Scoring, _ Source, _ uint64) mixed.Scorer { return variant(s.EAGL, eagl.Difference) }},
	{"eagl-bits", func(s Scoring, _ Source, _ uint64) mixed.Scorer { return variant(s.EAGL, eagl.TotalBits) }},
	{"alps", func(s Scoring, src Source, _ uint64) mixed.Scorer {
		return alps.Scorer{Trainer: src.trainer(s.ALPS), Dir: src.Dir, Progress: src.Trials}
	}},
	{"hawq", func(s Scoring, src Source, _ uint64) mixed.Scorer {
		return hawq.Scorer{Config: s.HAWQ, Job: src.Job, Norm: src.Base.Norm}
	}},
	{"uniform", func(Scoring, Source, uint64) mixed.Scorer { return mixed.Uniform{} }},
	{"first-to-last", func(Scoring, Source, uint64) mixed.Scorer { return mixed.FirstToLast{} }},
	{"last-to-first", func(Scoring, Source, uint64) mixed.Scorer { return mixed.LastToFirst{} }},
	{"random", func(_ Scoring, _ Source, seed uint64) mixed.Scorer { return mixed.Random{Seed: seed} }},
	{"inverse-eagl", func(s Scoring, _ Source, _ uint64) mixed.Scorer { return mixed.Inverse{Of: s.EAGL} }},
	{"mse", func(s Scoring, _ Source, _ uint64) mixed.Scorer { return s.Error }},
	{"regression", func(s Scoring, src Source, _ uint64) mixed.Scorer {
		return oracle.Scorer{Config: s.Oracle, Trainer: src.trainer(s.ALPS), Dir: src.Dir, Progress: src.Trials}
	}},
}

// variant is EAGL with another form of the gain, as a method beside the one that
// Scoring names.
func variant(s eagl.Scorer, v eagl.Variant) mixed.Scorer {
	s.Variant = v
	return s
}

func (s Source) trainer(c alps.Config) *alps.Trainer {
	return &alps.Trainer{Config: c, Base: s.Base, Job: s.Job}
}

// Methods are the names that NewScorer knows.
func Methods() []string {
	names := make([]string, len(builders))
	for i, b := range builders {
		names[i] = b.name
	}
	return names
}

// NewScorer returns the scorer of a method by name. A Source directory serves
// one method.
func NewScorer(name string, s Scoring, src Source, seed uint64) (mixed.Scorer, error) {
	for _, b := range builders {
		if b.name == name {
			return b.build(s, src, seed), nil
		}
	}
	return nil, fmt.Errorf("sweep: method %q, want %s", name, strings.Join(Methods(), ", "))
}

// perSeed reports whether a method selects anew for each seed.
func perSeed(method string) bool { return method == "random" }

func known(method string) bool { return slices.Contains(Methods(), method) }
