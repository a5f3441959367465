// Package quickstart does the main job on real data in minutes: get the data,
// take a trained network, quantize it with and without training, write files
// that run on integers, verify and time them, and write a report of what each bit
// cost.
package quickstart

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"lowbit/app/bench"
	"lowbit/app/quantize"
	"lowbit/app/report"
	"lowbit/data"
	"lowbit/engine"
	"lowbit/eval"
	"lowbit/load"
	"lowbit/method/lsq"
	"lowbit/method/ptq"
	"lowbit/quant"
	"lowbit/train"
)

// Config says what is done. The zero value of Data, Model and Weights finds
// them.
type Config struct {
	Data    string // set's name; "": cifar10, and fashion-mnist where that cannot be had
	DataDir string
	Model   string // "": by the data
	Weights string // "": those that come with the program
	Out     string // folder of the runs and report.html
	Seed    uint64
	// Minutes is the time that all of it may take once the data is there; it
	// decides how many images the trainings see. Default 5.
	Minutes float64
	// Limit and TrainLimit use the first examples only; 0: all.
	Limit, TrainLimit int
	Force             bool
	// Job is the common part of all runs: command, versions, warnings.
	Job train.Job
	// Say is called with each step's sentence; Progress returns what shows a
	// training's progress, Fetching shows a download's. None may be nil.
	Say      func(sentence string)
	Progress func(what string) func(train.Progress)
	Fetching func(data.Progress)
}

// Run is one quantized network.
type Run struct {
	Bits          string  `json:"bits"`
	Method        string  `json:"method"`
	Accuracy      float64 `json:"accuracy"`
	StandardError float64 `json:"standard_error"`
	SizeBytes     int64   `json:"size_bytes"`
	Epochs        int     `json:"epochs"`
	TrainImages   int     `json:"train_images"` // seen in training
	Seconds       float64 `json:"seconds"`
	Run           string  `json:"run"`
}

// Result is what came out.
type Result struct {
	Data              string     `json:"data"`
	Model             string     `json:"model"`
	FP32Accuracy      float64    `json:"fp32_accuracy"`
	FP32StandardError float64    `json:"fp32_standard_error"`
	FP32SizeBytes     int64      `json:"fp32_size_bytes"`
	Examples          int        `json:"examples"`
	Runs              []Run      `json:"runs"`
	Deployed          []Deployed `json:"deployed"`
	Report            string     `json:"report"`
	Next              []string   `json:"next"`
	Seconds           float64    `json:"seconds"`
	Threads           int        `json:"threads"`
	Kernel            string     `json:"kernel"`
}

const batch = 128

// session is the state of one quickstart.
type session struct {
	Config
	e           *engine.Engine
	base        train.Config
	train, test *data.Dataset
	net         *load.Loaded
	fp32        eval.Result
	began       time.Time
	result      Result
}

// Do runs the quickstart on an engine. An ended context stops it with
// train.ErrInterrupted. Where no data can be had the error lists what was tried
// and where to put the files.
func Do(ctx context.Context, e *engine.Engine, c Config) (Result, error) {
	s := &session{Config: c, e: e}
	if err := s.fetch(ctx); err != nil {
		return s.result, err
	}
	s.began = time.Now()
	if err := s.network(ctx); err != nil {
		return s.result, err
	}
	for _, bits := range []string{"w8a8", "w4a4", "w2a2"} {
		if err := s.withoutTraining(ctx, bits); err != nil {
			return s.result, err
		}
	}
	images, err := s.imagesFor(ctx)
	if err != nil {
		return s.result, err
	}
	for i, bits := range []string{"w4a4", "w2a2"} {
		if err := s.withTraining(ctx, bits, images[i]); err != nil {
			return s.result, err
		}
	}
	if err := s.deploy(ctx); err != nil {
		return s.result, err
	}
	err = s.report()
	s.result.Seconds = time.Since(s.began).Seconds()
	s.result.Threads, s.result.Kernel = e.Threads(), engine.KernelRow()
	return s.result, err
}

func (s *session) say(format string, args ...any) { s.Say(fmt.Sprintf(format, args...)) }

// network loads the trained network, or trains a small one where none comes
// with the program, and measures it.
func (s *session) network(ctx context.Context) error {
	if s.Model == "" {
		s.Model = defaultModel[s.train.Name]
	}
	if s.Model == "" {
		return fmt.Errorf("quickstart: no network for data %s by default, name one", s.train.Name)
	}
	s.base = train.DefaultConfig()
	s.base.Batch, s.base.Seed = batch, s.Seed
	s.base.Augment = augments[s.train.Name]
	l, err := s.load(ctx)
	if err != nil {
		return err
	}
	s.net, s.result.Model = l, s.Model
	r, err := s.evaluate(ctx)
	if err != nil {
		return fmt.Errorf("quickstart: %w", err)
	}
	s.fp32, s.result.FP32Accuracy, s.result.FP32StandardError, s.result.Examples = r, r.Accuracy, r.StandardError, r.Examples
	s.say("The float32 network scores %.2f %% on %d test images.", 100*r.Accuracy, r.Examples)
	return nil
}

// evaluate measures the full-precision network. An evaluation cannot be
// stopped; when the context ends it is left behind, for the process ends.
func (s *session) evaluate(ctx context.Context) (eval.Result, error) {
	type result struct {
		r   eval.Result
		err error
	}
	done := make(chan result, 1)
	go func() {
		r, err := quantize.Evaluate(train.Job{Engine: s.e, Graph: s.net.Graph, Store: s.net.Store, Test: s.test}, s.base)
		done <- result{r, err}
	}()
	select {
	case d := <-done:
		return d.r, d.err
	case <-ctx.Done():
		return eval.Result{}, train.ErrInterrupted
	}
}

// job is a quantization of a fresh copy of the network.
func (s *session) job(bits, method string, images *data.Dataset) quantize.Job {
	j := s.Job
	j.Engine, j.Graph, j.Store = s.e, s.net.Graph, s.net.Store.Clone()
	j.Train, j.Test, j.Force, j.Model = images, s.test, s.Force, s.Model
	j.Out = filepath.Join(s.Out, bits+"-"+method)
	j.Progress = s.Progress(method + " " + bits)
	j.MetricsEvery = 10
	return quantize.Job{Train: j, Base: s.base, Bits: bits, Source: s.Model, Weights: s.net.Weights, FP32: &s.fp32}
}

// quantize runs a method and keeps what came out.
func (s *session) quantize(ctx context.Context, m quantize.Method, j quantize.Job) error {
	o, err := quantize.Run(ctx, m, j)
	if err != nil {
		return fmt.Errorf("quickstart: %s %s: %w", m.Name, j.Bits, err)
	}
	r := Run{
		Bits: j.Bits, Method: m.Name, Accuracy: o.Accuracy, StandardError: o.StandardError, SizeBytes: o.SizeBytes,
		Epochs: o.Epochs, TrainImages: o.Epochs * j.Train.Train.Len(), Seconds: o.Seconds, Run: o.Run,
	}
	s.result.FP32SizeBytes = o.FP32SizeBytes
	s.result.Runs = append(s.result.Runs, r)
	s.say("  %s: %.2f %%, %+.2f points, %.1f times smaller (%.0f s)", j.Bits, 100*o.Accuracy,
		100*(o.Accuracy-s.fp32.Accuracy), float64(o.FP32SizeBytes)/float64(o.SizeBytes), o.Seconds)
	return nil
}

func (s *session) withoutTraining(ctx context.Context, bits string) error {
	p, err := quant.ParseBits(bits)
	if err != nil {
		return err
	}
	c, err := ptq.DefaultConfig(p, "mse")
	if err != nil {
		return err
	}
	if len(s.result.Runs) == 0 {
		s.say("Quantizing without training: grids from the weights and %d batches of images.", c.Batches)
	}
	return s.quantize(ctx, quantize.PTQ(c), s.job(bits, "ptq", s.train))
}

// withTraining runs LSQ with the float32 network as teacher on so many images.
func (s *session) withTraining(ctx context.Context, bits string, images int) error {
	p, err := quant.ParseBits(bits)
	if err != nil {
		return err
	}
	part, epochs := s.train, images/s.train.Len()
	if epochs == 0 {
		part, epochs = s.train.Limit(images), 1
	}
	s.say("Training at %s: learned steps (LSQ), taught by the float32 network, %d images seen.", bits, epochs*part.Len())
	c := lsq.ShortConfig(p, epochs)
	if bits == "w4a4" {
		c.LR = fourBitLR
	}
	return s.quantize(ctx, quantize.LSQ(c), s.job(bits, "lsq", part))
}

// fourBitLR is the first learning rate of one epoch at 4 bits. Of 0.01 (the rate
// for 90 epochs), 0.003 and 0.001 it leaves ResNet-20 the most accuracy on 5,000
// held-out training images: 98.50, 98.72 and 98.84 %, with 99.88 % in float32.
const fourBitLR = 0.001

// Shares of the time that is left which the two trainings get, and of that the
// part which steps take (the rest is evaluation and compiling).
var trainShare = [2]float64{0.35, 0.55}

// Most epochs that the two trainings get: more helps little in a first look.
var mostEpochs = [2]int{1, 2}

// imagesFor measures a training step and returns how many images each training
// can see in the time that is left.
func (s *session) imagesFor(ctx context.Context) ([2]int, error) {
	var images [2]int
	p, err := quant.ParseBits("w4a4")
	if err != nil {
		return images, err
	}
	j := s.job("w4a4", "lsq", s.train)
	g, err := lsq.Prepare(s.base, j.Train, lsq.DefaultQuantizers(p), lsq.BestStart())
	if err != nil {
		return images, fmt.Errorf("quickstart: %w", err)
	}
	b := bench.Config{Batch: min(batch, s.train.Len()), Steps: 5, Warmup: 2, Momentum: 0.9, Seed: s.Seed}
	r, err := bench.Train(ctx, s.e, g, j.Train.Store, b)
	if err != nil {
		if ctx.Err() != nil {
			err = train.ErrInterrupted
		}
		return images, fmt.Errorf("quickstart: %w", err)
	}
	const teacher = 1.35 // its forward pass is a third of a training step
	perSecond := r.ItemsPerS / teacher
	left := s.Minutes*60 - time.Since(s.began).Seconds()
	for i := range images {
		n := int(perSecond*left*trainShare[i]) / b.Batch * b.Batch
		images[i] = max(min(n, mostEpochs[i]*s.train.Len()), b.Batch)
	}
	return images, nil
}

// report writes the page.
func (s *session) report() error {
	var runs []report.Run
	for _, r := range s.result.Runs {
		x, err := report.Load(r.Run)
		if err != nil {
			return fmt.Errorf("quickstart: %w", err)
		}
		runs = append(runs, x)
	}
	model := s.Model
	if s.Weights != "" {
		model += " --weights " + s.Weights
	}
	for _, bits := range []string{"w4a4", "w2a2"} {
		s.result.Next = append(s.result.Next,
			fmt.Sprintf("lowbit quantize --model %s --data %s --method lsq --bits %s --teacher self --out runs/%s", model, s.train.Name, bits, bits))
	}
	s.result.Report = filepath.Join(s.Out, "report.html")
	err := report.Write(s.result.Report, runs, report.Config{Lead: s.lead(), Next: s.result.Next, Files: s.files()})
	if err != nil {
		return fmt.Errorf("quickstart: %w", err)
	}
	return nil
}

// lead sums up what each bit cost.
func (s *session) lead() string {
	by := map[string]Run{}
	for _, r := range s.result.Runs {
		by[r.Method+r.Bits] = r
	}
	p, l4, l2 := by["ptqw2a2"], by["lsqw4a4"], by["lsqw2a2"]
	return fmt.Sprintf("%s scores %.1f %% in float32. At 8 bits it needs no training: %.1f %%. At 4 bits a short training brings it to %.1f %%; "+
		"at 2 bits, where it falls to %.1f %% untrained, to %.1f %%, in %.1f times less space.",
		s.Model, 100*s.fp32.Accuracy, 100*by["ptqw8a8"].Accuracy, 100*l4.Accuracy, 100*p.Accuracy, 100*l2.Accuracy,
		float64(s.result.FP32SizeBytes)/float64(max(l2.SizeBytes, 1)))
}
