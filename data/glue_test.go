package data

import (
	"testing"

	"lowbit/internal/testenv"
)

func TestReadSST2(t *testing.T) {
	for name, want := range map[string]int{"sst2-glue-dev": 872, "sst2-train-heldout": 6735, "sst2-train": 60614} {
		all, err := ReadSST2(testenv.Shared(t, "data", "glue", name+".tsv"))
		if err != nil || len(all) != want {
			t.Fatalf("%s: %d examples %v, want %d", name, len(all), err, want)
		}
		if first := all[0]; name == "sst2-glue-dev" && (first.A != "it 's a charming and often affecting journey . " || first.Label != 1 || first.B != "") {
			t.Errorf("%+v", first)
		}
	}
	wantErrors(t, "x.tsv", ReadSST2, map[string]string{
		"": "no examples", "sentence\tlabel\n": "no examples", "a\tb\nc\t1\n": "the columns are", "sentence\tlabel\nx\n": ":2: 1 columns",
		"sentence\tlabel\nx\t2\n": `label "2"`, "sentence\tlabel\nx\ty\n": `label "y"`,
	})
}

func TestReadSTSB(t *testing.T) {
	for name, want := range map[string]int{"train": 5749, "dev": 1500, "test": 1379} {
		all, err := ReadSTSB(testenv.Shared(t, "data", "glue", "stsb-"+name+".csv"))
		if err != nil || len(all) != want {
			t.Fatalf("%s: %d examples %v, want %d", name, len(all), err, want)
		}
		if first := all[0]; name == "test" && (first.A != "A girl is styling her hair." || first.B != "A girl is brushing her hair." || first.Score != 2.5) {
			t.Errorf("%+v", first)
		}
	}
	all, err := ReadSTSB(writeText(t, "dev.tsv", "index\tscore\tsentence1\tsentence2\r\n0\t4.5\ta \"b\tc\"\r\n"))
	if err != nil || len(all) != 1 || all[0] != (Sentence{A: `a "b`, B: `c"`, Score: 4.5}) {
		t.Errorf("%+v %v", all, err)
	}
	wantErrors(t, "x.csv", ReadSTSB, map[string]string{
		"": "no examples", "a\tb\n": "2 columns", "g\tf\ty\t1\t5.1\ta\tb\n": `score "5.1"`, "g\tf\ty\t1\tNaN\ta\tb\n": "NaN", "score\tsentence1\n1\ta\n": "the columns are",
	})
}

func TestReadMRPC(t *testing.T) {
	all, err := ReadMRPC(writeText(t, "dev.tsv", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t12\t13\tHe said so .\tSo he said .\n0\t1\t2\tA \"quote\tB\n"))
	want := []Sentence{{A: "He said so .", B: "So he said .", Label: 1}, {A: `A "quote`, B: "B", Label: 0}}
	if err != nil || len(all) != 2 || all[0] != want[0] || all[1] != want[1] {
		t.Errorf("%+v %v, want %+v", all, err, want)
	}
	wantErrors(t, "x.tsv", ReadMRPC, map[string]string{
		"Quality\t#1 String\n": "the columns are", "Quality\t#1 String\t#2 String\n3\ta\tb\n": `label "3"`, "Quality\t#1 String\t#2 String\n1\ta\n": ":2: 2 columns",
	})
}

func FuzzReadTable(f *testing.F) {
	f.Add("sentence\tlabel\nx\t1\n")
	f.Add("g\tf\ty\t1\t5.0\ta\tb\n")
	f.Add("Quality\t#1 String\t#2 String\n1\ta\tb\n")
	f.Fuzz(func(t *testing.T, s string) {
		p := writeText(t, "x", s)
		for _, read := range []func(string) ([]Sentence, error){ReadSST2, ReadSTSB, ReadMRPC} {
			if all, err := read(p); err == nil && len(all) == 0 {
				t.Error("nothing read, and no error")
			}
		}
	})
}
