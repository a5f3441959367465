//go:build !noasm && gc

package kernel

import (
	"sync"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// hasTiles reports whether this process may use AMX on bytes. Linux gives a
// process the registers when it asks for them.
var hasTiles = sync.OnceValue(func() bool {
	const requestPermission, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	x := &cpu.X86
	if !x.HasAMXTile || !x.HasAMXInt8 || !x.HasAVX512VBMI || !x.HasAVX512GFNI {
		return false
	}
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0)
	return errno == 0
})
