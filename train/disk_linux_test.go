package train

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"lowbit/tensor"
)

// smallDisk mounts a file system of that many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a small file system: %v (run as root to test a full disk)", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space that is left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

// TestFullDiskKeepsTheLastCheckpoint: the disk fills up in the second epoch. The
// run stops with an error that says so and names the file; the first epoch's
// checkpoint is as it was, nothing half-written lies beside it, and with space
// again the run ends with the bytes of an unbroken one.
func TestFullDiskKeepsTheLastCheckpoint(t *testing.T) {
	c, j := tinyConfig(), job(t, 1, netOptions{quantized: true})
	whole := filepath.Join(t.TempDir(), "whole")
	j.Out = whole
	mustRun(t, c, j)

	disk := smallDisk(t, "1m")
	filler := filepath.Join(disk, "filler")
	j.Out, j.Resume, j.Store = filepath.Join(disk, "run"), true, tensor.NewStore()
	var before []byte
	j.Hooks.AfterStep = func(s StepInfo) error {
		if s.Step != 10 {
			return nil
		}
		cs := mustCheckpoints(t, j.Out)
		b, err := os.ReadFile(cs[len(cs)-1].path)
		before = b
		fill(t, filler)
		return err
	}
	_, err := Run(context.Background(), c, j)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), j.Out) {
		t.Fatalf("a full disk: %v, want ENOSPC and a path in %s", err, j.Out)
	}
	cs := mustCheckpoints(t, j.Out)
	after, err := os.ReadFile(cs[len(cs)-1].path)
	if err != nil || !bytes.Equal(after, before) {
		t.Errorf("the last checkpoint has changed: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(j.Out, ".*.tmp")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	j.Hooks.AfterStep, j.Store = nil, tensor.NewStore()
	mustRun(t, c, j)
	if digest(t, j.Out, lastName) != digest(t, whole, lastName) {
		t.Error("a run that met a full disk ends with other bytes")
	}
}

func mustCheckpoints(t *testing.T, dir string) []checkpointFile {
	t.Helper()
	cs, err := checkpoints(dir)
	if err != nil || len(cs) == 0 {
		t.Fatalf("checkpoints of %s: %v, %v", dir, cs, err)
	}
	return cs
}
