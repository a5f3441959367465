package kernel

import "time"

// peakOps are loops that do nothing but keep one part of the core busy.
type peakOps struct {
	// fma and u8s8 run n rounds of independent multiply-adds (float32; u8 times
	// s8 into i32) and return the operations of one round, two a multiply-add.
	fma, u8s8 func(n int) (opsPerRound int)
	// read reads a once, front to back.
	read func(a []float32)
}

// Peaks is what one thread reaches with the active row when nothing but the
// named unit limits it.
type Peaks struct {
	FP32GFLOPS float64 // 10^9 float32 operations a second, two a multiply-add
	U8S8GOPS   float64 // 10^9 u8*s8 operations a second into i32, two a multiply-add
	ReadGBs    float64 // 10^9 bytes a second, reading 128 MiB front to back
}

// MeasurePeaks measures each peak of the active row for about d and reports
// the best of several samples. It allocates 128 MiB for the time of the call.
func MeasurePeaks(d time.Duration) Peaks {
	p := &Active().peak
	buf := make([]float32, 32<<20)
	for i := range buf {
		buf[i] = 1
	}
	return Peaks{
		FP32GFLOPS: bestRate(d, p.fma),
		U8S8GOPS:   bestRate(d, p.u8s8),
		ReadGBs: bestRate(d, func(int) int {
			p.read(buf)
			return 4 * len(buf) / peakRounds
		}),
	}
}

// peakRounds is one sample: 0.1 to 5 ms.
const peakRounds = 100_000

// bestRate repeats samples for d and returns the best rate in 10^9/s.
func bestRate(d time.Duration, f func(n int) int) float64 {
	best := 0.0
	for start := time.Now(); ; {
		t := time.Now()
		ops := float64(f(peakRounds)) * peakRounds
		best = max(best, ops/float64(time.Since(t)))
		if time.Since(start) >= d {
			return best
		}
	}
}

func peakFMAGeneric(n int) int {
	var a [8]float32
	x, y := float32(n), float32(1)/float32(n+1)
	a0, a1, a2, a3, a4, a5, a6, a7 := x, x, x, x, x, x, x, x
	for range n {
		a0, a1, a2, a3 = float32(a0*y)+x, float32(a1*y)+x, float32(a2*y)+x, float32(a3*y)+x
		a4, a5, a6, a7 = float32(a4*y)+x, float32(a5*y)+x, float32(a6*y)+x, float32(a7*y)+x
	}
	a = [8]float32{a0, a1, a2, a3, a4, a5, a6, a7}
	peakSink(sumGeneric(a[:]))
	return 16
}

func peakU8S8Generic(n int) int {
	var u [64]uint8
	var w [64]int8
	for i := range u {
		u[i], w[i] = uint8(n+i), int8(n-i)
	}
	var acc int32
	for range n {
		for i, x := range u {
			acc += int32(x) * int32(w[i])
		}
	}
	peakSink(float32(acc))
	return 2 * len(u)
}

func readGeneric(a []float32) { peakSink(sumGeneric(a)) }

// peakSink keeps a result alive.
//
//go:noinline
func peakSink(float32) {}
