package mixed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"lowbit/mixed/claim"
	"lowbit/quant"
	"lowbit/tensor"
)

// ErrMismatch is wrapped by the error for a directory that holds other work.
var ErrMismatch = errors.New("holds other work")

// Trial is one short training of the network at some widths.
type Trial struct {
	// Key names it in the directory: letters, digits, - and _.
	Key  string        `json:"key"`
	Plan quant.BitPlan `json:"plan"`
	Seed uint64        `json:"seed"` // of the order of the data
}

// TrialRunner does trials. dir is a directory of the trial's own where it may
// leave checkpoints to go on from after it was killed; empty: none.
type TrialRunner interface {
	Trial(ctx context.Context, t Trial, dir string) (Metrics, error)
	// Identity is what decides the metrics besides the Trial, as a value with
	// a JSON form.
	Identity() any
}

// trialRecord is the file of a trial that is done.
type trialRecord struct {
	Trial   Trial   `json:"trial"`
	Metrics Metrics `json:"metrics"`
}

// identityName is the file that says what the trials of a directory share.
const identityName = "trials.json"

// RunTrials does all trials and returns their metrics in order. With a
// directory each result is kept there: a trial that is done is not done again,
// and several processes with the same directory share the work, each claiming
// one trial at a time; all return when the last is done. progress, if not nil,
// is told how many are done.
//
// Errors: the trials' own, an ended context, and ErrMismatch if the directory
// holds trials of another identity, or others under the same keys.
func RunTrials(ctx context.Context, dir string, trials []Trial, r TrialRunner, progress func(done, all int)) ([]Metrics, error) {
	if progress == nil {
		progress = func(int, int) {}
	}
	w := trialWork{dir: dir, runner: r, results: make([]*Metrics, len(trials))}
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	for done := 0; done < len(trials); {
		before := done
		for i, t := range trials {
			if w.results[i] != nil {
				continue
			}
			if ctx.Err() != nil {
				return nil, fmt.Errorf("mixed: trial %s: %w", t.Key, context.Cause(ctx))
			}
			m, err := w.attempt(ctx, t)
			if errors.Is(err, claim.ErrHeld) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("mixed: trial %s: %w", t.Key, err)
			}
			w.results[i] = &m
			done++
			progress(done, len(trials))
		}
		if done == before { // the rest is in other hands
			if err := claim.Wait(ctx); err != nil {
				return nil, fmt.Errorf("mixed: %w", err)
			}
		}
	}
	ms := make([]Metrics, len(trials))
	for i, m := range w.results {
		ms[i] = *m
	}
	return ms, nil
}

type trialWork struct {
	dir     string
	runner  TrialRunner
	results []*Metrics
}

// open makes the directory, or compares what it holds.
func (w trialWork) open(ctx context.Context) error {
	if w.dir == "" {
		return nil
	}
	if err := os.MkdirAll(w.dir, 0o777); err != nil {
		return fmt.Errorf("mixed: %w", err)
	}
	release, err := claim.TakeWaiting(ctx, filepath.Join(w.dir, ".lock")) // while another process writes the identity
	if err != nil {
		return fmt.Errorf("mixed: %w", err)
	}
	defer release()
	path := filepath.Join(w.dir, identityName)
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeJSON(path, w.runner.Identity())
	}
	if err != nil {
		return fmt.Errorf("mixed: %w", err)
	}
	same, err := sameJSON(old, w.runner.Identity())
	if err != nil {
		return fmt.Errorf("mixed: %s: %w", path, err)
	}
	if !same {
		return fmt.Errorf("mixed: %s %w: its %s is of another network, checkpoint, data or recipe", w.dir, ErrMismatch, identityName)
	}
	return nil
}

// sameJSON reports whether text is the JSON form of v.
func sameJSON(text []byte, v any) (bool, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	var x, y any
	if err := json.Unmarshal(text, &x); err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, &y); err != nil {
		return false, err
	}
	return reflect.DeepEqual(x, y), nil
}

// attempt returns a trial's metrics: those on record, or new ones. It returns
// claim.ErrHeld if another process is at it.
func (w trialWork) attempt(ctx context.Context, t Trial) (Metrics, error) {
	if w.dir == "" {
		return w.runner.Trial(ctx, t, "")
	}
	path := filepath.Join(w.dir, t.Key+".json")
	if m, ok, err := readTrial(path, t); ok || err != nil {
		return m, err
	}
	release, err := claim.Take(filepath.Join(w.dir, t.Key+".lock"))
	if err != nil {
		return Metrics{}, err
	}
	defer release()
	if m, ok, err := readTrial(path, t); ok || err != nil { // done in between
		return m, err
	}
	work := filepath.Join(w.dir, t.Key)
	m, err := w.runner.Trial(ctx, t, work)
	if err != nil {
		return m, err
	}
	if err := writeJSON(path, trialRecord{t, m}); err != nil {
		return m, err
	}
	return m, os.RemoveAll(work)
}

func readTrial(path string, t Trial) (m Metrics, ok bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	var r trialRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return m, false, fmt.Errorf("%s: %w", path, err)
	}
	same, err := sameTrial(r.Trial, t)
	if err != nil || !same {
		return m, false, errors.Join(err, fmt.Errorf("%s %w: other bits or another seed", path, ErrMismatch))
	}
	return r.Metrics, true, nil
}

func sameTrial(a, b Trial) (bool, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	return sameJSON(text, b)
}

// Checksum identifies the contents of a store.
func Checksum(s *tensor.Store) string {
	h := sha256.New()
	for _, n := range s.Names() {
		fmt.Fprintf(h, "%s %v\n", n, s.Get(n))
		h.Write(s.Get(n).Bytes())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TrialSeconds adds up the wall time of trials.
func TrialSeconds(ms []Metrics) float64 {
	sum := 0.0
	for _, m := range ms {
		sum += m.Seconds
	}
	return sum
}

// PlanKey is a short name of a bit plan, equal for equal plans.
func PlanKey(p quant.BitPlan) (string, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("mixed: %w", err)
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:6]), nil
}
