//go:build !noasm && gc

package kernel

func avx2Vec(base VecOps) VecOps { return base }

func avx512Vec(base VecOps) VecOps { return base }
