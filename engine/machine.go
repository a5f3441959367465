package engine

import (
	"time"

	"lowbit/internal/kernel"
)

// KernelRow returns the name of the active row of kernels, such as "avx512":
// runs repeat bit for bit on one row.
func KernelRow() string { return kernel.Active().Name }

// HasBF16 reports whether the active row has products of bfloat16, which
// CompileRounded and gradients of quantized layers use.
func HasBF16() bool { return kernel.Active().BF16 }

// KernelRows returns the rows that this CPU can run, slowest first.
func KernelRows() []string {
	var names []string
	for _, t := range kernel.Rows() {
		names = append(names, t.Name)
	}
	return names
}

// UseKernelRow activates a row for the whole process and returns a function
// that restores the one before. Plans keep the row that they were compiled on.
func UseKernelRow(name string) (restore func(), err error) { return kernel.Use(name) }

// Peaks is what one thread of this machine reaches at best on the active row.
type Peaks struct {
	FP32GFLOPS float64 `json:"fp32_gflops"` // fused multiply-adds, two operations each
	U8S8GOPS   float64 `json:"u8s8_gops"`   // 8-bit products into 32-bit sums
	ReadGBs    float64 `json:"read_gbs"`    // streaming reads from memory
}

// MeasurePeaks measures them for about d.
func MeasurePeaks(d time.Duration) Peaks {
	p := kernel.MeasurePeaks(d)
	return Peaks{FP32GFLOPS: p.FP32GFLOPS, U8S8GOPS: p.U8S8GOPS, ReadGBs: p.ReadGBs}
}
