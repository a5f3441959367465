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
}

// Qn returns the magnitude of the lowest code: 2^(Bits-1), or 0 if unsigned.
func (s Spec) Qn() int {
	if s.Signed {
		return 1 << (s.Bits - 1)
	}
	return 0
}

// Qp returns the highest code: 2^(Bits-1)-1, or 2^Bits-1 if unsigned.
func (s Spec) Qp() int {
	if s.Signed {
		return 1<<(s.Bits-1) - 1
	}
	return 1<<s.Bits - 1
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
	case s.Granularity > PerToken:
		return fmt.Errorf("quant: unknown granularity %d", s.Granularity)
	case s.Granularity == PerGroup && s.Group < 1:
		return fmt.Errorf("quant: group size %d, want at least 1", s.Group)
	}
	return nil
}

// String returns such as "s4" or "u8/channel0".
func (s Spec) String() string {
	p := "u"
	if s.Signed {
		p = "s"
	}
	switch s.Granularity {
	case PerTensor:
		return fmt.Sprintf("%s%d", p, s.Bits)
	case PerChannel:
		return fmt.Sprintf("%s%d/channel%d", p, s.Bits, s.Axis)
	case PerGroup:
		return fmt.Sprintf("%s%d/group%d", p, s.Bits, s.Group)
	}
	return fmt.Sprintf("%s%d/%v", p, s.Bits, s.Granularity)
}
