// Package engine compiles a graph for the CPU and runs it: training and float
// inference. It plans everything ahead (fusion, memory, the split into chunks),
// so that a run allocates nothing and gives the same bits for any number of
// threads.
//
// A Plan reads and updates parameters in the Store it was compiled with and
// holds none itself; many plans share one Store. One Engine runs one plan at a
// time.
package engine

import (
	"lowbit/internal/pool"
)

// Engine owns the worker threads.
type Engine struct {
	pool *pool.Pool

	// FloatProducts computes quantized convolutions and linear layers from the
	// rounded float32 values, as other frameworks do, instead of from their
	// codes. Set it before Compile.
	FloatProducts bool

	// FloatGradients keeps the operands of their gradients in float32, where a
	// kernel row with BF16 would round them to bfloat16. Set it before Compile.
	FloatGradients bool
}

// New returns an engine with that many worker threads, or one for each CPU if
// threads is 0.
func New(threads int) *Engine { return &Engine{pool: pool.New(threads)} }

// Threads returns the number of workers.
func (e *Engine) Threads() int { return e.pool.Workers() }

// Close ends the workers. Plans of the engine must not run afterwards.
func (e *Engine) Close() { e.pool.Close() }
