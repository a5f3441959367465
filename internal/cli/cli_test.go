package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/graph"
	"lowbit/internal/rng"
	"lowbit/model"
	"lowbit/nn"
)

// folders made by TestMain: a CIFAR-10 in the official binary form whose classes
// differ in colour, whole and with one training batch.
var wholeData, partData string

func TestMain(m *testing.M) { os.Exit(withData(m)) }

func withData(m *testing.M) int {
	root, err := os.MkdirTemp("", "lowbit-cli")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	wholeData, partData = filepath.Join(root, "whole"), filepath.Join(root, "part")
	if err := errors.Join(writeCIFAR(), registerTiny()); err != nil {
		panic(err)
	}
	return m.Run()
}

// writeCIFAR writes one batch and links it under the other names.
func writeCIFAR() error {
	b := make([]byte, 10_000*3073)
	s := rng.New(7)
	for i := range 10_000 {
		r := b[i*3073:][:3073]
		r[0] = byte(i % 10)
		for c := range 3 {
			base := 40 + 60*((i%10)>>c&1) + 8*(i%10)
			plane := r[1+c*1024:][:1024]
			for p := range plane {
				plane[p] = byte(base + int(uint32(p*2654435761)>>27))
			}
			plane[s.Intn(1024)] = byte(s.Intn(256))
		}
	}
	for _, dir := range []string{wholeData, partData} {
		if err := os.MkdirAll(filepath.Join(dir, "cifar10"), 0o777); err != nil {
			return err
		}
	}
	first := filepath.Join(wholeData, "cifar10", "test_batch.bin")
	if err := os.WriteFile(first, b, 0o666); err != nil {
		return err
	}
	names := []string{"part/cifar10/test_batch.bin", "part/cifar10/data_batch_1.bin"}
	for i := range 5 {
		names = append(names, fmt.Sprintf("whole/cifar10/data_batch_%d.bin", i+1))
	}
	for _, n := range names {
		if err := os.Link(first, filepath.Join(filepath.Dir(wholeData), filepath.FromSlash(n))); err != nil {
			return err
		}
	}
	return nil
}

// registerTiny adds a network that trains in a blink, as a program with its own
// networks does.
func registerTiny() error {
	info := model.Info{
		InputShape: []int{3, 32, 32}, Classes: 10, Dataset: "cifar10",
		Mean: []float32{.5, .5, .5}, Std: []float32{.25, .25, .25},
	}
	return model.Register("cli-tiny", info, func(c model.Config) (*graph.Graph, error) {
		g, x := c.Input()
		x = nn.ConvNorm(g, "conv1", "bn1", x, nn.Conv{Out: c.Channels(8), Kernel: 3, Stride: 2, Pad: 1}, nn.Norm{}, g.Relu)
		x = nn.ConvNorm(g, "conv2", "bn2", x, nn.Conv{Out: c.Channels(16), Kernel: 3, Stride: 2, Pad: 1}, nn.Norm{}, g.Relu)
		x = nn.ConvNorm(g, "conv3", "bn3", x, nn.Conv{Out: c.Channels(16), Kernel: 3, Stride: 2, Pad: 1}, nn.Norm{}, g.Relu)
		nn.Logits(g, nn.Linear(g, "fc", g.GlobalAvgPool(x), nn.Dense{Out: c.Classes}))
		return g, g.Err()
	})
}

// call runs the command line on the whole data.
func call(args ...string) (code int, stdout, stderr string) {
	return callContext(context.Background(), args...)
}

func callContext(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var o, e bytes.Buffer
	code = Run(ctx, append([]string{"--data-dir", wholeData, "--threads", "2"}, args...), &o, &e)
	return code, o.String(), e.String()
}

// object runs with --json and returns the one object that stdout must hold.
func object(t *testing.T, args ...string) map[string]any {
	t.Helper()
	code, out, errs := call(append(args, "--json")...)
	if code != 0 || errs != "" {
		t.Fatalf("%v: code %d, stderr %q", args, code, errs)
	}
	d := json.NewDecoder(strings.NewReader(out))
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v: %v in %q", args, err, out)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("%v: stdout holds more than one object: %q", args, out)
	}
	return v
}

// fields demands fields of an object.
func fields(t *testing.T, v map[string]any, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, ok := v[n]; !ok {
			t.Errorf("no field %q in %v", n, v)
		}
	}
}

// items returns the objects of a list field.
func items(t *testing.T, v map[string]any, name string) []map[string]any {
	t.Helper()
	l, ok := v[name].([]any)
	if !ok || len(l) == 0 {
		t.Fatalf("%s is %v, want a list that is not empty", name, v[name])
	}
	var out []map[string]any
	for _, x := range l {
		out = append(out, x.(map[string]any))
	}
	return out
}

func number(t *testing.T, v map[string]any, name string) float64 {
	t.Helper()
	x, ok := v[name].(float64)
	if !ok {
		t.Fatalf("%s is %v, want a number", name, v[name])
	}
	return x
}

// wantFailure runs and demands a code, texts on stderr, and nothing on stdout.
func wantFailure(t *testing.T, code int, args []string, texts ...string) {
	t.Helper()
	got, out, errs := call(args...)
	if got != code || out != "" {
		t.Errorf("%v: code %d, stdout %q, stderr %q; want code %d and no stdout", args, got, out, errs, code)
	}
	for _, text := range texts {
		if !strings.Contains(errs, text) {
			t.Errorf("%v: stderr %q, want %q in it", args, errs, text)
		}
	}
}

func TestMistakesInTheCommandEndWith2(t *testing.T) {
	q := func(more ...string) []string {
		return append([]string{"quantize", "--model", "cli-tiny", "--data", "cifar10"}, more...)
	}
	for _, c := range []struct {
		args  []string
		texts []string
	}{
		{[]string{"quantise"}, []string{"quantise", `did you mean "quantize"?`}},
		{[]string{"data", "gte"}, []string{`did you mean "get"?`}},
		{[]string{"data"}, []string{"no verb"}},
		{[]string{"train", "--epoch", "3"}, []string{"--epoch", `did you mean "--epochs"?`, "lowbit train --help"}},
		{[]string{"train", "--epochs", "many"}, []string{"many"}},
		{[]string{"train", "extra"}, []string{"extra"}},
		{[]string{"train", "--data", "cifar10"}, []string{"--model"}},
		{[]string{"train", "--model", "cli-tiny"}, []string{"--data"}},
		{[]string{"train", "--model", "resnet-20", "--data", "cifar10"}, []string{`did you mean "resnet20"?`}},
		{[]string{"train", "--model", "nothing-like-it", "--data", "cifar10"}, []string{"the zoo has", "resnet20"}},
		{[]string{"eval", "--model", "cli-tiny", "--data", "cifar-10"}, []string{`did you mean "cifar10"?`}},
		{[]string{"eval", "--model", "cli-tiny", "--data", "folder:x"}, []string{"imagefolder:PATH"}},
		{[]string{"eval", "--model", "cli-tiny", "--data", "cifar10", "--engine", "int"}, []string{`"int"`, "float or integer"}},
		{[]string{"eval", "--model", "cli-tiny", "--data", "cifar10", "--limit", "-1"}, []string{"-1"}},
		{[]string{"train", "--model", "cli-tiny", "--data", "cifar10", "--epochs", "-1"}, []string{"epochs -1"}},
		{[]string{"train", "--model", "cli-tiny", "--data", "cifar10", "--schedule", "zigzag"}, []string{"zigzag"}},
		{[]string{"train", "--model", "cli-tiny", "--data", "cifar10", "--optimizer", "sdg"}, []string{"sdg"}},
		{[]string{"train", "--model", "cli-tiny", "--data", "cifar10", "--best"}, []string{"--hold-out"}},
		{[]string{"train", "--model", "cli-tiny", "--data", "cifar10", "--resume"}, []string{"--out"}},
		{q(), []string{"--bits"}},
		{q("--bits", "w9a9"), []string{"9"}},
		{q("--bits", "four"), []string{"four", "w4a4", "bits file"}},
		{q("--bits", "fp32"), []string{"nothing to quantize"}},
		{q("--bits", "w4a4", "--method", "lqs"), []string{`did you mean "lsq"?`}},
		{q("--bits", "w4a4", "--residual", "16"), []string{"16"}},
		{q("--bits", "w4a4", "--granularity", "group"), []string{"group"}},
		{q("--bits", "w4a4", "--calibration", "max"), []string{"--calibration", "ptq"}},
		{q("--bits", "w4a4", "--method", "ptq", "--epochs", "3"), []string{"--epochs", "lsq or faq"}},
		{q("--bits", "w4a4", "--method", "ptq", "--calibration", "mean"), []string{"mean"}},
		{[]string{"select", "--model", "cli-tiny", "--method", "eagel"}, []string{`did you mean "eagl"?`}},
		{[]string{"select", "--model", "cli-tiny", "--budget", "1.2"}, []string{"--budget 1.2", "at most 1"}},
		{[]string{"select", "--model", "cli-tiny", "--budget", "0"}, []string{"--budget 0"}},
		{[]string{"select", "--model", "cli-tiny", "--budget", "NaN"}, []string{"--budget NaN"}},
		{[]string{"select", "--model", "cli-tiny", "--bits", "4"}, []string{"at least 2"}},
		{[]string{"select", "--model", "cli-tiny", "--bits", "4,four"}, []string{`"four"`}},
		{[]string{"select", "--model", "cli-tiny", "--bits", "4,4"}, []string{"w4a4"}},
		{[]string{"select", "--model", "cli-tiny", "--bits", "11,4"}, []string{"11"}},
		{[]string{"select", "--model", "cli-tiny", "--bits", "w4a2,w2a4"}, []string{"w2a4", "w4a2"}},
		{[]string{"select", "--model", "cli-tiny", "--cost", "watts"}, []string{"watts"}},
		{[]string{"select", "--model", "cli-tiny", "--variant", "odd"}, []string{"odd"}},
		{[]string{"select", "--model", "cli-tiny", "--pin", "conv2"}, []string{"LAYER=BITS"}},
		{[]string{"select", "--model", "cli-tiny", "--method", "alps"}, []string{"--data NAME"}},
		{[]string{"sweep", "--model", "cli-tiny", "--data", "cifar10", "--methods", "eagl,alp"}, []string{`did you mean "alps"?`}},
		{[]string{"sweep", "--model", "cli-tiny", "--data", "cifar10", "--budgets", "0.5,1.5"}, []string{"budget 1.5"}},
		{[]string{"sweep", "--model", "cli-tiny", "--data", "cifar10", "--seeds", "1,1"}, []string{"seed 1 twice"}},
		{[]string{"sweep", "--model", "cli-tiny", "--data", "cifar10", "--recipe", "long"}, []string{"long"}},
		{[]string{"sweep", "--data", "cifar10"}, []string{"--model"}},
		{[]string{"inspect"}, []string{"one MODEL"}},
		{[]string{"inspect", "cli-tiny", "--model", "cli-tiny"}, []string{"2 arguments"}},
		{[]string{"report"}, []string{"run directories"}},
		{[]string{"bench", "train", "--model", "cli-tiny", "--batch", "0"}, []string{"batch 0"}},
		{[]string{"--threads", "-1", "version"}, []string{"--threads -1"}},
		{[]string{"data", "get", "cifar100"}, []string{`did you mean "cifar10"?`}},
	} {
		wantFailure(t, 2, c.args, append(c.texts, "lowbit: ")...)
		wantFailure(t, 2, append(c.args, "--json"), "lowbit: ")
	}
}

func TestInspectTakesItsModelEitherWay(t *testing.T) {
	_, argument, _ := call("inspect", "cli-tiny", "--json")
	_, flag, _ := call("inspect", "--model", "cli-tiny", "--json")
	if argument == "" || argument != flag {
		t.Errorf("MODEL gives %q, --model %q", argument, flag)
	}
}

func TestWhatIsNotThereEndsWith1(t *testing.T) {
	empty := t.TempDir()
	wantFailure(t, 1, []string{"eval", "--model", "cli-tiny", "--data", "cifar10"}, "no weights", "--weights FILE", "lowbit train --model cli-tiny")
	wantFailure(t, 1, []string{"eval", "--model", "cli-tiny", "--data", "cifar10", "--data-dir", empty}, "lowbit data get cifar10")
	wantFailure(t, 1, []string{"eval", "--model", empty, "--data", "cifar10"}, "run.json")
	wantFailure(t, 1, []string{"report", empty, "--out", filepath.Join(empty, "r.html")}, "run.json")
	wantFailure(t, 1, []string{"train", "--model", "cli-tiny", "--data", "cifar10", "--config", filepath.Join(empty, "none.yaml")}, "none.yaml")
}

func TestHelpOfEveryVerbHasAnExample(t *testing.T) {
	for _, verb := range []string{
		"quickstart", "data list", "data get", "model list", "inspect", "train", "quantize", "select", "sweep", "eval", "analyze",
		"export", "verify", "run", "bench train", "bench infer", "report", "selftest", "version",
	} {
		code, out, errs := call(append([]string{"help"}, strings.Fields(verb)...)...)
		if code != 0 || errs != "" || !strings.Contains(out, "Examples:") || !strings.Contains(out, "lowbit "+verb) {
			t.Errorf("help %s: code %d, %q, stderr %q", verb, code, out, errs)
		}
		_, same, _ := call(append(strings.Fields(verb), "--help")...)
		if same != out {
			t.Errorf("%s --help differs from help %s", verb, verb)
		}
	}
	wantFailure(t, 2, []string{"help", "quantise"}, `did you mean "quantize"?`)
	if code, out, _ := call(); code != 0 || !strings.Contains(out, "lowbit quickstart") {
		t.Errorf("without a verb: code %d, %q", code, out)
	}
}

func TestVersionModelsAndDataSets(t *testing.T) {
	v := object(t, "version")
	fields(t, v, "version", "kernel", "kernels", "go")
	if v["ok"] != true || v["version"] != Version {
		t.Errorf("%v", v)
	}
	found := false
	for _, m := range items(t, object(t, "model", "list"), "models") {
		fields(t, m, "name", "params", "macs")
		if m["name"] == "resnet20" {
			found = number(t, m, "params") == 269722
		}
	}
	if !found {
		t.Error("model list lacks ResNet-20 with 269,722 parameters")
	}
	sets := items(t, object(t, "data", "list"), "sets")
	if sets[0]["name"] != "cifar10" || sets[0]["found"] != true || number(t, sets[0], "examples") != 60000 {
		t.Errorf("%v", sets[0])
	}
}

func TestSelftestPasses(t *testing.T) {
	v := object(t, "selftest")
	if v["ok"] != true || v["kernel"] == "" {
		t.Errorf("%v", v)
	}
}

func TestAMissingPartIsSaid(t *testing.T) {
	var o, e bytes.Buffer
	dir := filepath.Join(t.TempDir(), "run")
	code := Run(context.Background(), []string{"train", "--model", "cli-tiny", "--data", "cifar10", "--data-dir", partData, "--epochs", "0", "--limit", "64", "--out", dir, "--json"}, &o, &e)
	if code != 0 || !strings.Contains(e.String(), "train: 10,000 of 50,000 examples found") {
		t.Errorf("code %d, stderr %q", code, e.String())
	}
}
