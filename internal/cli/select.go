package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"lowbit/app/sweep"
	"lowbit/engine"
	"lowbit/load"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/train"
)

const selectHelp = `Chooses each layer's bits under a budget and writes them to a bits file, which
quantize --bits FILE trains. Layers that read the same activations share their
bits; the first and the last layer have 8 and do not count.

--budget is a share of the cost with every layer at the widest of --bits.

Methods:
  eagl           entropy of the quantized weights: seconds, no data
  alps           one epoch of training for each group of layers at fewer bits
  hawq           curvature of the loss times the weights' error (HAWQ-V3)
  mse            the weights' squared error
  regression     a linear model of many random configurations: dear
  uniform        all groups gain the same
  first-to-last, last-to-first, random   lower groups in this order
  inverse-eagl   a control that should do worst

Start from a run trained at the widest precision. A full-precision network works,
too: its steps are calibrated first, but learned ones tell more.`

const selectExample = `  lowbit select --model runs/r20-w4 --data cifar10 --method eagl --budget 0.7 --out bits.json
  lowbit select --model runs/r20-w4 --data cifar10 --method alps --budget 0.7 --trials trials --out bits.json
  lowbit quantize --model runs/r20-w4 --data cifar10 --method lsq --bits bits.json`

// dataFree are the methods that read the network alone.
var dataFree = []string{"eagl", "eagl-difference", "eagl-bits", "inverse-eagl", "mse", "uniform", "first-to-last", "last-to-first", "random"}

type selectFlags struct {
	mixedFlags
	method, trialDir string
	budget           float64
	pin              []string
}

// selectResult is the verb's result.
type selectResult struct {
	Model string `json:"model"`
	Bits  string `json:"bits"` // that were allowed
	*mixed.Selection
	// File is the bits file; Calibrated is true if the network was in full
	// precision.
	File       string `json:"file,omitempty"`
	Calibrated bool   `json:"calibrated"`
	// Other are the choice's costs in other models.
	Other []mixed.Price `json:"other_costs"`
}

func (a *app) selectBits() *cobra.Command {
	var v selectFlags
	cmd := &cobra.Command{
		Use: "select --model RUN --data DATA --method METHOD --budget SHARE", Short: "choose each layer's bits under a budget",
		Long: selectHelp, Example: selectExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(a, cmd) },
	}
	v.add(cmd)
	f := cmd.Flags()
	f.StringVar(&v.method, "method", "eagl", strings.Join(sweep.Methods(), ", "))
	f.Float64Var(&v.budget, "budget", 0.7, "share of the cost with every layer at the widest precision")
	f.StringSliceVar(&v.pin, "pin", nil, "LAYER=w8a8: fix a layer, and its group, outside the budget")
	f.StringVar(&v.trialDir, "trials", "", "alps, regression: keep trials in this folder, to go on later or share them between processes")
	return cmd
}

// pinned reads --pin.
func (v *selectFlags) pinned() (map[string]quant.Width, error) {
	pins := map[string]quant.Width{}
	for _, s := range v.pin {
		name, bits, ok := strings.Cut(s, "=")
		p, err := quant.ParseBits(bits)
		if !ok || err != nil || bits == "fp32" {
			return nil, usagef("--pin %q, want LAYER=BITS such as layer1.0.conv1=w8a8", s)
		}
		pins[name] = p.Default
	}
	return pins, nil
}

// check finds what is wrong on any machine.
func (v *selectFlags) check() error {
	if !slices.Contains(sweep.Methods(), v.method) {
		return usagef("method %q, want %s%s", v.method, strings.Join(sweep.Methods(), ", "), didYouMean(v.method, sweep.Methods()))
	}
	if !(v.budget > 0 && v.budget <= 1) {
		return usagef("--budget %g, want a share of the cost at the widest precision, above 0 and at most 1", v.budget)
	}
	return v.model.check()
}

// network loads the network, and data where something reads them.
func (v *selectFlags) network(a *app) (*load.Loaded, sets, error) {
	var s sets
	var err error
	if v.data.data != "" || !slices.Contains(dataFree, v.method) {
		if s, err = v.data.openFor(a, v.model, v.batch, false); err != nil {
			return nil, s, err
		}
	}
	l, err := v.model.network(s)
	if err != nil {
		return nil, s, err
	}
	if !slices.Contains(dataFree, v.method) || !quantized(l.Graph) {
		if s.examples() == 0 && v.data.data == "" {
			return nil, s, usagef("%s is in full precision: calibration needs --data NAME", v.model.model)
		}
		if err := s.needs(true, false); err != nil {
			return nil, s, err
		}
	}
	return l, s, v.trials([]string{v.method}, s)
}

func (v *selectFlags) run(a *app, cmd *cobra.Command) error {
	byModel(cmd, v.model, &v.batch)
	widths, err := v.widths()
	if err != nil {
		return err
	}
	widest := widths[len(widths)-1]
	cost, err := v.costName()
	if err != nil {
		return err
	}
	scoring, err := v.scoring(a, cmd, widest)
	if err != nil {
		return err
	}
	pins, err := v.pinned()
	if err != nil {
		return err
	}
	if err := v.check(); err != nil {
		return err
	}
	if a.out != "" {
		if err := a.free(a.out); err != nil {
			return err
		}
	}
	l, s, err := v.network(a)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	job := train.Job{Engine: e, Graph: l.Graph, Store: l.Store}
	if s.examples() > 0 {
		s.put(&job)
	}
	a.describe(&job, modelName(l))
	base, err := v.base(a, l, s)
	if err != nil {
		return err
	}
	scoring.ALPS.LSQ.Granularity = granularity(l.Graph)
	src := sweep.Source{Base: base, Job: job, Dir: v.trialDir}
	return v.choose(a, src, scoring, widths, cost, mixed.Options{Pin: pins})
}

// choose calibrates if need be, scores, selects and writes.
func (v *selectFlags) choose(a *app, src sweep.Source, scoring sweep.Scoring, widths []quant.Width, cost string, o mixed.Options) error {
	note, err := v.steps(src.Base, &src.Job, widths[len(widths)-1])
	if err != nil {
		return err
	}
	n, err := mixed.Link(src.Job.Graph, o)
	if err != nil {
		return err
	}
	line := a.progress()
	defer line.clear()
	model, err := sweep.CostNamed(a.ctx, cost, n, widths, src.Job.Engine.Threads(), func(done, all int) { line.stage("times of layers", done, all) })
	if err != nil {
		return err
	}
	p, err := mixed.NewProblem(n, src.Job.Store, widths, model)
	if err != nil {
		return err
	}
	src.Trials = func(done, all int) { line.stage(v.method, done, all) }
	scorer, err := sweep.NewScorer(v.method, scoring, src, a.seed)
	if err != nil {
		return err
	}
	sel, err := mixed.SelectBy(a.ctx, p, v.method, scorer, v.budget)
	line.clear()
	if err != nil {
		return slowKernel(err, cost)
	}
	if note != "" {
		sel.Notes = append([]string{note}, sel.Notes...)
	}
	if a.out != "" {
		if err := mixed.WriteBits(a.out, n, p.Plan(sel.Choice), sel); err != nil {
			return err
		}
	}
	out := selectResult{Model: v.model.model, Bits: v.bits, Selection: sel, File: a.out, Calibrated: note != ""}
	if out.Other, err = sweep.OtherCosts(p, sel.Choice); err != nil {
		return err
	}
	return a.print(out, false, func(w io.Writer) { v.text(w, out) })
}

func (v *selectFlags) text(w io.Writer, r selectResult) {
	widest := r.Uniform[len(r.Uniform)-1].Width
	gains := slices.ContainsFunc(r.Layers, func(c mixed.Choice) bool { return c.HighGain != 0 })
	rows := [][]string{{"layer", "group", fmt.Sprintf("gain at %v", widest), "cost", "bits w/a"}}
	for _, c := range r.Layers {
		gain, bits := "-", fmt.Sprintf("%d/%d", c.Bits, c.ActBits)
		if gains && !c.Fixed {
			gain = fmt.Sprintf("%.5g", c.HighGain)
		}
		if c.Fixed {
			bits += " fixed"
		}
		rows = append(rows, []string{c.Name, c.Group, gain, fmt.Sprintf("%.4f", c.Cost), bits})
	}
	table(w, rows)
	fmt.Fprintf(w, "\nbudget   %g of the %s at %v\nreached  %.4f, %s of %s, %s left\n", r.Budget, r.CostModel, widest,
		r.Cost, costUnits(r.CostUnits, r.CostUnit), costUnits(r.BudgetUnits, r.CostUnit), costUnits(r.Slack, r.CostUnit))
	for _, o := range r.Other {
		fmt.Fprintf(w, "         %.4f of the %s, %s\n", o.Cost, o.CostModel, costUnits(o.Units, o.CostUnit))
	}
	for _, u := range r.Uniform {
		fmt.Fprintf(w, "uniform  %.4f at %v\n", u.Cost, u.Width)
	}
	fmt.Fprintf(w, "time     %s\n", duration(r.Seconds))
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note     %s\n", n)
	}
	if r.File == "" {
		fmt.Fprintln(w, "\nnext: the same with --out bits.json, which lowbit quantize --bits trains")
		return
	}
	data := v.data.data
	if data == "" {
		data = "DATA"
	}
	fmt.Fprintf(w, "bits     %s\n\nnext: lowbit quantize --model %s --data %s --method lsq --bits %s\n", r.File, r.Model, data, r.File)
}
