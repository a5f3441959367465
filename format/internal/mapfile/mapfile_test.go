package mapfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOpenGivesContentAndHidesWrites(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	for _, content := range []string{"", "hello"} {
		if err := os.WriteFile(p, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if string(f.Bytes()) != content {
			t.Errorf("got %q, want %q", f.Bytes(), content)
		}
		if len(content) > 0 {
			f.Bytes()[0] = 'X'
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if got, _ := os.ReadFile(p); string(got) != content {
			t.Errorf("the file became %q, want %q", got, content)
		}
	}
}

func TestOpenNamesWhatFails(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{dir, filepath.Join(dir, "none")} {
		if _, err := Open(p); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("error %v, want one that names %s", err, p)
		}
	}
}
