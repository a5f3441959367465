package cli

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lowbit/app/bench"
	"lowbit/app/quantize"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/method/silq"
	"lowbit/train"
)

// languageFlags are those of quantize for language models alone.
type languageFlags struct {
	static, query bool
	rotate        bool
	textLength    int
	accumulate    int
	recompute     bool
	tokens        int64
	crossEntropy  float64
	smooth        float64
	windows       int
	windowLength  int
	tokenizer     string // of train
}

// ofLanguage lists the flags that language models take, beside the common ones.
var ofLanguage = []string{
	"model", "data", "method", "bits", "epochs", "batch", "lr", "step-lr", "weight-decay", "distill", "init", "calibration", "batches",
	"percentile", "resume", "checkpoint-seconds", "static", "query", "text-length", "tokens", "cross-entropy", "step-gradient", "accumulate", "recompute", "windows", "window-length", "smooth", "rotate",
}

func (v *languageFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&v.static, "static", false, "silq: one learned step for each activation, not one of each token at run time")
	f.BoolVar(&v.query, "query", false, "silq: queries of 16 bits")
	f.Float64Var(&v.crossEntropy, "cross-entropy", 0, "silq: weight of learning from the text itself")
	f.Float64Var(&v.smooth, "smooth", 0, "silq, and ptq of language models: move the scales of inputs into the weights first (SmoothQuant's alpha, such as 0.5); 0: off")
	f.BoolVar(&v.rotate, "rotate", false, "silq, and ptq of language models: turn features among each other first, so that none stands out (QuaRot's transforms that fold into the weights)")
	v.addText(f, "silq")
}

// addText adds what training on text has everywhere; whose says when it counts.
func (v *languageFlags) addText(f *pflag.FlagSet, whose string) {
	f.IntVar(&v.textLength, "text-length", 256, whose+": tokens of a training window")
	f.Int64Var(&v.tokens, "tokens", 0, whose+": tokens of an epoch; 0: all of the text")
	f.IntVar(&v.accumulate, "accumulate", 1, whose+": parts of a batch that run one after the other, for less memory")
	f.BoolVar(&v.recompute, "recompute", false, whose+": compute what is inside a block again in the backward pass, for much less memory; the same result")
	f.IntVar(&v.windows, "windows", 16, whose+": test windows; 0: all")
	f.IntVar(&v.windowLength, "window-length", 512, whose+": tokens of a test window")
}

// fits compares the windows' lengths with what a model reads.
func (v *languageFlags) fits(l *load.Language) error {
	if most := max(v.textLength, v.windowLength); most > l.Config.Context || v.textLength < 2 || v.windowLength < 2 {
		return usagef("windows of %d and %d tokens, %s reads 2 to %d", v.textLength, v.windowLength, l.Spec, l.Config.Context)
	}
	return nil
}

// language quantizes a language model.
func (q *quantizeFlags) language(a *app, cmd *cobra.Command) error {
	if os.Getenv("GOGC") == "" {
		// Weights and plans are few and huge. A collector that waits for the heap to
		// double keeps gigabytes of dead ones; looking more often costs nothing here.
		defer debug.SetGCPercent(debug.SetGCPercent(20))
	}
	c, err := q.silq(cmd)
	if err != nil {
		return err
	}
	l, err := openTokenized(q.model.model)
	if err != nil {
		return err
	}
	if err := q.text.fits(l); err != nil {
		return err
	}
	windows, test, err := q.text.read(a, l, q.data.data, c.Batch)
	if err != nil {
		return err
	}
	c.Scored = windows.Scored()
	e := engine.New(a.threads)
	defer e.Close()
	j := quantize.LanguageJob{
		Model: l, Config: c, Seed: a.seed, Text: windows, Test: test, Bits: q.bits, TestWindows: q.text.windows, TestLength: q.text.windowLength, PeakRSS: bench.PeakRSS,
		Train: train.Job{Engine: e, Resume: q.shared.resume, CheckpointSeconds: q.shared.checkpointSeconds, MetricsEvery: 10},
	}
	if have := len(test) / j.TestLength; j.TestWindows > have {
		a.warn(fmt.Sprintf("the test text has %d windows of %d tokens, not %d", have, j.TestLength, j.TestWindows))
		j.TestWindows = have
	}
	a.describe(&j.Train, q.model.model)
	name := fmt.Sprintf("%s-%s-%s-s%d", shortName(q.model.model), q.method, shortName(q.bits), a.seed)
	if j.Train.Out, err = a.runDir(name, q.shared.resume); err != nil {
		return err
	}
	p := a.progress()
	j.Train.Progress, j.Stage = p.reading(q.method+" "+q.bits, q.text.textLength), p.stage
	o, err := quantize.Language(a.ctx, j)
	p.clear()
	if err != nil {
		return hint(err, j.Train.Out)
	}
	return a.print(o, false, func(w io.Writer) { languageText(w, o) })
}

// silq fills the method's Config from the flags.
func (q *quantizeFlags) silq(cmd *cobra.Command) (silq.Config, error) {
	set := cmd.Flags().Changed
	if !set("method") {
		q.method = "silq"
	}
	var wrong error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if wrong == nil && !slices.Contains(ofLanguage, f.Name) && cmd.InheritedFlags().Lookup(f.Name) == nil {
			wrong = usagef("--%s does not go with language models", f.Name)
		}
	})
	quantizers, err := silq.ParseBits(q.bits)
	switch {
	case wrong != nil:
		return silq.Config{}, wrong
	case q.bits == "":
		return silq.Config{}, usagef("no bits: --bits w4a8kv8")
	case err != nil:
		return silq.Config{}, usage(err)
	case q.method != "silq" && q.method != "ptq":
		return silq.Config{}, usagef("--method %q: language models have silq and ptq", q.method)
	}
	quantizers.Static = q.text.static
	if set("step-gradient") {
		quantizers.StepGrad = graph.StepGrad(q.stepGradient)
	}
	if q.text.query {
		quantizers.Query = 16
	}
	c := silq.DefaultConfig(quantizers)
	rule := q.init
	if q.method == "ptq" {
		c.Epochs, rule = 0, ""
		if set("calibration") {
			rule = q.calibration
		}
	}
	if rule != "" {
		c.Start.Weights = silq.WeightRule(rule)
	}
	for name, to := range map[string]func(){
		"epochs": func() { c.Epochs = q.epochs }, "batch": func() { c.Batch = q.batch }, "lr": func() { c.LR = q.lr },
		"step-lr": func() { c.StepLR = q.stepLR }, "weight-decay": func() { c.WeightDecay = q.weightDecay },
		"distill": func() { c.Distill = q.distill }, "cross-entropy": func() { c.CrossEntropy = q.text.crossEntropy },
		"accumulate": func() { c.Accumulate = q.text.accumulate },
		"recompute":  func() { c.Recompute = q.text.recompute },
		"smooth":     func() { c.Start.Smooth = q.text.smooth },
		"rotate":     func() { c.Start.Rotate = q.text.rotate },
		"batches":    func() { c.Start.Windows = q.batches }, "percentile": func() { c.Start.Percentile = q.percentile },
	} {
		if set(name) {
			to()
		}
	}
	return c, usage(c.Validate())
}

// reading returns a callback for train.Job.Progress of a text's windows.
func (l *line) reading(what string, length int) func(train.Progress) {
	return func(p train.Progress) {
		done := float64(p.Epoch)
		if p.Steps > 0 {
			done += float64(p.Step) / float64(p.Steps)
		}
		l.set(fmt.Sprintf("%s %s step %d/%d, loss %.4f, %.0f tokens/s, %s left", what, bar(done/float64(max(p.Epochs, 1))),
			p.Step, p.Steps, p.Loss, p.ImagesPerS*float64(length), duration(p.Left)))
	}
}

func languageText(w io.Writer, o quantize.LanguageOutcome) {
	table(w, o.Table())
	fmt.Fprintf(w, "\nmeasured    %d windows of %d tokens, float engine\nsize        %s (float32: %s)\n", o.Windows, o.Length, size(o.SizeBytes), size(o.FP32SizeBytes))
	if o.TrainTokens > 0 {
		fmt.Fprintf(w, "trained     %s tokens at %.0f/s\n", thousands(int64(o.TrainTokens)), o.TrainSpeed)
	}
	if n := float64(len(o.Rotations)); n > 0 {
		var m silq.Rotation
		for _, k := range o.Rotations {
			m.Change, m.Input, m.InputChance = m.Change+k.Change/n, m.Input+k.Input/n, m.InputChance+k.InputChance/n
		}
		fmt.Fprintf(w, "weights     moved by %s; rotations of inputs explain %s of that, %s of a change at random\n", percent(m.Change), percent(m.Input), percent(m.InputChance))
	}
	if o.PeakRSSBytes > 0 {
		fmt.Fprintf(w, "memory      %s at most\n", size(o.PeakRSSBytes))
	}
	fmt.Fprintf(w, "time        %s\nrun         %s\n", duration(o.Seconds), o.Run)
	fmt.Fprintf(w, "\nnext: lowbit run --model %s --prompt %q\n", o.Run, strings.TrimSpace("Once upon a time"))
}
