package safetensors

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"lowbit/format/formattest"
	"lowbit/tensor"
)

func writeOne(t *testing.T, path, name string, v float32, meta map[string]string) {
	t.Helper()
	s := tensor.NewStore()
	s.Put(name, tensor.Scalar(v))
	if err := Write(path, s, meta); err != nil {
		t.Fatal(err)
	}
}

func writeIndex(t *testing.T, dir, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, indexName), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestOpenFolderReadsShards(t *testing.T) {
	dir := t.TempDir()
	writeOne(t, filepath.Join(dir, "m-1.safetensors"), "a", 1, map[string]string{"format": "pt", "k": "first"})
	writeOne(t, filepath.Join(dir, "m-2.safetensors"), "b", 2, map[string]string{"format": "pt", "k": "second", "x": "y"})
	writeIndex(t, dir, `{"metadata":{"total_size":8},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors"}}`)
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.Names(), []string{"a", "b"}) {
		t.Errorf("names %q", f.Names())
	}
	if m := f.Metadata(); len(m) != 3 || m["k"] != "first" || m["x"] != "y" {
		t.Errorf("metadata %v", m)
	}
	store, err := f.Store()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float32{"a": 1, "b": 2} {
		v, err := f.Tensor(name)
		if err != nil || v.Float32s()[0] != want || store.Get(name).Float32s()[0] != want {
			t.Errorf("%s: %v, %v; want %v", name, v, err, want)
		}
		if info, ok := f.Info(name); !ok || info.DType != "F32" {
			t.Errorf("%s: %+v, %v", name, info, ok)
		}
	}
	_, err = f.Tensor("c")
	formattest.WantError(t, "c", err, dir, `"c"`)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if store.Get("b").Float32s()[0] != 2 {
		t.Error("the store did not outlive Close")
	}
}

func TestOpenFolderReadsSingleFile(t *testing.T) {
	dir := t.TempDir()
	_, err := OpenFolder(dir)
	formattest.WantError(t, "empty folder", err, filepath.Join(dir, singleName))
	writeOne(t, filepath.Join(dir, singleName), "a", 1, nil)
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, err := f.Tensor("a"); err != nil || v.Float32s()[0] != 1 {
		t.Errorf("a: %v, %v", v, err)
	}
}

func TestOpenFolderRefuses(t *testing.T) {
	dir := t.TempDir()
	writeOne(t, filepath.Join(dir, "m.safetensors"), "a", 1, nil)
	for _, c := range []struct{ text, part string }{
		{`{`, "JSON"},
		{`{}`, "weight_map"},
		{`{"weight_map":{"a":1}}`, "weight_map"},
		{`{"weight_map":{"a":"../m.safetensors"}}`, "plain file name"},
		{`{"weight_map":{"a":"/m.safetensors"}}`, "plain file name"},
		{`{"weight_map":{"a":".."}}`, "plain file name"},
		{`{"weight_map":{"a":""}}`, "plain file name"},
		{`{"weight_map":{"a":"none.safetensors"}}`, "none.safetensors"},
		{`{"weight_map":{"z":"m.safetensors"}}`, `"z"`},
	} {
		writeIndex(t, dir, c.text)
		_, err := OpenFolder(dir)
		formattest.WantError(t, c.text, err, dir, c.part)
	}
}
