package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/internal/testenv"
)

func TestPublishedTablesEqualTheirRecords(t *testing.T) {
	if err := tables(testenv.Root(t), true); err != nil {
		t.Error(err)
	}
}

func TestTables(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a-1.json": `{"name":"a-1","group":"a","result":{"accuracy":0.91,"ms":[{"v":1.25}]}}`,
		"a-2.json": `{"name":"a-2","group":"a","result":{"accuracy":0.93,"ms":[{"v":1.25}]}}`,
		"b.json":   `{"name":"b","result":{"accuracy":0.5}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := "x\n<!-- table a-* b: name=run, result.accuracy%=accuracy, result.ms.0.v.1=ms -->\nold\n<!-- end -->\ny"
	got, err := fill(page, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := "| run | accuracy | ms |\n|---|---|---|\n| a | 92.00 % ± 1.41 (n = 2) | 1.2 |\n| b | 50.00 % |  |\n<!-- end -->"
	if !strings.Contains(got, want) || strings.Contains(got, "old") {
		t.Errorf("got\n%s\nwant it to contain\n%s", got, want)
	}
	if again, _ := fill(got, dir); again != got {
		t.Error("filling twice changes the page")
	}
	got, err = fill("a <!-- value a-* result.accuracy% -->9 %<!-- -->, b <!-- value b result.accuracy.3 --><!-- -->.", dir)
	if want := "a <!-- value a-* result.accuracy% -->92.00 % ± 1.41 (n = 2)<!-- -->, b <!-- value b result.accuracy.3 -->0.500<!-- -->."; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, bad := range []string{"none result.accuracy", "* result.accuracy", "b result.none"} {
		if _, err := fill("<!-- value "+bad+" -->1<!-- -->", dir); err == nil {
			t.Errorf("value %s: accepted", bad)
		}
	}
	if _, err := fill("<!-- value b result.accuracy -->1", dir); err == nil {
		t.Error("a value without an end was accepted")
	}
	list := `{"name":"s","result":{"pairs":[{"m":"a","b":1,"d":0.25},{"m":"a","b":2,"d":0.5},{"m":"c","b":1,"d":1}]}}`
	if err := os.WriteFile(filepath.Join(dir, "s.json"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err = fill("<!-- each s result.pairs m=a,x b=1: m=method, d%=share -->\n<!-- end -->", dir)
	if want := "| method | share |\n|---|---|\n| a | 25.00 % |\n<!-- end -->"; err != nil || !strings.Contains(got, want) {
		t.Errorf("got\n%s, %v\nwant it to contain\n%s", got, err, want)
	}
	for _, bad := range []string{"each s result.none", "each s", "each a-* result"} {
		if _, err := fill("<!-- "+bad+": m=method -->\n<!-- end -->", dir); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
	if _, err := fill("<!-- table a: name=x -->", dir); err == nil {
		t.Error("a table without an end was accepted")
	}
}

// TestRecordsKeepTheirPlace: a record is written to the folder of its name, one that
// exists stays where it is, and no two have one name.
func TestRecordsKeepTheirPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	put := func(name string) error {
		r, _, err := begin([]string{name, "-group", "g", "rest"})
		if err != nil || r.Group != "g" {
			t.Fatalf("%s: %+v, %v", name, r, err)
		}
		return r.write()
	}
	for _, name := range []string{"speed/a", "a", "speed/a", "b"} {
		if err := put(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := put("images/a"); err == nil || !strings.Contains(err.Error(), "speed") {
		t.Errorf("a second record of one name: %v", err)
	}
	paths, err := recordPaths(resultsDir)
	if err != nil || len(paths) != 2 || filepath.ToSlash(paths["a"]) != resultsDir+"/speed/a.json" || filepath.ToSlash(paths["b"]) != resultsDir+"/b.json" {
		t.Errorf("%v, %v", paths, err)
	}
	if err := os.WriteFile(filepath.Join(resultsDir, "a.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := recordPaths(resultsDir); err == nil {
		t.Error("two records of one name were accepted")
	}
}

// TestResultsNameNoFolderOfAMachine: what prints a path from the root keeps its
// last element, and all else stays byte for byte.
func TestResultsNameNoFolderOfAMachine(t *testing.T) {
	for in, want := range map[string]string{
		`{"teacher": "/srv/models/a.safetensors", "seconds": 1.50}`: `{"teacher": "a.safetensors", "seconds": 1.50}`,
		`{"runs":["/a/b/c" , "runs/x","/d/e"]}`:                     `{"runs":["c" , "runs/x","e"]}`,
		`{"/metrics/a":{"route":"/healthz","text":"a \"/b/c\""}}`:   `{"/metrics/a":{"route":"/healthz","text":"a \"/b/c\""}}`,
	} {
		got, err := portableResult(json.RawMessage(in))
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, want %s (error %v)", in, got, want, err)
		}
	}
}

func TestOneObject(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":1}`:                     `{"a":1}`,
		"{\"a\":1}\n{\"b\":2}\n":      `[{"a":1},{"b":2}]`,
		"note\n{\"b\":2}\nother line": `[{"b":2}]`,
	} {
		got, err := oneObject([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%q: %s, %v", in, got, err)
		}
	}
	if _, err := oneObject([]byte("no json")); err == nil {
		t.Error("accepted a program without JSON")
	}
}

func TestLine(t *testing.T) {
	l, err := line([]float64{1, 2, 3, 4}, []float64{3.5, 5, 7, 8.5})
	// By hand: sums of squares 5, products 8.5, of y 14.5.
	if err != nil || math.Abs(l.Slope-1.7) > 1e-12 || math.Abs(l.Intercept-1.75) > 1e-12 || math.Abs(l.Error-math.Sqrt(0.05/2/5)) > 1e-9 || math.Abs(l.R2-(1-0.05/14.5)) > 1e-9 {
		t.Errorf("%+v, %v", l, err)
	}
	for _, x := range [][]float64{{1, 2}, {2, 2, 2}} {
		if _, err := line(x, make([]float64, len(x))); err == nil {
			t.Errorf("a line through x = %v", x)
		}
	}
}

func TestATreeIsChangedByMoreThanRecords(t *testing.T) {
	t.Chdir(t.TempDir())
	git := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Skipf("needs git, in whose absence every record counts as changed: %v: %s", err, out)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	record := resultsDir + "/a.json"
	write(record, "1")
	write("main.go", "1")
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "a")
	for _, c := range []struct {
		path string
		want bool
	}{{record, false}, {resultsDir + "/b.json", false}, {"main.go", true}} {
		write(c.path, "2")
		if _, changed := commit(); changed != c.want {
			t.Errorf("%s written: changed is %v, want %v", c.path, changed, c.want)
		}
	}
}
