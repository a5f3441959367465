package neuro_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"lowbit/neuro"
)

// BenchmarkTick is one tick of a pipelined network, a random frame entering
// each tick; it reports microseconds for each core that had work.
func BenchmarkTick(b *testing.B) {
	for _, size := range []struct {
		name string
		net  func(*rand.Rand) *neuro.Net
	}{{"minatar", minatarNet}, {"atari", atariNet}} {
		for _, threads := range []int{1, 2} {
			b.Run("net="+size.name+"/threads="+strconv.Itoa(threads), func(b *testing.B) {
				r := rand.New(rand.NewPCG(3, 0))
				net := size.net(r)
				sim, err := neuro.NewSimulator(mustMap(b, net), threads)
				if err != nil {
					b.Fatal(err)
				}
				defer sim.Close()
				frames := randomFrames(r, net, 16)
				b.ReportAllocs()
				i := 0
				start := time.Now()
				for b.Loop() {
					if _, err := sim.Step(frames[i%len(frames)]); err != nil {
						b.Fatal(err)
					}
					i++
				}
				e := sim.Events()
				seconds := time.Since(start).Seconds()
				b.ReportMetric(seconds*1e6/float64(e.CoreTicks), "us/core-tick")
				b.ReportMetric(float64(e.Synaptic)/seconds, "synaptic-events/s")
			})
		}
	}
}

// BenchmarkPlay is real time: 10 s an iteration of the 84x84 net at 60 frames a
// second on one thread, each frame alone through all its ticks. With
// -benchtime 60x it is ten minutes.
func BenchmarkPlay(b *testing.B) {
	r := rand.New(rand.NewPCG(3, 0))
	net := atariNet(r)
	sim, err := neuro.NewSimulator(mustMap(b, net), 1)
	if err != nil {
		b.Fatal(err)
	}
	frames := randomFrames(r, net, 16)
	missed, worst := 0, time.Duration(0)
	for b.Loop() {
		t, err := sim.Play(context.Background(), neuro.Pace{Hz: 60, Frames: 600},
			func(i int, bits []byte) error { copy(bits, frames[i%16]); return nil }, func(int, int, []int32) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		missed, worst = missed+t.Missed, max(worst, t.Worst)
		b.ReportMetric(float64(t.Median.Microseconds())/1e3, "ms-p50") // of the last 10 s
		b.ReportMetric(float64(t.P99.Microseconds())/1e3, "ms-p99")
	}
	b.ReportMetric(float64(missed), "missed")
	b.ReportMetric(float64(worst.Microseconds())/1e3, "ms-worst")
}

// BenchmarkMap is the mapper alone.
func BenchmarkMap(b *testing.B) {
	net := atariNet(rand.New(rand.NewPCG(3, 0)))
	for b.Loop() {
		mustMap(b, net)
	}
}
