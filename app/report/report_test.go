package report

import (
	"context"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"lowbit/app/inspect"
	"lowbit/app/quantize"
	"lowbit/engine"
	"lowbit/method/lsq"
	"lowbit/method/lsq/lsqtest"
	"lowbit/train"
)

// realRuns trains a small network and quantizes it, in run directories.
func realRuns(t *testing.T) (full, low string) {
	t.Helper()
	e := engine.New(2)
	defer e.Close()
	base, job, _ := lsqtest.Pretrained(t, e)
	job.Model, job.Command = "small <net>", []string{"lowbit", "train", "--out", "a b"}
	job.MetricsEvery = 4
	job.Out = filepath.Join(t.TempDir(), "full")
	full = job.Out
	base.Epochs = 2
	if _, err := train.Run(context.Background(), base, job); err != nil {
		t.Fatal(err)
	}
	job.Out = filepath.Join(t.TempDir(), "low")
	c := lsq.ShortConfig(lsqtest.Bits(t, "w2a2"), 2)
	o, err := quantize.Run(context.Background(), quantize.LSQ(c), quantize.Job{Train: job, Base: base, Bits: "w2a2", Source: "small"})
	if err != nil {
		t.Fatal(err)
	}
	if o.Accuracy == 0 || o.FP32Accuracy == 0 || !o.Complete {
		t.Fatalf("%+v", o)
	}
	return full, job.Out
}

func TestPageOfRealRuns(t *testing.T) {
	full, low := realRuns(t)
	var runs []Run
	for _, d := range []string{full, low} {
		r, err := Load(d)
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	if runs[0].Bits != "fp32" || runs[1].Bits != "w2a2" || runs[1].Method != "lsq" || runs[1].Weight != 2 || runs[0].Size != runs[0].FP32Of || runs[1].Size*4 > runs[1].FP32Of*3 {
		t.Errorf("%+v\n%+v", runs[0], runs[1])
	}
	for _, l := range runs[1].Layers {
		if l.MACs > 0 && (l.WeightCosine == nil || *l.WeightCosine < 0.3 || l.WeightStep <= 0 || l.ActStep <= 0) {
			t.Errorf("%+v", l)
		}
	}
	path := filepath.Join(t.TempDir(), "report.html")
	if err := Write(path, runs, Config{Next: []string{"lowbit quantize"}, Made: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, want := range []string{
		"small &lt;net&gt; at low bits", "layer1.0.conv1", "w2a2 lsq", percent(runs[1].Accuracy), percent(runs[1].FP32),
		"lowbit train --out &#39;a b&#39;", "kernel ", "seed", "2 January 2026", "512 test images", "lowbit quantize",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(page, "<svg viewBox=\"0 0 760"); n < 2 {
		t.Errorf("%d charts, want the accuracy and the loss", n)
	}
	standsAlone(t, page)
}

var external = regexp.MustCompile(`(?i)<script|<link|<img|<iframe|src=|href=|url\(|@import|https?://`)

// standsAlone demands that a page asks for nothing, and that its drawings are
// well-formed and hold only numbers.
func standsAlone(t *testing.T, page string) {
	t.Helper()
	if m := external.FindString(page); m != "" {
		t.Errorf("the page holds %q", m)
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf\"") || strings.Contains(page, "ZgotmplZ") {
		t.Error("the page holds NaN, Inf or an unsafe value")
	}
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(page, -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
	}
}

// made returns a run without a directory.
func made(bits, method string, weight int, accuracy float64) Run {
	c := 0.9
	return Run{
		Name: method + bits, Model: "net", Method: method, Bits: bits, Weight: weight, Act: weight, Accuracy: accuracy, SE: 0.003,
		FP32: 0.92, FP32SE: 0.003, Examples: 10000, Part: "test", Size: int64(weight) * 1000, FP32Of: 32000,
		Layers: []inspect.Layer{{Name: "conv1", Op: "conv2d", MACs: 1e6, WeightBits: weight, ActBits: weight, WeightCosine: &c}},
	}
}

func TestRunsAreInOrderAndGraded(t *testing.T) {
	runs := order([]Run{made("w2a2", "lsq", 2, 0.1), made("w8a8", "ptq", 8, 0.921), made("w4a4", "lsq", 4, 0.9)})
	var got []string
	for _, r := range rows(runs) {
		got = append(got, r.Bits+" "+r.Drop+" "+r.DropClass+" "+r.Smaller)
	}
	want := "fp32 –  1×|w8a8 +0.10 good 4.0×|w4a4 -2.00 fair 8.0×|w2a2 -82.00 bad 16.0×"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("%s, want %s", s, want)
	}
	if l := lead(runs); !strings.Contains(l, "w4a4") || !strings.Contains(l, "2.00 points below") {
		t.Errorf("lead %q", l)
	}
	if l := lead(runs[2:]); l != "" {
		t.Errorf("lead %q of a run that lost much", l)
	}
	if featured(runs) != 2 {
		t.Errorf("layers of run %d are shown, want the narrowest's", featured(runs))
	}
}

func TestPagesOfOddRuns(t *testing.T) {
	lone := made("w4a4", "lsq", 4, 0)
	lone.SE, lone.FP32, lone.FP32SE, lone.Examples, lone.Layers = 0, 0, 0, 0, nil
	seeds := []Run{made("w4a4", "lsq", 4, 0.9), made("w4a4", "lsq", 4, 0.91), made("mixed", "faq", 4, 1)}
	perfect := made("w8a8", "ptq", 8, 1)
	perfect.SE, perfect.FP32, perfect.FP32SE = 0, 1, 0
	for name, runs := range map[string][]Run{"no figures": {lone}, "seeds": seeds, "perfect": {perfect}} {
		path := filepath.Join(t.TempDir(), "r.html")
		if err := Write(path, runs, Config{Title: name}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		standsAlone(t, string(b))
	}
	if Write(filepath.Join(t.TempDir(), "r.html"), nil, Config{}) == nil {
		t.Error("a page of no runs was written")
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{{0, 3.1, "0 1 2 3"}, {0, 1, "0.0 0.2 0.4 0.6 0.8 1.0"}, {84, 92.4, "84 86 88 90 92"}, {10, 100, "20 40 60 80 100"}, {0, 0.05, "0.00 0.01 0.02 0.03 0.04 0.05"}} {
		tk := ticks(c.lo, c.hi, 5)
		var s []string
		for _, v := range tk {
			s = append(s, label(v, tk[1]-tk[0]))
		}
		if got := strings.Join(s, " "); got != c.want {
			t.Errorf("%g to %g: %s, want %s", c.lo, c.hi, got, c.want)
		}
	}
	if got := ticks(1, 1, 5); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestUnfinishedRunIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "run.json"), []byte(`{"version":1,"result":{"complete":false}}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "not finished") {
		t.Errorf("error %v", err)
	}
}

func TestShellLine(t *testing.T) {
	if got := ShellLine([]string{"lowbit", "a b", "it's", "", "x"}); got != `lowbit 'a b' 'it'\''s' '' x` {
		t.Error(got)
	}
}
