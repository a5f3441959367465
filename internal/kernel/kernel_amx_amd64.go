//go:build !linux && !noasm && gc

package kernel

// hasTiles: other systems than Linux are not asked for AMX.
func hasTiles() bool { return false }
