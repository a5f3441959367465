package train

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"lowbit/data"
	"lowbit/eval"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
)

// run is one call of Run.
type run struct {
	Config
	job     Job
	train   *data.Dataset
	source  Source // in its place
	held    *Job   // what measures the held-out part; nil without one
	loader  feed   // nil without epochs
	plans   map[shape]*batchPlan
	sums    [][]float32 // of the gradients of a batch in parts
	memory  *Memory     // of the plans: one runs at a time
	heldOut func() (eval.Result, error)
	judged  *tensor.Store // what heldOut evaluates: the job's or averages
	pos     position
	saved   position      // of the last checkpoint
	names   []string      // tensors of a checkpoint
	best    *tensor.Store // without a directory
	record  Record
	begun   bool // the directory has the run's files
	metrics *os.File

	began         time.Time
	before        float64 // seconds of earlier sessions
	engineSeconds float64
	savedAt       time.Time
	shown         time.Time
	shownImages   int
	images        int // of this session
}

// Run trains job.Graph as c says and evaluates the result. An ended context
// stops it at the next step: it writes a checkpoint and returns ErrInterrupted.
// A loss or gradient that is not finite ends it with ErrNotFinite and the name
// of the first layer concerned; the last checkpoint stays. The Result is valid,
// as far as it goes, with an error too.
func Run(ctx context.Context, c Config, job Job) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	if job.Engine == nil || job.Graph == nil || job.Store == nil || job.Train == nil && job.Source == nil {
		return Result{}, errors.New("train: the job lacks an engine, a graph, a store or training data")
	}
	if c.Accumulate > 1 && job.Source == nil {
		return Result{}, errors.New("train: batches of images run whole: accumulate is for texts")
	}
	if job.Source != nil && (job.Train != nil || job.Test != nil) {
		return Result{}, errors.New("train: the job has a source: want no sets of images beside it")
	}
	if (job.Teacher != nil) != (c.Loss.Distill > 0) {
		return Result{}, fmt.Errorf("train: distillation weight %g with teacher %t: want both or none", c.Loss.Distill, job.Teacher != nil)
	}
	r := &run{Config: c.resolved(), job: job.withDefaults(), plans: map[shape]*batchPlan{}, memory: cmp.Or(job.Memory, new(Memory)), pos: start()}
	r.job.Brief = job.Brief && !c.Best
	r.began = time.Now()
	unlock, err := r.open()
	if unlock != nil {
		defer unlock()
	}
	if err != nil || r.record.Result.Complete {
		return r.record.Result, err
	}
	err = r.all(ctx)
	if r.loader != nil {
		r.loader.Close()
	}
	if r.metrics != nil {
		err = errors.Join(err, r.metrics.Close())
	}
	return r.record.Result, err
}

func (j Job) withDefaults() Job {
	j.CheckpointSeconds = cmp.Or(j.CheckpointSeconds, 300)
	j.Keep = max(cmp.Or(j.Keep, 2), 1)
	j.MetricsEvery = max(cmp.Or(j.MetricsEvery, 50), 1)
	if j.Warn == nil {
		j.Warn = func(string) {}
	}
	if j.Progress == nil {
		j.Progress = func(Progress) {}
	}
	return j
}

// open splits the data, fills the store and makes the directory ready or
// continues its run.
func (r *run) open() (unlock func(), err error) {
	if err := r.part(); err != nil {
		return nil, err
	}
	if err := graph.InitParams(r.job.Graph, r.job.Store, r.Seed); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	for _, name := range r.job.Store.Names() {
		if optim.IsState(name) { // of another run
			r.job.Store.Delete(name)
		}
	}
	if err := r.describe(); err != nil {
		return nil, err
	}
	if r.job.Out == "" {
		return nil, nil
	}
	return r.openDir()
}

// part holds examples out of the training part.
func (r *run) part() (err error) {
	r.train, r.source = r.job.Train, r.job.Source
	switch {
	case r.HoldOut == 0:
	case r.source != nil:
		var held Source
		r.source, held, err = holdOut(r.source, r.HoldOut, r.Seed)
		r.held = &Job{Engine: r.job.Engine, Graph: r.job.Graph, Source: held}
	default:
		var held *data.Dataset
		r.train, held, err = r.job.Train.HoldOut(r.HoldOut, r.Seed)
		r.held = &Job{Engine: r.job.Engine, Graph: r.job.Graph, Test: held}
	}
	if err != nil {
		err = fmt.Errorf("train: %w", err)
	}
	return err
}

// describe fills in the run's record.
func (r *run) describe() error {
	code, err := graph.Encode(r.job.Graph)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	id := Identity{GraphSHA256: sha(code)}
	if s := r.source; s != nil {
		id.TrainData, id.LabelsSHA256 = s.Describe()
	} else {
		id.LabelsSHA256 = labelsSHA(r.train)
		id.TrainData = fmt.Sprintf("%s %s %d", r.train.Name, r.train.Split, r.train.Len())
	}
	if t := r.job.Teacher; t != nil {
		tc, err := graph.Encode(t.Graph)
		if err != nil {
			return fmt.Errorf("train: teacher: %w", err)
		}
		id.Teacher, id.TeacherSHA256 = t.Name, storeSHA(t.Store, tc)
	}
	var settings json.RawMessage
	if r.job.Settings != nil {
		if settings, err = json.Marshal(r.job.Settings); err != nil {
			return fmt.Errorf("train: settings of %s: %w", r.job.Method, err)
		}
	}
	r.record = Record{
		Settings: settings,
		Version:  recordVersion, Model: r.job.Model, Method: r.job.Method, Command: r.job.Command,
		Config: r.Config, Identity: id, Versions: versions(r.job.Versions),
		Sessions: []Session{{time.Now().UTC(), r.job.Kernel, ThisMachine(), r.job.Engine.Threads()}},
	}
	if r.train != nil {
		r.record.Classes = r.train.Classes
	}
	return nil
}

func sha(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func labelsSHA(d *data.Dataset) string {
	b := make([]byte, 0, 4*d.Len())
	for i := range d.Len() {
		y := d.Label(i)
		b = append(b, byte(y), byte(y>>8), byte(y>>16), byte(y>>24))
	}
	return sha(b)
}

func storeSHA(s *tensor.Store, more []byte) string {
	h := sha256.New()
	h.Write(more)
	for _, n := range s.Names() {
		h.Write([]byte(n))
		h.Write(s.Get(n).Bytes())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// openDir locks the directory, refuses, empties or continues what is there,
// and writes the record of a run that begins.
func (r *run) openDir() (unlock func(), err error) {
	dir := r.job.Out
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	empty := !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() != lockName })
	if !empty && !r.job.Resume && !r.job.Force {
		return nil, fmt.Errorf("train: %s: %w, want an empty folder, resume or force", dir, ErrExists)
	}
	if unlock, err = lock(dir); err != nil {
		return nil, err
	}
	if _, statErr := os.Stat(filepath.Join(dir, recordName)); r.job.Resume && statErr == nil {
		return unlock, r.resume()
	}
	if !r.job.Force { // what a run leaves that was killed before its record stood
		begun := func(e os.DirEntry) bool {
			return e.Name() != graphName && ofRun(e.Name()) && !temporary.MatchString(e.Name())
		}
		if slices.ContainsFunc(entries, begun) {
			return unlock, fmt.Errorf("train: %s: %w: a run's files without %s, want an empty folder or force", dir, ErrExists, recordName)
		}
	}
	if err := removeFiles(dir, ofRun); err != nil {
		return unlock, err
	}
	if r.job.Brief {
		return unlock, nil
	}
	return unlock, r.begin()
}

// begin writes what a run directory has before the first checkpoint.
func (r *run) begin() error {
	code, err := graph.Encode(r.job.Graph)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if err := writeBytes(filepath.Join(r.job.Out, graphName), code); err != nil {
		return err
	}
	r.begun = true
	return r.record.write(r.job.Out)
}

// openMetrics makes metrics.jsonl ready for further lines.
func (r *run) openMetrics() (err error) {
	r.metrics, err = os.OpenFile(filepath.Join(r.job.Out, metricsName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// resume loads the directory's last checkpoint, or the final weights of a run
// that is complete.
func (r *run) resume() error {
	dir := r.job.Out
	r.begun = true
	old, err := ReadRecord(dir)
	if err != nil {
		return err
	}
	if err := r.record.matches(old); err != nil {
		return err
	}
	if err := removeFiles(dir, temporary.MatchString); err != nil {
		return err
	}
	if old.Result.Complete {
		r.record = old
		weights, _, err := readCheckpoint(filepath.Join(dir, old.Result.Weights))
		if err != nil {
			return err
		}
		return restore(r.job.Store, weights)
	}
	if k := old.Sessions[len(old.Sessions)-1].Kernel; k != r.job.Kernel {
		r.job.Warn(fmt.Sprintf("resuming on kernel row %q what ran on %q: the result may differ in its last bits", r.job.Kernel, k))
	}
	r.record.Sessions = append(old.Sessions, r.record.Sessions...)
	store, pos, err := latest(dir, r.job.Warn)
	if err != nil {
		return err
	}
	if store != nil {
		r.pos = pos
		if err := restore(r.job.Store, store); err != nil {
			return err
		}
	}
	last, err := trimMetrics(dir, r.pos.Total)
	r.before, r.engineSeconds = last.Seconds, last.EngineSeconds
	return errors.Join(err, r.record.write(dir))
}

// all trains what is left, and evaluates.
func (r *run) all(ctx context.Context) error {
	if err := r.prepare(); err != nil {
		return err
	}
	for r.pos.Epoch < r.Epochs {
		err := r.epoch(ctx)
		if err != nil {
			r.result()
			if r.begun {
				err = errors.Join(err, r.record.write(r.job.Out))
			}
			return err
		}
	}
	return r.finish()
}

// prepare compiles the plans, opens the metrics and writes a first checkpoint.
func (r *run) prepare() error {
	names, err := r.stateNames()
	if err != nil {
		return err
	}
	r.names = names
	if r.Epochs > 0 {
		if r.loader, err = r.newFeed(); err != nil {
			return fmt.Errorf("train: %w", err)
		}
		if err := r.loader.Seek(r.pos.Epoch, r.pos.Step); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	if r.held != nil {
		r.judged = r.job.Store
		if r.Optim.EMA > 0 {
			if r.judged, err = optim.Averaged(r.job.Store); err != nil {
				return fmt.Errorf("train: %w", err)
			}
		}
		r.held.Store = r.judged
		if r.heldOut, err = r.held.Evaluator(r.Config); err != nil {
			return err
		}
	}
	r.savedAt, r.shown, r.saved = time.Now(), time.Now(), r.pos
	if !r.begun {
		return nil
	}
	if err := r.openMetrics(); err != nil {
		return err
	}
	if r.pos.Total == 0 {
		return r.checkpoint()
	}
	return nil
}

// stateNames lists the tensors that a checkpoint holds: the parameters of the
// inference and the training graph, and the optimizer's state. The plan of a
// full batch is compiled first, which puts all of them into the store.
func (r *run) stateNames() ([]string, error) {
	names := map[string]bool{}
	for _, n := range r.job.Graph.Params() {
		names[n.Name()] = true
	}
	if r.Epochs > 0 {
		n, length := r.partSize(), 0
		if r.source != nil {
			n, length = min(n, r.source.Len()), r.source.Length(nil)
		} else {
			n = min(n, r.train.Len())
		}
		p, err := r.plan(n, length)
		if err != nil {
			return nil, err
		}
		for _, n := range p.params {
			names[n] = true
		}
	}
	for _, n := range r.job.Store.Names() {
		if optim.IsState(n) {
			names[n] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
