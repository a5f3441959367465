package cli

import (
	"errors"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lowbit/format/onnx"
	"lowbit/format/safetensors"
)

// packed exports a network of 4 bits without training and returns its run and
// the file.
func packed(t *testing.T) (run, file string) {
	t.Helper()
	fp32 := trained(t)
	run = filepath.Join(filepath.Dir(fp32), "ptq")
	file = filepath.Join(filepath.Dir(fp32), "tiny"+packedExt)
	object(t, quantizeArgs(fp32, "--method", "ptq", "--bits", "w4a4", "--out", run)...)
	v := object(t, "export", "--model", run, "--to", "packed", "--out", file)
	fields(t, v, "path", "size_bytes", "verified")
	stat, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if v["path"] != file || v["verified"] != true || number(t, v, "size_bytes") != float64(stat.Size()) {
		t.Errorf("%v, the file has %d bytes", v, stat.Size())
	}
	if labels, _ := v["labels"].([]any); len(labels) != 10 || labels[3] != "cat" {
		t.Errorf("labels %v, want CIFAR-10's", v["labels"])
	}
	wantFailure(t, 1, []string{"export", "--model", run, "--out", file}, "--force")
	wantFailure(t, 1, []string{"eval", "--model", fp32, "--data", "cifar10", "--engine", "integer"}, "full precision")
	wantFailure(t, 1, []string{"export", "--model", fp32, "--out", file + "2.safetensors"}, "full precision", "lowbit quantize")
	wantFailure(t, 2, []string{"export", "--model", run, "--to", "tflite", "--out", file}, `"tflite"`, "have packed")
	wantFailure(t, 2, []string{"export", "--model", run}, "--out FILE")
	return run, file
}

// The life of a packed file, verb after verb.
func TestExportEvalVerifyRunBench(t *testing.T) {
	run, file := packed(t)
	if entries, err := filepath.Glob(file + "*"); err != nil || !slices.Equal(entries, []string{file}) {
		t.Errorf("%v, %v: a refused export left a file", entries, err)
	}

	float := object(t, "eval", "--model", run, "--data", "cifar10", "--limit", "200")
	integer := object(t, "eval", "--model", run, "--data", "cifar10", "--limit", "200", "--engine", "integer")
	fields(t, integer, "accuracy", "top5", "loss", "examples", "engine", "float_accuracy")
	if integer["engine"] != "integer" || integer["float_accuracy"] != float["accuracy"] || number(t, integer, "examples") != 200 {
		t.Errorf("%v beside %v of the float engine", integer, float)
	}
	// A code that the engines round to different sides may turn one example.
	if math.Abs(number(t, integer, "accuracy")-number(t, float, "accuracy")) > 0.01 {
		t.Errorf("accuracy %v on integers, %v in float", integer["accuracy"], float["accuracy"])
	}
	again := object(t, "eval", "--model", file, "--data", "cifar10", "--limit", "200", "--engine", "integer", "--batch", "7")
	if again["accuracy"] != integer["accuracy"] || again["loss"] != integer["loss"] {
		t.Errorf("the file gives %v, its run %v", again, integer)
	}
	if f := object(t, "eval", "--model", file, "--data", "cifar10", "--limit", "200"); f["accuracy"] != again["float_accuracy"] || f["engine"] != "float" {
		t.Errorf("the file gives %v on the float engine", f)
	}

	logits := filepath.Join(t.TempDir(), "logits.safetensors")
	beside := object(t, "eval", "--model", file, "--data", "cifar10", "--limit", "200", "--engine", "integer", "--teacher", run, "--logits", logits)
	if a := number(t, beside, "top1_agreement"); beside["teacher_accuracy"] != float["accuracy"] || a < 0.99 || beside["accuracy"] != integer["accuracy"] {
		t.Errorf("%v, its teacher by itself %v", beside, float)
	}
	if other := object(t, "eval", "--model", file, "--data", "cifar10", "--limit", "200", "--teacher", "resnet20"); number(t, other, "top1_agreement") >= 1 {
		t.Errorf("two different networks agree on everything: %v", other)
	}
	if kept, err := safetensors.Open(logits); err != nil {
		t.Error(err)
	} else {
		if info, ok := kept.Info("logits"); !ok || !slices.Equal(info.Shape, []int{200, 10}) {
			t.Errorf("logits %v", info)
		}
		kept.Close()
	}

	same := object(t, "verify", "--model", file, "--against", run, "--data", "cifar10", "--limit", "5")
	fields(t, same, "max_abs_diff", "first_difference")
	if same["equal"] != true || same["first_difference"] != nil || number(t, same, "examples") != 5 || number(t, same, "layers") < 4 {
		t.Errorf("%v", same)
	}
	if turned := object(t, "verify", "--model", run, "--against", file, "--data", "cifar10", "--limit", "2"); turned["equal"] != true {
		t.Errorf("%v", turned)
	}
	wantFailure(t, 2, []string{"verify", "--model", file, "--data", "cifar10"}, "--against")

	infers := object(t, "bench", "infer", "--model", file, "--batch", "3", "--threads", "1", "--steps", "5", "--peak-seconds", "0.01", "--explain")
	fields(t, infers, "median_ms", "min_ms", "items_per_s", "peak_rss_bytes", "threads", "kernel", "peak_share")
	if number(t, infers, "median_ms") <= 0 || number(t, infers, "threads") != 1 || number(t, infers, "batch") != 3 {
		t.Errorf("%v", infers)
	}
	macs := number(t, object(t, "inspect", run), "macs")
	if got := number(t, infers, "gflops") * number(t, infers, "median_ms") * 1e6; math.Abs(got/(2*3*macs)-1) > 1e-9 {
		t.Errorf("%g operations a call of 3, the network has %g multiply-adds", got, macs)
	}
	for _, o := range items(t, infers, "ops") {
		fields(t, o, "name", "kind", "seconds", "integer")
	}
	fields(t, infers, "load_ms", "file_bytes", "weight_bytes")
	wantFailure(t, 2, []string{"bench", "infer", "--model", file, "--batch", "0"}, "batch 0")
	wantFailure(t, 2, []string{"bench", "infer", "--model", file, "--clients", "-1"}, "--clients -1")
	wantFailure(t, 1, []string{"bench", "infer", "--model", "resnet20"}, "--bits w8a8")
}

// A network of the zoo gets quantizers for timings.
func TestBenchInferTablesAndClients(t *testing.T) {
	args := []string{"bench", "infer", "--model", "resnet20", "--bits", "w4a8", "--table", "--clients", "3", "--steps", "1", "--warmup", "0", "--peak-seconds", "0.01"}
	r := object(t, args...)
	rows := items(t, r, "rows")
	if len(rows) != 2 && len(rows) != 4 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows {
		if want := []float64{1, 16}[i%2]; number(t, row, "batch") != want || !(number(t, row, "peak_share") > 0) {
			t.Errorf("row %d: %v", i, row)
		}
	}
	c, ok := r["clients"].(map[string]any)
	if !ok || c["clients"] != 3.0 || !(c["p99_ms"].(float64) >= c["median_ms"].(float64)) || !(c["ratio"].(float64) > 0) {
		t.Errorf("clients %v", r["clients"])
	}
	code, out, errs := call(append(args, "--explain")...)
	for _, want := range []string{"threads  batch", "of the peak", "clients", "layer1.0.conv1", "4/8"} {
		if code != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("code %d, %q not in %s%s", code, want, out, errs)
		}
	}
}

// Networks of other weights differ, and verify says so with 1.
func TestVerifyFindsTheDifference(t *testing.T) {
	fp32 := trained(t)
	at := func(name string) string { return filepath.Join(filepath.Dir(fp32), name) }
	for name, bits := range map[string]string{"four": "w4a4", "three": "w3a4"} {
		object(t, quantizeArgs(fp32, "--method", "ptq", "--bits", bits, "--out", at(name))...)
	}
	code, out, errs := call("verify", "--model", at("four"), "--against", at("three"), "--data", "cifar10", "--limit", "3")
	if code != 1 || errs != "" || !strings.Contains(out, "NO: 3 of 3") || !strings.Contains(out, "example 0, ") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errs)
	}
}

func TestRunClassifiesAPicture(t *testing.T) {
	run, file := packed(t)
	path := filepath.Join(t.TempDir(), "plain.png")
	img := image.NewRGBA(image.Rect(0, 0, 64, 48))
	for i := range 64 * 48 { // class 1 of the data: red stands out
		img.Set(i%64, i/64, color.RGBA{R: 123, G: 63, B: 63, A: 255})
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(png.Encode(f, img), f.Close()); err != nil {
		t.Fatal(err)
	}
	v := object(t, "run", "--model", file, path)
	fields(t, v, "classes", "ms")
	classes := items(t, v, "classes")
	if len(classes) != 5 || classes[0]["label"] != "automobile" || number(t, classes[0], "probability") < number(t, classes[1], "probability") || number(t, v, "ms") <= 0 {
		t.Errorf("%v", v)
	}
	if top := items(t, object(t, "run", "--model", file, path, "--top", "1"), "classes"); len(top) != 1 || top[0]["label"] != "automobile" {
		t.Errorf("%v", top)
	}
	wantFailure(t, 1, []string{"run", "--model", run, path}, "no packed file", "lowbit export")
	wantFailure(t, 1, []string{"run", "--model", file, file}, "picture")
	wantFailure(t, 2, []string{"run", "--model", file}, "one PICTURE")
}

func TestAnONNXFileIsWritten(t *testing.T) {
	run, _ := packed(t)
	path := filepath.Join(t.TempDir(), "tiny.onnx")
	v := object(t, "export", "--model", run, "--to", "onnx", "--out", path)
	fields(t, v, "path", "size_bytes", "verified")
	m, err := onnx.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, n := range m.Graph.Nodes {
		kinds[n.Op]++
	}
	if kinds["QuantizeLinear"] == 0 || kinds["Conv"] == 0 || !strings.Contains(m.Meta("lowbit.info"), "labels") {
		t.Errorf("nodes %v, metadata %v", kinds, m.Metadata)
	}
	wantFailure(t, 2, []string{"export", "--model", run, "--to", "onnx", "--out", path + ".pb"}, "ends with .onnx")
}

// A folder of photos without a training part is enough for a network that is
// quantized without training; its class names go into the packed file.
func TestPhotosAloneCalibrate(t *testing.T) {
	dir := t.TempDir()
	for class, name := range []string{"ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"} {
		img := image.NewGray(image.Rect(0, 0, 24, 16))
		for i := range img.Pix {
			img.Pix[i] = byte(20*class + i%7)
		}
		path := filepath.Join(dir, name, "1.png")
		if err := os.Mkdir(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(png.Encode(f, img), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	run, file := filepath.Join(dir, "run"), filepath.Join(dir, "net"+packedExt)
	args := []string{"quantize", "--model", "cli-tiny", "--weights", filepath.Join(trained(t), "last.safetensors"), "--data", "imagefolder:" + dir, "--method", "ptq", "--bits", "w8a8", "--batch", "5", "--out", run}
	code, _, errs := call(args...)
	if code != 0 || !strings.Contains(errs, "calibrates on test images") {
		t.Fatalf("code %d, %s", code, errs)
	}
	if v := object(t, "export", "--model", run, "--out", file); len(v["labels"].([]any)) != 10 || v["labels"].([]any)[8] != "ibis" {
		t.Errorf("labels %v", v["labels"])
	}
	object(t, "run", "--model", file, filepath.Join(dir, "bee", "1.png"))
	args[slices.Index(args, "ptq")] = "lsq"
	wantFailure(t, 1, append(args, "--force"), "has no training examples")
}
