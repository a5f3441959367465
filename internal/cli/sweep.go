package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lowbit/app/report"
	"lowbit/app/sweep"
	"lowbit/engine"
	"lowbit/internal/atomicfile"
	"lowbit/load"
	"lowbit/method/lsq"
	"lowbit/quant"
	"lowbit/train"
)

const sweepHelp = `Draws the frontier of mixed precision: selects bits by many methods under many
budgets, trains every selection from one checkpoint with several seeds, and
compares accuracies on the test part, seed by seed. The uniform precisions are
trained beside them.

Start from a run trained at the widest of --bits. All results stand in --out
(default runs/MODEL-sweep), with report.html and frontier.svg. A sweep that was stopped, in
whatever way, goes on where it was with the same command; methods, budgets and
seeds may be added. The same command in several processes shares the trainings
among them, with the same results: small networks train fastest with --threads 1
and a process a core. Where the folder is gone and the result is left, --from goes
on from that, from the same checkpoint. See select for the methods.`

const sweepExample = `  lowbit sweep --model runs/r20-w4 --data cifar10 --methods eagl,alps,random --budgets 0.6,0.8 --seeds 1,2,3 --epochs 10
  lowbit report runs/r20-w4-sweep --out report.html`

type sweepFlags struct {
	mixedFlags
	methods, ranked []string
	budgets         []float64
	seeds           []uint
	epochs          int
	lr, weightDecay float64
	recipe, teacher string
	keepWeights     bool
	times           bool
	from            string
}

// sweepResult is the verb's result.
type sweepResult struct {
	Run    string `json:"run"`
	Model  string `json:"model"`
	Report string `json:"report"`
	*sweep.Result
	Seconds float64 `json:"seconds"` // of this call
}

func (a *app) sweep() *cobra.Command {
	var v sweepFlags
	d := sweep.DefaultConfig(train.DefaultConfig())
	cmd := &cobra.Command{
		Use: "sweep --model RUN --data DATA", Short: "methods x budgets x seeds: the frontier of mixed precision",
		Long: sweepHelp, Example: sweepExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return v.run(a, cmd) },
	}
	v.add(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&v.methods, "methods", d.Methods, "ways to select")
	f.StringSliceVar(&v.ranked, "ranked", nil, "further ways whose gains are compared, and not trained with")
	f.Float64SliceVar(&v.budgets, "budgets", d.Budgets, "shares of the cost at the widest precision")
	f.UintSliceVar(&v.seeds, "seeds", []uint{1, 2, 3, 4, 5}, "seeds of the trainings")
	f.IntVar(&v.epochs, "epochs", 0, "epochs of each training (default: the recipe's)")
	f.Float64Var(&v.lr, "lr", 0, "first learning rate (default: the recipe's)")
	f.Float64Var(&v.weightDecay, "weight-decay", 0, "decay of weights (default: the recipe's)")
	f.StringVar(&v.recipe, "recipe", "paper", "paper, or short for a few epochs: better first steps, and a teacher")
	f.StringVar(&v.teacher, "teacher", "", "MODEL whose outputs are learned, too; self: the full-precision network that the run was made from")
	f.StringVar(&v.from, "from", "", "earlier result of the same sweep whose folder is gone (points.json, or a record of it): go on from there")
	f.BoolVar(&v.times, "times", true, "measure the layers in the integer runtime on this machine and draw accuracy against milliseconds, too (default for encoders: false)")
	f.BoolVar(&v.keepWeights, "keep-weights", false, "keep the weights of every training")
	return cmd
}

// resolve fills the Config but for the base.
func (v *sweepFlags) resolve(a *app, cmd *cobra.Command) (sweep.Config, error) {
	c := sweep.Config{Methods: v.methods, Ranked: v.ranked, Budgets: v.budgets, KeepWeights: v.keepWeights, Times: v.times}
	for _, m := range slices.Concat(v.methods, v.ranked) {
		if !slices.Contains(sweep.Methods(), m) {
			return c, usagef("method %q, want %s%s", m, strings.Join(sweep.Methods(), ", "), didYouMean(m, sweep.Methods()))
		}
	}
	for _, s := range v.seeds {
		c.Seeds = append(c.Seeds, uint64(s))
	}
	var err error
	if v.from != "" {
		if c.From, err = sweep.LoadResult(v.from); err != nil {
			return c, err
		}
	}
	if c.Widths, err = v.widths(); err != nil {
		return c, err
	}
	widest := c.Widths[len(c.Widths)-1]
	if c.Cost, err = v.costName(); err != nil {
		return c, err
	}
	if c.Scoring, err = v.scoring(a, cmd, widest); err != nil {
		return c, err
	}
	if c.LSQ, err = v.lsq(cmd, c.Scoring.ALPS.LSQ.Bits); err != nil {
		return c, err
	}
	c.LSQ.Start = c.Scoring.ALPS.LSQ.Start
	if v.teacher != "" {
		c.LSQ.Distill = 1
	}
	set := cmd.Flags().Changed
	if !set("times") && load.IsEncoder(v.model.model) { // not in the integer runtime yet
		c.Times = false
	}
	if set("epochs") {
		c.LSQ.Epochs = v.epochs
	}
	if set("lr") {
		c.LSQ.LR = v.lr
	}
	if set("weight-decay") {
		c.LSQ.WeightDecay = v.weightDecay
	}
	return c, usage(c.Validate())
}

// lsq is the recipe of the final trainings.
func (v *sweepFlags) lsq(cmd *cobra.Command, bits quant.BitPlan) (lsq.Config, error) {
	c := lsq.DefaultConfig(bits)
	switch encoder := load.IsEncoder(v.model.model); {
	case encoder && (v.recipe == "short" || !cmd.Flags().Changed("recipe")):
		c = lsq.EncoderConfig(bits, encoderEpochs)
		if cmd.Flags().Changed("epochs") {
			c = lsq.EncoderConfig(bits, v.epochs)
		}
	case v.recipe == "paper":
		return c, nil
	case v.recipe == "short":
		c = lsq.ShortConfig(bits, c.Epochs)
	default:
		return c, usagef("--recipe %q, want paper or short", v.recipe)
	}
	if v.teacher == "" {
		v.teacher = "self"
	}
	return c, nil
}

func (v *sweepFlags) run(a *app, cmd *cobra.Command) error {
	byModel(cmd, v.model, &v.batch)
	c, err := v.resolve(a, cmd)
	if err != nil {
		return err
	}
	if err := v.model.check(); err != nil {
		return err
	}
	s, err := v.data.openFor(a, v.model, v.batch, false)
	if err != nil {
		return err
	}
	if err := s.needs(true, true); err != nil {
		return err
	}
	if err := v.trials(slices.Concat(v.methods, v.ranked), s); err != nil {
		return err
	}
	l, err := v.model.network(s)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	job := train.Job{Engine: e, Graph: l.Graph, Store: l.Store, Out: a.out}
	s.put(&job)
	if job.Out == "" {
		job.Out = filepath.Join("runs", shortName(v.model.model)+"-sweep")
	}
	a.describe(&job, modelName(l))
	if c.Base, err = v.base(a, l, s); err != nil {
		return err
	}
	c.LSQ.Granularity = granularity(l.Graph)
	c.Scoring.ALPS.LSQ.Granularity = c.LSQ.Granularity
	if v.teacher != "" {
		if job.Teacher, err = teacher(v.teacher, v.model.model, s); err != nil {
			return err
		}
	}
	note, err := v.steps(c.Base, &job, c.Widths[len(c.Widths)-1])
	if err != nil {
		return err
	}
	if note != "" {
		a.warn(note)
	}
	return v.draw(a, c, job, s)
}

// draw runs the sweep and makes its page.
func (v *sweepFlags) draw(a *app, c sweep.Config, job train.Job, s sets) error {
	began := time.Now()
	line := a.progress()
	r, err := sweep.Run(a.ctx, c, job, line.sweeping)
	line.clear()
	out := sweepResult{job.Out, v.model.model, filepath.Join(job.Out, "report.html"), r, time.Since(began).Seconds()}
	if r != nil && len(r.Frontier) > 0 {
		err = errors.Join(err, sweepPage(out.Report, r, "", a.command()), writePictures(job.Out, r))
	}
	if errors.Is(err, train.ErrInterrupted) {
		return fmt.Errorf("%w\nGo on with the same command: it continues in %s", err, job.Out)
	}
	if err != nil {
		return slowKernel(err, c.Cost)
	}
	if v.keepWeights {
		for _, p := range r.Points {
			if err := s.keep(filepath.Join(job.Out, "runs", p.Run)); err != nil {
				return err
			}
		}
	}
	return a.print(out, false, func(w io.Writer) { sweepText(w, out) })
}

// writePictures writes a sweep's frontiers as files of their own.
func writePictures(dir string, r *sweep.Result) error {
	err := writeSVG(filepath.Join(dir, "frontier.svg"), r.FrontierSVG())
	if svg := r.TimesSVG(); svg != "" {
		err = errors.Join(err, writeSVG(filepath.Join(dir, "times.svg"), svg))
	}
	return err
}

// writeSVG writes an SVG as a file of its own, on white paper.
func writeSVG(path, svg string) error {
	svg = strings.Replace(svg, "><title>", ` style="background:white"><title>`, 1)
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, svg+"\n")
		return err
	})
}

// sweeping is a callback for sweep.Run.
func (l *line) sweeping(p sweep.Progress) {
	switch {
	case p.Scoring && p.All > 0:
		l.stage(p.Method+" scores, trial", p.Done, p.All)
	case p.Scoring:
		l.set(p.Method + " scores")
	default:
		what := fmt.Sprintf("%d/%d %s at %g, seed %d,", p.Done, p.All, p.Method, p.Budget, p.Seed)
		l.training(what)(p.Train)
	}
}

func sweepText(w io.Writer, r sweepResult) {
	head, rows := frontierTable(r.Result)
	table(w, append([][]string{head}, rows...))
	fmt.Fprintf(w, "\ntime    %s\nresults %s\nreport  %s\n", duration(r.Seconds), r.Run, r.Report)
}

// frontierTable lists accuracy by method and budget.
func frontierTable(r *sweep.Result) (head []string, rows [][]string) {
	head = []string{"method", "budget", "cost", "accuracy", "95 % interval", "seeds"}
	measured, timed := r.CostModel == sweep.MeasuredCost, r.Times != nil
	if timed {
		head = slices.Insert(head, 3, "ms")
	}
	if measured {
		head = slices.Insert(head, 3, "bit-MACs")
		head[2] = "time"
	}
	for _, s := range r.Frontier {
		for _, p := range s.Spots {
			half := "-"
			if p.N > 1 {
				half = fmt.Sprintf("+- %.2f", 100*p.CI95)
			}
			row := []string{s.Method, fmt.Sprintf("%.3g", p.Budget), fmt.Sprintf("%.4f", p.Cost), percent(p.Mean), half, fmt.Sprint(p.N)}
			if timed {
				row = slices.Insert(row, 3, fmt.Sprintf("%.4f", p.MS))
			}
			if measured {
				row = slices.Insert(row, 3, fmt.Sprintf("%.4f", p.BitMACs))
			}
			rows = append(rows, row)
		}
	}
	return head, rows
}

// pairTable lists what methods gain over others, seed by seed.
func pairTable(pairs []sweep.Pair) (head []string, rows [][]string) {
	for _, p := range pairs {
		separated, budget := "not separated", fmt.Sprintf("%.3g", p.Budget)
		if p.Separated {
			separated = "separated"
		}
		if len(p.Budgets) > 0 {
			budget = fmt.Sprintf("mean of %d", len(p.Budgets))
		}
		rows = append(rows, []string{p.Method, p.Baseline, separated, budget,
			fmt.Sprintf("%+.2f", 100*p.Difference), fmt.Sprintf("%.2f", 100*p.CI95), fmt.Sprint(p.N)})
	}
	return []string{"method", "against", "verdict", "budget", "points", "95 % interval +-", "seeds"}, rows
}

// costTable lists what each method's scoring took.
func costTable(r *sweep.Result) (head []string, rows [][]string) {
	for _, s := range r.Scored {
		name, note := s.Method, strings.Join(s.Gains.Notes, "; ")
		if s.Method == "random" {
			name = fmt.Sprintf("random, seed %d", s.Seed)
		}
		rows = append(rows, []string{name, note, fmt.Sprintf("%.3g", s.Seconds)})
	}
	seconds := map[string]float64{} // equal selections share a training
	for _, p := range r.Points {
		if p.Done {
			seconds[p.Run] = p.Seconds
		}
	}
	total := 0.0
	for _, s := range seconds {
		total += s
	}
	return []string{"method", "notes", "seconds"}, append(rows, []string{"trainings", fmt.Sprintf("%d, each used by all equal selections", len(seconds)), fmt.Sprintf("%.3g", total)})
}

// sweepPage writes the page of a sweep; an empty title is replaced.
func sweepPage(path string, r *sweep.Result, title string, command []string) error {
	done := 0
	for _, p := range r.Points {
		if p.Done {
			done++
		}
	}
	lead := fmt.Sprintf("%d selections trained.", done)
	if !r.Complete {
		lead = fmt.Sprintf("%d of %d selections trained so far.", done, len(r.Points))
	}
	frontier := report.Section{
		Heading: "Accuracy against cost", SVG: r.FrontierSVG(), Texts: 1,
		Note: "Test accuracy, mean over seeds, with the 95 % confidence interval of the mean (Student's t). Cost is a share of that with every layer at the widest precision.",
	}
	frontier.Head, frontier.Rows = frontierTable(r)
	pairs := report.Section{Heading: "Differences, paired by seed", Texts: 3, Note: "Accuracy of the method minus that of the other. Separated: the 95 % interval leaves out 0. Nothing is corrected for the number of comparisons."}
	if pairs.Head, pairs.Rows = pairTable(r.Pairs); len(pairs.Rows) == 0 {
		pairs.Note = "With two seeds or more, methods are compared here."
	}
	overall := report.Section{Heading: "Differences over all budgets, paired by seed", Texts: 3, Note: "The mean of a method's accuracies over all budgets, minus that of the other: one figure a seed, so that budgets are no repetitions."}
	overall.Head, overall.Rows = pairTable(r.Overall)
	sections := []report.Section{frontier}
	if svg := r.TimesSVG(); svg != "" {
		sections = append(sections, report.Section{Heading: "Accuracy against time", SVG: svg, Note: "The same against milliseconds: each layer timed by itself in the integer runtime on this machine, one example at a time, first and last layers included, summed over layers. Kernels that multiply bytes take the same time for codes of all widths; what fewer bits save is reading weights."})
	}
	if svg := r.BitMACsSVG(); svg != "" {
		sections = append(sections, report.Section{Heading: "Accuracy against bit-MACs", SVG: svg, Note: "The same selections, priced in MACs times bits."})
	}
	if len(overall.Rows) > 0 {
		sections = append(sections, overall)
	}
	sections = append(sections, pairs)
	if svg := r.CorrelationSVG(); svg != "" {
		sections = append(sections, report.Section{Heading: "How alike gains are", SVG: svg, Note: "Rank correlation (Spearman) over groups of layers, of the gains at the widest precision."})
	}
	costs := report.Section{Heading: "What selecting costs", Texts: 2, Note: "Seconds of scoring, trials of all processes included, and of the final trainings."}
	costs.Head, costs.Rows = costTable(r)
	c := report.Config{Title: cmp.Or(title, "The frontier of mixed precision"), Lead: lead}
	if len(command) > 0 {
		c.Next = []string{report.ShellLine(command)}
	}
	return report.WriteSections(path, append(sections, costs), c)
}
