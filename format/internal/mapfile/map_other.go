//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package mapfile

import (
	"errors"
	"os"
)

func mapBytes(*os.File, int) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapBytes([]byte) error { return nil }
