package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lowbit/mixed"
	"lowbit/train"
)

// A sweep whose folder is gone goes on from its result in a new one: seeds are
// added, nothing is done twice, and all is as if it had been done at once.
func TestSweepGoesOnFromItsResult(t *testing.T) {
	c, job := small(t, filepath.Join(t.TempDir(), "old"))
	c.Methods, c.Budgets, c.Seeds = []string{"alps", "random"}, []float64{0.7}, []uint64{1, 2}
	old, err := Run(context.Background(), c, job, nil)
	if err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(t.TempDir(), "record.json")
	if err := writeJSON(record, map[string]any{"name": "x", "result": old}); err != nil {
		t.Fatal(err)
	}
	c.Seeds = []uint64{1, 2, 3}
	whole, err := Run(context.Background(), c, withOut(job, filepath.Join(t.TempDir(), "whole")), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{record, filepath.Join(job.Out, resultName), job.Out} {
		if c.From, err = LoadResult(path); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "new")
		got, err := Run(context.Background(), c, withOut(job, dir), func(p Progress) {
			if p.Scoring && p.Method == "alps" || !p.Scoring && p.Seed < 3 {
				t.Errorf("done again: %+v", p)
			}
		})
		if err != nil || !reflect.DeepEqual(unclocked(got), unclocked(whole)) {
			t.Errorf("from %s: %+v, %v, want %+v", filepath.Base(path), got, err, whole)
		}
	}
	for want, change := range map[string]func(c *Config, j *train.Job, r *Result){
		"holds something else": func(c *Config, _ *train.Job, _ *Result) { c.LSQ.LR *= 2 },
		"identity is":          func(_ *Config, _ *train.Job, r *Result) { r.Identity = "" },
		"its identity":         func(_ *Config, j *train.Job, _ *Result) { j.Train = j.Train.Limit(100) },
		"no weights to keep":   func(c *Config, _ *train.Job, _ *Result) { c.KeepWeights = true },
		`run "../x"`:           func(_ *Config, _ *train.Job, r *Result) { r.Points[0].Run = "../x" },
		"accuracy 2":           func(_ *Config, _ *train.Job, r *Result) { r.Points[0].Accuracy = 2 },
		`"../y" is not known`:  func(_ *Config, _ *train.Job, r *Result) { r.Scored[0].Method = "../y" },
		"alps":                 func(_ *Config, _ *train.Job, r *Result) { r.Scored[0].Gains.Values = [][]float64{{0, math.NaN()}} },
	} {
		c, j, from := c, withOut(job, filepath.Join(t.TempDir(), "bad")), *old
		from.Points, from.Scored = slices.Clone(old.Points), slices.Clone(old.Scored)
		change(&c, &j, &from)
		c.From = &from
		if _, err := Run(context.Background(), c, j, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if _, err := Run(context.Background(), func() Config { c := c; c.Base.Batch /= 2; return c }(), withOut(job, filepath.Join(t.TempDir(), "batch")), nil); !errors.Is(err, ErrMismatch) {
		t.Errorf("another batch: %v", err)
	}
}

func TestLoadResultRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"empty.json": "{}", "broken.json": "{", "list.json": "[]", "other.json": `{"result": {"accuracy": 1}}`} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadResult(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "none.json")} {
		if _, err := LoadResult(path); err == nil {
			t.Errorf("%s holds a result", path)
		}
	}
}

// The checksum of an identity changes with each part of it.
func TestIdentityCountsEverything(t *testing.T) {
	id := identity{Version: 1, Widths: mixed.Square(2, 4)}
	first, err := id.sum()
	if err != nil {
		t.Fatal(err)
	}
	for i := range reflect.TypeOf(id).NumField() {
		other := id
		f := reflect.ValueOf(&other).Elem().Field(i)
		switch name := reflect.TypeOf(id).Field(i).Name; name {
		case "Version":
			f.SetInt(2)
		case "Widths":
			other.Widths = mixed.Square(2, 3)
		case "LSQ":
			other.LSQ.LR = 1
		case "Base":
			other.Base.Batch = 3
		case "Scoring":
			other.Scoring.ALPS.HoldOut = 3
		default:
			f.SetString("other")
		}
		b, err := json.Marshal(other)
		if err != nil {
			t.Fatal(err)
		}
		if sum, err := other.sum(); err != nil || sum == first {
			t.Errorf("%s: the same checksum, %v", b, err)
		}
	}
}
