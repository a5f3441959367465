package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"lowbit/app/bench"
	"lowbit/app/verify"
	"lowbit/engine"
	"lowbit/infer"
	"lowbit/load"
	"lowbit/model"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

const benchInferHelp = `Measures calls of a quantized network on integers, on noise.

GOP/s counts two operations for each multiply-add. The peak is what the same
threads reach with nothing but 8-bit products into 32-bit sums, on the kernels in
use. For figures to compare, leave the machine alone meanwhile.

  --bits     a network of the zoo, or one in full precision, gets quantizers with
             steps from a few pictures of noise: for timings, not for results
  --table    batches 1 and 16, on one thread and on all
  --explain  each instruction: what computes it, its least time, its share of the
             peak, and why it runs on floats, if it does
  --clients  latency of calls from so many clients at once, served by a pool of
             sessions of one thread`

const benchInferExample = `  lowbit bench infer --model r20-w4.lowbit.safetensors --batch 1 --threads 1
  lowbit bench infer --model resnet18 --bits w8a8 --table
  lowbit bench infer --model runs/r20-w4 --explain --json
  lowbit bench infer --model r20-w4.lowbit.safetensors --clients 16`

// benchInferResult is the verb's result: the first measurement, and all of them
// with --table.
type benchInferResult struct {
	bench.Result
	Model   string        `json:"model"`
	Bits    string        `json:"bits,omitempty"`
	Runtime string        `json:"runtime"`
	Machine train.Machine `json:"machine"`
	// LoadMS is the median time to load the packed file, FileBytes its size.
	LoadMS      float64              `json:"load_ms,omitempty"`
	FileBytes   int64                `json:"file_bytes,omitempty"`
	WeightBytes int                  `json:"weight_bytes"`
	Rows        []bench.Result       `json:"rows,omitempty"`
	Ops         []benchOp            `json:"ops,omitempty"`
	Clients     *bench.ClientsResult `json:"clients,omitempty"`
}

// benchOp is an instruction with what its time means.
type benchOp struct {
	infer.Timing
	TimeShare float64 `json:"time_share"`
	PeakShare float64 `json:"peak_share,omitempty"`
}

type benchInferFlags struct {
	benchFlags
	explain, table bool
	clients        int
}

func (a *app) benchInfer() *cobra.Command {
	v := benchInferFlags{benchFlags: benchFlags{c: bench.DefaultInfer()}}
	cmd := &cobra.Command{
		Use: "infer --model FILE", Short: "measure a quantized network on integers",
		Long: benchInferHelp, Example: benchInferExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	v.model.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.bits, "bits", "", "quantizers for a network in full precision: w8a8 and the like, or a bits file")
	f.IntVar(&v.c.Batch, "batch", v.c.Batch, "examples a call")
	f.IntVar(&v.c.Steps, "steps", v.c.Steps, "measured calls")
	f.IntVar(&v.c.Warmup, "warmup", v.c.Warmup, "calls before")
	f.Float64Var(&v.c.PeakSeconds, "peak-seconds", v.c.PeakSeconds, "time to measure the machine's peak; 0: do not")
	f.BoolVar(&v.table, "table", false, "batches 1 and 16, one thread and all")
	f.BoolVar(&v.explain, "explain", false, "time each instruction")
	f.IntVar(&v.clients, "clients", 0, "clients that call at once; 0: do not measure them")
	return cmd
}

// clientSeconds is how long clients are measured.
const clientSeconds = 3

func (v *benchInferFlags) run(a *app) error {
	v.c.Seed = a.seed
	if err := v.c.Validate(); err != nil {
		return usage(err)
	}
	if err := v.model.check(); err != nil {
		return err
	}
	if v.clients < 0 {
		return usagef("--clients %d, want 1 or more", v.clients)
	}
	out := benchInferResult{Model: v.model.model, Bits: v.bits, Runtime: "lowbit", Machine: train.ThisMachine()}
	p := a.progress()
	defer p.clear()
	p.set("opening " + v.model.model)
	n, path, remove, err := v.open(a)
	if err != nil {
		return err
	}
	defer remove()
	defer n.Close()
	if path != "" {
		if out.LoadMS, out.FileBytes, err = loadTime(path); err != nil {
			return err
		}
	}
	out.WeightBytes = n.Model.WeightBytes()
	threads, batches := []int{a.threads}, []int{v.c.Batch}
	if v.table {
		threads, batches = []int{1}, []int{1, 16}
		if all := a.threads; all != 1 && runtime.GOMAXPROCS(0) > 1 {
			threads = append(threads, all)
		}
	}
	p.set("calling " + v.model.model)
	rows, err := bench.InferTable(a.ctx, n.Model, threads, batches, v.c)
	if err != nil {
		return err
	}
	if out.Result = rows[0]; v.table {
		out.Rows = rows
	}
	if v.explain {
		p.set("timing each instruction")
		if out.Ops, err = v.profile(a, n, out.PeakGFLOPS); err != nil {
			return err
		}
	}
	if v.clients > 0 {
		p.set(fmt.Sprintf("%d clients", v.clients))
		c, err := bench.Clients(a.ctx, n.Model, a.threads, v.clients, clientSeconds*time.Second, a.seed)
		if err != nil {
			return err
		}
		out.Clients = &c
	}
	p.clear()
	return a.print(out, true, func(w io.Writer) { out.text(w) })
}

// open opens what runs on integers, and names its packed file, if it is one. A
// network that gets quantizers goes through such a file, which remove removes.
func (v *benchInferFlags) open(a *app) (n *verify.Network, path string, remove func(), err error) {
	remove = func() {}
	if v.bits == "" {
		n, err = v.model.integers(nil)
		if _, zoo := model.Lookup(v.model.model); err != nil && zoo {
			return nil, "", nil, fmt.Errorf("%w\nFor timings alone, let it be quantized: --bits w8a8", err)
		}
		if err == nil && n.Packed {
			path = v.model.model
		}
		return n, path, remove, err
	}
	plan, err := parseBits(v.bits)
	if err != nil {
		return nil, "", nil, err
	}
	plan.Residual = quant.Residual8 // all of the network runs on integers
	e := engine.New(a.threads)
	defer e.Close()
	l, err := v.network(a, e, plan)
	if err != nil {
		return nil, "", nil, err
	}
	dir, err := os.MkdirTemp("", "lowbit-bench")
	if err != nil {
		return nil, "", nil, err
	}
	remove = func() { os.RemoveAll(dir) }
	path = filepath.Join(dir, "network"+packedExt)
	if err = infer.Write(path, l.Graph, l.Store, infer.Info{}); err == nil {
		n, err = verify.Open(path, load.Options{})
	}
	if err != nil {
		remove()
	}
	return n, path, remove, err
}

// loadTime is the median time to load a packed file that the system has in
// memory, and its size.
func loadTime(path string) (ms float64, bytes int64, err error) {
	times := make([]float64, 7)
	for i := range times {
		runtime.GC() // what was loaded before is not to be paid for now
		began := time.Now()
		m, err := infer.Load(path)
		if err != nil {
			return 0, 0, err
		}
		times[i] = 1000 * time.Since(began).Seconds()
		if err := m.Close(); err != nil {
			return 0, 0, err
		}
	}
	slices.Sort(times)
	stat, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	return times[len(times)/2], stat.Size(), nil
}

// profile times each instruction on one example.
func (v *benchInferFlags) profile(a *app, n *verify.Network, peak float64) ([]benchOp, error) {
	threads := a.threads
	if v.table {
		threads = 1
	}
	s := n.Model.NewSession(infer.Options{Threads: threads})
	defer s.Close()
	times, err := s.Profile(make([]float32, tensor.Shape(n.Model.InputShape()).Size()), v.c.Steps)
	if err != nil {
		return nil, err
	}
	var total float64
	for _, t := range times {
		total += t.Seconds
	}
	ops := make([]benchOp, len(times))
	for i, t := range times {
		ops[i] = benchOp{Timing: t, TimeShare: t.Seconds / total}
		if peak > 0 {
			ops[i].PeakShare = 2 * float64(t.MACs) / t.Seconds / 1e9 / peak
		}
	}
	return ops, nil
}

func (r *benchInferResult) text(w io.Writer) {
	fmt.Fprintf(w, "network    %s", r.Model)
	if r.Bits != "" {
		fmt.Fprintf(w, " at %s", r.Bits)
	}
	fmt.Fprintf(w, ", %s of weights in memory\n", size(int64(r.WeightBytes)))
	if r.FileBytes > 0 {
		fmt.Fprintf(w, "file       %s, loaded in %.1f ms\n", size(r.FileBytes), r.LoadMS)
	}
	if r.Rows != nil {
		fmt.Fprintln(w)
		benchRows(w, r.Rows)
		fmt.Fprintln(w)
	} else {
		fmt.Fprintf(w, "call       %.3f ms median, %.3f min, %.3f p90, %.3f p99, %.3f max (%d calls of %d)\n", r.MedianMS, r.MinMS, r.P90MS, r.P99MS, r.MaxMS, r.Steps, r.Batch)
		fmt.Fprintf(w, "speed      %.0f images/s, %.0f GOP/s", r.ItemsPerS, r.GFLOPS)
		if r.PeakGFLOPS > 0 {
			fmt.Fprintf(w, ", %s of the measured peak of %.0f", percent(r.PeakShare), r.PeakGFLOPS)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "memory     %s of weights and activations, %s of the process at most\n", size(r.PlanBytes), size(r.PeakRSSBytes))
	fmt.Fprintf(w, "machine    %s, %d threads (%s), load %.2f before\n", r.Machine.CPU, r.Threads, r.Kernel, r.Machine.Load)
	if c := r.Clients; c != nil {
		fmt.Fprintf(w, "clients    %d on %d sessions: %.3f ms median, %.3f p90, %.3f p99, %.3f max; %.0f images/s\n", c.Clients, c.Sessions, c.MedianMS, c.P90MS, c.P99MS, c.MaxMS, c.ItemsPerS)
		fmt.Fprintf(w, "           one alone %.3f ms; p99 is %.2f times that of a queue served in turn\n", c.AloneMS, c.Ratio)
	}
	if r.Ops != nil {
		fmt.Fprintln(w)
		benchOps(w, r.Ops)
	}
}

// benchRows is the table of threads and batches.
func benchRows(w io.Writer, list []bench.Result) {
	rows := [][]string{{"threads", "batch", "median ms", "min ms", "p99 ms", "images/s", "GOP/s", "of the peak"}}
	for _, r := range list {
		rows = append(rows, []string{
			fmt.Sprint(r.Threads), fmt.Sprint(r.Batch), fmt.Sprintf("%.3f", r.MedianMS), fmt.Sprintf("%.3f", r.MinMS), fmt.Sprintf("%.3f", r.P99MS),
			fmt.Sprintf("%.0f", r.ItemsPerS), fmt.Sprintf("%.0f", r.GFLOPS), share(r.PeakShare),
		})
	}
	table(w, rows)
}

// share is a percentage, or nothing where nothing was measured.
func share(x float64) string {
	if x == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*x)
}

// benchOps lists the instructions, and how much of the time the floats take.
func benchOps(w io.Writer, ops []benchOp) {
	rows := [][]string{{"instruction", "kind", "result", "bits w/a", "kernel", "MMACs", "µs", "of all", "of the peak", "on"}}
	var floats, total float64
	for _, o := range ops {
		bits, on, macs := "-", "integers", "-"
		if o.WeightBits > 0 {
			bits = fmt.Sprintf("%d/%d", o.WeightBits, o.ActBits)
		}
		if o.MACs > 0 {
			macs = fmt.Sprintf("%.2f", float64(o.MACs)/1e6)
		}
		if !o.Integer {
			on = "floats: " + o.Why
			floats += o.Seconds
		}
		total += o.Seconds
		kernel := o.Kernel
		if o.MemoryBits > 0 && o.MemoryBits < 8 {
			kernel += fmt.Sprintf(", %d bits in memory", o.MemoryBits)
		}
		rows = append(rows, []string{
			o.Name, o.Kind, fmt.Sprintf("%dx%dx%d", o.Shape[0], o.Shape[1], o.Shape[2]), bits, kernel, macs,
			fmt.Sprintf("%.1f", 1e6*o.Seconds), share(o.TimeShare), share(o.PeakShare), on,
		})
	}
	table(w, rows)
	islands := slices.ContainsFunc(ops, func(o benchOp) bool { return !o.Integer })
	fmt.Fprintf(w, "\n%.3f ms together", 1000*total)
	if islands {
		fmt.Fprintf(w, ", %s of it on floats", share(floats/total))
	}
	fmt.Fprintln(w)
}
