package neuro_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lowbit/format/formattest"
	"lowbit/format/safetensors"
	"lowbit/neuro"
	"lowbit/tensor"
)

func encode(tb testing.TB, nw *neuro.Network) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := neuro.Encode(&b, nw); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func decode(content []byte) error {
	_, err := neuro.Decode(content)
	return err
}

// tiny is a network of a few hundred bytes, for tests of every byte.
func tiny(tb testing.TB) *neuro.Network {
	r := seeded(tb, 8)
	return mustMap(tb, chain(r, neuro.Shape{C: 3, H: 2, W: 1}, 2, conv("a&b", 2, 1, 1, 0, 1), linear("b", 3, 1)))
}

func TestFileRoundTrip(t *testing.T) {
	r := seeded(t, 9)
	for _, nw := range []*neuro.Network{tiny(t), mustMap(t, minatarNet(r)), generalNetwork(r, 5, 60)} {
		path := filepath.Join(t.TempDir(), "n.cores")
		if err := neuro.Write(path, nw); err != nil {
			t.Fatal(err)
		}
		got, err := neuro.Read(path)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, nw) {
			t.Error("the network read differs from the one written")
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, encode(t, got)) {
			t.Error("writing what was read gives other bytes")
		}
	}
}

func TestReadNamesThePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.cores")
	if _, err := neuro.Read(path); err == nil || !strings.Contains(err.Error(), "bad.cores") {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("what"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := neuro.Read(path); err == nil || !strings.Contains(err.Error(), "bad.cores") {
		t.Errorf("broken file: %v", err)
	}
}

func TestHostileFiles(t *testing.T) {
	valid := encode(t, tiny(t))
	formattest.Truncated(t, valid, decode)
	if n := formattest.BitFlips(t, valid, decode); n == 0 {
		t.Error("no damaged file was refused")
	}
	formattest.Bytes(t, valid, 40, 1<<16, decode)
}

func TestDecodeRefuses(t *testing.T) {
	store, meta, err := safetensors.Decode(encode(t, tiny(t)))
	if err != nil {
		t.Fatal(err)
	}
	const key = "lowbit.cores"
	for _, c := range []struct {
		name, want string
		change     func(*tensor.Store, map[string]string)
	}{
		{"no metadata", "not a core network", func(_ *tensor.Store, m map[string]string) { delete(m, key) }},
		{"other JSON", "metadata", func(_ *tensor.Store, m map[string]string) { m[key] = "[" }},
		{"field", "unknown field", func(_ *tensor.Store, m map[string]string) { m[key] = `{"more":1}` }},
		{"version", "version 2, want 1", func(_ *tensor.Store, m map[string]string) {
			m[key] = strings.Replace(m[key], `"version":1`, `"version":2`, 1)
		}},
		{"outputs", "9999999 outputs of", func(_ *tensor.Store, m map[string]string) {
			m[key] = strings.Replace(m[key], `"outputs":3`, `"outputs":9999999`, 1)
		}},
		{"missing", `"route" is missing`, func(s *tensor.Store, _ map[string]string) { s.Delete("route") }},
		{"type", `"core.layer" is`, func(s *tensor.Store, _ map[string]string) { put(t, s, "core.layer", tensor.New(tensor.U8, 2)) }},
		{"columns", `"core.place" is`, func(s *tensor.Store, _ map[string]string) { put(t, s, "core.place", tensor.New(tensor.I32, 2, 3)) }},
		{"cores", "tensors of other lengths", func(s *tensor.Store, _ map[string]string) { put(t, s, "core.place", tensor.New(tensor.I32, 7, 2)) }},
		{"neurons", "tensors of other lengths", func(s *tensor.Store, _ map[string]string) { put(t, s, "neuron.modes", tensor.New(tensor.U8, 1, 3)) }},
		{"count", "neurons of", func(s *tensor.Store, _ map[string]string) { s.Get("core.neurons").Int32s()[0] = 1 << 30 }},
		{"left over", "belong to no core", func(s *tensor.Store, _ map[string]string) { s.Get("core.neurons").Int32s()[0]-- }},
		{"axon", "axon 256", func(s *tensor.Store, _ map[string]string) { s.Get("route").Int32s()[2] = 256 }},
		{"one more", "10 tensors, want 9", func(s *tensor.Store, _ map[string]string) { put(t, s, "x", tensor.New(tensor.U8, 1)) }},
		{"limit", "delay 0, want 1..15", func(s *tensor.Store, _ map[string]string) { s.Get("neuron.modes").Bytes()[1] = 0 }},
	} {
		s, m := store.Clone(), map[string]string{key: meta[key]}
		c.change(s, m)
		var b bytes.Buffer
		if err := safetensors.Encode(&b, s, m); err != nil {
			t.Fatal(err)
		}
		if err := decode(b.Bytes()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func put(t *testing.T, s *tensor.Store, name string, v *tensor.Tensor) {
	t.Helper()
	s.Delete(name)
	if err := s.Put(name, v); err != nil {
		t.Fatal(err)
	}
}

// FuzzDecode: no panic, and what is accepted can be written, simulated, drawn.
func FuzzDecode(f *testing.F) {
	f.Add(encode(f, tiny(f)))
	f.Add(encode(f, generalNetwork(rand.New(rand.NewPCG(1, 0)), 2, 12)))
	f.Fuzz(func(t *testing.T, b []byte) {
		nw, err := neuro.Decode(b)
		if err != nil {
			return
		}
		encode(t, nw)
		_ = nw.SVG()
		_ = nw.CheckTiming()
		if nw.Inputs > 1<<16 || nw.Outputs > 1<<16 {
			return
		}
		sim, err := neuro.NewSimulator(nw, 1)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := sim.Step(make([]byte, (nw.Inputs+7)/8)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
