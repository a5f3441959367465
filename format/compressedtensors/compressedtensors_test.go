package compressedtensors

import (
	"slices"
	"strings"
	"testing"

	"lowbit/tensor"
)

// Words that the Python package made of these codes (specs: packed densely, little
// endian, offset binary).
func TestPackIsThePythonPackages(t *testing.T) {
	three := make([]int8, 32)
	for i := range three {
		three[i] = int8(i%8) - 4
	}
	for _, c := range []struct {
		codes []int8
		bits  int
		want  []uint32
	}{
		{[]int8{-8, -7, 7, 0, 1, 2, 3, 4}, 4, []uint32{0xCBA98F10}},
		{three, 3, []uint32{0x88FAC688, 0xC688FAC6, 0xFAC688FA}},
	} {
		words, err := Pack(c.codes, len(c.codes), c.bits)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for _, w := range words {
			got = append(got, uint32(w))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%d bits: %x, want %x", c.bits, got, c.want)
		}
	}
}

func TestUnpackIsTheInverse(t *testing.T) {
	for bits := 2; bits <= 8; bits++ {
		for _, row := range []int{1, 7, 32, 33, 100} {
			codes := make([]int8, 3*row)
			for i := range codes {
				codes[i] = int8(i*i%(1<<bits) - 1<<(bits-1))
			}
			words, err := Pack(codes, row, bits)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Unpack(words, row, bits)
			if err != nil || !slices.Equal(got, codes) {
				t.Errorf("%d bits, rows of %d: %v, %v, want %v", bits, row, err, got, codes)
			}
		}
	}
	for _, bad := range []struct {
		codes     []int8
		row, bits int
	}{{[]int8{8}, 1, 4}, {[]int8{-9}, 1, 4}, {[]int8{0, 0, 0}, 2, 4}, {[]int8{0}, 1, 9}, {[]int8{0}, 0, 4}} {
		if _, err := Pack(bad.codes, bad.row, bad.bits); err == nil {
			t.Errorf("%+v accepted", bad)
		}
	}
	if _, err := Unpack(make([]int32, 3), 9, 4); err == nil {
		t.Error("3 words for rows of 9 codes of 4 bits accepted")
	}
}

func TestWeightsAreReadAsTheyWereWritten(t *testing.T) {
	s := tensor.NewStore()
	w := Weight{Out: 2, In: 5, Bits: 3, Codes: []int8{-4, 3, 0, 1, 2, -1, -2, -3, 3, 0}, Scale: tensor.FromFloat32s([]float32{.5, .25}, 2, 1)}
	if err := w.Put(s, "a.q"); err != nil {
		t.Fatal(err)
	}
	get := func(name string) (*tensor.Tensor, error) { return s.Get(name), nil }
	got, ok, err := Read(get, "a.q", 3)
	if err != nil || !ok || !slices.Equal(got.Codes, w.Codes) || got.Out != 2 || got.In != 5 {
		t.Fatalf("%v, %v: %+v", err, ok, got)
	}
	v, err := got.Values()
	if want := []float32{-2, 1.5, 0, .5, 1, -.25, -.5, -.75, .75, 0}; err != nil || !slices.Equal(v.Float32s(), want) {
		t.Errorf("%v: %v, want %v", err, v, want)
	}
	if _, ok, err := Read(get, "a.k", 3); ok || err != nil {
		t.Errorf("a layer that is not there: %v, %v", ok, err)
	}
	if _, _, err := Read(get, "a.q", 8); err == nil || !strings.Contains(err.Error(), "want int32 [2 2]") {
		t.Errorf("codes of 3 bits read as 8: %v", err)
	}
	s.Delete("a.q.weight_shape")
	if _, _, err := Read(get, "a.q", 3); err == nil || !strings.Contains(err.Error(), "weight_shape") {
		t.Errorf("without a shape: %v", err)
	}
}

func TestConfigsOfOtherSchemesAreRefused(t *testing.T) {
	good := `{"quant_method":"compressed-tensors","format":"pack-quantized","ignore":["lm_head"],"config_groups":{"group_0":{"targets":["Linear"],
	  "weights":{"num_bits":4,"type":"int","symmetric":true,"strategy":"group","group_size":128,"dynamic":false}},
	  "group_1":{"targets":["re:.*down_proj"],"weights":{"num_bits":8,"type":"int","symmetric":true,"strategy":"channel"},"format":"int-quantized"}}}`
	c, err := ParseConfig([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for layer, want := range map[string]int{"model.layers.0.mlp.up_proj": 4, "model.layers.0.mlp.down_proj": 8, "lm_head": 0} {
		g, ok, err := c.GroupOf(layer)
		if err != nil || ok != (want > 0) || ok && g.Weights.Bits != want {
			t.Errorf("%s: %v, %v, %+v", layer, err, ok, g)
		}
	}
	if c.Quantizes() {
		t.Error("weights alone are said to have quantized inputs")
	}
	for from, to := range map[string]string{
		`"compressed-tensors"`: `"gptq"`, `"symmetric":true`: `"symmetric":false`, `"type":"int"`: `"type":"float"`,
		`"num_bits":4`: `"num_bits":16`, `"strategy":"group"`: `"strategy":"block"`, `"pack-quantized"`: `"nvfp4-pack-quantized"`, `{"quant`: `{{"quant`,
	} {
		if _, err := ParseConfig([]byte(strings.Replace(good, from, to, 1))); err == nil {
			t.Errorf("%s instead of %s accepted", to, from)
		}
	}
	c.Ignore = []string{"re:("}
	if _, _, err := c.GroupOf("x"); err == nil {
		t.Error("a broken expression accepted")
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"quant_method":"compressed-tensors","config_groups":{"g":{"targets":["re:.*"],"weights":{"num_bits":4}}}}`), "model.layers.0")
	f.Fuzz(func(t *testing.T, b []byte, layer string) {
		if c, err := ParseConfig(b); err == nil {
			c.GroupOf(layer)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4}, 8, 4)
	f.Fuzz(func(t *testing.T, b []byte, row, bits int) {
		words := make([]int32, len(b)/4)
		for i := range words {
			words[i] = int32(b[4*i]) | int32(b[4*i+1])<<8
		}
		codes, err := Unpack(words, row%4096, bits)
		if err == nil && len(codes) > 0 {
			if _, err := Pack(codes, row%4096, bits); err != nil {
				t.Error(err)
			}
		}
	})
}
