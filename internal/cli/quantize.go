package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"lowbit/app/quantize"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/method/faq"
	"lowbit/method/lsq"
	"lowbit/method/ptq"
	"lowbit/mixed"
	"lowbit/quant"
	"lowbit/train"
)

const quantizeHelp = `Quantizes a full-precision network, or trains a quantized run on with the bits of
each layer that select chose.

Methods:
  lsq   learned step size: the grid of each layer is trained with the weights;
        the best accuracy at 4 bits and below (Esser et al. 2020)
  faq   fine-tuning after quantization: fixed grids, small learning rate
        (McKinstry et al. 2018)
  ptq   no training: grids from the weights and a few batches of images
  silq  language models (a .gguf file, a Hugging Face folder, a .bin file of
        llama2.c): steps for each channel of the weights, inputs and the cache of
        keys and values rounded token by token, training by distillation from the
        model as it was (Esser et al. 2025); ptq stops before the training.
        chat:FILE is a set of chats, JSON lines {"messages": [{"role": "user",
        "content": "..."}, {"role": "assistant", "content": "..."}]}, written by
        the model's template; only answers count

An encoder that train made a classifier of is quantized by lsq or ptq on sst2:PATH or
mrpc:PATH: tables of embeddings and the classifier have 8 bits. lsq then has a recipe
of its own: AdamW, 3 epochs, and the full-precision network as teacher.

BITS is w8a8, w4a4, w3a3, w2a2, w4a8 and so on: bits of the weights and of the
activations; the first and last layer have 8. Or a bits file with each layer's:
with one, lsq goes on from a quantized run, and layers that keep their bits keep
their learned steps.

lsq follows the paper (90 epochs below 8 bits). --recipe short starts from better
steps and learns from the full-precision network, too: for a few epochs. Accuracy
is that of the float engine.`

const quantizeExample = `  lowbit quantize --model resnet20 --data cifar10 --method ptq --bits w8a8
  lowbit quantize --model resnet20 --data cifar10 --method lsq --bits w2a2 --epochs 3 --recipe short
  lowbit quantize --model runs/r20 --data cifar10 --method lsq --bits w4a4 --out runs/r20-w4
  lowbit quantize --model runs/r20-w4 --data cifar10 --method lsq --bits bits.json
  lowbit quantize --model runs/sst2 --data sst2:glue/SST-2 --method lsq --bits w4a4 --epochs 1
  lowbit quantize --model runs/r20 --data cifar10 --method faq --bits w4a4 --epochs 20 --hold-out 5000
  lowbit quantize --model smollm2.gguf --data wikitext2:wikitext-2 --method silq --bits w4a8kv8 --out runs/smol4
  lowbit quantize --model smollm2.gguf --data wikitext2:wikitext-2 --init gptq --rotate --lr 5e-5 --bits w4a8kv8
  lowbit quantize --model smollm2.gguf --data chat:chats.jsonl:0.75,text:books:0.25 --bits w4a8kv8 --recompute
  lowbit quantize --model smollm2.gguf --data text:books --method ptq --bits w8a8kv8 --calibration max`

type quantizeFlags struct {
	model  modelFlags
	data   dataFlags
	shared runFlags

	method, bits, residual, granularity string
	recipe, init, teacher, schedule     string
	stepGradient, gradientScale         string
	calibration                         string
	epochs, batch, batches, normBatches int
	scaleBatch                          int
	lr, stepLR, weightDecay, warmup     float64
	ema, distill, temperature           float64
	percentile                          float64
	frozenNorm                          bool
	text                                languageFlags
}

// ofMethod lists the flags that belong to some methods only.
var ofMethod = map[string][]string{
	"recipe": {"lsq"}, "init": {"lsq"}, "teacher": {"lsq"}, "distill": {"lsq"}, "temperature": {"lsq"},
	"step-lr": {"lsq"}, "warmup": {"lsq"}, "ema": {"lsq"},
	"step-gradient": {"lsq"}, "gradient-scale": {"lsq"}, "scale-batch": {"lsq"},
	"schedule": {"faq"}, "percentile": {"faq"},
	"calibration": {"ptq"}, "norm-batches": {"ptq"},
	"epochs": {"lsq", "faq"}, "lr": {"lsq", "faq"}, "weight-decay": {"lsq", "faq"}, "frozen-norm": {"lsq", "faq"},
	"best": {"lsq", "faq"},
}

func (a *app) quantize() *cobra.Command {
	var q quantizeFlags
	cmd := &cobra.Command{
		Use: "quantize --model MODEL --data DATA --method METHOD --bits BITS", Short: "quantize a network: lsq, faq, silq or ptq",
		Long: quantizeHelp, Example: quantizeExample, Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error { return q.run(a, cmd) },
	}
	q.model.add(cmd)
	q.data.add(cmd, true)
	q.shared.add(cmd)
	f := cmd.Flags()
	f.StringVar(&q.method, "method", "lsq", "lsq, faq or ptq; of language models silq (their default) or ptq")
	f.StringVar(&q.bits, "bits", "", "w4a4, w4a8kv8 and the like, or a bits file")
	f.StringVar(&q.residual, "residual", "", "residual adds: float or 8 (default float, or the bits file's)")
	f.StringVar(&q.granularity, "granularity", "tensor", "weight steps: one a tensor, or one a channel")
	f.IntVar(&q.epochs, "epochs", 0, "passes over the training part (default: the method's)")
	f.IntVar(&q.batch, "batch", 128, "examples a step")
	f.Float64Var(&q.lr, "lr", 0, "first learning rate (default: the method's)")
	f.Float64Var(&q.weightDecay, "weight-decay", 0, "decay of weights (default: the method's)")
	f.BoolVar(&q.frozenNorm, "frozen-norm", false, "keep the batch norms' statistics (default: the method's)")
	f.IntVar(&q.batches, "batches", 0, "batches for calibration (default: the method's)")
	f.StringVar(&q.recipe, "recipe", "paper", "lsq: paper, or short for a few epochs")
	f.StringVar(&q.init, "init", "", "lsq: first steps by lsq (the paper's) or mse (default: the recipe's, and mse for layers that a bits file lowers); silq: max, mse, weighted, convex, lsq or gptq (default weighted)")
	f.StringVar(&q.teacher, "teacher", "", "lsq: MODEL whose outputs are learned, too; self: the full-precision network")
	f.Float64Var(&q.distill, "distill", 0, "lsq: weight of learning from the teacher (default 1 with one)")
	f.Float64Var(&q.temperature, "temperature", 1, "lsq: temperature of that")
	f.Float64Var(&q.stepLR, "step-lr", 1, "factor on the learning rate of the steps: lsq's, or silq's of static activations (default there 2.5)")
	f.StringVar(&q.stepGradient, "step-gradient", string(graph.StepLSQ), "lsq, silq: gradient of the steps: lsq, pact (from clipped values only) or frozen (none)")
	f.StringVar(&q.gradientScale, "gradient-scale", string(lsq.ScaleNQp), "lsq: factor of that gradient: 1/sqrt(n*qp) (the paper's), 1/sqrt(n) or 1")
	f.IntVar(&q.scaleBatch, "scale-batch", 0, "lsq: count n of activations over so many examples, as well-known code does; 0: over one")
	f.Float64Var(&q.warmup, "warmup", 0, "lsq: epochs over which the rate rises")
	f.Float64Var(&q.ema, "ema", 0, "lsq: evaluate an average of the weights with this decay a step; 0: off")
	f.StringVar(&q.schedule, "schedule", "", "faq: constant, exponential or step (default: the method's)")
	f.Float64Var(&q.percentile, "percentile", 0, "faq, silq --static: percentile of activations that becomes their range (default: the method's, by bits)")
	f.StringVar(&q.calibration, "calibration", "mse", "ptq: max, percentile or mse; of language models max, mse, weighted (default), convex, lsq or gptq")
	f.IntVar(&q.normBatches, "norm-batches", 0, "ptq: estimate batch norms again on so many batches")
	q.text.add(cmd)
	return cmd
}

// plan reads --bits and --residual.
func (q *quantizeFlags) plan() (quant.BitPlan, error) {
	if q.bits == "" {
		return quant.BitPlan{}, usagef("no bits: --bits w4a4 or --bits FILE")
	}
	p, err := parseBits(q.bits)
	if err != nil {
		return p, err
	}
	if q.residual != "" {
		p.Residual = quant.Residual(q.residual)
	}
	if err := p.Validate(); err != nil {
		return p, usage(err)
	}
	if p.Default == (quant.Width{}) && p.First == nil && p.Last == nil && len(p.Layers) == 0 && p.Residual != quant.Residual8 {
		return p, usagef("bits %s: nothing to quantize, want such as w4a4", q.bits)
	}
	return p, nil
}

// parseBits reads a name of bits or a bits file.
func parseBits(s string) (quant.BitPlan, error) {
	p, err := quant.ParseBits(s)
	if err == nil {
		return p, nil
	}
	f, openErr := os.Open(s)
	if errors.Is(openErr, fs.ErrNotExist) {
		return p, usagef("%v, or a bits file", err)
	}
	if openErr != nil {
		return p, openErr
	}
	defer f.Close()
	if p, err = quant.ReadBitPlan(f); err != nil {
		return p, fmt.Errorf("%s: %w", s, err)
	}
	return p, nil
}

// resolve fills the chosen method's Config.
func (q *quantizeFlags) resolve(cmd *cobra.Command, p quant.BitPlan) (quantize.Method, error) {
	var wrong error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if m, ok := ofMethod[f.Name]; ok && !slices.Contains(m, q.method) && wrong == nil {
			wrong = usagef("--%s goes with --method %s, not %s", f.Name, strings.Join(m, " or "), q.method)
		}
	})
	var g quant.Granularity
	switch q.granularity {
	case "tensor":
		g = quant.PerTensor
	case "channel":
		g = quant.PerChannel
	default:
		return quantize.Method{}, usagef("--granularity %q, want tensor or channel", q.granularity)
	}
	set := cmd.Flags().Changed
	switch q.method {
	case "lsq":
		c, err := q.lsq(set, p)
		c.Granularity = g
		return quantize.LSQ(c), errors.Join(wrong, err, usage(c.Validate()))
	case "faq":
		c := q.faq(set, p)
		c.Granularity = g
		return quantize.FAQ(c), errors.Join(wrong, usage(c.Validate()))
	case "ptq":
		c, err := ptq.DefaultConfig(p, q.calibration)
		if err != nil {
			return quantize.Method{}, usage(err)
		}
		c.Granularity, c.NormBatches = g, q.normBatches
		if set("batches") {
			c.Batches = q.batches
		}
		return quantize.PTQ(c), errors.Join(wrong, usage(c.Validate()))
	}
	methods := []string{"lsq", "faq", "ptq"}
	return quantize.Method{}, usagef("method %q, want %s%s", q.method, strings.Join(methods, ", "), didYouMean(q.method, methods))
}

func (q *quantizeFlags) lsq(set func(string) bool, p quant.BitPlan) (lsq.Config, error) {
	c := lsq.DefaultConfig(p)
	switch encoder := load.IsEncoder(q.model.model); {
	case encoder && (q.recipe == "short" || !set("recipe")):
		c = lsq.EncoderConfig(p, encoderEpochs)
		if set("epochs") {
			c = lsq.EncoderConfig(p, q.epochs)
		}
	case q.recipe == "paper":
	case q.recipe == "short":
		c = lsq.ShortConfig(p, c.Epochs)
	default:
		return c, usagef("--recipe %q, want paper or short", q.recipe)
	}
	if q.init != "" {
		var err error
		if c.Start, err = lsq.StartNamed(q.init); err != nil {
			return c, usagef("--init %q, want lsq or mse", q.init)
		}
	}
	if q.teacher != "" {
		c.Distill = 1
	}
	c.StepGrad, c.GradScale, c.ScaleBatch = graph.StepGrad(q.stepGradient), lsq.GradScale(q.gradientScale), q.scaleBatch
	for name, to := range map[string]*float64{
		"lr": &c.LR, "step-lr": &c.StepLR, "weight-decay": &c.WeightDecay, "warmup": &c.Warmup,
		"ema": &c.EMA, "distill": &c.Distill, "temperature": &c.Temperature,
	} {
		if set(name) {
			*to = map[string]float64{
				"lr": q.lr, "step-lr": q.stepLR, "weight-decay": q.weightDecay, "warmup": q.warmup,
				"ema": q.ema, "distill": q.distill, "temperature": q.temperature,
			}[name]
		}
	}
	if set("epochs") {
		c.Epochs = q.epochs
	}
	if set("batches") {
		c.Start.Batches = q.batches
	}
	if set("frozen-norm") {
		c.FrozenNorm = q.frozenNorm
	}
	return c, nil
}

func (q *quantizeFlags) faq(set func(string) bool, p quant.BitPlan) faq.Config {
	c := faq.DefaultConfig(p)
	if set("epochs") {
		c.Epochs = q.epochs
	}
	if set("lr") {
		c.LR = q.lr
	}
	if set("weight-decay") {
		c.WeightDecay = q.weightDecay
	}
	if set("schedule") {
		c.Schedule = faq.Schedule(q.schedule)
	}
	if set("percentile") {
		c.Percentile = q.percentile
	}
	if set("batches") {
		c.Batches = q.batches
	}
	if set("frozen-norm") {
		c.FrozenNorm = q.frozenNorm
	}
	return c
}

// job loads network, teacher and data.
func (q *quantizeFlags) job(a *app, e *engine.Engine, s sets) (quantize.Job, error) {
	l, err := q.model.network(s)
	if err != nil {
		return quantize.Job{}, err
	}
	c := train.DefaultConfig()
	c.Batch, c.Seed = q.batch, a.seed
	s.look(&c, l.Info)
	j := train.Job{Engine: e, Graph: l.Graph, Store: l.Store}
	if err := q.shared.apply(&c, &j, s); err != nil {
		return quantize.Job{}, err
	}
	if q.method == "ptq" && q.shared.holdOut > 0 { // it trains nothing: the held-out images are left out of calibration
		if j, err = j.HoldOut(q.shared.holdOut, c.Seed, 0); err != nil {
			return quantize.Job{}, err
		}
		c.HoldOut = 0
	}
	if q.shared.holdOut == 0 && s.needs(false, true) != nil {
		return quantize.Job{}, fmt.Errorf("data %s in %s has no test examples; --hold-out N takes training examples", s.report.Name, s.report.Path)
	}
	if err := usage(c.Validate()); err != nil {
		return quantize.Job{}, err
	}
	if q.teacher != "" && q.teacher != "self" {
		t, err := teacher(q.teacher, "", s)
		if err != nil {
			return quantize.Job{}, err
		}
		j.Teacher = t
	}
	a.describe(&j, modelName(l))
	return quantize.Job{Train: j, Base: c, Bits: q.bits, Source: q.model.model, Weights: l.Weights, Part: q.shared.part(&j)}, nil
}

// modelName is the zoo's name of a network, or what the user called it.
func modelName(l *load.Loaded) string {
	if l.Info.Name != "" {
		return l.Info.Name
	}
	return l.Spec
}

func (q *quantizeFlags) run(a *app, cmd *cobra.Command) error {
	if load.IsLanguage(q.model.model) {
		return q.language(a, cmd)
	}
	p, err := q.plan()
	if err != nil {
		return err
	}
	byModel(cmd, q.model, &q.batch)
	m, err := q.resolve(cmd, p)
	if err != nil {
		return err
	}
	if err := q.model.check(); err != nil {
		return err
	}
	s, err := q.data.openFor(a, q.model, q.batch, false)
	if err != nil {
		return err
	}
	if q.method == "ptq" && s.encoder == nil && s.train.Len() == 0 && s.test.Len() > 0 {
		// A folder of photos has no training part, and calibration looks at no label.
		a.warn(fmt.Sprintf("data %s has no training examples: calibrates on test images", s.report.Name))
		s.train = s.test
	}
	if err := s.needs(true, false); err != nil {
		return err
	}
	e := engine.New(a.threads)
	defer e.Close()
	j, err := q.job(a, e, s)
	if err != nil {
		return err
	}
	if m, err = q.fit(cmd, m, &j, s); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%s-%s-s%d", shortName(q.model.model), m.Name, shortName(q.bits), a.seed)
	if j.Train.Out, err = a.runDir(name, q.shared.resume); err != nil {
		return err
	}
	l := a.progress()
	l.set("full-precision accuracy of " + q.model.model)
	j.Train.Progress = l.training(m.Name + " " + q.bits)
	o, err := quantize.Run(a.ctx, m, j)
	l.clear()
	if err != nil {
		return hint(err, j.Train.Out)
	}
	if err := s.keep(j.Train.Out); err != nil {
		return err
	}
	return a.print(o, false, func(w io.Writer) { quantizeText(w, o, q.data.data) })
}

// fit compares a bits file with the network, and goes on from one that has
// quantizers.
func (q *quantizeFlags) fit(cmd *cobra.Command, m quantize.Method, j *quantize.Job, s sets) (quantize.Method, error) {
	file, err := q.selected()
	if err != nil {
		return m, err
	}
	if file {
		if _, _, err := mixed.ReadBits(q.bits, j.Train.Graph); err != nil {
			return m, err
		}
	}
	if !quantized(j.Train.Graph) {
		return m, nil
	}
	c, ok := m.Config.(lsq.Config)
	if _, err := quant.ParseBits(q.bits); err == nil || !ok {
		return m, fmt.Errorf("%w, or give --method lsq and a bits file (lowbit select)", fullPrecision(j.Train.Graph, q.model.model))
	}
	if !cmd.Flags().Changed("granularity") {
		c.Granularity = granularity(j.Train.Graph)
	}
	if c.Distill > 0 && j.Train.Teacher == nil {
		if j.Train.Teacher, err = teacher("self", q.model.model, s); err != nil {
			return m, err
		}
	}
	if !cmd.Flags().Changed("init") {
		c.Start = lsq.BestStart() // of the lowered layers
	}
	j.FP32, err = before(q.model.model, j.Train.Engine, j.Train, j.Base, s)
	return quantize.Mixed(c), err
}

// selected reports whether --bits is a file that says which network it is for.
func (q *quantizeFlags) selected() (bool, error) {
	if _, err := quant.ParseBits(q.bits); err == nil {
		return false, nil
	}
	b, err := os.ReadFile(q.bits)
	if err != nil {
		return false, err
	}
	var f struct {
		Network string `json:"network"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return false, fmt.Errorf("bits file %s: %w", q.bits, err)
	}
	return f.Network != "", nil
}

// fullPrecision refuses a network that has quantizers.
func fullPrecision(g *graph.Graph, name string) error {
	if quantized(g) {
		return fmt.Errorf("%s is quantized already; name the full-precision network it was made from", name)
	}
	return nil
}

func quantizeText(w io.Writer, o quantize.Outcome, dataName string) {
	rows := [][]string{
		{"", "accuracy on " + o.Part, "size"},
		{"fp32", accuracy(o.FP32Accuracy, o.FP32StandardError, o.Examples), size(o.FP32SizeBytes)},
		{o.Bits + " " + o.Method, accuracy(o.Accuracy, o.StandardError, o.Examples), size(o.SizeBytes)},
	}
	from := o.FP32Accuracy
	if o.StartAccuracy > 0 {
		rows = slices.Insert(rows, 2, []string{o.Model, percent(o.StartAccuracy), ""})
	}
	if from == 0 {
		rows[1][1], from = "not known", o.StartAccuracy
	}
	table(w, rows)
	fmt.Fprintf(w, "\ndifference  %+.2f points, float engine, residual adds: %s\n", 100*(o.Accuracy-from), o.Residual)
	fmt.Fprintf(w, "time        %s for %d epochs\nrun         %s\n", duration(o.Seconds), o.Epochs, o.Run)
	fmt.Fprintf(w, "\nnext: lowbit report %s --out report.html\n", o.Run)
	if !load.IsEncoder(o.Run) {
		fmt.Fprintf(w, "      lowbit analyze --model %s --data %s --similarity\n", o.Run, dataName)
	}
}
