package data

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// The idx form (LeCun, MNIST): big-endian magic 0x00000803 for unsigned bytes
// in three dimensions, then count, height and width, then the bytes; labels
// have 0x00000801 and a count.
const (
	idxImages = 0x00000803
	idxLabels = 0x00000801
	// maxIdxBytes bounds a header's claim; Fashion-MNIST has 47 MB.
	maxIdxBytes = 1 << 30
)

var fashionClasses = []string{
	"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
}

const (
	fashionSide  = 28
	fashionTrain = 60_000
	fashionTest  = 10_000
)

// fashionFiles are the four files: images and labels of train, then of test.
var fashionFiles = [4]string{
	"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
}

// fashionSHA256 is the checksum of each file unpacked.
var fashionSHA256 = [4]string{
	"c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
	"bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
	"5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
	"0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

// readIdx reads an idx file of unsigned bytes whose magic must be the given
// one, and wants the end of r after the data. Memory grows with what is read,
// never with what the header claims.
func readIdx(r io.Reader, name string, magic uint32) (dims []int, data []uint8, err error) {
	var head [16]byte
	n := 4 + 4*int(magic&0xff)
	if _, err := io.ReadFull(r, head[:4]); err != nil {
		return nil, nil, fmt.Errorf("data: %s: no idx header of %d bytes: %w", name, n, err)
	}
	if got := binary.BigEndian.Uint32(head[:]); got != magic {
		return nil, nil, fmt.Errorf("data: %s: magic %#08x, want %#08x (idx, unsigned bytes, %d dimensions)", name, got, magic, magic&0xff)
	}
	if _, err := io.ReadFull(r, head[4:n]); err != nil {
		return nil, nil, fmt.Errorf("data: %s: no idx header of %d bytes: %w", name, n, err)
	}
	size := uint64(1)
	for i := 4; i < n; i += 4 {
		d := binary.BigEndian.Uint32(head[i:])
		if d == 0 || d > maxIdxBytes || size > maxIdxBytes/uint64(d) {
			return nil, nil, fmt.Errorf("data: %s: dimension %d is %d after %v, want a product of 1..%d", name, i/4-1, d, dims, maxIdxBytes)
		}
		size *= uint64(d)
		dims = append(dims, int(d))
	}
	data, err = io.ReadAll(io.LimitReader(r, int64(size)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("data: %s: %w", name, err)
	}
	if uint64(len(data)) < size {
		return nil, nil, fmt.Errorf("data: %s: ends after %d of %d data bytes", name, len(data), size)
	}
	if uint64(len(data)) > size {
		return nil, nil, fmt.Errorf("data: %s: longer than the %d data bytes of %v", name, size, dims)
	}
	return dims, data, nil
}

// findIdx returns dir/base or dir/base.gz, whichever stands there.
func findIdx(dir, base string) string {
	for _, ext := range []string{"", ".gz"} {
		p := filepath.Join(dir, base+ext)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p
		}
	}
	return ""
}

func readIdxFile(file string, magic uint32) (dims []int, data []uint8, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	var r io.Reader = newBuffered(f)
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, nil, fmt.Errorf("data: %s: want a gzip file: %w", file, err)
		}
	}
	return readIdx(r, file, magic)
}

// readIdxPart reads one part from its image and its label file.
func readIdxPart(name, split string, classes []string, images, labels string) (*Dataset, error) {
	dims, pixels, err := readIdxFile(images, idxImages)
	if err != nil {
		return nil, err
	}
	ldims, ybytes, err := readIdxFile(labels, idxLabels)
	if err != nil {
		return nil, err
	}
	if ldims[0] != dims[0] {
		return nil, fmt.Errorf("data: %s: %d labels, want %d as there are images in %s", labels, ldims[0], dims[0], images)
	}
	y := make([]int32, len(ybytes))
	for i, b := range ybytes {
		if int(b) >= len(classes) {
			return nil, fmt.Errorf("data: %s: label %d of image %d, want 0..%d", labels, b, i, len(classes)-1)
		}
		y[i] = int32(b)
	}
	return New(name, split, classes, 1, dims[1], dims[2], pixels, y)
}

// readFashion reads Fashion-MNIST from a folder. A part whose two files are
// both missing is empty.
func readFashion(dir string) (train, test *Dataset, err error) {
	var parts [2]*Dataset
	for i, split := range []string{"train", "test"} {
		images, labels := findIdx(dir, fashionFiles[2*i]), findIdx(dir, fashionFiles[2*i+1])
		switch {
		case images == "" && labels == "":
			parts[i], err = New("fashion-mnist", split, fashionClasses, 1, fashionSide, fashionSide, nil, nil)
		case images == "" || labels == "":
			missing := fashionFiles[2*i]
			if labels == "" {
				missing = fashionFiles[2*i+1]
			}
			err = fmt.Errorf("data: %s: no %s or %s.gz beside its other half", dir, missing, missing)
		default:
			parts[i], err = readIdxPart("fashion-mnist", split, fashionClasses, images, labels)
			if d := parts[i]; err == nil && (d.Height != fashionSide || d.Width != fashionSide) {
				err = fmt.Errorf("data: %s: images of %dx%d, want %dx%d", images, d.Height, d.Width, fashionSide, fashionSide)
			}
		}
		if err != nil {
			return nil, nil, err
		}
		parts[i].Normalize = FashionMNIST
	}
	if parts[0].Len()+parts[1].Len() == 0 {
		return nil, nil, errors.New("data: " + dir + ": no idx file of Fashion-MNIST in it")
	}
	return parts[0], parts[1], nil
}
