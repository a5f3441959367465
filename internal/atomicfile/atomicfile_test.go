package atomicfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func put(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", path, got, want)
	}
}

func wantEntries(t *testing.T, dir string, want int) {
	t.Helper()
	e, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(e) != want {
		t.Errorf("folder holds %v, want %d entries", e, want)
	}
}

func TestWriteCreatesAndReplaces(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "a.bin")
	big := strings.Repeat("0123456789abcdef", bufferBytes/8)
	for _, content := range []string{"one", big, "", "two"} {
		if err := Write(p, put(content)); err != nil {
			t.Fatal(err)
		}
		wantFile(t, p, content)
		wantEntries(t, dir, 1)
	}
}

func TestWriteKeepsOldFileWhenFillFails(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "a.bin")
	if err := Write(p, put("old")); err != nil {
		t.Fatal(err)
	}
	err := Write(p, func(w io.Writer) error {
		// More than the buffer, so that the temporary file holds half of it.
		if _, err := w.Write(bytes.Repeat([]byte("new"), bufferBytes)); err != nil {
			return err
		}
		return syscall.ENOSPC
	})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), p) {
		t.Errorf("error %v, want one that wraps ENOSPC and names %s", err, p)
	}
	wantFile(t, p, "old")
	wantEntries(t, dir, 1)
}

func TestWriteLeavesNothingWhenFillFails(t *testing.T) {
	dir := t.TempDir()
	cause := errors.New("no")
	if err := Write(filepath.Join(dir, "a"), func(io.Writer) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
	wantEntries(t, dir, 0)
}

func TestWriteLeavesNothingWhenFillPanics(t *testing.T) {
	dir := t.TempDir()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		Write(filepath.Join(dir, "a"), func(io.Writer) error { panic("fill") })
	}()
	wantEntries(t, dir, 0)
}

// The device that is always full gives the error of a real write.
func TestWriteReportsFullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full: run on Linux")
	}
	for _, n := range []int{1, 3 * bufferBytes} { // fails in Flush, in Write
		err := Write("/dev/full", put(strings.Repeat("x", n)))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d bytes: error %v, want ENOSPC", n, err)
		}
	}
	if info, err := os.Stat("/dev/full"); err != nil || info.Mode().IsRegular() {
		t.Error("the device was replaced by a file")
	}
}

func TestWriteKeepsModeAndLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs Unix permissions that bind: run on Linux or macOS, not as root")
	}
	dir := t.TempDir()
	p, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	if err := os.WriteFile(p, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, 0o662); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", link); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, put("new")); err != nil {
		t.Fatal(err)
	}
	wantFile(t, p, "new")
	if info, err := os.Lstat(p); err != nil || info.Mode().Perm() != 0o662 {
		t.Errorf("mode %v, want 0662", info.Mode())
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("link became %v", info.Mode())
	}
}

func TestWriteRefusesFolderAndMissingFolder(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{dir, filepath.Join(dir, "no", "a")} {
		if err := Write(p, put("x")); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("error %v, want one that names %s", err, p)
		}
	}
	wantEntries(t, dir, 0)
}
