package serve

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"lowbit/infer"
	"lowbit/tensor"
)

// pictures answers with a packed network.
type pictures struct {
	*Server
	name string
	pool *infer.Pool
	// decoding has a place for each picture that is being decoded: those take far
	// more memory than the bodies they come from.
	decoding chan struct{}
}

// maxExamples bounds the examples of one request.
const maxExamples = 256

// maxPictures bounds the pictures of one form.
const maxPictures = 64

// prediction is the answer to a picture.
type prediction struct {
	Name    string             `json:"name,omitempty"` // of the file, where there are several
	Classes []infer.Prediction `json:"classes"`        // best first
}

// outputs is the answer to tensors: one row an example.
type outputs struct {
	Outputs [][]float32 `json:"outputs"`
}

func (p *pictures) describe(w http.ResponseWriter, _ *http.Request) {
	m := p.pool.Model()
	reply(w, map[string]any{
		"model": p.name, "input_shape": m.InputShape(), "output_shape": m.OutputShape(), "kernel": m.Kernel(),
		"labels": m.Info().Labels, "preprocess": m.Info().Preprocess, "max_body": p.c.MaxBody, "max_examples": maxExamples,
	})
}

// predict takes a picture as the body, pictures as the files of a form, {"inputs":
// [[...], ...]} as JSON, or float32 numbers, little endian, as octets.
func (p *pictures) predict(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), p.c.Timeout)
	defer cancel()
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "application/json":
		p.numbers(ctx, w, r, decodeJSON)
	case "application/octet-stream":
		p.numbers(ctx, w, r, decodeFloats)
	case "multipart/form-data":
		p.form(ctx, w, r)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			failRead(w, err)
			return
		}
		p.picture(ctx, w, r, body)
	}
}

// form answers the files of a form: one as a picture of its own, several as a
// list in their order.
func (p *pictures) form(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	files, names, err := formFiles(r)
	if err != nil {
		failRead(w, err)
		return
	}
	if len(files) == 1 {
		p.picture(ctx, w, r, files[0])
		return
	}
	all := make([]prediction, len(files))
	for i, body := range files {
		answer, ok := p.classify(ctx, w, r, body)
		if !ok {
			return
		}
		all[i] = prediction{Name: names[i], Classes: answer}
	}
	reply(w, map[string]any{"pictures": all})
}

// formFiles reads the files of a form and their names.
func formFiles(r *http.Request) (files [][]byte, names []string, err error) {
	form, err := r.MultipartReader()
	if err != nil {
		return nil, nil, err
	}
	for {
		part, err := form.NextPart()
		switch {
		case err == io.EOF && len(files) == 0:
			return nil, nil, fmt.Errorf("the form has no file")
		case err == io.EOF:
			return files, names, nil
		case err != nil:
			return nil, nil, err
		case part.FileName() == "":
			continue
		case len(files) == maxPictures:
			return nil, nil, fmt.Errorf("the form has more than %d files", maxPictures)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			return nil, nil, err
		}
		files, names = append(files, body), append(names, part.FileName())
	}
}

// topOf reads ?top=N.
func topOf(r *http.Request, classes int) (int, error) {
	s := r.URL.Query().Get("top")
	if s == "" {
		return min(5, classes), nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > classes {
		return 0, fmt.Errorf("top=%s, want 1 to %d", s, classes)
	}
	return n, nil
}

func (p *pictures) picture(ctx context.Context, w http.ResponseWriter, r *http.Request, body []byte) {
	if classes, ok := p.classify(ctx, w, r, body); ok {
		reply(w, prediction{Classes: classes})
	}
}

// classify decodes and classifies a picture; false if it has answered with an
// error.
func (p *pictures) classify(ctx context.Context, w http.ResponseWriter, r *http.Request, body []byte) ([]infer.Prediction, bool) {
	top, err := topOf(r, tensor.Shape(p.pool.Model().OutputShape()).Size())
	if err != nil {
		fail(w, http.StatusBadRequest, "top", err.Error())
		return nil, false
	}
	select {
	case p.decoding <- struct{}{}:
	case <-ctx.Done():
		failRun(w, ctx.Err())
		return nil, false
	}
	img, err := infer.DecodeImageWithin(bytes.NewReader(body), p.c.MaxPixels)
	<-p.decoding
	if err != nil {
		fail(w, http.StatusUnsupportedMediaType, "no_picture", err.Error())
		return nil, false
	}
	classes, err := p.pool.Classify(ctx, img, top)
	if err != nil {
		failRun(w, err)
		return nil, false
	}
	return classes, true
}

// numbers runs examples given as numbers.
func (p *pictures) numbers(ctx context.Context, w http.ResponseWriter, r *http.Request, decode func(io.Reader, int) ([]float32, error)) {
	m := p.pool.Model()
	size, classes := tensor.Shape(m.InputShape()).Size(), tensor.Shape(m.OutputShape()).Size()
	in, err := decode(r.Body, size)
	if err != nil {
		if strings.Contains(err.Error(), "request body too large") {
			failRead(w, err)
			return
		}
		fail(w, http.StatusBadRequest, "inputs", err.Error())
		return
	}
	out := make([]float32, len(in)/size*classes)
	if err := p.pool.Run(ctx, in, out); err != nil {
		failRun(w, err)
		return
	}
	answer := outputs{}
	for len(out) > 0 {
		answer.Outputs, out = append(answer.Outputs, out[:classes]), out[classes:]
	}
	reply(w, answer)
}

func decodeJSON(r io.Reader, size int) ([]float32, error) {
	var body struct {
		Inputs [][]float32 `json:"inputs"`
	}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return nil, fmt.Errorf(`want {"inputs": [[...], ...]}: %w`, err)
	}
	if n := len(body.Inputs); n < 1 || n > maxExamples {
		return nil, fmt.Errorf("%d examples, want 1 to %d", n, maxExamples)
	}
	var in []float32
	for i, x := range body.Inputs {
		if len(x) != size {
			return nil, fmt.Errorf("example %d has %d numbers, want %d", i, len(x), size)
		}
		in = append(in, x...)
	}
	return in, nil
}

func decodeFloats(r io.Reader, size int) ([]float32, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if n := len(b) / (4 * size); n < 1 || n > maxExamples || len(b)%(4*size) != 0 {
		return nil, fmt.Errorf("%d bytes, want 1 to %d examples of %d float32 numbers", len(b), maxExamples, size)
	}
	in := make([]float32, len(b)/4)
	for i := range in {
		if in[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])); in[i]-in[i] != 0 {
			return nil, fmt.Errorf("number %d is %g, want a finite one", i, in[i])
		}
	}
	return in, nil
}
