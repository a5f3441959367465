package cli

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lowbit/app/pretrain"
	"lowbit/engine"
	"lowbit/load"
	"lowbit/train"
)

// trainsLanguage lists the flags of train that language models take.
var trainsLanguage = []string{
	"model", "data", "epochs", "batch", "lr", "weight-decay", "warmup", "clip-norm", "resume", "checkpoint-seconds", "tokenizer",
	"text-length", "tokens", "accumulate", "recompute", "bf16", "windows", "window-length",
}

// language trains a language model.
func (t *trainFlags) language(a *app, cmd *cobra.Command) error {
	c, err := t.pretraining(cmd)
	if err != nil {
		return err
	}
	l, err := t.decoder(a)
	if err != nil {
		return err
	}
	if err := t.text.fits(l); err != nil {
		return err
	}
	windows, test, err := t.text.read(a, l, t.data.data, c.Batch)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	j := pretrain.Job{
		Model: l, Config: c, Seed: a.seed, Text: windows, Test: test, TestWindows: t.text.windows, TestLength: t.text.windowLength,
		Train: train.Job{Engine: e, Resume: t.shared.resume, CheckpointSeconds: t.shared.checkpointSeconds, MetricsEvery: 10},
	}
	if have := len(test) / j.TestLength; j.TestWindows > have {
		a.warn(fmt.Sprintf("the test text has %d windows of %d tokens, not %d", have, j.TestLength, j.TestWindows))
		j.TestWindows = have
	}
	a.describe(&j.Train, t.model.model)
	if j.Train.Out, err = a.runDir(fmt.Sprintf("%s-fp32-s%d", shortName(t.model.model), a.seed), t.shared.resume); err != nil {
		return err
	}
	p := a.progress()
	j.Train.Progress, j.Stage = p.reading("train "+shortName(t.model.model), t.text.textLength), p.stage
	o, err := pretrain.Run(a.ctx, j)
	p.clear()
	if err != nil {
		return hint(err, j.Train.Out)
	}
	return a.print(o, false, func(w io.Writer) {
		fmt.Fprintf(w, "perplexity  %.3f on %d windows of %d tokens (before %.3f)\n", o.Perplexity, o.Windows, o.Length, o.StartPerplexity)
		fmt.Fprintf(w, "loss        %.4f (training %.4f)\n", o.Loss, o.TrainLoss)
		fmt.Fprintf(w, "trained     %s weights on %s tokens at %.0f/s\n", thousands(o.Params), thousands(int64(o.TrainTokens)), o.TrainSpeed)
		fmt.Fprintf(w, "time        %s\nrun         %s\n", duration(o.Seconds), o.Run)
		fmt.Fprintf(w, "\nnext: lowbit run --model %s --prompt %q\n      lowbit quantize --model %s --data %s --method silq --bits w4a8kv8\n", o.Run, "func ", o.Run, t.data.data)
	})
}

// decoder makes a new language model, or opens one that goes on.
func (t *trainFlags) decoder(a *app) (*load.Language, error) {
	if load.IsNewLanguage(t.model.model) {
		if t.text.tokenizer != "" {
			if _, err := os.Stat(t.text.tokenizer); err != nil {
				return nil, err
			}
		}
		l, err := load.NewLanguage(t.model.model, t.text.tokenizer, a.seed)
		if err == nil && l.Tokenizer == nil {
			err = fmt.Errorf("%s has no tokenizer.json; --tokenizer FILE names one", t.model.model)
		}
		return l, err
	}
	if t.text.tokenizer != "" {
		return nil, usagef("--tokenizer: %s has its own", t.model.model)
	}
	return openTokenized(t.model.model)
}

// pretraining fills the recipe from the flags.
func (t *trainFlags) pretraining(cmd *cobra.Command) (pretrain.Config, error) {
	var wrong error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if wrong == nil && !slices.Contains(trainsLanguage, f.Name) && cmd.InheritedFlags().Lookup(f.Name) == nil {
			wrong = usagef("--%s does not go with language models", f.Name)
		}
	})
	c := pretrain.DefaultConfig()
	for name, to := range map[string]func(){
		"epochs": func() { c.Epochs = t.epochs }, "batch": func() { c.Batch = t.batch }, "lr": func() { c.LR = t.lr },
		"weight-decay": func() { c.WeightDecay = t.weightDecay }, "clip-norm": func() { c.ClipNorm = t.clipNorm },
		"accumulate": func() { c.Accumulate = t.text.accumulate },
		"recompute":  func() { c.Recompute = t.text.recompute },
		"bf16":       func() { c.BF16 = t.bf16 },
	} {
		if cmd.Flags().Changed(name) {
			to()
		}
	}
	if cmd.Flags().Changed("warmup") { // in epochs, once those are known
		c.Warmup = t.warmup / float64(max(c.Epochs, 1))
	}
	if wrong != nil {
		return c, wrong
	}
	return c, usage(c.Validate())
}
