package archtest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/testenv"
)

func all(t *testing.T) []source {
	t.Helper()
	s, err := sources(testenv.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(s) < 100 {
		t.Fatalf("only %d files found", len(s))
	}
	return s
}

func fail(t *testing.T, offenders []string) {
	t.Helper()
	slices.Sort(offenders)
	for _, o := range slices.Compact(offenders) {
		t.Error(o)
	}
}

func TestRoomsImportDownwardsOnly(t *testing.T) {
	var offenders []string
	for _, s := range all(t) {
		for _, to := range s.imports() {
			if o := importOffence(s.dir, to, s.test()); o != "" {
				offenders = append(offenders, s.path+": "+o)
			}
		}
	}
	fail(t, offenders)
}

func TestFilesAreShort(t *testing.T) {
	var offenders []string
	for _, s := range all(t) {
		if s.lines > maxFileLines && !s.generated {
			offenders = append(offenders, fmt.Sprintf("%s has %d lines, want at most %d", s.path, s.lines, maxFileLines))
		}
	}
	fail(t, offenders)
}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	var offenders []string
	for _, s := range all(t) {
		if name := s.file.Name.Name; slices.Contains(banned, name) {
			offenders = append(offenders, s.dir+": package "+name)
		}
	}
	fail(t, offenders)
}

// Long functions are listed, not failed on: a table or one big switch may be the
// clearest form. LOWBIT_SIZE=1 with -v, as in `make size`, prints them.
func TestListLongFunctions(t *testing.T) {
	var lines []string
	for _, s := range all(t) {
		if !s.generated && !strings.HasPrefix(s.path, "internal/kernel/_gen") {
			lines = append(lines, s.long()...)
		}
	}
	if os.Getenv("LOWBIT_SIZE") != "" {
		t.Logf("%d functions above %d lines\n%s", len(lines), maxFuncLines, strings.Join(lines, "\n"))
	}
}

func TestTheRule(t *testing.T) {
	for _, c := range []struct {
		from, to string
		test, ok bool
	}{
		{"graph", "quant", false, true},
		{"quant", "graph", false, false},
		{"engine", "graph", false, true},
		{"graph", "engine", false, false},
		{"graph", "engine", true, true},
		{"method/faq", "method/lsq", false, true},
		{"method/lsq", "method/faq", false, false},
		{"method/lsq", "train", false, true},
		{"train", "method/lsq", false, false},
		{"train", "data", false, true},
		{"data", "train", false, false},
		{"model", "nn", false, true},
		{"nn", "engine", false, false},
		{"engine", "internal/kernel", false, true},
		{"train", "internal/kernel", false, false},
		{"internal/cli", "internal/kernel", false, false},
		{"app/quickstart", "app/report", false, true},
		{"app/report", "app/quickstart", false, false},
		{"internal/cli", "app/bench", false, true},
		{"app/bench", "internal/cli", false, false},
		{"", "internal/cli", false, true},
		{"cmd/lowbit", "", false, true},
		{"internal/cli", "", false, false},
		{"nowhere", "graph", false, false},
		{"format/onnx", "format/safetensors", false, false},
		{"format/onnx", "graph", false, true},
	} {
		if o := importOffence(c.from, c.to, c.test); (o == "") != c.ok {
			t.Errorf("%q imports %q (test %t): %q, want allowed %t", c.from, c.to, c.test, o, c.ok)
		}
	}
}
