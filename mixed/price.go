package mixed

import (
	"fmt"
	"slices"
)

// Price is what a choice costs in some model: in its unit, and as a share of the
// cost with every group at the widest precision.
type Price struct {
	CostModel string  `json:"cost_model"`
	CostUnit  string  `json:"cost_unit"`
	Cost      float64 `json:"cost"`
	Units     int64   `json:"units"`
}

// Price prices a choice in another model than the problem's.
func (p *Problem) Price(choice []int, m CostModel) (Price, error) {
	out := Price{CostModel: m.Name(), CostUnit: m.Unit()}
	var high int64
	for _, l := range p.Layers {
		i := slices.Index(p.Select, l.Group)
		if i < 0 {
			continue
		}
		at, err := m.Cost(l, p.Widths[choice[i]])
		if err != nil {
			return out, fmt.Errorf("mixed: %s of %s: %w", m.Name(), l.Name, err)
		}
		widest, err := m.Cost(l, p.Widths[len(p.Widths)-1])
		if err != nil {
			return out, fmt.Errorf("mixed: %s of %s: %w", m.Name(), l.Name, err)
		}
		out.Units, high = out.Units+at, high+widest
	}
	out.Cost = float64(out.Units) / float64(high)
	return out, nil
}
