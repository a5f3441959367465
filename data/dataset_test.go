package data

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"slices"
	"strings"
	"testing"
)

func sha256Hex(tb testing.TB, file string) string {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func TestNewChecksSizesAndLabels(t *testing.T) {
	for _, c := range []struct {
		channels, h, w, pixels int
		labels                 []int32
		want                   string
	}{
		{0, 2, 2, 0, nil, "0x2x2"},
		{1, 2, -1, 0, nil, "1x2x-1"},
		{1, 2, 2, 7, []int32{0, 0}, "7 pixel bytes for 2 images of 1x2x2, want 8"},
		{1, 2, 2, 8, []int32{0, 10}, "label 10 of image 1, want 0..9"},
		{1, 2, 2, 8, []int32{-1, 0}, "label -1 of image 0"},
	} {
		if _, err := New("x", "train", cifarClasses, c.channels, c.h, c.w, make([]uint8, c.pixels), c.labels); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

func examples(t *testing.T, d *Dataset) []int {
	t.Helper()
	var out []int
	for i := range d.Len() {
		p, err := d.Pixels(i, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, int(p[0])<<8|int(p[1]))
		if d.Label(i) != int32(out[i]%10) {
			t.Fatalf("example %d: label %d with another's pixels", out[i], d.Label(i))
		}
	}
	return out
}

// numbered is n images that say their number, which is also their label's.
func numbered(t *testing.T, n int) *Dataset {
	t.Helper()
	var pixels []uint8
	var labels []int32
	for i := range n {
		pixels = append(pixels, uint8(i>>8), uint8(i))
		labels = append(labels, int32(i%10))
	}
	d, err := New("numbered", "train", cifarClasses, 1, 1, 2, pixels, labels)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestLimitTakesTheFirst(t *testing.T) {
	d := numbered(t, 20)
	for n, want := range map[int]int{-1: 20, 0: 20, 1: 1, 19: 19, 20: 20, 99: 20} {
		got := examples(t, d.Limit(n))
		if len(got) != want || got[0] != 0 || got[want-1] != want-1 {
			t.Errorf("Limit(%d) = %v", n, got)
		}
	}
}

func TestHoldOutSplitsByTheSeed(t *testing.T) {
	d := numbered(t, 1000)
	kept, held, err := d.HoldOut(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	k, h := examples(t, kept), examples(t, held)
	if len(k) != 900 || len(h) != 100 || !slices.IsSorted(k) || !slices.IsSorted(h) {
		t.Fatalf("%d kept, %d held", len(k), len(h))
	}
	all := slices.Sorted(slices.Values(slices.Concat(k, h)))
	for i, v := range all {
		if i != v {
			t.Fatal("the two parts are not the whole")
		}
	}
	if kept.Split != "train-kept" || held.Split != "train-heldout" {
		t.Errorf("splits %q and %q", kept.Split, held.Split)
	}
	_, again, _ := d.HoldOut(100, 1)
	_, other, _ := d.HoldOut(100, 2)
	if !slices.Equal(examples(t, again), h) || slices.Equal(examples(t, other), h) {
		t.Error("the split is not a function of the seed")
	}
	// Of a view: the examples are the view's.
	_, sub, err := held.HoldOut(10, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range examples(t, sub) {
		if !slices.Contains(h, v) {
			t.Errorf("example %d is not of the part it was drawn from", v)
		}
	}
	if got := examples(t, held.Limit(7)); !slices.Equal(got, h[:7]) {
		t.Errorf("Limit of a view = %v", got)
	}
	for _, n := range []int{0, 1000} {
		k, h, err := d.HoldOut(n, 1)
		if err != nil || k.Len() != 1000-n || h.Len() != n {
			t.Errorf("HoldOut(%d): %v", n, err)
		}
	}
	for _, n := range []int{-1, 1001} {
		if _, _, err := d.HoldOut(n, 1); err == nil {
			t.Errorf("HoldOut(%d) did not fail", n)
		}
	}
}
