package rl

import (
	"bufio"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"io"
)

// background is the colour of an empty cell; planeColours those of the channels,
// apart for the eye.
var (
	background   = color.RGBA{18, 18, 24, 255}
	planeColours = []color.RGBA{
		{86, 180, 233, 255}, {230, 159, 0, 255}, {110, 110, 120, 255}, {0, 158, 115, 255}, {213, 94, 0, 255},
		{240, 228, 66, 255}, {204, 121, 167, 255}, {0, 114, 178, 255}, {148, 203, 106, 255}, {235, 235, 235, 255},
	}
)

// maxScale bounds the pixels that one cell may take in a picture.
const maxScale = 64

// Render draws one observation, obs [ObsBytes], each cell as scale x scale
// pixels, scale 1..64. Bit planes get a colour a channel, trails below
// everything else and earlier channels above later ones; of gray frames the newest
// is drawn.
func Render(spec EnvSpec, obs []byte, scale int) (*image.Paletted, error) {
	if len(obs) != spec.ObsBytes() {
		return nil, fmt.Errorf("rl: render %s: observation of %d bytes, want %d", spec.Name, len(obs), spec.ObsBytes())
	}
	if scale < 1 || scale > maxScale {
		return nil, fmt.Errorf("rl: render %s: scale %d outside 1..%d", spec.Name, scale, maxScale)
	}
	cell := grayCells(spec, obs)
	palette := grayPalette
	if spec.Channels != nil {
		if spec.C > len(planeColours) {
			return nil, fmt.Errorf("rl: render %s: %d channels, want at most %d", spec.Name, spec.C, len(planeColours))
		}
		cell, palette = planeCells(spec, obs), planePalette
	}
	img := image.NewPaletted(image.Rect(0, 0, spec.W*scale, spec.H*scale), palette)
	for y := range spec.H * scale {
		for x := range spec.W * scale {
			img.Pix[y*img.Stride+x] = cell[y/scale*spec.W+x/scale]
		}
	}
	return img, nil
}

var (
	planePalette = func() color.Palette {
		p := color.Palette{background}
		for _, c := range planeColours {
			p = append(p, c)
		}
		return p
	}()
	grayPalette = func() color.Palette {
		p := make(color.Palette, 256)
		for v := range p {
			p[v] = color.Gray{Y: uint8(v)}
		}
		return p
	}()
)

// grayCells returns the newest frame; its values are palette indices.
func grayCells(spec EnvSpec, obs []byte) []byte {
	return obs[max(0, len(obs)-spec.H*spec.W):]
}

// planeCells returns 0 for an empty cell, else 1 + channel.
func planeCells(spec EnvSpec, obs []byte) []byte {
	n := spec.H * spec.W
	cell := make([]byte, n)
	for _, trails := range []bool{true, false} {
		for c := spec.C - 1; c >= 0; c-- {
			if isTrail(spec.Channels[c]) != trails {
				continue
			}
			for i := range n {
				e := c*n + i
				set := false
				if spec.Format == Bits {
					set = obs[e/8]>>(e%8)&1 == 1
				} else {
					set = obs[e] != 0
				}
				if set {
					cell[i] = byte(1 + c)
				}
			}
		}
	}
	return cell
}

// isTrail tells the channels that show where something was.
func isTrail(channel string) bool {
	return channel == "trail" || len(channel) == 6 && channel[:5] == "speed"
}

// WriteGIF writes frames of one size as an endless animation; delay is in
// hundredths of a second.
func WriteGIF(w io.Writer, frames []*image.Paletted, delay int) error {
	if len(frames) == 0 {
		return fmt.Errorf("rl: gif without frames")
	}
	g := &gif.GIF{}
	for i, f := range frames {
		if f.Rect != frames[0].Rect {
			return fmt.Errorf("rl: gif frame %d is %v, the first %v", i, f.Rect, frames[0].Rect)
		}
		g.Image = append(g.Image, f)
		g.Delay = append(g.Delay, delay)
	}
	return gif.EncodeAll(w, g)
}

// WriteTerminal draws img with half blocks in 24-bit colour: a character is two
// pixels, one above the other. It leaves the cursor on the line below.
func WriteTerminal(w io.Writer, img *image.Paletted) error {
	out := bufio.NewWriter(w)
	b := img.Rect
	for y := b.Min.Y; y < b.Max.Y; y += 2 {
		var upper, lower color.RGBA
		for x := b.Min.X; x < b.Max.X; x++ {
			top, low := rgb(img.At(x, y)), background
			if y+1 < b.Max.Y {
				low = rgb(img.At(x, y+1))
			}
			if x == b.Min.X || top != upper {
				fmt.Fprintf(out, "\x1b[38;2;%d;%d;%dm", top.R, top.G, top.B)
			}
			if x == b.Min.X || low != lower {
				fmt.Fprintf(out, "\x1b[48;2;%d;%d;%dm", low.R, low.G, low.B)
			}
			upper, lower = top, low
			out.WriteString("▀")
		}
		out.WriteString("\x1b[0m\n")
	}
	return out.Flush()
}

func rgb(c color.Color) color.RGBA { return color.RGBAModel.Convert(c).(color.RGBA) }
