package mixed

import (
	"context"
	"fmt"
	"math"

	"lowbit/quant"
	"lowbit/tensor"
)

// Problem is a network whose groups are to get widths.
type Problem struct {
	*Network
	Store *tensor.Store // parameters of Network.Graph
	// Widths are the allowed precisions, narrowest first.
	Widths []quant.Width
	Cost   CostModel
	// Select are the groups without a fixed width, positions in
	// Network.Groups; Costs[i][k] is what group Select[i] costs at Widths[k].
	Select []int
	Costs  [][]int64
}

// Square returns widths of equal weight and activation bits, as Problem.Widths
// wants them whatever their order here.
func Square(bits ...int) []quant.Width {
	w := make([]quant.Width, len(bits))
	for i, b := range bits {
		w[i] = quant.Width{Weight: b, Act: b}
		for j := i; j > 0 && w[j].Weight < w[j-1].Weight; j-- {
			w[j], w[j-1] = w[j-1], w[j]
		}
	}
	return w
}

// NewProblem prices all groups. widths must have at least two entries, each
// wider than the one before in weights or activations and narrower in neither
// (Square sorts). It is an error if the network has no group to select.
func NewProblem(n *Network, store *tensor.Store, widths []quant.Width, cost CostModel) (*Problem, error) {
	if len(widths) < 2 {
		return nil, fmt.Errorf("mixed: %d precisions, want at least 2", len(widths))
	}
	for i, w := range widths {
		if w.Weight == 0 || w.Act == 0 {
			return nil, fmt.Errorf("mixed: precision %v, want bits for weights and activations", w)
		}
		if err := (quant.BitPlan{Default: w}).Validate(); err != nil {
			return nil, fmt.Errorf("mixed: precision %v: %w", w, err)
		}
		if i > 0 && (w == widths[i-1] || w.Weight < widths[i-1].Weight || w.Act < widths[i-1].Act) {
			return nil, fmt.Errorf("mixed: precision %v behind %v, want the narrowest first", w, widths[i-1])
		}
	}
	p := &Problem{Network: n, Store: store, Widths: widths, Cost: cost}
	for i, g := range n.Groups {
		if g.Fixed != nil {
			continue
		}
		costs := make([]int64, len(widths))
		for k, w := range widths {
			c, err := p.groupCost(i, w)
			if err != nil {
				return nil, err
			}
			costs[k] = c
		}
		p.Select, p.Costs = append(p.Select, i), append(p.Costs, costs)
	}
	if len(p.Select) == 0 {
		return nil, fmt.Errorf("mixed: all %d groups have a fixed width: nothing to select", len(n.Groups))
	}
	return p, nil
}

func (p *Problem) groupCost(group int, w quant.Width) (int64, error) {
	var sum int64
	for _, l := range p.Groups[group].Layers {
		c, err := p.Cost.Cost(p.Layers[l], w)
		if err != nil {
			return 0, fmt.Errorf("mixed: cost of %s at %v: %w", p.Layers[l].Name, w, err)
		}
		if c < 0 {
			return 0, fmt.Errorf("mixed: cost of %s at %v is %d, want 0 or more", p.Layers[l].Name, w, c)
		}
		sum += c
	}
	return sum, nil
}

// Total is the cost of all selected groups at Widths[k]; fixed ones do not
// count.
func (p *Problem) Total(k int) int64 {
	var sum int64
	for _, c := range p.Costs {
		sum += c[k]
	}
	return sum
}

// AllHigh is the cost with every group at the widest precision: budgets are
// shares of it.
func (p *Problem) AllHigh() int64 { return p.Total(len(p.Widths) - 1) }

// Capacity returns the cost that a budget stands for, a share of AllHigh. It is
// an error if the share is not in (0, 1] or no choice costs as little.
func (p *Problem) Capacity(budget float64) (int64, error) {
	high := p.AllHigh()
	if !(budget > 0 && budget <= 1) {
		return 0, fmt.Errorf("mixed: budget %g, want a share of the cost at %v, above 0 and at most 1", budget, p.Widths[len(p.Widths)-1])
	}
	if high == 0 {
		return 0, fmt.Errorf("mixed: the groups cost nothing at %v: no budget means anything", p.Widths[len(p.Widths)-1])
	}
	var least int64
	for _, c := range p.Costs {
		m := c[0]
		for _, x := range c {
			m = min(m, x)
		}
		least += m
	}
	// A share such as 0.7 is not a float64: round what is whole but for that.
	exact := budget * float64(high)
	capacity := int64(math.Floor(exact))
	if r := math.Round(exact); math.Abs(exact-r) <= 1e-12*exact {
		capacity = int64(r)
	}
	if capacity < least {
		return 0, fmt.Errorf("mixed: budget %g of the cost at %v: %w: the cheapest choice takes %.4f", budget, p.Widths[len(p.Widths)-1], ErrInfeasible, float64(least)/float64(high))
	}
	return capacity, nil
}

// Gains are what a Scorer finds: values for the knapsack, or an order.
type Gains struct {
	// Values[i][k] is the gain of group Select[i] from Widths[k] over
	// Widths[0]; Values[i][0] is 0.
	Values [][]float64 `json:"values,omitempty"`
	// Order, if there are no values, are positions in Select: groups are
	// lowered in this order until the budget is met.
	Order []int `json:"order,omitempty"`
	// Notes are for the user: what was clipped, what was assumed.
	Notes []string `json:"notes,omitempty"`
	// TrialSeconds is the wall time of the trials behind the gains, by all
	// processes and earlier sessions; 0 without trials.
	TrialSeconds float64 `json:"trial_seconds,omitempty"`
}

// Scorer tells what groups gain from a wider precision.
type Scorer interface {
	Score(ctx context.Context, p *Problem) (Gains, error)
}

// Check returns an error that names the group whose gain is not finite, or says
// what else does not fit the problem.
func (g Gains) Check(p *Problem) error {
	if g.Values == nil {
		seen := make([]bool, len(p.Select))
		for _, i := range g.Order {
			if i < 0 || i >= len(seen) || seen[i] {
				return fmt.Errorf("mixed: order %v of %d groups, want each once", g.Order, len(seen))
			}
			seen[i] = true
		}
		if len(g.Order) != len(seen) {
			return fmt.Errorf("mixed: order of %d groups, want %d", len(g.Order), len(seen))
		}
		return nil
	}
	if len(g.Values) != len(p.Select) {
		return fmt.Errorf("mixed: gains of %d groups, want %d", len(g.Values), len(p.Select))
	}
	for i, v := range g.Values {
		name := p.Groups[p.Select[i]].Name
		if len(v) != len(p.Widths) {
			return fmt.Errorf("mixed: group %s: %d gains, want one for each of %d precisions", name, len(v), len(p.Widths))
		}
		for k, x := range v {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return fmt.Errorf("mixed: group %s: the gain from %v is %g, want a finite number", name, p.Widths[k], x)
			}
		}
	}
	return nil
}

// PerLayer sums a value of each layer's weight at each width into gains of
// groups over the narrowest width. A weight that several layers share counts
// once.
func (p *Problem) PerLayer(value func(l Layer, w quant.Width) (float64, error)) ([][]float64, error) {
	values := make([][]float64, len(p.Select))
	for i, g := range p.Select {
		values[i] = make([]float64, len(p.Widths))
		for k, w := range p.Widths {
			for _, l := range p.Groups[g].Layers {
				if p.Layers[l].Params == 0 {
					continue
				}
				v, err := value(p.Layers[l], w)
				if err != nil {
					return nil, fmt.Errorf("mixed: %s at %v: %w", p.Layers[l].Name, w, err)
				}
				values[i][k] += v
			}
		}
		for k := len(p.Widths) - 1; k >= 0; k-- {
			values[i][k] -= values[i][0]
		}
	}
	return values, nil
}
