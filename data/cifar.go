package data

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// CIFAR-10 (Krizhevsky 2009): 32x32 RGB, ten classes, five training batches
// and one test batch of 10,000 images. A record of the official binary form is
// one label byte, then 1024 red, 1024 green and 1024 blue bytes, row by row.
const (
	cifarSide    = 32
	cifarPlane   = cifarSide * cifarSide
	cifarImage   = 3 * cifarPlane
	cifarRecord  = 1 + cifarImage
	cifarBatch   = 10_000
	cifarBatches = 5
)

var cifarClasses = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

// cifarFiles are the six batches; the index is the slot: 0..4 train, 5 test.
var cifarFiles = [cifarBatches + 1]string{
	"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch",
}

// cifarSHA256 is the checksum of each batch in the official binary form.
var cifarSHA256 = [cifarBatches + 1]string{
	"cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
	"a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
	"bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
	"014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
	"755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
	"8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}

// cifarSet collects batches as they come, in any form and order.
type cifarSet struct {
	per    int // images a batch; tests use small ones
	pixels [2][]uint8
	labels [2][]int32
	have   [cifarBatches + 1]bool
}

func newCIFARSet(per int) *cifarSet { return &cifarSet{per: per} }

// slot returns where the pixels and labels of batch b go. Storage for a part
// is made at its first batch. Not safe for concurrent use.
func (c *cifarSet) slot(b int) (pixels []uint8, labels []int32) {
	part, at := 0, b
	n := cifarBatches
	if b == cifarBatches {
		part, at, n = 1, 0, 1
	}
	if c.pixels[part] == nil {
		c.pixels[part] = make([]uint8, n*c.per*cifarImage)
		c.labels[part] = make([]int32, n*c.per)
	}
	c.have[b] = true
	return c.pixels[part][at*c.per*cifarImage:][:c.per*cifarImage], c.labels[part][at*c.per:][:c.per]
}

// datasets returns the two parts, without the batches that never came.
func (c *cifarSet) datasets() (train, test *Dataset, err error) {
	pix, lab := c.pixels[0][:0], c.labels[0][:0]
	for b := range cifarBatches {
		if c.have[b] { // moves a batch down over missing ones
			p, l := c.slot(b)
			pix, lab = append(pix, p...), append(lab, l...)
		}
	}
	train, err = New("cifar10", "train", cifarClasses, 3, cifarSide, cifarSide, pix, lab)
	if err != nil {
		return nil, nil, err
	}
	test, err = New("cifar10", "test", cifarClasses, 3, cifarSide, cifarSide, c.pixels[1], c.labels[1])
	if err != nil {
		return nil, nil, err
	}
	train.Normalize, test.Normalize = ImageNet, ImageNet
	return train, test, nil
}

// readCIFARRecords reads exactly len(labels) binary records and wants the end
// of r after them.
func readCIFARRecords(r io.Reader, name string, pixels []uint8, labels []int32) error {
	var label [1]byte
	for i := range labels {
		_, err := io.ReadFull(r, label[:])
		if err == nil {
			_, err = io.ReadFull(r, pixels[i*cifarImage:(i+1)*cifarImage])
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("data: %s: ends within record %d, want %d records of %d bytes", name, i, len(labels), cifarRecord)
		}
		if err != nil {
			return fmt.Errorf("data: %s: record %d: %w", name, i, err)
		}
		if int(label[0]) >= len(cifarClasses) {
			return fmt.Errorf("data: %s: label %d in record %d, want 0..%d", name, label[0], i, len(cifarClasses)-1)
		}
		labels[i] = int32(label[0])
	}
	if n, err := io.ReadFull(r, label[:]); n != 0 {
		return fmt.Errorf("data: %s: longer than %d records of %d bytes", name, len(labels), cifarRecord)
	} else if err != io.EOF {
		return fmt.Errorf("data: %s: after the last record: %w", name, err)
	}
	return nil
}

// findCIFARFiles lists which of the six batches stand in dir under the given
// extension; "" where one does not.
func findCIFARFiles(dir, ext string) (files [cifarBatches + 1]string, n int) {
	for b, base := range cifarFiles {
		p := filepath.Join(dir, base+ext)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			files[b] = p
			n++
		}
	}
	return files, n
}

// readCIFARBinary reads the batches of an official binary folder.
func readCIFARBinary(dir string, per int) (*cifarSet, error) {
	files, _ := findCIFARFiles(dir, ".bin")
	set := newCIFARSet(per)
	err := eachBatch(set, files, func(file string, b int, pixels []uint8, labels []int32) error {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("data: %w", err)
		}
		if want := int64(per) * cifarRecord; info.Size() != want {
			return fmt.Errorf("data: %s: %d bytes, want %d (%d records of %d)", file, info.Size(), want, per, cifarRecord)
		}
		return readCIFARRecords(newBuffered(f), file, pixels, labels)
	})
	return set, err
}

// readCIFARTar reads a cifar-10-binary.tar.gz. Members other than the six
// batches are passed over.
func readCIFARTar(file string, per int) (*cifarSet, error) {
	set := newCIFARSet(per)
	err := walkTarGz(file, func(name string, size int64, r io.Reader) error {
		b := batchNumber(name, ".bin")
		if b < 0 {
			return nil
		}
		where := file + ": " + name
		if set.have[b] {
			return fmt.Errorf("data: %s: the batch is in the archive twice", where)
		}
		if want := int64(per) * cifarRecord; size != want {
			return fmt.Errorf("data: %s: %d bytes, want %d (%d records of %d)", where, size, want, per, cifarRecord)
		}
		pixels, labels := set.slot(b)
		return readCIFARRecords(newBuffered(r), where, pixels, labels)
	})
	if err == nil && set.have == [cifarBatches + 1]bool{} {
		err = fmt.Errorf("data: %s: no *_batch*.bin in it, want the six batches of CIFAR-10", file)
	}
	return set, err
}

// batchNumber returns the slot of an archive member, or -1.
func batchNumber(member, ext string) int {
	base, ok := strings.CutSuffix(path.Base(member), ext)
	for b, name := range cifarFiles {
		if ok && base == name {
			return b
		}
	}
	return -1
}

// walkTarGz calls visit for every regular file of a tar.gz, and fails if the
// archive does not end as it should.
func walkTarGz(file string, visit func(name string, size int64, r io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(newBuffered(f))
	if err != nil {
		return fmt.Errorf("data: %s: want a gzip file: %w", file, err)
	}
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("data: %s: damaged archive: %w", file, err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := visit(h.Name, h.Size, tr); err != nil {
			return err
		}
	}
	// The gzip checksum is only looked at when its end is reached.
	if _, err := io.Copy(io.Discard, zr); err != nil {
		return fmt.Errorf("data: %s: damaged archive: %w", file, err)
	}
	return nil
}
