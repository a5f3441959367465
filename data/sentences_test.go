package data_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lowbit/data"
)

func TestReadSentencesFindsParts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := data.ReadSentences("sst2", dir); err == nil || !strings.Contains(err.Error(), "has none of train.tsv") {
		t.Errorf("an empty folder: %v", err)
	}
	write("train.tsv", "sentence\tlabel\nfine\t1\nbad\t0\n")
	dev := write("dev.tsv", "sentence\tlabel\ngood\t1\n")
	s, err := data.ReadSentences("sst2", dir)
	if err != nil || len(s.Train) != 2 || len(s.Test) != 1 || s.TestFile != dev || s.Classes != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = data.ReadSentences("sst2", filepath.Join(dir, "train.tsv")); err != nil || len(s.Train) != 0 || len(s.Test) != 2 {
		t.Errorf("one file: %+v, %v", s, err)
	}
	for _, bad := range [][2]string{{"cola", dir}, {"sst2", filepath.Join(dir, "no")}} {
		if _, err := data.ReadSentences(bad[0], bad[1]); err == nil {
			t.Errorf("%v: want an error", bad)
		}
	}
}
