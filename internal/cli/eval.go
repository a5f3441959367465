package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/format/safetensors"
	"lowbit/load"
	"lowbit/tensor"
)

const evalHelp = `Measures accuracy, top-5 accuracy and loss on the test part.

The float engine computes in float32; the quantizers of a quantized network round
as in training. The integer engine computes sums of codes, as a packed file does,
and gives the float engine's accuracy beside its own.

A language model (a .gguf file, a Hugging Face folder, a .bin file of llama2.c) is
measured by its perplexity on wikitext2:PATH or text:PATH, in windows that are read
each by itself, and with --teacher by its divergence from another model; or by
multiple-choice questions: hellaswag:FILE, arc:FILE, piqa:FILE.

An encoder (a Hugging Face or sentence-transformers folder of a BERT, or an ONNX file
that PyTorch made of one, with its tokenizer beside it) is measured on sst2:PATH,
stsb:PATH, mrpc:PATH or squad:FILE; PATH is the folder of the task's files, or the one
file to measure on. Sentence vectors are compared by their cosine.`

const evalExample = `  lowbit eval --model runs/r20-w4 --data cifar10
  lowbit eval --model r20-w4.lowbit.safetensors --data cifar10 --engine integer
  lowbit eval --model resnet20 --weights r20.safetensors --data cifar10 --limit 1000 --json
  lowbit eval --model r20-w4.lowbit.safetensors --data cifar10 --engine integer --teacher resnet20
  lowbit eval --model smollm2.gguf --data wikitext2:wikitext-2 --windows 16
  lowbit eval --model all-MiniLM-L6-v2 --data stsb:glue/STS-B
  lowbit eval --model all-MiniLM-L6-v2/onnx/model.onnx --data stsb:glue/STS-B
  lowbit eval --model small.gguf --teacher smollm2.gguf --data text:book.txt`

// evalResult is the verb's result.
type evalResult struct {
	eval.Result
	Model   string `json:"model"`
	Weights string `json:"weights,omitempty"`
	Data    string `json:"data"`
	Engine  string `json:"engine"`
	Kernel  string `json:"kernel"`
	Threads int    `json:"threads"`
	// FloatAccuracy is that of the float engine; with the integer engine alone.
	FloatAccuracy *float64 `json:"float_accuracy,omitempty"`
	// Agreement is the share of examples on which the teacher names the same class.
	Teacher         string   `json:"teacher,omitempty"`
	TeacherAccuracy *float64 `json:"teacher_accuracy,omitempty"`
	Agreement       *float64 `json:"top1_agreement,omitempty"`
}

type evalFlags struct {
	model     modelFlags
	data      dataFlags
	engine    string
	batch     int
	confusion bool
	logits    string
	metric    string

	teacher               string
	windows, windowLength int
}

func (a *app) eval() *cobra.Command {
	var v evalFlags
	cmd := &cobra.Command{
		Use: "eval --model MODEL --data DATA", Short: "measure a network's accuracy",
		Long: evalHelp, Example: evalExample, Args: none,
		RunE: func(*cobra.Command, []string) error { return v.run(a) },
	}
	v.model.add(cmd)
	v.data.add(cmd, false)
	f := cmd.Flags()
	f.StringVar(&v.engine, "engine", "float", "float or integer")
	f.IntVar(&v.batch, "batch", 128, "examples at once")
	f.BoolVar(&v.confusion, "confusion", false, "count examples by label and predicted class")
	f.StringVar(&v.logits, "logits", "", "images: write each example's logits into this safetensors file, too")
	f.StringVar(&v.metric, "metric", "", "encoders: accuracy, f1, matthews, spearman, pearson or exact (default: the task's)")
	f.StringVar(&v.teacher, "teacher", "", "a model to compare with: of images the share of equal classes, of language models the divergence")
	f.IntVar(&v.windows, "windows", 0, "language models: the first N windows of the text; 0: all")
	f.IntVar(&v.windowLength, "window-length", 512, "language models: tokens of a window")
	return cmd
}

func (v *evalFlags) run(a *app) error {
	if v.engine != "float" && v.engine != "integer" {
		return usagef("--engine %q, want float or integer", v.engine)
	}
	if v.logits != "" {
		if err := a.free(v.logits); err != nil {
			return err
		}
	}
	if v.batch < 1 {
		return usagef("--batch %d, want at least 1", v.batch)
	}
	if err := v.model.check(); err != nil {
		return err
	}
	if load.IsEncoder(v.model.model) {
		return v.encoder(a)
	}
	if load.IsLanguage(v.model.model) {
		return v.language(a)
	}
	s, err := v.data.open(a)
	if err != nil {
		return err
	}
	if err := s.needs(false, true); err != nil {
		return err
	}
	out := evalResult{Model: v.model.model, Data: v.data.data, Engine: v.engine, Teacher: v.teacher}
	e := engine.New(a.threads)
	defer e.Close()
	out.Threads, out.Kernel = e.Threads(), engine.KernelRow()
	var logits []float32
	if v.engine == "integer" {
		logits, err = v.integer(a, e, s.test, &out)
	} else {
		logits, err = v.float(a, e, s.test, &out)
	}
	if err == nil && v.teacher != "" {
		err = v.agreement(a, e, s.test, logits, &out)
	}
	if err == nil && v.logits != "" {
		err = writeLogits(v.logits, logits, s.test.Len())
	}
	if err != nil {
		return err
	}
	return a.print(out, true, func(w io.Writer) { evalText(w, out, s.test) })
}

// keep collects logits where somebody wants them.
func (v *evalFlags) keep(into *[]float32) func([]float32) {
	if v.logits == "" && v.teacher == "" {
		return nil
	}
	return func(batch []float32) { *into = append(*into, batch...) }
}

// float measures on the float engine.
func (v *evalFlags) float(a *app, e *engine.Engine, ds *data.Dataset, out *evalResult) (logits []float32, err error) {
	n, err := v.model.floats(ds)
	if err != nil {
		return nil, err
	}
	out.Weights = n.source
	out.Result, err = v.evaluate(a, e, n, ds, v.keep(&logits))
	return logits, err
}

// integer measures on integers, then on the float engine.
func (v *evalFlags) integer(a *app, e *engine.Engine, ds *data.Dataset, out *evalResult) (logits []float32, err error) {
	n, err := v.model.integers(ds)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	out.Weights, out.Kernel = n.Source, n.Model.Kernel()
	p := a.progress()
	p.set(fmt.Sprintf("%s on %s examples, on integers", v.model.model, thousands(int64(ds.Len()))))
	out.Result, err = n.Evaluate(a.ctx, ds, normalization(n.Info, ds), v.batch, a.threads, v.confusion, v.keep(&logits))
	p.clear()
	if err != nil {
		return nil, err
	}
	r, err := v.evaluate(a, e, floats{n.Graph, n.Store, n.Info, n.Source}, ds, nil)
	out.FloatAccuracy = &r.Accuracy
	return logits, err
}

// agreement measures the teacher and counts the examples on which both name one
// class.
func (v *evalFlags) agreement(a *app, e *engine.Engine, ds *data.Dataset, logits []float32, out *evalResult) error {
	n, err := (&modelFlags{model: v.teacher}).floats(ds)
	if err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	var theirs []float32
	r, err := v.evaluate(a, e, n, ds, v.keep(&theirs))
	if err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	share, err := eval.Agreement(logits, theirs, ds.Len())
	out.TeacherAccuracy, out.Agreement = &r.Accuracy, &share
	return err
}

// writeLogits makes a safetensors file of the tensor "logits", [examples, classes].
func writeLogits(path string, logits []float32, examples int) error {
	s := tensor.NewStore()
	if err := s.Put("logits", tensor.FromFloat32s(logits, examples, len(logits)/examples)); err != nil {
		return err
	}
	return safetensors.Write(path, s, nil)
}

// evaluate runs the float engine.
func (v *evalFlags) evaluate(a *app, e *engine.Engine, n floats, ds *data.Dataset, keep func([]float32)) (eval.Result, error) {
	c, err := eval.NewClassifier(e, n.graph, n.store, min(v.batch, ds.Len()))
	if err != nil {
		return eval.Result{}, err
	}
	c.Norm, c.CountConfusion, c.Keep = normalization(n.info, ds), v.confusion, keep
	p := a.progress()
	p.set(fmt.Sprintf("%s on %s examples", v.model.model, thousands(int64(ds.Len()))))
	defer p.clear()
	return wait(a.ctx, func() (eval.Result, error) { return c.Evaluate(ds) })
}

func evalText(w io.Writer, r evalResult, ds *data.Dataset) {
	fmt.Fprintf(w, "accuracy  %s\ntop-5     %s\nloss      %.4f\n", accuracy(r.Accuracy, r.StandardError, r.Examples), percent(r.Top5), r.Loss)
	if r.FloatAccuracy != nil {
		fmt.Fprintf(w, "float     %s\n", percent(*r.FloatAccuracy))
	}
	if r.Agreement != nil {
		fmt.Fprintf(w, "agrees    on %s of the examples with %s, which has %s\n", percent(*r.Agreement), r.Teacher, percent(*r.TeacherAccuracy))
	}
	fmt.Fprintf(w, "weights   %s\nengine    %s, %d threads (%s)\n", r.Weights, r.Engine, r.Threads, r.Kernel)
	confusionText(w, r.Confusion, ds)
}

func confusionText(w io.Writer, counts [][]int, ds *data.Dataset) {
	if counts == nil {
		return
	}
	head := []string{"label \\ predicted"}
	rows := [][]string{nil}
	for i, row := range counts {
		name := ds.Classes[i]
		head = append(head, name)
		cells := []string{name}
		for _, n := range row {
			cells = append(cells, fmt.Sprint(n))
		}
		rows = append(rows, cells)
	}
	rows[0] = head
	fmt.Fprintln(w)
	table(w, rows)
}
