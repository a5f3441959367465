package torchzip

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/format/formattest"
	"lowbit/tensor"
)

type goldenTensor struct {
	DType string
	Shape []int
	Hex   string
}

type goldenFiles struct {
	Files   map[string]map[string]goldenTensor
	Refused map[string]string
}

// golden returns what torch itself loads from the files in testdata.
func golden(t testing.TB) goldenFiles {
	t.Helper()
	b, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g goldenFiles
	if err := json.Unmarshal(b, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Files) == 0 || len(g.Refused) == 0 {
		t.Fatal("testdata/golden.json is empty")
	}
	return g
}

func TestReadEqualsTorch(t *testing.T) {
	for name, want := range golden(t).Files {
		store, err := Read(filepath.Join("testdata", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if store.Len() != len(want) {
			t.Errorf("%s: tensors %q, want %d", name, store.Names(), len(want))
		}
		for key, w := range want {
			got := store.Get(key)
			if got == nil {
				t.Errorf("%s: no tensor %q among %q", name, key, store.Names())
				continue
			}
			if got.DType().String() != w.DType || !got.Shape().Equal(w.Shape) || hex.EncodeToString(got.Bytes()) != w.Hex {
				t.Errorf("%s: %q: %v %x, want %s%v %s", name, key, got, got.Bytes(), w.DType, tensor.Shape(w.Shape), w.Hex)
			}
		}
	}
}

func TestReadNamesWhatItRefuses(t *testing.T) {
	for name, part := range golden(t).Refused {
		p := filepath.Join("testdata", name)
		_, err := Read(p)
		formattest.WantError(t, name, err, "torchzip: "+p, part)
	}
	_, err := Read("testdata/none.pt")
	formattest.WantError(t, "missing file", err, "testdata/none.pt")
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decodeOnly(b []byte) error {
	_, err := Decode(b)
	return err
}

func TestDamagedFiles(t *testing.T) {
	for _, name := range []string{"views_legacy.pth", "single_zip.pt", "deflated.pt", "nochecksum.pt"} {
		b := readFile(t, name)
		formattest.Truncated(t, b, decodeOnly)
		formattest.BitFlips(t, b, decodeOnly)
		formattest.Bytes(t, b, 256+2*maxExpansion, 2*spareExpansion+1<<18, decodeOnly)
	}
}

// A checksum finds every flip inside a stored value.
func TestChecksumFindsDamage(t *testing.T) {
	b := readFile(t, "single_zip.pt")
	at := strings.Index(string(b), "\x00\x00\x80\x3f\x00\x00\x00\x40") // 1, 2 in float32
	if at < 0 {
		t.Fatal("the values are not where they should be")
	}
	b[at] ^= 1
	_, err := Decode(b)
	formattest.WantError(t, "damaged value", err, "archive/data/0", "checksum", "damaged")
}

func FuzzDecode(f *testing.F) {
	g := golden(f)
	for name := range g.Files {
		f.Add(readFile(f, name))
	}
	for name := range g.Refused {
		f.Add(readFile(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		store, err := Decode(b)
		if err == nil && store.SizeBytes() > maxExpansion*len(b)+spareExpansion {
			t.Fatalf("%d bytes of tensors from %d", store.SizeBytes(), len(b))
		}
	})
}
