package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"lowbit/format/safetensors"
	"lowbit/internal/atomicfile"
	"lowbit/tensor"
)

// metadataKey is where a checkpoint's position stands in its metadata.
const metadataKey = "lowbit.train"

// position is what a checkpoint holds besides tensors. It depends on nothing
// but the run's config, weights and data: no time, no machine.
type position struct {
	Epoch int `json:"epoch"` // done
	Step  int `json:"step"`  // done of the next one
	Total int `json:"total"` // steps done in all

	// The epoch in progress: examples seen, labels scored, right ones, sum of
	// losses.
	Examples int     `json:"examples"`
	Scored   int     `json:"scored"`
	Correct  int     `json:"correct"`
	LossSum  float64 `json:"loss_sum"`

	// The last complete epoch, and the held-out part; -1: not known yet.
	TrainLoss     float64 `json:"train_loss"`
	TrainAccuracy float64 `json:"train_accuracy"`
	HeldOut       float64 `json:"held_out"`
	BestHeldOut   float64 `json:"best_held_out"`
	BestEpoch     int     `json:"best_epoch"`
}

// accuracy is the share of scored labels that were right.
func (p position) accuracy() float64 { return float64(p.Correct) / float64(max(p.Scored, 1)) }

// scored counts the labels that have a loss.
func scored(labels []int32) int {
	n := 0
	for _, y := range labels {
		if y >= 0 {
			n++
		}
	}
	return n
}

func start() position { return position{HeldOut: -1, BestHeldOut: -1} }

// fileName is the checkpoint's name; names sort by position.
func (p position) fileName() string {
	if p.Step == 0 {
		return fmt.Sprintf("checkpoint-%03d.safetensors", p.Epoch)
	}
	return fmt.Sprintf("checkpoint-%03d-%05d.safetensors", p.Epoch, p.Step)
}

// meta returns the metadata of a file with the state at p.
func (p position) meta() (map[string]string, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("train: checkpoint: %w", err)
	}
	return map[string]string{metadataKey: string(b)}, nil
}

// checkpointFile is a checkpoint found in a run directory.
type checkpointFile struct {
	path        string
	epoch, step int
}

var checkpointName = regexp.MustCompile(`^checkpoint-(\d{1,9})(?:-(\d{1,9}))?\.safetensors$`)

// checkpoints lists a directory's checkpoints, the earliest first.
func checkpoints(dir string) ([]checkpointFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var cs []checkpointFile
	for _, e := range entries {
		m := checkpointName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		c := checkpointFile{path: filepath.Join(dir, e.Name())}
		c.epoch, _ = strconv.Atoi(m[1]) // digits only
		c.step, _ = strconv.Atoi(m[2])  // 0 without
		cs = append(cs, c)
	}
	slices.SortFunc(cs, func(a, b checkpointFile) int {
		return cmpPosition(a.epoch, a.step, b.epoch, b.step)
	})
	return cs, nil
}

func cmpPosition(epochA, stepA, epochB, stepB int) int {
	if epochA != epochB {
		return epochA - epochB
	}
	return stepA - stepB
}

// writeCheckpoint writes the named tensors of a store and p, then removes all
// but the last keep checkpoints up to p: the new one is complete before an old
// one goes.
func writeCheckpoint(dir string, store *tensor.Store, names []string, p position, keep int) error {
	meta, err := p.meta()
	if err != nil {
		return err
	}
	if err := writeTensors(filepath.Join(dir, p.fileName()), store, names, meta); err != nil {
		return err
	}
	cs, err := checkpoints(dir)
	if err != nil {
		return err
	}
	cs = slices.DeleteFunc(cs, func(c checkpointFile) bool { return cmpPosition(c.epoch, c.step, p.Epoch, p.Step) > 0 })
	for _, c := range cs[:max(0, len(cs)-keep)] {
		if err := os.Remove(c.path); err != nil {
			return fmt.Errorf("train: old checkpoint: %w", err)
		}
	}
	return nil
}

func writeTensors(path string, store *tensor.Store, names []string, meta map[string]string) error {
	part := tensor.NewStore()
	for _, n := range names {
		t := store.Get(n)
		if t == nil {
			return fmt.Errorf("train: write %s: the store lacks %q", path, n)
		}
		if err := part.Put(n, t); err != nil {
			return fmt.Errorf("train: write %s: %w", path, err)
		}
	}
	if err := safetensors.Write(path, part, meta); err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}

// readCheckpoint returns a checkpoint's tensors and position.
func readCheckpoint(path string) (*tensor.Store, position, error) {
	var p position
	store, meta, err := safetensors.Read(path)
	if err != nil {
		return nil, p, fmt.Errorf("train: %w", err)
	}
	text, ok := meta[metadataKey]
	if !ok {
		return nil, p, fmt.Errorf("train: %s: no %q in its metadata, want a checkpoint", path, metadataKey)
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return nil, p, fmt.Errorf("train: %s: metadata %q: %w", path, metadataKey, err)
	}
	if p.Epoch < 0 || p.Step < 0 || p.Total < 0 {
		return nil, p, fmt.Errorf("train: %s: position %+v, want no negative counts", path, p)
	}
	return store, p, nil
}

// latest returns the last checkpoint that can be read, telling warn about
// those that cannot; a nil store if there is none.
func latest(dir string, warn func(string)) (*tensor.Store, position, error) {
	cs, err := checkpoints(dir)
	if err != nil {
		return nil, start(), err
	}
	for _, c := range slices.Backward(cs) {
		store, p, err := readCheckpoint(c.path)
		if err == nil {
			return store, p, nil
		}
		warn(fmt.Sprintf("checkpoint left out: %v", err))
	}
	return nil, start(), nil
}

// restore copies a checkpoint's tensors into a store.
func restore(store, from *tensor.Store) error {
	for _, n := range from.Names() {
		if err := store.Put(n, from.Get(n)); err != nil {
			return fmt.Errorf("train: checkpoint: %w", err)
		}
	}
	return nil
}

// linkOrCopy makes to another name of the file from, or a copy where the file
// system has no links. to holds its old content or the whole new one.
func linkOrCopy(from, to string) error {
	temporary := to + ".link"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("train: %w", err)
	}
	if err := os.Link(from, temporary); err == nil {
		if err := os.Rename(temporary, to); err != nil {
			return fmt.Errorf("train: %w", err)
		}
		// Renaming one name of a file over another leaves both.
		if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("train: %w", err)
		}
		return nil
	}
	f, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	defer f.Close()
	err = atomicfile.Write(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	return nil
}
