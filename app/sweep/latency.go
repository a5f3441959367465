package sweep

import (
	"context"
	"fmt"
	"slices"

	"lowbit/infer"
	"lowbit/mixed"
	"lowbit/quant"
)

// MeasuredCost is the name of the cost model of times in the integer runtime.
const MeasuredCost = "latency"

// latencyName keeps a sweep's measurement: every call selects by the same times.
const latencyName = "latency.json"

// CostNamed returns a cost model for a network; a measured one takes the time of
// one example through each layer, at the widths and at those of fixed layers, on
// so many threads. progress may be nil.
func CostNamed(ctx context.Context, name string, n *mixed.Network, widths []quant.Width, threads int, progress func(done, total int)) (mixed.CostModel, error) {
	if name != MeasuredCost {
		return mixed.CostNamed(name)
	}
	widths = slices.Clone(widths)
	for _, g := range n.Groups {
		if g.Fixed != nil && !slices.Contains(widths, *g.Fixed) {
			widths = append(widths, *g.Fixed)
		}
	}
	return infer.MeasureLatency(ctx, n.Graph, widths, infer.LatencyOptions{Threads: threads, Progress: progress})
}

// cost returns the sweep's cost model: a measured one as it was measured first.
func (s *sweep) cost(ctx context.Context, n *mixed.Network) (mixed.CostModel, error) {
	if s.Cost != MeasuredCost {
		return mixed.CostNamed(s.Cost)
	}
	var l infer.Latency
	found, err := readJSON(s.path(latencyName), &l)
	if err != nil || found {
		return &l, err
	}
	at := Progress{Method: "layer times", Scoring: true}
	return CostNamed(ctx, s.Cost, n, s.Widths, s.job.Engine.Threads(), func(done, total int) {
		at.Done, at.All = done, total
		s.progress(at)
	})
}

// keepLatency writes what was measured into the directory.
func (s *sweep) keepLatency() error {
	l, ok := s.problem.Cost.(*infer.Latency)
	if !ok {
		return nil
	}
	if found, err := readJSON(s.path(latencyName), new(infer.Latency)); err != nil || found {
		return err
	}
	return writeJSON(s.path(latencyName), l)
}

// OtherCosts prices a choice in the models that are shown beside the one that
// budgets count in.
func OtherCosts(p *mixed.Problem, choice []int) ([]mixed.Price, error) {
	var out []mixed.Price
	for _, name := range []string{"bit-macs", "bytes"} {
		if name == p.Cost.Name() {
			continue
		}
		m, err := mixed.CostNamed(name)
		if err != nil {
			return nil, err
		}
		price, err := p.Price(choice, m)
		if err != nil {
			return nil, fmt.Errorf("sweep: %w", err)
		}
		out = append(out, price)
	}
	return out, nil
}
