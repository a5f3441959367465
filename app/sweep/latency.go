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

// latencyName keeps a sweep's measurement: every call selects and draws by the
// same times.
const latencyName = "latency.json"

// CostNamed returns a cost model for a network; a measured one takes the time of
// one example through each layer, at the widths and at those of fixed layers, on
// so many threads. progress may be nil.
func CostNamed(ctx context.Context, name string, n *mixed.Network, widths []quant.Width, threads int, progress func(done, total int)) (mixed.CostModel, error) {
	if name != MeasuredCost {
		return mixed.CostNamed(name)
	}
	return times(ctx, n, widths, threads, progress)
}

// times measures a network's layers.
func times(ctx context.Context, n *mixed.Network, widths []quant.Width, threads int, progress func(done, total int)) (*infer.Latency, error) {
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
	l, _, err := s.latency(ctx, n)
	return l, err
}

// latency returns the layers' times: those in the directory, or new ones.
func (s *sweep) latency(ctx context.Context, n *mixed.Network) (l *infer.Latency, found bool, err error) {
	l = new(infer.Latency)
	if found, err = readJSON(s.path(latencyName), l); err != nil || found {
		return l, found, err
	}
	at := Progress{Method: "layer times", Scoring: true}
	l, err = times(ctx, n, s.Widths, s.job.Engine.Threads(), func(done, total int) {
		at.Done, at.All = done, total
		s.progress(at)
	})
	if err != nil {
		err = fmt.Errorf("sweep: times of layers: %w", err)
	}
	return l, false, err
}

// measure finds the layers' times, if the sweep shows them or counts in them, and
// keeps them in the directory.
func (s *sweep) measure(ctx context.Context) error {
	l, counts := s.problem.Cost.(*infer.Latency)
	if !counts && !s.Times {
		return nil
	}
	if !counts {
		var err error
		if l, _, err = s.latency(ctx, s.problem.Network); err != nil {
			return err
		}
	}
	if err := writeNew(s.path(latencyName), l); err != nil {
		return err
	}
	if counts { // by the times on record, which another process may have measured
		if err := s.check(ctx); err != nil {
			return err
		}
		l = s.problem.Cost.(*infer.Latency)
	}
	s.times = l
	s.result.Times = &Times{Kernel: l.Kernel, Threads: l.Threads}
	return nil
}

// ms is the time of one example through all layers of a choice, fixed ones
// included; 0 if no times are measured.
func (s *sweep) ms(choice []int) (float64, error) {
	if s.times == nil {
		return 0, nil
	}
	var ns int64
	p := s.problem
	for _, l := range p.Layers {
		w := p.Groups[l.Group].Fixed
		if w == nil {
			w = &p.Widths[choice[slices.Index(p.Select, l.Group)]]
		}
		t, err := s.times.Cost(l, *w)
		if err != nil {
			return 0, fmt.Errorf("sweep: %w", err)
		}
		ns += t
	}
	return float64(ns) / 1e6, nil
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
