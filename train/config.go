// Package train trains a network: the loop, the losses, checkpoints, metrics
// and the record of a run.
//
// A run depends on its Config and its Job's graph, weights and data alone: the
// same bits for any number of threads on one kernel row, and a run that was
// killed and resumed ends with the same bytes as one that was not. A run
// directory holds
//
//	run.json                       what was run, where, and what came out
//	graph.json                     the inference graph
//	metrics.jsonl                  one line every so many steps and each epoch
//	checkpoint-003.safetensors     all state after 3 epochs
//	checkpoint-003-00120.safetensors   and 120 steps into the next one
//	best.safetensors               best weights on the held-out part, if asked
//	last.safetensors               all state at the end
package train

import (
	"errors"
	"fmt"

	"lowbit/data"
	"lowbit/engine"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
)

// Errors that a caller can act on.
var (
	// ErrInterrupted: the context ended; the state is in a checkpoint.
	ErrInterrupted = errors.New("interrupted")
	// ErrExists: the run directory holds something and neither Resume nor
	// Force is set.
	ErrExists = errors.New("already exists")
	// ErrLocked: another run uses the directory.
	ErrLocked = errors.New("in use by another run")
	// ErrNotFinite: the loss or a gradient became infinite or NaN.
	ErrNotFinite = errors.New("not finite")
	// ErrMismatch: the directory's run has another config, graph or data.
	ErrMismatch = errors.New("another run")
)

// Loss is what training minimises: the mean over the batch of
// CrossEntropy * CE(logits, labels) + Distill * KL(teacher, logits).
type Loss struct {
	// CrossEntropy is the weight of the cross entropy; 1 in DefaultConfig.
	CrossEntropy float64 `json:"cross_entropy"`
	// Smooth is its label smoothing, in [0, 1).
	Smooth float64 `json:"smooth,omitempty"`
	// Distill is the weight of T^2 * KL(softmax(teacher/T), softmax(logits/T))
	// with T = Temperature (Hinton, arXiv 1503.02531); 0: no teacher.
	Distill     float64 `json:"distill,omitempty"`
	Temperature float64 `json:"temperature,omitempty"`
	// Scored makes it the mean over the rows that have a target alone, for both
	// terms: the input "weights", f32 [rows], is 1 there and 0 elsewhere. For
	// Windows.
	Scored bool `json:"scored,omitempty"`
}

// Config is everything that decides a run's result besides the network, its
// weights and the data. It stands resolved in run.json.
type Config struct {
	// Epochs is the number of passes over the training part.
	Epochs int `json:"epochs"`
	// Batch is the number of examples a step. DropLast leaves out an epoch's
	// last batch if it is not full.
	Batch    int  `json:"batch"`
	DropLast bool `json:"drop_last,omitempty"`
	// Accumulate is the number of parts, one after the other, in which a step runs
	// its batch to need less memory; 0: 1. The gradient is the mean of the
	// examples' up to the order of summation, where each part's loss is the mean of
	// as many terms an example. For a Source whose graph has no dropout.
	Accumulate int `json:"accumulate,omitempty"`
	// Recompute keeps for the backward pass the values between the network's blocks
	// alone and computes those inside them again: less memory, one more forward
	// pass, the same gradients up to the order of sums over examples. See
	// graph.RecomputedGradients.
	Recompute bool `json:"recompute,omitempty"`
	// BF16 rounds the operands of convolutions and linear layers to bfloat16, forward
	// and backward, where the CPU has such products; sums, norms, weights and the
	// optimizer stay in float32, and so does evaluation.
	BF16 bool `json:"bf16,omitempty"`
	// Seed decides the order, the augmentation, dropout, the held-out part and
	// the start of parameters that have no weights.
	Seed uint64 `json:"seed"`
	// Augment changes training images.
	Augment data.Augment `json:"augment"`
	// Norm replaces the dataset's normalisation, if set.
	Norm data.Normalization `json:"norm"`
	// FrozenNorm normalises with the running statistics and leaves them as
	// they are.
	FrozenNorm bool `json:"frozen_norm,omitempty"`

	Loss     Loss           `json:"loss"`
	Optim    optim.Config   `json:"optim"`
	Schedule optim.Schedule `json:"schedule"`

	// HoldOut takes so many examples out of the training part and evaluates
	// them every EvalEvery epochs (0: 1). Best keeps the weights that did best
	// there and reports those; else the last are reported.
	HoldOut   int  `json:"hold_out,omitempty"`
	EvalEvery int  `json:"eval_every,omitempty"`
	Best      bool `json:"best,omitempty"`
	// EvalBatch is the batch size of evaluation; 0: Batch.
	EvalBatch int `json:"eval_batch,omitempty"`
}

// DefaultConfig is SGD with momentum 0.9, lr 0.1, cosine to zero, weight decay
// 1e-4 and batch 128.
func DefaultConfig() Config {
	return Config{
		Epochs: 1, Batch: 128, Seed: 1,
		Loss:     Loss{CrossEntropy: 1},
		Optim:    optim.DefaultConfig(optim.SGD, 1e-4),
		Schedule: optim.Schedule{Kind: optim.Cosine, LR: 0.1},
	}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	l := c.Loss
	switch {
	case c.Epochs < 0:
		return fmt.Errorf("train: epochs %d, want 0 or more", c.Epochs)
	case c.Batch < 1 || c.EvalBatch < 0:
		return fmt.Errorf("train: batch %d, eval batch %d: want at least 1", c.Batch, c.EvalBatch)
	case c.Accumulate < 0 || c.Accumulate > c.Batch:
		return fmt.Errorf("train: a batch of %d accumulated in %d parts: want 1 to %d", c.Batch, c.Accumulate, c.Batch)
	case c.HoldOut < 0 || c.EvalEvery < 0:
		return fmt.Errorf("train: hold out %d, eval every %d: want 0 or more", c.HoldOut, c.EvalEvery)
	case c.Best && c.HoldOut == 0:
		return fmt.Errorf("train: best needs a held-out part, want hold_out above 0")
	case !(l.CrossEntropy >= 0) || !(l.Distill >= 0) || l.CrossEntropy+l.Distill == 0:
		return fmt.Errorf("train: loss weights %g and %g: want one above 0, none negative", l.CrossEntropy, l.Distill)
	case !(l.Smooth >= 0 && l.Smooth < 1):
		return fmt.Errorf("train: label smoothing %g outside [0, 1)", l.Smooth)
	case l.Distill > 0 && !(l.Temperature > 0):
		return fmt.Errorf("train: temperature %g, want above 0", l.Temperature)
	}
	if err := c.Optim.Validate(); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := c.Schedule.Validate(); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// partSize is the number of examples that run at a time.
func (c Config) partSize() int {
	n := max(c.Accumulate, 1)
	return (c.Batch + n - 1) / n
}

// resolved fills in defaults that depend on other settings.
func (c Config) resolved() Config {
	if c.EvalBatch == 0 {
		c.EvalBatch = c.Batch
	}
	if c.EvalEvery == 0 && c.HoldOut > 0 {
		c.EvalEvery = 1
	}
	return c
}

// Teacher is a network whose logits the student learns to give. It sees the
// same batches, in inference form.
type Teacher struct {
	Name  string
	Graph *graph.Graph
	Store *tensor.Store
}

// Job is what a run works on and where it leaves its files. Nothing here but
// the network, its weights, the teacher, the data and Hooks that change values
// affects the result.
type Job struct {
	Engine *engine.Engine
	// Graph is the inference graph, with or without quantizers, of any batch
	// size. Store holds its parameters; those that it lacks are initialised. When
	// Run returns without an error Store holds the weights that were evaluated.
	Graph *graph.Graph
	Store *tensor.Store
	// Train is the training part; Test, if not nil, is evaluated once, at the
	// end.
	Train, Test *data.Dataset
	// Source takes the place of both where examples are no images.
	Source Source
	// Teacher is used if Config.Loss.Distill is above 0.
	Teacher *Teacher

	// Out is the run directory; empty: no files are written. One that holds
	// anything is refused unless Resume (go on with its run; nothing there yet
	// is no error) or Force (its run's files are removed).
	Out           string
	Resume, Force bool
	// CheckpointSeconds is the time between checkpoints within an epoch; 0:
	// 300. There is always one after each epoch. Keep is how many are kept; 0: 2.
	CheckpointSeconds float64
	Keep              int
	// Brief puts off all files of a run that may take seconds only: they are
	// written from the first time on that CheckpointSeconds have passed, or when
	// the run is interrupted; a run that ends before leaves none. One with
	// Config.Best writes them at once.
	Brief bool
	// Memory, if not nil, is what the run computes in. Trainings that follow
	// each other may share one.
	Memory *Memory
	// MetricsEvery is the number of steps between lines in metrics.jsonl; 0: 50.
	MetricsEvery int

	// Model, Method, Command, Versions and Kernel go into run.json. Kernel is
	// the active kernel row: resuming on another one warns, since bits may
	// differ.
	Model, Method string
	// Settings is the method's own resolved config; it must encode as JSON.
	Settings any
	Command  []string
	Versions map[string]string
	Kernel   string

	// Progress is called about once a second and after each epoch; Warn with
	// each warning. Both may be nil.
	Progress func(Progress)
	Warn     func(message string)
	Hooks    Hooks
}

// Memory is what the plans of a training and of its teacher compute in; see
// engine.Memory.
type Memory struct{ training, teacher engine.Memory }

// Hooks lets a method look into a run or change it. Every one may be nil. An
// error ends the run.
type Hooks struct {
	// Loss may add nodes, outputs and updates to the training graph, and
	// returns the loss to minimise: the given one, or one with further terms. It
	// is called for each batch size.
	Loss func(g *graph.Graph, loss *graph.Node) (*graph.Node, error)
	// Taps are names of nodes whose values become outputs "tap:<name>", and
	// GradTaps of nodes whose gradients become outputs "grad:<name>" of the
	// training plan. Gradients of trained parameters are always there.
	Taps, GradTaps []string
	// Batch sees each batch before its step and may change it in place.
	Batch func(b *data.Batch) error
	// AfterGradients runs between backward and the optimizer, which reads the
	// plan's outputs "grad:<param>": they may be changed in place.
	AfterGradients func(s StepInfo) error
	// AfterStep runs when the parameters are updated.
	AfterStep func(s StepInfo) error
}

// StepInfo is what a hook sees of one step.
type StepInfo struct {
	Epoch, Step int // of training, from 0; Step counts over all epochs
	LR, Loss    float64
	Plan        *engine.Plan // the training plan: outputs "logits", "loss", taps
	Store       *tensor.Store
}

// Progress is the state of a run.
type Progress struct {
	Epoch, Epochs  int // current one from 0, and all
	Step, Steps    int // done in this epoch, and all of it
	Loss, Accuracy float64
	HeldOut        float64 // accuracy of the last evaluation; -1: none yet
	LR             float64
	ImagesPerS     float64
	Elapsed, Left  float64 // seconds
}

// Result is what came out of a run. Times include those before a resume.
type Result struct {
	// Accuracy, Top5, Loss, Examples and StandardError are of the test part,
	// with the weights of the file Weights.
	Accuracy      float64 `json:"accuracy"`
	Top5          float64 `json:"top5"`
	Loss          float64 `json:"loss"`
	Examples      int     `json:"examples"`
	StandardError float64 `json:"standard_error"`
	// TrainLoss and TrainAccuracy are the last epoch's, as trained.
	TrainLoss     float64 `json:"train_loss"`
	TrainAccuracy float64 `json:"train_accuracy"`
	// HeldOut is the last accuracy on the held-out part, BestHeldOut the best
	// and BestEpoch the number of epochs done then; absent without one.
	HeldOut     float64 `json:"held_out,omitempty"`
	BestHeldOut float64 `json:"best_held_out,omitempty"`
	BestEpoch   int     `json:"best_epoch,omitempty"`
	// Epochs and Steps are those done.
	Epochs int `json:"epochs"`
	Steps  int `json:"steps"`
	// Seconds is wall time, EngineSeconds the part spent in training plans.
	Seconds       float64 `json:"seconds"`
	EngineSeconds float64 `json:"engine_seconds"`
	// Weights is the file of the run directory with the evaluated weights.
	Weights string `json:"weights,omitempty"`
	// Complete is false for a run that ended early.
	Complete bool `json:"complete"`
}
