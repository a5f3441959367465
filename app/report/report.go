// Package report makes one HTML page of runs: accuracy against bits, loss
// curves, a table of layers, and what was run where. The page is a single file
// without scripts that asks for nothing: it opens offline, in light and dark.
package report

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"lowbit/app/inspect"
	"lowbit/app/quantize"
	"lowbit/internal/atomicfile"
	"lowbit/train"
)

// Config says what stands on the page beside the runs.
type Config struct {
	// Title of the page; default: the networks' names.
	Title string
	// Lead is a sentence or two under the title; default: what the narrowest run
	// that lost little costs.
	Lead string
	// Next lists commands to go on with.
	Next []string
	// Files are networks as written for use.
	Files []File
	// Made is the time that stands on the page.
	Made time.Time
}

// File is a network as a packed file.
type File struct {
	Bits       string
	Name, ONNX string // of the files
	SizeBytes  int64
	Accuracy   float64 // on integers
	Compared   int     // images that gave the trained network's codes
	MS         float64 // an image on one thread
}

// Run is one run as the page shows it.
type Run struct {
	Name, Dir     string
	Model, Method string
	Bits          string // "w4a4", "fp32"
	Weight, Act   int    // bits of most layers; 32 for float32
	Accuracy, SE  float64
	// FP32 is the accuracy of the network it was made from; 0 if not known.
	FP32, FP32SE float64
	Examples     int
	Part         string
	Residual     string
	Size, FP32Of int64 // bytes, now and with all weights in float32
	Layers       []inspect.Layer
	Record       train.Record
	Metrics      []train.Metric
}

// Load reads a run directory of training or quantization. A run that is not
// finished is an error.
func Load(dir string) (Run, error) {
	rec, err := train.ReadRecord(dir)
	if err != nil {
		return Run{}, fmt.Errorf("report: %w", err)
	}
	if !rec.Result.Complete {
		return Run{}, fmt.Errorf("report: %s: the run is not finished", dir)
	}
	r := Run{
		Name: filepath.Base(filepath.Clean(dir)), Dir: dir, Model: rec.Model, Method: rec.Method, Record: rec,
		Accuracy: rec.Result.Accuracy, SE: rec.Result.StandardError, Examples: rec.Result.Examples, Part: "test",
		Bits: "fp32", Weight: 32, Act: 32,
	}
	if r.Metrics, err = train.ReadMetrics(dir); err != nil {
		return r, fmt.Errorf("report: %w", err)
	}
	o, err := quantize.Read(dir)
	switch {
	case err == nil:
		r.fill(o)
		return r, nil
	case !errors.Is(err, fs.ErrNotExist):
		return r, fmt.Errorf("report: %w", err)
	}
	g, store, _, err := train.Open(dir)
	if err != nil {
		return r, fmt.Errorf("report: %w", err)
	}
	n, err := inspect.Describe(g, store, nil)
	if err != nil {
		return r, fmt.Errorf("report: %s: %w", dir, err)
	}
	r.Layers, r.Size, r.FP32Of = n.Layers, n.SizeBytes, n.FP32Bytes
	return r, nil
}

// fill takes what a quantization recorded.
func (r *Run) fill(o quantize.Outcome) {
	r.Method, r.Bits, r.Part, r.Residual = o.Method, bitsLabel(o), o.Part, o.Residual
	r.FP32, r.FP32SE, r.Size, r.FP32Of, r.Layers = o.FP32Accuracy, o.FP32StandardError, o.SizeBytes, o.FP32SizeBytes, o.Layers
	w := o.Plan.Default
	r.Weight, r.Act = cmp.Or(w.Weight, 32), cmp.Or(w.Act, 32)
}

// bitsLabel is the plan's name; a bits file's is its file name.
func bitsLabel(o quantize.Outcome) string {
	return strings.TrimSuffix(filepath.Base(o.Bits), ".json")
}

// Drop is what the run lost, in points; ok is false where the accuracy before is
// not known.
func (r Run) Drop() (points float64, ok bool) {
	return 100 * (r.FP32 - r.Accuracy), r.FP32 > 0
}

// quantized reports whether the run has bits to show.
func (r Run) quantized() bool { return r.Weight < 32 || r.Act < 32 || r.FP32 > 0 }

// order sorts runs: by model, wide to narrow, then method and name.
func order(runs []Run) []Run {
	s := slices.Clone(runs)
	slices.SortStableFunc(s, func(a, b Run) int {
		return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(b.Weight, a.Weight), cmp.Compare(b.Act, a.Act),
			cmp.Compare(a.Bits, b.Bits), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Name, b.Name))
	})
	return s
}

// Write makes path the page of some runs.
func Write(path string, runs []Run, c Config) error {
	if len(runs) == 0 {
		return errors.New("report: no runs")
	}
	p, err := newPage(order(runs), c)
	if err != nil {
		return err
	}
	err = atomicfile.Write(path, func(w io.Writer) error { return templates.ExecuteTemplate(w, "page.html", p) })
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// percent writes a share as "91.73 %", with a no-break space.
func percent(x float64) string { return strconv.FormatFloat(100*x, 'f', 2, 64) + "\u00a0%" }

// bytes writes a size in kB or MB (10^3 and 10^6 bytes).
func bytes(n int64) string {
	switch {
	case n <= 0:
		return "–"
	case n < 1_000_000:
		return fmt.Sprintf("%.0f\u00a0kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.2f\u00a0MB", float64(n)/1e6)
}

// seconds writes a time as people say it.
func seconds(s float64) string {
	switch n := int(s + 0.5); {
	case s < 10:
		return fmt.Sprintf("%.1f\u00a0s", s)
	case n < 120:
		return fmt.Sprintf("%d\u00a0s", n)
	case n < 7200:
		return fmt.Sprintf("%d\u00a0min", (n+30)/60)
	default:
		return fmt.Sprintf("%.1f\u00a0h", s/3600)
	}
}

// thousands writes 10000 as "10,000".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
