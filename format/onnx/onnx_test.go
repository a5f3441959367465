package onnx

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func small() *Model {
	return &Model{
		IRVersion: IRVersion, Producer: "lowbit", Opsets: map[string]int64{"": Opset}, Metadata: map[string]string{"b": "2", "a": "1"},
		Graph: Graph{
			Name: "g",
			Nodes: []Node{{Name: "c", Op: "Clip", Inputs: []string{"x", "", "high"}, Outputs: []string{"y"},
				Attributes: []Attribute{IntAttr("axis", -1), FloatAttr("f", 0.5), IntsAttr("pads", 0, 1, -2)}}},
			Initializers: []Tensor{Floats("high", []float32{6}), Int8s("w", []int8{-128, 127, 0, 1}, 2, 2), Int32s("b", []int32{-5}, 1), Int64s("s", []int{1, -1}, 2), Uint8s("z", []uint8{128})},
			Inputs:       []ValueInfo{{Name: "x", Type: Float32, Dims: []int64{-1, 3}, Symbols: []string{"batch", ""}}},
			Outputs:      []ValueInfo{{Name: "y", Type: Float32, Dims: []int64{-1, 3}, Symbols: []string{"batch", ""}}},
		},
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	b := Encode(small())
	m, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := small(); !reflect.DeepEqual(m, want) {
		t.Errorf("%+v\nwant %+v", m, want)
	}
	if again := Encode(m); !bytes.Equal(again, b) {
		t.Error("writing again gives other bytes")
	}
	if v, err := m.Graph.Initializers[1].Ints(); err != nil || v[0] != -128 || v[1] != 127 {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := m.Graph.Initializers[0].Float32s(); err != nil || v[0] != 6 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestBrokenModelsAreErrors(t *testing.T) {
	whole := Encode(small())
	for n := range len(whole) { // what follows the graph may be missing: fields of a message are optional
		if m, err := Decode(whole[:n]); err == nil && len(m.Graph.Outputs) == 1 && len(m.Metadata) == 2 {
			t.Errorf("the first %d of %d bytes are a whole model", n, len(whole))
		}
	}
	for name, change := range map[string]func(t *Tensor){
		"bytes, want 4":    func(t *Tensor) { t.Data = t.Data[:3] },
		"dimensions":       func(t *Tensor) { t.Dims = []int64{-1} },
		"not supported":    func(t *Tensor) { t.Type = 23 },
		"too":              func(t *Tensor) { t.Dims = []int64{1 << 39, 1 << 39} },
		"bytes, want 4096": func(t *Tensor) { t.Dims = []int64{1024} },
	} {
		m := small()
		change(&m.Graph.Initializers[0])
		if _, err := Decode(Encode(m)); err == nil || name != "too" && !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one with %q", err, name)
		}
	}
	if _, err := Decode([]byte("no model at all")); err == nil {
		t.Error("no error for text")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(small()))
	f.Add([]byte{8, 8, 0x3a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		for _, x := range m.Graph.Initializers {
			if n, err := x.Size(); err != nil || x.Data != nil && len(x.Data) != n*x.Type.Size() {
				t.Errorf("tensor %+v", x)
			}
		}
		if _, err := Decode(Encode(m)); err != nil {
			t.Errorf("what was read cannot be written and read again: %v", err)
		}
	})
}
