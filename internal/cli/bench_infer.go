package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/bench"
	"lowbit/app/verify"
	"lowbit/infer"
	"lowbit/tensor"
	"lowbit/train"
)

const benchInferHelp = `Measures calls of a quantized network on integers, on noise.

GFLOP/s counts two operations for each multiply-add. The peak is what the same
threads reach with nothing but 8-bit products into 32-bit sums. --explain lists
each instruction with its least time. For figures to compare, leave the machine
alone meanwhile.`

const benchInferExample = `  lowbit bench infer --model r20-w4.lowbit.safetensors --batch 1 --threads 1
  lowbit bench infer --model runs/r20-w4 --batch 64 --explain --json`

// benchInferResult is the verb's result.
type benchInferResult struct {
	bench.Result
	Model   string         `json:"model"`
	Machine train.Machine  `json:"machine"`
	Ops     []infer.Timing `json:"ops,omitempty"`
}

type benchInferFlags struct {
	model   modelFlags
	explain bool
	c       bench.Config
}

func (a *app) benchInfer() *cobra.Command {
	v := benchInferFlags{c: bench.DefaultInfer()}
	cmd := &cobra.Command{
		Use: "infer --model FILE", Short: "measure a quantized network on integers",
		Long: benchInferHelp, Example: benchInferExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	v.model.add(cmd)
	f := cmd.Flags()
	f.IntVar(&v.c.Batch, "batch", v.c.Batch, "examples a call")
	f.IntVar(&v.c.Steps, "steps", v.c.Steps, "measured calls")
	f.IntVar(&v.c.Warmup, "warmup", v.c.Warmup, "calls before")
	f.Float64Var(&v.c.PeakSeconds, "peak-seconds", v.c.PeakSeconds, "time to measure the machine's peak; 0: do not")
	f.BoolVar(&v.explain, "explain", false, "time each instruction")
	return cmd
}

func (v *benchInferFlags) run(a *app) error {
	v.c.Seed = a.seed
	if err := v.c.Validate(); err != nil {
		return usage(err)
	}
	if err := v.model.check(); err != nil {
		return err
	}
	machine := train.ThisMachine()
	n, err := v.model.integers(nil)
	if err != nil {
		return err
	}
	defer n.Close()
	p := a.progress()
	p.set(fmt.Sprintf("%d calls of %s", v.c.Warmup+v.c.Steps, v.model.model))
	r, err := bench.Infer(a.ctx, n.Model, a.threads, v.c)
	p.clear()
	if err != nil {
		return err
	}
	out := benchInferResult{Result: r, Model: v.model.model, Machine: machine}
	if v.explain {
		if out.Ops, err = v.profile(a, n); err != nil {
			return err
		}
	}
	return a.print(out, true, func(w io.Writer) { benchInferText(w, out) })
}

// profile times each instruction on one example.
func (v *benchInferFlags) profile(a *app, n *verify.Network) ([]infer.Timing, error) {
	s := n.Model.NewSession(infer.Options{Threads: a.threads})
	defer s.Close()
	return s.Profile(make([]float32, tensor.Shape(n.Model.InputShape()).Size()), v.c.Steps)
}

func benchInferText(w io.Writer, r benchInferResult) {
	fmt.Fprintf(w, "call       %.3f ms median, %.3f min, %.3f p90, %.3f max (%d calls of %d)\n", r.MedianMS, r.MinMS, r.P90MS, r.MaxMS, r.Steps, r.Batch)
	fmt.Fprintf(w, "speed      %.0f images/s, %.1f GFLOP/s", r.ItemsPerS, r.GFLOPS)
	if r.PeakGFLOPS > 0 {
		fmt.Fprintf(w, ", %s of the measured peak of %.0f", percent(r.PeakShare), r.PeakGFLOPS)
	}
	fmt.Fprintf(w, "\nmemory     %s of weights and activations, %s of the process at most\n", size(r.PlanBytes), size(r.PeakRSSBytes))
	fmt.Fprintf(w, "machine    %s, %d threads (%s), load %.2f before\n", r.Machine.CPU, r.Threads, r.Kernel, r.Machine.Load)
	if r.Ops == nil {
		return
	}
	rows := [][]string{{"instruction", "kind", "bits w/a", "µs", "on"}}
	for _, o := range r.Ops {
		bits, on := "-", "integers"
		if o.WeightBits > 0 {
			bits = fmt.Sprintf("%d/%d", o.WeightBits, o.ActBits)
		}
		if !o.Integer {
			on = "floats: " + o.Why
		}
		rows = append(rows, []string{o.Name, o.Kind, bits, fmt.Sprintf("%.1f", 1e6*o.Seconds), on})
	}
	fmt.Fprintln(w)
	table(w, rows)
}
