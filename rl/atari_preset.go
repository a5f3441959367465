package rl

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// AtariOptions says how an Atari game is played and shown.
type AtariOptions struct {
	Preset  string        // one of AtariPresets; default "dqn2015"
	Python  string        // interpreter with ale-py; default $LOWBIT_PYTHON, else python3
	Workers int           // processes that share the games; default 1
	Timeout time.Duration // for one answer of a worker; default 60 s

	command []string // of the worker, for tests
	plain   bool     // screens as gray or RGB, not as codes; for tests
}

// DefaultAtari returns preset dqn2015, one worker and a minute's patience.
func DefaultAtari() AtariOptions {
	return AtariOptions{Preset: "dqn2015", Workers: 1, Timeout: time.Minute}
}

// AtariPreset is a complete evaluation protocol: two scores of one game compare
// only under the same preset.
type AtariPreset struct {
	Name string
	// An action lasts SkipMin .. SkipMax frames, drawn uniformly.
	SkipMin, SkipMax int
	// Max shows the element-wise maximum of the last two frames, else the last.
	Max bool
	// Sticky is the emulator's chance, at each frame, to keep the previous action.
	Sticky float64
	// NoopMax frames at most, at least one, pass at the start of an episode; 0: none.
	NoopMax int
	// Fire presses FIRE at the start where the game has that action.
	Fire bool
	// FullActions offers all 18 actions, else those with an effect.
	FullActions bool
	// MaxFrames of emulator time cut an episode; 0: never.
	MaxFrames int
	// Stack frames of Size x Size form an observation, oldest first, black before
	// the episode's start.
	Size, Stack int

	view view
}

// view is how a screen becomes a gray square.
type view uint8

const (
	// viewArea: the emulator's luminance, resized by area.
	viewArea view = iota
	// viewBaby: rows 35..194, mean of R, G, B, darkest to brightest stretched over
	// 0..255, resized by a triangle filter of the reduction's width.
	viewBaby
	// viewAsync: .7152 R + .0722 G + .2126 B (as its emulator binding ordered the
	// colours), cut to whole numbers, resized by
	// bilinear interpolation of the four nearest pixels.
	viewAsync
)

func (v view) colour() string {
	if v == viewArea {
		return "gray"
	}
	return "rgb"
}

// atariPresets: dqn2015 is Mnih et al. 2015; machado2018 is Machado et al. 2018
// (arXiv 1709.06009); baby-a3c and async-rl are what the published teachers of
// these names were trained with. All but machado2018 are without sticky actions.
var atariPresets = []AtariPreset{
	{Name: "dqn2015", SkipMin: 4, SkipMax: 4, Max: true, NoopMax: 30, Fire: true, MaxFrames: 18000, Size: 84, Stack: 4},
	{Name: "machado2018", SkipMin: 4, SkipMax: 4, Max: true, Sticky: 0.25, FullActions: true, MaxFrames: 108000, Size: 84, Stack: 4},
	{Name: "baby-a3c", SkipMin: 2, SkipMax: 4, MaxFrames: 108000, Size: 80, Stack: 1, view: viewBaby},
	{Name: "async-rl", SkipMin: 4, SkipMax: 4, Max: true, NoopMax: 30, MaxFrames: 108000, Size: 84, Stack: 4, view: viewAsync},
}

// AtariPresets returns the evaluation protocols.
func AtariPresets() []AtariPreset { return slices.Clone(atariPresets) }

func findPreset(name string) (AtariPreset, error) {
	var names []string
	for _, p := range atariPresets {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return AtariPreset{}, fmt.Errorf("rl: unknown Atari preset %q, want one of %s", name, strings.Join(names, ", "))
}
