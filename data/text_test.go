package data

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"lowbit/internal/testenv"
)

// write makes a file in a new folder and returns its path.
func writeText(tb testing.TB, name, content string) string {
	tb.Helper()
	p := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(p, []byte(content), 0o666); err != nil {
		tb.Fatal(err)
	}
	return p
}

// wantErrors reads wrong contents; each error must name what is wrong.
func wantErrors[T any](t *testing.T, name string, read func(path string) (T, error), cases map[string]string) {
	t.Helper()
	for content, want := range cases {
		if _, err := read(writeText(t, name, content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
	}
	if _, err := read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestReadDocumentsTakesFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	for name, s := range map[string]string{
		"b.txt": "bee", "a/z.md": "zed", "a/x.bin": "no", ".git/c.txt": "hidden", "testdata/t.txt": "no", "e.txt": " \n",
		"s.txt": "one<|endoftext|>\ntwo<|endoftext|>\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	docs, err := ReadDocuments(dir, TextConfig{Separator: "<|endoftext|>"})
	want := []Document{{"a/z.md", "zed"}, {"b.txt", "bee"}, {"s.txt#0", "one"}, {"s.txt#1", "two"}}
	if err != nil || !slices.Equal(docs, want) {
		t.Errorf("%v %v, want %v", docs, err, want)
	}
	if docs, err = ReadDocuments(filepath.Join(dir, "b.txt"), TextConfig{}); err != nil || len(docs) != 1 || docs[0] != (Document{"b.txt", "bee"}) {
		t.Errorf("%v %v", docs, err)
	}
	if docs, err = ReadDocuments(dir, TextConfig{MaxBytes: 64}); err != nil || len(docs) != 3 {
		t.Errorf("%v %v", docs, err)
	}
	for _, c := range []TextConfig{{Extensions: []string{".none"}}, {MaxBytes: 2}} {
		if _, err := ReadDocuments(dir, c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	if _, err := ReadDocuments(filepath.Join(dir, "none"), TextConfig{}); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func TestGoSourceIsACorpus(t *testing.T) {
	docs, err := GoSource(4 << 20)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, d := range docs {
		total += len(d.Text)
		if !strings.HasSuffix(d.Name, ".go") {
			t.Fatalf("%s", d.Name)
		}
	}
	if len(docs) < 50 || total < 1<<20 || total > 4<<20 {
		t.Errorf("%d files, %d bytes", len(docs), total)
	}
}

func TestReadWikiText2(t *testing.T) {
	w, err := ReadWikiText2(testenv.Shared(t, "data", "text"))
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Test) < 1e6 || len(w.Valid) < 1e6 || w.Train != "" || !strings.Contains(w.Test, "<unk>") {
		t.Errorf("%d %d %d bytes", len(w.Train), len(w.Valid), len(w.Test))
	}
	if _, err := ReadWikiText2(t.TempDir()); err == nil {
		t.Error("an empty folder was read")
	}
}

func TestPackedWindowsKnowTheirDocuments(t *testing.T) {
	const end = 9
	p, err := Pack([][]int32{{1, 2, 3}, {4}, {}, {5, 6, 7, 8}}, end, 4)
	if err != nil {
		t.Fatal(err)
	}
	// 1 2 3 9 | 4 9 9 5 | 6 7 8 9 : the last has no token after it
	if p.Len() != 2 || p.Tokens() != 12 {
		t.Fatalf("%d windows of %d tokens", p.Len(), p.Tokens())
	}
	tokens, targets, segments := make([]int32, 4), make([]int32, 4), make([]int32, 4)
	for i, want := range [][3][]int32{
		{{1, 2, 3, end}, {2, 3, end, Ignored}, {0, 0, 0, 0}},
		{{4, end, end, 5}, {end, Ignored, Ignored, 6}, {0, 0, 1, 2}},
	} {
		p.Window(i, tokens, targets, segments)
		if got := [3][]int32{tokens, targets, segments}; !reflect.DeepEqual(got, want) {
			t.Errorf("window %d: %v, want %v", i, got, want)
		}
	}
	if _, err := Pack([][]int32{{1, 2}}, -1, 2); err == nil {
		t.Error("no whole window, and no error")
	}
	if _, err := Pack(nil, -1, 0); err == nil {
		t.Error("windows of nothing, and no error")
	}
}

func TestOrderIsAPermutationOfTheSeed(t *testing.T) {
	p, err := Pack([][]int32{make([]int32, 101)}, -1, 2)
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := p.Order(1, 0), p.Order(1, 0), p.Order(1, 1)
	if !slices.Equal(a, b) || slices.Equal(a, c) || slices.Equal(a, p.Order(2, 0)) {
		t.Error("the order must follow seed and epoch, and nothing else")
	}
	slices.Sort(a)
	for i, v := range a {
		if int(v) != i {
			t.Fatalf("%v is no permutation", a)
		}
	}
}

func TestMixtureKeepsItsWeightsAndResumes(t *testing.T) {
	sizes := []int{10, 1000}
	m, err := NewMixture(sizes, []float64{3, 1}, 7)
	if err != nil {
		t.Fatal(err)
	}
	const draws = 4000
	var list [][2]int
	var count [2]int
	seen := map[int]int{}
	for range draws {
		s, e := m.Next()
		if e < 0 || e >= sizes[s] {
			t.Fatalf("example %d of %d", e, sizes[s])
		}
		list = append(list, [2]int{s, e})
		if count[s]++; s == 0 && count[0] <= 100 {
			seen[e]++
		}
	}
	// Four standard deviations of a binomial draw.
	if count[0] < 3000-110 || count[0] > 3000+110 {
		t.Errorf("%v draws, want 3000 and 1000", count)
	}
	for e := range 10 {
		if seen[e] != 10 {
			t.Errorf("example %d came %d times in ten epochs", e, seen[e])
		}
	}
	for _, skip := range []uint64{0, 1, 17, 1234} {
		r, err := NewMixture(sizes, []float64{0.75, 0.25}, 7)
		if err != nil {
			t.Fatal(err)
		}
		r.Skip(skip)
		for i := range uint64(50) {
			s, e := r.Next()
			if got := [2]int{s, e}; got != list[skip+i] {
				t.Fatalf("after %d draws: %v, want %v", skip+i, got, list[skip+i])
			}
		}
	}
	for _, w := range [][]float64{{1}, {0, 1}, {-1, 1}, nil} {
		if _, err := NewMixture(sizes, w, 1); err == nil {
			t.Errorf("weights %v: no error", w)
		}
	}
}

func TestParseMixture(t *testing.T) {
	for s, want := range map[string][]Share{
		"A:0.75,B:0.25":          {{"A", 0.75}, {"B", 0.25}},
		"text:docs":              {{"text:docs", 1}},
		"text:docs:2,sst2:x/y:1": {{"text:docs", 2}, {"sst2:x/y", 1}},
		"A":                      {{"A", 1}},
	} {
		if got, err := ParseMixture(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "A,B", "A:0", "A:-1,B:1", ":1", "A:1,text:b", "A:NaN", "A:Inf", "A:1,"} {
		if got, err := ParseMixture(s); err == nil {
			t.Errorf("%q: %v, want an error", s, got)
		}
	}
}

func TestReadChoices(t *testing.T) {
	for _, c := range []struct {
		format, line string
		want         Choice
	}{
		{"hellaswag", `{"activity_label":"Sport","ctx_a":"A man [title] runs [x].","ctx_b":"then HE","ctx":"","endings":["stops [y].","goes","a","b"],"label":1}`,
			Choice{"Sport: A man. runs . Then he", []string{" stops .", " goes", " a", " b"}, 1}},
		{"hellaswag", `{"activity_label":"S","ctx_a":"a","ctx_b":"","endings":["x","y"],"label":"0"}`, Choice{"S: a", []string{" x", " y"}, 0}},
		{"arc", `{"id":"1","question":{"stem":"Why?","choices":[{"text":"one","label":"A"},{"text":"two","label":"B"}]},"answerKey":"B"}`,
			Choice{"Question: Why?\nAnswer:", []string{" one", " two"}, 1}},
		{"arc", `{"question":"Why?","choices":{"text":["one","two"],"label":["1","2"]},"answerKey":"1"}`,
			Choice{"Question: Why?\nAnswer:", []string{" one", " two"}, 0}},
		{"piqa", `{"goal":"Do it","sol1":"so","sol2":"thus","label":1}`, Choice{"Question: Do it\nAnswer:", []string{" so", " thus"}, 1}},
	} {
		got, err := ReadChoices(writeText(t, "x.jsonl", c.line+"\n\n"), c.format)
		if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s: %+v %v, want %+v", c.format, got, err, c.want)
		}
	}
	p := writeText(t, "dev.jsonl", `{"goal":"g","sol1":"a","sol2":"b"}`+"\n"+`{"goal":"h","sol1":"a","sol2":"b"}`)
	if err := os.WriteFile(strings.TrimSuffix(p, ".jsonl")+"-labels.lst", []byte("1\n0\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadChoices(p, "piqa"); err != nil || len(got) != 2 || got[0].Answer != 1 || got[1].Answer != 0 {
		t.Errorf("%v %v", got, err)
	}
}

func TestReadChoicesRefusesWhatIsWrong(t *testing.T) {
	for format, cases := range map[string]map[string]string{
		"hellaswag": {"": "no questions", "{": ":1:", `{"endings":["a","b"],"label":2}`: "answer 2", `{"endings":["a","b"],"label":"x"}`: "label", `{"endings":["a"],"label":0}`: "1 endings"},
		"arc":       {`{"question":"q","choices":{"text":["a","b"],"label":["A"]},"answerKey":"A"}`: "1 labels", `{"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"C"}`: "answer -1", `{"question":3}`: "question"},
		"piqa":      {`{"goal":"g","sol1":"a","sol2":"b"}`: "answer -1", `{"goal":"g"}`: "want goal", "[]": ":1:"},
	} {
		wantErrors(t, "x.jsonl", func(p string) ([]Choice, error) { return ReadChoices(p, format) }, cases)
	}
	if _, err := ReadChoices("x", "trivia"); err == nil {
		t.Error("an unknown format was read")
	}
}

func ExamplePack() {
	p, err := Pack([][]int32{{1, 2, 3}, {4, 5}}, 0, 3)
	if err != nil {
		panic(err)
	}
	tokens, targets := make([]int32, 3), make([]int32, 3)
	p.Window(0, tokens, targets, nil)
	fmt.Println(p.Len(), tokens, targets)
	// Output: 2 [1 2 3] [2 3 0]
}
