package data

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/rng"
)

// synthetic returns n random images with labels i%classes.
func synthetic(tb testing.TB, n, channels, h, w int) *Dataset {
	tb.Helper()
	s := rng.New(99)
	pixels := make([]uint8, n*channels*h*w)
	for i := range pixels {
		pixels[i] = uint8(s.Uint32())
	}
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = int32(i % 10)
	}
	d, err := New("synthetic", "train", cifarClasses, channels, h, w, pixels, labels)
	if err != nil {
		tb.Fatal(err)
	}
	d.Normalize = Normalization{Mean: ImageNet.Mean[:channels], Std: ImageNet.Std[:channels]}
	return d
}

// digest is a checksum of everything a batch says.
func digest(b *Batch) string {
	h := sha256.New()
	fmt.Fprint(h, b.Epoch, b.Step, b.Last, b.Index, b.Images.Shape(), b.Labels.Shape())
	binary.Write(h, binary.LittleEndian, b.Images.Float32s())
	binary.Write(h, binary.LittleEndian, b.Labels.Int32s())
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func collect(t *testing.T, ds *Dataset, cfg LoaderConfig, epoch, step, n int) []string {
	t.Helper()
	l, err := NewLoader(ds, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Seek(epoch, step); err != nil {
		t.Fatal(err)
	}
	var out []string
	for range n {
		b, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, digest(b))
	}
	return out
}

func TestLoaderBitsDoNotDependOnWorkersOrStart(t *testing.T) {
	ds := synthetic(t, 103, 3, 32, 32)
	for _, drop := range []bool{false, true} {
		cfg := LoaderConfig{Batch: 10, Seed: 7, Shuffle: true, Augment: CIFARAugment, DropLast: drop, Workers: 1}
		steps := 11
		if drop {
			steps = 10
		}
		want := collect(t, ds, cfg, 0, 0, 5*steps)
		if slices.Equal(want[:steps], want[steps:2*steps]) {
			t.Fatal("two epochs are the same")
		}
		for _, c := range []struct{ workers, ahead int }{{1, 1}, {2, 1}, {3, 9}, {8, 0}, {16, 2}} {
			cfg.Workers, cfg.Ahead = c.workers, c.ahead
			if got := collect(t, ds, cfg, 0, 0, 5*steps); !slices.Equal(got, want) {
				t.Errorf("drop %v: %d workers, %d ahead: other batches than one worker's", drop, c.workers, c.ahead)
			}
			for _, at := range []int{1, steps - 1, steps, 2*steps + 3} {
				if got := collect(t, ds, cfg, at/steps, at%steps, 5*steps-at); !slices.Equal(got, want[at:]) {
					t.Errorf("drop %v: %d workers: resuming at batch %d gives other batches", drop, c.workers, at)
				}
			}
		}
	}
}

func TestLoaderSeeksWhileRunning(t *testing.T) {
	ds := synthetic(t, 50, 1, 8, 8)
	cfg := LoaderConfig{Batch: 8, Seed: 3, Shuffle: true, Augment: Augment{Pad: 2}, Workers: 3}
	want := collect(t, ds, cfg, 0, 0, 21)
	l, err := NewLoader(ds, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, at := range []int{0, 5, 20, 6, 6, 13, 14, 0} {
		if err := l.Seek(at/7, at%7); err != nil {
			t.Fatal(err)
		}
		b, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got := digest(b); got != want[at] {
			t.Errorf("batch %d after a seek differs", at)
		}
	}
	l.Close() // and can go on
	b, err := l.Next()
	if err != nil || digest(b) != want[1] {
		t.Errorf("after Close: %v, want batch 1", err)
	}
	i := 7
	for b, err := range l.Epoch(1, 0) {
		if err != nil || digest(b) != want[i] {
			t.Fatalf("Epoch: batch %d: %v", i, err)
		}
		i++
	}
	if i != 14 {
		t.Errorf("Epoch gave %d batches, want 7", i-7)
	}
	for _, bad := range [][2]int{{-1, 0}, {0, -1}, {0, 8}} {
		if err := l.Seek(bad[0], bad[1]); err == nil {
			t.Errorf("seek to %v did not fail", bad)
		}
	}
	for _, err := range l.Epoch(0, 9) {
		if err == nil {
			t.Error("Epoch from step 9 of 7 did not fail")
		}
	}
}

func TestLoaderVisitsEachExampleOncePerEpoch(t *testing.T) {
	ds := synthetic(t, 103, 1, 4, 4)
	l, err := NewLoader(ds, LoaderConfig{Batch: 10, Shuffle: true, Epochs: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var orders [3][]int32
	for {
		b, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := b.Images.Shape()[0]; n != len(b.Index) || b.Labels.Len() != n || b.Last != (b.Step == 10) || b.Last != (n == 3) {
			t.Fatalf("epoch %d step %d: %d images, %d labels, last %v", b.Epoch, b.Step, n, b.Labels.Len(), b.Last)
		}
		for i, e := range b.Index {
			if b.Labels.Int32s()[i] != ds.Label(int(e)) {
				t.Fatalf("example %d has another label in its batch", e)
			}
		}
		orders[b.Epoch] = append(orders[b.Epoch], b.Index...)
	}
	if slices.Equal(orders[0], orders[1]) || slices.Equal(orders[1], orders[2]) {
		t.Error("two epochs have the same order")
	}
	for e, o := range orders {
		slices.Sort(o)
		for i, v := range o {
			if int(v) != i || len(o) != 103 {
				t.Fatalf("epoch %d: example %d missing or twice (%d in all)", e, i, len(o))
			}
		}
	}
	if _, err := l.Next(); err != io.EOF {
		t.Errorf("after the last epoch: %v, want io.EOF", err)
	}
}

func TestLoaderWithoutShuffleKeepsOrderAndValues(t *testing.T) {
	ds := synthetic(t, 25, 3, 5, 7)
	l, err := NewLoader(ds, LoaderConfig{Batch: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	next := int32(0)
	for b, err := range l.Epoch(0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		x := b.Images.Float32s()
		for i, e := range b.Index {
			if e != next {
				t.Fatalf("example %d, want %d", e, next)
			}
			next++
			src, _ := ds.Pixels(int(e), nil)
			for j, p := range src {
				c := j / 35
				want := (float32(p)/255 - ImageNet.Mean[c]) / ImageNet.Std[c]
				if got := x[i*105+j]; got != want {
					t.Fatalf("example %d value %d = %v, want %v", e, j, got, want)
				}
			}
		}
	}
}

// The reference pads, crops and mirrors by the definition, one pixel at a
// time.
func TestAugmentEqualsPadCropMirror(t *testing.T) {
	const h, w, pad = 6, 5, 4
	ds := synthetic(t, 1, 3, h, w)
	src, _ := ds.Pixels(0, nil)
	table := ImageNet.table()
	got := make([]float32, 3*h*w)
	for dy := -pad; dy <= pad; dy++ {
		for dx := -pad - 1; dx <= pad+1; dx++ { // +-5: the window misses the image
			for _, flip := range []bool{false, true} {
				for i := range got {
					got[i] = float32(math.NaN())
				}
				move{dy, dx, flip}.apply(got, src, table, h, w)
				for i, v := range got {
					c, y, x := i/(h*w), i/w%h, i%w
					if flip {
						x = w - 1 - x
					}
					p := uint8(0)
					if y, x := y+dy, x+dx; y >= 0 && y < h && x >= 0 && x < w {
						p = src[(c*h+y)*w+x]
					}
					if v != table[c][p] {
						t.Fatalf("dy %d dx %d flip %v: value %d = %v, want %v", dy, dx, flip, i, v, table[c][p])
					}
				}
			}
		}
	}
}

func TestAugmentDrawsEveryPlaceAlike(t *testing.T) {
	const n = 81 * 2 * 200
	count := map[move]int{}
	for e := range n {
		count[CIFARAugment.draw(5, e/1000, e%1000)]++
	}
	if len(count) != 162 {
		t.Fatalf("%d of 162 moves came", len(count))
	}
	for m, c := range count { // sd = 14
		if c < 200-85 || c > 200+85 {
			t.Errorf("%v came %d times, want about 200", m, c)
		}
	}
	if m := (Augment{}).draw(1, 2, 3); m != (move{}) {
		t.Errorf("no augmentation moves by %v", m)
	}
}

func TestLoaderRefusesBadConfigs(t *testing.T) {
	ds := synthetic(t, 20, 3, 4, 4)
	gray := Normalization{Mean: []float32{0}, Std: []float32{1}}
	nan := float32(math.NaN())
	for _, c := range []struct {
		cfg  LoaderConfig
		want string
	}{
		{LoaderConfig{}, "batch 0"},
		{LoaderConfig{Batch: -3}, "batch -3"},
		{LoaderConfig{Batch: 21, DropLast: true}, "no full batch"},
		{LoaderConfig{Batch: 2, Workers: -1}, "-1 workers"},
		{LoaderConfig{Batch: 2, Ahead: -1}, "-1 batches ahead"},
		{LoaderConfig{Batch: 2, Epochs: -1}, "-1 epochs"},
		{LoaderConfig{Batch: 2, Augment: Augment{Pad: -1}}, "pad -1"},
		{LoaderConfig{Batch: 2, Augment: Augment{Pad: 5}}, "pad 5"},
		{LoaderConfig{Batch: 2, Norm: gray}, "1 means"},
		{LoaderConfig{Batch: 2, Norm: Normalization{Mean: ImageNet.Mean, Std: []float32{1, 0, 1}}}, "channel 1"},
		{LoaderConfig{Batch: 2, Norm: Normalization{Mean: []float32{0, 0, nan}, Std: ImageNet.Std}}, "channel 2"},
	} {
		if _, err := NewLoader(ds, c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.cfg, err, c.want)
		}
	}
	empty, err := New("empty", "test", cifarClasses, 3, 4, 4, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewLoader(empty, LoaderConfig{Batch: 1}); err == nil {
		t.Error("an empty dataset was taken")
	}
	if l, err := NewLoader(ds, LoaderConfig{Batch: 50}); err != nil || l.Steps() != 1 {
		t.Errorf("a batch larger than the dataset: %v", err)
	}
}

// A worker that is held up between claiming a batch and filling it must not
// lose its buffer to one that claims a later batch.
func TestLoaderKeepsOrderUnderManyWorkers(t *testing.T) {
	ds := synthetic(t, 64, 1, 1, 1)
	l, err := NewLoader(ds, LoaderConfig{Batch: 1, Workers: 16, Ahead: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 100_000 {
		b, err := l.Next()
		if err != nil {
			t.Fatal(err)
		}
		if b.Epoch != i/64 || b.Step != i%64 || b.Index[0] != int32(i%64) {
			t.Fatalf("batch %d is epoch %d step %d example %d", i, b.Epoch, b.Step, b.Index[0])
		}
	}
}

func TestLoaderReportsUndecodableImagesAndGoesOn(t *testing.T) {
	ds := synthetic(t, 12, 1, 2, 2)
	mem := *ds
	broken := errors.New("data: 7.png: damaged")
	ds.decode = func(i int, dst []uint8) error {
		if i == 7 {
			return broken
		}
		copy(dst, mem.pixels[i*4:])
		return nil
	}
	for _, workers := range []int{1, 4} {
		l, err := NewLoader(ds, LoaderConfig{Batch: 4, Workers: workers, Epochs: 1})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			b, err := l.Next()
			if (i == 1) != errors.Is(err, broken) {
				t.Errorf("batch %d: error %v", i, err)
			}
			if err == nil && b.Step != i {
				t.Errorf("batch %d: step %d", i, b.Step)
			}
		}
		l.Close()
	}
}

func TestLoaderSteadyStateAllocatesNothing(t *testing.T) {
	ds := synthetic(t, 256, 3, 32, 32)
	l, err := NewLoader(ds, LoaderConfig{Batch: 60, Shuffle: true, Augment: CIFARAugment, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	next := func() {
		if _, err := l.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		next()
	}
	if n := testing.AllocsPerRun(50, next); n != 0 {
		t.Errorf("%v allocations a batch, want 0", n)
	}
}

func BenchmarkLoader(b *testing.B) {
	ds := synthetic(b, 5000, 3, 32, 32)
	for _, augment := range []Augment{{}, CIFARAugment} {
		b.Run(fmt.Sprintf("pad=%d/flip=%v/workers=1", augment.Pad, augment.Flip), func(b *testing.B) {
			l, err := NewLoader(ds, LoaderConfig{Batch: 128, Shuffle: true, Augment: augment, Workers: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Next(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*128/b.Elapsed().Seconds(), "images/s")
		})
	}
}
