package quickstart

import (
	"context"
	"fmt"
	"path/filepath"

	"lowbit/app/bench"
	"lowbit/app/report"
	"lowbit/app/verify"
	"lowbit/data"
	"lowbit/load"
	"lowbit/train"
)

// Deployed is a network as files that run on integers, and what they were found
// to do.
type Deployed struct {
	Bits      string `json:"bits"`
	Method    string `json:"method"`
	Packed    string `json:"packed"`
	ONNX      string `json:"onnx"`
	SizeBytes int64  `json:"size_bytes"` // of the packed file
	// Accuracy is the integer engine's, on all test images.
	Accuracy float64 `json:"accuracy"`
	// Compared images gave the codes of the trained network's graph in every
	// layer.
	Compared int `json:"compared"`
	// MS is the median time of one image on one thread.
	MS     float64 `json:"ms"`
	Kernel string  `json:"kernel"`
}

// deployedRuns are the runs of which files are written, by method and bits.
var deployedRuns = [][2]string{{"ptq", "w8a8"}, {"lsq", "w4a4"}, {"lsq", "w2a2"}}

// compared images are run through plain loops over the graph, too.
const compared = 50

// deploy exports the networks worth it, verifies and times the files.
func (s *session) deploy(ctx context.Context) error {
	s.say("Writing files that run on integers; verifying and timing them.")
	for _, want := range deployedRuns {
		for _, r := range s.result.Runs {
			if r.Method != want[0] || r.Bits != want[1] {
				continue
			}
			d, err := s.export(ctx, r)
			if ctx.Err() != nil {
				return train.ErrInterrupted
			}
			if err != nil {
				return fmt.Errorf("quickstart: %s %s: %w", r.Method, r.Bits, err)
			}
			s.result.Deployed = append(s.result.Deployed, d)
			s.say("  %s: %.2f %% on integers, %.2f ms an image on one thread; %d images gave the trained codes in every layer",
				d.Bits, 100*d.Accuracy, d.MS, d.Compared)
		}
	}
	return nil
}

// export writes a run's files, and measures the packed one.
func (s *session) export(ctx context.Context, r Run) (Deployed, error) {
	d := Deployed{Bits: r.Bits, Method: r.Method, Packed: filepath.Join(s.Out, r.Bits+".lowbit.safetensors"), ONNX: filepath.Join(s.Out, r.Bits+".onnx")}
	l, err := load.Model(r.Run, load.Options{})
	if err != nil {
		return d, err
	}
	packed, err := verify.Pack(d.Packed, l, s.test)
	if err != nil {
		return d, err
	}
	d.SizeBytes = packed.SizeBytes
	if _, err := verify.ONNX(d.ONNX, l, s.test, verify.QCDQ); err != nil {
		return d, err
	}
	trained, err := verify.Lower(l)
	if err != nil {
		return d, err
	}
	file, err := verify.Open(d.Packed, load.Options{})
	if err != nil {
		return d, err
	}
	defer file.Close()
	return d, s.measure(ctx, file, trained, &d)
}

// measure compares a file with the network it was made from, and measures its
// accuracy and its time.
func (s *session) measure(ctx context.Context, file, trained *verify.Network, d *Deployed) error {
	norm := data.Normalization{Mean: file.Info.Mean, Std: file.Info.Std}
	if len(norm.Mean) == 0 {
		norm = s.test.Normalize
	}
	threads := s.e.Threads()
	same, err := verify.Compare(ctx, file, trained, s.test.Limit(compared), norm, threads, nil)
	if err != nil {
		return err
	}
	if !same.Equal {
		return fmt.Errorf("%s is not the trained network: %d of %d images differ, first in example %d: %v",
			d.Packed, same.Differing, same.Examples, same.Example, same.FirstDifference)
	}
	d.Compared = same.Examples
	e, err := file.Evaluate(ctx, s.test, norm, batch, threads, false, nil)
	if err != nil {
		return err
	}
	c := bench.DefaultInfer()
	c.PeakSeconds = 0
	t, err := bench.Infer(ctx, file.Model, 1, c)
	d.Accuracy, d.MS, d.Kernel = e.Accuracy, t.MedianMS, t.Kernel
	return err
}

// files are the deployed networks as the page shows them.
func (s *session) files() []report.File {
	var all []report.File
	for _, d := range s.result.Deployed {
		all = append(all, report.File{Bits: d.Bits, Name: filepath.Base(d.Packed), ONNX: filepath.Base(d.ONNX), SizeBytes: d.SizeBytes, Accuracy: d.Accuracy, Compared: d.Compared, MS: d.MS})
	}
	return all
}
