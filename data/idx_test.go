package data

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"strings"
	"testing"

	"lowbit/internal/rng"
)

func gz(tb testing.TB, b []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func idx(tb testing.TB, magic uint32, dims []int, data []uint8) []byte {
	tb.Helper()
	var buf bytes.Buffer
	if err := writeIdx(&buf, magic, dims, data); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// smallFashion returns the four files with n train and n/2 test images.
func smallFashion(tb testing.TB, n int) map[string][]byte {
	tb.Helper()
	m := map[string][]byte{}
	s := rng.New(8)
	for i, n := range []int{n, n / 2} {
		pixels, labels := make([]uint8, n*784), make([]uint8, n)
		for j := range pixels {
			pixels[j] = uint8(s.Uint32())
		}
		for j := range labels {
			labels[j] = uint8(s.Intn(10))
		}
		m[fashionFiles[2*i]] = idx(tb, idxImages, []int{n, 28, 28}, pixels)
		m[fashionFiles[2*i+1]] = idx(tb, idxLabels, []int{n}, labels)
	}
	return m
}

func TestFashionMNISTPlainAndGzipped(t *testing.T) {
	plainFiles := smallFashion(t, 6)
	for _, zip := range []bool{false, true} {
		dir := t.TempDir()
		for name, b := range plainFiles {
			if zip {
				name, b = name+".gz", gz(t, b)
			}
			writeFile(t, b, dir, "fashion-mnist", name)
		}
		train, test, rep, err := Open("fashion-mnist", dir)
		if err != nil {
			t.Fatal(err)
		}
		if rep.Train != (Found{6, 60_000}) || rep.Test != (Found{3, 10_000}) || rep.Complete() {
			t.Errorf("report %+v", rep)
		}
		for i, p := range fashionParts([4]string{})(train, test) {
			var buf bytes.Buffer
			if err := p.write(&buf); err != nil || !bytes.Equal(buf.Bytes(), plainFiles[fashionFiles[i]]) {
				t.Errorf("gzip %v: %s written again differs: %v", zip, p.path, err)
			}
		}
		if train.Channels != 1 || train.Height != 28 || train.Width != 28 || test.Classes[9] != "Ankle boot" || len(train.Normalize.Mean) != 1 {
			t.Errorf("%+v", train)
		}
		if _, form, ok := Locate("fashion-mnist", dir); !ok || form != rep.Form {
			t.Errorf("Locate: %q, %v", form, ok)
		}
	}
}

func TestFashionMNISTWithOnePart(t *testing.T) {
	dir := t.TempDir()
	files := smallFashion(t, 6)
	delete(files, fashionFiles[0])
	delete(files, fashionFiles[1])
	writeAll(t, dir, files)
	train, test, err := readFashion(dir)
	if err != nil || train.Len() != 0 || test.Len() != 3 {
		t.Errorf("%v", err)
	}
}

func TestIdxErrorsNameWhatIsWrong(t *testing.T) {
	set := func(at int, v byte, file string) func(m map[string][]byte) {
		return func(m map[string][]byte) { m[file][at] = v }
	}
	images, labels := fashionFiles[2], fashionFiles[3]
	for _, k := range []struct {
		name, want string
		change     func(m map[string][]byte)
	}{
		{"magic", "magic 0x00000903, want 0x00000803", set(2, 9, images)},
		{"labels as images", "magic 0x00000801, want 0x00000803", func(m map[string][]byte) { m[images] = m[labels] }},
		{"images as labels", "magic 0x00000803, want 0x00000801", func(m map[string][]byte) { m[labels] = m[images] }},
		{"empty", "no idx header", func(m map[string][]byte) { m[images] = nil }},
		{"half a header", "no idx header", func(m map[string][]byte) { m[images] = m[images][:11] }},
		{"truncated", "ends after 2351 of 2352", func(m map[string][]byte) { m[images] = m[images][:16+2351] }},
		{"too long", "longer than the 2352", func(m map[string][]byte) { m[images] = append(m[images], 0) }},
		{"claims a gigabyte", "ends after 2352 of", func(m map[string][]byte) {
			binary.BigEndian.PutUint32(m[images][4:], maxIdxBytes/784)
		}},
		{"no image", "dimension 0 is 0", set(7, 0, images)},
		{"overflow", "dimension 1 is 4294967295", func(m map[string][]byte) { binary.BigEndian.PutUint32(m[images][8:], 1<<32-1) }},
		{"fewer labels", "2 labels, want 3", func(m map[string][]byte) { m[labels] = idx(t, idxLabels, []int{2}, []uint8{1, 2}) }},
		{"label 10", "label 10 of image 1, want 0..9", set(9, 10, labels)},
		{"other size", "images of 14x56, want 28x28", func(m map[string][]byte) { m[images][11], m[images][15] = 14, 56 }},
		{"no labels", "no " + labels, func(m map[string][]byte) { delete(m, labels) }},
		{"no images", "no " + images, func(m map[string][]byte) { delete(m, images) }},
		{"no gzip", "want a gzip file", func(m map[string][]byte) { m[images+".gz"] = m[images]; delete(m, images) }},
		{"cut gzip", images, func(m map[string][]byte) {
			b := gz(t, m[images])
			m[images+".gz"] = b[:len(b)-4]
			delete(m, images)
		}},
	} {
		m := smallFashion(t, 6)
		k.change(m)
		dir := t.TempDir()
		writeAll(t, dir, m)
		if _, _, err := readFashion(dir); err == nil || !strings.Contains(err.Error(), k.want) {
			t.Errorf("%s: error %v, want one with %q", k.name, err, k.want)
		}
	}
	if _, _, err := readFashion(t.TempDir()); err == nil {
		t.Error("an empty folder was read")
	}
}

func FuzzIdx(f *testing.F) {
	f.Add(idx(f, idxImages, []int{2, 2, 2}, []uint8{1, 2, 3, 4, 5, 6, 7, 8}))
	f.Add(idx(f, idxLabels, []int{3}, []uint8{1, 2, 3}))
	f.Add([]byte{0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, magic := range []uint32{idxImages, idxLabels} {
			dims, data, err := readIdx(bytes.NewReader(b), "fuzz", magic)
			if err != nil {
				continue
			}
			if cap(data) > 2*len(b)+1024 {
				t.Fatalf("%d bytes held for an input of %d", cap(data), len(b))
			}
			if again := idx(t, magic, dims, data); !bytes.Equal(again, b) {
				t.Fatal("written again it differs")
			}
		}
	})
}
