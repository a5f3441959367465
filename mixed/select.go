package mixed

import (
	"context"
	"fmt"
	"slices"
	"time"

	"lowbit/quant"
)

// Selection is a width for each layer under a budget.
type Selection struct {
	Method string `json:"method,omitempty"`
	// Budget is what was asked for, Cost what the choice takes: shares of the
	// cost with every group at the widest precision.
	Budget float64 `json:"budget"`
	Cost   float64 `json:"cost"`
	// CostUnits, BudgetUnits and HighUnits (all groups at the widest) are in
	// CostUnit; Slack is what the choice leaves of the budget.
	CostModel   string `json:"cost_model"`
	CostUnit    string `json:"cost_unit"`
	CostUnits   int64  `json:"cost_units"`
	BudgetUnits int64  `json:"budget_units"`
	HighUnits   int64  `json:"high_units"`
	Slack       int64  `json:"slack"`
	// Gain is the sum over groups; 0 for a method that only orders them. Exact
	// and Bound are Solution's.
	Gain  float64 `json:"gain"`
	Exact bool    `json:"exact"`
	Bound float64 `json:"bound"`
	// Layers are all of the network, in graph order.
	Layers []Choice `json:"layers"`
	// Uniform are the costs of one precision for all groups.
	Uniform []Neighbour `json:"uniform"`
	Notes   []string    `json:"notes,omitempty"`
	// Seconds that scoring and selecting took.
	Seconds float64 `json:"seconds"`

	// Choice is the position in Problem.Widths for each group of
	// Problem.Select.
	Choice []int `json:"-"`
}

// Choice is what was chosen for one layer.
type Choice struct {
	Name  string `json:"name"`
	Group string `json:"group"` // its first layer
	Fixed bool   `json:"fixed,omitempty"`
	// Gain of the layer's whole group from the chosen width over the
	// narrowest; HighGain from the widest.
	Gain     float64 `json:"gain"`
	HighGain float64 `json:"high_gain"`
	// Cost of the layer at the chosen width, as a share like Selection.Cost;
	// those of layers that are not fixed add up to it.
	Cost    float64 `json:"cost"`
	Bits    int     `json:"bits"` // of the weights
	ActBits int     `json:"act_bits"`
}

// Neighbour is a uniform precision for comparison.
type Neighbour struct {
	Width quant.Width `json:"width"`
	Cost  float64     `json:"cost"`
}

// Select chooses a width for each group: by gains the exact best under the
// budget, else by lowering groups in order until it is met. What is left over
// then goes, in group order, to groups that lose nothing by a wider precision.
//
// Errors: gains that do not fit the problem or are not finite, a budget above
// the cost of the widest precision or below that of any choice (ErrInfeasible).
func Select(p *Problem, g Gains, budget float64) (*Selection, error) {
	if err := g.Check(p); err != nil {
		return nil, err
	}
	capacity, err := p.Capacity(budget)
	if err != nil {
		return nil, err
	}
	var sol Solution
	if g.Values == nil {
		sol = p.walk(g.Order, capacity)
	} else {
		options := make([][]Option, len(p.Select))
		for i := range options {
			for k := range p.Widths {
				options[i] = append(options[i], Option{p.Costs[i][k], g.Values[i][k]})
			}
		}
		if sol, err = Solve(options, capacity); err != nil {
			return nil, err
		}
		p.fill(&sol, g.Values, capacity)
	}
	return p.selection(g, sol, budget, capacity)
}

// SelectBy scores and selects; name becomes Selection.Method. Seconds is wall
// time, or that of the scorer's trials if these took longer, in other processes
// or before.
func SelectBy(ctx context.Context, p *Problem, name string, s Scorer, budget float64) (*Selection, error) {
	began := time.Now()
	if _, err := p.Capacity(budget); err != nil { // before the work of scoring
		return nil, err
	}
	g, err := s.Score(ctx, p)
	if err != nil {
		return nil, err
	}
	sel, err := Select(p, g, budget)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sel.Method, sel.Seconds = name, max(time.Since(began).Seconds(), g.TrialSeconds)
	return sel, nil
}

// walk lowers groups in order, each to the widest precision with which the
// budget is met, or to the cheapest.
func (p *Problem) walk(order []int, capacity int64) Solution {
	top := len(p.Widths) - 1
	sol := Solution{Choice: make([]int, len(p.Select)), Cost: p.AllHigh(), Exact: true}
	for i := range sol.Choice {
		sol.Choice[i] = top
	}
	for _, i := range order {
		costs := p.Costs[i]
		for k := top; k >= 0 && sol.Cost > capacity; k-- {
			if c := sol.Cost - costs[sol.Choice[i]] + costs[k]; c < sol.Cost {
				sol.Cost, sol.Choice[i] = c, k
			}
		}
	}
	return sol
}

// fill widens groups whose gain does not fall by it while the budget lasts.
func (p *Problem) fill(sol *Solution, gains [][]float64, capacity int64) {
	for i, at := range sol.Choice {
		for k := len(p.Widths) - 1; k > at; k-- {
			more := p.Costs[i][k] - p.Costs[i][at]
			if gains[i][k] >= gains[i][at] && more <= capacity-sol.Cost {
				sol.Choice[i] = k
				sol.Cost += more
				sol.Gain += gains[i][k] - gains[i][at]
				break
			}
		}
	}
	sol.Bound = max(sol.Bound, sol.Gain)
}

func (p *Problem) selection(g Gains, sol Solution, budget float64, capacity int64) (*Selection, error) {
	high := float64(p.AllHigh())
	s := &Selection{
		Budget: budget, Cost: float64(sol.Cost) / high,
		CostModel: p.Cost.Name(), CostUnit: p.Cost.Unit(),
		CostUnits: sol.Cost, BudgetUnits: capacity, HighUnits: p.AllHigh(), Slack: capacity - sol.Cost,
		Gain: sol.Gain, Exact: sol.Exact, Bound: sol.Bound, Notes: g.Notes, Choice: sol.Choice,
	}
	for k, w := range p.Widths {
		s.Uniform = append(s.Uniform, Neighbour{w, float64(p.Total(k)) / high})
	}
	for _, l := range p.Layers {
		w := p.width(l, sol.Choice)
		cost, err := p.Cost.Cost(l, w)
		if err != nil {
			return nil, fmt.Errorf("mixed: cost of %s at %v: %w", l.Name, w, err)
		}
		group := p.Groups[l.Group]
		c := Choice{
			Name: l.Name, Group: group.Name, Fixed: group.Fixed != nil,
			Cost: float64(cost) / high, Bits: w.Weight, ActBits: w.Act,
		}
		if i := slices.Index(p.Select, l.Group); i >= 0 && g.Values != nil {
			c.Gain, c.HighGain = g.Values[i][sol.Choice[i]], g.Values[i][len(p.Widths)-1]
		}
		s.Layers = append(s.Layers, c)
	}
	return s, nil
}

// width returns a layer's width under a choice.
func (p *Problem) width(l Layer, choice []int) quant.Width {
	if f := p.Groups[l.Group].Fixed; f != nil {
		return *f
	}
	return p.Widths[choice[slices.Index(p.Select, l.Group)]]
}

// Plan returns the bits of every layer under a choice of a width, a position in
// Widths, for each group of Select, and the network's treatment of residual
// adds.
func (p *Problem) Plan(choice []int) quant.BitPlan {
	plan := quant.BitPlan{Default: p.Widths[len(p.Widths)-1], Layers: map[string]quant.Width{}, Residual: p.Residual}
	for _, l := range p.Layers {
		plan.Layers[l.Name] = p.width(l, choice)
	}
	for _, name := range p.Tables {
		plan.Layers[name] = quant.Width{Weight: p.Outer, Act: p.Outer}
	}
	return plan
}

// Uniform returns the choice of Widths[k] for every group.
func (p *Problem) Uniform(k int) []int {
	c := make([]int, len(p.Select))
	for i := range c {
		c[i] = k
	}
	return c
}

// CostOf returns the cost of a choice as a share of AllHigh.
func (p *Problem) CostOf(choice []int) float64 {
	var sum int64
	for i, k := range choice {
		sum += p.Costs[i][k]
	}
	return float64(sum) / float64(p.AllHigh())
}
