package rl

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"testing"
)

// goldenGame is one file of peer/golden_minatar.py.
type goldenGame struct {
	Tool  string
	Every int
	Cases []goldenCase
}

type goldenCase struct {
	Game       string
	Seed       uint32
	Sticky     float64
	Ramp       bool
	Steps      int
	LCG        uint32
	Weights    []int32
	Actions    string
	BestReturn int `json:"best_return"`
	Marks      []string
}

// actions returns the recorded actions, or makes those of the generator.
func (c *goldenCase) actions(t *testing.T) []int32 {
	t.Helper()
	acts := make([]int32, 0, c.Steps)
	if c.Actions == "" {
		for x := c.LCG; len(acts) < c.Steps; {
			x = 1664525*x + 1013904223
			acts = append(acts, c.Weights[int(x>>16)%len(c.Weights)])
		}
		return acts
	}
	packed, err := base64.StdEncoding.DecodeString(c.Actions)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil || len(raw) != c.Steps {
		t.Fatalf("%d actions, want %d: %v", len(raw), c.Steps, err)
	}
	for _, a := range raw {
		acts = append(acts, int32(a))
	}
	return acts
}

func readGolden(t *testing.T, game string) goldenGame {
	t.Helper()
	data, err := os.ReadFile("testdata/minatar_" + game + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenGame
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Cases) == 0 || g.Every == 0 {
		t.Fatalf("%s: no cases", game)
	}
	return g
}

// replay opens one board whose draws come from numpy's generator.
func replay(t *testing.T, c *goldenCase, f Format) (*minatar, []byte) {
	t.Helper()
	env, err := newMinAtar(c.Game, Options{Envs: 1, Format: f, MinAtar: &MinAtarOptions{Sticky: c.Sticky, Ramp: c.Ramp}})
	if err != nil {
		t.Fatal(err)
	}
	e := env.(*minatar)
	e.dice[0].feed = newTwister(c.Seed)
	obs := make([]byte, e.obsBytes)
	if err := e.Reset(0, obs); err != nil {
		t.Fatal(err)
	}
	return e, obs
}

// TestMinAtarEqualsThePackage replays every recorded game: each observation,
// reward and episode end must be the package's, bit for bit.
func TestMinAtarEqualsThePackage(t *testing.T) {
	for _, info := range minatarGames {
		golden := readGolden(t, info.name)
		for k := range golden.Cases {
			c := &golden.Cases[k]
			t.Run(fmt.Sprintf("%s/seed=%d/sticky=%v/ramp=%v", c.Game, c.Seed, c.Sticky, c.Ramp), func(t *testing.T) {
				checkCase(t, c, golden.Every)
			})
		}
	}
}

func checkCase(t *testing.T, c *goldenCase, every int) {
	e, obs := replay(t, c, Bits)
	rew, done, trunc := make([]float32, 1), make([]bool, 1), make([]bool, 1)
	crc := crc32.ChecksumIEEE(obs)
	total, episodes, best, ret := 0, 0, 0, 0
	tail := make([]byte, 2)
	acts := c.actions(t)
	for n := range acts {
		if err := e.Step(acts[n:n+1], obs, rew, done, trunc); err != nil {
			t.Fatal(err)
		}
		total += int(rew[0])
		ret += int(rew[0])
		tail[0], tail[1] = byte(int8(rew[0])), 0
		if done[0] {
			tail[1] = 1
			episodes++
			best, ret = max(best, ret), 0
		}
		crc = crc32.Update(crc32.Update(crc, crc32.IEEETable, obs), crc32.IEEETable, tail)
		if (n+1)%every != 0 {
			continue
		}
		if got, want := fmt.Sprintf("%08x %d %d", crc, total, episodes), c.Marks[n/every]; got != want {
			t.Fatalf("steps %d..%d: crc, rewards, episodes %s, recorded %s", n+1-every, n, got, want)
		}
	}
	if best = max(best, ret); best != c.BestReturn {
		t.Fatalf("best return %d, recorded %d", best, c.BestReturn)
	}
}

// TestReplaySeesAChangedBoard: one missing brick must not go unnoticed.
func TestReplaySeesAChangedBoard(t *testing.T) {
	golden := readGolden(t, "breakout")
	c := &golden.Cases[0]
	e, obs := replay(t, c, Bits)
	e.rules.(*breakout).boards[0].bricks &^= 1 << 17
	rew, done, trunc := make([]float32, 1), make([]bool, 1), make([]bool, 1)
	crc := crc32.ChecksumIEEE(obs)
	acts := c.actions(t)
	for n := range golden.Every {
		if err := e.Step(acts[n:n+1], obs, rew, done, trunc); err != nil {
			t.Fatal(err)
		}
		tail := []byte{byte(rew[0]), 0}
		if done[0] {
			tail[1] = 1
		}
		crc = crc32.Update(crc32.Update(crc, crc32.IEEETable, obs), crc32.IEEETable, tail)
	}
	if got := fmt.Sprintf("%08x", crc); got == c.Marks[0][:8] {
		t.Fatal("a missing brick goes unnoticed")
	}
}
