// Package archtest holds the architecture to its rules, by reading the sources
// with go/parser: a room imports only rooms of lower rows, what may import the
// kernels is listed, files and functions stay short, and no package is a
// drawer for odds and ends. Its tests fail with the list of offenders.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// module is the module's path; imports below it are checked.
const module = "lowbit"

// rows gives each folder its row; the longest prefix decides. A package imports
// packages of lower rows only, and those of its own row that allowed lists.
var rows = map[string]int{
	"tensor": 0, "internal/pool": 0, "internal/kernel": 0, "internal/rng": 0, "internal/atomicfile": 0, "internal/testenv": 0,
	"quant": 1,
	"graph": 2,
	"nn":    3, "optim": 3, "text": 3, "engine": 3,
	"format": 4, "data": 4, "model": 4, "eval": 4, "train": 4, "rl": 4, "mixed": 4,
	"method": 5, "infer": 5, "neuro": 5, "load": 5, "generate": 5,
	"app": 6, "internal/cli": 7, "cmd": 8, "": 8, "examples": 8, "internal/archtest": 8, "internal/docs": 8,
}

// anyRow are folders that take part in no row: tests' own helpers, scratch
// generators.
var anyRow = []string{"internal/archtest", "internal/kernel/_gen", "peer"}

// allowed lists imports inside a row: a folder and what below its own row it may
// import, each with its sub-packages.
var allowed = map[string][]string{
	"method/faq": {"method/lsq"}, "method/alps": {"method/lsq"}, "method/oracle": {"method/lsq"},
	"method/silq": {"method/lsq"}, "method/ptq": {"method/lsq"},
	// A policy is distilled with LSQ's quantizers and handed to the cores.
	"method/distill": {"method/lsq", "neuro"},
	"eval":           {"data"},
	// The graph of a quantized language model is built anew for each length, with
	// the quantizers that its method inserts.
	"load": {"method/silq"},
	// Checkpoints are safetensors; agents are read from others' files, too.
	"train": {"data", "eval", "format/safetensors"},
	"rl":    {"train", "format/safetensors", "format/torchzip"},
	// The checkers that every reader of a format calls, and shared file mapping.
	"format": {"format/formattest", "format/internal"},
	// A network's layers and sizes are in results, records and reports alike;
	// quantize is the work of a verb that quickstart calls too.
	"app/quantize":   {"app/inspect"},
	"app/report":     {"app/inspect", "app/quantize", "app/play"},
	"app/quickstart": {"app/report", "app/verify", "app/bench", "app/quantize"},
	"app/sweep":      {"app/quantize"},
	// The program is the library's Main.
	"cmd": {""}, "examples": {""},
	// Leaf packages without imports of their own.
	"internal/pool": {"internal/kernel"},
}

// restricted lists, for packages that few may use, who may.
var restricted = map[string][]string{
	"internal/kernel": {"engine", "infer", "quant", "neuro"},
	"internal/pool":   {"engine", "infer", "data", "rl", "neuro"},
}

// Limits of size.
const (
	maxFileLines = 500
	maxFuncLines = 60
)

// banned are package names that say nothing.
var banned = []string{"util", "utils", "common", "helper", "helpers", "misc"}

// source is a parsed file.
type source struct {
	path, dir string // slashes, relative to the root
	lines     int
	generated bool
	file      *ast.File
	fset      *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file below the root.
func sources(root string) ([]source, error) {
	var out []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "runs" || name == "dist") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := source{path: filepath.ToSlash(rel), fset: token.NewFileSet(), lines: strings.Count(string(b), "\n")}
		if i := strings.LastIndexByte(s.path, '/'); i >= 0 {
			s.dir = s.path[:i]
		}
		if s.file, err = parser.ParseFile(s.fset, path, b, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		s.generated = ast.IsGenerated(s.file)
		out = append(out, s)
		return nil
	})
	return out, err
}

// row returns a folder's row.
func row(dir string) (int, bool) {
	for d := dir; ; {
		if r, ok := rows[d]; ok && (d != "" || dir == "") {
			return r, true
		}
		i := strings.LastIndexByte(d, '/')
		if i < 0 {
			return 0, false
		}
		d = d[:i]
	}
}

// below reports whether dir is one of the folders or in one.
func below(dir string, folders []string) bool {
	for _, f := range folders {
		if dir == f || f != "" && strings.HasPrefix(dir, f+"/") {
			return true
		}
	}
	return false
}

// imports returns what a file imports from this module, as folders.
func (s source) imports() []string {
	var dirs []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			continue
		}
		if p == module {
			dirs = append(dirs, "")
		} else if d, ok := strings.CutPrefix(p, module+"/"); ok {
			dirs = append(dirs, d)
		}
	}
	return dirs
}

// importOffence says what is wrong with an import, or nothing. Tests may use
// any room (an example trains what it builds), but not the kernels' insides.
func importOffence(from, to string, test bool) string {
	if from == to || below(from, anyRow) {
		return ""
	}
	if who, ok := restricted[to]; ok && !test && !below(from, who) && !below(from, []string{to}) {
		return fmt.Sprintf("%s imports %s, which is for %s", from, to, strings.Join(who, ", "))
	}
	if test || below(from, []string{to}) || below(to, []string{from}) || strings.HasSuffix(from, "test") && to != "internal/kernel" {
		return ""
	}
	have, ok := row(from)
	if !ok {
		return fmt.Sprintf("%s stands in no row: add it to rows", from)
	}
	want, ok := row(to)
	if !ok {
		return fmt.Sprintf("%s stands in no row: add it to rows", to)
	}
	switch {
	case want < have:
		return ""
	case want > have:
		return fmt.Sprintf("%s (row %d) imports %s (row %d): upward", from, have, to, want)
	}
	for d := from; ; {
		if below(to, allowed[d]) {
			return ""
		}
		i := strings.LastIndexByte(d, '/')
		if i < 0 {
			return fmt.Sprintf("%s imports %s of its own row %d, which is not listed", from, to, have)
		}
		d = d[:i]
	}
}

// long lists the functions of a file that are too long. Test functions that are
// a table count as tables.
func (s source) long() []string {
	var out []string
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
		if n > maxFuncLines {
			out = append(out, fmt.Sprintf("%s: func %s has %d lines, want at most %d", s.path, f.Name.Name, n, maxFuncLines))
		}
	}
	return out
}
