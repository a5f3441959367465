package quickstart

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/app/quantize"
	"lowbit/app/report"
	"lowbit/data"
	"lowbit/engine"
	"lowbit/load"
	"lowbit/method/lsq/lsqtest"
	"lowbit/model"
	"lowbit/train"
)

// silent is a Config that shows nothing and keeps what was said.
func silent(said *[]string) Config {
	return Config{
		Minutes: 0.02, Seed: 1,
		Say:      func(s string) { *said = append(*said, s) },
		Progress: func(string) func(train.Progress) { return nil },
		Fetching: func(data.Progress) {},
	}
}

// The whole of it behind the data: a small trained network on its data.
func TestFromATrainedNetworkToTheReport(t *testing.T) {
	e := engine.New(2)
	defer e.Close()
	base, job, full := lsqtest.Pretrained(t, e)
	var said []string
	s := &session{Config: silent(&said), e: e, base: base, train: job.Train, test: job.Test}
	s.Out, s.Model = t.TempDir(), "small"
	s.base.Epochs = 0
	s.net = &load.Loaded{Graph: job.Graph, Store: job.Store, Info: model.Info{}, Weights: "test"}
	ctx := context.Background()
	var err error
	if s.fp32, err = s.evaluate(ctx); err != nil || s.fp32.Accuracy != full {
		t.Fatalf("%v: accuracy %g, want %g", err, s.fp32.Accuracy, full)
	}
	if err := s.withoutTraining(ctx, "w2a2"); err != nil {
		t.Fatal(err)
	}
	images, err := s.imagesFor(ctx)
	if err != nil || images[0] < 128 || images[1] > 2*512 {
		t.Fatalf("%v: %v images", err, images)
	}
	if err := s.withTraining(ctx, "w2a2", 1024); err != nil {
		t.Fatal(err)
	}
	if err := s.withTraining(ctx, "w4a4", 256); err != nil {
		t.Fatal(err)
	}
	r := s.result.Runs
	if r[1].TrainImages != 1024 || r[1].Epochs != 2 || r[2].TrainImages != 256 || r[2].Epochs != 1 {
		t.Errorf("%+v", r)
	}
	if err := s.deploy(ctx); err != nil {
		t.Fatal(err)
	}
	if d := s.result.Deployed; len(d) != 2 || d[0].Bits != "w4a4" || d[0].Compared != min(compared, job.Test.Len()) || !(d[0].MS > 0) ||
		math.Abs(d[0].Accuracy-r[2].Accuracy) > 0.02 || d[1].SizeBytes >= d[0].SizeBytes {
		t.Errorf("deployed %+v", d)
	}
	if _, err := load.Model(filepath.Join(s.Out, "w2a2.onnx"), load.Options{}); err != nil {
		t.Error(err)
	}
	if err := s.report(); err != nil {
		t.Fatal(err)
	}
	if page, err := os.ReadFile(filepath.Join(s.Out, "report.html")); err != nil || !strings.Contains(string(page), "w2a2.lowbit.safetensors") {
		t.Errorf("%v: the page does not name the files", err)
	}
	x, err := report.Load(r[1].Run)
	if err != nil || x.Bits != "w2a2" || x.FP32 != full {
		t.Errorf("%v: %+v", err, x)
	}
	o, err := quantize.Read(filepath.Join(s.Out, "w4a4-lsq"))
	if err != nil || o.Accuracy != r[2].Accuracy || len(o.Layers) == 0 {
		t.Errorf("%v: %+v", err, o)
	}
	if len(said) < 5 || len(s.result.Next) != 2 {
		t.Errorf("said %q, next %q", said, s.result.Next)
	}
}

func TestWithoutDataWhatWasTriedIsListed(t *testing.T) {
	var said []string
	c := silent(&said)
	c.Data, c.DataDir = "imagefolder:"+filepath.Join(t.TempDir(), "none"), "/data"
	_, err := Do(context.Background(), engine.New(1), c)
	if err == nil || !strings.Contains(err.Error(), "Tried") || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("error %v", err)
	}
	r := data.Report{Attempts: []data.Attempt{{Source: "https x", Failure: "no route"}, {Source: "npm y", Failure: "no npm"}, {Source: "z"}}}
	lines := failures("cifar10", r, errors.New("gone"))
	if len(lines) != 2 || lines[0] != "  cifar10, https x: no route" || lines[1] != "  cifar10, npm y: no npm" {
		t.Errorf("%q", lines)
	}
	if lines := failures("cifar10", data.Report{}, errors.New("gone")); len(lines) != 1 || !strings.Contains(lines[0], "gone") {
		t.Errorf("%q", lines)
	}
}

func TestAnEndedContextStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var said []string
	c := silent(&said)
	c.Data, c.DataDir = "cifar10", t.TempDir()
	if _, err := Do(ctx, engine.New(1), c); !errors.Is(err, train.ErrInterrupted) {
		t.Errorf("error %v", err)
	}
}
