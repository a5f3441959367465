//go:build unix

package train

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock takes the directory for this run until the returned function is called
// or the process ends, however it ends.
func lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("train: %s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("train: lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
