package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lowbit/tensor"
)

// The names under which a model folder keeps its weights: one file, or an
// index that says which of several files holds which tensor.
const (
	singleName = "model.safetensors"
	indexName  = "model.safetensors.index.json"
)

// maxIndexBytes bounds the index; those of the largest public models have a
// few MB.
const maxIndexBytes = 100_000_000

// Folder is a model folder whose tensors lie in one or several files.
type Folder struct {
	dir   string
	files []*File          // sorted by path
	of    map[string]*File // by tensor name
}

// OpenFolder opens the files that dir/model.safetensors.index.json names, or
// dir/model.safetensors if there is no index. The caller closes it.
//
// It is an error if the index names a file outside dir, or a tensor that its
// file lacks. Tensors that the index leaves out are left out.
func OpenFolder(dir string) (*Folder, error) {
	f := &Folder{dir: dir, of: map[string]*File{}}
	err := f.open()
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *Folder) open() error {
	path := filepath.Join(f.dir, indexName)
	weightMap, err := readIndex(path)
	if errors.Is(err, fs.ErrNotExist) {
		one, err := Open(filepath.Join(f.dir, singleName))
		if err != nil {
			return err
		}
		f.files = []*File{one}
		for name := range one.entries {
			f.of[name] = one
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	shards := map[string]*File{}
	for _, name := range slices.Sorted(maps.Keys(weightMap)) {
		shard := weightMap[name]
		if shard != filepath.Base(shard) || !filepath.IsLocal(shard) {
			return fmt.Errorf("safetensors: %s: tensor %q: file %q, want a plain file name", path, name, shard)
		}
		if shards[shard] == nil {
			s, err := Open(filepath.Join(f.dir, shard))
			if err != nil {
				return err
			}
			shards[shard] = s
			f.files = append(f.files, s)
		}
		if _, ok := shards[shard].entries[name]; !ok {
			return fmt.Errorf("safetensors: %s: tensor %q: %w in %s", path, name, ErrNotFound, shard)
		}
		f.of[name] = shards[shard]
	}
	slices.SortFunc(f.files, func(a, b *File) int { return strings.Compare(a.path, b.path) })
	return nil
}

func readIndex(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxIndexBytes {
		return nil, fmt.Errorf("index of %d bytes, want at most %d", info.Size(), maxIndexBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, err
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("no weight_map, want one that gives each tensor's file")
	}
	return index.WeightMap, nil
}

// Names returns the names of all tensors, sorted.
func (f *Folder) Names() []string { return slices.Sorted(maps.Keys(f.of)) }

// Metadata returns the metadata of all files together; for a key with several
// values that of the first file in the order of names counts.
func (f *Folder) Metadata() map[string]string {
	m := map[string]string{}
	for _, file := range slices.Backward(f.files) {
		maps.Copy(m, file.metadata)
	}
	return m
}

// Info describes a tensor as File.Info does.
func (f *Folder) Info(name string) (Info, bool) {
	if file := f.of[name]; file != nil {
		return file.Info(name)
	}
	return Info{}, false
}

// Tensor returns a tensor as File.Tensor does.
func (f *Folder) Tensor(name string) (*tensor.Tensor, error) {
	if file := f.of[name]; file != nil {
		return file.Tensor(name)
	}
	return nil, fmt.Errorf("safetensors: %s: tensor %q: %w", f.dir, name, ErrNotFound)
}

// Store returns copies of all tensors. They outlive Close.
func (f *Folder) Store() (*tensor.Store, error) {
	s := tensor.NewStore()
	for name := range f.of {
		t, err := f.Tensor(name)
		if err != nil {
			return nil, err
		}
		if err := s.Put(name, t.Clone()); err != nil {
			return nil, fmt.Errorf("safetensors: %s: tensor %q: %w", f.dir, name, err)
		}
	}
	return s, nil
}

// Close closes all files, as File.Close does.
func (f *Folder) Close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	f.files, f.of = nil, nil
	return errors.Join(errs...)
}
