//go:build !unix

package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// lock takes the directory for this run until the returned function is called.
// A killed run leaves the lock file behind; the error says what to do.
func lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("train: %s: %w (if none runs, remove %s)", dir, ErrLocked, path)
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return func() { f.Close(); os.Remove(path) }, nil
}
