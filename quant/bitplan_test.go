package quant

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseBits(t *testing.T) {
	p, err := ParseBits("w2a3")
	if err != nil {
		t.Fatal(err)
	}
	p.Layers = map[string]Width{"special": {5, 6}}
	for _, c := range []struct {
		name        string
		first, last bool
		want        Width
	}{
		{"a", true, false, Width{8, 8}}, {"b", false, false, Width{2, 3}},
		{"c", false, true, Width{8, 8}}, {"special", true, false, Width{5, 6}},
	} {
		if got := p.Layer(c.name, c.first, c.last); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if p, err := ParseBits("fp32"); err != nil || p.Layer("x", true, false) != (Width{}) {
		t.Errorf("fp32: %+v, %v", p, err)
	}
	for _, s := range []string{"", "w4", "w9a4", "w4a1", "w1a4", "4", "w4a4 ", "w4a99"} {
		if p, err := ParseBits(s); err == nil {
			t.Errorf("%q parsed to %+v", s, p)
		}
	}
}

func TestBitsFileRoundTrips(t *testing.T) {
	p := Uniform(Width{4, 4}, 8)
	p.Layers = map[string]Width{"layer1.0.conv1": {2, 2}}
	p.Residual = Residual8
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	q, err := ReadBitPlan(strings.NewReader(string(b)))
	if err != nil || !reflect.DeepEqual(p, q) {
		t.Errorf("%+v (%v), want %+v", q, err, p)
	}
	for _, s := range []string{"", "{", `{"default":{"w":9,"a":4}}`, `{"residual":"16"}`, `{"layers":{"x":{"w":4,"a":-1}}}`} {
		if p, err := ReadBitPlan(strings.NewReader(s)); err == nil {
			t.Errorf("%q read as %+v", s, p)
		}
	}
}

func FuzzReadBitPlan(f *testing.F) {
	f.Add(`{"default":{"w":4,"a":4},"first":{"w":8,"a":8},"layers":{"x":{"w":2,"a":2}},"residual":"8"}`)
	f.Add(`{"default":[]}`)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ReadBitPlan(strings.NewReader(s))
		if err == nil && p.Validate() != nil {
			t.Errorf("%q gave %+v, which does not exist", s, p)
		}
	})
}
