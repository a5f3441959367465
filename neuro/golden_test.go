package neuro_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"lowbit/neuro"
)

var update = flag.Bool("update", false, "write the files that peer/golden_neuro.py reads")

// golden is testdata/golden.json, made by peer/golden_neuro.py: what the
// packages nir and sanafe read from our files and computed.
type golden struct {
	Header map[string]any `json:"header"`
	Files  map[string]string
	// NIR: for each frame and each threshold node, its bits in hex, packed.
	NIR [][]string `json:"nir"`
	// Spikes: for each network and tick, the neurons that spiked, as
	// core*256+slot.
	Spikes map[string][][]int `json:"spikes"`
}

func readGolden(t *testing.T) *golden {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{}
	if err := json.Unmarshal(b, g); err != nil {
		t.Fatal(err)
	}
	return g
}

// goldenCase is the files of the golden: a net with its NIR and core files, a
// network of general neurons, and frames for both.
type goldenCase struct {
	net            *neuro.Net
	mapped, any    *neuro.Network
	frames, others [][]byte
}

func makeGoldenCase(t *testing.T) goldenCase {
	r := rand.New(rand.NewPCG(20260301, 0))
	net := chain(r, neuro.Shape{C: 4, H: 6, W: 5}, 3,
		conv("conv1", 8, 3, 1, 1, 1), conv("conv2", 12, 2, 2, 0, 2), linear("full", 16, 2), linear("vote", 9, 1))
	c := goldenCase{net, mustMap(t, net), generalNetwork(r, 4, 40), randomFrames(r, net, 24), bitFrames(r, 40, 40)}
	clear(c.frames[0]) // sanafe's inputs come a step later
	clear(c.others[0])
	return c
}

func (c *goldenCase) files(t *testing.T) map[string][]byte {
	t.Helper()
	var nir, mapped, any bytes.Buffer
	for _, err := range []error{neuro.EncodeNIR(&nir, c.net), neuro.Encode(&mapped, c.mapped), neuro.Encode(&any, c.any)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	hexes := func(frames [][]byte) (s []string) {
		for _, f := range frames {
			s = append(s, hex.EncodeToString(f))
		}
		return s
	}
	frames, err := json.Marshal(map[string][]string{"mapped": hexes(c.frames), "general": hexes(c.others)})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"net.nir": nir.Bytes(), "mapped.cores": mapped.Bytes(), "general.cores": any.Bytes(), "frames.json": frames}
}

// The files that the peers have read are those that we write today.
func TestGoldenFilesAreOurs(t *testing.T) {
	c := makeGoldenCase(t)
	for name, b := range c.files(t) {
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", name), b, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		sum := sha256.Sum256(b)
		if got, want := hex.EncodeToString(sum[:]), readGolden(t).Files[name]; got != want {
			t.Errorf("%s: sha256 %s, the peers read %s: run peer/golden_neuro.py", name, got, want)
		}
	}
}

// Python's nir reads our export, and numpy computes the same bits in every
// layer.
func TestNIRBitsEqualPeer(t *testing.T) {
	g, c := readGolden(t), makeGoldenCase(t)
	if len(g.NIR) != len(c.frames) || len(c.frames) == 0 {
		t.Fatalf("%d frames in the golden, want %d", len(g.NIR), len(c.frames))
	}
	for i, f := range c.frames {
		layers, err := c.net.Forward(f)
		if err != nil {
			t.Fatal(err)
		}
		for l, bits := range layers {
			if got := hex.EncodeToString(bits); got != g.NIR[i][l] {
				t.Errorf("frame %d, layer %d: %s, nir and numpy give %s", i, l, got, g.NIR[i][l])
			}
		}
	}
}

// The simulator sanafe gives the same spikes, neuron by neuron and tick by
// tick, on its TrueNorth soma.
func TestSpikeTrainsEqualPeer(t *testing.T) {
	g, c := readGolden(t), makeGoldenCase(t)
	for _, n := range []struct {
		name   string
		nw     *neuro.Network
		frames [][]byte
	}{{"mapped", c.mapped, c.frames}, {"general", c.any, c.others}} {
		spikes, _, _ := simulate(t, n.nw, n.frames, 2)
		count := 0
		for tick, want := range g.Spikes[n.name] {
			if !reflect.DeepEqual(append([]int{}, spikes[tick]...), want) {
				t.Errorf("%s, tick %d: spikes %v, sanafe gives %v", n.name, tick, spikes[tick], want)
			}
			count += len(want)
		}
		if len(g.Spikes[n.name]) != len(n.frames) || count < 500 {
			t.Errorf("%s: %d ticks with %d spikes in the golden, want %d and many", n.name, len(g.Spikes[n.name]), count, len(n.frames))
		}
		t.Logf("%s: %d spikes in %d ticks", n.name, count, len(n.frames))
	}
}
