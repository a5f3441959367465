package report

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"lowbit/internal/atomicfile"
)

// Section is a part of a page: a drawing, a table, or both.
type Section struct {
	Heading, Note string
	// SVG is a drawing to stand in the page as it is: whoever made it has
	// escaped its texts.
	SVG  string
	Keys []key // its legend
	// Head and Rows are a table, whose first Texts columns are words and the
	// others figures.
	Head  []string
	Rows  [][]string
	Texts int
}

// Drawing is the SVG for a page, where it needs no name space.
func (s Section) Drawing() template.HTML {
	return template.HTML(strings.Replace(s.SVG, ` xmlns="http://www.w3.org/2000/svg"`, "", 1))
}

// WriteSections makes path a page of sections, with c's title, lead, commands
// and time.
func WriteSections(path string, sections []Section, c Config) error {
	made := c.Made
	if made.IsZero() {
		made = time.Now()
	}
	p := struct {
		Title, Lead, Made string
		Sections          []Section
		Next              []string
	}{cmp.Or(c.Title, "Low-bit networks"), c.Lead, made.Format("2 January 2006, 15:04"), sections, c.Next}
	err := atomicfile.Write(path, func(w io.Writer) error { return templates.ExecuteTemplate(w, "sections.html", p) })
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
