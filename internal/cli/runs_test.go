package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// trained trains the small network and returns the run directory.
func trained(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fp32")
	v := object(t, trainArgs("--out", dir)...)
	fields(t, v, "accuracy", "loss", "epochs", "seconds", "run")
	if v["run"] != dir || number(t, v, "epochs") != 2 || number(t, v, "accuracy") < 0.5 || number(t, v, "examples") != 200 {
		t.Fatalf("%v", v)
	}
	return dir
}

func trainArgs(more ...string) []string {
	return append([]string{
		"train", "--model", "cli-tiny", "--data", "cifar10", "--train-limit", "1280", "--limit", "200",
		"--epochs", "2", "--batch", "32", "--lr", "0.1",
	}, more...)
}

func quantizeArgs(model string, more ...string) []string {
	return append([]string{"quantize", "--model", model, "--data", "cifar10", "--train-limit", "640", "--limit", "200", "--batch", "32"}, more...)
}

// The main job, verb after verb.
func TestTrainQuantizeEvalAnalyzeReport(t *testing.T) {
	run := trained(t)
	base := filepath.Dir(run)
	at := func(name string) string { return filepath.Join(base, name) }

	ptq := object(t, quantizeArgs(run, "--method", "ptq", "--bits", "w2a2", "--out", at("ptq"))...)
	fields(t, ptq, "accuracy", "fp32_accuracy", "bits", "method", "epochs", "seconds", "run", "size_bytes")
	lsq := object(t, quantizeArgs(run, "--method", "lsq", "--bits", "w2a2", "--epochs", "3", "--recipe", "short", "--out", at("lsq"))...)
	if lsq["method"] != "lsq" || lsq["bits"] != "w2a2" || number(t, lsq, "epochs") != 3 || lsq["part"] != "test" {
		t.Errorf("%v", lsq)
	}
	full := number(t, lsq, "fp32_accuracy")
	if a, b := number(t, ptq, "accuracy"), number(t, lsq, "accuracy"); b <= a || b < full-0.1 {
		t.Errorf("accuracy %g in float32, 2 bits %g untrained, %g trained", full, a, b)
	}
	if number(t, lsq, "size_bytes") >= number(t, lsq, "fp32_size_bytes") {
		t.Errorf("size %v, float32 %v", lsq["size_bytes"], lsq["fp32_size_bytes"])
	}
	faq := object(t, quantizeArgs(run, "--method", "faq", "--bits", "w4a4", "--epochs", "1", "--hold-out", "128", "--residual", "8", "--out", at("faq"))...)
	if faq["part"] != "train-heldout" || number(t, faq, "examples") != 128 || faq["residual"] != "8" {
		t.Errorf("%v", faq)
	}

	ev := object(t, "eval", "--model", at("lsq"), "--data", "cifar10", "--limit", "200", "--confusion")
	fields(t, ev, "accuracy", "top5", "loss", "examples", "engine")
	if number(t, ev, "accuracy") != number(t, lsq, "accuracy") || ev["engine"] != "float" {
		t.Errorf("eval of the run gives %v, quantize gave %v", ev["accuracy"], lsq["accuracy"])
	}

	in := object(t, "inspect", at("lsq"))
	fields(t, in, "layers", "macs", "params", "size_bytes")
	layers := items(t, in, "layers")
	fields(t, layers[0], "name", "op", "macs", "params", "weight_bits", "act_bits")
	if number(t, in, "size_bytes") != number(t, lsq, "size_bytes") {
		t.Errorf("inspect says %v bytes, quantize %v", in["size_bytes"], lsq["size_bytes"])
	}

	an := object(t, "analyze", "--model", at("lsq"), "--data", "cifar10", "--similarity", "--rotation", "--noise", "--sensitivity",
		"--steps", "4", "--batch", "32", "--limit", "64", "--train-limit", "320")
	for _, l := range items(t, an, "layers") {
		fields(t, l, "name", "weight_cosine", "quantized_cosine", "gradient_cosine", "loss_change", "accuracy_change", "change", "input_rotation", "output_rotation")
	}

	page := at("report.html")
	if r := object(t, "report", run, at("ptq"), at("lsq"), at("faq"), "--out", page); r["path"] != page {
		t.Errorf("%v", r)
	}
	wantFailure(t, 1, []string{"report", run, "--out", page}, "--force")
	wantFailure(t, 1, quantizeArgs(at("lsq"), "--bits", "w4a4"), "quantized already")
}

func TestAnExistingRunIsRefusedResumedOrReplaced(t *testing.T) {
	run := trained(t)
	wantFailure(t, 1, trainArgs("--out", run), "--force", "--resume")
	again := object(t, trainArgs("--out", run, "--resume")...)
	forced := object(t, trainArgs("--out", run, "--force")...)
	if again["accuracy"] != forced["accuracy"] {
		t.Errorf("accuracy %v, again %v: a seed must give the same", again["accuracy"], forced["accuracy"])
	}
	wantFailure(t, 1, trainArgs("--out", run, "--resume", "--seed", "2"), "seed")
}

// An interrupt ends with 130 behind a checkpoint, from which the weights can be
// read, and tells how to go on.
func TestInterruptWritesACheckpoint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for {
			if f, _ := filepath.Glob(filepath.Join(dir, "checkpoint-001*")); len(f) > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	code, out, errs := callContext(ctx, trainArgs("--epochs", "100000", "--out", dir, "--json")...)
	if code != 130 || out != "" || !strings.Contains(errs, "--resume --out "+dir) {
		t.Fatalf("code %d, stdout %q, stderr %q", code, out, errs)
	}
	if ev := object(t, "eval", "--model", dir, "--data", "cifar10", "--limit", "64"); number(t, ev, "examples") != 64 {
		t.Errorf("%v", ev)
	}
	code, _, errs = callContext(ctx, trainArgs("--epochs", "100000", "--out", dir, "--resume")...)
	if code != 130 {
		t.Errorf("resumed with an ended context: code %d, stderr %q", code, errs)
	}
}

func TestConfigFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return p
	}
	yaml := write("a.yaml", "model: cli-tiny\ndata: cifar10\ntrain-limit: 320\nlimit: 64\nbatch: 32\nepochs: 2\nlr: 0.1\n")
	toml := write("a.toml", "model = \"cli-tiny\"\ndata = \"cifar10\"\ntrain-limit = 320\nlimit = 64\nbatch = 32\nepochs = 2\nlr = 0.1\n")
	a := object(t, "train", "--config", yaml, "--out", filepath.Join(dir, "a"))
	b := object(t, "train", "--config", toml, "--out", filepath.Join(dir, "b"))
	if a["loss"] != b["loss"] || number(t, a, "epochs") != 2 || number(t, a, "steps") != 20 {
		t.Errorf("YAML %v, TOML %v", a, b)
	}
	c := object(t, "train", "--config", yaml, "--epochs", "1", "--out", filepath.Join(dir, "c"))
	if number(t, c, "epochs") != 1 {
		t.Errorf("the flag did not win: %v", c)
	}
	for text, want := range map[string]string{
		"epoch: 3\n":             `unknown key "epoch", did you mean "epochs"?`,
		"config: other.yaml\n":   `unknown key "config"`,
		"epochs: many\n":         "many",
		"epochs: {a: 1}\n":       "map",
		"epochs: [\n":            "yaml",
		"bits: w4a4\n":           `unknown key "bits"`, // a flag of another verb
		"epochs: 1\nepochs: 2\n": "already defined",
	} {
		wantFailure(t, 2, []string{"train", "--config", write("bad.yaml", text)}, want)
	}
	wantFailure(t, 2, []string{"train", "--config", write("bad.toml", "epochs = \n")}, "toml")
	wantFailure(t, 2, []string{"train", "--config", write("a.json", "{}")}, ".toml")
}

func TestBitsFile(t *testing.T) {
	run := trained(t)
	path := filepath.Join(t.TempDir(), "mixed.json")
	if err := os.WriteFile(path, []byte(`{"default":{"w":4,"a":4},"layers":{"conv2":{"w":2,"a":8}}}`), 0o666); err != nil {
		t.Fatal(err)
	}
	v := object(t, quantizeArgs(run, "--method", "ptq", "--bits", path, "--out", filepath.Join(t.TempDir(), "q"))...)
	for _, l := range items(t, v, "layers") {
		if w, a := number(t, l, "weight_bits"), number(t, l, "act_bits"); l["name"] == "conv2" && (w != 2 || a != 8) || l["name"] == "conv3" && (w != 4 || a != 4) {
			t.Errorf("%v", l)
		}
	}
	if err := os.WriteFile(path, []byte(`{"default":{"w":11,"a":4}}`), 0o666); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, 1, quantizeArgs(run, "--bits", path), "11")
}

func TestBenchTrain(t *testing.T) {
	for _, bits := range []string{"fp32", "w4a4"} {
		v := object(t, "bench", "train", "--model", "cli-tiny", "--batch", "8", "--steps", "4", "--bits", bits, "--peak-seconds", "0.01")
		fields(t, v, "median_ms", "min_ms", "items_per_s", "peak_rss_bytes", "threads", "kernel", "peak_share", "gflops", "p90_ms")
		if m, n := number(t, v, "median_ms"), number(t, v, "min_ms"); !(n > 0 && m >= n) || number(t, v, "threads") != 2 {
			t.Errorf("%v", v)
		}
		if s := number(t, v, "peak_share"); !(s > 0) { // no upper bound: a busy machine gives the peak, measured in 10 ms, less than the steps
			t.Errorf("share of the peak %g", s)
		}
	}
	object(t, "bench", "train", "--model", "resnet20", "--width", "0.25", "--batch", "4", "--steps", "1", "--warmup", "0", "--peak-seconds", "0")
	_, out, _ := call("bench", "train", "--model", "cli-tiny", "--batch", "8", "--steps", "4", "--explain", "--peak-seconds", "0.01")
	for _, want := range []string{"where the time goes", "conv2d_grad_weight", "elementwise", "optimizer", "waiting"} {
		if !strings.Contains(out, want) {
			t.Errorf("--explain does not say %q:\n%s", want, out)
		}
	}
}

func TestResultsGoToAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	v := object(t, "inspect", "cli-tiny", "--out", path)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var same map[string]any
	if err := json.Unmarshal(b, &same); err != nil || same["params"] != v["params"] {
		t.Errorf("%v: %s", err, b)
	}
	wantFailure(t, 1, []string{"inspect", "cli-tiny", "--out", path}, "--force")
}

func TestQuickstart(t *testing.T) {
	run := trained(t)
	out := filepath.Join(t.TempDir(), "qs")
	args := []string{"quickstart", "--model", run, "--data", "cifar10", "--limit", "100", "--train-limit", "512", "--minutes", "0.02", "--out", out}
	v := object(t, args...)
	fields(t, v, "fp32_accuracy", "runs", "report", "seconds")
	runs := items(t, v, "runs")
	if len(runs) != 5 {
		t.Fatalf("%d runs, want 5", len(runs))
	}
	for _, r := range runs {
		fields(t, r, "bits", "method", "accuracy", "size_bytes")
	}
	if _, err := os.Stat(v["report"].(string)); err != nil {
		t.Error(err)
	}
	deployed := items(t, v, "deployed")
	if len(deployed) != 3 {
		t.Fatalf("%d deployed, want 3", len(deployed))
	}
	for _, d := range deployed {
		if got := object(t, "eval", "--model", d["packed"].(string), "--data", "cifar10", "--limit", "100", "--engine", "integer"); got["accuracy"] != d["accuracy"] {
			t.Errorf("%v gives %v", d, got["accuracy"])
		}
	}
	wantFailure(t, 1, args, "--force")
	code, text, errs := call(append(args, "--force")...)
	for _, want := range []string{"Data: cifar10", "Quantizing without training", "Training at w2a2", "report.html", "--teacher self"} {
		if !strings.Contains(text, want) {
			t.Errorf("code %d, stderr %q: %q lacks %q", code, errs, text, want)
		}
	}
}

func TestQuickstartWithoutDataSaysWhatWasTried(t *testing.T) {
	none := "imagefolder:" + filepath.Join(t.TempDir(), "none")
	wantFailure(t, 1, []string{"quickstart", "--data", none, "--out", filepath.Join(t.TempDir(), "qs")}, "Tried", "none", "--data-dir")
}

// The ablations of the paper's section 3.3 are flags; frozen steps stay where
// they began.
func TestQuantizeStepGradient(t *testing.T) {
	run := trained(t)
	out := func(name string) string { return filepath.Join(filepath.Dir(run), name) }
	v := object(t, quantizeArgs(run, "--bits", "w2a2", "--epochs", "1", "--recipe", "short",
		"--step-gradient", "pact", "--gradient-scale", "1/sqrt(n)", "--scale-batch", "32", "--out", out("pact"))...)
	s := v["config"].(map[string]any)
	if s["step_grad"] != "pact" || s["grad_scale"] != "1/sqrt(n)" || s["scale_batch"] != 32.0 {
		t.Errorf("config %v", s)
	}
	steps := func(name string) map[string]any {
		v := object(t, "inspect", out(name))
		m := map[string]any{}
		for _, l := range v["layers"].([]any) {
			m[l.(map[string]any)["name"].(string)] = l.(map[string]any)["weight_step"]
		}
		return m
	}
	for name, epochs := range map[string]string{"still": "1", "longer": "2"} {
		object(t, quantizeArgs(run, "--bits", "w2a2", "--epochs", epochs, "--recipe", "short", "--step-gradient", "frozen", "--out", out(name))...)
	}
	if a, b := steps("still"), steps("longer"); len(a) == 0 || !reflect.DeepEqual(a, b) {
		t.Errorf("frozen steps %v and %v", a, b)
	}
	if reflect.DeepEqual(steps("still"), steps("pact")) {
		t.Error("learned steps equal frozen ones")
	}
	bad := func(text string, more ...string) {
		t.Helper()
		wantFailure(t, 2, quantizeArgs(run, append(more, "--out", out("no"))...), text)
	}
	bad(`step gradient "none", want lsq, pact or frozen`, "--bits", "w2a2", "--step-gradient", "none")
	bad(`gradient scale "2", want 1/sqrt(n*qp)`, "--bits", "w2a2", "--gradient-scale", "2")
	bad("--step-gradient goes with --method lsq", "--method", "ptq", "--bits", "w2a2", "--step-gradient", "pact")
}
