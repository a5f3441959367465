package quantize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"lowbit/app/inspect"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/load"
	"lowbit/method/silq"
	"lowbit/model"
	"lowbit/tensor"
	"lowbit/train"
)

// LanguageJob is a language model to quantize.
type LanguageJob struct {
	// Model is in full precision; its store is changed.
	Model  *load.Language
	Config silq.Config
	// Train has the engine, the run directory and what goes into its record; the
	// rest is filled in.
	Train train.Job
	Seed  uint64
	// Text is what the model learns from; its first windows calibrate, too.
	Text *train.Windows
	// Test is measured on: TestWindows windows of TestLength tokens, 0 for all.
	Test                    []int32
	TestWindows, TestLength int
	// Bits is what the user called them.
	Bits string
	// PeakRSS returns the largest resident memory of the process; it may be nil.
	PeakRSS func() int64
	// Stage is called as measurements and calibration go on; it may be nil.
	Stage func(stage string, done, of int)
}

// LanguageOutcome is what came out: the result of the verb, and quantize.json in
// the run directory. KL and Top1 of the embedded result are from the model in
// full precision.
type LanguageOutcome struct {
	eval.LanguageResult
	Run    string `json:"run"`
	Model  string `json:"model"`
	Method string `json:"method"`
	Bits   string `json:"bits"`
	// WeightSteps is the rule by which the steps of weights began.
	WeightSteps silq.WeightRule `json:"weight_steps"`

	FP32Perplexity float64 `json:"fp32_perplexity"`
	// Start is the quantized model before training.
	Start *eval.LanguageResult `json:"start,omitempty"`

	Epochs      int     `json:"epochs"`
	TrainTokens int     `json:"train_tokens"`
	TrainSpeed  float64 `json:"train_tokens_per_s,omitempty"`
	Seconds     float64 `json:"seconds"`
	Complete    bool    `json:"complete"`
	// PeakRSSBytes is the largest resident memory of the process; 0: not known.
	PeakRSSBytes int64 `json:"peak_rss_bytes,omitempty"`

	// Rotations say of each kind of layer how far its weights moved, and how much of
	// that is a rotation; empty where no weight moved.
	Rotations []silq.KindRotation `json:"rotations,omitempty"`

	// InputOutliers has, of each layer, the root of the largest mean square of an
	// input over the mean of them all: 1 if inputs are alike. Of the model in full
	// precision on the calibration text; empty where the rule observes nothing.
	InputOutliers map[string]float64 `json:"input_outliers,omitempty"`

	// Cache is what a token's keys and values take.
	Cache Cache `json:"cache"`

	SizeBytes     int64           `json:"size_bytes"`
	FP32SizeBytes int64           `json:"fp32_size_bytes"`
	Layers        []inspect.Layer `json:"layers"`
	Config        any             `json:"config"`
}

// Cache is the size of keys and values.
type Cache struct {
	// Values is the number of them a token, of all layers; each head's share of them
	// has a step of its own where steps are dynamic.
	Values int `json:"values_per_token"`
	// BytesPerToken counts codes and float16 steps; values of two bytes where the
	// cache has no quantizers.
	BytesPerToken int `json:"bytes_per_token"`
	// Context is the most tokens that the model reads.
	Context int `json:"context"`
}

// cacheOf returns the size of a model's keys and values.
func cacheOf(c model.Llama, q silq.Quantizers) Cache {
	steps := 2 * c.Layers * c.KVHeads
	k := Cache{Values: steps * c.HeadWidth(), Context: c.Context}
	switch {
	case q.Cache == 0:
		k.BytesPerToken = 2 * k.Values
	case q.Static:
		k.BytesPerToken = (k.Values*q.Cache + 7) / 8
	default:
		k.BytesPerToken = (k.Values*q.Cache+7)/8 + 2*steps
	}
	return k
}

// ReadLanguage returns the outcome that stands in a language model's run
// directory; fs.ErrNotExist for a run that quantized nothing.
func ReadLanguage(dir string) (LanguageOutcome, error) {
	var o LanguageOutcome
	err := read(dir, &o)
	return o, err
}

// Language quantizes a language model and trains it. The outcome of an
// interrupted run is valid as far as it goes.
func Language(ctx context.Context, j LanguageJob) (LanguageOutcome, error) {
	o := LanguageOutcome{
		Run: j.Train.Out, Model: j.Model.Spec, Method: "silq", Bits: j.Bits, Config: j.Config,
		WeightSteps: j.Config.Start.Weights, Cache: cacheOf(j.Model.Config, j.Config.Quantizers),
	}
	if j.Config.Epochs == 0 {
		o.Method = "ptq"
	}
	if j.Model.Quantizers != nil {
		return o, fmt.Errorf("quantize: %s is quantized already; name the model it was made from", j.Model.Spec)
	}
	if err := errors.Join(j.Config.Validate(), j.Text.Validate()); err != nil {
		return o, err
	}
	began := time.Now()
	if j.Config.Start.Rotate {
		var err error
		if j.Model.Config, err = silq.Rotate(j.Model.Config, j.Model.Store); err != nil {
			return o, fmt.Errorf("quantize: %w", err)
		}
	}
	full := decoderOf(j.Model.Config, nil, j.Model.Store.Clone())
	before, err := j.measure(ctx, "full precision", full, nil)
	if err != nil {
		return o, err
	}
	o.FP32Perplexity = before.Perplexity
	r, g, err := j.train(ctx, o.Method, full, &o)
	o.Epochs, o.Complete = r.Epochs, r.Complete
	o.TrainTokens = r.Steps * j.Config.Batch * j.Text.Sets[0].Length
	if r.EngineSeconds > 0 {
		o.TrainSpeed = float64(o.TrainTokens) / r.EngineSeconds
	}
	o.Seconds = time.Since(began).Seconds()
	if err != nil {
		return o, err
	}
	if o.LanguageResult, err = j.measure(ctx, "quantized", decoderOf(j.Model.Config, &j.Config.Quantizers, j.Model.Store), &full); err != nil {
		return o, err
	}
	net, err := inspect.Describe(g, j.Model.Store, full.Store)
	if err != nil {
		return o, err
	}
	o.SizeBytes, o.FP32SizeBytes, o.Layers = net.SizeBytes, net.FP32Bytes, net.Layers
	if o.Rotations, err = j.rotations(ctx, g, full.Store); err != nil {
		return o, fmt.Errorf("quantize: %w", err)
	}
	o.Seconds = time.Since(began).Seconds()
	if j.PeakRSS != nil {
		o.PeakRSSBytes = j.PeakRSS()
	}
	if o.Run == "" {
		return o, nil
	}
	return o, errors.Join(j.Model.KeepTokenizer(o.Run), write(o.Run, o))
}

// rotations compares the weights with those that the model began with.
func (j LanguageJob) rotations(ctx context.Context, g *graph.Graph, before *tensor.Store) ([]silq.KindRotation, error) {
	all, err := silq.Rotations(ctx, g, before, j.Model.Store, j.stage("how the weights moved"))
	var names []string
	for _, l := range graph.Layers(g) {
		names = append(names, l.Name)
	}
	return silq.Kinds(names, all), err
}

// decoderOf is a language model as package eval takes it.
func decoderOf(c model.Llama, q *silq.Quantizers, store *tensor.Store) eval.Decoder {
	return eval.Decoder{Store: store, Build: func(length int) (*graph.Graph, error) {
		g, err := c.Graph(model.LlamaRun{Batch: 1, Seq: length})
		if err != nil || q == nil {
			return g, err
		}
		return silq.Insert(g, *q)
	}}
}

func (j LanguageJob) measure(ctx context.Context, what string, m eval.Decoder, teacher *eval.Decoder) (eval.LanguageResult, error) {
	c := eval.LanguageConfig{Length: j.TestLength, Windows: j.TestWindows, Teacher: teacher, Progress: j.stage("perplexity, " + what)}
	r, err := eval.Perplexity(ctx, j.Train.Engine, m, j.Test, c)
	if err != nil {
		return r, fmt.Errorf("quantize: %s: %w", what, err)
	}
	return r, nil
}

func (j LanguageJob) stage(what string) func(done, of int) {
	if j.Stage == nil {
		return nil
	}
	return func(done, of int) { j.Stage(what, done, of) }
}

// train calibrates, measures the start and trains.
func (j LanguageJob) train(ctx context.Context, method string, full eval.Decoder, o *LanguageOutcome) (train.Result, *graph.Graph, error) {
	length := j.Text.Sets[0].Length
	several := len(j.Text.Sets) > 1 || j.Text.Documents()
	window, err := j.Model.Config.Graph(model.LlamaRun{Batch: 1, Seq: length})
	if err != nil {
		return train.Result{}, nil, fmt.Errorf("quantize: %w", err)
	}
	job := j.Train
	if job.Graph, err = j.Model.Config.Graph(model.LlamaRun{Batch: 1, Seq: length, Packed: several}); err != nil {
		return train.Result{}, nil, fmt.Errorf("quantize: %w", err)
	}
	job.Store, job.Source, job.Method = j.Model.Store, j.Text, method
	job.Settings = load.LanguageSettings{Llama: j.Model.Config, Silq: &j.Config, Source: j.Model.Spec}
	calibration := silq.Calibration{Engine: job.Engine, Graph: window, Store: full.Store, Windows: j.Text.First(j.Config.Start.Windows), Progress: j.stage("calibration")}
	calibration.Inputs = func(layer string, squares []float64) {
		var sum float64
		for _, s := range squares {
			sum += s
		}
		if sum > 0 {
			if o.InputOutliers == nil {
				o.InputOutliers = map[string]float64{}
			}
			o.InputOutliers[layer] = math.Sqrt(slices.Max(squares) * float64(len(squares)) / sum)
		}
	}
	calibration.Calibrated = func() error {
		if j.Config.Epochs == 0 {
			return nil
		}
		r, err := j.measure(ctx, "before training", decoderOf(j.Model.Config, &j.Config.Quantizers, job.Store), &full)
		o.Start = &r
		return err
	}
	g, r, err := silq.Train(ctx, j.Config, j.Seed, job, calibration)
	if err != nil {
		err = fmt.Errorf("quantize: %w", err)
	}
	return r, g, err
}

// Table is the rows of a table of an outcome: what, perplexity, divergence and
// agreement.
func (o LanguageOutcome) Table() [][]string {
	row := func(what string, r eval.LanguageResult) []string {
		return []string{what, fmt.Sprintf("%.3f", math.Exp(r.Loss)), fmt.Sprintf("%.4f", *r.KL), fmt.Sprintf("%.1f %%", 100**r.Top1)}
	}
	rows := [][]string{{"", "perplexity", "KL", "same top token"}, {"fp32", fmt.Sprintf("%.3f", o.FP32Perplexity), "0", "100 %"}}
	if o.Start != nil {
		rows = append(rows, row(o.Bits+" before training", *o.Start))
	}
	return append(rows, row(o.Bits+" "+o.Method, o.LanguageResult))
}
