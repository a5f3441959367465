//go:build !noasm && gc

package kernel

func avx2Mat(base MatOps) MatOps   { return base }
func avx512Mat(base MatOps) MatOps { return base }
