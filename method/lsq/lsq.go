// Package lsq is learned step size quantization (Esser et al., ICLR 2020, arXiv
// 1902.08153v3): every weight tensor and every layer input has a uniform grid
// whose step is trained with the weights.
//
// Insert puts the quantizers on a full-precision inference graph, Init gives
// their steps a first value, Train does both and trains. The quantizer itself is
// graph.FakeQuant. Other methods use Insert and Calibrate with rules of their
// own.
package lsq

import (
	"context"
	"fmt"

	"lowbit/graph"
	"lowbit/train"
)

// Prepare puts quantizers on the job's full-precision graph and sets their
// steps in the job's store, from the weights and the first training batches of
// base. It returns the quantized graph.
func Prepare(base train.Config, job train.Job, q Quantizers, s Start) (*graph.Graph, error) {
	g, err := Insert(job.Graph, q)
	if err != nil {
		return nil, err
	}
	batches, err := job.Batches(base, s.Batches)
	if err != nil {
		return nil, fmt.Errorf("lsq: %w", err)
	}
	return g, Init(job.Engine, g, job.Store, batches, s)
}

// Train quantizes the job's full-precision graph and trains it: c decides the
// recipe, base the rest (see Config.Recipe). With c.Distill above 0 and no
// teacher in the job, the full-precision network teaches. It returns the
// quantized graph, whose parameters stand in job.Store. Errors as train.Run's.
func Train(ctx context.Context, base train.Config, job train.Job, c Config) (*graph.Graph, train.Result, error) {
	if err := c.Validate(); err != nil {
		return nil, train.Result{}, err
	}
	if c.Distill == 0 {
		job.Teacher = nil
	} else if job.Teacher == nil {
		if err := graph.InitParams(job.Graph, job.Store, base.Seed); err != nil {
			return nil, train.Result{}, fmt.Errorf("lsq: %w", err)
		}
		job.Teacher = &train.Teacher{Name: "full precision", Graph: job.Graph, Store: job.Store.Clone()}
	}
	g, err := Prepare(base, job, c.Quantizers, c.Start)
	if err != nil {
		return nil, train.Result{}, err
	}
	job.Graph = g
	if job.Method == "" {
		job.Method = "lsq"
	}
	if job.Settings == nil {
		job.Settings = c
	}
	r, err := train.Run(ctx, c.Recipe(base), job)
	return g, r, err
}
