//go:build !amd64 || noasm || !gc

package kernel

// rows has one row where there is no assembly.
func rows() []Table { return []Table{genericRow()} }
