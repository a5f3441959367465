package rl

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"os"
	"testing"
)

// madeScreen is the screen of peer/golden_atari_screen.py, [210, 160, 3].
func madeScreen(seed uint32) []uint8 {
	const blockH, blockW, across = 6, 8, 20
	blocks := make([]uint8, 35*across*3)
	for i := range blocks {
		seed = 1664525*seed + 1013904223
		blocks[i] = uint8(seed >> 24)
	}
	out := make([]uint8, 0, 210*160*3)
	for y := range 210 {
		for x := range 160 {
			at := (y/blockH*across + x/blockW) * 3
			out = append(out, blocks[at:at+3]...)
		}
	}
	return out
}

func unpackImage(t *testing.T, packed string, n int) []uint8 {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(packed)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	img, err := io.ReadAll(z)
	if err != nil || len(img) != n {
		t.Fatalf("%d pixels, want %d: %v", len(img), n, err)
	}
	return img
}

// pointTolerance: OpenCV drops low bits between its two axes.
const pointTolerance = 1

func TestResizersEqualTheLibraries(t *testing.T) {
	data, err := os.ReadFile("testdata/atari_screen.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Seed                        uint32
			Area, Triangle, Point, Baby string
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil || len(golden.Cases) == 0 {
		t.Fatal(len(golden.Cases), err)
	}
	for _, c := range golden.Cases {
		rgb := madeScreen(c.Seed)
		one := make([]uint8, 210*160)
		for i := range one {
			one[i] = rgb[3*i]
		}
		big, small := make([]uint8, 84*84), make([]uint8, 80*80)
		newAreaResizer(210, 160, 84).area(one, big)
		near(t, "area", big, unpackImage(t, c.Area, len(big)), 0)
		newPointResizer(210, 160, 84).point(one, big)
		near(t, "point", big, unpackImage(t, c.Point, len(big)), pointTolerance)
		newTriangleResizer(160, 160, 80).triangle(one[35*160:195*160], small)
		near(t, "triangle", small, unpackImage(t, c.Triangle, len(small)), 0)
		p, err := findPreset("baby-a3c")
		if err != nil {
			t.Fatal(err)
		}
		newScreenView(p, 210, 160).show(rgb, rgb, small)
		near(t, "baby", small, unpackImage(t, c.Baby, len(small)), 0)
	}
}

func near(t *testing.T, what string, got, want []uint8, tolerance int) {
	t.Helper()
	off, worst := 0, 0
	for i, g := range got {
		d := max(int(g)-int(want[i]), int(want[i])-int(g))
		if d > 0 {
			off++
		}
		worst = max(worst, d)
	}
	if worst > tolerance {
		t.Errorf("%s: %d of %d pixels differ, by up to %d", what, off, len(got), worst)
	}
}

// TestAreaDividesExactly holds the reciprocal against a true division with ties to
// even, for all sums that 84 x 84 can meet.
func TestAreaDividesExactly(t *testing.T) {
	r := newAreaResizer(210, 160, 84)
	if r.total != 200 { // 5/2 rows by 40/21 columns
		t.Fatalf("total weight %d, want 200", r.total)
	}
	for sum := uint64(0); sum <= 255*200+100; sum++ {
		if got, want := sum*r.inverse>>40, sum/200; got != want {
			t.Fatalf("%d/200 = %d, got %d", sum, want, got)
		}
	}
}

// TestAreaIsTheMeanOfTheArea, by its definition, for reductions of any shape.
func TestAreaIsTheMeanOfTheArea(t *testing.T) {
	rgb := madeScreen(3)
	for _, c := range []struct{ h, w, size int }{{210, 160, 84}, {160, 160, 80}, {33, 47, 10}, {20, 20, 20}, {31, 7, 5}} {
		src, got := rgb[:c.h*c.w], make([]uint8, c.size*c.size)
		newAreaResizer(c.h, c.w, c.size).area(src, got)
		for y := range c.size {
			for x := range c.size {
				// in units of 1/size of a pixel, each pixel's overlap with the cell
				sum := 0
				for r := range c.h {
					down := min((r+1)*c.size, (y+1)*c.h) - max(r*c.size, y*c.h)
					for k := range c.w {
						if across := min((k+1)*c.size, (x+1)*c.w) - max(k*c.size, x*c.w); down > 0 && across > 0 {
							sum += down * across * int(src[r*c.w+k])
						}
					}
				}
				mean := math.RoundToEven(float64(sum) / float64(c.h*c.w))
				if float64(got[y*c.size+x]) != mean {
					t.Fatalf("%+v: cell (%d, %d) is %d, want %v", c, x, y, got[y*c.size+x], mean)
				}
			}
		}
	}
}

// TestAsyncViewWeighsColours: .7152 R + .0722 G + .2126 B, of the brighter frame.
func TestAsyncViewWeighsColours(t *testing.T) {
	p, err := findPreset("async-rl")
	if err != nil {
		t.Fatal(err)
	}
	v := newScreenView(p, 210, 160)
	before, last := make([]uint8, 3*210*160), make([]uint8, 3*210*160)
	for i := range 210 * 160 {
		before[3*i], last[3*i+1], last[3*i+2] = 100, 50, 200
	}
	dst := make([]uint8, 84*84)
	v.show(before, last, dst)
	for _, got := range dst {
		if got != 117 { // 71.52 + 3.61 + 42.52 = 117.65, cut
			t.Fatalf("gray %d, want 117", got)
		}
	}
}

// rainbow is a palette of all 128 codes with colours that have nothing in common.
func rainbow() (rows [][5]int) {
	seed := uint32(5)
	for c := 0; c < 256; c += 2 {
		row := [5]int{c}
		for k := 1; k < 5; k++ {
			seed = 1664525*seed + 1013904223
			row[k] = int(seed >> 24)
		}
		rows = append(rows, row)
	}
	return rows
}

// TestSquaresOfCodesEqualThoseOfColours, while things move over screens that
// stay, flicker, and change as a whole.
func TestSquaresOfCodesEqualThoseOfColours(t *testing.T) {
	const height, width = 210, 160
	palette := rainbow()
	for _, p := range AtariPresets() {
		v, plain := newScreenView(p, height, width), newScreenView(p, height, width)
		if err := v.setPalette(palette); err != nil {
			t.Fatal(err)
		}
		form := func(codes []uint8) (out []uint8) {
			for _, c := range codes {
				row := palette[c/2]
				if p.view.colour() == "gray" {
					out = append(out, uint8(row[4]))
					continue
				}
				out = append(out, uint8(row[1]), uint8(row[2]), uint8(row[3]))
			}
			return out
		}
		q, want := v.newSquare(), make([]uint8, p.Size*p.Size)
		screens := [2][]uint8{make([]uint8, height*width), make([]uint8, height*width)}
		seed, differ := uint32(9), 0
		draw := func(n uint32) uint32 {
			seed = 1664525*seed + 1013904223
			return seed >> 8 % n
		}
		for k := range 60 {
			before, last := screens[0], screens[1]
			if k%20 == 19 {
				for i := range last {
					last[i], before[i] = uint8(draw(128)*2), uint8(draw(128)*2)
				}
			}
			for _, s := range screens { // a block of the ball's size
				y, x, c := draw(height-4), draw(width-4), uint8(draw(128)*2)
				for i := range 16 {
					s[(int(y)+i/4)*width+int(x)+i%4] = c
				}
			}
			if err := v.update(q, before, last); err != nil {
				t.Fatal(err)
			}
			plain.show(form(before), form(last), want)
			if !bytes.Equal(q.out, want) {
				t.Fatalf("%s: screen %d differs", p.Name, k)
			}
			if k > 0 && !bytes.Equal(q.out, make([]byte, len(q.out))) {
				differ++
			}
		}
		if differ == 0 {
			t.Errorf("%s: all screens are black", p.Name)
		}
		screens[1][100*width] = 7
		if err := v.update(q, screens[0], screens[1]); err == nil {
			t.Errorf("%s: a code without a colour was shown", p.Name)
		}
	}
	v := newScreenView(AtariPresets()[0], height, width)
	if err := v.setPalette([][5]int{{0, 0, 0, 0, 256}}); err == nil {
		t.Error("a palette with 256")
	}
}
