package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"lowbit/engine"
	"lowbit/train"
)

// Part is one part of a training step: a fused chain of element-wise work, or
// one instruction such as a convolution.
type Part struct {
	// Plan is "step" (forward and backward) or "optimizer"; Stage counts its
	// stages. Parts of a stage run interleaved, a few rows at a time.
	Plan  string `json:"plan"`
	Stage int    `json:"stage"`
	// Kind is the kind of the operation, "elementwise" of a fused chain; Node
	// names its first node, Nodes counts those it computes.
	Kind  string `json:"kind"`
	Node  string `json:"node"`
	Nodes int    `json:"nodes"`
	Cost
}

// Cost is what a part, or all parts of a kind, take of a step.
type Cost struct {
	// MS is the time in milliseconds as part of the step's: that of all threads
	// together divided by their number. Share is its share of the step.
	MS    float64 `json:"ms"`
	Share float64 `json:"share"`
	// GFLOPS is 10^9 operations a second of all threads, two for each
	// multiply-add; PeakShare its share of the float32 peak, where both are known.
	GFLOPS    float64 `json:"gflops,omitempty"`
	PeakShare float64 `json:"peak_share,omitempty"`

	macs int64
}

// Kind is the sum of the parts of one kind.
type Kind struct {
	Kind  string `json:"kind"`
	Parts int    `json:"parts"`
	Cost
}

// WaitingKind is the Kind of the time that threads waited for others, spent
// between stages, or lost to other processes.
const WaitingKind = "waiting"

// Explanation is where the time of a step goes. Its steps are run apart from
// those of Result, since measuring each part costs time itself.
type Explanation struct {
	StepMS float64 `json:"step_ms"` // mean
	Kinds  []Kind  `json:"kinds"`   // most time first
	Parts  []Part  `json:"parts"`   // in the order they run
}

// explain runs steps with a clock on each part.
func explain(ctx context.Context, s *train.Stepper, r *Result, threads int) (*Explanation, error) {
	plans := []struct {
		name string
		plan *engine.Plan
	}{{"step", s.Forward}, {"optimizer", s.Update}}
	for _, p := range plans {
		p.plan.Profile(true)
		defer p.plan.Profile(false)
	}
	began := time.Now()
	for i := range r.Steps {
		if err := step(ctx, s, i); err != nil {
			return nil, err
		}
	}
	x := &Explanation{StepMS: ms(time.Since(began)) / float64(r.Steps)}
	waiting := x.StepMS
	for _, p := range plans {
		for _, c := range p.plan.Costs() {
			part := Part{Plan: p.name, Stage: c.Stage, Kind: c.Kind, Node: c.Node, Nodes: c.Nodes}
			part.MS, part.macs = ms(c.Busy)/float64(r.Steps*threads), c.MACs
			waiting -= part.MS
			x.Parts = append(x.Parts, part)
		}
	}
	x.sum(max(0, waiting))
	for i := range x.Parts {
		x.Parts[i].rate(x.StepMS, r.PeakGFLOPS)
	}
	for i := range x.Kinds {
		x.Kinds[i].rate(x.StepMS, r.PeakGFLOPS)
	}
	return x, nil
}

// sum makes the kinds of the parts.
func (x *Explanation) sum(waiting float64) {
	at := map[string]int{}
	for _, p := range x.Parts {
		name := p.Kind
		if p.Plan == "optimizer" {
			name = p.Plan
		}
		i, ok := at[name]
		if !ok {
			i = len(x.Kinds)
			at[name] = i
			x.Kinds = append(x.Kinds, Kind{Kind: name})
		}
		k := &x.Kinds[i]
		k.Parts, k.MS, k.macs = k.Parts+1, k.MS+p.MS, k.macs+p.macs
	}
	w := Kind{Kind: WaitingKind}
	w.MS = waiting
	x.Kinds = append(x.Kinds, w)
	slices.SortStableFunc(x.Kinds, func(a, b Kind) int { return cmp.Compare(b.MS, a.MS) })
}

func (c *Cost) rate(step, peak float64) {
	if c.Share = c.MS / step; c.macs == 0 || c.MS == 0 {
		return
	}
	c.GFLOPS = 2 * float64(c.macs) / c.MS / 1e6
	if peak > 0 {
		c.PeakShare = c.GFLOPS / peak
	}
}

// step runs one training step.
func step(ctx context.Context, s *train.Stepper, i int) error {
	if ctx.Err() != nil {
		return fmt.Errorf("bench: step %d: %w", i, ctx.Err())
	}
	if _, err := s.Gradient(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := s.Apply(learningRate, i+1); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
