package data

import (
	"bufio"
	"fmt"
	"image"
	_ "image/jpeg" // image.Decode knows JPEG by it
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/image/draw"
)

// FolderConfig says how the images of a folder come to one size.
type FolderConfig struct {
	Resize int // the short side becomes this; default 256 (torchvision's ImageNet evaluation)
	Crop   int // then the central square of this size is taken; default 224
}

// DefaultFolderConfig returns 256 and 224.
func DefaultFolderConfig() FolderConfig { return FolderConfig{Resize: 256, Crop: 224} }

// Validate checks 1 <= Crop <= Resize <= 8192.
func (c FolderConfig) Validate() error {
	if c.Crop < 1 || c.Crop > c.Resize || c.Resize > 8192 {
		return fmt.Errorf("data: image folder: crop %d of short side %d, want 1 <= crop <= resize <= 8192", c.Crop, c.Resize)
	}
	return nil
}

const (
	labelsTSV      = "labels.tsv"
	maxClassNumber = 1 << 20 // a bound on labels.tsv
	// maxImagePixels bounds one image of a folder: 100 megapixels.
	maxImagePixels = 100 << 20
)

// The parts of an image folder; the first name found is taken.
var (
	trainFolders = []string{"train"}
	testFolders  = []string{"test", "val", "valid", "validation"}
)

// OpenFolder opens a folder of JPEG and PNG images, decoded as they are
// wanted: RGB, short side resized (bilinear with antialiasing, as torchvision
// does), central square. Transparent pixels are laid over black. It may hold
//
//   - train/ and test/ (or val/), each with one folder of images a class;
//   - one folder of images a class: all of it is the test part;
//   - images and labels.tsv, lines "class number, file name without extension,
//     class name" parted by tabs: all of it is the test part.
//
// Classes are numbered in the order of their folders' names.
func OpenFolder(dir string, cfg FolderConfig) (train, test *Dataset, report Report, err error) {
	report = Report{Name: "imagefolder:" + dir, Path: dir, Form: "image folder"}
	if err := cfg.Validate(); err != nil {
		return nil, nil, report, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, report, fmt.Errorf("data: image folder: %w", err)
	}
	part := func(names []string) string {
		for _, n := range names {
			if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == n && isDir(filepath.Join(dir, n)) }) {
				return filepath.Join(dir, n)
			}
		}
		return ""
	}
	trainDir, testDir := part(trainFolders), part(testFolders)
	var lists [2]folderList
	switch {
	case slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == labelsTSV }):
		lists[1], err = listTSV(dir)
		report.Form = "image folder with " + labelsTSV
	case trainDir == "" && testDir == "":
		lists[1], err = listClasses(dir)
	default:
		lists, err = listParts(trainDir, testDir)
	}
	if err != nil {
		return nil, nil, report, err
	}
	if len(lists[0].files)+len(lists[1].files) == 0 {
		return nil, nil, report, fmt.Errorf("data: %s: no image found, want .jpg, .jpeg or .png files in class folders or beside %s", dir, labelsTSV)
	}
	train, test = lists[0].dataset(report.Name, "train", cfg), lists[1].dataset(report.Name, "test", cfg)
	report.Train = Found{Found: train.Len(), Want: train.Len()}
	report.Test = Found{Found: test.Len(), Want: test.Len() + lists[1].missing}
	report.Examples = train.Len() + test.Len()
	return train, test, report, nil
}

type folderList struct {
	classes []string
	files   []string
	labels  []int32
	missing int // listed files that are not there
}

func isDir(p string) bool {
	info, err := os.Stat(p) // follows links: data is often linked in
	return err == nil && info.IsDir()
}

func isImageName(n string) bool {
	switch strings.ToLower(filepath.Ext(n)) {
	case ".jpg", ".jpeg", ".png":
		return !strings.HasPrefix(n, ".")
	}
	return false
}

// listClasses lists dir/CLASS/IMAGE.
func listClasses(dir string) (folderList, error) {
	var l folderList
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return l, fmt.Errorf("data: image folder: %w", err)
	}
	for _, e := range entries {
		sub := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") || !isDir(sub) {
			continue
		}
		images, err := os.ReadDir(sub)
		if err != nil {
			return l, fmt.Errorf("data: image folder: %w", err)
		}
		for _, f := range images {
			if isImageName(f.Name()) {
				l.files = append(l.files, filepath.Join(sub, f.Name()))
				l.labels = append(l.labels, int32(len(l.classes)))
			}
		}
		l.classes = append(l.classes, e.Name())
	}
	return l, nil
}

// listParts lists both parts under one numbering of classes: that of train,
// where there is one.
func listParts(trainDir, testDir string) (lists [2]folderList, err error) {
	for i, d := range [2]string{trainDir, testDir} {
		if d == "" {
			continue
		}
		if lists[i], err = listClasses(d); err != nil {
			return lists, err
		}
	}
	if trainDir == "" || testDir == "" {
		lists[0].classes = append(lists[0].classes, lists[1].classes...)
		lists[1].classes = lists[0].classes
		return lists, nil
	}
	to := make([]int32, len(lists[1].classes))
	for i, c := range lists[1].classes {
		n, ok := slices.BinarySearch(lists[0].classes, c)
		if !ok {
			return lists, fmt.Errorf("data: %s: class %q, want one of the %d classes of %s", testDir, c, len(lists[0].classes), trainDir)
		}
		to[i] = int32(n)
	}
	for i, y := range lists[1].labels {
		lists[1].labels[i] = to[y]
	}
	lists[1].classes = lists[0].classes
	return lists, nil
}

// listTSV lists the images that dir/labels.tsv names.
func listTSV(dir string) (folderList, error) {
	var l folderList
	p := filepath.Join(dir, labelsTSV)
	f, err := os.Open(p)
	if err != nil {
		return l, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for line := 1; sc.Scan(); line++ {
		if strings.TrimSpace(sc.Text()) == "" {
			continue
		}
		col := strings.Split(sc.Text(), "\t")
		if len(col) != 3 || col[1] == "" {
			return l, fmt.Errorf("data: %s: line %d has %d columns, want class number, file name and class name parted by tabs", p, line, len(col))
		}
		y, err := strconv.Atoi(col[0])
		if err != nil || y < 0 || y >= maxClassNumber {
			return l, fmt.Errorf("data: %s: line %d: class number %q, want 0..%d", p, line, col[0], maxClassNumber-1)
		}
		if !filepath.IsLocal(col[1]) {
			return l, fmt.Errorf("data: %s: line %d: file name %q leads out of the folder", p, line, col[1])
		}
		for y >= len(l.classes) {
			l.classes = append(l.classes, "")
		}
		if old := l.classes[y]; old != "" && old != col[2] {
			return l, fmt.Errorf("data: %s: line %d: class %d is %q, but %q before", p, line, y, col[2], old)
		}
		l.classes[y] = col[2]
		if img := findImage(filepath.Join(dir, col[1])); img != "" {
			l.files, l.labels = append(l.files, img), append(l.labels, int32(y))
		} else {
			l.missing++
		}
	}
	if err := sc.Err(); err != nil {
		return l, fmt.Errorf("data: %s: %w", p, err)
	}
	return l, nil
}

func findImage(stem string) string {
	for _, ext := range []string{".jpg", ".jpeg", ".png", ".JPEG", ".JPG", ".PNG"} {
		if _, err := os.Stat(stem + ext); err == nil {
			return stem + ext
		}
	}
	return ""
}

func (l folderList) dataset(name, split string, cfg FolderConfig) *Dataset {
	return &Dataset{
		Name: name, Split: split, Classes: l.classes, Normalize: ImageNet,
		Channels: 3, Height: cfg.Crop, Width: cfg.Crop,
		labels: l.labels,
		decode: func(i int, dst []uint8) error { return decodeImageFile(l.files[i], cfg, dst) },
	}
}

// decodeImageFile fills dst [3, cfg.Crop, cfg.Crop].
func decodeImageFile(file string, cfg FolderConfig, dst []uint8) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	head, _, err := image.DecodeConfig(f)
	if err != nil {
		return fmt.Errorf("data: %s: want a JPEG or PNG: %w", file, err)
	}
	if head.Width < 1 || head.Height < 1 || head.Width > maxImagePixels/head.Height {
		return fmt.Errorf("data: %s: %dx%d pixels, want 1..%d", file, head.Width, head.Height, maxImagePixels)
	}
	// The long side grows with the short one; a strip would need a picture of
	// any size to be made of it.
	if max(head.Width, head.Height)/min(head.Width, head.Height) > maxImagePixels/cfg.Resize/cfg.Resize {
		return fmt.Errorf("data: %s: %dx%d pixels is too long for a short side of %d", file, head.Width, head.Height, cfg.Resize)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("data: %s: %w", file, err)
	}
	img, _, err := image.Decode(bufio.NewReader(f))
	if err != nil {
		return fmt.Errorf("data: %s: damaged image: %w", file, err)
	}
	cropInto(img, cfg, dst)
	return nil
}

// cropInto resizes img so that its short side is cfg.Resize and writes the
// central square to dst [3, cfg.Crop, cfg.Crop].
func cropInto(img image.Image, cfg FolderConfig, dst []uint8) {
	b := img.Bounds()
	w, h := cfg.Resize, cfg.Resize
	if b.Dx() > b.Dy() {
		w = cfg.Resize * b.Dx() / b.Dy()
	} else {
		h = cfg.Resize * b.Dy() / b.Dx()
	}
	// The corner as torchvision rounds it: half to even.
	corner := image.Pt(halfEven(w-cfg.Crop), halfEven(h-cfg.Crop))
	out := image.NewRGBA(image.Rect(0, 0, cfg.Crop, cfg.Crop))
	if w == b.Dx() && h == b.Dy() {
		draw.Draw(out, out.Rect, img, b.Min.Add(corner), draw.Src)
	} else {
		// The whole picture is mapped; the clip to out does the crop.
		draw.BiLinear.Scale(out, image.Rect(0, 0, w, h).Sub(corner), img, b, draw.Src, nil)
	}
	n := cfg.Crop * cfg.Crop
	for i := range n {
		dst[i], dst[n+i], dst[2*n+i] = out.Pix[4*i], out.Pix[4*i+1], out.Pix[4*i+2]
	}
}

// halfEven returns n/2 rounded half to even; n >= 0.
func halfEven(n int) int {
	if n&3 == 3 {
		return n/2 + 1
	}
	return n / 2
}
