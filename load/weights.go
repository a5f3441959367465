package load

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"lowbit/format/safetensors"
	"lowbit/format/torchzip"
	"lowbit/graph"
	"lowbit/tensor"
)

//go:embed weights
var weightFiles embed.FS

// weightTypes are the file types that hold weights by name.
var weightTypes = []string{".safetensors", ".pth", ".pt", ".th"}

func isWeights(path string) bool {
	return slices.Contains(weightTypes, strings.ToLower(filepath.Ext(path)))
}

// BuiltIn returns the names of the zoo networks whose weights are part of the
// program, sorted.
func BuiltIn() []string {
	files, err := fs.Glob(weightFiles, "weights/*.safetensors")
	if err != nil {
		return nil // the pattern is a good one
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".safetensors")
	}
	return files
}

// builtIn returns the weights that come with the program, nil if it has none.
func builtIn(name string) (*tensor.Store, map[string]string, error) {
	b, err := weightFiles.ReadFile("weights/" + name + ".safetensors")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return safetensors.Decode(b)
}

// readWeights returns all tensors of a weights file, and its metadata if the
// type has one.
func readWeights(path string) (*tensor.Store, map[string]string, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".safetensors":
		return safetensors.Read(path)
	case ".pth", ".pt", ".th":
		s, err := torchzip.Read(path)
		return s, nil, err
	}
	return nil, nil, fmt.Errorf("weights %s: want a file of type %s", path, strings.Join(weightTypes, ", "))
}

// fit returns the parameters of g out of from, as float32. Names may carry the
// prefix "module." of PyTorch's parallel wrappers. Counters of batch norms
// (num_batches_tracked) and names that skip tells are left out.
func fit(g *graph.Graph, from *tensor.Store, skip func(name string) bool) (*tensor.Store, error) {
	store := tensor.NewStore()
	var m mismatch
	var notFinite error
	for _, full := range from.Names() {
		name := strings.TrimPrefix(full, "module.")
		if skip(name) || strings.HasSuffix(name, "num_batches_tracked") {
			continue
		}
		p, t := g.ParamNode(name), from.Get(full)
		if p == nil {
			m.unexpected = append(m.unexpected, full)
			continue
		}
		if store.Get(name) != nil {
			return nil, fmt.Errorf("tensor %q is there with and without \"module.\"", name)
		}
		f, err := t.ToFloat32()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", full, err)
		}
		if err := finite(full, f.Float32s()); err != nil && notFinite == nil {
			notFinite = err
		}
		if !p.Shape().Equal(t.Shape()) {
			m.shapes = append(m.shapes, fmt.Sprintf("%s is %v, want %v", full, t.Shape(), p.Shape()))
		}
		if err := store.Put(name, f); err != nil {
			return nil, err
		}
	}
	for _, p := range g.Params() {
		if store.Get(p.Name()) == nil {
			m.missing = append(m.missing, p.Name())
		}
	}
	if err := m.err(); err != nil {
		return nil, err
	}
	return store, notFinite
}

// maxDifferences is how many names of a kind of difference a message lists.
const maxDifferences = 12

// mismatch collects all differences between a file and a network.
type mismatch struct{ missing, unexpected, shapes []string }

func (m mismatch) err() error {
	var wrong []string
	for _, w := range []struct {
		what  string
		names []string
	}{{"missing", m.missing}, {"unexpected", m.unexpected}, {"of another shape", m.shapes}} {
		if len(w.names) > 0 {
			list := strings.Join(w.names[:min(len(w.names), maxDifferences)], ", ")
			if more := len(w.names) - maxDifferences; more > 0 {
				list += fmt.Sprintf(" and %d more", more)
			}
			wrong = append(wrong, fmt.Sprintf("%d %s: %s", len(w.names), w.what, list))
		}
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%w: the tensors do not fit the network: %s", tensor.ErrShape, strings.Join(wrong, "; "))
}

func finite(name string, v []float32) error {
	for i, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("tensor %q: element %d is %g, want a finite number", name, i, x)
		}
	}
	return nil
}

// Write makes path a weights file that Model opens alone: the parameters of
// the network, its graph and its info; extra entries go into the metadata.
// Equal networks give equal bytes.
func (l *Loaded) Write(path string, extra map[string]string) error {
	meta := maps.Clone(extra)
	if meta == nil {
		meta = map[string]string{}
	}
	code, err := graph.Encode(l.Graph)
	if err != nil {
		return fmt.Errorf("load: write %s: %w", path, err)
	}
	info, err := json.Marshal(l.Info)
	if err != nil {
		return fmt.Errorf("load: write %s: %w", path, err)
	}
	meta[MetaGraph], meta[MetaInfo] = string(bytes.TrimSpace(code)), string(info)
	if l.Info.Name != "" {
		meta[MetaModel] = l.Info.Name
	}
	store := tensor.NewStore()
	for _, p := range l.Graph.Params() {
		t := l.Store.Get(p.Name())
		if t == nil {
			return fmt.Errorf("load: write %s: the store lacks %q", path, p.Name())
		}
		if err := store.Put(p.Name(), t); err != nil {
			return fmt.Errorf("load: write %s: %w", path, err)
		}
	}
	if err := safetensors.Write(path, store, meta); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	return nil
}
