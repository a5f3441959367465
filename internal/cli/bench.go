package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"lowbit/app/bench"
	"lowbit/data"
	"lowbit/engine"
	"lowbit/internal/rng"
	"lowbit/load"
	"lowbit/method/lsq"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

const benchTrainHelp = `Measures whole training steps (forward, backward, optimizer) on random images: in
float32, with --bf16, or with LSQ's quantizers at --bits. Of a language model (llama-tiny, a .gguf
file, ...) steps of AdamW on --batch windows of random tokens, in float32 or with
SiLQ's quantizers (w4a8kv8); nothing is distilled.

GFLOP/s counts two operations for each multiply-add of convolutions and matrix
products. The peak is what the same threads reach with nothing but float32
multiply-adds. For figures to compare, leave the machine alone meanwhile.

--explain says where the time goes: steps are run again with a clock on each
part, and the parts of one kind are added up. elementwise is what the engine has
fused (batch norm, relu, quantizers, sums, and their gradients), waiting the time
of threads that had nothing to do.`

const benchTrainExample = `  lowbit bench train --model resnet20 --batch 128
  lowbit bench train --model resnet20 --batch 128 --bits w4a4 --json
  lowbit bench train --model resnet20 --bits w4a4 --explain
  lowbit bench train --model smollm2.gguf --bits w4a8kv8 --batch 4 --steps 3 --explain`

// benchResult is the verb's result.
type benchResult struct {
	bench.Result
	Model   string        `json:"model"`
	Bits    string        `json:"bits"`
	Machine train.Machine `json:"machine"`
}

type benchFlags struct {
	model  modelFlags
	bits   string
	c      bench.Config
	length int
	static bool
}

func (a *app) bench() *cobra.Command {
	v := benchFlags{c: bench.DefaultConfig()}
	cmd := &cobra.Command{
		Use: "train --model MODEL", Short: "measure training steps",
		Long: benchTrainHelp, Example: benchTrainExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.train(a, cmd) },
	}
	v.model.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.bits, "bits", "fp32", "fp32, w4a4 and the like, or a bits file")
	f.IntVar(&v.c.Batch, "batch", v.c.Batch, "examples a step; language models: 8 windows")
	f.IntVar(&v.length, "text-length", 256, "language models: tokens of a window")
	f.BoolVar(&v.static, "static", false, "language models: one learned step for each activation")
	f.BoolVar(&v.c.BF16, "bf16", false, "products of operands rounded to bfloat16, as train --bf16 has them")
	f.IntVar(&v.c.Steps, "steps", v.c.Steps, "measured steps")
	f.IntVar(&v.c.Warmup, "warmup", v.c.Warmup, "steps before")
	f.Float64Var(&v.c.PeakSeconds, "peak-seconds", v.c.PeakSeconds, "time to measure the machine's peak; 0: do not")
	f.BoolVar(&v.c.Explain, "explain", false, "say where the time goes, part by part")
	return a.group("bench", "measure speed", cmd, a.benchInfer(), a.benchDecode(), a.benchEnv(), a.benchCores())
}

// network loads the network with its weights, or random ones, and puts
// quantizers on it.
func (v *benchFlags) network(a *app, e *engine.Engine, p quant.BitPlan) (*load.Loaded, error) {
	l, err := v.model.load(nil)
	if errors.Is(err, load.ErrNoWeights) {
		l, err = a.fresh(v.model)
	}
	if err != nil || v.bits == "fp32" {
		return l, err
	}
	if err := fullPrecision(l.Graph, v.model.model); err != nil {
		return nil, err
	}
	images, err := noise(l.Info.InputShape, min(v.c.Batch, 16), a.seed)
	if err != nil {
		return nil, err
	}
	base := train.DefaultConfig()
	base.Batch = images.Len()
	job := train.Job{Engine: e, Graph: l.Graph, Store: l.Store, Train: images}
	l.Graph, err = lsq.Prepare(base, job, lsq.DefaultQuantizers(p), lsq.PaperStart())
	return l, err
}

// noise makes n random images.
func noise(shape []int, n int, seed uint64) (*data.Dataset, error) {
	pixels := make([]uint8, n*tensor.Shape(shape).Size())
	s := rng.New(seed, 'n')
	for i := range pixels {
		pixels[i] = uint8(s.Intn(256))
	}
	d, err := data.New("noise", "train", []string{"noise"}, shape[0], shape[1], shape[2], pixels, make([]int32, n))
	if err != nil {
		return nil, err
	}
	for range shape[0] {
		d.Normalize.Mean, d.Normalize.Std = append(d.Normalize.Mean, 0.5), append(d.Normalize.Std, 0.25)
	}
	return d, nil
}

func (v *benchFlags) train(a *app, cmd *cobra.Command) error {
	v.c.Seed = a.seed
	a.roundsOrWarns(v.c.BF16)
	language := load.IsLanguage(v.model.model)
	if language && !cmd.Flags().Changed("batch") {
		v.c.Batch = 8
	}
	if err := v.c.Validate(); err != nil {
		return usage(err)
	}
	if !language {
		if err := v.model.check(); err != nil {
			return err
		}
	}
	e := engine.New(a.threads)
	defer e.Close()
	machine := train.ThisMachine()
	run := v.images
	if language {
		run = v.language
	}
	r, err := run(a, e)
	if err != nil {
		return err
	}
	items := "images"
	if language {
		items = "tokens"
	}
	bits := v.bits
	if v.c.BF16 && bits == "fp32" {
		bits = "bf16"
	}
	out := benchResult{r, v.model.model, bits, machine}
	return a.print(out, true, func(w io.Writer) {
		fmt.Fprintf(w, "step       %.2f ms median, %.2f min, %.2f p90, %.2f max (%d steps of %d)\n", r.MedianMS, r.MinMS, r.P90MS, r.MaxMS, r.Steps, r.Batch)
		fmt.Fprintf(w, "speed      %.0f %s/s, %.1f GFLOP/s", r.ItemsPerS, items, r.GFLOPS)
		if r.PeakGFLOPS > 0 {
			fmt.Fprintf(w, ", %s of the measured peak of %.0f", percent(r.PeakShare), r.PeakGFLOPS)
		}
		fmt.Fprintf(w, "\nmemory     %s of the plan, %s of the process at most\n", size(r.PlanBytes), size(r.PeakRSSBytes))
		fmt.Fprintf(w, "compile    %.0f ms\nmachine    %s, %d threads (%s), load %.2f before\n", r.CompileMS, machine.CPU, r.Threads, r.Kernel, machine.Load)
		if r.Explanation != nil {
			explained(w, r.Explanation)
		}
	})
}

// images measures a network of images.
func (v *benchFlags) images(a *app, e *engine.Engine) (bench.Result, error) {
	plan, err := parseBits(v.bits)
	if err != nil {
		return bench.Result{}, err
	}
	l, err := v.network(a, e, plan)
	if err != nil {
		return bench.Result{}, err
	}
	p := a.progress()
	defer p.clear()
	p.set(fmt.Sprintf("%d steps of %s", v.c.Warmup+v.c.Steps, v.model.model))
	return bench.Train(a.ctx, e, l.Graph, l.Store, v.c)
}

// explained prints where the time of a step goes: all kinds, and the parts that
// take the most.
func explained(w io.Writer, x *bench.Explanation) {
	cost := func(c bench.Cost) []string {
		row := []string{fmt.Sprintf("%.2f", c.MS), percent(c.Share), "", ""}
		if c.GFLOPS > 0 {
			row[2], row[3] = fmt.Sprintf("%.1f", c.GFLOPS), percent(c.PeakShare)
		}
		return row
	}
	head := []string{"ms", "share", "GFLOP/s", "of the peak"}
	fmt.Fprintf(w, "\nwhere the time goes: %.2f ms a step with the clocks on\n", x.StepMS)
	rows := [][]string{append([]string{"kind", "parts"}, head...)}
	for _, k := range x.Kinds {
		rows = append(rows, append([]string{k.Kind, fmt.Sprint(k.Parts)}, cost(k.Cost)...))
	}
	table(w, rows)
	parts := slices.Clone(x.Parts)
	slices.SortStableFunc(parts, func(a, b bench.Part) int { return cmp.Compare(b.MS, a.MS) })
	const most = 20
	if len(parts) > most {
		fmt.Fprintf(w, "\nthe %d parts that take the most, of %d (--json has all)\n", most, len(parts))
		parts = parts[:most]
	} else {
		fmt.Fprintln(w, "\nparts")
	}
	rows = [][]string{append([]string{"plan", "stage", "kind", "first node", "nodes"}, head...)}
	for _, p := range parts {
		rows = append(rows, append([]string{p.Plan, fmt.Sprint(p.Stage), p.Kind, p.Node, fmt.Sprint(p.Nodes)}, cost(p.Cost)...))
	}
	table(w, rows)
}
