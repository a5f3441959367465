package claim

import (
	"fmt"
	"syscall"
)

// sharingViolation is what opening a file gives that another handle holds for
// itself.
const sharingViolation = syscall.Errno(32)

// Take claims the file path, which is made if it is missing and stays empty. It
// returns ErrHeld, wrapped with the path, if another holder has it, in this
// process or another. The handle shares nothing, and ends with its process.
func Take(path string) (release func(), err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, fmt.Errorf("claim: %s: %w", path, err)
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if err == sharingViolation {
		return nil, fmt.Errorf("claim: %s: %w", path, ErrHeld)
	}
	if err != nil {
		return nil, fmt.Errorf("claim: %s: %w", path, err)
	}
	return func() { syscall.CloseHandle(h) }, nil
}
