// Package atomicfile replaces files so that a reader, a crash or a full disk
// never meets half of one: the path holds the old content or the whole new
// content.
package atomicfile

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
)

// bufferBytes is the size of the writes that reach the disk.
const bufferBytes = 1 << 20

// Write calls fill with a buffered writer and makes path hold what fill wrote.
//
// The bytes go to a temporary name in the same folder, are synced to the disk,
// and take the name path by a rename; then the folder is synced. An existing
// file keeps its permissions, and a symbolic link keeps pointing where it did.
// If fill or any step fails (a full disk is the usual case) path is as it was
// and the temporary file is gone; the error names path and wraps the cause.
//
// A path that exists and is neither a file nor a link to one (a pipe, a
// device) is written straight through, since replacing it would destroy it.
func Write(path string, fill func(io.Writer) error) error {
	if err := write(path, fill); err != nil {
		return fmt.Errorf("atomicfile: write %s: %w", path, err)
	}
	return nil
}

// WriteJSON makes path hold v as indented JSON, as Write does.
func WriteJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("atomicfile: write %s: %w", path, err)
	}
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

func write(path string, fill func(io.Writer) error) (err error) {
	if target, e := filepath.EvalSymlinks(path); e == nil {
		path = target
	}
	mode, keepMode := fs.FileMode(0o666), false
	if info, e := os.Stat(path); e == nil {
		switch {
		case info.IsDir():
			return errors.New("it is a folder, want a file")
		case !info.Mode().IsRegular():
			return writeThrough(path, fill)
		}
		mode, keepMode = info.Mode().Perm(), true
	}
	f, err := createBeside(path, mode)
	if err != nil {
		return err
	}
	renamed := false
	defer func() { // also when fill panics
		if !renamed {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if keepMode { // the umask has cut the mode at creation
		if err := f.Chmod(mode); err != nil && runtime.GOOS != "windows" {
			return err
		}
	}
	if err := fillBuffered(f, fill); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	renamed = true
	return syncFolder(filepath.Dir(path))
}

func fillBuffered(f *os.File, fill func(io.Writer) error) error {
	w := bufio.NewWriterSize(f, bufferBytes)
	if err := fill(w); err != nil {
		return err
	}
	return w.Flush()
}

func writeThrough(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if err := fillBuffered(f, fill); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// createBeside opens a new file under a free name in path's folder.
func createBeside(path string, mode fs.FileMode) (*os.File, error) {
	dir, base := filepath.Split(path)
	var err error
	for range 1000 {
		name := fmt.Sprintf("%s.%s.%08x.tmp", dir, base, rand.Uint32())
		var f *os.File
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
	return nil, err
}

// syncFolder makes a rename durable. Windows has no such call.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}
