package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/testenv"
)

type goldenFile struct {
	Folder []struct {
		Resize, Crop int
		PNG, Want    []byte // base64 in the file
	}
	Normalization []struct{ Name, SHA256 string }
}

func golden(t *testing.T) goldenFile {
	t.Helper()
	js, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFile
	if err := json.Unmarshal(js, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Folder) == 0 || len(g.Normalization) != 2 {
		t.Fatal("testdata/golden.json lacks cases")
	}
	return g
}

// resizeTolerance: Pillow rounds to bytes between its two passes and has 8-bit
// weights; ours is float until the end.
const resizeTolerance = 1

func TestFolderImagesEqualPillowResizeAndCrop(t *testing.T) {
	for i, c := range golden(t).Folder {
		file := filepath.Join(t.TempDir(), "x.png")
		if err := os.WriteFile(file, c.PNG, 0o666); err != nil {
			t.Fatal(err)
		}
		got := make([]uint8, len(c.Want))
		if err := decodeImageFile(file, FolderConfig{Resize: c.Resize, Crop: c.Crop}, got); err != nil {
			t.Fatal(err)
		}
		worst := 0
		for j, w := range c.Want {
			worst = max(worst, int(got[j])-int(w), int(w)-int(got[j]))
		}
		if worst > resizeTolerance {
			t.Errorf("case %d (resize %d, crop %d): off by %d, want at most %d", i, c.Resize, c.Crop, worst, resizeTolerance)
		}
	}
}

func TestNormalizationEqualsTorchBitForBit(t *testing.T) {
	preset := map[string]Normalization{"imagenet": ImageNet, "fashion-mnist": FashionMNIST}
	for _, c := range golden(t).Normalization {
		h := sha256.New()
		for _, row := range preset[c.Name].table() {
			binary.Write(h, binary.LittleEndian, row[:])
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != c.SHA256 {
			t.Errorf("%s: sha256 of the table %s, want %s", c.Name, got, c.SHA256)
		}
	}
}

// writeFile makes the file and its folders.
func writeFile(tb testing.TB, content []byte, elem ...string) string {
	tb.Helper()
	p := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(p, content, 0o666); err != nil {
		tb.Fatal(err)
	}
	return p
}

// plain encodes a picture of one colour.
func plain(tb testing.TB, asJPEG bool, w, h int, c color.Color) []byte {
	tb.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, c)
	}
	var buf bytes.Buffer
	var err error
	if asJPEG {
		err = jpeg.Encode(&buf, img, nil)
	} else {
		err = png.Encode(&buf, img)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

var gray = color.NRGBA{100, 100, 100, 255}

func TestClassFoldersInTrainAndTest(t *testing.T) {
	dir := t.TempDir()
	red := plain(t, false, 30, 20, color.NRGBA{200, 10, 20, 255})
	writeFile(t, red, dir, "train", "ant", "1.png")
	writeFile(t, plain(t, true, 20, 30, gray), dir, "train", "bee", "2.JPEG")
	writeFile(t, plain(t, true, 9, 9, gray), dir, "train", "bee", "1.jpg")
	writeFile(t, []byte("not an image"), dir, "train", "bee", "notes.txt")
	writeFile(t, red, dir, "train", "bee", ".hidden.png")
	writeFile(t, red, dir, "train", ".cache", "x.png")
	writeFile(t, red, dir, "val", "bee", "7.png")
	train, test, rep, err := OpenFolder(dir, FolderConfig{Resize: 10, Crop: 8})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(train.Classes, []string{"ant", "bee"}) || !slices.Equal(test.Classes, train.Classes) {
		t.Errorf("classes %v and %v", train.Classes, test.Classes)
	}
	if train.Len() != 3 || test.Len() != 1 || rep.Examples != 4 || !rep.Complete() {
		t.Fatalf("%d train, %d test, report %+v", train.Len(), test.Len(), rep)
	}
	if train.Label(0) != 0 || train.Label(2) != 1 || test.Label(0) != 1 {
		t.Errorf("labels %d %d %d", train.Label(0), train.Label(2), test.Label(0))
	}
	p, err := test.Pixels(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range p {
		if want := []uint8{200, 10, 20}[i/64]; v != want {
			t.Fatalf("value %d = %d, want %d", i, v, want)
		}
	}
	l, err := NewLoader(train, LoaderConfig{Batch: 3, Epochs: 1, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err := l.Next(); err != nil || !slices.Equal(b.Images.Shape(), []int{3, 3, 8, 8}) {
		t.Errorf("loader: %v", err)
	}
	if _, _, _, err := Open("imagefolder:"+dir, "/nowhere"); err != nil {
		t.Error(err)
	}
}

func TestClassFoldersWithoutPartsAreTheTestPart(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, plain(t, false, 5, 5, gray), dir, "b", "1.png")
	writeFile(t, plain(t, false, 5, 5, gray), dir, "a", "1.png")
	train, test, _, err := OpenFolder(dir, DefaultFolderConfig())
	if err != nil || train.Len() != 0 || test.Len() != 2 || !slices.Equal(test.Classes, []string{"a", "b"}) {
		t.Errorf("%v", err)
	}
}

func TestFolderWithLabelsTSV(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, plain(t, false, 5, 5, gray), dir, "n1.png")
	writeFile(t, plain(t, true, 5, 5, gray), dir, "n7.jpg")
	writeFile(t, []byte("0\tn1\ttench\n2\tn7\tshark\n2\tn8\tshark\n\n"), dir, "labels.tsv")
	_, test, rep, err := OpenFolder(dir, DefaultFolderConfig())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(test.Classes, []string{"tench", "", "shark"}) || test.Label(1) != 2 {
		t.Errorf("classes %q, label %d", test.Classes, test.Label(1))
	}
	if rep.Test != (Found{2, 3}) || !strings.Contains(rep.String(), "test: 2 of 3 examples found") {
		t.Errorf("report %+v", rep)
	}
}

func TestFolderErrorsNameWhatIsWrong(t *testing.T) {
	pic := plain(t, false, 5, 5, gray)
	for _, c := range []struct {
		name, want string
		make       func(dir string)
	}{
		{"empty", "no image found", func(string) {}},
		{"class of test alone", `class "cat"`, func(d string) {
			writeFile(t, pic, d, "train", "ant", "1.png")
			writeFile(t, pic, d, "test", "cat", "1.png")
		}},
		{"two columns", "line 1 has 2 columns", func(d string) { writeFile(t, []byte("0\tx\n"), d, "labels.tsv") }},
		{"class number", `class number "x"`, func(d string) { writeFile(t, []byte("x\ty\tz\n"), d, "labels.tsv") }},
		{"negative class", `class number "-1"`, func(d string) { writeFile(t, []byte("-1\ty\tz\n"), d, "labels.tsv") }},
		{"huge class", `class number "99999999"`, func(d string) { writeFile(t, []byte("99999999\ty\tz\n"), d, "labels.tsv") }},
		{"leads out", "leads out of the folder", func(d string) { writeFile(t, []byte("0\t../y\tz\n"), d, "labels.tsv") }},
		{"two names", `class 0 is "b", but "a" before`, func(d string) { writeFile(t, []byte("0\tx\ta\n0\ty\tb\n"), d, "labels.tsv") }},
		{"no image", "no image found", func(d string) { writeFile(t, []byte("0\tx\ta\n"), d, "labels.tsv") }},
	} {
		dir := t.TempDir()
		c.make(dir)
		if _, _, _, err := OpenFolder(dir, DefaultFolderConfig()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, _, _, err := OpenFolder(filepath.Join(t.TempDir(), "no"), DefaultFolderConfig()); err == nil {
		t.Error("a missing folder was opened")
	}
	for _, cfg := range []FolderConfig{{}, {Resize: 4, Crop: 5}, {Resize: 9000, Crop: 1}, {Resize: 5, Crop: -1}} {
		if _, _, _, err := OpenFolder(t.TempDir(), cfg); err == nil || !strings.Contains(err.Error(), "1 <= crop <= resize") {
			t.Errorf("%+v: error %v", cfg, err)
		}
	}
}

func TestUndecodableImagesAreNamed(t *testing.T) {
	whole := plain(t, false, 50, 40, gray)
	huge := slices.Clone(whole)
	copy(huge[16:], []byte{0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff}) // width, height
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"text":      {[]byte("hello"), "want a JPEG or PNG"},
		"empty":     {nil, "want a JPEG or PNG"},
		"truncated": {whole[:len(whole)-30], "damaged image"},
		"huge":      {huge, "want"},
	} {
		dir := t.TempDir()
		file := writeFile(t, c.content, dir, "a", "x.png")
		_, test, _, err := OpenFolder(dir, DefaultFolderConfig())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := test.Pixels(0, nil); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestVeryLongImagesAreNotBlownUp(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, plain(t, false, 30_000, 1, gray), dir, "a", "x.png")
	_, test, _, err := OpenFolder(dir, DefaultFolderConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := test.Pixels(0, nil); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v, want one with \"too long\"", err)
	}
}

func TestSharedImageNetSample(t *testing.T) {
	dir := testenv.Shared(t, "data", "imagenet1k-sample")
	_, test, rep, err := Open("imagefolder:"+dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if test.Len() != 1000 || len(test.Classes) != 1000 || !rep.Complete() || test.Classes[2] != "great_white_shark" || test.Label(999) != 999 {
		t.Fatalf("%d images, %d classes, %q", test.Len(), len(test.Classes), test.Classes[2])
	}
	l, err := NewLoader(test.Limit(64), LoaderConfig{Batch: 32, Epochs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var sum, n float64
	for b, err := range l.Epoch(0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range b.Images.Float32s() {
			sum += float64(v)
			n++
		}
	}
	if n != 64*3*224*224 || sum/n < -0.5 || sum/n > 0.5 { // normalised photographs
		t.Errorf("mean %v of %v values, want about 0", sum/n, n)
	}
}
