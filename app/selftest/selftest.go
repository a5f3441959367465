// Package selftest proves on this machine that the kernels compute what they
// should: one training step of LSQ at 4 bits on a small residual network (loss,
// logits, every gradient, every parameter afterwards) on each kernel row the
// CPU can run, against PyTorch's results, which are part of the program; and
// the same bits on one thread and on several.
package selftest

import (
	"bytes"
	_ "embed"
	"fmt"
	"math"
	"strings"
	"time"

	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/method/lsq"
	"lowbit/nn"
	"lowbit/optim"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// golden is written by peer/golden_lsq_step.py, a copy of
// method/lsq/testdata/step.safetensors.
//
//go:embed testdata/step.safetensors
var golden []byte

// Bounds on relative differences from PyTorch: both sides sum up to 1200
// float32 products in different orders, and no value of the golden stands
// within 2e-5 of a tie or a clip border.
const (
	lossTol  = 1e-5
	gradTol  = 2e-4 // relative to the tensor's norm
	bf16Tol  = 0.1  // with operands in bfloat16, units of 2^-9: a step's gradient is a sum that cancels
	paramTol = 1e-5 // relative to the tensor's norm
)

// The step that the golden holds: learning rate and weight decay.
const (
	goldenLR    = 0.01
	goldenDecay = 1e-4
	goldenBatch = 4
)

// Check is one kernel row's result.
type Check struct {
	Kernel string `json:"kernel"`
	OK     bool   `json:"ok"`
	// Loss is this row's, Want PyTorch's; Worst the largest relative difference
	// of a tensor, as a share of its bound.
	Loss    float64 `json:"loss"`
	Want    float64 `json:"want"`
	Worst   float64 `json:"worst_share_of_bound"`
	Failure string  `json:"failure,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Result is the result of all rows.
type Result struct {
	OK     bool    `json:"ok"`
	Kernel string  `json:"kernel"` // the active row
	Checks []Check `json:"checks"`
}

// Run checks every row. Failures are in the result. It switches kernel rows and
// must not run beside other work.
func Run() Result {
	r := Result{OK: true, Kernel: engine.KernelRow()}
	for _, row := range engine.KernelRows() {
		began := time.Now()
		c := Check{Kernel: row}
		err := c.run()
		c.OK, c.Seconds = err == nil, time.Since(began).Seconds()
		if err != nil {
			c.Failure, r.OK = err.Error(), false
		}
		r.Checks = append(r.Checks, c)
	}
	return r
}

// run checks the row on one thread and on three, with gradients in float32 and as
// training computes them.
func (c *Check) run() error {
	restore, err := engine.UseKernelRow(c.Kernel)
	if err != nil {
		return fmt.Errorf("selftest: %w", err)
	}
	defer restore()
	for _, tol := range []float64{bf16Tol, gradTol} {
		var first []byte
		for _, threads := range []int{1, 3} {
			params, err := c.step(threads, tol)
			if err != nil {
				return fmt.Errorf("selftest: %d threads: %w", threads, err)
			}
			if first == nil {
				first = params
			} else if !bytes.Equal(first, params) {
				return fmt.Errorf("selftest: %d threads give other bits than one", threads)
			}
		}
	}
	return nil
}

// step trains one step and compares, gradients within tol; it returns all
// parameters' bytes.
func (c *Check) step(threads int, tol float64) ([]byte, error) {
	all, _, err := safetensors.Decode(bytes.Clone(golden))
	if err != nil {
		return nil, err
	}
	store := tensor.NewStore()
	for _, n := range withPrefix(all, "before.") {
		if err := store.Put(n, all.Get("before."+n).Clone()); err != nil {
			return nil, err
		}
	}
	e := engine.New(threads)
	defer e.Close()
	e.FloatGradients = tol == gradTol
	s, err := stepper(e, store)
	if err != nil {
		return nil, err
	}
	for _, in := range []string{"input", "labels"} {
		if err := s.Forward.SetInput(in, all.Get(in)); err != nil {
			return nil, err
		}
	}
	if c.Loss, err = s.Gradient(); err != nil {
		return nil, err
	}
	c.Want = float64(all.Get("loss").Float32s()[0])
	if err := c.within("loss", math.Abs(c.Loss/c.Want-1), lossTol); err != nil {
		return nil, err
	}
	if err := c.near("logits", s.Forward.Output("logits"), all.Get("logits"), lossTol); err != nil {
		return nil, err
	}
	for _, n := range s.Params() {
		if err := c.near("gradient of "+n, s.Forward.Output(optim.GradInput(n)), all.Get("grad."+n), tol); err != nil {
			return nil, err
		}
	}
	if err := s.Apply(goldenLR, 1); err != nil {
		return nil, err
	}
	var bits []byte
	for _, n := range withPrefix(all, "after.") {
		if err := c.near(n+" after the step", store.Get(n), all.Get("after."+n), paramTol*max(1, tol/gradTol)); err != nil {
			return nil, err
		}
		bits = append(bits, store.Get(n).Bytes()...)
	}
	return bits, nil
}

// stepper compiles the training step of the golden's network: a CIFAR-type
// ResNet of width 4 with one block a stage, on 8x8 images, 4 bits.
func stepper(e *engine.Engine, store *tensor.Store) (*train.Stepper, error) {
	g := graph.New()
	x := nn.Input(g, goldenBatch, 3, 8, 8)
	x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: 4, Kernel: 3, Pad: 1}, nn.Norm{}, g.Relu)
	x = nn.ResidualBlock(g, "layer1.0", x, nn.Residual{Out: 4, Stride: 1})
	x = nn.ResidualBlock(g, "layer2.0", x, nn.Residual{Out: 8, Stride: 2})
	x = nn.ResidualBlock(g, "layer3.0", x, nn.Residual{Out: 16, Stride: 2})
	nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: 10}))
	bits, err := quant.ParseBits("w4a4")
	if err != nil {
		return nil, err
	}
	if g, err = lsq.Insert(g, lsq.DefaultQuantizers(bits)); err != nil {
		return nil, err
	}
	if g, err = graph.Training(g, nil); err != nil {
		return nil, err
	}
	labels := g.Input("labels", tensor.I32, goldenBatch)
	g.Output("loss", g.Mean(g.Apply(graph.CrossEntropy{}, g.OutputNode(nn.LogitsName), labels)))
	return train.NewStepper(e, g, store, optim.DefaultConfig(optim.SGD, goldenDecay))
}

func withPrefix(s *tensor.Store, prefix string) []string {
	var names []string
	for _, n := range s.Names() {
		if p, ok := strings.CutPrefix(n, prefix); ok {
			names = append(names, p)
		}
	}
	return names
}

// near demands that got-want has at most tol times want's norm.
func (c *Check) near(what string, got, want *tensor.Tensor, tol float64) error {
	if got == nil || want == nil || got.Len() != want.Len() {
		return fmt.Errorf("%s: have %v, want %v", what, got, want)
	}
	var d, n float64
	x, y := got.Float32s(), want.Float32s()
	for i := range y {
		e := float64(x[i]) - float64(y[i])
		d += e * e
		n += float64(y[i]) * float64(y[i])
	}
	return c.within(what, math.Sqrt(d)/math.Max(math.Sqrt(n), 1e-12), tol)
}

func (c *Check) within(what string, off, tol float64) error {
	if !(off <= tol) {
		return fmt.Errorf("%s is off by %.3g, want at most %.3g", what, off, tol)
	}
	c.Worst = math.Max(c.Worst, off/tol)
	return nil
}
