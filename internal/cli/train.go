package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/engine"
	"lowbit/load"
	"lowbit/model"
	"lowbit/optim"
	"lowbit/tensor"
	"lowbit/train"
)

const trainHelp = `Trains a network in full precision.

A zoo network starts from random weights (those of --seed), or from --weights; a
run directory or weights file starts from what it holds. The defaults are the
usual recipe for the network's data: SGD with Nesterov momentum 0.9, batch 128,
one cycle or a cosine, crops and flips.

--bf16 is mixed precision: convolutions and linear layers multiply bfloat16, where the
CPU has AVX512_BF16, and everything else stays in float32, evaluation, too.

An encoder (a Hugging Face or sentence-transformers folder of a BERT, or an ONNX file
of one) gets a classifier and is fine-tuned on sst2:PATH or mrpc:PATH, PATH being the folder of the
task's files: AdamW, batch 32, 3 epochs, a rate that rises to 5e-5 and falls
linearly. Sentences of like lengths share a batch.

A language model (llama-tiny, llama-small, or one that is there already) learns to go
on with text:PATH, wikitext2:PATH or gosource:8MiB, the Go files of this machine's
toolchain: AdamW, batches of 16 windows of 256 tokens, a rate that rises to 1e-3 and
falls as a cosine. A new one reads bytes, or the tokens of --tokenizer; a folder with
a Hugging Face config.json and no weights describes one of your own.

The run directory holds the checkpoints, the metrics and run.json. Ctrl-C writes
a checkpoint; --resume goes on, with the same result as without the break.`

const trainExample = `  lowbit train --model resnet20 --data cifar10 --out runs/r20
  lowbit train --model resnet20 --data cifar10 --out runs/r20 --resume
  lowbit train --model resnet20 --width 0.5 --data cifar10 --epochs 30 --lr 0.2 --json
  lowbit train --model all-MiniLM-L6-v2 --data sst2:glue/SST-2 --epochs 1 --out runs/sst2
  lowbit train --model llama-tiny --data gosource:8MiB --out runs/go
  lowbit train --model llama-small --tokenizer smollm2.gguf --data text:books --tokens 4000000`

// trainFlags are those of train; recipe names which of them the user set.
type trainFlags struct {
	model                     modelFlags
	data                      dataFlags
	epochs, batch             int
	lr, momentum, weightDecay float64
	nesterov                  bool
	optimizer, schedule       string
	warmup, labelSmoothing    float64
	ema, clipNorm             float64
	bf16                      bool
	augment                   string
	shared                    runFlags
	text                      languageFlags
}

// runFlags are shared by verbs that train.
type runFlags struct {
	holdOut           int
	best, resume      bool
	checkpointSeconds float64
}

func (r *runFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&r.holdOut, "hold-out", 0, "keep N training images out and evaluate on them instead of the test part")
	f.BoolVar(&r.best, "best", false, "with --hold-out: keep the best weights there, and evaluate those on the test part")
	f.BoolVar(&r.resume, "resume", false, "go on with the run in --out")
	f.Float64Var(&r.checkpointSeconds, "checkpoint-seconds", 300, "time between checkpoints within an epoch")
}

// apply sets what the flags decide. The test part is used once, at the end;
// with held-out images and without --best they take its place.
func (r *runFlags) apply(c *train.Config, j *train.Job, s sets) error {
	c.HoldOut, c.Best = r.holdOut, r.best
	s.put(j)
	j.Resume, j.CheckpointSeconds = r.resume, r.checkpointSeconds
	switch {
	case r.best && r.holdOut == 0:
		return usagef("--best needs --hold-out N")
	case r.holdOut < 0 || r.holdOut >= s.examples():
		return usagef("--hold-out %d of %d training examples, want fewer and not below 0", r.holdOut, s.examples())
	case r.holdOut == 0 || r.best:
		return nil
	}
	held, err := j.HoldOut(r.holdOut, c.Seed, 0)
	if err != nil {
		return err
	}
	if j.Test = held.Test; j.Source != nil {
		j.Source = train.MeasuredOn(j.Source, held.Source)
	}
	return nil
}

// part names what a job's accuracy is of.
func (r *runFlags) part(j *train.Job) string {
	switch {
	case j.Test != nil:
		return j.Test.Split
	case j.Source != nil && r.holdOut > 0 && !r.best:
		return "train-heldout"
	case j.Source != nil:
		return "test"
	}
	return ""
}

func (a *app) train() *cobra.Command {
	var t trainFlags
	cmd := &cobra.Command{
		Use: "train --model MODEL --data DATA", Short: "train a network in full precision",
		Long: trainHelp, Example: trainExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(a, cmd) },
	}
	t.model.add(cmd)
	t.data.add(cmd, true)
	t.shared.add(cmd)
	f := cmd.Flags()
	f.IntVar(&t.epochs, "epochs", 0, "passes over the training part (default: by the data)")
	f.IntVar(&t.batch, "batch", 128, "examples a step; encoders: 32, language models: 16 windows")
	f.Float64Var(&t.lr, "lr", 0, "highest learning rate (default: by the data)")
	f.Float64Var(&t.momentum, "momentum", 0.9, "momentum of SGD")
	f.BoolVar(&t.nesterov, "nesterov", true, "Nesterov momentum")
	f.Float64Var(&t.weightDecay, "weight-decay", 5e-4, "decay of weights; biases and norms have none")
	f.StringVar(&t.optimizer, "optimizer", "sgd", "sgd, adam or adamw; encoders: adamw")
	f.StringVar(&t.schedule, "schedule", "", "onecycle, cosine, linear or constant (default: by the data)")
	f.Float64Var(&t.warmup, "warmup", 1, "epochs over which the rate rises (not for onecycle)")
	f.Float64Var(&t.labelSmoothing, "label-smoothing", 0, "share of the target spread over all classes")
	f.Float64Var(&t.ema, "ema", 0, "evaluate an average of the weights with this decay a step; 0: off")
	f.Float64Var(&t.clipNorm, "clip-norm", 0, "bound on the gradients' norm; 0: none")
	f.BoolVar(&t.bf16, "bf16", false, "products of operands rounded to bfloat16, where the CPU has them: faster")
	f.StringVar(&t.augment, "augment", "standard", "standard (by the data) or none")
	t.text.addText(f, "language models")
	f.StringVar(&t.text.tokenizer, "tokenizer", "", "new language models: a tokenizer.json, a folder with one, or a .gguf file (default: bytes)")
	return cmd
}

// roundsOrWarns tells whoever asked for bfloat16 that this CPU has none.
func (a *app) roundsOrWarns(bf16 bool) {
	if bf16 && !engine.HasBF16() {
		a.warn("--bf16 changes nothing: kernel row " + engine.KernelRow() + " has no products of bfloat16")
	}
}

// recipe is what a network for some data is trained with by default.
type recipe struct {
	epochs   int
	lr       float64
	schedule optim.ScheduleKind
}

// recipeFor returns the recipe for a dataset. CIFAR-10: one cycle to 0.2 in 100
// epochs, which brings a ResNet-20 to where the usual 160 to 200 epochs of steps
// do. Encoders: that of BERT's fine-tuning.
func recipeFor(s sets) recipe {
	if s.encoder != nil {
		return recipe{encoderEpochs, 5e-5, optim.Linear}
	}
	switch s.train.Name {
	case "cifar10":
		return recipe{100, 0.2, optim.OneCycle}
	case "fashion-mnist":
		return recipe{20, 0.1, optim.OneCycle}
	}
	return recipe{90, 0.1, optim.Cosine}
}

// config resolves the flags.
func (t *trainFlags) config(a *app, cmd *cobra.Command, data sets) (train.Config, error) {
	r := recipeFor(data)
	set := cmd.Flags().Changed
	if set("epochs") {
		r.epochs = t.epochs
	}
	if set("lr") {
		r.lr = t.lr
	}
	if set("schedule") {
		r.schedule = optim.ScheduleKind(t.schedule)
	}
	switch r.schedule {
	case optim.OneCycle, optim.Cosine, optim.Linear, optim.Constant:
	default:
		return train.Config{}, usagef("--schedule %q, want onecycle, cosine, linear or constant", t.schedule)
	}
	if data.encoder != nil {
		t.forEncoder(set, r.epochs)
	}
	c := train.DefaultConfig()
	c.Epochs, c.Batch, c.Seed = r.epochs, t.batch, a.seed
	c.Loss.Smooth = t.labelSmoothing
	c.Optim = optim.DefaultConfig(optim.Kind(t.optimizer), t.weightDecay)
	if c.Optim.Kind == optim.SGD {
		c.Optim.Momentum, c.Optim.Nesterov = t.momentum, t.nesterov && t.momentum > 0
	}
	c.Optim.EMA, c.Optim.ClipNorm, c.BF16 = t.ema, t.clipNorm, t.bf16
	c.Schedule = optim.Schedule{Kind: r.schedule, LR: r.lr}
	if r.schedule != optim.OneCycle {
		c.Schedule.Warmup = min(t.warmup, float64(c.Epochs))
	}
	switch t.augment {
	case "standard":
		if data.train != nil {
			c.Augment = augment(data.train)
		}
	case "none":
	default:
		return c, usagef("--augment %q, want standard or none", t.augment)
	}
	return c, usage(c.Validate())
}

// forEncoder changes the defaults of flags that are not set to those of BERT's
// fine-tuning (arXiv 1810.04805, appendix A).
func (t *trainFlags) forEncoder(set func(string) bool, epochs int) {
	if !set("optimizer") {
		t.optimizer = string(optim.AdamW)
	}
	if !set("weight-decay") {
		t.weightDecay = 0.01
	}
	if !set("warmup") {
		t.warmup = 0.1 * float64(epochs)
	}
	if !set("clip-norm") {
		t.clipNorm = 1
	}
}

// network builds or loads what is trained.
func (t *trainFlags) network(s sets, j *train.Job) (model.Info, error) {
	info, ok := model.Lookup(t.model.model)
	if !ok || t.model.weights != "" {
		l, err := t.model.network(s)
		if err != nil {
			return info, err
		}
		j.Graph, j.Store = l.Graph, l.Store
		return l.Info, nil
	}
	g, err := model.Build(t.model.model, t.model.config(s.train))
	j.Graph, j.Store = g, tensor.NewStore()
	return info, err
}

// trainResult is the verb's result.
type trainResult struct {
	train.Result
	Run     string `json:"run"`
	Model   string `json:"model"`
	Part    string `json:"part"` // what the accuracy is of
	Kernel  string `json:"kernel"`
	Threads int    `json:"threads"`
}

func (t *trainFlags) run(a *app, cmd *cobra.Command) error {
	a.roundsOrWarns(t.bf16)
	if load.IsLanguage(t.model.model) {
		return t.language(a, cmd)
	}
	if err := t.model.check(); err != nil {
		return err
	}
	byModel(cmd, t.model, &t.batch)
	s, err := t.data.openFor(a, t.model, t.batch, true)
	if err != nil {
		return err
	}
	if err := s.needs(true, false); err != nil {
		return err
	}
	c, err := t.config(a, cmd, s)
	if err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	j := train.Job{Engine: e, Method: "train"}
	info, err := t.network(s, &j)
	if err != nil {
		return err
	}
	if s.train != nil {
		c.Norm = normalization(info, s.train)
	}
	if s.encoder != nil {
		info.Name = shortName(t.model.model)
	}
	if err := t.shared.apply(&c, &j, s); err != nil {
		return err
	}
	a.describe(&j, info.Name)
	if j.Out, err = a.runDir(fmt.Sprintf("%s-fp32-s%d", shortName(t.model.model), a.seed), t.shared.resume); err != nil {
		return err
	}
	l := a.progress()
	j.Progress = l.training("train " + shortName(t.model.model))
	r, err := train.Run(a.ctx, c, j)
	l.clear()
	if err != nil {
		return hint(err, j.Out)
	}
	if err := s.keep(j.Out); err != nil {
		return err
	}
	out := trainResult{Result: r, Run: j.Out, Model: info.Name, Kernel: engine.KernelRow(), Threads: e.Threads()}
	out.Part = t.shared.part(&j)
	return a.print(out, false, func(w io.Writer) {
		fmt.Fprintf(w, "accuracy   %s on %s\n", accuracy(r.Accuracy, r.StandardError, r.Examples), out.Part)
		fmt.Fprintf(w, "loss       %.4f (training %.4f)\n", r.Loss, r.TrainLoss)
		fmt.Fprintf(w, "time       %s for %d epochs on %d threads (%s)\n", duration(r.Seconds), r.Epochs, out.Threads, out.Kernel)
		fmt.Fprintf(w, "run        %s\n\nnext: lowbit quantize --model %s --data %s --method lsq --bits w4a4\n", j.Out, j.Out, t.data.data)
	})
}
