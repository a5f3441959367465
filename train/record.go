package train

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
	"slices"
	"time"

	"lowbit/internal/atomicfile"
)

// Names in a run directory.
const (
	lockName    = ".lock"
	recordName  = "run.json"
	graphName   = "graph.json"
	metricsName = "metrics.jsonl"
	lastName    = "last.safetensors"
	bestName    = "best.safetensors"
	averageName = "ema.safetensors"
)

// recordVersion is the layout of run.json.
const recordVersion = 1

// Record is run.json.
type Record struct {
	Version int      `json:"version"`
	Model   string   `json:"model,omitempty"`
	Method  string   `json:"method,omitempty"`
	Command []string `json:"command,omitempty"`
	Config  Config   `json:"config"`
	// Settings is the method's own resolved config.
	Settings json.RawMessage `json:"settings,omitempty"`
	Identity Identity        `json:"identity"`
	// Classes are the names of the data's classes, that of class i at i.
	Classes  []string          `json:"classes,omitempty"`
	Versions map[string]string `json:"versions"`
	// Sessions are the starts of the run: the first, and each resume.
	Sessions []Session `json:"sessions"`
	Result   Result    `json:"result"`
}

// Identity is what the run works on.
type Identity struct {
	GraphSHA256   string `json:"graph_sha256"`
	TrainData     string `json:"train_data"` // name, part, examples
	LabelsSHA256  string `json:"labels_sha256"`
	Teacher       string `json:"teacher,omitempty"`
	TeacherSHA256 string `json:"teacher_sha256,omitempty"`
}

// Session is one start of a run.
type Session struct {
	Started time.Time `json:"started"` // UTC
	Kernel  string    `json:"kernel"`
	Machine Machine   `json:"machine"`
	Threads int       `json:"threads"`
}

// ReadRecord reads a run directory's run.json.
func ReadRecord(dir string) (Record, error) {
	var r Record
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if err != nil {
		return r, fmt.Errorf("train: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("train: %s: %w", filepath.Join(dir, recordName), err)
	}
	if r.Version != recordVersion {
		return r, fmt.Errorf("train: %s: version %d, want %d", filepath.Join(dir, recordName), r.Version, recordVersion)
	}
	return r, nil
}

func (r Record) write(dir string) error {
	if err := atomicfile.WriteJSON(filepath.Join(dir, recordName), r); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

func writeBytes(path string, b []byte) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// matches returns an error that names the first difference that would change
// the result of going on with old as r.
func (r Record) matches(old Record) error {
	for _, d := range []struct {
		what      string
		have, was any
	}{{"config", r.Config, old.Config}, {"identity", r.Identity, old.Identity}} {
		have, err := tree(d.have)
		if err != nil {
			return err
		}
		was, err := tree(d.was)
		if err != nil {
			return err
		}
		if key, a, b := difference(d.what, have, was); key != "" {
			return fmt.Errorf("train: %w stands in the directory: %s is %v here, %v there", ErrMismatch, key, a, b)
		}
	}
	return nil
}

func tree(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("train: run record: %w", err)
	}
	var t any
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("train: run record: %w", err)
	}
	return t, nil
}

// difference returns the dotted path of the first difference of two JSON
// values, and both sides.
func difference(path string, a, b any) (key string, x, y any) {
	ma, okA := a.(map[string]any)
	mb, okB := b.(map[string]any)
	if !okA || !okB {
		if reflect.DeepEqual(a, b) {
			return "", nil, nil
		}
		return path, a, b
	}
	var keys []string
	for k := range ma {
		keys = append(keys, k)
	}
	for k := range mb {
		if _, ok := ma[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if key, x, y = difference(path+"."+k, ma[k], mb[k]); key != "" {
			return key, x, y
		}
	}
	return "", nil, nil
}

// Metric is a line of metrics.jsonl. What does not apply is absent.
type Metric struct {
	// Kind is "step", "epoch" or "test".
	Kind string `json:"kind"`
	// Epoch and Step are those in progress or, for an epoch's line, the number
	// of epochs done; Step counts over all epochs.
	Epoch    int      `json:"epoch"`
	Step     int      `json:"step"`
	LR       float64  `json:"lr,omitempty"`
	Loss     float64  `json:"loss"`
	Accuracy float64  `json:"accuracy"`
	GradNorm *float64 `json:"grad_norm,omitempty"`
	HeldOut  *float64 `json:"held_out,omitempty"`
	// HeldOutLoss is the loss there.
	HeldOutLoss *float64 `json:"held_out_loss,omitempty"`
	// Seconds is the run's time so far, EngineSeconds that in training plans.
	Seconds       float64 `json:"seconds"`
	EngineSeconds float64 `json:"engine_seconds"`
	ImagesPerS    float64 `json:"images_per_s,omitempty"`
}

// ReadMetrics returns the lines of a run directory's metrics.jsonl; a last
// line that was cut off is left out.
func ReadMetrics(dir string) ([]Metric, error) {
	b, err := os.ReadFile(filepath.Join(dir, metricsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var ms []Metric
	for line := range bytes.Lines(b) {
		var m Metric
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if err := json.Unmarshal(line, &m); err != nil {
			return nil, fmt.Errorf("train: %s line %d: %w", filepath.Join(dir, metricsName), len(ms)+1, err)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// trimMetrics rewrites metrics.jsonl without lines later than a step, and
// returns the last line that stays.
func trimMetrics(dir string, step int) (Metric, error) {
	ms, err := ReadMetrics(dir)
	if err != nil {
		return Metric{}, err
	}
	ms = slices.DeleteFunc(ms, func(m Metric) bool { return m.Step > step })
	var last Metric
	var b bytes.Buffer
	for _, m := range ms {
		last = m
		line, err := json.Marshal(m)
		if err != nil {
			return last, fmt.Errorf("train: metrics: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	return last, writeBytes(filepath.Join(dir, metricsName), b.Bytes())
}

// temporary is what a killed atomic write of one of a run's files leaves.
var temporary = regexp.MustCompile(`^\.(run\.json|graph\.json|metrics\.jsonl|[a-z0-9-]+\.safetensors)\.[0-9a-f]{8}\.tmp$`)

// removeFiles removes the entries of a directory that are chosen by name.
func removeFiles(dir string, chosen func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	for _, e := range entries {
		if chosen(e.Name()) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("train: %w", err)
			}
		}
	}
	return nil
}

// ofRun reports whether a file is one that a run writes.
func ofRun(name string) bool {
	own := []string{recordName, graphName, metricsName, lastName, bestName, averageName}
	return slices.Contains(own, name) || checkpointName.MatchString(name) || temporary.MatchString(name)
}
