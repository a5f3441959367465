//go:build unix

package claim

import (
	"fmt"
	"os"
	"syscall"
)

// Take claims the file path, which is made if it is missing and stays empty. It
// returns ErrHeld, wrapped with the path, if another holder has it, in this
// process or another.
func Take(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if err == syscall.EWOULDBLOCK {
			return nil, fmt.Errorf("claim: %s: %w", path, ErrHeld)
		}
		return nil, fmt.Errorf("claim: %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
