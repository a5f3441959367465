package cli

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lowbit/app/sweep"
	"lowbit/format/safetensors"
)

// fourBit trains the small network at 4 bits, from one in full precision.
func fourBit(t *testing.T) (full, run string) {
	t.Helper()
	full = trained(t)
	run = filepath.Join(filepath.Dir(full), "w4")
	object(t, quantizeArgs(full, "--bits", "w4a4", "--epochs", "2", "--recipe", "short", "--out", run)...)
	return full, run
}

func selectArgs(model, method string, more ...string) []string {
	return append([]string{
		"select", "--model", model, "--data", "cifar10", "--train-limit", "192", "--limit", "64", "--batch", "32", "--method", method,
		"--trial-hold-out", "64", "--probes", "2", "--trace-examples", "64", "--repeats", "2",
	}, more...)
}

// write puts text into a new file.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// Selecting by every method, training the result, and what goes wrong with
// bits files.
func TestSelectThenQuantize(t *testing.T) {
	full, run := fourBit(t)
	base := filepath.Dir(run)
	for _, m := range sweep.Methods() {
		v := object(t, selectArgs(run, m, "--budget", "0.75")...)
		fields(t, v, "budget", "cost", "layers", "seconds", "uniform", "slack")
		if c := number(t, v, "cost"); v["method"] != m || c > 0.75 || c < 0.5 || v["calibrated"] != false {
			t.Errorf("%s: %v", m, v)
		}
		for i, l := range items(t, v, "layers") {
			fields(t, l, "name", "gain", "cost", "bits", "group")
			if b := number(t, l, "bits"); (i == 0 || i == 3) != (b == 8) || i%3 != 0 && b != 2 && b != 4 {
				t.Errorf("%s: %v", m, l)
			}
		}
	}
	bits := filepath.Join(base, "bits.json")
	args := []string{"select", "--model", run, "--budget", "0.75", "--out", bits} // without data
	code, out, errs := call(args...)
	for _, want := range []string{"conv3", "gain at w4a4", "8/8 fixed", "budget   0.75", "uniform  0.5000 at w2a2", "--bits " + bits} {
		if code != 0 || errs != "" || !strings.Contains(out, want) {
			t.Errorf("code %d, stderr %q: %q lacks %q", code, errs, out, want)
		}
	}
	wantFailure(t, 1, args, "--force")

	v := object(t, quantizeArgs(run, "--bits", bits, "--epochs", "2", "--recipe", "short", "--out", filepath.Join(base, "mixed"))...)
	if number(t, v, "accuracy") < 0.4 || number(t, v, "start_accuracy") < 0.4 || number(t, v, "epochs") != 2 {
		t.Errorf("%v", v)
	}
	if ev := object(t, "eval", "--model", full, "--data", "cifar10", "--limit", "200"); ev["accuracy"] != v["fp32_accuracy"] {
		t.Errorf("fp32 accuracy %v, that of the run it all began with is %v", v["fp32_accuracy"], ev["accuracy"])
	}
	var low []string
	for _, l := range items(t, v, "layers") {
		if number(t, l, "macs") > 0 && number(t, l, "weight_bits") == 2 {
			low = append(low, l["name"].(string))
		}
	}
	if len(low) != 1 {
		t.Errorf("2 bits in %v, want one layer", low)
	}
	if ev := object(t, "eval", "--model", filepath.Join(base, "mixed"), "--data", "cifar10", "--limit", "200"); ev["accuracy"] != v["accuracy"] {
		t.Errorf("eval gives %v, quantize gave %v", ev["accuracy"], v["accuracy"])
	}
	object(t, quantizeArgs(full, "--method", "ptq", "--bits", bits, "--out", filepath.Join(base, "ptq"))...)
	badBits(t, run, bits)
}

// badBits quantizes with bits files that do not fit.
func badBits(t *testing.T, run, good string) {
	t.Helper()
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(m map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		c, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, "bits.json", string(c))
	}
	out := filepath.Join(t.TempDir(), "q")
	for path, want := range map[string]string{
		change(func(m map[string]any) { m["network"] = "0123456789abcdef" }):                        "another network",
		change(func(m map[string]any) { m["layers"].(map[string]any)["conv9"] = map[string]int{} }): `no layer "conv9"`,
		change(func(m map[string]any) { m["version"] = 7 }):                                         "version 7",
		write(t, "hand.json", `{"default":{"w":4,"a":4},"layers":{"conv9":{"w":2,"a":2}}}`):         `"conv9"`,
		write(t, "cut.json", string(b[:len(b)/2])):                                                  "bits file",
	} {
		wantFailure(t, 1, quantizeArgs(run, "--bits", path, "--out", out), want)
	}
	wantFailure(t, 1, quantizeArgs(run, "--method", "faq", "--bits", good, "--out", out), "quantized already", "--method lsq")
	if _, err := os.Stat(out); err == nil {
		t.Error("a run directory was made")
	}
}

func TestSelectSaysWhatIsWrong(t *testing.T) {
	full, run := fourBit(t)
	v := object(t, selectArgs(full, "eagl", "--budget", "0.75", "--bits", "8,w4a4,2", "--cost", "bitops")...)
	notes := v["notes"].([]any)
	if v["calibrated"] != true || len(notes) == 0 || !strings.Contains(notes[0].(string), "learned ones are better") || v["cost_model"] != "bit-ops" {
		t.Errorf("%v", v)
	}
	wantFailure(t, 2, []string{"select", "--model", full, "--method", "eagl"}, "full precision", "--data NAME")
	measured := object(t, selectArgs(run, "eagl", "--budget", "1", "--cost", "ms")...)
	other := items(t, measured, "other_costs")
	if measured["cost_model"] != "latency" || measured["cost_unit"] != "ns" || number(t, measured, "cost_units") < 1 ||
		other[0]["cost_model"] != "bit-macs" || number(t, other[0], "cost") != 1 {
		t.Errorf("%v", measured)
	}
	wantFailure(t, 1, selectArgs(run, "eagl", "--budget", "0.001", "--cost", "ms"), "no choice fits", "narrower layers save time")
	wantFailure(t, 2, selectArgs(run, "eagl", "--cost", "watts"), `"watts"`, "bit-macs, bitops, bytes or ms")
	wantFailure(t, 1, selectArgs(run, "eagl", "--budget", "0.4"), "0.4", "cheapest choice takes 0.5")
	wantFailure(t, 1, selectArgs(run, "eagl", "--pin", "conv9=w8a8"), `"conv9"`)
	wantFailure(t, 1, selectArgs(run, "eagl", "--pin", "conv2=w8a8", "--pin", "conv3=w4a4"), "nothing to select")
	wantFailure(t, 2, selectArgs(run, "alps", "--trial-limit", "-1"), "-1")
	wantFailure(t, 2, []string{"select", "--model", run, "--data", "cifar10", "--train-limit", "192", "--method", "alps"}, "--trial-hold-out 5000 of 192")
	pinned := items(t, object(t, selectArgs(run, "uniform", "--budget", "0.5", "--pin", "conv2=w8a8")...), "layers")
	if number(t, pinned[1], "bits") != 8 || number(t, pinned[2], "bits") != 2 {
		t.Errorf("%v", pinned)
	}

	// A step of a run that is no number, or none that quantizes.
	files, err := filepath.Glob(filepath.Join(run, "*.safetensors"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for value, want := range map[float32]string{float32(math.NaN()): "conv3.weight_step", -1: "want positive"} {
		for _, f := range files {
			store, meta, err := safetensors.Read(f)
			if err != nil {
				t.Fatal(err)
			}
			store.Get("conv3.weight_step").Float32s()[0] = value
			if err := safetensors.Write(f, store, meta); err != nil {
				t.Fatal(err)
			}
		}
		wantFailure(t, 1, selectArgs(run, "eagl"), want, "conv3")
	}
}

func sweepArgs(run, out, seeds, budgets string, more ...string) []string {
	return append([]string{
		"sweep", "--model", run, "--data", "cifar10", "--train-limit", "192", "--limit", "64", "--batch", "32", "--epochs", "1",
		"--methods", "eagl,mse,random", "--budgets", budgets, "--seeds", seeds, "--out", out,
	}, more...)
}

// manySeeds are so many that a sweep is not done when its first point is.
const manySeeds = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32"

// A sweep that is interrupted goes on, refuses another recipe, and draws its page.
func TestSweepGoesOn(t *testing.T) {
	_, run := fourBit(t)
	out := filepath.Join(filepath.Dir(run), "sweep")
	points := func() []string {
		done, err := filepath.Glob(filepath.Join(out, "points", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for len(points()) == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	code, stdout, errs := callContext(ctx, sweepArgs(run, out, manySeeds, "0.75", "--json")...)
	cancel()
	if code != 130 || stdout != "" || !strings.Contains(errs, "same command") {
		t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, errs)
	}
	first := points()
	times := map[string]time.Time{}
	for _, p := range first {
		if s, err := os.Stat(p); err == nil {
			times[p] = s.ModTime()
		}
	}
	v := object(t, sweepArgs(run, out, "1,2", "0.75")...)
	all := items(t, v, "points")
	for _, p := range all {
		fields(t, p, "method", "budget", "seed", "accuracy", "cost")
	}
	// 2 uniform widths and 3 methods at one budget, 2 seeds.
	if len(all) != 10 || v["complete"] != true || len(items(t, v, "frontier")) != 5 {
		t.Errorf("%d points: %v", len(all), v)
	}
	for _, p := range first {
		if s, err := os.Stat(p); err != nil || !s.ModTime().Equal(times[p]) {
			t.Errorf("%s was made again: %v", p, err)
		}
	}
	page, err := os.ReadFile(v["report"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"accuracy against cost</title>", "accuracy against time</title>", "rank correlation between gains</title>", "What selecting costs", "paired by seed", "lowbit --data-dir"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	copied := filepath.Join(filepath.Dir(run), "copy.html")
	if r := object(t, "report", out, "--out", copied, "--title", "Our sweep"); number(t, r, "runs") != 10 {
		t.Errorf("%v", r)
	}
	if b, err := os.ReadFile(copied); err != nil || !strings.Contains(string(b), "<h1>Our sweep</h1>") {
		t.Errorf("the copy lacks its title: %v", err)
	}
	again := object(t, sweepArgs(run, out+"-again", "1,2", "0.75", "--from", filepath.Join(out, "points.json"), "--ranked", "eagl-bits")...)
	if more := items(t, again, "points"); len(more) != len(all) || number(t, more[3], "seconds") != number(t, all[3], "seconds") ||
		number(t, more[3], "accuracy") != number(t, all[3], "accuracy") || len(items(t, again, "scored")) != len(items(t, v, "scored"))+1 {
		t.Errorf("from its result: %v, want %v", more, all)
	}
	wantFailure(t, 1, sweepArgs(run, out+"-other", "1,2", "0.75", "--from", filepath.Join(out, "points.json"), "--epochs", "2"), "the earlier result", "identity")
	wantFailure(t, 1, sweepArgs(run, out, "1,2", "0.75", "--epochs", "2"), "another lsq")
	wantFailure(t, 1, sweepArgs(run, filepath.Dir(run), "1,2", "0.75"), "holds something else")
	wantFailure(t, 1, sweepArgs(run, out+"2", "1,2", "0.75,0.3"), "0.3", "no choice fits")
}

func TestTwoSweepsInOneFolderShareIt(t *testing.T) {
	_, run := fourBit(t)
	out := filepath.Join(filepath.Dir(run), "sweep")
	ended := make(chan int)
	go func() {
		code, _, _ := callContext(context.Background(), sweepArgs(run, out, "1,2", "0.75")...)
		ended <- code
	}()
	v := object(t, sweepArgs(run, out, "1,2", "0.75")...)
	if code := <-ended; code != 0 {
		t.Errorf("the other: code %d", code)
	}
	alone := object(t, sweepArgs(run, out+"-alone", "1,2", "0.75")...)
	for i, p := range items(t, alone, "points") {
		if number(t, p, "accuracy") != number(t, items(t, v, "points")[i], "accuracy") {
			t.Errorf("point %d: %v, alone %v", i, items(t, v, "points")[i], p)
		}
	}
}
