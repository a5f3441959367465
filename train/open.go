package train

import (
	"fmt"
	"os"
	"path/filepath"

	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
)

// Open reads a run directory: the inference graph, the weights (those that the
// run reports or, before its end, those of the last checkpoint) without
// optimizer state, and the record.
func Open(dir string) (*graph.Graph, *tensor.Store, Record, error) {
	rec, err := ReadRecord(dir)
	if err != nil {
		return nil, nil, rec, err
	}
	code, err := os.ReadFile(filepath.Join(dir, graphName))
	if err != nil {
		return nil, nil, rec, fmt.Errorf("train: %w", err)
	}
	g, err := graph.Decode(code)
	if err != nil {
		return nil, nil, rec, fmt.Errorf("train: %s: %w", filepath.Join(dir, graphName), err)
	}
	all, err := weightsOf(dir, rec)
	if err != nil {
		return nil, nil, rec, err
	}
	store := tensor.NewStore()
	for _, n := range all.Names() {
		if optim.IsState(n) {
			continue
		}
		if err := store.Put(n, all.Get(n)); err != nil {
			return nil, nil, rec, fmt.Errorf("train: %s: %w", dir, err)
		}
	}
	return g, store, rec, nil
}

func weightsOf(dir string, rec Record) (*tensor.Store, error) {
	if rec.Result.Complete {
		if rec.Result.Weights != filepath.Base(rec.Result.Weights) {
			return nil, fmt.Errorf("train: %s: weights %q, want a file name", dir, rec.Result.Weights)
		}
		store, _, err := readCheckpoint(filepath.Join(dir, rec.Result.Weights))
		return store, err
	}
	var lost string
	store, _, err := latest(dir, func(m string) { lost = "; " + m })
	if err == nil && store == nil {
		err = fmt.Errorf("train: %s: no checkpoint that can be read%s", dir, lost)
	}
	return store, err
}
