package rl

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

const fakeFlag = "-fake-worker="

// TestMain lets the test binary be its own emulator process.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], fakeFlag) {
		fakeWorker(strings.TrimPrefix(os.Args[1], fakeFlag))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakeOptions runs the fake worker in one of its modes.
func fakeOptions(mode, preset string) *AtariOptions {
	return &AtariOptions{Preset: preset, Timeout: 20 * time.Second, command: []string{os.Args[0], fakeFlag + mode}}
}

const (
	fakeHeight, fakeWidth = 210, 160
	fakeFrames            = 50 // length of a fake game
)

// fakeGame shows one even gray that tells the frame; a frame is worth 1.
type fakeGame struct {
	seed  uint32
	frame int
}

func (g *fakeGame) gray(frame int) byte { return byte(int(g.seed%16) + 4*frame) }

func (g *fakeGame) play(action, repeat byte, n int, out []byte) {
	played := 0
	over := false
	if action == restartAction {
		g.frame = 0
	} else {
		for played < int(repeat) && !over {
			g.frame++
			played++
			over = g.frame >= fakeFrames
		}
	}
	before := g.frame
	if played > 1 {
		before--
	}
	binary.LittleEndian.PutUint32(out, math.Float32bits(float32(played)))
	if over {
		out[4] = 1
	}
	binary.LittleEndian.PutUint16(out[6:], uint16(played))
	screens := out[answerHead:]
	for i := range screens {
		screens[i] = g.gray(g.frame)
	}
	if n > 1 {
		for i := range len(screens) / 2 {
			screens[i] = g.gray(before)
		}
	}
}

func fakeSend(kind byte, body []byte) {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+1))
	os.Stdout.Write(append(append(head, kind), body...))
}

func fakeReceive() (kind byte, body []byte) {
	var head [5]byte
	if _, err := io.ReadFull(os.Stdin, head[:]); err != nil {
		os.Exit(0)
	}
	body = make([]byte, binary.LittleEndian.Uint32(head[:])-1)
	io.ReadFull(os.Stdin, body)
	return head[4], body
}

// fakeHandshake answers HELLO as mode says.
func fakeHandshake(mode string, h workerHello) {
	ready := workerReady{Version: workerVersion, Height: fakeHeight, Width: fakeWidth,
		Minimal: []int{0, 1, 3}, Legal: []int{0, 1, 2, 3}, Names: []string{"NOOP", "FIRE", "UP", "RIGHT"}, MD5: "0", ALE: "fake"}
	refuse := func(kind, text string) {
		body, _ := json.Marshal(workerRefusal{kind, text})
		fakeSend(msgError, body)
		os.Exit(3)
	}
	switch mode {
	case "hang":
		time.Sleep(time.Hour)
	case "dies":
		fmt.Fprintln(os.Stderr, "cartridge slot on fire")
		os.Exit(7)
	case "chatty":
		fmt.Println("Welcome to the wonderful world of emulation!")
		time.Sleep(time.Hour)
	case "huge":
		os.Stdout.Write([]byte{0xff, 0xff, 0xff, 0x3f, msgReady})
		time.Sleep(time.Hour)
	case "json":
		fakeSend(msgReady, []byte("{"))
	case "version":
		ready.Version = 99
	case "palette":
		ready.Palette = [][5]int{{0, 0, 0, 0, -1}}
	case "colourless":
		ready.Palette = [][5]int{{255, 0, 0, 0, 0}}
	case "screen":
		ready.Height = 1 << 20
	case "package":
		refuse("package", "No module named 'ale_py'")
	case "game":
		refuse("game", "breakout, pong")
	case "refuse":
		refuse("protocol", "protocol version 1, this worker speaks 7")
	}
	if len(h.Seeds) != h.N || h.Colour == "" || h.Screens < 1 {
		refuse("protocol", "bad HELLO")
	}
	body, _ := json.Marshal(ready)
	fakeSend(msgReady, body)
}

// fakeWorker speaks the protocol; mode chooses how it fails.
func fakeWorker(mode string) {
	_, body := fakeReceive()
	var h workerHello
	if json.Unmarshal(body, &h) != nil {
		os.Exit(9)
	}
	fakeHandshake(mode, h)
	size := fakeHeight * fakeWidth
	if h.Colour == "rgb" {
		size *= 3
	}
	games := make([]fakeGame, h.N)
	for steps := 0; ; {
		kind, body := fakeReceive()
		switch kind {
		case msgReset:
			for i := range games {
				games[i] = fakeGame{seed: binary.LittleEndian.Uint32(body[4*i:])}
			}
			fakeSend(msgDone, nil)
		case msgStep:
			var out []byte
			for i := range games {
				if body[2*i+1] != 0 {
					at := len(out)
					out = append(out, make([]byte, answerHead+h.Screens*size)...)
					games[i].play(body[2*i], body[2*i+1], h.Screens, out[at:])
				}
			}
			if steps++; steps == 8 {
				fakeFailLate(mode, out)
			}
			fakeSend(msgObs, out)
		default:
			return
		}
	}
}

// fakeFailLate fails in the middle of a game.
func fakeFailLate(mode string, out []byte) {
	switch mode {
	case "late-death":
		fmt.Fprintln(os.Stderr, "power cut")
		os.Exit(1)
	case "late-hang":
		time.Sleep(time.Hour)
	case "late-short":
		fakeSend(msgObs, out[:len(out)-1])
		time.Sleep(time.Hour)
	case "late-truncated":
		os.Stdout.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(out)+1)))
		os.Exit(1)
	}
}
