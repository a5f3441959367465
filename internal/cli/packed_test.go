package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// packed exports a network of 4 bits without training and returns its run and
// the file.
func packed(t *testing.T) (run, file string) {
	t.Helper()
	fp32 := trained(t)
	run = filepath.Join(filepath.Dir(fp32), "ptq")
	file = filepath.Join(filepath.Dir(fp32), "tiny"+packedExt)
	object(t, quantizeArgs(fp32, "--method", "ptq", "--bits", "w4a4", "--out", run)...)
	v := object(t, "export", "--model", run, "--to", "packed", "--out", file)
	fields(t, v, "path", "size_bytes", "verified")
	stat, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if v["path"] != file || v["verified"] != true || number(t, v, "size_bytes") != float64(stat.Size()) {
		t.Errorf("%v, the file has %d bytes", v, stat.Size())
	}
	if labels, _ := v["labels"].([]any); len(labels) != 10 || labels[3] != "cat" {
		t.Errorf("labels %v, want CIFAR-10's", v["labels"])
	}
	wantFailure(t, 1, []string{"export", "--model", run, "--out", file}, "--force")
	wantFailure(t, 1, []string{"export", "--model", fp32, "--out", file + "2.safetensors"}, "full precision", "lowbit quantize")
	wantFailure(t, 2, []string{"export", "--model", run, "--to", "onnx", "--out", file}, `"onnx"`, "have packed")
	wantFailure(t, 2, []string{"export", "--model", run}, "--out FILE")
	return run, file
}

func TestExport(t *testing.T) {
	_, file := packed(t)
	if entries, err := filepath.Glob(file + "*"); err != nil || !slices.Equal(entries, []string{file}) {
		t.Errorf("%v, %v: a refused export left a file", entries, err)
	}
}
