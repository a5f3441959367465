// Package rl holds the environments that policies are trained and measured on:
// five small games of the MinAtar family, written in Go, and the Atari 2600
// games behind a worker process. It serves the low-precision policy
// distillation of arXiv 1809.09260.
//
// Every environment is a VecEnv: N games in lock-step, actions in,
// observations, rewards and episode ends out, all in buffers of the caller.
// Stepping allocates nothing. The same seed gives the same games on every
// machine.
package rl

import (
	"fmt"
	"strings"
)

// Format says how an observation lies in the caller's buffer.
type Format uint8

const (
	// Bytes is one byte an element in channel, height, width order: 0 or 1 for
	// bit planes, 0..255 for gray frames.
	Bytes Format = iota
	// Bits is one bit an element: element e of channel-height-width order is
	// bit e%8 of byte e/8, and the unused high bits of the last byte are 0.
	Bits
)

// EnvSpec describes an environment.
type EnvSpec struct {
	Name     string // as given to New, e.g. "minatar/breakout"
	Version  string // changes whenever the same seed and actions give other games
	Envs     int    // games in lock-step
	C, H, W  int    // shape of one observation
	Format   Format
	Actions  []string // name of each action; its index is the action
	Minimal  []int32  // the actions that have an effect in this game
	Channels []string // name of each channel, nil for gray frames
}

// ObsBytes returns the size of one observation in bytes.
func (s EnvSpec) ObsBytes() int {
	if s.Format == Bits {
		return (s.C*s.H*s.W + 7) / 8
	}
	return s.C * s.H * s.W
}

// Episode is a finished game.
type Episode struct {
	Env    int     // which of the N games
	Return float64 // undiscounted sum of raw rewards
	Length int     // decisions
	// Final is the last observation, before the automatic reset. It belongs to
	// the environment and is valid until the next call of Step or Reset.
	Final []byte
}

// VecEnv is N environments in lock-step. It is not safe for concurrent use.
type VecEnv interface {
	// Spec describes the environment; the slices in it must not be changed.
	Spec() EnvSpec
	// Reset starts all games anew. Game i depends on (seed, i) alone. obs
	// [N, ObsBytes] receives the first observations.
	Reset(seed uint64, obs []byte) error
	// Step plays one decision of every game.
	//
	//	act    [N]            index into Spec().Actions
	//	obs    [N, ObsBytes]  the observation after it; of the next episode's start where one ended
	//	rew    [N]            raw reward
	//	done   [N]            the game is over
	//	trunc  [N]            the episode was cut at its longest length
	//
	// Where done or trunc is set, the game has been reset in the same step.
	// A wrong length or action is an error before any game moves.
	Step(act []int32, obs []byte, rew []float32, done, trunc []bool) error
	// Finished returns the episodes that ended in the last Step, by game. The
	// slice is reused by the next Step.
	Finished() []Episode
	// Close frees what the environment holds; it may be called twice.
	Close() error
}

// Rester is a VecEnv that can leave games alone, where playing them is dear.
type Rester interface {
	// Rest lets a game stand still until the next Reset: Step neither moves it nor
	// changes its observation, whatever its action; its reward is 0.
	Rest(game int)
}

// Options configures New. The zero value of a field asks for its default.
type Options struct {
	Envs     int    // games in lock-step; default 1
	Format   Format // Bytes, or Bits for minatar games
	MaxSteps int    // decisions before an episode is cut; 0: the game's or the preset's own limit

	MinAtar *MinAtarOptions // nil: DefaultMinAtar
	Atari   *AtariOptions   // nil: DefaultAtari

}

// MaxEnvs bounds Options.Envs.
const MaxEnvs = 1 << 16

// New opens the environment "minatar/GAME" or "ale/GAME". Errors list the
// names there are.
func New(name string, o Options) (VecEnv, error) {
	if o.Envs == 0 {
		o.Envs = 1
	}
	if o.Envs < 0 || o.Envs > MaxEnvs {
		return nil, fmt.Errorf("rl: %d environments, want 1..%d", o.Envs, MaxEnvs)
	}
	if o.MaxSteps < 0 {
		return nil, fmt.Errorf("rl: episode limit of %d steps, want 0 or more", o.MaxSteps)
	}
	if o.Format > Bits {
		return nil, fmt.Errorf("rl: observation format %d, want Bytes or Bits", o.Format)
	}
	suite, game, found := strings.Cut(name, "/")
	switch {
	case found && suite == "minatar":
		return newMinAtar(game, o)
	case found && suite == "ale":
		return newAtari(game, o)
	}
	return nil, fmt.Errorf("rl: unknown environment %q, want ale/GAME or one of %s",
		name, strings.Join(MinAtarNames(), ", "))
}

// checkStep reports buffers that do not fit s or actions that it lacks.
func checkStep(s *EnvSpec, act []int32, obs []byte, rew []float32, done, trunc []bool) error {
	if len(act) != s.Envs || len(rew) != s.Envs || len(done) != s.Envs || len(trunc) != s.Envs {
		return fmt.Errorf("rl: %s: %d actions, %d rewards, %d dones, %d truncs for %d games",
			s.Name, len(act), len(rew), len(done), len(trunc), s.Envs)
	}
	for i, a := range act {
		if uint32(a) >= uint32(len(s.Actions)) {
			return fmt.Errorf("rl: %s: game %d: action %d, want 0..%d", s.Name, i, a, len(s.Actions)-1)
		}
	}
	return checkObs(s, obs)
}

// checkObs reports an observation buffer of the wrong size.
func checkObs(s *EnvSpec, obs []byte) error {
	if want := s.Envs * s.ObsBytes(); len(obs) != want {
		return fmt.Errorf("rl: %s: observation buffer of %d bytes, want %d x %d",
			s.Name, len(obs), s.Envs, s.ObsBytes())
	}
	return nil
}
