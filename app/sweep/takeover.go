package sweep

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"lowbit/train"
)

// takeOver writes what an earlier result found and measured into the directory,
// as far as it is not there, so that the sweep goes on from it. A result of
// another network, checkpoint, data or recipe is ErrMismatch.
func (s *sweep) takeOver() error {
	sum, err := s.identity().sum()
	if err != nil {
		return err
	}
	s.result.Identity = sum
	if s.From == nil {
		return nil
	}
	if s.From.Identity != sum {
		return fmt.Errorf("sweep: the earlier result %w: its identity is %.12q, want %.12q: the same network, checkpoint, data and recipes", ErrMismatch, s.From.Identity, sum)
	}
	for _, sc := range s.From.Scored {
		if !known(sc.Method) {
			return fmt.Errorf("sweep: the earlier result: method %q is not known", sc.Method)
		}
		if err := sc.Gains.Check(s.problem); err != nil {
			return fmt.Errorf("sweep: the earlier result: %s: %w", sc.Method, err)
		}
		if err := writeNew(s.gainsPath(sc), sc); err != nil {
			return err
		}
	}
	for _, p := range s.From.Points {
		if !p.Done {
			continue
		}
		if !runName.MatchString(p.Run) || !(p.Accuracy >= 0 && p.Accuracy <= 1) {
			return fmt.Errorf("sweep: the earlier result: %s at %g, seed %d: run %q of accuracy %g, want such as 0123456789ab-s1 and 0 to 1", p.Method, p.Budget, p.Seed, p.Run, p.Accuracy)
		}
		r := train.Result{Accuracy: p.Accuracy, Loss: p.Loss, Seconds: p.Seconds, Epochs: s.LSQ.Epochs, Complete: true}
		if err := writeNew(s.recordPath(p), r); err != nil {
			return err
		}
	}
	return nil
}

// runName is the form of Point.Run: a plan's key and a seed.
var runName = regexp.MustCompile(`^[0-9a-f]{12}-s[0-9]{1,20}$`)

// sum is a checksum of the identity.
func (id identity) sum() (string, error) {
	b, err := json.Marshal(id)
	if err != nil {
		return "", fmt.Errorf("sweep: %w", err)
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:]), nil
}

// writeNew writes a file that is not there yet.
func writeNew(path string, v any) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeJSON(path, v)
}

// LoadResult reads an earlier result: the folder of a sweep, its points.json, or
// a file with such an object as "result".
func LoadResult(path string) (*Result, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return Load(path)
	}
	var file struct {
		Recorded *Result `json:"result"`
		Result
	}
	found, err := readJSON(path, &file)
	if err == nil && !found {
		err = fmt.Errorf("sweep: %s: no such file, want the result of a sweep", path)
	}
	if err != nil {
		return nil, err
	}
	r := file.Recorded
	if r == nil {
		r = &file.Result
	}
	if len(r.Points) == 0 {
		return nil, fmt.Errorf("sweep: %s: no points, want the result of a sweep", filepath.Base(path))
	}
	return r, nil
}
