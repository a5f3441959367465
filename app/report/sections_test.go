package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSectionsStandAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.html")
	sections := []Section{
		{Heading: "Frontier", Note: "a <note>", SVG: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><text>a &lt; b</text></svg>`},
		{Heading: "Costs", Head: []string{"method", "seconds"}, Rows: [][]string{{"eagl & co", "0.1"}}, Texts: 1},
	}
	c := Config{Title: "Sweep", Lead: "Two methods.", Next: []string{"lowbit sweep"}, Made: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)}
	if err := WriteSections(path, sections, c); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	standsAlone(t, page)
	for _, want := range []string{
		"<h1>Sweep</h1>", "Two methods.", "2 January 2026", "a &lt;note&gt;", `<svg viewBox="0 0 1 1"><text>a &lt; b</text></svg>`,
		"<td>eagl &amp; co</td>", `<td class="n">0.1</td>`, "lowbit sweep", "--page:",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if WriteSections(filepath.Join(path, "below"), sections, c) == nil {
		t.Error("a page below a file was written")
	}
}
