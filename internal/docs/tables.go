package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var tableStart = regexp.MustCompile(`^<!-- (table|each) ([^:]+): (.+) -->$`)

const tableEnd = "<!-- end -->"

// value is a single number within a line: what stands between the two comments.
var value = regexp.MustCompile(`(` + valueStart + `(\S+) (\S+) -->)[^<\n]*` + valueEnd)

const valueStart, valueEnd = "<!-- value ", "<!-- -->"

// column is one column of a table.
type column struct {
	path    []string
	format  string // "", "%" or decimals
	heading string
}

// tables rewrites every table of the Markdown pages below dir, or fails on the
// first that differs if check is set.
func tables(dir string, check bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != dir {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".md" {
			return nil
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := fill(string(old), filepath.Join(dir, resultsDir))
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		case page == string(old):
			return nil
		case check:
			return fmt.Errorf("%s: a table differs from its records: run go run ./internal/docs tables", path)
		}
		return os.WriteFile(path, []byte(page), 0o644)
	})
}

// fill returns the page with its tables and values made anew.
func fill(page, results string) (string, error) {
	if starts, whole := strings.Count(page, valueStart), len(value.FindAllString(page, -1)); starts != whole {
		return "", fmt.Errorf("%d values, %d of them whole: want %sRECORD PATH -->NUMBER%s within a line", starts, whole, valueStart, valueEnd)
	}
	var failed error
	page = value.ReplaceAllStringFunc(page, func(old string) string {
		m := value.FindStringSubmatch(old)
		text, err := recordValue(results, m[2], m[3])
		failed = errors.Join(failed, err)
		return m[1] + text + valueEnd
	})
	if failed != nil {
		return "", failed
	}
	var out []string
	lines := strings.Split(page, "\n")
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		m := tableStart.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		end := slices.Index(lines[i:], tableEnd)
		if end < 0 {
			return "", fmt.Errorf("line %d: a table without %q", i+1, tableEnd)
		}
		of := readGroups
		if m[1] == "each" {
			of = readElements
		}
		rows, err := table(of, results, strings.Fields(m[2]), m[3])
		if err != nil {
			return "", fmt.Errorf("line %d: %w", i+1, err)
		}
		out = append(append(out, rows...), tableEnd)
		i += end
	}
	return strings.Join(out, "\n"), nil
}

// table makes the rows of a table, one for each group that of finds.
func table(of func(results string, words []string) ([][]any, error), results string, words []string, spec string) ([]string, error) {
	cols, err := columns(spec)
	if err != nil {
		return nil, err
	}
	rows := []string{"|", "|"}
	for _, c := range cols {
		rows[0] += " " + c.heading + " |"
		rows[1] += "---|"
	}
	groups, err := of(results, words)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		row := "|"
		for _, c := range cols {
			row += " " + c.cell(g) + " |"
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func columns(spec string) ([]column, error) {
	var cols []column
	for _, s := range strings.Split(spec, ", ") {
		key, heading, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("column %q: want path=heading", s)
		}
		c := newColumn(key)
		c.heading = heading
		cols = append(cols, c)
	}
	return cols, nil
}

// newColumn reads a path with its format.
func newColumn(key string) column {
	var c column
	switch {
	case strings.HasSuffix(key, "%"):
		key, c.format = strings.TrimSuffix(key, "%"), "%"
	case regexp.MustCompile(`\.[0-9]$`).MatchString(key):
		key, c.format = key[:len(key)-2], key[len(key)-1:]
	}
	c.path = strings.Split(key, ".")
	return c
}

// recordValue formats one value of one record, or of one group of records.
func recordValue(results, pattern, key string) (string, error) {
	groups, err := readGroups(results, []string{pattern})
	if err != nil || len(groups) != 1 {
		return "", errors.Join(err, fmt.Errorf("value %s: %d records or groups, want 1", pattern, len(groups)))
	}
	text := newColumn(key).cell(groups[0])
	if text == "" {
		return "", fmt.Errorf("value %s: no %s", pattern, key)
	}
	return text, nil
}

// readGroups reads the records whose names match the patterns, in whatever folder
// below results, in the patterns' order, those of one group together.
func readGroups(results string, patterns []string) ([][]any, error) {
	paths, err := recordPaths(results)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(paths))
	var groups [][]any
	at := map[string]int{}
	for _, p := range patterns {
		for _, name := range names {
			if ok, err := path.Match(p, name); err != nil || !ok {
				if err != nil {
					return nil, fmt.Errorf("pattern %q: %w", p, err)
				}
				continue
			}
			f := paths[name]
			b, err := os.ReadFile(f)
			if err != nil {
				return nil, err
			}
			var v map[string]any
			d := json.NewDecoder(bytes.NewReader(b))
			if err := d.Decode(&v); err != nil {
				return nil, fmt.Errorf("%s: %w", f, err)
			}
			g, _ := v["group"].(string)
			if n, ok := at[g]; ok && g != "" {
				groups[n] = append(groups[n], v)
				continue
			}
			at[g] = len(groups)
			groups = append(groups, []any{v})
		}
	}
	return groups, nil
}

// readElements reads the elements of a list in one record that have the wanted
// values: words are the record's name, the list's path, and key=value,value.
func readElements(results string, words []string) ([][]any, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("each: want RECORD PATH, got %q", words)
	}
	groups, err := readGroups(results, words[:1])
	if err != nil || len(groups) != 1 {
		return nil, errors.Join(err, fmt.Errorf("each: %d records %s, want 1", len(groups), words[0]))
	}
	list, ok := lookup(groups[0][0], strings.Split(words[1], ".")).([]any)
	if !ok {
		return nil, fmt.Errorf("each: %s has no list %s", words[0], words[1])
	}
	var out [][]any
	for _, x := range list {
		keep := true
		for _, w := range words[2:] {
			key, values, _ := strings.Cut(w, "=")
			keep = keep && slices.Contains(strings.Split(values, ","), fmt.Sprint(lookup(x, strings.Split(key, "."))))
		}
		if keep {
			out = append(out, []any{x})
		}
	}
	return out, nil
}

// cell formats a column of one group.
func (c column) cell(group []any) string {
	var numbers []float64
	text := ""
	for _, r := range group {
		switch v := lookup(r, c.path).(type) {
		case float64:
			numbers = append(numbers, v)
		case string:
			text = v
		case nil:
		default:
			text = fmt.Sprint(v)
		}
	}
	if len(numbers) == 0 {
		if g, ok := lookup(group[0], []string{"group"}).(string); ok && g != "" && len(c.path) == 1 && c.path[0] == "name" {
			return g
		}
		return text
	}
	mean, sd := meanDeviation(numbers)
	s := c.number(mean)
	if len(numbers) > 1 && sd > 0 {
		s += " ± " + strings.TrimSuffix(c.number(sd), " %") + fmt.Sprintf(" (n = %d)", len(numbers))
	}
	return s
}

func (c column) number(v float64) string {
	switch c.format {
	case "%":
		return strconv.FormatFloat(100*v, 'f', 2, 64) + " %"
	case "":
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
	n, _ := strconv.Atoi(c.format)
	return strconv.FormatFloat(v, 'f', n, 64)
}

func meanDeviation(v []float64) (mean, sd float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sd += (x - mean) * (x - mean)
	}
	if len(v) > 1 {
		sd = math.Sqrt(sd / float64(len(v)-1))
	}
	return mean, sd
}

func lookup(v any, path []string) any {
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			n, err := strconv.Atoi(p)
			if err != nil || n < 0 || n >= len(x) {
				return nil
			}
			v = x[n]
		default:
			return nil
		}
	}
	return v
}
