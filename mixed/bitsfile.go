package mixed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/quant"
)

// ErrNetwork is wrapped by the error for a bits file of another network.
var ErrNetwork = errors.New("made for another network")

// bitsVersion is the layout of a bits file.
const bitsVersion = 1

// maxBitsBytes bounds what ReadBits reads.
const maxBitsBytes = 16 << 20

// bitsFile is the JSON form. quant.ReadBitPlan reads it, too, without looking
// at the network.
type bitsFile struct {
	Version int    `json:"version"`
	Network string `json:"network"`
	quant.BitPlan
	Selection *Selection `json:"selection,omitempty"`
}

// WriteBits writes a bits file: the network's fingerprint, the bits of every
// layer, and how they were chosen (s may be nil).
func WriteBits(path string, n *Network, plan quant.BitPlan, s *Selection) error {
	if err := plan.Validate(); err != nil {
		return fmt.Errorf("mixed: bits file %s: %w", path, err)
	}
	return writeJSON(path, bitsFile{bitsVersion, n.Fingerprint, plan, s})
}

func writeJSON(path string, v any) error {
	if err := atomicfile.WriteJSON(path, v); err != nil {
		return fmt.Errorf("mixed: %w", err)
	}
	return nil
}

// ReadBits reads a bits file for the network g, with or without quantizers, at
// any batch size. The selection is nil if the file has none.
//
// Errors: a file that is none, layers that g lacks, and ErrNetwork if the file
// was made for another network.
func ReadBits(path string, g *graph.Graph) (quant.BitPlan, *Selection, error) {
	f, err := readBitsFile(path)
	if err != nil {
		return quant.BitPlan{}, nil, err
	}
	n, err := Link(g, Options{})
	if err != nil {
		return quant.BitPlan{}, nil, err
	}
	if err := f.fits(n); err != nil {
		return quant.BitPlan{}, nil, fmt.Errorf("mixed: bits file %s: %w", path, err)
	}
	return f.BitPlan, f.Selection, nil
}

func readBitsFile(path string) (bitsFile, error) {
	var f bitsFile
	file, err := os.Open(path)
	if err != nil {
		return f, fmt.Errorf("mixed: bits file: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxBitsBytes+1))
	if err != nil {
		return f, fmt.Errorf("mixed: bits file: %w", err)
	}
	if len(b) > maxBitsBytes {
		return f, fmt.Errorf("mixed: bits file %s: more than %d bytes", path, maxBitsBytes)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("mixed: bits file %s: %w", path, err)
	}
	if f.Version != bitsVersion {
		return f, fmt.Errorf("mixed: bits file %s: version %d, want %d", path, f.Version, bitsVersion)
	}
	if err := f.Validate(); err != nil {
		return f, fmt.Errorf("mixed: bits file %s: %w", path, err)
	}
	return f, nil
}

// fits compares the file with a network: unknown layers say more than a
// fingerprint and come first.
func (f bitsFile) fits(n *Network) error {
	var unknown []string
	for name := range f.Layers {
		if !slices.Contains(n.Tables, name) && !slices.ContainsFunc(n.Layers, func(l Layer) bool { return l.Name == name }) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	switch {
	case len(unknown) > 0:
		return fmt.Errorf("%w: it has no layer %q (%d unknown)", ErrNetwork, unknown[0], len(unknown))
	case f.Network != n.Fingerprint:
		return fmt.Errorf("%w: fingerprint %.12s, this one has %.12s", ErrNetwork, f.Network, n.Fingerprint)
	}
	return nil
}
