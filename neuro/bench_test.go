package neuro_test

import (
	"math/rand/v2"
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
			b.Run("net="+size.name+"/threads="+string(rune('0'+threads)), func(b *testing.B) {
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

// BenchmarkMap is the mapper alone.
func BenchmarkMap(b *testing.B) {
	net := atariNet(rand.New(rand.NewPCG(3, 0)))
	for b.Loop() {
		mustMap(b, net)
	}
}
