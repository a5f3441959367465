package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"lowbit/train"
)

// resultsDir holds the records, in folders by what was measured.
const resultsDir = "docs/results"

// recordPaths finds the records below a folder by their names, of which there is
// one each.
func recordPaths(results string) (map[string]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(results, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == results:
			return nil // no records yet
		case err != nil || d.IsDir() || filepath.Ext(path) != ".json":
			return err
		}
		name := strings.TrimSuffix(d.Name(), ".json")
		if other, ok := paths[name]; ok {
			return fmt.Errorf("two records have the name %s: %s and %s", name, other, path)
		}
		paths[name] = path
		return nil
	})
	return paths, err
}

// Record is one file of docs/results: a command, where it ran, and the JSON
// object that it printed.
type Record struct {
	Name    string          `json:"name"`
	Group   string          `json:"group,omitempty"`
	Command []string        `json:"command"`
	Commit  string          `json:"commit"`
	Changed bool            `json:"changed,omitempty"` // the tree differed from Commit
	Date    string          `json:"date"`
	Machine train.Machine   `json:"machine"`
	Seconds float64         `json:"seconds"`
	Result  json.RawMessage `json:"result"`

	folder string // below resultsDir; empty: wherever a record of this name stands
}

// record runs a command that prints one JSON object (or JSON lines) and keeps
// it.
func record(args []string) error {
	r, args, err := begin(args)
	if err != nil {
		return err
	}
	if len(args) < 2 || args[0] != "--" {
		return fmt.Errorf("record: want NAME [-group G] -- COMMAND")
	}
	args = args[1:]
	r.Command, r.Date, r.Machine = portable(args), time.Now().UTC().Format(time.RFC3339), train.ThisMachine()
	r.Commit, r.Changed = commit()
	var out bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("record: %s: %w", args[0], err)
	}
	r.Seconds = time.Since(start).Seconds()
	result, err := oneObject(out.Bytes())
	if err != nil {
		return fmt.Errorf("record: %s: %w", args[0], err)
	}
	if r.Result, err = portableResult(result); err != nil {
		return fmt.Errorf("record: %s: %w", args[0], err)
	}
	return r.write()
}

func (r Record) write() error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	paths, err := recordPaths(resultsDir)
	if err != nil {
		return err
	}
	at := filepath.Join(resultsDir, filepath.FromSlash(r.folder), r.Name+".json")
	if old, ok := paths[r.Name]; ok && (r.folder == "" || old == at) {
		at = old
	} else if ok {
		return fmt.Errorf("record %s stands in %s already, not in %s", r.Name, old, r.folder)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, append(b, '\n'), 0o644)
}

// begin takes a record's name, as FOLDER/NAME or NAME, and its group off the arguments.
// A record of that name that exists is replaced, wherever it stands.
func begin(args []string) (r Record, rest []string, err error) {
	for len(args) > 0 && args[0] != "--" {
		switch {
		case args[0] == "-group" && len(args) > 1:
			r.Group, args = args[1], args[1:]
		case r.Name == "":
			r.folder, r.Name = path.Split(args[0])
		default:
			return r, args, nil
		}
		args = args[1:]
	}
	if r.Name == "" {
		err = fmt.Errorf("want the record's name")
	}
	return r, args, err
}

// oneObject returns the JSON object a program printed, or the list of those it
// printed on lines of their own.
func oneObject(out []byte) (json.RawMessage, error) {
	out = bytes.TrimSpace(out)
	if json.Valid(out) {
		return out, nil
	}
	var list []json.RawMessage
	for _, line := range bytes.Split(out, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] == '{' && json.Valid(line) {
			list = append(list, line)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("printed no JSON: %.200q", out)
	}
	return json.Marshal(list)
}

// absolutePath is a JSON string, no key, that is a path of at least two elements
// from the root.
var absolutePath = regexp.MustCompile(`"/(?:[^"\\/]+/)+([^"\\/]+)"(\s*[,}\]])`)

// portableResult shortens strings of a result that are absolute paths as portable
// does; the rest of its bytes stay as they were printed.
func portableResult(result json.RawMessage) (json.RawMessage, error) {
	out := absolutePath.ReplaceAll(result, []byte(`"$1"$2`))
	if !json.Valid(out) {
		return nil, fmt.Errorf("a result that is no JSON without its paths: %.200q", out)
	}
	return out, nil
}

// portable shortens paths outside the checkout to their last element, so that
// no record names a folder of one machine.
func portable(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a
		if filepath.IsAbs(a) {
			out[i] = filepath.Base(a)
		}
	}
	return out
}

// commit returns the checked-out commit and whether the tree differs from it in more
// than records, which no program reads.
func commit() (string, bool) {
	id, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown", true
	}
	changes, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":/!"+resultsDir).Output()
	return strings.TrimSpace(string(id)), err != nil || len(bytes.TrimSpace(changes)) > 0
}
