// Package data reads what networks learn from: sets of labelled images, and
// texts with their tasks.
//
// Open finds a set of images by name and gives its training and test part as Datasets;
// Get fetches it first; a Loader turns a Dataset into normalised, augmented
// float32 batches on worker goroutines, with bits that depend on the seed, the
// epoch and the example alone. ReadDocuments, Pack and NewMixture do the same
// for texts; ReadSST2, ReadSTSB, ReadMRPC, ReadSQuAD and ReadChoices read tasks.
package data

import (
	"fmt"
	"slices"

	"lowbit/internal/rng"
)

// Normalization maps a pixel p (0..255) of channel c to (p/255 - Mean[c]) /
// Std[c], each operation rounded to float32.
type Normalization struct {
	Mean, Std []float32 // [channel], in units of the full range 0..1
}

// Presets.
var (
	// ImageNet is what networks trained with torchvision's constants expect,
	// the published CIFAR-10 residual networks among them.
	ImageNet = Normalization{Mean: []float32{.485, .456, .406}, Std: []float32{.229, .224, .225}}
	// FashionMNIST is the mean and deviation of that set's training pixels.
	FashionMNIST = Normalization{Mean: []float32{.2860}, Std: []float32{.3530}}
)

// Dataset is a list of labelled images of one size. It is a view: Limit and
// HoldOut share its pixels. It is safe for concurrent use.
type Dataset struct {
	Name    string   // such as "cifar10"
	Split   string   // "train", "test", or a part of one such as "train-heldout"
	Classes []string // the name of class i

	Channels, Height, Width int

	// Normalize is the preset that networks for this set are trained with.
	Normalize Normalization

	labels []int32 // [stored], one class number an image
	pixels []uint8 // [stored, channel, height, width], nil when decode is set
	// decode fills dst [channel, height, width] with stored image i.
	decode func(i int, dst []uint8) error
	view   []int32 // example -> stored; nil means all, in order
}

// New returns a Dataset over pixels [n, channels, height, width], which it
// keeps, and n labels, each a number of a class.
func New(name, split string, classes []string, channels, height, width int, pixels []uint8, labels []int32) (*Dataset, error) {
	d := &Dataset{
		Name: name, Split: split, Classes: classes,
		Channels: channels, Height: height, Width: width,
		pixels: pixels, labels: labels,
	}
	if channels < 1 || height < 1 || width < 1 {
		return nil, fmt.Errorf("data: %s: image size %dx%dx%d, want at least 1x1x1", name, channels, height, width)
	}
	if want := len(labels) * d.ImageSize(); len(pixels) != want {
		return nil, fmt.Errorf("data: %s: %d pixel bytes for %d images of %dx%dx%d, want %d",
			name, len(pixels), len(labels), channels, height, width, want)
	}
	for i, y := range labels {
		if y < 0 || int(y) >= len(classes) {
			return nil, fmt.Errorf("data: %s: label %d of image %d, want 0..%d", name, y, i, len(classes)-1)
		}
	}
	return d, nil
}

// Len returns the number of examples.
func (d *Dataset) Len() int {
	if d.view != nil {
		return len(d.view)
	}
	return len(d.labels)
}

// ImageSize returns channels*height*width, the bytes of one image.
func (d *Dataset) ImageSize() int { return d.Channels * d.Height * d.Width }

func (d *Dataset) stored(i int) int {
	if d.view != nil {
		return int(d.view[i])
	}
	return i
}

// Label returns the class number of example i. Like an index expression it
// panics if i is outside 0..Len()-1.
func (d *Dataset) Label(i int) int32 { return d.labels[d.stored(i)] }

// Pixels returns example i as [channel, height, width] bytes. An image in
// memory is returned itself, not to be changed; one that must be decoded is
// written to buf, which is grown where it is too short. The error of an
// undecodable image names its file. It panics if i is outside 0..Len()-1.
func (d *Dataset) Pixels(i int, buf []uint8) ([]uint8, error) {
	s, n := d.stored(i), d.ImageSize()
	if d.decode == nil {
		return d.pixels[s*n : (s+1)*n : (s+1)*n], nil
	}
	buf = slices.Grow(buf[:0], n)[:n]
	if err := d.decode(s, buf); err != nil {
		return nil, err
	}
	return buf, nil
}

// InMemory reports whether pixels are held decoded, so that reading one costs
// nothing.
func (d *Dataset) InMemory() bool { return d.decode == nil }

func (d *Dataset) with(split string, view []int32) *Dataset {
	c := *d
	c.Split, c.view = split, view
	return &c
}

// Limit returns the first n examples; all of them if n is 0, negative or more
// than there are.
func (d *Dataset) Limit(n int) *Dataset {
	if n <= 0 || n >= d.Len() {
		return d
	}
	return d.with(d.Split, d.order()[:n:n])
}

func (d *Dataset) order() []int32 {
	if d.view != nil {
		return d.view
	}
	v := make([]int32, len(d.labels))
	for i := range v {
		v[i] = int32(i)
	}
	return v
}

// holdOutDomain keeps HoldOut's randomness apart from a loader's of the same
// seed.
const holdOutDomain = 0x686f6c64

// HoldOut draws n examples without replacement and returns the others and the
// drawn ones, each in the original order. The draw depends on seed and Len
// alone: tune on held, and report the test part once. It fails unless n is in
// 0..Len().
func (d *Dataset) HoldOut(n int, seed uint64) (kept, held *Dataset, err error) {
	if n < 0 || n > d.Len() {
		return nil, nil, fmt.Errorf("data: %s %s: hold out %d examples, want 0..%d", d.Name, d.Split, n, d.Len())
	}
	perm := make([]int32, d.Len())
	s := rng.New(holdOutDomain, seed)
	s.Perm(perm)
	slices.Sort(perm[:n])
	slices.Sort(perm[n:])
	order := d.order()
	for i, p := range perm {
		perm[i] = order[p]
	}
	return d.with(d.Split+"-kept", perm[n:]), d.with(d.Split+"-heldout", perm[:n:n]), nil
}
