package rl

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"lowbit/format/safetensors"
	"lowbit/graph"
	"lowbit/optim"
	"lowbit/tensor"
)

// Parameters returns a copy of the parameters of g in a store.
func Parameters(g *graph.Graph, store *tensor.Store) (*tensor.Store, error) {
	kept := tensor.NewStore()
	for _, n := range g.Params() {
		t := store.Get(n.Name())
		if t == nil {
			return nil, fmt.Errorf("rl: the store lacks parameter %q", n.Name())
		}
		if err := kept.Put(n.Name(), t.Clone()); err != nil {
			return nil, fmt.Errorf("rl: %w", err)
		}
	}
	return kept, nil
}

// OpenRun reads the agent of a run directory: its best weights, or the last
// checkpoint's if it has not ended.
func OpenRun(dir string) (*Agent, error) {
	path := filepath.Join(dir, bestFile)
	if _, err := os.Stat(path); err != nil {
		names, err := (&Run{dir: dir}).checkpoints()
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("rl: %s: neither %s nor a checkpoint, want a policy's run directory", dir, bestFile)
		}
		path = filepath.Join(dir, names[len(names)-1])
	}
	return openWeights(path)
}

// openWeights reads a weights file that says which agent it is.
func openWeights(path string) (*Agent, error) {
	store, meta, err := safetensors.Read(path)
	if err != nil {
		return nil, fmt.Errorf("rl: %w", err)
	}
	if meta[metaAgent] == "" {
		return importAtari(path, store, meta)
	}
	a := &Agent{Store: tensor.NewStore()}
	if err := json.Unmarshal([]byte(meta[metaAgent]), &a.Info); err != nil {
		return nil, fmt.Errorf("rl: %s: metadata %q: %w", path, metaAgent, err)
	}
	if a.Graph, err = graph.Decode([]byte(meta["lowbit.graph"])); err != nil {
		return nil, fmt.Errorf("rl: %s: %w", path, err)
	}
	for _, n := range store.Names() {
		if optim.IsState(n) {
			continue
		}
		if err := a.Store.Put(n, store.Get(n)); err != nil {
			return nil, fmt.Errorf("rl: %s: %w", path, err)
		}
	}
	if err := a.Check(); err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	return a, nil
}
