//go:build !unix

package claim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Take claims the file path by making it. It returns ErrHeld, wrapped with the
// path, if it exists; a killed holder leaves it behind, to be removed by hand.
func Take(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("claim: %s: %w (if none runs, remove the file)", path, ErrHeld)
	}
	if err != nil {
		return nil, fmt.Errorf("claim: %w", err)
	}
	return func() { f.Close(); os.Remove(path) }, nil
}
