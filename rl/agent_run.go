package rl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"lowbit/engine"
	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/internal/atomicfile"
	"lowbit/tensor"
	"lowbit/train"
)

// Errors that a caller can act on; those of package train.
var (
	ErrInterrupted = train.ErrInterrupted
	ErrExists      = train.ErrExists
	ErrMismatch    = train.ErrMismatch
)

// Job is where and how a policy's training runs, apart from its Config.
type Job struct {
	Engine *engine.Engine
	// Dir is the run directory; "" keeps nothing on disk.
	Dir string
	// Resume goes on from the last checkpoint of Dir, if there is one. Force
	// deletes a run that stands there.
	Resume, Force bool
	Command       []string
	// Progress, if not nil, gets each line of metrics.jsonl.
	Progress func(Metric)
}

// Metric is a line of a policy run's metrics.jsonl. What does not apply is
// absent.
type Metric struct {
	// Kind is "train" for what happened since the line before, "eval" for a
	// measurement on held-out seeds.
	Kind string `json:"kind"`
	// Step counts decisions of all training games, Updates optimizer steps.
	Step    int64   `json:"step"`
	Updates int     `json:"updates"`
	LR      float64 `json:"lr,omitempty"`
	Loss    float64 `json:"loss"`
	// Return is the mean of Episodes returns, ReturnSE its standard error.
	Return   *float64 `json:"return,omitempty"`
	ReturnSE float64  `json:"return_se,omitempty"`
	Episodes int      `json:"episodes,omitempty"`
	// Agreement with the teacher on held-out episodes, and the worst action's.
	Agreement *float64 `json:"agreement,omitempty"`
	Recall    []Recall `json:"recall,omitempty"`
	Entropy   float64  `json:"entropy,omitempty"`
	// Layers tells how the binary layers of a student do.
	Layers  []LayerHealth `json:"layers,omitempty"`
	Seconds float64       `json:"seconds"`
}

// Recall is how often a student takes one action of its teacher's.
type Recall struct {
	Action string  `json:"action"`
	Share  float64 `json:"share"` // of the teacher's choices
	Recall float64 `json:"recall"`
}

// LayerHealth is the state of a layer of binary neurons and ternary weights.
type LayerHealth struct {
	Layer string `json:"layer"`
	// Zeros is the share of weights that are 0, Spikes the mean output,
	// Constant the share of neurons that never changed, Silent that of values
	// without a surrogate gradient.
	Zeros    float64 `json:"zeros"`
	Spikes   float64 `json:"spikes"`
	Constant float64 `json:"constant"`
	Silent   float64 `json:"silent"`
}

// Progress is a run's position: it stands in each checkpoint.
type Progress struct {
	Epoch   int   `json:"epoch"` // segments done
	Total   int   `json:"total"` // optimizer steps done
	Steps   int64 `json:"steps"` // decisions done
	Best    Score `json:"best"`
	Last    Score `json:"last"`
	Started bool  `json:"started"` // Best is set
	// Agreement with a teacher when it was measured last; of distillation.
	Agreement float64 `json:"agreement,omitempty"`
}

// Score is a measured return.
type Score struct {
	Return   float64 `json:"return"`
	SE       float64 `json:"se"`
	Episodes int     `json:"episodes"`
	Updates  int     `json:"updates"` // when it was measured
}

// Result is what a policy's training ends with.
type Result struct {
	Agent *Agent
	// Best is the score that chose the agent; Last that of the end.
	Best, Last Score
	Updates    int
	Steps      int64
	Seconds    float64
	Dir        string
}

// positionKey is where a checkpoint's position stands in its metadata: train's
// own key, so that its readers open policy runs, too.
const positionKey = "lowbit.train"

// Files of a run directory.
const (
	runFile     = "run.json"
	graphFile   = "graph.json"
	metricsFile = "metrics.jsonl"
	bestFile    = "best.safetensors"
	lastFile    = "last.safetensors"
)

// Run writes the directory of a policy's training. The zero Dir writes
// nothing and only reports.
type Run struct {
	dir      string
	progress func(Metric)
	record   train.Record
	agent    *Agent
	started  time.Time
	before   float64
	log      *os.File
}

// Open makes or resumes the run directory of a job. The agent's store holds
// all of the run's state; on resuming it receives the checkpoint's. settings is
// the resolved configuration: a resumed run must have the same. It returns the
// position to go on from.
func (j Job) Open(method string, settings any, a *Agent) (*Run, Progress, error) {
	r := &Run{dir: j.Dir, progress: j.Progress, agent: a, started: time.Now()}
	var p Progress
	if j.Dir == "" {
		return r, p, nil
	}
	if err := r.prepare(j); err != nil {
		return nil, p, err
	}
	code, err := graph.Encode(a.Graph)
	if err != nil {
		return nil, p, fmt.Errorf("rl: %w", err)
	}
	raw, err := json.Marshal(settings)
	if err != nil {
		return nil, p, fmt.Errorf("rl: settings: %w", err)
	}
	r.record = train.Record{
		Version: 1, Model: a.Info.Env, Method: method, Command: j.Command, Settings: raw,
		Versions: map[string]string{"go": runtime.Version()},
	}
	if old, err := train.ReadRecord(j.Dir); err == nil {
		if !sameJSON(old.Settings, raw) {
			return nil, p, fmt.Errorf("rl: %s: %w: its settings are %s, not %s", j.Dir, ErrMismatch, compact(old.Settings), raw)
		}
		r.record.Sessions = old.Sessions
		if p, err = r.resume(); err != nil {
			return nil, p, err
		}
	}
	r.record.Sessions = append(r.record.Sessions, train.Session{
		Started: time.Now().UTC(), Kernel: engine.KernelRow(), Machine: train.ThisMachine(), Threads: j.Engine.Threads(),
	})
	if err := writeAll(filepath.Join(j.Dir, graphFile), code); err != nil {
		return nil, p, err
	}
	if err := r.writeRecord(); err != nil {
		return nil, p, err
	}
	if r.log, err = os.OpenFile(filepath.Join(j.Dir, metricsFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666); err != nil {
		return nil, p, fmt.Errorf("rl: %w", err)
	}
	return r, p, nil
}

var checkpointFile = regexp.MustCompile(`^checkpoint-\d{3,9}\.safetensors$`)

// prepare makes the directory, or empties or accepts the one there is.
func (r *Run) prepare(j Job) error {
	if err := os.MkdirAll(j.Dir, 0o777); err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	entries, err := os.ReadDir(j.Dir)
	if err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	own := func(name string) bool {
		return slices.Contains([]string{runFile, graphFile, metricsFile, bestFile, lastFile}, name) || checkpointFile.MatchString(name)
	}
	for _, e := range entries {
		switch {
		case !own(e.Name()), j.Resume && !j.Force:
		case !j.Force:
			return fmt.Errorf("rl: %s: %w (resume or force)", j.Dir, ErrExists)
		default:
			if err := os.Remove(filepath.Join(j.Dir, e.Name())); err != nil {
				return fmt.Errorf("rl: %w", err)
			}
		}
	}
	return nil
}

// resume loads the last checkpoint into the agent's store and cuts metrics
// that are later.
func (r *Run) resume() (Progress, error) {
	var p Progress
	names, err := r.checkpoints()
	if err != nil || len(names) == 0 {
		return p, errors.Join(err, r.trim(p))
	}
	path := filepath.Join(r.dir, names[len(names)-1])
	store, meta, err := safetensors.Read(path)
	if err != nil {
		return p, fmt.Errorf("rl: %w", err)
	}
	if err := json.Unmarshal([]byte(meta[positionKey]), &p); err != nil {
		return p, fmt.Errorf("rl: %s: metadata %q: %w", path, positionKey, err)
	}
	for _, n := range store.Names() {
		if err := r.agent.Store.Put(n, store.Get(n)); err != nil {
			return p, fmt.Errorf("rl: %s: %w", path, err)
		}
	}
	return p, r.trim(p)
}

// checkpoints returns the names of the run's checkpoints in order.
func (r *Run) checkpoints() ([]string, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	var names []string
	for _, e := range entries {
		if checkpointFile.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

// trim rewrites metrics.jsonl without lines later than p.
func (r *Run) trim(p Progress) error {
	ms, err := ReadMetrics(r.dir)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, m := range ms {
		if m.Step > p.Steps || m.Updates > p.Total {
			break
		}
		line, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("rl: metrics: %w", err)
		}
		b.Write(append(line, '\n'))
		r.before = m.Seconds
	}
	return writeAll(filepath.Join(r.dir, metricsFile), b.Bytes())
}

// ReadMetrics returns the lines of a policy run's metrics.jsonl; a last line
// that was cut off is left out.
func ReadMetrics(dir string) ([]Metric, error) {
	b, err := os.ReadFile(filepath.Join(dir, metricsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	var ms []Metric
	for line := range bytes.Lines(b) {
		var m Metric
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("rl: %s line %d: %w", filepath.Join(dir, metricsFile), len(ms)+1, err)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// Seconds returns the time of all sessions.
func (r *Run) Seconds() float64 { return r.before + time.Since(r.started).Seconds() }

// Report writes a line of metrics.jsonl and hands it to the job's Progress.
func (r *Run) Report(m Metric) error {
	m.Seconds = r.Seconds()
	if r.progress != nil {
		r.progress(m)
	}
	if r.log == nil {
		return nil
	}
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("rl: metrics: %w", err)
	}
	if _, err := r.log.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("rl: metrics: %w", err)
	}
	return nil
}

// Checkpoint writes all state at p and removes the checkpoints before the last
// two.
func (r *Run) Checkpoint(p Progress) error {
	if r.dir == "" {
		return nil
	}
	if err := r.write(fmt.Sprintf("checkpoint-%03d.safetensors", p.Epoch), r.agent.Store, p); err != nil {
		return err
	}
	names, err := r.checkpoints()
	if err != nil {
		return err
	}
	for _, n := range names[:max(0, len(names)-2)] {
		if err := os.Remove(filepath.Join(r.dir, n)); err != nil {
			return fmt.Errorf("rl: %w", err)
		}
	}
	return nil
}

// Weights writes the store's parameters without training state: the best so
// far, or the last.
func (r *Run) Weights(best bool, store *tensor.Store, p Progress) error {
	if r.dir == "" {
		return nil
	}
	name := lastFile
	if best {
		name = bestFile
	}
	kept, err := Parameters(r.agent.Graph, store)
	if err != nil {
		return err
	}
	code, err := graph.Encode(r.agent.Graph) // a student gets its quantizers on the way
	if err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	if err := writeAll(filepath.Join(r.dir, graphFile), code); err != nil {
		return err
	}
	return r.write(name, kept, p)
}

func (r *Run) write(name string, store *tensor.Store, p Progress) error {
	meta, err := r.agent.Metadata()
	if err != nil {
		return err
	}
	position, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	meta[positionKey] = string(position)
	if err := safetensors.Write(filepath.Join(r.dir, name), store, meta); err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	return nil
}

// Finish completes the run record: best.safetensors is the result; an epoch is
// a segment, a step an update.
func (r *Run) Finish(p Progress) error {
	if r.dir == "" {
		return nil
	}
	r.record.Result.Weights = bestFile
	r.record.Result.Complete = true
	r.record.Result.Epochs, r.record.Result.Steps = p.Epoch, p.Total
	r.record.Result.Seconds = r.Seconds()
	return r.writeRecord()
}

// Close ends the log; the directory can be resumed.
func (r *Run) Close() error {
	if r.log == nil {
		return nil
	}
	err := r.log.Close()
	r.log = nil
	return err
}

func (r *Run) writeRecord() error {
	if err := atomicfile.WriteJSON(filepath.Join(r.dir, runFile), r.record); err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	return nil
}

func writeAll(path string, b []byte) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("rl: %w", err)
	}
	return nil
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func compact(b []byte) string {
	var out bytes.Buffer
	if json.Compact(&out, b) != nil {
		return string(b)
	}
	return out.String()
}
