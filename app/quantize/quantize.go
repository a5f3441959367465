// Package quantize runs one quantization method on a full-precision network
// from start to end: the accuracy before, the method, the accuracy after, the
// network's layers, and the record of all that in the run directory.
package quantize

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"lowbit/app/inspect"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/method/alps"
	"lowbit/method/faq"
	"lowbit/method/lsq"
	"lowbit/method/ptq"
	"lowbit/quant"
	"lowbit/tensor"
	"lowbit/train"
)

// Method is a way to quantize, with all of its settings.
type Method struct {
	Name   string
	Plan   quant.BitPlan
	Config any // the method's own Config
	Epochs int
	// goesOn is true if the method starts from a quantized network.
	goesOn bool
	run    func(ctx context.Context, base train.Config, job train.Job) (trained, error)
}

// trained is the network that a method made, and how its training went.
type trained struct {
	graph  *graph.Graph
	store  *tensor.Store
	result train.Result
}

// LSQ is learned step size quantization.
func LSQ(c lsq.Config) Method {
	return Method{"lsq", c.Bits, c, c.Epochs, false, func(ctx context.Context, base train.Config, job train.Job) (trained, error) {
		g, r, err := lsq.Train(ctx, base, job, c)
		return trained{g, job.Store, r}, err
	}}
}

// Mixed is learned step size quantization that goes on from a quantized network:
// layers get new widths, and those that keep theirs keep their learned steps.
// Job.Train.Store stays as it is.
func Mixed(c lsq.Config) Method {
	return Method{"lsq", c.Bits, c, c.Epochs, true, func(ctx context.Context, base train.Config, job train.Job) (trained, error) {
		job.Method, job.Settings = "lsq", c
		job, r, err := alps.Train(ctx, base, job, c)
		return trained{job.Graph, job.Store, r}, err
	}}
}

// FAQ is fine-tuning after quantization.
func FAQ(c faq.Config) Method {
	return Method{"faq", c.Bits, c, c.Epochs, false, func(ctx context.Context, base train.Config, job train.Job) (trained, error) {
		g, r, err := faq.Train(ctx, base, job, c)
		return trained{g, job.Store, r}, err
	}}
}

// PTQ is quantization without training.
func PTQ(c ptq.Config) Method {
	return Method{"ptq", c.Bits, c, 0, false, func(ctx context.Context, base train.Config, job train.Job) (trained, error) {
		g, r, err := ptq.Run(ctx, base, job, c)
		return trained{g, job.Store, r}, err
	}}
}

// Job is what to quantize. Train.Graph and Train.Store are the full-precision
// network's; the store is changed. For Mixed they are the quantized network's.
type Job struct {
	Train train.Job
	Base  train.Config
	// Bits is what the user called the bit plan, Source the network and Weights
	// the place its weights came from.
	Bits, Source, Weights string
	// Part is what accuracies are of; empty: what Train.Test calls itself.
	Part string
	// FP32, if not nil, is the accuracy before on Train.Test, measured already.
	// Mixed needs it; zero stands for one that is not known.
	FP32 *eval.Result
}

// Outcome is what came out: the result of the verb, and quantize.json in the
// run directory.
type Outcome struct {
	Run      string `json:"run"`
	Model    string `json:"model"`
	Weights  string `json:"weights,omitempty"`
	Method   string `json:"method"`
	Bits     string `json:"bits"`
	Residual string `json:"residual"`

	// Accuracies are on Examples examples of Part ("test" or a held-out part of
	// the training images), in the float engine.
	Accuracy          float64 `json:"accuracy"`
	StandardError     float64 `json:"standard_error"`
	FP32Accuracy      float64 `json:"fp32_accuracy"`
	FP32StandardError float64 `json:"fp32_standard_error"`
	// StartAccuracy is that of the quantized network that Mixed went on from.
	StartAccuracy float64 `json:"start_accuracy,omitempty"`
	Top5          float64 `json:"top5"`
	Loss          float64 `json:"loss"`
	Examples      int     `json:"examples"`
	Part          string  `json:"part"`

	Epochs   int     `json:"epochs"`
	Seconds  float64 `json:"seconds"`
	Complete bool    `json:"complete"`

	SizeBytes     int64           `json:"size_bytes"`
	FP32SizeBytes int64           `json:"fp32_size_bytes"`
	Layers        []inspect.Layer `json:"layers"`
	Plan          quant.BitPlan   `json:"plan"`
	Config        any             `json:"config"`
}

// recordName is the file of a run directory that holds the Outcome.
const recordName = "quantize.json"

// Read returns the Outcome that stands in a run directory; fs.ErrNotExist for
// a run that quantized nothing.
func Read(dir string) (Outcome, error) {
	var o Outcome
	err := read(dir, &o)
	return o, err
}

func read(dir string, into any) error {
	path := filepath.Join(dir, recordName)
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("quantize: %s: %w", path, err)
	}
	return nil
}

// Run quantizes. Errors are those of the method and of train.Run; the outcome
// of an interrupted run is valid as far as it goes.
func Run(ctx context.Context, m Method, j Job) (Outcome, error) {
	job := j.Train
	o := Outcome{
		Run: job.Out, Model: j.Source, Weights: j.Weights, Method: m.Name, Bits: j.Bits,
		Residual: string(m.Plan.Residual), Plan: m.Plan, Config: m.Config, Part: cmp.Or(j.Part, "test"),
	}
	if o.Residual == "" {
		o.Residual = string(quant.ResidualFloat)
	}
	if j.Part == "" && job.Test != nil {
		o.Part = job.Test.Split
	}
	if err := o.before(m, j); err != nil {
		return o, err
	}
	reference := job.Store.Clone()
	t, err := m.run(ctx, j.Base, job)
	r := t.result
	o.Accuracy, o.StandardError, o.Top5, o.Loss = r.Accuracy, r.StandardError, r.Top5, r.Loss
	o.Examples, o.Epochs, o.Seconds, o.Complete = r.Examples, r.Epochs, r.Seconds, r.Complete
	if err != nil && !errors.Is(err, train.ErrInterrupted) {
		return o, fmt.Errorf("quantize: %w", err)
	}
	net, describeErr := inspect.Describe(t.graph, t.store, reference)
	if describeErr != nil {
		return o, errors.Join(err, describeErr)
	}
	o.SizeBytes, o.FP32SizeBytes, o.Layers = net.SizeBytes, net.FP32Bytes, net.Layers
	return o, errors.Join(err, o.write())
}

// before evaluates the network that the method starts from.
func (o *Outcome) before(m Method, j Job) error {
	if j.FP32 != nil {
		o.FP32Accuracy, o.FP32StandardError = j.FP32.Accuracy, j.FP32.StandardError
	}
	if j.FP32 != nil && !m.goesOn {
		return nil
	}
	r, err := Evaluate(j.Train, j.Base)
	switch {
	case err != nil:
		return err
	case m.goesOn:
		o.StartAccuracy = r.Accuracy
	default:
		o.FP32Accuracy, o.FP32StandardError = r.Accuracy, r.StandardError
	}
	return nil
}

// Evaluate measures a job's network on its test part as a training with base
// would; zero without one.
func Evaluate(job train.Job, base train.Config) (eval.Result, error) {
	measure, err := job.Evaluator(base)
	if err != nil || measure == nil {
		return eval.Result{}, err
	}
	r, err := measure()
	if err != nil {
		return r, fmt.Errorf("quantize: before: %w", err)
	}
	return r, nil
}

// write puts the outcome into the run directory, if there is one.
func (o Outcome) write() error {
	if o.Run == "" {
		return nil
	}
	return write(o.Run, o)
}

// write makes an outcome a run directory's quantize.json.
func write(run string, outcome any) error {
	if err := atomicfile.WriteJSON(filepath.Join(run, recordName), outcome); err != nil {
		return fmt.Errorf("quantize: %w", err)
	}
	return nil
}
