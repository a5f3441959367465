// Package quant describes integer grids: bit widths, signs, granularity,
// rounding, and how a step is found from values. It knows neither graphs nor
// training.
//
// A grid with step s holds the values s*q for integer codes q in [-Qn, Qp].
// Rounding is to nearest, ties to even, everywhere in lowbit.
package quant

import (
	"fmt"
)

// Granularity tells how many elements share one step.
type Granularity uint8

// Granularities. PerChannel is along Spec.Axis; PerGroup splits the last axis
// into runs of Spec.Group elements; PerToken has one step for each row of the
// last axis.
const (
	PerTensor Granularity = iota
	PerChannel
	PerGroup
	PerToken
)

var granularityNames = [...]string{"tensor", "channel", "group", "token"}

// String returns "tensor", "channel", "group" or "token".
func (g Granularity) String() string {
	if int(g) < len(granularityNames) {
		return granularityNames[g]
	}
	return fmt.Sprintf("granularity(%d)", uint8(g))
}

// Spec is one quantizer's grid.
type Spec struct {
	Bits        int         `json:"bits"`            // signed 2..8 or 16, unsigned 1..8
	Signed      bool        `json:"signed"`          // codes from -2^(Bits-1)
	Granularity Granularity `json:"granularity"`     // which elements share a step
	Axis        int         `json:"axis,omitempty"`  // of PerChannel, logical order
	Group       int         `json:"group,omitempty"` // elements a group, of PerGroup
	// Zero is the zero point of an asymmetric grid, unsigned alone: the number
	// q-Zero of a stored q in 0..2^Bits-1 is the code, so codes begin at -Zero.
	Zero int `json:"zero,omitempty"`
}

// Qn returns the magnitude of the lowest code: 2^(Bits-1), or Zero if unsigned.
func (s Spec) Qn() int {
	if s.Signed {
		return 1 << (s.Bits - 1)
	}
	return s.Zero
}

// Qp returns the highest code: 2^(Bits-1)-1, or 2^Bits-1-Zero if unsigned.
func (s Spec) Qp() int {
	if s.Signed {
		return 1<<(s.Bits-1) - 1
	}
	return 1<<s.Bits - 1 - s.Zero
}

// Levels returns the number of codes, 2^Bits.
func (s Spec) Levels() int { return 1 << s.Bits }

// Validate returns an error if the width does not exist.
func (s Spec) Validate() error {
	switch {
	case s.Signed && (s.Bits < 2 || s.Bits > 8) && s.Bits != 16:
		return fmt.Errorf("quant: signed bits %d outside 2..8, 16", s.Bits)
	case !s.Signed && (s.Bits < 1 || s.Bits > 8):
		return fmt.Errorf("quant: unsigned bits %d outside 1..8", s.Bits)
	case s.Zero < 0 || s.Zero >= 1<<s.Bits || s.Signed && s.Zero != 0:
		return fmt.Errorf("quant: zero point %d of %d bits, want 0..2^bits-1 and 0 of a signed grid", s.Zero, s.Bits)
	case s.Granularity > PerToken:
		return fmt.Errorf("quant: unknown granularity %d", s.Granularity)
	case s.Granularity == PerGroup && s.Group < 1:
		return fmt.Errorf("quant: group size %d, want at least 1", s.Group)
	}
	return nil
}

// String returns such as "s4", "u8/channel0", or "u8-114" for zero point 114.
func (s Spec) String() string {
	p := fmt.Sprintf("u%d", s.Bits)
	switch {
	case s.Signed:
		p = fmt.Sprintf("s%d", s.Bits)
	case s.Zero != 0:
		p = fmt.Sprintf("u%d-%d", s.Bits, s.Zero)
	}
	switch s.Granularity {
	case PerTensor:
		return p
	case PerChannel:
		return fmt.Sprintf("%s/channel%d", p, s.Axis)
	case PerGroup:
		return fmt.Sprintf("%s/group%d", p, s.Group)
	}
	return fmt.Sprintf("%s/%v", p, s.Granularity)
}
