// Package sweep draws the frontier of mixed precision: it selects bits by many
// methods under many budgets, trains every selection from one checkpoint with
// several seeds, and compares accuracies.
//
// The directory of a sweep holds
//
//	sweep.json      what the sweep works on, and its recipe
//	points.json     all results so far: Result
//	gains/          what each method found
//	latency.json    the layers' times, if they are measured
//	bits/           the bits file of each selection
//	trials/         short trainings of methods that need them
//	points/, runs/  one training each: its result, and its run directory
//
// A sweep that was stopped, in whatever way, goes on where it was when it is
// called again with the same directory; methods, budgets and seeds may be added.
// Several processes with one directory share the trainings, each claiming one at
// a time.
package sweep

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"lowbit/infer"
	"lowbit/method/alps"
	"lowbit/method/lsq"
	"lowbit/mixed"
	"lowbit/mixed/claim"
	"lowbit/quant"
	"lowbit/train"
)

// ErrMismatch is wrapped by the error for a directory that holds a sweep over
// something else, or no sweep.
var ErrMismatch = errors.New("holds something else")

// Config is a sweep.
type Config struct {
	Methods []string  `json:"methods"` // of Methods()
	Budgets []float64 `json:"budgets"` // shares of the cost at the widest precision
	Seeds   []uint64  `json:"seeds"`   // of the final trainings
	// Ranked methods are scored for the correlation of gains alone: nothing is
	// trained with their bits. Those that are in Methods too are trained.
	Ranked []string `json:"-"`
	// Widths are the allowed precisions, narrowest first; Cost is the name of
	// the cost model: MeasuredCost or one that mixed.CostNamed knows.
	Widths []quant.Width `json:"widths"`
	Cost   string        `json:"cost"`
	// LSQ is the recipe of the final trainings; its Bits are replaced.
	LSQ lsq.Config `json:"lsq"`
	// Base decides what LSQ does not: batch, augmentation. Its Seed is that of
	// the methods' trials.
	Base    train.Config `json:"base"`
	Scoring Scoring      `json:"scoring"`
	// Times measures each layer in the integer runtime, whatever budgets count,
	// and gives all points their milliseconds, too. It decides nothing
	// else, and may be asked for later.
	Times bool `json:"-"`
	// From, if not nil, is an earlier result of the same sweep, whose directory
	// is gone: what it found and measured is taken over and not done again.
	From *Result `json:"-"`
	// KeepWeights leaves the weights of every final training in the directory;
	// else their records stay.
	KeepWeights bool `json:"-"`
}

// DefaultConfig is EAGL, ALPS and all rivals that need no long training, at
// four budgets with five seeds, 4 against 2 bits.
func DefaultConfig(base train.Config) Config {
	bits := quant.Uniform(quant.Width{Weight: 4, Act: 4}, 8)
	return Config{
		Methods: []string{"eagl", "alps", "hawq", "uniform", "first-to-last", "last-to-first", "random", "inverse-eagl", "mse"},
		Budgets: []float64{0.6, 0.7, 0.8, 0.9}, Seeds: []uint64{1, 2, 3, 4, 5},
		Widths: mixed.Square(2, 4), Cost: "bit-macs",
		LSQ: alps.Recipe(bits), Base: base, Scoring: DefaultScoring(bits),
	}
}

// Validate returns an error that names the first setting that makes no sense.
func (c Config) Validate() error {
	for _, m := range slices.Concat(c.Methods, c.Ranked) {
		if !known(m) {
			_, err := NewScorer(m, c.Scoring, Source{}, 0)
			return err
		}
	}
	if len(c.Seeds) == 0 {
		return fmt.Errorf("sweep: no seeds")
	}
	for i, s := range c.Seeds {
		if slices.Contains(c.Seeds[:i], s) {
			return fmt.Errorf("sweep: seed %d twice", s)
		}
	}
	for _, b := range c.Budgets {
		if !(b > 0 && b <= 1) || math.IsNaN(b) {
			return fmt.Errorf("sweep: budget %g outside (0, 1]", b)
		}
	}
	if c.Cost != MeasuredCost {
		if _, err := mixed.CostNamed(c.Cost); err != nil {
			return err
		}
	}
	if c.From != nil && c.KeepWeights {
		return errors.New("sweep: an earlier result has no weights to keep")
	}
	return c.LSQ.Validate()
}

// Progress is the state of a sweep.
type Progress struct {
	Method string  // or a uniform precision
	Budget float64 // 0 while a method scores
	Seed   uint64
	// Done and All count points; while a method scores, its trials.
	Done, All int
	Scoring   bool
	Train     train.Progress // of the training under way
}

// Run does the sweep, or what is left of it, in the directory job.Out. job has
// the engine, the network trained at the widest precision, training and test
// data, and a teacher if c.LSQ distils; its Resume and Force play no part. The
// result is also in points.json, up to date after every point. Calls with one
// directory at the same time share the work; all return when the last training
// is done.
//
// Errors: settings that make no sense, a budget that no choice meets
// (mixed.ErrInfeasible), ErrMismatch, train's (ErrInterrupted when the context
// ends; the sweep can go on then).
func Run(ctx context.Context, c Config, job train.Job, progress func(Progress)) (*Result, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	s := &sweep{Config: c, job: job, dir: job.Out, progress: progress}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := s.plan(ctx); err != nil {
		return &s.result, err
	}
	if err := s.trainAll(ctx); err != nil {
		return &s.result, err
	}
	s.result.Complete = true
	return &s.result, s.save()
}

// sweep is the state of one Run.
type sweep struct {
	Config
	job      train.Job
	dir      string
	progress func(Progress)
	problem  *mixed.Problem
	times    *infer.Latency // of the layers, if they are measured
	result   Result
	plans    []quant.BitPlan // of the points
}

func (s *sweep) path(name string) string { return filepath.Join(s.dir, name) }

// check builds the problem and tries all budgets.
func (s *sweep) check(ctx context.Context) error {
	if err := s.Validate(); err != nil {
		return err
	}
	j := s.job
	lacks := errors.New("sweep: the job lacks an engine, a network, training or test data, or a directory")
	if j.Engine == nil || j.Graph == nil || j.Store == nil || j.Examples() == 0 || s.dir == "" {
		return lacks
	}
	if measure, err := j.Evaluator(s.Base); err != nil || measure == nil {
		return cmp.Or(err, lacks)
	}
	if (j.Teacher == nil) != (s.LSQ.Distill == 0) {
		return fmt.Errorf("sweep: distillation weight %g with teacher %t: want both or none", s.LSQ.Distill, j.Teacher != nil)
	}
	n, err := mixed.Link(j.Graph, mixed.Options{})
	if err != nil {
		return err
	}
	cost, err := s.cost(ctx, n)
	if err != nil {
		return err
	}
	if s.problem, err = mixed.NewProblem(n, j.Store, s.Widths, cost); err != nil {
		return err
	}
	for _, b := range s.Budgets {
		if _, err := s.problem.Capacity(b); err != nil {
			return err
		}
	}
	return nil
}

// lockName is the claim on the directory, stateName what it is for.
const (
	lockName   = ".lock"
	stateName  = "sweep.json"
	resultName = "points.json"
)

// identity is what must not differ when a sweep goes on.
type identity struct {
	Version    int           `json:"version"`
	Network    string        `json:"network"`
	Checkpoint string        `json:"checkpoint"`
	Train      string        `json:"train"`
	Test       string        `json:"test"`
	Teacher    string        `json:"teacher,omitempty"`
	Widths     []quant.Width `json:"widths"`
	Cost       string        `json:"cost"`
	LSQ        lsq.Config    `json:"lsq"`
	Base       train.Config  `json:"base"`
	Scoring    Scoring       `json:"scoring"`
}

func (s *sweep) identity() identity {
	training, test := s.job.DataID()
	id := identity{
		Version: 1, Network: s.problem.Fingerprint, Checkpoint: mixed.Checksum(s.job.Store), Train: training, Test: test,
		Widths: s.Widths, Cost: s.Cost, LSQ: s.LSQ, Base: s.Base, Scoring: s.Scoring,
	}
	if s.job.Teacher != nil {
		id.Teacher = mixed.Checksum(s.job.Teacher.Store)
	}
	return id
}

// prepare makes the directory, or compares what it holds, and brings in what is
// known already, while no other process does.
func (s *sweep) prepare(ctx context.Context) error {
	for _, d := range []string{"gains", "bits", "points"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o777); err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
	}
	release, err := claim.TakeWaiting(ctx, filepath.Join(s.dir, lockName))
	if err == nil {
		defer release()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("sweep: %w: %w", train.ErrInterrupted, context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if err := s.compare(); err != nil {
		return err
	}
	if err := s.takeOver(); err != nil {
		return err
	}
	return s.measure(ctx)
}

// compare checks the directory's identity, or writes it to an empty one.
func (s *sweep) compare() error {
	path := filepath.Join(s.dir, stateName)
	var old any
	found, err := readJSON(path, &old)
	if err != nil {
		return err
	}
	if !found {
		entries, err := os.ReadDir(s.dir)
		if err != nil {
			return fmt.Errorf("sweep: %w", err)
		}
		for _, e := range entries {
			if !slices.Contains([]string{"gains", "bits", "points", lockName}, e.Name()) {
				return fmt.Errorf("sweep: %s %w: %s and no %s, want an empty folder or a sweep's", s.dir, ErrMismatch, e.Name(), stateName)
			}
		}
		return writeJSON(path, s.identity())
	}
	what, err := difference(old, s.identity())
	if err != nil {
		return err
	}
	if what != "" {
		return fmt.Errorf("sweep: %s %w: a sweep with another %s", s.dir, ErrMismatch, what)
	}
	return nil
}
