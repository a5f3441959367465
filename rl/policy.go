package rl

import (
	"fmt"
	"math"

	"lowbit/internal/rng"
)

// Policy chooses actions for the N games of one environment.
type Policy interface {
	// Act reads the observations obs [N, ObsBytes] and writes act [N]. fresh [N]
	// says which games have just begun: a policy with memory clears its state
	// there.
	Act(obs []byte, fresh []bool, act []int32) error
}

// Random is the uniform policy over a list of actions.
type Random struct {
	actions []int32
	stream  rng.Stream
}

// NewRandom returns the uniform policy over actions 0 .. n-1.
func NewRandom(n int, seed uint64) *Random {
	r := &Random{stream: rng.New(seed, randomDomain)}
	for a := range int32(n) {
		r.actions = append(r.actions, a)
	}
	return r
}

// randomDomain keeps the random policy's numbers apart from those of a game
// with the same seed.
const randomDomain = 0x706f6c696379

// Act implements Policy.
func (r *Random) Act(_ []byte, _ []bool, act []int32) error {
	if len(r.actions) == 0 {
		return fmt.Errorf("rl: random policy without actions")
	}
	for i := range act {
		act[i] = r.actions[r.stream.Intn(len(r.actions))]
	}
	return nil
}

// Stats summarises the returns of episodes.
type Stats struct {
	Episodes   int
	Mean       float64 // of the returns
	SD         float64 // sample standard deviation; 0 for one episode
	SE         float64 // standard error of Mean: SD/sqrt(Episodes)
	Min, Max   float64
	MeanLength float64 // decisions
	Returns    []float64
}

// Summarize computes Stats of the given episodes.
func Summarize(eps []Episode) Stats {
	s := Stats{Episodes: len(eps)}
	if s.Episodes == 0 {
		return s
	}
	n := float64(s.Episodes)
	s.Min, s.Max = math.Inf(1), math.Inf(-1)
	for _, e := range eps {
		s.Returns = append(s.Returns, e.Return)
		s.Mean += e.Return / n
		s.MeanLength += float64(e.Length) / n
		s.Min, s.Max = min(s.Min, e.Return), max(s.Max, e.Return)
	}
	if s.Episodes > 1 {
		var squares float64
		for _, r := range s.Returns {
			squares += (r - s.Mean) * (r - s.Mean)
		}
		s.SD = math.Sqrt(squares / (n - 1))
		s.SE = s.SD / math.Sqrt(n)
	}
	return s
}

// Evaluate plays until the given number of episodes has ended and summarises
// them. Each of the N games contributes its first episodes/N (some one more):
// counting whichever ends first would favour short ones. A game that has played
// its share rests where the environment can let it.
func Evaluate(env VecEnv, p Policy, episodes int, seed uint64) (Stats, error) {
	spec := env.Spec()
	n := spec.Envs
	if episodes < 1 {
		return Stats{}, fmt.Errorf("rl: evaluate %d episodes, want 1 or more", episodes)
	}
	obs := make([]byte, n*spec.ObsBytes())
	act, rew := make([]int32, n), make([]float32, n)
	done, trunc, fresh := make([]bool, n), make([]bool, n), make([]bool, n)
	quota := make([]int, n)
	for i := range episodes {
		quota[i%n]++
	}
	for i := range fresh {
		fresh[i] = true
	}
	if err := env.Reset(seed, obs); err != nil {
		return Stats{}, err
	}
	played := make([]Episode, 0, episodes)
	rester, canRest := env.(Rester)
	for len(played) < episodes {
		if err := p.Act(obs, fresh, act); err != nil {
			return Stats{}, err
		}
		if err := env.Step(act, obs, rew, done, trunc); err != nil {
			return Stats{}, err
		}
		for i := range fresh {
			fresh[i] = done[i] || trunc[i]
		}
		for _, e := range env.Finished() {
			if quota[e.Env] > 0 {
				if quota[e.Env]--; quota[e.Env] == 0 && canRest {
					rester.Rest(e.Env)
				}
				e.Final = nil
				played = append(played, e)
			}
		}
	}
	return Summarize(played), nil
}
