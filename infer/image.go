package infer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/gif" // image.Decode knows the formats by these
	_ "image/jpeg"
	_ "image/png"
	"io"
	"slices"
	"strconv"

	"golang.org/x/image/draw"
)

// MaxImagePixels is the largest picture that is decoded, 100 megapixels.
const MaxImagePixels = 100 << 20

// maxSide bounds the sizes of a Preprocess.
const maxSide = 8192

func (p *Preprocess) check() error {
	switch {
	case p.Channels != 1 && p.Channels != 3:
		return fmt.Errorf("preprocessing to %d channels, want 1 or 3", p.Channels)
	case min(p.Height, p.Width) < 1 || max(p.Height, p.Width, p.Resize) > maxSide || p.Resize < 0:
		return fmt.Errorf("preprocessing to %d x %d from a short side of %d, want 1 to %d", p.Height, p.Width, p.Resize, maxSide)
	case p.Resize > 0 && p.Resize < max(p.Height, p.Width):
		return fmt.Errorf("preprocessing to %d x %d from a short side of %d", p.Height, p.Width, p.Resize)
	case len(p.Mean) != p.Channels || len(p.Std) != p.Channels:
		return fmt.Errorf("%d means and %d deviations for %d channels", len(p.Mean), len(p.Std), p.Channels)
	}
	for _, s := range p.Std {
		if !(s > 0) {
			return fmt.Errorf("deviations %v, want positive ones", p.Std)
		}
	}
	return nil
}

// DecodeImage reads a JPEG, PNG or GIF picture of at most MaxImagePixels; r is
// read twice and must seek.
func DecodeImage(r io.ReadSeeker) (image.Image, error) { return DecodeImageWithin(r, MaxImagePixels) }

// DecodeImageWithin is DecodeImage with a bound of the caller's on the pixels; a
// decoded picture takes up to 8 bytes for each.
func DecodeImageWithin(r io.ReadSeeker, pixels int64) (image.Image, error) {
	c, format, err := image.DecodeConfig(r)
	if err != nil {
		return nil, fmt.Errorf("infer: picture: %w", err)
	}
	if int64(c.Width)*int64(c.Height) > pixels {
		return nil, fmt.Errorf("infer: picture: %s of %d x %d, want at most %d pixels", format, c.Width, c.Height, pixels)
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("infer: picture: %w", err)
	}
	img, _, err := image.Decode(r)
	if err != nil {
		return nil, fmt.Errorf("infer: picture: %w", err)
	}
	return img, nil
}

// Input sets dst [Channels, Height, Width] to a picture: resized bilinearly
// with antialiasing, cut, normalised. Transparent pixels lie over black.
func (p *Preprocess) Input(dst []float32, img image.Image) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("infer: %w", err)
	}
	if len(dst) != p.Channels*p.Height*p.Width {
		return fmt.Errorf("infer: preprocess: %d values, want %d x %d x %d", len(dst), p.Channels, p.Height, p.Width)
	}
	b := img.Bounds()
	if b.Dx() < 1 || b.Dy() < 1 {
		return fmt.Errorf("infer: preprocess: picture of %d x %d", b.Dx(), b.Dy())
	}
	view, err := p.view(img)
	if err != nil {
		return err
	}
	plane := p.Height * p.Width
	for i := range plane {
		px := view.Pix[4*i:][:3]
		if p.Channels == 1 { // ITU-R BT.601
			y := (299*int(px[0]) + 587*int(px[1]) + 114*int(px[2]) + 500) / 1000
			dst[i] = p.value(uint8(y), 0)
			continue
		}
		for c, v := range px {
			dst[c*plane+i] = p.value(v, c)
		}
	}
	return nil
}

// value normalises a pixel of channel c, each operation rounded.
func (p *Preprocess) value(v uint8, c int) float32 {
	return (float32(float32(v)/255) - p.Mean[c]) / p.Std[c]
}

// view resizes a picture so that its short side is Resize, as torchvision does,
// and returns the central Height x Width.
func (p *Preprocess) view(img image.Image) (*image.RGBA, error) {
	b := img.Bounds()
	resize := p.Resize
	if resize == 0 {
		resize = max(p.Height, p.Width)
	}
	if max(b.Dx(), b.Dy())/min(b.Dx(), b.Dy()) > MaxImagePixels/resize/resize {
		return nil, fmt.Errorf("infer: preprocess: %d x %d pixels is too long for a short side of %d", b.Dx(), b.Dy(), resize)
	}
	w, h := resize, resize
	if b.Dx() > b.Dy() {
		w = resize * b.Dx() / b.Dy()
	} else {
		h = resize * b.Dy() / b.Dx()
	}
	corner := image.Pt(halfEven(w-p.Width), halfEven(h-p.Height))
	out := image.NewRGBA(image.Rect(0, 0, p.Width, p.Height))
	if w == b.Dx() && h == b.Dy() {
		draw.Draw(out, out.Rect, img, b.Min.Add(corner), draw.Src)
	} else { // the whole picture is mapped, out cuts it
		draw.BiLinear.Scale(out, image.Rect(0, 0, w, h).Sub(corner), img, b, draw.Src, nil)
	}
	return out, nil
}

// halfEven returns n/2 rounded half to even; n is not negative.
func halfEven(n int) int {
	if n&3 == 3 {
		return n/2 + 1
	}
	return n / 2
}

// Prediction is one class of a picture.
type Prediction struct {
	Class       int     `json:"class"`
	Label       string  `json:"label"`       // of Info, else the class's number
	Probability float64 `json:"probability"` // the softmax of the results
}

// Classify preprocesses a picture, runs it and returns the k most probable
// classes, best first; ties in the order of classes.
func (s *Session) Classify(ctx context.Context, img image.Image, k int) ([]Prediction, error) {
	in, out, err := s.model.imageInput(img)
	if err != nil {
		return nil, err
	}
	if err := s.RunContext(ctx, in, out); err != nil {
		return nil, err
	}
	return s.model.Top(out, k), nil
}

// ClassifyAll is Classify for several pictures in one call, which the session's
// threads divide among them.
func (s *Session) ClassifyAll(ctx context.Context, images []image.Image, k int) ([][]Prediction, error) {
	var in []float32
	for i, img := range images {
		one, _, err := s.model.imageInput(img)
		if err != nil {
			return nil, fmt.Errorf("picture %d: %w", i, err)
		}
		in = append(in, one...)
	}
	if len(images) == 0 {
		return nil, nil
	}
	out := make([]float32, len(images)*product(s.model.plan.outputShape))
	if err := s.RunContext(ctx, in, out); err != nil {
		return nil, err
	}
	top, classes := make([][]Prediction, len(images)), len(out)/len(images)
	for i := range top {
		top[i] = s.model.Top(out[i*classes:][:classes], k)
	}
	return top, nil
}

// imageInput makes a picture the input of a run, and room for its result.
func (m *Model) imageInput(img image.Image) (in, out []float32, err error) {
	p := m.info.Preprocess
	if p == nil {
		return nil, nil, errors.New("infer: classify: the model does not say how a picture becomes its input")
	}
	if len(m.plan.outputShape) != 1 {
		return nil, nil, fmt.Errorf("infer: classify: the result is %v, want [classes]", m.plan.outputShape)
	}
	in, out = make([]float32, p.Channels*p.Height*p.Width), make([]float32, m.plan.outputShape[0])
	return in, out, p.Input(in, img)
}

// Top returns the k most probable classes of one result of logits.
func (m *Model) Top(logits []float32, k int) []Prediction {
	probability := make([]float32, len(logits))
	softmax(probability, logits, false)
	all := make([]Prediction, len(logits))
	for i := range all {
		all[i] = Prediction{Class: i, Label: strconv.Itoa(i), Probability: float64(probability[i])}
		if i < len(m.info.Labels) {
			all[i].Label = m.info.Labels[i]
		}
	}
	slices.SortStableFunc(all, func(a, b Prediction) int { return cmp.Compare(b.Probability, a.Probability) })
	return all[:min(max(k, 0), len(all))]
}
