package hdf5

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/ours.h5 for peer/golden_hdf5.py")

// object is one entry of testdata/golden.json, as h5py read it.
type object struct {
	Kind    string   `json:"kind"`
	Members int      `json:"members"`
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	UTF8    bool     `json:"utf8"`
	Text    []string `json:"text"`
	Hex     string   `json:"hex"`
}

// sample is a file with every kind of object, and what a reader must see.
func sample() (*Group, map[string]object) {
	root := NewFile()
	want := map[string]object{}
	numbers := []float32{0, -1.5, float32(math.Inf(1)), math.MaxFloat32, math.SmallestNonzeroFloat32, 0.1}
	root.Float32("floats", numbers, 2, 3)
	want["floats"] = object{Kind: "dataset", DType: "<f4", Shape: []int{2, 3}, Hex: "000000000000c0bf0000807fffff7f7f01000000cdcccc3d"}
	root.Float32("one", []float32{2})
	want["one"] = object{Kind: "dataset", DType: "<f4", Shape: []int{}, Hex: "00000040"}
	sub := root.Group("group")
	sub.Int64("ints", []int64{-1, math.MaxInt64, 7}, 3, 1, 1)
	want["group/ints"] = object{Kind: "dataset", DType: "<i8", Shape: []int{3, 1, 1}, Hex: "ffffffffffffffff" + "ffffffffffffff7f" + "0700000000000000"}
	sub.Text("words", []string{"", "ab", "abc", "a"}, 2, 2)
	want["group/words"] = object{Kind: "dataset", DType: "|S3", Shape: []int{2, 2}, Text: []string{"", "ab", "abc", "a"}}
	sub.Text("größe", []string{"größer"})
	want["group/größe"] = object{Kind: "dataset", DType: "|S8", Shape: []int{}, UTF8: true, Text: []string{"größer"}}
	want["group"] = object{Kind: "group", Members: 3}
	crowd := root.Group(strings.Repeat("n", 255))
	want[strings.Repeat("n", 255)] = object{Kind: "group", Members: 300}
	for i := range 300 {
		name := fmt.Sprintf("m%03d", i)
		crowd.Int64(name, []int64{int64(i)})
		want[strings.Repeat("n", 255)+"/"+name] = object{Kind: "dataset", DType: "<i8", Shape: []int{}, Hex: fmt.Sprintf("%02x%02x000000000000", i&255, i>>8)}
	}
	root.Group("empty")
	want["empty"] = object{Kind: "group"}
	return root, want
}

func TestFileIsTheOneThatPeerRead(t *testing.T) {
	root, want := sample()
	var b bytes.Buffer
	if err := root.Encode(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := root.Write(filepath.Join("testdata", "ours.h5")); err != nil {
			t.Fatal(err)
		}
		return
	}
	raw, err := os.ReadFile(filepath.Join("testdata", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		SHA256  string
		Objects map[string]object
	}
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	if got := hex.EncodeToString(sum[:]); got != golden.SHA256 {
		t.Errorf("sha256 %s, h5py read %s: run peer/golden_hdf5.py", got, golden.SHA256)
	}
	for name, w := range want {
		if got := golden.Objects[name]; !reflect.DeepEqual(got, w) {
			t.Errorf("%.40s: h5py read %+v, want %+v", name, got, w)
		}
	}
	if len(golden.Objects) != len(want) {
		t.Errorf("h5py found %d objects, want %d", len(golden.Objects), len(want))
	}
}

// Values of Bob Jenkins' own driver (lookup3.c, driver5, initial value 0).
func TestLookup3(t *testing.T) {
	for _, c := range []struct {
		text string
		want uint32
	}{{"", 0xdeadbeef}, {"Four score and seven years ago", 0x17770551}} {
		if got := lookup3([]byte(c.text)); got != c.want {
			t.Errorf("%q: %#x, want %#x", c.text, got, c.want)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	for _, c := range []struct {
		want string
		fill func(*Group)
	}{
		{`hdf5: /: name ""`, func(g *Group) { g.Group("") }},
		{"without slash", func(g *Group) { g.Group("a/b") }},
		{"without slash", func(g *Group) { g.Int64("\xff", []int64{1}) }},
		{"1..255 bytes", func(g *Group) { g.Int64(strings.Repeat("x", 256), []int64{1}) }},
		{`/sub/: "x" exists already`, func(g *Group) { s := g.Group("sub"); s.Group("x"); s.Text("x", []string{"y"}) }},
		{"2 values for dimensions [3]", func(g *Group) { g.Float32("v", []float32{1, 2}, 3) }},
		{"2 values for dimensions []", func(g *Group) { g.Float32("v", []float32{1, 2}) }},
		{"want all at least 1", func(g *Group) { g.Float32("v", nil, 0) }},
		{"want all at least 1", func(g *Group) { g.Float32("v", nil, math.MaxInt, 3) }},
		{"without zero bytes", func(g *Group) { g.Text("v", []string{"a\x00"}) }},
		{"1 values for dimensions [1 1", func(g *Group) { g.Text("v", []string{"a"}, ones(33)...) }},
	} {
		root := NewFile()
		c.fill(root)
		err := root.Encode(&bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if err := NewFile().Group("a").Encode(&bytes.Buffer{}); err == nil {
		t.Error("a group that is not the root is encoded")
	}
	if err := NewFile().Encode(full{}); !errors.Is(err, errFull) {
		t.Errorf("full disk: %v", err)
	}
	if err := NewFile().Write(filepath.Join(t.TempDir(), "no", "such", "folder")); err == nil {
		t.Error("a file in a missing folder is written")
	}
}

func ones(n int) []int {
	d := make([]int, n)
	for i := range d {
		d[i] = 1
	}
	return d
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func ExampleGroup() {
	f := NewFile()
	f.Group("layer").Float32("weight", []float32{1, -1, 0, 1}, 2, 2)
	var b bytes.Buffer
	fmt.Println(f.Encode(&b))
	fmt.Printf("%q\n", b.Bytes()[:8])
	// Output:
	// <nil>
	// "\x89HDF\r\n\x1a\n"
}
