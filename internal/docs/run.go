package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"lowbit/app/quantize"
	"lowbit/load"
	"lowbit/train"
)

// keep makes a record of a finished run directory: its config and settings, the
// method's own numbers, and what came out.
func keep(args []string) error {
	r, args, err := begin(args)
	if err != nil || len(args) != 1 {
		return fmt.Errorf("keep: want NAME [-group G] RUN: %v", err)
	}
	run, err := train.ReadRecord(args[0])
	if err != nil {
		return err
	}
	r.Command, r.Seconds = portable(run.Command), run.Result.Seconds
	r.Commit, r.Changed = commit()
	if n := len(run.Sessions); n > 0 {
		r.Date = run.Sessions[n-1].Started.Format("2006-01-02T15:04:05Z")
		r.Machine = run.Sessions[n-1].Machine
	}
	type session struct {
		Kernel  string  `json:"kernel"`
		Threads int     `json:"threads"`
		Load    float64 `json:"load"`
	}
	var sessions []session
	for _, s := range run.Sessions {
		sessions = append(sessions, session{s.Kernel, s.Threads, s.Machine.Load})
	}
	result := map[string]any{
		"model": run.Model, "method": run.Method, "seed": run.Config.Seed, "epochs": run.Result.Epochs,
		"of_epochs": run.Config.Epochs, "accuracy": run.Result.Accuracy, "top5": run.Result.Top5, "loss": run.Result.Loss,
		"standard_error": run.Result.StandardError, "examples": run.Result.Examples, "complete": run.Result.Complete,
		"weights": run.Result.Weights, "config": run.Config, "settings": run.Settings, "teacher": run.Identity.Teacher,
		"sessions": sessions, "versions": run.Versions,
	}
	if err := addLanguage(result, args[0]); err != nil {
		return err
	}
	if r.Result, err = json.Marshal(result); err != nil {
		return err
	}
	return r.write()
}

// addLanguage adds what a quantized language model's run measured.
func addLanguage(result map[string]any, dir string) error {
	o, err := quantize.ReadLanguage(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && o.FP32Perplexity == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range []string{"accuracy", "top5", "examples"} {
		delete(result, name)
	}
	o.Layers, o.Config, o.InputOutliers = nil, nil, nil
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	delete(result, "model") // the outcome names the file it began with
	if err := json.Unmarshal(b, &result); err != nil {
		return err
	}
	for _, name := range []string{"layers", "config", "run"} {
		delete(result, name)
	}
	return nil
}

// weights makes a run's weights those that the program carries for a network.
func weights(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("weights: want NAME RUN")
	}
	name, dir := args[0], args[1]
	run, err := train.ReadRecord(dir)
	if err != nil {
		return err
	}
	if !run.Result.Complete {
		return fmt.Errorf("weights: %s: the run is not complete", dir)
	}
	l, err := load.Model(dir, load.Options{})
	if err != nil {
		return err
	}
	return l.Write(filepath.Join("load", "weights", name+".safetensors"), map[string]string{
		"origin":    fmt.Sprintf("%s; seed %d; record train-%s in docs/results", strings.Join(portable(run.Command), " "), run.Config.Seed, name),
		"license":   "Apache-2.0",
		"fp32_top1": fmt.Sprintf("%.4f", run.Result.Accuracy),
	})
}
