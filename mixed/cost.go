package mixed

import (
	"fmt"
	"slices"

	"lowbit/quant"
)

// CostModel prices a layer at a width. Costs of layers add up; they are whole
// numbers of the unit, so that a selection is exact. A model of measured times
// counts nanoseconds.
type CostModel interface {
	// Name of the model, such as "bit-macs".
	Name() string
	// Unit of its costs.
	Unit() string
	// Cost of one example through the layer, 0 or more.
	Cost(l Layer, w quant.Width) (int64, error)
}

// floatBits stands for a width of 0, which leaves values in float32.
const floatBits = 32

func bitsOr32(b int) int64 {
	if b == 0 {
		return floatBits
	}
	return int64(b)
}

// BitMACs is MACs times bits, linear in the precision: time on hardware whose
// rate doubles when the bits halve. Weights and input count alike; of different
// widths the wider one counts.
type BitMACs struct{}

// Name implements CostModel.
func (BitMACs) Name() string { return "bit-macs" }

// Unit implements CostModel.
func (BitMACs) Unit() string { return "MACs x bits" }

// Cost implements CostModel.
func (BitMACs) Cost(l Layer, w quant.Width) (int64, error) {
	return l.MACs * max(bitsOr32(w.Weight), bitsOr32(w.Act)), nil
}

// BitOps is MACs times weight bits times activation bits, quadratic in the
// precision.
type BitOps struct{}

// Name implements CostModel.
func (BitOps) Name() string { return "bit-ops" }

// Unit implements CostModel.
func (BitOps) Unit() string { return "MACs x weight bits x activation bits" }

// Cost implements CostModel.
func (BitOps) Cost(l Layer, w quant.Width) (int64, error) {
	return l.MACs * bitsOr32(w.Weight) * bitsOr32(w.Act), nil
}

// Bytes is the size of the packed weight.
type Bytes struct{}

// Name implements CostModel.
func (Bytes) Name() string { return "bytes" }

// Unit implements CostModel.
func (Bytes) Unit() string { return "bytes of weights" }

// Cost implements CostModel.
func (Bytes) Cost(l Layer, w quant.Width) (int64, error) {
	return (l.Params*bitsOr32(w.Weight) + 7) / 8, nil
}

// costModels are those that need no measurement.
var costModels = []CostModel{BitMACs{}, BitOps{}, Bytes{}}

// CostNamed returns the model of that name: "bit-macs", "bit-ops" or "bytes".
func CostNamed(name string) (CostModel, error) {
	i := slices.IndexFunc(costModels, func(c CostModel) bool { return c.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("mixed: cost %q, want bit-macs, bit-ops or bytes", name)
	}
	return costModels[i], nil
}
