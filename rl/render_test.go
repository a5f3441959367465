package rl

import (
	"bytes"
	"fmt"
	"image"
	"image/gif"
	"strings"
	"testing"
)

// TestRenderShowsTheBoard: Breakout's start has 30 bricks, a paddle, and the
// ball over its own trail.
func TestRenderShowsTheBoard(t *testing.T) {
	for _, f := range []Format{Bytes, Bits} {
		w := open(t, "minatar/breakout", Options{Format: f})
		w.reset(t, 1)
		img, err := Render(w.Spec(), w.obs, 3)
		if err != nil {
			t.Fatal(err)
		}
		if img.Rect != image.Rect(0, 0, 30, 30) {
			t.Fatal(img.Rect)
		}
		count := map[uint8]int{}
		for _, p := range img.Pix {
			count[p]++
		}
		// the ball starts at y = 3, over a brick and over its own trail
		if count[4] != 29*9 || count[1] != 9 || count[2] != 9 || count[3] != 0 {
			t.Errorf("format %d: cells by colour %v", f, count)
		}
		if img.ColorIndexAt(4*3, 9*3) != 1 {
			t.Error("the paddle is not at (4, 9)")
		}
	}
}

func TestGIFKeepsFrames(t *testing.T) {
	w := open(t, "minatar/seaquest", Options{})
	w.reset(t, 1)
	var frames []*image.Paletted
	p := NewRandom(6, 1)
	for range 30 {
		img, err := Render(w.Spec(), w.obs, 2)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, img)
		p.Act(nil, nil, w.act)
		w.step(t)
	}
	var file bytes.Buffer
	if err := WriteGIF(&file, frames, 5); err != nil {
		t.Fatal(err)
	}
	back, err := gif.DecodeAll(&file)
	if err != nil || len(back.Image) != 30 || back.Delay[3] != 5 {
		t.Fatal(err)
	}
	for i, f := range back.Image {
		for k, p := range f.Pix {
			if f.Palette[p] != frames[i].Palette[frames[i].Pix[k]] {
				t.Fatalf("frame %d, pixel %d: %v", i, k, f.Palette[p])
			}
		}
	}
	if err := WriteGIF(&file, nil, 5); err == nil {
		t.Error("a GIF of nothing")
	}
	small := image.NewPaletted(image.Rect(0, 0, 3, 3), planePalette)
	if err := WriteGIF(&file, []*image.Paletted{frames[0], small}, 5); err == nil {
		t.Error("frames of two sizes")
	}
}

func TestTerminalHalvesTheHeight(t *testing.T) {
	img := image.NewPaletted(image.Rect(0, 0, 2, 3), planePalette)
	img.SetColorIndex(1, 0, 1)
	var out strings.Builder
	if err := WriteTerminal(&out, img); err != nil {
		t.Fatal(err)
	}
	b, c := background, planeColours[0]
	fg := func(r, g, b uint8) string { return fmt.Sprintf("\x1b[38;2;%d;%d;%dm", r, g, b) }
	bg := strings.Replace(fg(b.R, b.G, b.B), "[38", "[48", 1)
	want := fg(b.R, b.G, b.B) + bg + "▀" + fg(c.R, c.G, c.B) + "▀\x1b[0m\n" + fg(b.R, b.G, b.B) + bg + "▀▀\x1b[0m\n"
	if out.String() != want {
		t.Errorf("%q\n%q", out.String(), want)
	}
}

func TestRenderRefusesWhatDoesNotFit(t *testing.T) {
	spec := open(t, "minatar/freeway", Options{}).Spec()
	if _, err := Render(spec, make([]byte, 3), 1); err == nil {
		t.Error("three bytes")
	}
	if _, err := Render(spec, make([]byte, spec.ObsBytes()), 0); err == nil {
		t.Error("scale 0")
	}
	gray := EnvSpec{C: 2, H: 2, W: 2}
	img, err := Render(gray, []byte{1, 2, 3, 4, 5, 6, 7, 8}, 1)
	if err != nil || !bytes.Equal(img.Pix, []byte{5, 6, 7, 8}) {
		t.Errorf("newest frame: %v %v", img, err)
	}
}
