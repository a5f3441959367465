package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/app/quickstart"
	"lowbit/data"
	"lowbit/engine"
	"lowbit/train"
)

const quickstartHelp = `Does the whole job on real data in minutes: finds or fetches CIFAR-10 (Fashion-MNIST
where that cannot be had), takes the trained float32 ResNet-20, quantizes it to 8,
4 and 2 bits without training and to 4 and 2 bits with a short one, writes files that
run on integers, verifies and times them, and writes a report of what each bit cost.`

const quickstartExample = `  lowbit quickstart
  lowbit quickstart --minutes 10 --out first-look
  lowbit quickstart --data-dir /data --json`

type quickstartFlags struct {
	model   modelFlags
	data    dataFlags
	minutes float64
}

func (a *app) quickstart() *cobra.Command {
	var q quickstartFlags
	cmd := &cobra.Command{
		Use: "quickstart", Short: "quantize a network on real data, end to end, in minutes",
		Long: quickstartHelp, Example: quickstartExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return q.run(a) },
	}
	f := cmd.Flags()
	f.StringVar(&q.model.model, "model", "", "zoo name, run directory or weights file (default: by the data)")
	f.StringVar(&q.model.weights, "weights", "", "weights file to put onto the network")
	q.data.add(cmd, true)
	f.Float64Var(&q.minutes, "minutes", 5, "time to take once the data is there")
	return cmd
}

func (q *quickstartFlags) run(a *app) error {
	if !(q.minutes > 0) {
		return usagef("--minutes %g, want more than 0", q.minutes)
	}
	if q.data.limit < 0 || q.data.trainLimit < 0 {
		return usagef("--limit %d, --train-limit %d: want 0 or more", q.data.limit, q.data.trainLimit)
	}
	if q.model.model != "" {
		if err := q.model.check(); err != nil {
			return err
		}
	}
	dir, err := a.dataFolder()
	if err != nil {
		return err
	}
	if a.out == "" {
		a.out = "lowbit-quickstart"
	}
	if err := a.free(a.out); err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	p := a.progress()
	c := quickstart.Config{
		Data: q.data.data, DataDir: dir, Model: q.model.model, Weights: q.model.weights, Out: a.out, Seed: a.seed,
		Minutes: q.minutes, Limit: q.data.limit, TrainLimit: q.data.trainLimit, Force: a.force,
		Progress: p.training, Fetching: func(d data.Progress) { p.fetching(d) },
		Say: func(sentence string) {
			p.clear()
			switch {
			case !a.json:
				fmt.Fprintln(a.stdout, sentence)
			case p.w != nil:
				fmt.Fprintln(a.stderr, sentence)
			}
		},
	}
	a.describe(&c.Job, "")
	r, err := quickstart.Do(a.ctx, e, c)
	p.clear()
	if errors.Is(err, train.ErrInterrupted) {
		return fmt.Errorf("%w\n--force starts over in %s", err, a.out)
	}
	if err != nil {
		return err
	}
	return a.print(r, false, func(w io.Writer) { quickstartText(w, r) })
}

func quickstartText(w io.Writer, r quickstart.Result) {
	fmt.Fprintln(w)
	rows := [][]string{
		{"bits", "method", "accuracy", "change", "size", "training images"},
		{"fp32", "", percent(r.FP32Accuracy), "", size(r.FP32SizeBytes), ""},
	}
	for _, x := range r.Runs {
		rows = append(rows, []string{
			x.Bits, x.Method, percent(x.Accuracy), fmt.Sprintf("%+.2f", 100*(x.Accuracy-r.FP32Accuracy)), size(x.SizeBytes), thousands(int64(x.TrainImages)),
		})
	}
	table(w, rows)
	rows = [][]string{{"bits", "packed file", "size", "accuracy on integers", "ms an image"}}
	for _, d := range r.Deployed {
		rows = append(rows, []string{d.Bits, d.Packed, size(d.SizeBytes), percent(d.Accuracy), fmt.Sprintf("%.3f", d.MS)})
	}
	fmt.Fprintln(w)
	table(w, rows)
	fmt.Fprintf(w, "\nreport  %s\ntime    %s on %d threads (%s)\n\nThe full recipe, which takes hours:\n", r.Report, duration(r.Seconds), r.Threads, r.Kernel)
	for _, n := range r.Next {
		fmt.Fprintln(w, "  "+n)
	}
}
